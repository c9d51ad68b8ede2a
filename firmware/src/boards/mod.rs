//! Boards, one file each; a feature of the same name chooses one.

#[cfg(feature = "qemu")]
pub mod qemu_mps2;
