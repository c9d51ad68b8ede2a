//! What feeds a training step on the device, run on its emulation and compared with the CPU.

#![allow(clippy::unwrap_used)]

mod augment;
mod device;
mod draws;
mod refused;
mod upload;
