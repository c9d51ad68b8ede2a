//! The GPU backend without a GPU: programs and plans, and the kernels run by their emulation.

mod feed;
mod gpu_programs;
mod kernels;
#[path = "../../../data/tests/all/sets/mod.rs"]
mod sets;
