//! Tests that count every allocation of their process: one at a time, in a program of their own.

mod checkpoints;
mod steps;

use peak_alloc::PeakAlloc;
use std::sync::Mutex;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Held by the test that measures.
static ALONE: Mutex<()> = Mutex::new(());
