//! Boards, one file each; a feature of the same name chooses one.

#[cfg(feature = "nrf52840")]
pub mod nrf52840;
#[cfg(feature = "qemu")]
pub mod qemu_mps2;
#[cfg(feature = "cortex-m")]
mod received;

#[cfg(feature = "nrf52840")]
pub use nrf52840::{Nrf52840 as Chosen, stop};
#[cfg(feature = "qemu")]
pub use qemu_mps2::{QemuMps2 as Chosen, stop};
