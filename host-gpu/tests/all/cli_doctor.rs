//! `clapp doctor` through the real program. On a machine without a driver it must name it; on one with everything it
//! must say so.

use std::process::Command;

#[test]
fn the_doctor_says_what_is_there_and_what_is_missing() {
    // No library is found but by the system's own search.
    let output = Command::new(env!("CARGO_BIN_EXE_clapp"))
        .arg("doctor")
        .env_remove("CLAPP_CUDA_LIBRARIES")
        .output()
        .expect("the program");
    let said = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{errors}");
    for part in ["threads", "instructions", "memory", "GPU", "driver", "NVRTC", "cuBLASLt", "cuDNN", "NCCL"] {
        assert!(said.lines().any(|line| line.trim_start().starts_with(part)), "no {part} in: {said}");
    }
    // A machine without a GPU is in order, unless one is required.
    let lists = said.contains("for CUDA this is missing:");
    assert_eq!(output.status.code(), Some(0), "{said}");
    let required = Command::new(env!("CARGO_BIN_EXE_clapp")).args(["doctor", "--require-gpu"]).output();
    assert_eq!(required.expect("the program").status.code(), Some(i32::from(lists)), "{said}");
    let driver = ["libcuda.so", "libcuda.so.1"].iter().any(|name| {
        // SAFETY: the driver's library may be opened by anyone.
        unsafe { libloading::Library::new(*name) }.is_ok()
    });
    if !driver {
        assert!(said.contains("  driver        not found"), "{said}");
        assert!(
            said.contains("- the CUDA driver (libcuda) was not found (there is no libcuda.so, no libcuda.so.1)"),
            "{said}"
        );
        assert!(said.contains("NVIDIA's driver, 525 or newer"), "{said}");
    }
}

#[test]
fn a_file_that_is_no_library_is_named() {
    let place = tempfile::tempdir().expect("a folder");
    std::fs::write(place.path().join("libnvrtc.so.13"), "not a library").expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_clapp"))
        .args(["doctor", "--require-gpu"])
        .env("CLAPP_CUDA_LIBRARIES", place.path())
        .output()
        .expect("the program");
    let said = String::from_utf8(output.stdout).expect("text");
    let line = said.lines().find(|line| line.contains("NVRTC (libnvrtc) was not found"));
    if let Some(line) = line {
        assert!(line.contains("libnvrtc.so.13: ") && line.contains("pip install nvidia-cuda-nvrtc"), "{line}");
        assert_eq!(output.status.code(), Some(1));
    } else {
        assert!(said.contains("  NVRTC         1"), "{said}");
    }
}

/// A GPU is what the deep doctor is about: both options together are the deep one.
#[test]
fn a_required_gpu_goes_with_the_deep_doctor() {
    let place = tempfile::tempdir().expect("a folder");
    let codes = [&["--deep"][..], &["--deep", "--require-gpu"]].map(|options| {
        let output = Command::new(env!("CARGO_BIN_EXE_clapp"))
            .arg("doctor")
            .args(options)
            .env("CLAPP_CUDA_LIBRARIES", place.path())
            .output()
            .expect("the program");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("exit code "), "{said}{}", String::from_utf8_lossy(&output.stderr));
        output.status.code().expect("a code")
    });
    assert_eq!(codes[0], codes[1]);
    assert!(codes[0] == 0 || (10..=16).contains(&codes[0]), "{codes:?}");
}
