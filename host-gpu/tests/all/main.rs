//! The program: its commands, runs, reports, devices at the other end of a line, and the CUDA executor on stand-ins.

mod cli_align;
mod cli_bytes;
mod cli_common;
mod cli_data;
mod cli_device;
mod cli_device_qemu;
mod cli_doctor;
mod cli_eval;
mod cli_faults;
mod cli_flash;
mod cli_gpu;
mod cli_kill;
mod cli_memory;
mod cli_mpi;
mod cli_paper;
mod cli_recommend;
mod cli_refuses;
mod cli_resume;
mod cli_rules;
mod cli_runs;
mod cli_sweep;
mod cli_use;
mod continual_device;
mod cuda_executor;
mod device_common;
mod device_link;
mod events;
#[path = "../../../core/tests/flash/mod.rs"]
mod flash;
#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "../../engine/tests/all/golden_case/mod.rs"]
mod golden_case;
mod report;
mod report_chromium;
mod report_runs;
mod run_stops;
#[path = "../../data/tests/all/sets/mod.rs"]
mod sets;
