//! Files to samples: data sets and their formats, views and augmentation, the loader, random streams, and writing files
//! safely. The lowest crate of the host.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod augment;
pub mod console;
pub mod data;
pub mod error;
pub mod files;
pub mod loader;
pub mod npy;
pub mod rng;
pub mod tensor_file;
pub mod words;
