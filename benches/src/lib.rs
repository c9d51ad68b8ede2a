//! References for the Criterion benchmarks of the workspace. The benchmarks themselves are in `benches/`.

pub mod measured;
pub mod naive;
pub mod step_work;

use clapp_data::rng::{Purpose, stream};
use criterion::Criterion;
use std::time::Duration;

/// `count` repeatable numbers between `-scale` and `scale`.
pub fn numbers(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::Other(9), 0, 0);
    (0..count).map(|_| rng.uniform(-scale, scale)).collect()
}

/// Largest difference relative to the largest wanted value: references are checked before they are timed.
pub fn apart(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    got.iter().zip(want).fold(0.0_f32, |worst, (got, want)| worst.max((got - want).abs())) / size.max(1e-6)
}

/// Four seconds a benchmark, so that all of them take a few minutes; options on the command line override it.
pub fn short(criterion: Criterion) -> Criterion {
    criterion.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3))
}
