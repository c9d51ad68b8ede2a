//! The host's end of the cable: link, QEMU, replay, flash images, and networks that fit a device.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod device;
pub mod device_plan;
pub mod flash_image;
