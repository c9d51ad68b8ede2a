//! Runs of the step programs and their output. Each run is a separate process, so its memory can be measured.

use serde::Deserialize;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Output of `peer_step` and of its counterpart in PyTorch.
#[derive(Debug, Clone, Deserialize)]
pub struct Measured {
    /// Name and version.
    pub program: String,
    /// Loss of each layer that has one, for the first steps.
    pub losses: Vec<Vec<f64>>,
    /// Seconds of each timed step.
    pub seconds: Vec<f64>,
    /// Images in a batch.
    pub images: usize,
    /// Peak of resident memory in MiB over all steps.
    pub peak_mib: f64,
    /// Trained elements of all layers; 0 if the program does not say.
    #[serde(default)]
    pub parameters: usize,
}

impl Measured {
    /// Images a second at the median step.
    pub fn rate(&self) -> f64 {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        let middle = seconds.len() / 2;
        let median = if seconds.len().is_multiple_of(2) {
            seconds.get(middle.wrapping_sub(1)).zip(seconds.get(middle)).map(|(a, b)| (a + b) / 2.0)
        } else {
            seconds.get(middle).copied()
        };
        self.images as f64 / median.unwrap_or(f64::NAN)
    }

    /// Takes in the steps of another run of the same.
    pub fn append(&mut self, more: Self) {
        self.seconds.extend(more.seconds);
        self.peak_mib = self.peak_mib.max(more.peak_mib);
    }

    /// Largest difference of the losses of the first steps from another program's.
    pub fn apart(&self, other: &Self) -> f64 {
        let pairs = self.losses.iter().flatten().zip(other.losses.iter().flatten());
        let same_length = self.losses.concat().len() == other.losses.concat().len();
        if same_length { pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) } else { f64::INFINITY }
    }
}

/// A program of this package, where cargo has built it beside the running one.
///
/// # Errors
/// If the running program's own path is unknown.
pub fn sibling(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let mut path = std::env::current_exe()?;
    path.set_file_name(name);
    path.set_extension(std::env::consts::EXE_EXTENSION);
    Ok(path)
}

/// Runs a program that prints one line of JSON.
///
/// # Errors
/// If it cannot be started, fails, or prints something else.
pub fn json<T: for<'a> Deserialize<'a>>(command: &mut Command) -> Result<T, Box<dyn Error>> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{command:?}: {error}").into())
}
