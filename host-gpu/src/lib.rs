//! Host side of `clapp`: data, backends, training and evaluation of the local rules.

pub mod augment;
pub mod backend;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod core_memory;
pub mod data;
pub mod distributed;
pub mod error;
pub mod files;
pub mod golden;
pub mod loader;
pub mod matmul;
pub mod metrics;
pub mod model;
pub mod optimizer;
pub mod parity;
pub mod plot;
pub mod probe;
pub mod report;
pub mod rng;
pub mod run;
pub mod run_info;
pub mod step;
pub mod trainer;
