//! Developer chores of the workspace: `cargo xtask test` runs everything that must hold before a change lands.

// As the standard ones, but a reader that goes away (`| head`, a lost terminal) ends no work of hours.
macro_rules! print {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stdout(), $($text)*);
    }};
}
macro_rules! println {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod borders;
mod compilers;
mod firmware;
mod gpu;
mod kernels;
mod lesson;
mod panics;
mod peers;
mod results;
mod size;
mod tables;
mod tools;
mod venv;

use crate::tools::Tool;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Embedded targets that `clapp-core` must build for.
const TARGETS: [&str; 3] = ["thumbv7em-none-eabihf", "thumbv6m-none-eabi", "riscv32imc-unknown-none-elf"];

/// Sets of features that `clapp-core` must build with.
const FEATURES: [&[&str]; 5] = [&[], &["micromath"], &["defmt"], &["link"], &["micromath", "defmt", "link"]];

/// Builds the firmware of `tests/no-panic`; the target comes next.
const LINK: [&str; 7] = [
    "build",
    "--release",
    "--manifest-path",
    "tests/no-panic/Cargo.toml",
    "--target-dir",
    "target/no-panic",
    "--target",
];

const HELP: &str = "cargo xtask COMMAND

  test      format, lints, documentation, embedded builds, no panicking path, all tests, golden vectors
            --without chromium,kernels,mpi,qemu  leaves out the tests that need these tools
  borders   only: no crate and no room imports upwards (ARCHITECTURE.md)
  tools     installs what the tests need and is not there: Chromium, Python's venv, Open MPI, libclang, QEMU (Debian's
            packages)
  kernels   compiles the GPU's kernels with NVRTC and assembles them with ptxas (from PyPI, into target/), and prints
            registers, shared memory and spills; fails on spills; then has the program find and use each of two compilers
            behind toolkits that will not do; --keep writes benches/results/kernels.md
  no-panic  only: a firmware that calls all of clapp-core links without a panicking path, and the firmware's programs have
            none from clapp-core
  firmware  builds the firmware's programs for QEMU's boards, into target/firmware/BOARD
  size      what networks and kernels cost on a microcontroller, in QEMU: benches/results/embedded.md and embedded.json;
            --check compares with what is kept there, and fails where a number has grown by more than 5 %
  lesson DATA  what learning on the emulated device is worth, five seeds on the generated set and on CIFAR-10:
            benches/results/device.md
  results   runs the demonstration, the golden vectors, info, parity and kernels, and keeps what
            they print in benches/results
  peers     the CPU step beside PyTorch's in one run (installs it from PyPI into target/), benches/results/pytorch.md
  cost      speed and memory over depth and batch, benches/results/cost.md and cost.svg
  gpu       all that needs a GPU, in ten minutes: checks, speed and memory beside PyTorch, CIFAR-10; writes
            benches/results/gpu-*.json and gpu.md; --help says more, --dry-run needs no GPU; --pack for a
            machine without cargo and network, --rehearse tries that without a GPU
  table NAME DATA  trains and probes rules on a data set (what out/tables already holds is kept) and writes
            benches/results/NAME.md; names: cifar10 (an hour or more on two cores), cifar10-short, stl10-short,
            tiny-imagenet-short";

