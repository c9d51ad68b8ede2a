//! Errors of commands, and their exit codes.

use clapp_core::plan::NetworkError;
use std::path::{Path, PathBuf};

/// Reason why a command stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The error of a module above this one, which converts it with [`Error::input`] or [`Error::failure`].
    #[error("{error}")]
    Other {
        /// The source error.
        error: Box<dyn std::error::Error + Send + Sync>,
        /// Result of [`Error::exit_code`].
        exit_code: u8,
    },
    /// A configuration file or the options do not make sense.
    #[error("{origin}: {message}")]
    Config {
        /// The file, the preset or the option.
        origin: String,
        /// The fault and the expected value.
        message: String,
    },
    /// A checkpoint could not be read.
    #[error("{path}: {message}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The fault and the expected value.
        message: String,
    },
    /// A file of a run's folder could not be understood.
    #[error("{path}: {message}")]
    Run {
        /// The file or folder.
        path: PathBuf,
        /// The fault and the expected value.
        message: String,
    },
    /// The network does not fit together, or not on the images.
    #[error("the network does not fit together: {0}")]
    Network(#[from] NetworkError),
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another run is at work in a folder.
    #[error("{path}: another run uses this folder")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A run would overwrite another one.
    #[error(
        "{path}: exists already; continue with --resume, start again with --overwrite, or name another folder with --out"
    )]
    Exists {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Configuration or images are not those of the checkpoint.
    #[error("{origin} and {path} do not agree: {differences}")]
    Differs {
        /// The other side of the comparison: a file, a preset, the command line or the data set.
        origin: String,
        /// The checkpoint.
        path: PathBuf,
        /// The fields, and both values of each.
        differences: String,
    },
    /// The work cannot fit into the memory.
    #[error("{what} needs about {needed} of memory ({most}), but {available} are available; {lower}")]
    Memory {
        /// `training` or `the probe`.
        what: &'static str,
        /// Memory needed.
        needed: String,
        /// Its largest parts.
        most: String,
        /// Memory available.
        available: String,
        /// Advice to reduce it.
        lower: &'static str,
    },
    /// Standard output could not be written to.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
    /// The picture could not be drawn.
    #[error("cannot draw {path}: {message}")]
    Plot {
        /// The file.
        path: PathBuf,
        /// The library's reason.
        message: String,
    },
    /// Several processes cannot train together.
    #[error("{0}")]
    Mpi(String),
    /// Another rank has the error, and prints it.
    #[error("another rank has failed")]
    Elsewhere,
    /// A device cannot be reached, or does not fit what it is asked for.
    #[error("{place}: {message}")]
    NoDevice {
        /// The line to it.
        place: String,
        /// The fault and advice.
        message: String,
    },
    /// A device has stopped in the middle of the work.
    #[error("{place}: {message}")]
    Device {
        /// The line to it.
        place: String,
        /// The fault and advice.
        message: String,
    },
    /// A signal has stopped the work.
    #[error("stopped")]
    Stopped,
    /// Training has left the numbers.
    #[error(
        "the loss of layer {layer} is {loss} at step {step} of epoch {epoch}: training has diverged; \
         try a smaller learning rate"
    )]
    Diverged {
        /// Index of the layer.
        layer: usize,
        /// The loss.
        loss: f64,
        /// Step, counted from 1 over all epochs.
        step: u64,
        /// Epoch, from 0.
        epoch: u64,
    },
    /// The weights of a probe have left the numbers.
    #[error(
        "the probe has diverged: tensor {tensor} is not finite, no result is written; train with a smaller probe.lr"
    )]
    ProbeDiverged {
        /// Name of the tensor.
        tensor: String,
    },
    /// Parameters have left the numbers.
    #[error("tensor {tensor} is not finite after step {step}: training has diverged; try a smaller learning rate")]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
        /// Steps done, over all epochs.
        step: u64,
    },
}

impl Error {
    /// A module's own error where the input was wrong: exit code 2.
    pub fn input(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Other { error: Box::new(error), exit_code: 2 }
    }

    /// A module's own error where the input was right but the work failed: exit code 1.
    pub fn failure(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Other { error: Box::new(error), exit_code: 1 }
    }

    /// For `map_err` on file operations.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { action, path: path.to_path_buf(), source }
    }

    /// 1 if the input was right but the work failed, 2 where the input was wrong, 130 after a signal.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Diverged { .. } | Self::NotFinite { .. } | Self::ProbeDiverged { .. } | Self::Device { .. } => 1,
            Self::Other { exit_code, .. } => *exit_code,
            Self::Stopped => 130,
            _ => 2,
        }
    }
}
