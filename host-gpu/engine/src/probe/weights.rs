//! The heads of a probe as a file, for `clapp predict`.
//!
//! Tensors are `all.weight` `[classes, D]` and `all.bias` `[classes]` of the head that reads all layers, with the
//! features of the layers in order, and `layer{l}.weight` and `layer{l}.bias` of the head of each layer; all `f32`,
//! row-major. The metadata has one entry, `clapp-probe`, as JSON.

use super::{Head, Protocol};
use clapp_data::error::Error;
use clapp_data::tensor_file::{TensorFile, write_tensors};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The value of `format`.
const FORMAT: &str = "clapp-probe-weights/1";

/// The entry of the metadata.
const ENTRY: &str = "clapp-probe";

/// Contents of the metadata entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    format: String,
    encoder_epochs: u64,
    /// Checksum of the encoder's checkpoint, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encoder_crc32: Option<String>,
    data: String,
    class_names: Vec<String>,
    epochs: u64,
    train_images: usize,
    test_images: usize,
    /// Share of test images that the head on all layers classifies rightly.
    accuracy: f64,
    protocol: Protocol,
    crc32: String,
}

/// The heads of a probe, with the inputs of the probe.
#[derive(Debug, Clone)]
pub struct ProbeWeights {
    /// Epochs that the encoder had been trained for.
    pub encoder_epochs: u64,
    /// Checksum of the encoder's tensors, where its checkpoint has one.
    pub encoder_checksum: Option<String>,
    /// Short name of the data set.
    pub data: String,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Epochs that the heads have learnt.
    pub epochs: u64,
    /// Labelled images, and test images.
    pub images: [usize; 2],
    /// Share of test images that the head on all layers classifies rightly.
    pub accuracy: f64,
    /// Protocol of the probe.
    pub protocol: Protocol,
    /// The head that reads all layers, then one a layer.
    pub heads: Vec<Head>,
}

/// Returns the file for the weights of the probe with the outcome at `record`.
pub fn beside_record(record: &Path) -> PathBuf {
    record.with_extension("safetensors")
}

/// Name of the head with that index.
fn name(head: usize) -> String {
    if head == 0 { "all".into() } else { format!("layer{}", head - 1) }
}

/// Features of each layer side by side.
fn columns(dimensions: &[usize], head: usize) -> (Vec<usize>, usize) {
    let layers: Vec<usize> = if head == 0 { (0..dimensions.len()).collect() } else { vec![head - 1] };
    let total = layers.iter().map(|layer| dimensions[*layer]).sum();
    (layers, total)
}

impl ProbeWeights {
    /// Writes the file, whole or not at all; `dimensions` are the features of each layer.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written, [`Error::ProbeDiverged`] if a weight is not finite.
    pub fn write(&self, path: &Path, dimensions: &[usize]) -> Result<(), Error> {
        let classes = self.class_names.len();
        let mut tensors = Vec::new();
        for index in 0..self.heads.len() {
            let (_, total) = columns(dimensions, index);
            tensors.push((format!("{}.weight", name(index)), vec![classes, total]));
            tensors.push((format!("{}.bias", name(index)), vec![classes]));
        }
        let entry = |checksum| {
            serde_json::to_string(&Entry {
                format: FORMAT.into(),
                encoder_epochs: self.encoder_epochs,
                encoder_crc32: self.encoder_checksum.clone(),
                data: self.data.clone(),
                class_names: self.class_names.clone(),
                epochs: self.epochs,
                train_images: self.images[0],
                test_images: self.images[1],
                accuracy: self.accuracy,
                protocol: self.protocol.clone(),
                crc32: checksum,
            })
        };
        write_tensors(path, ENTRY, entry, &tensors, |at| {
            let head = &self.heads[at / 2];
            let values = if at % 2 == 1 { head.bias().to_vec() } else { side_by_side(head, dimensions, classes) };
            match values.iter().all(|value| value.is_finite()) {
                true => Ok(values),
                false => Err(Error::ProbeDiverged { tensor: tensors[at].0.clone() }),
            }
        })
    }

    /// Reads what [`ProbeWeights::write`] wrote, for an encoder whose layers have features of these `dimensions`.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Checkpoint`] if it is damaged or no such file.
    pub fn read(path: &Path, dimensions: &[usize]) -> Result<Self, Error> {
        let wrong = |message: String| Error::Checkpoint { path: path.into(), message };
        let mut file = TensorFile::open(path)?;
        let Some(entry) = file.entry(ENTRY) else {
            return Err(wrong(format!("no `{ENTRY}` in the metadata: these are not weights by `clapp eval`")));
        };
        let entry: Entry =
            serde_json::from_str(entry).map_err(|error| wrong(format!("`{ENTRY}` in the metadata: {error}")))?;
        if entry.format != FORMAT {
            return Err(wrong(format!("format is `{}`, expected `{FORMAT}`", entry.format)));
        }
        file.verify(&entry.crc32)?;
        let classes = entry.class_names.len();
        let mut heads = Vec::new();
        for index in 0..=dimensions.len() {
            let (layers, total) = columns(dimensions, index);
            let weight = file.read(&format!("{}.weight", name(index)), &[classes, total])?;
            let bias = file.read(&format!("{}.bias", name(index)), &[classes])?;
            heads.push(Head::with_weights(layers.clone(), apart(&weight, total, &layers, dimensions), bias));
        }
        let Entry { encoder_epochs, encoder_crc32, data, class_names, epochs, accuracy, protocol, .. } = entry;
        Ok(Self {
            encoder_epochs,
            encoder_checksum: encoder_crc32,
            data,
            class_names,
            epochs,
            images: [entry.train_images, entry.test_images],
            accuracy,
            protocol,
            heads,
        })
    }

    /// The probe in words.
    pub fn words(&self) -> String {
        let [train, test] = self.images;
        format!(
            "{}, {}: {:.2} % of the test images of {}",
            self.protocol.kind,
            self.protocol.words(self.epochs, train, test),
            100.0 * self.accuracy,
            self.data
        )
    }
}

/// The parts `[classes, D]` of a head as one matrix.
fn side_by_side(head: &Head, dimensions: &[usize], classes: usize) -> Vec<f32> {
    let mut values = Vec::new();
    for class in 0..classes {
        for (part, layer) in head.layers().iter().enumerate() {
            let len = dimensions[*layer];
            values.extend_from_slice(&head.weight(part)[class * len..][..len]);
        }
    }
    values
}

/// The other way.
fn apart(weight: &[f32], total: usize, layers: &[usize], dimensions: &[usize]) -> Vec<Vec<f32>> {
    let mut begin = 0;
    let mut part = |layer: &usize| {
        let range = begin..begin + dimensions[*layer];
        begin = range.end;
        weight.chunks_exact(total.max(1)).flat_map(|row| &row[range.clone()]).copied().collect()
    };
    layers.iter().map(&mut part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_head_are_put_side_by_side_and_taken_apart() {
        let dimensions = [2, 1, 3];
        let head = Head::new(&dimensions, vec![0, 1, 2], 4, 7, 0);
        let joined = side_by_side(&head, &dimensions, 4);
        assert_eq!(joined[..2], head.weight(0)[..2]);
        assert_eq!(joined[2], head.weight(1)[0]);
        assert_eq!(joined[6..8], head.weight(0)[2..4]);
        let parts = apart(&joined, 6, &[0, 1, 2], &dimensions);
        assert_eq!(parts, [head.weight(0), head.weight(1), head.weight(2)]);
    }
}
