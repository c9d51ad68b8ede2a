//! Programs of the firmware in QEMU. Tests that need it run under the feature `qemu`, and are named as ignored without.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A board that QEMU emulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// MPS2 with a Cortex-M4F.
    An386,
    /// MPS2 with a Cortex-M7.
    An500,
}

impl Board {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::An386, Self::An500];

    /// QEMU's name.
    pub fn machine(self) -> &'static str {
        match self {
            Self::An386 => "mps2-an386",
            Self::An500 => "mps2-an500",
        }
    }

    /// A program of the firmware for this board, built when first asked for.
    pub fn program(self, name: &str) -> PathBuf {
        static BUILT: OnceLock<()> = OnceLock::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        BUILT.get_or_init(|| {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let status = Command::new(cargo).args(["xtask", "firmware"]).current_dir(&root).status();
            assert!(status.is_ok_and(|status| status.success()), "`cargo xtask firmware` failed");
        });
        root.join("target/firmware").join(format!("qemu-{}", self.machine())).join(name)
    }

    /// Runs a program to its end, for at most two minutes. `arguments` are what it sees as its own.
    pub fn run(self, program: &str, arguments: &[&Path]) -> Output {
        let mut semihosting = format!("enable=on,target=native,arg={program}");
        for argument in arguments {
            semihosting += &format!(",arg={}", argument.display());
        }
        Command::new("timeout")
            .args(["120", "qemu-system-arm", "-machine", self.machine(), "-nographic", "-monitor", "none"])
            .args(["-serial", "null", "-semihosting-config", &semihosting, "-kernel"])
            .arg(self.program(program))
            .output()
            .unwrap_or_else(|error| panic!("qemu-system-arm: {error}; `cargo xtask tools` installs it"))
    }
}
