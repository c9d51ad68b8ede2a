//! Tests that span crates: rules against plain forms, paths against each other, the firmware in QEMU.

mod backprop;
mod backward;
mod device_image;
mod feedback_rules;
#[path = "../../../core/tests/flash/mod.rs"]
mod flash;
mod global_rules;
mod goodness_rules;
mod gpu_parity;
mod gpu_ranks;
mod linear_loss;
mod memory_plan;
mod parity;
mod plain;
mod qemu_bits;
mod qemu_faults;
mod qemu_kills;
mod qemu_log;
mod qemu_page;
mod threads;
