//! Data sets and their formats, views and augmentation, the loader.
#![allow(clippy::unwrap_used, reason = "a failure is the end of a test")]

mod augment_ops;
mod augment_test_transform;
mod augment_views;
mod data_cifar;
mod data_encoded;
mod data_generated;
mod data_idx;
mod data_loader;
mod data_stl10;
mod encoded;
#[path = "../fixtures/image.rs"]
mod image;
mod sets;
