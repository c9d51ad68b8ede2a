//! Builds the firmware for QEMU's boards and runs its programs there.

use crate::{Failed, panics, root, run};
use std::path::PathBuf;
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
    /// Builds all programs, and returns the folder that they are copied to: a build for another board overwrites
    /// those that cargo leaves.
    pub fn build(&self) -> Result<PathBuf, Failed> {
        let failed = |what: &str, error: std::io::Error| Failed(format!("{what}: {error}"));
        let folder = root().join("target/firmware").join(self.name);
        std::fs::create_dir_all(&folder).map_err(|error| failed("target/firmware", error))?;
        // Tests of several crates build at the same time.
        let lock = std::fs::File::create(root().join("target/firmware/lock")).map_err(|error| failed("lock", error))?;
        lock.lock().map_err(|error| failed("lock", error))?;
        let arguments = ["build", "--quiet", "--package", "clapp-firmware", "--profile", "firmware", "--bins"];
        run("cargo", &[&arguments[..], &["--target", TARGET, "--features", self.name]].concat(), &[])?;
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

/// A real board: linked, never run.
const REAL_BOARD: &str = "nrf52840";

/// Lints the parts of the firmware that the host does not see, and links the program of the real board.
pub fn lint() -> Result<(), Failed> {
    let package = ["--package", "clapp-firmware", "--target", TARGET, "--features"];
    for board in BOARDS.iter().map(|board| board.name).chain([REAL_BOARD]) {
        let arguments = [&["clippy", "--lib", "--bins"], &package[..], &[board, "--", "-D", "warnings"]].concat();
        run("cargo", &arguments, &[])?;
    }
    let arguments = ["build", "--quiet", "--profile", "firmware", "--bin", "clapp-firmware"];
    run("cargo", &[&arguments[..], &package, &[REAL_BOARD]].concat(), &[])
}

/// Programs that learn, as they are flashed.
const LEARNING: [&str; 3] = ["clapp-firmware", "cost-colour", "bits"];

/// Looks for panicking paths from `clapp-core` in the programs themselves.
pub fn no_panic() -> Result<(), Failed> {
    let core = root().join("core/src");
    for board in &BOARDS {
        let folder = board.build()?;
        for program in LEARNING {
            let found = panics::find(&folder.join(program))?;
            let ours = found.under(&root(), "core/src");
            if !ours.is_empty() {
                return Err(Failed(format!("panicking paths in {program}:\n  {}", ours.join("\n  "))));
            }
            if !found.calling.iter().any(|file| file.starts_with(&core)) {
                return Err(Failed(format!("{program} has no call from clapp-core: the check proves nothing")));
            }
            println!("{program}, {}: no panicking path from clapp-core", board.core);
        }
        // A check that cannot fail proves nothing: this program takes slices of lengths that it does not check.
        let known = "cost-kernels";
        if panics::find(&folder.join(known))?.under(&root(), "firmware/src").is_empty() {
            return Err(Failed(format!(
                "the panicking paths that {known} has were not found: the check proves nothing"
            )));
        }
    }
    Ok(())
}

/// Builds the firmware for all boards.
pub fn build() -> Result<(), Failed> {
    for board in &BOARDS {
        println!("{}", board.build()?.display());
    }
    Ok(())
}
