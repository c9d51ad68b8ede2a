//! The backend for GPUs, in two parts: what is to be computed, as operations on the device's memory ([`op`]), and
//! devices that run operations ([`executor`]).

pub mod cuda;
pub mod executor;
pub mod kernels;
pub mod op;
pub mod precision;
