//! Networks, learning rules, the backend trait and the CPU backend, training, evaluation and proofs.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod alignment;
pub mod backend;
pub mod checkpoint;
pub mod config;
pub mod core_memory;
pub mod distributed;
pub mod draws;
pub mod events;
pub mod golden;
pub mod matmul;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod optimizer;
pub mod parity;
pub mod probe;
pub mod progress;
pub mod rules;
pub mod run;
pub mod run_info;
pub mod schedule;
pub mod step;
pub mod sweep;
pub mod trainer;
pub mod work;
