//! Host side of `clapp`: data, backends, training and evaluation of the local rules.

pub mod augment;
pub mod data;
pub mod loader;
pub mod rng;
pub mod backend;
pub mod matmul;
pub mod model;
pub mod optimizer;
pub mod step;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod files;
pub mod trainer;
pub mod cli;
pub mod probe;
