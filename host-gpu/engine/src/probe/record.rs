//! The outcome of a probe as a file beside the checkpoint.

use super::{Kind, ProbeReport};
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The value of `format`.
const FORMAT: &str = "clapp-probe/1";

/// A probe's outcome with its inputs.
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

/// Returns the names of the files that probes write into a run's folder: outcomes and weights of heads.
pub fn files() -> impl Iterator<Item = String> {
    let endings = ["json", "safetensors", "partial.json", "partial.safetensors"];
    let of = move |kind: Kind| endings.map(|ending| format!("{}.{ending}", kind.stem()));
    Kind::ALL.into_iter().flat_map(of)
}

/// Returns the file for the probe of a checkpoint: `probe.json` beside it, `probe-cached.json` or `probe-quick.json`.
pub fn beside(checkpoint: &Path, kind: Kind) -> PathBuf {
    checkpoint.with_file_name(format!("{}.json", kind.stem()))
}

/// Returns the file for a stopped probe if `record` holds a better one: `probe.partial.json`.
pub fn partial(record: &Path) -> PathBuf {
    record.with_extension("partial.json")
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
    /// [`Error::File`] if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Run { path: path.into(), message: error.to_string() })?;
        write_atomically(path, format!("{}\n", numbers_in_lines(&text)).as_bytes())
    }

    /// Reads what [`ProbeRecord::write`] wrote; accuracies are checked to be shares, 0 to 1.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Run`] if it is not such a file.
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
        let (counts, classes) = (&record.report.confusion, record.class_names.len());
        if !counts.is_empty() && (counts.len() != classes || counts.iter().any(|row| row.len() != classes)) {
            return Err(wrong(format!("confusion is no table of {classes} x {classes}, the number of classes")));
        }
        let heads = std::iter::once(("all".to_string(), &record.report.all));
        let layers = record.report.layers.iter().enumerate().map(|(index, layer)| (format!("layers[{index}]"), layer));
        for (name, head) in heads.chain(layers) {
            let shares = [head.last, head.best].into_iter().chain(head.epochs.iter().copied());
            let of_classes = head.classes.iter().flatten().chain(&head.balanced).copied();
            if let Some(share) = shares.chain(of_classes).find(|share| !(0.0..=1.0).contains(share)) {
                return Err(wrong(format!("{name} holds the accuracy {share}, expected 0 to 1")));
            }
        }
        Ok(record)
    }
}

/// The same JSON with each list of plain values, such as a row of the confusion, in one line: a value a line would make
/// tens of thousands of them.
fn numbers_in_lines(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let (mut rest, mut quoted) = (json, false);
    while let Some(at) = rest.find(['"', '\\', '[']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let end = from[1..].find(['[', ']', '{', '}', '"']).map(|end| end + 1);
        match (from.as_bytes()[0], end) {
            // An escaped character is part of a string.
            (b'\\', _) => {
                let length = from.chars().take(2).map(char::len_utf8).sum();
                text.push_str(&from[..length]);
                rest = &from[length..];
                continue;
            }
            (b'[', Some(end)) if !quoted && from.as_bytes()[end] == b']' => {
                text.push_str(&from[..end].split_whitespace().collect::<Vec<&str>>().join(" ").replacen("[ ", "[", 1));
                rest = &from[end..];
                continue;
            }
            (b'"', _) => quoted = !quoted,
            _ => {}
        }
        text.push_str(&from[..1]);
        rest = &from[1..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers_are_lines_and_the_json_is_the_same() {
        let value = serde_json::json!({
            "a": [1, null, 2.5], "b": [[1, 2], []], "names": ["[ 1, 2 ]", "\\", "\"[", "ä"], "c": [{ "d": [] }], "e": [],
        });
        let text = numbers_in_lines(&serde_json::to_string_pretty(&value).unwrap());
        assert!(text.contains("[1, null, 2.5]") && text.contains("[1, 2]"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert!(text.contains("\"[ 1, 2 ]\""), "{text}");
    }
}
