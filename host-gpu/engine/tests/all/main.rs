//! The CPU backend, presets, schedules, golden vectors, the record of a run.

mod cpu_convolution;
mod golden_case;
mod golden_core;
mod golden_files;
mod presets;
mod run_info;
mod schedules;
