//! Tests that count every allocation of their process. They run one at a time, in a separate program.

mod checkpoints;
mod steps;

use peak_alloc::PeakAlloc;
use std::sync::Mutex;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The measuring test holds this lock.
static ALONE: Mutex<()> = Mutex::new(());
