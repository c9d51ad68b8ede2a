//! The host's side of a device at the other end of a line.
//!
//! [`client`] asks, again and again until there is an answer, over a [`transport`]: a serial port ([`port`]), QEMU
//! ([`qemu`], on Unix), and either of them made worse on purpose ([`faults`]). [`description`] is what the device says of itself,
//! [`held`] what it has learnt, which comes [`home`] as a checkpoint. [`frames`] makes its frames of images, [`course`] is the order in which it sees them, and
//! [`replay`] learns the same on the host, to the last bit.

pub mod client;
pub mod course;
pub mod description;
pub mod faults;
pub mod frames;
pub mod held;
pub mod home;
pub mod live;
pub mod port;
#[cfg(unix)]
pub mod qemu;
pub mod replay;
pub mod transport;
