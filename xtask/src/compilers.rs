//! NVIDIA's compilers from PyPI through the program itself, without a GPU: the one that PyTorch 2.11 brings and the newest,
//! each behind toolkits on the system's path that must not be taken.

use crate::{Failed, root, run, venv};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The environments that hold them, and what each installs.
const COMPILERS: [(&str, &str); 2] =
    [("kernels-13.0", "benches/kernels/requirements-13.0.txt"), ("kernels", "benches/kernels/requirements.txt")];

/// Stands in for a toolkit.
const STAND_IN: &str = "host-gpu/tests/cuda_stand_in/libraries.cpp";

/// Has `clapp doctor --deep` find each compiler and compile all kernels with it.
pub fn check(features: &[&str]) -> Result<(), Failed> {
    run("cargo", &[&["build", "--workspace", "--bin", "clapp"], features].concat(), &[])?;
    let decoys = decoys()?;
    for (name, requirements) in COMPILERS {
        let environment = venv::make(name, requirements, &["--no-deps"])?;
        let nvidia = venv::packages(&environment)?.join("nvidia");
        // As the user names them.
        doctor(name, &nvidia, Some(&nvidia), std::slice::from_ref(&decoys))?;
        // As the system finds them, under names that are tried later than the decoys'.
        let folders =
            venv::entries(&nvidia).into_iter().map(|package| package.join("lib")).filter(|path| path.is_dir());
        let path: Vec<PathBuf> = [decoys.join("first")].into_iter().chain(folders).collect();
        doctor(name, &nvidia, None, &path)?;
    }
    Ok(())
}

/// A folder of toolkits that will not do, each under a name by which NVRTC is looked for: one in which every compilation
/// fails, one that is too old, a file that is no library. In its folder `first` is one for the first name only.
fn decoys() -> Result<PathBuf, Failed> {
    let folder = root().join("target/kernels/decoys");
    let failed = |path: &Path, error: std::io::Error| Failed(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(folder.join("first")).map_err(|error| failed(&folder, error))?;
    for (name, flag) in [("libnvrtc.so", "-DDECOY_FAILS"), ("libnvrtc.so.13", "-DDECOY_OLD")] {
        let library = folder.join(name).display().to_string();
        run("c++", &["-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", flag, "-o", &library, STAND_IN], &[])?;
    }
    let broken = folder.join("libnvrtc.so.12");
    std::fs::write(&broken, "no library").map_err(|error| failed(&broken, error))?;
    let first = folder.join("first/libnvrtc.so");
    std::fs::copy(folder.join("libnvrtc.so"), &first).map_err(|error| failed(&first, error))?;
    Ok(folder)
}

/// The compiler must be found in `nvidia`, and compile.
fn doctor(name: &str, nvidia: &Path, listed: Option<&Path>, path: &[PathBuf]) -> Result<(), Failed> {
    let report = root().join(format!("target/kernels/doctor-{name}.json"));
    let _ = std::fs::remove_file(&report);
    let step = format!("clapp doctor --deep, with the compiler of {name} behind decoys");
    println!("\n==> {step}");
    let wrong = |reason: String| Failed(format!("{step}: {reason}"));
    let path = std::env::join_paths(path).map_err(|error| wrong(error.to_string()))?;
    let mut command = Command::new(root().join("target/debug/clapp"));
    command.args(["doctor", "--deep", "--limit", "300", "--json"]).arg(&report).env("LD_LIBRARY_PATH", path);
    match listed {
        Some(folder) => command.env("CLAPP_CUDA_LIBRARIES", folder),
        None => command.env_remove("CLAPP_CUDA_LIBRARIES"),
    };
    // Without a GPU it fails; the report says how.
    let output = command.stdin(Stdio::null()).output().map_err(|error| wrong(error.to_string()))?;
    let text = std::fs::read_to_string(&report).map_err(|error| wrong(error.to_string()))?;
    let found: serde_json::Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let folder = nvidia.canonicalize().map_err(|error| wrong(error.to_string()))?.display().to_string();
    for (probe, part) in [("library NVRTC", &*folder), ("compilation", "all kernels")] {
        let probes = found["probes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let line = probes.iter().find(|line| line["name"] == probe);
        let ok = |line: &&serde_json::Value| {
            line["outcome"] == "ok" && line["detail"].as_str().is_some_and(|detail| detail.contains(part))
        };
        match line.filter(ok) {
            Some(line) => println!("{probe}: {}", line["detail"].as_str().unwrap_or_default()),
            None => return Err(wrong(format!("{probe} is not ok:\n{}", String::from_utf8_lossy(&output.stdout)))),
        }
    }
    Ok(())
}
