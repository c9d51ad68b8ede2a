//! Checkpoints: the parameters and the whole configuration in one safetensors file.
//!
//! Tensors are `layer{l}.weight`, `.bias`, `.projection` and `.feedback` as far as the rule has them, `f32`,
//! row-major. The metadata has one entry, `clapp`: JSON with `format`, the epochs done (`epoch`) and the
//! configuration as TOML (`config`). One entry, because the format does not order several: the same run must write
//! the same bytes.

use crate::config::Config;
use crate::error::Error;
use crate::files::write_atomically;
use crate::model::{LayerValues, NetworkSpec};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// The value of `format` in the metadata.
const FORMAT: &str = "clapp-checkpoint/1";

/// The entry of the metadata.
const ENTRY: &str = "clapp";

/// What the entry holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    epoch: u64,
    config: String,
}

/// A trained (or untrained) encoder with the configuration it was trained with.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The configuration of the run.
    pub config: Config,
    /// Epochs done.
    pub epoch: u64,
    /// Parameters, from the input to the top.
    pub layers: Vec<LayerValues>,
}

impl Checkpoint {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written, [`Error::Network`] where the configuration does not fit together.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let wrong = |message: String| Error::Checkpoint { path: path.into(), message };
        let spec = self.config.network()?;
        let mut bytes: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for (layer, values) in spec.layers().iter().zip(&self.layers) {
            for (role, shape) in spec.tensors(layer) {
                let values = values.get(role).iter().flat_map(|value| value.to_le_bytes()).collect();
                bytes.push((role.path(layer.index), shape, values));
            }
        }
        let mut views = Vec::with_capacity(bytes.len());
        for (name, shape, bytes) in &bytes {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|error| wrong(error.to_string()))?;
            views.push((name.as_str(), view));
        }
        let header = Header { format: FORMAT.into(), epoch: self.epoch, config: self.config.to_toml()? };
        let header = serde_json::to_string(&header).map_err(|error| wrong(error.to_string()))?;
        let metadata = HashMap::from([(ENTRY.to_string(), header)]);
        let file = serialize(views, Some(metadata)).map_err(|error| wrong(error.to_string()))?;
        write_atomically(path, &file)
    }

    /// Reads a file that [`Checkpoint::write`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, [`Error::Checkpoint`] where it is not such a file or a tensor is
    /// missing, has another shape, or holds values that are not finite.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |message: String| Error::Checkpoint { path: path.into(), message };
        let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
        let (_, header) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| wrong(format!("not a whole safetensors file: {error}")))?;
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|error| wrong(format!("not a whole safetensors file: {error}")))?;
        let entry = header.metadata().as_ref().and_then(|metadata| metadata.get(ENTRY));
        let entry = entry.ok_or_else(|| wrong(format!("no `{ENTRY}` in the metadata: not a checkpoint of clapp")))?;
        let Header { format, epoch, config } =
            serde_json::from_str(entry).map_err(|error| wrong(format!("`{ENTRY}` in the metadata: {error}")))?;
        if format != FORMAT {
            return Err(wrong(format!("format is `{format}`, expected `{FORMAT}`")));
        }
        let config = Config::parse(&config, &format!("{}: config", path.display()))?;
        let spec = config.network()?;
        let layers = read_layers(&spec, &tensors).map_err(wrong)?;
        Ok(Self { config, epoch, layers })
    }
}

fn read_layers(spec: &NetworkSpec, tensors: &SafeTensors<'_>) -> Result<Vec<LayerValues>, String> {
    let mut layers = Vec::with_capacity(spec.layers().len());
    for layer in spec.layers() {
        let mut values = LayerValues::default();
        for (role, shape) in spec.tensors(layer) {
            let name = role.path(layer.index);
            let tensor = tensors.tensor(&name).map_err(|_| format!("tensor {name} is missing"))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
                return Err(format!(
                    "tensor {name} is {:?} {:?}, expected F32 {shape:?}",
                    tensor.dtype(),
                    tensor.shape()
                ));
            }
            let (words, _) = tensor.data().as_chunks::<4>();
            *values.get_mut(role) = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
            if values.get(role).iter().any(|value| !value.is_finite()) {
                return Err(format!("tensor {name} holds a value that is not finite"));
            }
        }
        layers.push(values);
    }
    Ok(layers)
}
