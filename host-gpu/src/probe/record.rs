//! The outcome of a probe as a file beside the checkpoint.

use super::ProbeReport;
use crate::data::Dataset;
use crate::error::Error;
use crate::files::write_atomically;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The value of `format`.
const FORMAT: &str = "clapp-probe/1";

/// A probe's outcome with what it was made on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeRecord {
    /// `clapp-probe/1`.
    format: String,
    /// Epochs that the encoder had been trained for.
    pub encoder_epochs: u64,
    /// Short name of the data set.
    pub data: String,
    /// Names of the classes, in the order of [`super::Accuracy::classes`].
    pub class_names: Vec<String>,
    /// The accuracies.
    #[serde(flatten)]
    pub report: ProbeReport,
}

/// All fields but those of the report. serde's `flatten` reads no numbers where a crate of the same build has turned on
/// serde_json's `arbitrary_precision`, so both parts are read on their own.
#[derive(Deserialize)]
struct Head {
    format: String,
    encoder_epochs: u64,
    data: String,
    class_names: Vec<String>,
}

/// Name of a probe's outcome in a run's folder.
pub const PROBE: &str = "probe.json";

/// The same for cached features.
pub const PROBE_CACHED: &str = "probe-cached.json";

/// Where the probe of a checkpoint is kept: [`PROBE`] beside it, or [`PROBE_CACHED`].
pub fn beside(checkpoint: &Path, cached: bool) -> PathBuf {
    checkpoint.with_file_name(if cached { PROBE_CACHED } else { PROBE })
}

impl ProbeRecord {
    /// The outcome on `data` of an encoder that had been trained for `encoder_epochs`.
    pub fn new(encoder_epochs: u64, data: &Dataset, report: ProbeReport) -> Self {
        let (name, class_names) = (data.name.clone(), data.classes.clone());
        Self { format: FORMAT.into(), encoder_epochs, data: name, class_names, report }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Run { path: path.into(), message: error.to_string() })?;
        write_atomically(path, format!("{text}\n").as_bytes())
    }

    /// Reads what [`ProbeRecord::write`] wrote; accuracies are checked to be shares, 0 to 1.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, [`Error::Run`] where it is not such a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |message: String| Error::Run { path: path.into(), message };
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        let head: Head = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let report: ProbeReport = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let Head { format, encoder_epochs, data, class_names } = head;
        let record = Self { format, encoder_epochs, data, class_names, report };
        if record.format != FORMAT {
            return Err(wrong(format!("format is `{}`, expected `{FORMAT}`", record.format)));
        }
        let heads = std::iter::once(("all".to_string(), &record.report.all));
        let layers = record.report.layers.iter().enumerate().map(|(index, layer)| (format!("layers[{index}]"), layer));
        for (name, head) in heads.chain(layers) {
            let shares = [head.last, head.best].into_iter().chain(head.epochs.iter().copied());
            if let Some(share) = shares.into_iter().find(|share| !(0.0..=1.0).contains(share)) {
                return Err(wrong(format!("{name} holds the accuracy {share}, expected 0 to 1")));
            }
        }
        Ok(record)
    }
}
