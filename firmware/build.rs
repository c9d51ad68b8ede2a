//! Gives the linker the board's memory map.

use std::path::Path;
use std::{env, fs};

/// Features that name a board, and the file of its memory map in `boards/`.
const BOARDS: [(&str, &str); 3] =
    [("QEMU_MPS2_AN386", "qemu-mps2.x"), ("QEMU_MPS2_AN500", "qemu-mps2.x"), ("NRF52840", "nrf52840.x")];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=boards");
    let chosen: Vec<_> =
        BOARDS.iter().filter(|(feature, _)| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some()).collect();
    let &[&(_, map)] = chosen.as_slice() else {
        assert!(chosen.is_empty(), "the features name more than one board: {chosen:?}");
        return;
    };
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let copied = fs::copy(Path::new("boards").join(map), Path::new(&out).join("memory.x"));
    copied.unwrap_or_else(|error| panic!("firmware/boards/{map}: {error}"));
    println!("cargo:rustc-link-search={out}");
    // The relocations stay in the file, not on the chip: `cargo xtask no-panic` reads from them who calls whom.
    for argument in ["--nmagic", "-Tlink.x", "-Tdefmt.x", "--emit-relocs"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
