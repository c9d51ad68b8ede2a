//! Builds the firmware for QEMU's boards and runs its programs there.

use crate::{Failed, panics, root, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The firmware's target.
pub const TARGET: &str = "thumbv7em-none-eabihf";

/// A board that QEMU emulates.
pub struct Board {
    /// The feature of the firmware that chooses it, and the folder of its programs in `target/firmware/`.
    pub name: &'static str,
    /// QEMU's name for it.
    machine: &'static str,
    pub core: &'static str,
}

/// The boards on which everything is tested.
pub const BOARDS: [Board; 2] = [
    Board { name: "qemu-mps2-an386", machine: "mps2-an386", core: "Cortex-M4F" },
    Board { name: "qemu-mps2-an500", machine: "mps2-an500", core: "Cortex-M7" },
];

impl Board {
    /// Builds all programs, and returns their folder.
    pub fn build(&self) -> Result<PathBuf, Failed> {
        build_for(self.name)
    }

    /// Runs a program to its end, so that each instruction takes the same time, and returns what it prints.
    pub fn measure(&self, program: &str) -> Result<String, Failed> {
        let path = root().join("target/firmware").join(self.name).join(program);
        let output = Command::new("timeout")
            .args(["300", "qemu-system-arm", "-machine", self.machine, "-nographic", "-monitor", "none"])
            .args(["-serial", "null", "-icount", "shift=0", "-semihosting-config", "enable=on,target=native"])
            .arg("-kernel")
            .arg(&path)
            .output()
            .map_err(|error| Failed(format!("qemu-system-arm: {error}; `cargo xtask tools` installs it")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(Failed(format!("{program} on {} ({})\n{text}{errors}", self.machine, output.status)))
    }
}

/// A real board: linked and looked through, never run.
const REAL_BOARD: &str = "nrf52840";

/// Builds all programs for a board, and returns the folder that they are copied to: a build for another board overwrites
/// those that cargo leaves.
fn build_for(board: &str) -> Result<PathBuf, Failed> {
    let failed = |what: &str, error: std::io::Error| Failed(format!("{what}: {error}"));
    let folder = root().join("target/firmware").join(board);
    std::fs::create_dir_all(&folder).map_err(|error| failed("target/firmware", error))?;
    // Tests of several crates build at the same time.
    let lock = std::fs::File::create(root().join("target/firmware/lock")).map_err(|error| failed("lock", error))?;
    lock.lock().map_err(|error| failed("lock", error))?;
    let arguments = ["build", "--quiet", "--package", "clapp-firmware", "--profile", "firmware", "--bins"];
    run("cargo", &[&arguments[..], &["--target", TARGET, "--features", board]].concat(), &[])?;
    let built = root().join("target").join(TARGET).join("firmware");
    for entry in built.read_dir().map_err(|error| failed("the firmware's folder", error))?.flatten() {
        let path = entry.path();
        // Programs have no extension here.
        if path.is_file() && path.extension().is_none() && !entry.file_name().to_string_lossy().starts_with('.') {
            let to = folder.join(entry.file_name());
            std::fs::copy(&path, &to).map_err(|error| failed(&to.display().to_string(), error))?;
        }
    }
    Ok(folder)
}

/// Lints the parts of the firmware that the host does not see.
pub fn lint() -> Result<(), Failed> {
    for board in BOARDS.iter().map(|board| board.name).chain([REAL_BOARD]) {
        let arguments = ["clippy", "--lib", "--bins", "--package", "clapp-firmware", "--target", TARGET, "--features"];
        run("cargo", &[&arguments[..], &[board, "--", "-D", "warnings"]].concat(), &[])?;
    }
    Ok(())
}

/// The program that is flashed.
const FLASHED: &str = "clapp-firmware";
/// Others that learn.
const LEARNING: [&str; 2] = ["cost-colour", "bits"];

/// Looks for panicking paths from `clapp-core` in the programs themselves.
pub fn no_panic() -> Result<(), Failed> {
    for board in &BOARDS {
        let folder = board.build()?;
        for program in LEARNING.iter().chain([&FLASHED]) {
            has_none(&folder.join(program))?;
        }
        // A check that cannot fail proves nothing: this program takes slices of lengths that it does not check.
        let known = "cost-kernels";
        if panics::find(&folder.join(known))?.under(&root(), "firmware/src").is_empty() {
            return Err(Failed(format!(
                "the panicking paths that {known} has were not found: the check proves nothing"
            )));
        }
    }
    has_none(&build_for(REAL_BOARD)?.join(FLASHED))
}

/// Fails where a program has a panicking path from `clapp-core`.
fn has_none(program: &Path) -> Result<(), Failed> {
    let core = "core/src";
    let found = panics::find(program)?;
    let ours = found.under(&root(), core);
    if !ours.is_empty() {
        return Err(Failed(format!("panicking paths in {}:\n  {}", program.display(), ours.join("\n  "))));
    }
    if !found.calling.iter().any(|file| file.starts_with(root().join(core))) {
        return Err(Failed(format!("{} has no call from clapp-core: the check proves nothing", program.display())));
    }
    println!("{}: no panicking path from clapp-core", program.display());
    Ok(())
}

/// Builds the firmware for all boards.
pub fn build() -> Result<(), Failed> {
    for board in &BOARDS {
        println!("{}", board.build()?.display());
    }
    Ok(())
}
