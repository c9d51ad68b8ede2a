//! The own kernels of the GPU backend, run by its emulation on the host, against the CPU backend: random shapes, odd
//! sizes, NaN, both types of maps, several sizes of blocks, and threads in both orders.

mod block;
mod common;
mod contrast;
mod device;
mod info_nce;
mod matching;
mod optimizer;
mod projection;
