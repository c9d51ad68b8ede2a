//! Checkpoints: the parameters and the whole configuration in one safetensors file.
//!
//! Tensors are `layer{l}.weight`, `.bias`, `.projection` and `.feedback` as far as the rule has them, `f32`,
//! row-major; the metadata holds `format`, the configuration as TOML (`config`) and the epochs done (`epoch`).

use crate::config::Config;
use crate::error::Error;
use crate::files::write_atomically;
use crate::model::{LayerValues, NetworkSpec};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use std::collections::HashMap;
use std::path::Path;

/// The value of `format` in the metadata.
const FORMAT: &str = "clapp-checkpoint/1";

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
                bytes.push((format!("layer{}.{}", layer.index, role.name()), shape, values));
            }
        }
        let mut views = Vec::with_capacity(bytes.len());
        for (name, shape, bytes) in &bytes {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|error| wrong(error.to_string()))?;
            views.push((name.as_str(), view));
        }
        let metadata = HashMap::from([
            ("format".to_string(), FORMAT.to_string()),
            ("config".to_string(), self.config.to_toml()?),
            ("epoch".to_string(), self.epoch.to_string()),
        ]);
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
        let metadata = header.metadata().clone().unwrap_or_default();
        let field = |name: &str| {
            metadata.get(name).ok_or_else(|| wrong(format!("no `{name}` in the metadata: not a checkpoint of clapp")))
        };
        let format = field("format")?;
        if format != FORMAT {
            return Err(wrong(format!("format is `{format}`, expected `{FORMAT}`")));
        }
        let config = Config::parse(field("config")?, &format!("{}: config", path.display()))?;
        let epoch = field("epoch")?.parse().map_err(|_| wrong("`epoch` is not a number".into()))?;
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
            let name = format!("layer{}.{}", layer.index, role.name());
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
