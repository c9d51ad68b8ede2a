//! CUDA through `cudarc`: own kernels, cuDNN, cuBLASLt and NCCL, all loaded while the program runs.

mod folders;
pub mod found;
pub mod libraries;
