//! Host side of `clapp`: data, backends, training and evaluation of the local rules.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod alignment;
pub mod augment;
pub mod backend;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod console;
pub mod continual;
pub mod core_memory;
pub mod data;
pub mod device;
pub mod device_plan;
pub mod distributed;
pub mod draws;
pub mod error;
pub mod events;
pub mod files;
pub mod flash_image;
pub mod golden;
pub mod loader;
pub mod matmul;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod npy;
pub mod optimizer;
pub mod paper;
pub mod parity;
pub mod plot;
pub mod probe;
pub mod recommend;
pub mod report;
pub mod rng;
pub mod rules;
pub mod run;
pub mod run_info;
pub mod schedule;
pub mod step;
pub mod sweep;
pub mod tensor_file;
pub mod theory;
pub mod trainer;
pub mod words;
pub mod work;
