//! Shared code of the tests of several ranks: their start, and the joint batch of all ranks.
#![allow(dead_code, reason = "every test file uses its own part")]

use clapp_engine::backend::{Backend, Pairing};
use clapp_engine::config::Config;
use clapp_engine::model::{LayerValues, TensorRole};
use clapp_engine::rules::step;
use clapp_engine::step::{Mode, Model, StepBatch};
use std::process::Command;

/// Largest difference allowed, absolute and relative.
pub const TOLERANCE: f64 = 1e-6;

/// `mpirun` for `ranks` ranks of a program with its arguments.
pub fn mpirun(ranks: usize, program: &[&str]) -> Command {
    let mut command = launcher();
    command.args(["-n", &ranks.to_string()]).args(program);
    command
}

/// `mpirun` without ranks.
pub fn launcher() -> Command {
    let mut command = Command::new("mpirun");
    // Tests run in containers: as root, with fewer cores than ranks, and without leave to read another process's
    // memory, which Open MPI's shared memory would try first.
    command
        .args(["--allow-run-as-root", "--oversubscribe"])
        .env("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
        .env("RAYON_NUM_THREADS", "1");
    command
}

/// The batches of all ranks in one step.
pub struct Batches {
    /// Images of each rank that count.
    pub counts: Vec<usize>,
    /// Frames of each rank, `[2N, C, H, W]`.
    pub frames: Vec<Vec<f32>>,
    /// Negatives of each rank, `[K][2N]`.
    pub negatives: Vec<Vec<usize>>,
}

impl Batches {
    /// The place of a rank's row in the batch of all: first views of all ranks come before second views of all.
    fn place(&self, rank: usize, row: usize) -> usize {
        let before: usize = self.counts[..rank].iter().sum();
        let total: usize = self.counts.iter().sum();
        let count = self.counts[rank];
        if row < count { before + row } else { total + before + row - count }
    }

    /// Frames and negatives of the one batch: every row keeps the negatives that it has in its rank.
    pub fn merged(&self) -> (Vec<f32>, Vec<usize>) {
        let rows = 2 * self.counts.iter().sum::<usize>();
        let (mut frames, mut negatives) = (Vec::new(), Vec::new());
        for (rank, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let own = 2 * count;
            let (len, rounds) = (self.frames[rank].len() / own, self.negatives[rank].len() / own);
            frames.resize(rows * len, 0.0);
            negatives.resize(rounds * rows, usize::MAX);
            for row in 0..own {
                let place = self.place(rank, row);
                frames[place * len..][..len].copy_from_slice(&self.frames[rank][row * len..][..len]);
                for round in 0..rounds {
                    negatives[round * rows + place] = self.place(rank, self.negatives[rank][round * own + row]);
                }
            }
        }
        assert!(!negatives.contains(&usize::MAX));
        (frames, negatives)
    }
}

/// One step on `frames`.
pub fn learn(
    backend: &impl Backend<Tensor = Vec<f32>>,
    config: &Config,
    model: &mut Model<Vec<f32>>,
    frames: &[f32],
    negatives: &[usize],
    mode: Mode<'_, Vec<f32>>,
) {
    let rows = frames.len() / config.input_shape().len();
    let x = backend.upload_frames(config.input_shape(), frames);
    step(backend, model, StepBatch { x, rows, pairing: Pairing::views(negatives, None) }, mode);
}

/// Compares all tensors: `|found - expected|` over `|expected|` (Euclidean norms), and each element in itself. Gives
/// the largest of the former.
pub fn compare(found: &[LayerValues], expected: &[LayerValues], what: &str) -> f64 {
    let mut worst = 0.0_f64;
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        for role in TensorRole::ALL {
            let (found, expected) = (found.get(role), expected.get(role));
            let what = format!("{what}: layer {index}, {}", role.name());
            assert_eq!(found.len(), expected.len(), "{what}");
            if expected.is_empty() {
                continue;
            }
            let (mut difference, mut norm) = (0.0, 0.0);
            for (found, expected) in found.iter().zip(expected) {
                let (found, expected) = (f64::from(*found), f64::from(*expected));
                assert!((found - expected).abs() <= TOLERANCE, "{what}: {found} instead of {expected}");
                difference += (found - expected).powi(2);
                norm += expected.powi(2);
            }
            assert!(norm > 0.0, "{what} is all zero");
            let relative = (difference / norm).sqrt();
            assert!(relative <= TOLERANCE, "{what} differs by {relative:e}");
            worst = worst.max(relative);
        }
    }
    worst
}