/// A step that did not succeed.
struct Failed(String);

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("test") => without().and_then(|without| test(&without)),
        Some("borders") => borders::check(),
        Some("tools") => tools::install(),
        Some("no-panic") => install().and_then(|()| no_panic()),
        Some("firmware") => firmware::build(),
        Some("size") => match std::env::args().skip(2).collect::<Vec<_>>().as_slice() {
            [] => size::size(false),
            [option] if option == "--check" => size::size(true),
            other => Err(Failed(format!("size {}: expected nothing or --check", other.join(" ")))),
        },
        Some("kernels") => match std::env::args().skip(2).collect::<Vec<_>>().as_slice() {
            [] => kernels::kernels(false, &[]).and_then(|()| compilers::check(&[])),
            [option] if option == "--keep" => kernels::kernels(true, &[]).and_then(|()| compilers::check(&[])),
            other => Err(Failed(format!("kernels {}: expected nothing or --keep", other.join(" ")))),
        },
        Some("results") => results::run().and_then(|()| kernels::kernels(true, &[])),
        Some("lesson") => match std::env::args().nth(2) {
            Some(data) => lesson::run(&data),
            None => Err(Failed("lesson needs the folder or archive of CIFAR-10".into())),
        },
        Some("peers") => peers::peers(),
        Some("cost") => peers::cost(),
        Some("gpu") => gpu::run(clap::Parser::parse_from(std::env::args().skip(1))),
        Some("table") => match [2, 3].map(|at| std::env::args().nth(at)) {
            [Some(name), Some(data)] => tables::run(&name, &data),
            _ => Err(Failed(format!("table needs a name ({}) and the folder or archive of its set", tables::names()))),
        },
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(step)) => {
            eprintln!("\nxtask: failed: {step}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root folder: where this was built, or where `CLAPP_ROOT` says that it was carried.
fn root() -> PathBuf {
    if let Some(root) = std::env::var_os("CLAPP_ROOT") {
        return root.into();
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Runs a program in the root folder and shows what it runs.
fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), Failed> {
    let step = format!("{program} {}", arguments.join(" "));
    println!("\n==> {step}");
    let status = Command::new(program).args(arguments).envs(environment.iter().copied()).current_dir(root()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("{step} ({status})"))),
        Err(error) => Err(Failed(format!("{step}: {error}"))),
    }
}

fn cargo(arguments: &[&str]) -> Result<(), Failed> {
    run("cargo", arguments, &[])
}

/// Installs what `rust-toolchain.toml` names and is not there: rustup may be told not to do so by itself.
fn install() -> Result<(), Failed> {
    let mut targets = vec!["target", "add"];
    targets.extend(TARGETS);
    let reason = "rustup is needed to install the embedded targets of rust-toolchain.toml";
    run("rustup", &targets, &[])
        .and_then(|()| run("rustup", &["component", "add", "rustfmt", "clippy"], &[]))
        .map_err(|Failed(step)| Failed(format!("{step}; {reason}")))
}

/// The tools whose tests are to be left out.
fn without() -> Result<Vec<Tool>, Failed> {
    match std::env::args().skip(2).collect::<Vec<_>>().as_slice() {
        [] => Ok(Vec::new()),
        [option, list] if option == "--without" => tools::parse(list),
        other => Err(Failed(format!("test {}: expected nothing or --without TOOL,TOOL", other.join(" ")))),
    }
}

fn test(without: &[Tool]) -> Result<(), Failed> {
    tools::check(without)?;
    borders::check()?;
    install()?;
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["fmt", "--manifest-path", "tests/no-panic/Cargo.toml", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    run("cargo", &["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])?;
    embedded_builds()?;
    no_panic()?;
    let skipped: &[&str] = if without.contains(&Tool::Chromium) { &["--", "--skip", "chromium_"] } else { &[] };
    let emulated: &[&str] =
        if without.contains(&Tool::Qemu) { &[] } else { &["--features", "clapp-tests/qemu,clapp-host-gpu/qemu"] };
    cargo(&[&["test", "--workspace"], emulated, skipped].concat())?;
    cargo(&["test", "--package", "clapp-core", "--features", "micromath"])?;
    if !without.contains(&Tool::Mpi) {
        mpi()?;
    }
    if !without.contains(&Tool::Kernels) {
        kernels::kernels(false, emulated)?;
        compilers::check(emulated)?;
    }
    firmware::lint()?;
    if !without.contains(&Tool::Qemu) {
        size::size(true)?;
    }
    golden(!without.contains(&Tool::Kernels))?;
    gpu::rehearse()?;
    for tool in without {
        println!("\nNOT RUN, as asked: the tests that need {}", tool.name());
    }
    Ok(())
}

/// Processes that train together; the tests start `mpirun` themselves.
fn mpi() -> Result<(), Failed> {
    let feature = ["--package", "clapp-host-gpu", "--features", "mpi"];
    cargo(&[&["clippy"], &feature[..], &["--all-targets", "--", "-D", "warnings"]].concat())?;
    cargo(&[&["test"], &feature[..], &["--test", "mpi"]].concat())
}

/// `clapp-core` on each embedded target, with and without its features.
fn embedded_builds() -> Result<(), Failed> {
    for target in TARGETS {
        for features in FEATURES {
            let features = features.join(",");
            cargo(&["build", "--release", "--package", "clapp-core", "--target", target, "--features", &features])?;
        }
    }
    Ok(())
}

/// Links a firmware that calls every operation of `clapp-core`; a panicking path is an undefined symbol there. At
/// opt-level 3 with the cable's frames, at "s" and "z" without: postcard, which writes them, indexes arrays.
fn no_panic() -> Result<(), Failed> {
    for target in TARGETS {
        cargo(&[&LINK[..], &[target]].concat())?;
        for level in ["s", "z"] {
            let arguments = [&LINK[..], &[target, "--no-default-features"]].concat();
            run("cargo", &arguments, &[("CARGO_PROFILE_RELEASE_OPT_LEVEL", level)])?;
        }
    }
    // A check that cannot fail proves nothing: with a deliberate panicking path it must not link.
    println!("\n==> the same with a deliberate panicking path, which must not link");
    let output =
        Command::new("cargo").args(LINK).args([TARGETS[0], "--features", "culprit"]).current_dir(root()).output();
    let output = output.map_err(|error| Failed(format!("cargo: {error}")))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Err(Failed("a deliberate panicking path was linked: the check proves nothing".into()));
    }
    if !text.contains("clapp_core_has_a_panicking_path") {
        return Err(Failed(format!("the deliberate panicking path failed to build for another reason:\n{text}")));
    }
    println!("refused, as it must be");
    firmware::no_panic()
}

/// The reference numbers, through the program, where they lie beside the repository.
fn golden(emulated: bool) -> Result<(), Failed> {
    let folder = root().join("../shared/golden");
    if !folder.is_dir() {
        println!("\n==> golden vectors: no folder ../shared/golden beside the repository, not run");
        return Ok(());
    }
    for backend in ["core", "cpu"] {
        cargo(&["run", "--quiet", "--", "golden", "../shared/golden", "--backend", backend])?;
    }
    if emulated {
        let backend = ["--backend", "emulated", "--precision", "f32"];
        cargo(&[&["run", "--quiet", "--", "golden", "../shared/golden"], &backend[..]].concat())?;
    }
    Ok(())
}
