//! Local contrastive learning of convolutional networks without heap.
#![no_std]

pub mod network;
pub mod plan;
pub mod shape;
