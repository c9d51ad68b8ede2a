//! The CUDA executor on libraries that replace NVIDIA's (`cuda_stand_in/`). The tests check that every call has the
//! right operands in the right order, that sizes match the announced ones, that graphs repeat the recording, and that
//! faults are reported. They cannot check the results or the speed of a GPU.

#![cfg(unix)]

use clapp_gpu::cuda::{Cuda, ready};
use clapp_gpu::executor::{Executor, GpuError};
use clapp_gpu::op::{Arg, Collective, Convolution, Op, Pass, Product};
use clapp_gpu::precision::Precision;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Builds one library that replaces all of them.
fn build(library: &Path, more: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda_stand_in/libraries.cpp");
    let flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden"];
    let output = Command::new("c++").args(flags).args(more).arg("-o").arg(library).arg(source).output();
    let made = output.expect("a C++ compiler");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Makes the libraries in a folder; they are built once for all tests.
fn stand_in(folder: &Path) {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let library = folder.join("libcuda.so.1");
    let bytes = BUILT.get_or_init(|| {
        build(&library, &[]);
        std::fs::read(&library).expect("a library")
    });
    std::fs::write(&library, bytes).expect("a copy");
    for name in ["libnvrtc.so.12", "libcublasLt.so.12", "libcudnn.so.9"] {
        std::os::unix::fs::symlink(&library, folder.join(name)).expect("a link");
    }
}

/// A command that finds the libraries where the system looks first.
fn command(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command
        .env("LD_LIBRARY_PATH", folder)
        .env_remove("CLAPP_CUDA_LIBRARIES")
        .env("CLAPP_CACHE", folder.join("cache"))
        .envs(settings.iter().copied());
    command
}

/// Runs an ignored test of this file in a separate process, with the libraries.
fn in_own_process(folder: &Path, name: &str, settings: &[(&str, &str)]) {
    let this = std::env::current_exe().expect("this test");
    let test = format!("cuda_executor::{name}");
    let output =
        command(&this, folder, settings).args([&test, "--exact", "--ignored", "--nocapture"]).output().expect("it");
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{name} {settings:?}: {said}");
}

fn doctor(folder: &Path, settings: &[(&str, &str)]) -> (Output, String) {
    let output = command(Path::new(env!("CARGO_BIN_EXE_clapp")), folder, settings)
        .args(["doctor", "--require-gpu"])
        .output()
        .expect("it");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

#[test]
fn the_doctor_finds_what_is_there_and_what_does_not_go_together() {
    let place = tempfile::tempdir().expect("a folder");
    stand_in(place.path());
    let (output, said) = doctor(place.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for part in [
        "GPU 0         Stand-in, compute capability 8.0, 64.0 MiB of 64.0 MiB free",
        "driver        CUDA 12.4",
        "NVRTC         12.4 (libnvrtc.so.12)",
        "cuBLASLt      12.4.2",
        "cuDNN         9.10.2",
        "NCCL          not found",
        "training can run on the CPU and on CUDA",
    ] {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    let wrong: [(&str, &str, &str); 4] = [
        ("STAND_IN_DRIVER", "11080", "libcuda.so.1 is of version 11.8, 12.0 or newer is needed"),
        ("STAND_IN_GPUS", "0", "a GPU of NVIDIA was not found (CUDA_ERROR_NO_DEVICE"),
        (
            "STAND_IN_NVRTC",
            "13",
            "a driver for CUDA 13 was not found (NVRTC is of CUDA 13, the driver knows CUDA 12.4)",
        ),
        ("STAND_IN_CUDNN", "8902", "libcudnn.so.9 is of version 8.9.2, 9.0 or newer is needed"),
    ];
    for (name, value, part) in wrong {
        let (output, said) = doctor(place.path(), &[(name, value)]);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

/// Small whole numbers: their products and sums are exact in any order.
fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|index| ((index * 7919 + seed * 104_729) % 13) as f32 - 6.0).collect()
}

fn upload(cuda: &Cuda, values: &[f32]) -> u64 {
    let address = cuda.allocate(4 * values.len()).expect("memory");
    cuda.write(address, &bytes(values)).expect("a copy");
    address
}

fn download(cuda: &Cuda, address: u64, len: usize) -> Vec<f32> {
    let mut out = vec![0; 4 * len];
    cuda.read(address, &mut out).expect("a copy");
    floats(&out)
}

fn product(a: &[f32], b: &[f32], product: &Product) -> Vec<f32> {
    let Product { m, n, k, a_transposed, b_transposed } = *product;
    let a = |row: usize, i: usize| if a_transposed { a[i * m + row] } else { a[row * k + i] };
    let b = |i: usize, column: usize| if b_transposed { b[column * k + i] } else { b[i * n + column] };
    let out = (0..m * n).map(|at| (0..k).map(|i| a(at / n, i) * b(i, at % n)).sum());
    out.collect()
}

/// Calls `visit` with the places in input, weights and output of every product of a convolution; maps are NHWC.
fn each_product(shape: &Convolution, mut visit: impl FnMut(usize, usize, usize)) {
    let Convolution { rows, input: [h, w], channels, output: [oh, ow], out_channels, kernel: [kh, kw], .. } = *shape;
    for at in 0..rows * oh * ow * out_channels * kh * kw * channels {
        let (c, rest) = (at % channels, at / channels);
        let (s, rest) = (rest % kw, rest / kw);
        let (r, rest) = (rest % kh, rest / kh);
        let (o, rest) = (rest % out_channels, rest / out_channels);
        let (j, rest) = (rest % ow, rest / ow);
        let (i, n) = (rest % oh, rest / oh);
        let y = (i * shape.stride[0] + r).wrapping_sub(shape.padding[0]);
        let x = (j * shape.stride[1] + s).wrapping_sub(shape.padding[1]);
        if y < h && x < w {
            let weight = ((o * kh + r) * kw + s) * channels + c;
            visit(((n * h + y) * w + x) * channels + c, weight, ((n * oh + i) * ow + j) * out_channels + o);
        }
    }
}

fn convolutions(cuda: &Cuda) {
    let shape = Convolution {
        rows: 3,
        input: [7, 6],
        channels: 3,
        output: [4, 6],
        out_channels: 5,
        kernel: [3, 1],
        stride: [2, 1],
        padding: [1, 0],
    };
    let [x, w, y] = [shape.input_len(), shape.weight_len(), shape.output_len()];
    let (input, weight, slope) = (numbers(x, 1), numbers(w, 2), numbers(y, 3));
    let mut wanted = [vec![0.0_f32; y], vec![0.0; w], vec![0.0; x]];
    each_product(&shape, |at, of, to| {
        wanted[0][to] += input[at] * weight[of];
        wanted[1][of] += input[at] * slope[to];
        wanted[2][at] += weight[of] * slope[to];
    });
    let [input, weight, slope] = [&input, &weight, &slope].map(|values| upload(cuda, values));
    let passes =
        [(Pass::Forward, input, weight), (Pass::WeightGradient, input, slope), (Pass::InputGradient, weight, slope)];
    for ((pass, a, b), wanted) in passes.into_iter().zip(wanted) {
        let bytes = cuda.convolution_scratch(pass, &shape).expect("a way");
        let scratch = cuda.allocate(bytes).expect("memory");
        let out = cuda.allocate(4 * wanted.len()).expect("memory");
        let op = Op::Convolve { pass, shape, a, b, out, scratch: (scratch, bytes) };
        cuda.run(&op).expect("a convolution");
        assert_eq!(download(cuda, out, wanted.len()), wanted, "{pass:?}");
        let error = cuda
            .run(&Op::Convolve { pass, shape, a, b, out, scratch: (scratch, bytes - 1) })
            .expect_err("too little scratch");
        assert!(error.to_string().contains("3 maps 7x6x3 to 4x6x5"), "{error}");
    }
    let beyond = Convolution { output: [5, 6], ..shape };
    let error = cuda.convolution_scratch(Pass::Forward, &beyond).expect_err("no such map").to_string();
    assert!(error.contains("3 maps 7x6x3 to 5x6x5") && error.contains("no algorithm"), "{error}");
}

#[test]
#[ignore = "run by the_executor_computes_what_it_is_asked_for in a process with the libraries"]
fn convolutions_and_products() {
    for (precision, deterministic) in [(Precision::F32, true), (Precision::F32, false), (Precision::Tf32, false)] {
        let cuda = Cuda::new(0, precision, deterministic).expect("a device");
        convolutions(&cuda);
        for (a_transposed, b_transposed) in [(false, false), (true, false), (false, true), (true, true)] {
            let shape = Product { m: 5, n: 3, k: 7, a_transposed, b_transposed };
            let (a, b) = (numbers(35, 4), numbers(21, 5));
            let wanted = product(&a, &b, &shape);
            let (a, b, out) = (upload(&cuda, &a), upload(&cuda, &b), cuda.allocate(60).expect("memory"));
            let bytes = cuda.product_scratch(&shape).expect("a way");
            assert_eq!(bytes == 0, deterministic);
            let scratch = if bytes > 0 { cuda.allocate(bytes).expect("memory") } else { 0 };
            let op = Op::Multiply { product: shape, a, b, out, scratch: (scratch, bytes) };
            cuda.run(&op).expect("a product");
            assert_eq!(download(&cuda, out, 15), wanted, "{shape:?}");
            let error = cuda.run(&Op::Multiply { product: shape, a: a + 4, b, out, scratch: (scratch, bytes) });
            assert!(error.unwrap_err().to_string().contains("multiple of 16"));
        }
    }
}

#[test]
#[ignore = "run by the_executor_computes_what_it_is_asked_for in a process with the libraries"]
fn memory_and_graphs() {
    let cuda = Cuda::new(0, Precision::F32, false).expect("a device");
    assert_eq!(cuda.name().expect("a name"), "Stand-in");
    assert_eq!(cuda.memory().expect("its memory"), (64 << 20, 64 << 20));
    // Large enough to go through both buffers, and more than once.
    let long = numbers((9 << 20) / 4 + 3, 6);
    let address = upload(&cuda, &long);
    assert!(download(&cuda, address, long.len()) == long);
    cuda.stage(address, &bytes(&long[1..])).expect("a copy");
    assert!(download(&cuda, address, long.len() - 1) == long[1..]);
    let taken = cuda.taken();
    assert_eq!(taken.now, (4 * long.len()).next_multiple_of(256));
    cuda.free(address, 4 * long.len());
    assert_eq!((cuda.taken().now, cuda.taken().peak), (0, taken.peak));
    cuda.reset_peak();
    assert_eq!(cuda.taken().peak, 0);
    match cuda.allocate(65 << 20) {
        Err(GpuError::Memory { needed, free, total, .. }) => {
            assert_eq!([needed, free, total], [65 << 20, 64 << 20, 64 << 20])
        }
        other => panic!("{other:?}"),
    }

    let values = numbers(10, 7);
    let [a, b, c] = [&values, &vec![1.0; 10], &vec![1.0; 10]].map(|values| upload(&cuda, values));
    let launch = |from, to| {
        let args = vec![Arg::In(from, 40), Arg::Out(to, 40), Arg::U64(10)];
        Op::Launch { kernel: "to_map", grid: [3, 1, 1], block: 256, args }
    };
    // Of one process, both collectives are a copy.
    let ops = vec![
        launch(a, b),
        Op::Zero { at: a + 4, bytes: 8 },
        Op::Collect { what: Collective::Sum, input: b, out: c, len: 9 },
        Op::Collect { what: Collective::Gather { ranks: 1 }, input: a, out: b, len: 10 },
        Op::Copy { from: a + 36, to: c, bytes: 4 },
        Op::Collect { what: Collective::Sum, input: c, out: c, len: 10 },
    ];
    let graph = cuda.compile(ops).expect("a graph");
    assert_eq!(download(&cuda, c, 10), [1.0; 10], "recording is not running");
    for seed in [8, 9] {
        let values = numbers(10, seed);
        cuda.write(a, &bytes(&values)).expect("a copy");
        cuda.launch(&graph).expect("a run");
        let mut zeroed = values.clone();
        zeroed[1..3].fill(0.0);
        assert_eq!(download(&cuda, b, 10), zeroed);
        let mut copied = values.clone();
        copied[0] = values[9];
        copied[9] = 1.0;
        assert_eq!(download(&cuda, c, 10), copied);
    }
    cuda.launch(&cuda.compile(Vec::new()).expect("no work")).expect("a run of nothing");

    // A kernel that is refused while the stream records leaves it as it was.
    let bad = Op::Launch {
        kernel: "to_map",
        grid: [4, 1, 1],
        block: 256,
        args: vec![Arg::In(a, 40), Arg::Out(b, 40), Arg::U64(10)],
    };
    let error = cuda.compile(vec![launch(a, b), bad]).err().expect("refused").to_string();
    assert!(error.contains("the kernel to_map failed: CUDA_ERROR_INVALID_VALUE"), "{error}");
    cuda.run(&launch(a, b)).expect("the stream is not recording");
    let unknown = Op::Launch { kernel: "unknown", grid: [1, 1, 1], block: 1, args: vec![] };
    assert!(cuda.run(&unknown).unwrap_err().to_string().contains("unknown"));
    let short = Op::Launch { kernel: "to_map", grid: [3, 1, 1], block: 256, args: vec![Arg::In(a, 40)] };
    assert!(cuda.run(&short).is_err());
}

#[test]
#[ignore = "run by the_executor_computes_what_it_is_asked_for in a process with the libraries"]
fn a_device_that_is_not_there() {
    let error = Cuda::new(1, Precision::F32, false).expect_err("one device").to_string();
    assert!(error.contains("GPU 1") && error.contains("the driver knows 1"), "{error}");
}

#[test]
#[ignore = "run by the_executor_computes_what_it_is_asked_for in a process with the libraries"]
fn bf16_without_an_algorithm() {
    let cuda = Cuda::new(0, Precision::Bf16, false).expect("a device");
    let shape = Convolution {
        rows: 1,
        input: [2, 2],
        channels: 1,
        output: [2, 2],
        out_channels: 1,
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
    };
    let error = cuda.convolution_scratch(Pass::Forward, &shape).unwrap_err().to_string();
    assert!(error.contains("in bf16") && error.contains("cuDNN has no algorithm for it"), "{error}");
}

#[test]
fn the_executor_computes_what_it_is_asked_for() {
    let place = tempfile::tempdir().expect("a folder");
    stand_in(place.path());
    let run = |name, settings| in_own_process(place.path(), name, settings);
    // There is no room for trying algorithms: the fastest is guessed.
    run("convolutions_and_products", &[("STAND_IN_MEMORY_MIB", "1")]);
    // Here there is.
    run("convolutions_and_products", &[("STAND_IN_MEMORY_MIB", "512")]);
    // Where channels cannot be last, operands are turned.
    run("convolutions_and_products", &[("STAND_IN_CHANNELS_LAST", "0")]);
    run("bf16_without_an_algorithm", &[("STAND_IN_CHANNELS_LAST", "0")]);
    run("memory_and_graphs", &[]);
    run("a_device_that_is_not_there", &[]);
}

/// Runs `clapp doctor --deep`. Returns its exit code, its lines and its report.
fn deep(folder: &Path, settings: &[(&str, &str)], more: &[&str]) -> (Option<i32>, String, serde_json::Value) {
    let report = folder.join("deep.json");
    let _ = std::fs::remove_file(&report);
    let mut command = command(Path::new(env!("CARGO_BIN_EXE_clapp")), folder, settings);
    let output = command.args(["doctor", "--deep"]).args(more).arg("--json").arg(&report).output().expect("it");
    let said = [&output.stdout[..], &output.stderr].concat();
    let report = serde_json::from_slice(&std::fs::read(&report).expect("a report")).expect("JSON");
    (output.status.code(), String::from_utf8_lossy(&said).into_owned(), report)
}

/// Names of the probes that ended so.
fn probes(report: &serde_json::Value, outcome: &str) -> Vec<String> {
    let probes = report["probes"].as_array().expect("a list").iter();
    let of = probes.filter(|probe| probe["outcome"] == outcome);
    of.map(|probe| probe["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn the_deep_doctor_tries_everything_and_checks_the_values() {
    let place = tempfile::tempdir().expect("a folder");
    stand_in(place.path());
    let (code, said, report) = deep(place.path(), &[], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(probes(&report, "not-run"), ["library NCCL"], "{said}");
    assert_eq!(probes(&report, "ok").len(), 4 + 1 + 1 + 3 + 3 + 18 + 3 + 1, "{said}");
    assert_eq!((report["exit_code"].as_u64(), report["complete"].as_bool()), (Some(0), Some(true)));
    for part in [
        "ok      convolution data gradient bf16 deterministic ",
        "twice the same bits",
        "16.0 MiB allocated and freed",
        "34 ok, 0 failed, 0 not run",
    ] {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

#[test]
fn the_deep_doctor_goes_on_after_whatever_fails() {
    let place = tempfile::tempdir().expect("a folder");
    stand_in(place.path());
    // A product that fails, as all captures do that hold one.
    let products = ["product f32", "product tf32", "product bf16"];
    let captures = ["capture and replay f32", "capture and replay tf32", "capture and replay bf16"];
    let of_products = [&products[..], &captures].concat();
    // On a busy machine a sound probe, too, may need more than a second.
    let (code, said, report) = deep(place.path(), &[("STAND_IN_FAULT", "product hangs")], &["--limit", "1"]);
    assert!(matches!(code, Some(10..=13)), "{said}");
    let failed = probes(&report, "failed");
    assert!(of_products.iter().all(|name| failed.iter().any(|failed| failed == name)), "{said}");
    assert!(said.contains("no answer within 1 s (--limit)"), "{said}");
    for (fault, part) in [
        ("product dies", "the process died (signal: 6 (SIGABRT)"),
        ("product lost", "the product of 24x96 and 96x40 (stored transposed) failed"),
    ] {
        let (code, said, report) = deep(place.path(), &[("STAND_IN_FAULT", fault)], &[]);
        assert_eq!(code, Some(13), "{said}");
        assert_eq!(probes(&report, "failed"), of_products, "{fault}: {said}");
        assert_eq!(probes(&report, "ok").len(), 34 - 6, "{fault}: {said}");
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    let (code, said, report) = deep(place.path(), &[("STAND_IN_FAULT", "convolution wrong")], &[]);
    assert_eq!((code, probes(&report, "failed").len()), (Some(14), 18 + 3), "{said}");
    assert!(said.contains("the CPU has "), "{said}");
}

#[test]
fn the_deep_doctor_says_what_could_not_be_tried() {
    let place = tempfile::tempdir().expect("a folder");
    stand_in(place.path());
    let missing = |name: &str, value: &str| deep(place.path(), &[(name, value)], &[]);
    // Without cuDNN, all else is tried.
    let (code, said, report) = missing("STAND_IN_CUDNN", "8902");
    assert_eq!((code, probes(&report, "failed")), (Some(10), vec!["library cuDNN".into()]), "{said}");
    assert_eq!(probes(&report, "not-run").len(), 1 + 18 + 3, "{said}");
    assert!(probes(&report, "ok").contains(&"product bf16".into()), "{said}");
    // Without a GPU, libraries and compiler are.
    let (code, said, report) = missing("STAND_IN_GPUS", "0");
    assert_eq!((code, probes(&report, "failed").len()), (Some(10), 0), "{said}");
    assert_eq!(probes(&report, "ok").last().map(String::as_str), Some("compilation"), "{said}");
    assert_eq!(probes(&report, "not-run").len(), 35 - 5, "{said}");
    assert!(said.lines().any(|line| line.starts_with("not run peak memory") && line.ends_with("as GPU")), "{said}");
    // Nothing at all is here.
    let nothing = place.path().join("nothing");
    std::fs::create_dir(&nothing).expect("a folder");
    let (code, said, report) = deep(&nothing, &[], &[]);
    assert_eq!((code, report["complete"].as_bool()), (Some(10), Some(true)), "{said}");
}

#[test]
fn folders_that_the_user_lists_are_searched_first() {
    let place = tempfile::tempdir().expect("a folder");
    let packages = place.path().join("nvidia/cuda_nvrtc/lib");
    std::fs::create_dir_all(&packages).expect("a folder");
    let library = packages.join("libnvrtc.so.12");
    let said = |listed: &Path, system: &Path| {
        let program = Path::new(env!("CARGO_BIN_EXE_clapp"));
        let output = command(program, system, &[])
            .args(["doctor", "--require-gpu"])
            .env("CLAPP_CUDA_LIBRARIES", listed)
            .output();
        String::from_utf8_lossy(&output.expect("the program").stdout).into_owned()
    };
    let nowhere = place.path().join("nowhere");
    build(&library, &["-Wl,-soname,libnvrtc.so.12"]);
    let wanted = format!("NVRTC         12.4 ({})", library.display());
    let found = said(place.path(), &nowhere);
    assert!(found.contains(&wanted), "{found}");
    // Another one that the system finds by a name which is tried before does not hide it.
    let system = place.path().join("system");
    std::fs::create_dir(&system).expect("a folder");
    std::fs::copy(&library, system.join("libnvrtc.so")).expect("a copy");
    let found = said(place.path(), &system);
    assert!(found.contains(&wanted), "{found}");
    // Nor does it need a name of its own, nor one of those that are usual.
    build(&library, &[]);
    std::fs::rename(&library, packages.join("libnvrtc.so.12.4.127")).expect("another name");
    let found = said(place.path(), &nowhere);
    assert!(found.contains("libnvrtc.so.12.4.127)"), "{found}");
}

/// Returns the doctor's report on libraries that the system finds in `system` and the user lists in `listed`.
fn with_decoys(place: &Path, system: &Path, settings: &[(&str, &str)]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_clapp"));
    let output = command(program, system, settings).arg("doctor").env("CLAPP_CUDA_LIBRARIES", place).output();
    let output = output.expect("the program");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn decoys_on_the_system_s_path_hide_nothing() {
    let place = tempfile::tempdir().expect("a folder");
    let (good, system) = (place.path().join("good"), place.path().join("system"));
    for folder in [&good, &system] {
        std::fs::create_dir(folder).expect("a folder");
    }
    stand_in(&good);
    let names = [("libnvrtc.so", "NVRTC"), ("libcublasLt.so", "cuBLASLt"), ("libcudnn.so", "cuDNN")];
    // Decoy libraries, and how they are built.
    let decoys: [(&str, &[&str]); 4] = [
        ("of another version", &["-DDECOY_OLD"]),
        ("without the functions", &["-DDECOY_EMPTY"]),
        ("that fails at whatever it is asked for", &["-DDECOY_FAILS"]),
        ("no library", &[]),
    ];
    // The good ones are found by the system too, under names that are tried later; or they are listed.
    let path = format!("{}:{}", system.display(), good.display());
    for (what, flags) in decoys {
        let decoy = place.path().join("decoy.so");
        let _ = std::fs::remove_file(&decoy);
        if flags.is_empty() {
            std::fs::write(&decoy, "not a library").expect("a file");
        } else {
            build(&decoy, flags);
        }
        for (file, _) in names {
            let _ = std::fs::remove_file(system.join(file));
            std::fs::copy(&decoy, system.join(file)).expect("a copy");
        }
        for listed in [Path::new(""), &good] {
            let said = with_decoys(listed, Path::new(&path), &[]);
            for (_, name) in names {
                let line = said.lines().find(|line| line.trim_start().starts_with(name));
                assert!(line.is_some_and(|line| line.contains("12.4") || line.contains("9.10.2")), "{what}: {said}");
            }
            assert!(said.contains("training can run on the CPU and on CUDA"), "{what}: {said}");
        }
        // Listed, they are passed over as well.
        let said = with_decoys(&system, &good, &[]);
        assert!(said.contains("training can run on the CPU and on CUDA"), "{what}: {said}");
        // Without anything better, each is named with its reason.
        let said = with_decoys(Path::new(""), &system, &[]);
        assert!(said.contains("NVRTC (libnvrtc) was not found (libnvrtc.so"), "{what}: {said}");
    }
}

/// A library of a newer CUDA than the driver's is taken only if there is no other.
#[test]
fn libraries_of_the_driver_s_cuda_go_before_newer_ones() {
    let place = tempfile::tempdir().expect("a folder");
    stand_in(place.path());
    build(&place.path().join("libnvrtc.so"), &["-DDECOY_NEW"]);
    let said = with_decoys(Path::new(""), place.path(), &[]);
    assert!(said.contains("NVRTC         12.4 (libnvrtc.so.12)"), "{said}");
    std::fs::remove_file(place.path().join("libnvrtc.so.12")).expect("removed");
    let said = with_decoys(Path::new(""), place.path(), &[]);
    assert!(said.contains("NVRTC is of CUDA 13, the driver knows CUDA 12.4"), "{said}");
}

#[test]
#[ignore = "run by an_algorithm_that_fails_when_it_runs_is_passed_over in a process with the libraries"]
fn failing_algorithms_are_passed_over() {
    for deterministic in [false, true] {
        let cuda = Cuda::new(0, Precision::F32, deterministic).expect("a device");
        convolutions(&cuda);
        let dropped = cuda.dropped();
        // Each pass has its own; each is tried once, and then remembered.
        assert_eq!(
            dropped.iter().filter(|text| text.contains("algorithm 0 of ")).count(),
            if deterministic { 0 } else { 3 }
        );
        let shape = Product { m: 5, n: 3, k: 7, a_transposed: false, b_transposed: false };
        cuda.product_scratch(&shape).expect("a way");
        cuda.product_scratch(&shape).expect("a way");
        let ways = cuda.dropped().iter().filter(|text| text.contains("a way of the product")).count();
        assert_eq!(ways, usize::from(!deterministic), "{:?}", cuda.dropped());
    }
}

#[test]
#[ignore = "run by an_algorithm_that_fails_when_it_runs_is_passed_over in a process with the libraries"]
fn no_algorithm_works() {
    let cuda = Cuda::new(0, Precision::F32, false).expect("a device");
    let shape = Convolution {
        rows: 1,
        input: [4, 4],
        channels: 2,
        output: [4, 4],
        out_channels: 2,
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
    };
    let error = cuda.convolution_scratch(Pass::Forward, &shape).expect_err("none works").to_string();
    assert!(error.contains("no algorithm for it; those that it has offered fail: algorithm 0 of "), "{error}");
    assert!(error.contains("algorithm 1 of "), "{error}");
}

/// cuDNN and cuBLASLt offer ways that they then do not go: an error at once, an error of the stream, values left out.
#[test]
fn an_algorithm_that_fails_when_it_runs_is_passed_over() {
    let place = tempfile::tempdir().expect("a folder");
    stand_in(place.path());
    for how in ["refuses", "nothing"] {
        let fault = format!("first {how}");
        in_own_process(place.path(), "failing_algorithms_are_passed_over", &[("STAND_IN_FAULT", &fault)]);
    }
    for how in ["refuses", "nothing"] {
        let fault = format!("all {how}");
        in_own_process(place.path(), "no_algorithm_works", &[("STAND_IN_FAULT", &fault)]);
    }
    let (code, said, _) = deep(place.path(), &[("STAND_IN_FAULT", "first refuses")], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("; passed over: algorithm 0 of the convolution of 4 maps"), "{said}");
}

#[test]
#[ignore = "run by images_that_are_not_whole_are_not_kept in a process with the libraries"]
fn a_device_starts() {
    let started = Cuda::new(0, Precision::F32, false);
    match std::env::var("STAND_IN_IMAGE").is_ok() {
        true => drop(started.expect_err("the driver does not take it")),
        false => drop(started.expect("a device")),
    }
}

#[test]
fn images_that_are_not_whole_are_not_kept() {
    let place = tempfile::tempdir().expect("a folder");
    stand_in(place.path());
    let kept = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(place.path().join("cache")).into_iter().flatten();
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    for image in ["empty", "text", "cut"] {
        in_own_process(place.path(), "a_device_starts", &[("STAND_IN_IMAGE", image)]);
        assert!(kept().is_empty(), "{image}: {:?}", kept());
    }
    in_own_process(place.path(), "a_device_starts", &[]);
    let [file] = &kept()[..] else { panic!("one file, not {:?}", kept()) };
    let good = std::fs::read(file).expect("a file");
    // A damaged file is made again.
    std::fs::write(file, &good[..good.len() - 1]).expect("cut off");
    in_own_process(place.path(), "a_device_starts", &[]);
    assert!(std::fs::read(file).expect("a file") == good);
    // Stored kernels need no compiler.
    std::fs::remove_file(place.path().join("libnvrtc.so.12")).expect("removed");
    in_own_process(place.path(), "a_device_starts", &[]);
}

#[test]
#[ignore = "run by kernels_that_were_compiled_elsewhere_need_no_compiler in a process with the libraries"]
fn all_kernels_are_written() {
    let folder = std::path::PathBuf::from(std::env::var_os("CLAPP_CACHE").expect("a folder"));
    let kept = || std::fs::read_dir(&folder).into_iter().flatten().count();
    if std::env::var("STAND_IN_IMAGE").is_ok() {
        let error = ready::write(&folder, [8, 0]).expect_err("images that are not whole").to_string();
        assert!(error.contains("sm_80"), "{error}");
        assert_eq!(kept(), 0);
        return;
    }
    // This compiler knows no such GPU.
    assert!(ready::write(&folder, [9, 0]).is_err());
    assert_eq!(kept(), 0);
    let sizes = ready::write(&folder, [8, 0]).expect("kernels");
    assert_eq!((sizes.len(), kept()), (4, 4));
    assert!(sizes.iter().all(|bytes| *bytes > 1000), "{sizes:?}");
    assert_eq!(ready::write(&folder, [8, 0]).expect("the same kernels"), sizes);
}

#[test]
#[ignore = "run by kernels_that_were_compiled_elsewhere_need_no_compiler in a process with the libraries"]
fn a_device_starts_in_each_precision() {
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        for deterministic in [false, true] {
            Cuda::new(0, precision, deterministic).expect("a device");
        }
    }
}

/// Two types of maps, deterministic or not: what `ready::write` leaves in a folder serves every precision.
#[test]
fn kernels_that_were_compiled_elsewhere_need_no_compiler() {
    let place = tempfile::tempdir().expect("a folder");
    stand_in(place.path());
    for image in ["empty", "text", "cut"] {
        in_own_process(place.path(), "all_kernels_are_written", &[("STAND_IN_IMAGE", image)]);
    }
    in_own_process(place.path(), "all_kernels_are_written", &[]);
    std::fs::remove_file(place.path().join("libnvrtc.so.12")).expect("removed");
    in_own_process(place.path(), "a_device_starts_in_each_precision", &[]);
    // Without them, the compiler is missed.
    std::fs::remove_dir_all(place.path().join("cache")).expect("removed");
    in_own_process(place.path(), "no_device_starts", &[]);
}

#[test]
#[ignore = "run by kernels_that_were_compiled_elsewhere_need_no_compiler in a process with the libraries"]
fn no_device_starts() {
    let error = Cuda::new(0, Precision::F32, false).expect_err("no compiler").to_string();
    assert!(error.contains("NVRTC (libnvrtc) was not found"), "{error}");
}
