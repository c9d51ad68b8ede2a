//! A Cortex-M program that learns from a stream of frames, without labels and without back-propagation, on
//! `clapp-core`. The code here does not depend on a board, and is tested on the host. A board is one file in `boards`.
//!
//! [`app`] is the program: it meets the host's requests ([`mod@line`]) and takes frames from a sensor ([`source`]).
//! [`machine`] learns from them; [`health`] watches it; [`saving`] keeps what was learnt; [`model`] is the network that is built in.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

pub mod app;
pub mod bits;
pub mod board;
#[cfg(target_os = "none")]
pub mod boards;
#[cfg(all(target_os = "none", feature = "qemu"))]
pub mod cost;
#[cfg(all(target_os = "none", feature = "cortex-m"))]
pub mod fault;
pub mod health;
pub mod line;
pub mod machine;
pub mod memory;
pub mod mlx90640;
pub mod model;
pub mod pins;
pub mod saving;
pub mod source;
pub mod telemetry;
