//! Checkpoints: parameters, optimiser state, position in the run and complete configuration, in one safetensors file.
//! Training that continues from it gives the same bits as an undisturbed run.
//!
//! Tensors are `layer{l}.weight`, `.bias`, `.projection`, `.feedback`, `.mirror` and `head` as far as the rule has
//! them, and for those that learn the moments that the optimiser keeps, `layer{l}.weight.first`,
//! `layer{l}.weight.second` and so on; all `f32`, row-major, moments in the layout of their parameter. The metadata has
//! one entry, `clapp`: JSON with `format`, the epochs done (`epoch`), the steps done (`step`), the identity of the
//! images (`data`), the number of ranks if there are several (`ranks`), the backend if it is not the CPU (`backend`),
//! the configuration as TOML (`config`), and the CRC-32 of the bytes of all tensors (`crc32`, eight hexadecimal digits;
//! files of earlier versions have none). It is checked whenever tensors are read. Random numbers come from streams
//! named by seed, epoch, step and image ([`clapp_data::rng`]), so the count of steps is their whole state. Nothing in
//! the file depends on the clock.
//!
//! Files of format 1 have no moments, no `step` and no `data`. They can be evaluated, but not trained further. The same
//! holds for the checkpoint of a device ([`device`]), which learnt from frames outside any data set.

pub mod device;

use crate::backend::{Backend, Parameter};
use crate::config::Config;
use crate::model::{LayerValues, NetworkSpec, TensorRole};
use crate::optimizer::Optimizer;
use crate::step::{LayerParameters, Model};
use crate::trainer::State;
use clapp_core::plan::Layer;
use clapp_data::data::Split;
use clapp_data::error::Error;
use clapp_data::loader::steps_per_epoch;
use clapp_data::tensor_file::{self, TensorFile};
use device::DeviceEntry;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::path::Path;

/// The value of `format` in the metadata.
const FORMAT: &str = "clapp-checkpoint/2";

/// The format without the state of the optimiser.
const FORMAT_WITHOUT_STATE: &str = "clapp-checkpoint/1";

/// The entry of the metadata.
const ENTRY: &str = "clapp";

/// Contents of the metadata entry.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    format: String,
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<DataIdentity>,
    /// Left out for one rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ranks: Option<NonZeroUsize>,
    /// Left out for the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    /// Entry of a device's checkpoint, instead of `step` and `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceEntry>,
    config: String,
    /// Checksum of the bytes of all tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc32: Option<String>,
}

/// Identity of a set of training images.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataIdentity {
    /// Name of the set, such as `cifar10`.
    pub name: String,
    /// Training images used.
    pub images: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Height and width of an image; `None` if they differ or are not known before an image is decoded.
    pub size: Option<[usize; 2]>,
}

impl DataIdentity {
    /// The images of a set called `name`.
    pub fn of(name: &str, images: &Split) -> Self {
        let size = images.shape().map(|shape| [shape.height, shape.width]);
        Self { name: name.into(), images: images.len(), channels: images.channels(), size }
    }
}

/// The description of the run in a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The configuration of the run.
    pub config: Config,
    /// Epochs done.
    pub epoch: u64,
    /// Position from which training continues; `None` in files without optimiser state and in files of a device.
    pub place: Option<Place>,
    /// Entry of a device, if the file comes from one.
    pub device: Option<DeviceEntry>,
}

/// Position in a run, with its data and backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Steps done, over all epochs.
    pub step: u64,
    /// The images of the run.
    pub data: DataIdentity,
    /// Processes that train together.
    pub ranks: usize,
    /// Backend and precision: `cpu`, or for example `cuda tf32`.
    pub backend: String,
}

/// The backend of checkpoints that name none.
pub const CPU: &str = "cpu";

impl Header {
    /// Reads the description of the run, without the tensors.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Checkpoint`] if it is not a checkpoint,
    /// [`Error::Config`] if its configuration makes no sense.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(Self::of(path, &TensorFile::open(path)?)?.0)
    }

    /// Returns the header and the checksum of the tensors, if any.
    fn of(path: &Path, file: &TensorFile) -> Result<(Self, Option<String>), Error> {
        let wrong = |message: String| Error::Checkpoint { path: path.into(), message };
        let entry = file.entry(ENTRY);
        let entry = entry.ok_or_else(|| wrong(format!("no `{ENTRY}` in the metadata: not a checkpoint of clapp")))?;
        let Entry { format, epoch, step, data, ranks, backend, device, config, crc32 } =
            serde_json::from_str(entry).map_err(|error| wrong(format!("`{ENTRY}` in the metadata: {error}")))?;
        let place = match (format.as_str(), step, data) {
            (FORMAT, None, None) if device.is_some() => None,
            (FORMAT, Some(step), Some(data)) => {
                let (ranks, backend) = (ranks.map_or(1, NonZeroUsize::get), backend.unwrap_or_else(|| CPU.into()));
                Some(Place { step, data, ranks, backend })
            }
            (FORMAT, ..) => return Err(wrong(format!("`{ENTRY}` in the metadata: no `step` or no `data`"))),
            (FORMAT_WITHOUT_STATE, None, None) => None,
            _ => return Err(wrong(format!("format is `{format}`, expected `{FORMAT}`"))),
        };
        let config = Config::parse(&config, &format!("{}: config", path.display()))?;
        if let Some(Place { step, data, ranks, .. }) = &place {
            let each = steps_per_epoch(data.images, config.batch, *ranks) as u64;
            let epochs = config.epochs;
            if each == 0 || step / each != epoch || *step > each * epochs {
                return Err(wrong(format!(
                    "`{ENTRY}` in the metadata: `step` is {step} and `epoch` is {epoch}, but the run is {epochs} epochs \
                     of {each} steps: {} images in batches of {}, on {ranks} ranks",
                    data.images, config.batch
                )));
            }
        }
        Ok((Self { config, epoch, place, device }, crc32))
    }
}

/// Opens a file to read its tensors, and first verifies their checksum.
fn open(path: &Path) -> Result<(TensorFile, Header, Option<String>), Error> {
    let mut file = TensorFile::open(path)?;
    let (header, checksum) = Header::of(path, &file)?;
    if let Some(checksum) = &checksum {
        file.verify(checksum)?;
    }
    Ok((file, header, checksum))
}

/// Writes a file of these tensors, whole or not at all; `values` gives those of each in turn.
fn write_tensors(
    path: &Path,
    mut entry: Entry,
    tensors: &[(String, Vec<usize>)],
    values: impl FnMut(usize) -> Result<Vec<f32>, Error>,
) -> Result<(), Error> {
    let text = |checksum: String| {
        entry.crc32 = Some(checksum);
        serde_json::to_string(&entry)
    };
    tensor_file::write_tensors(path, ENTRY, text, tensors, values)
}

/// A trained (or untrained) encoder with the configuration it was trained with, for evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The configuration of the run.
    pub config: Config,
    /// Epochs done.
    pub epoch: u64,
    /// Parameters, from the input to the top.
    pub layers: Vec<LayerValues>,
    /// CRC-32 of the bytes of all tensors, eight hexadecimal digits; none in files of earlier versions.
    pub checksum: Option<String>,
}

impl Checkpoint {
    /// Reads the parameters of a file by [`write()`]; the state of the optimiser stays where it is.
    ///
    /// # Errors
    /// Same as [`Header::read`], and [`Error::Checkpoint`] if a tensor is missing, has another shape, or holds values
    /// that are not finite.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let (mut file, Header { config, epoch, .. }, checksum) = open(path)?;
        let spec = config.network()?;
        let mut layers = Vec::with_capacity(spec.layers().len());
        for layer in spec.layers() {
            let mut values = LayerValues::default();
            for (role, shape) in spec.tensors(layer) {
                *values.get_mut(role) = file.read(&name(layer, role, Part::Value), &shape)?;
            }
            layers.push(values);
        }
        Ok(Self { config, epoch, layers, checksum })
    }
}

/// The part of a parameter that a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Value,
    First,
    Second,
}

impl Part {
    /// The parts that are kept of a parameter after `step` steps.
    fn kept(spec: &NetworkSpec, optimizer: &Optimizer, layer: &Layer, role: TensorRole, step: u64) -> Vec<Self> {
        let moments = step > 0 && spec.learns(layer, role);
        let mut parts = vec![Self::Value];
        parts.extend((moments && optimizer.has_first()).then_some(Self::First));
        parts.extend((moments && optimizer.has_second()).then_some(Self::Second));
        parts
    }

    fn of<T>(self, parameter: &Parameter<T>) -> &T {
        match self {
            Self::Value => &parameter.value,
            Self::First => &parameter.first,
            Self::Second => &parameter.second,
        }
    }
}

/// The name of a tensor.
fn name(layer: &Layer, role: TensorRole, part: Part) -> String {
    let suffix = match part {
        Part::Value => "",
        Part::First => ".first",
        Part::Second => ".second",
    };
    format!("{}{suffix}", role.path(layer.index))
}

/// Writes a checkpoint, whole or not at all, one tensor at a time.
///
/// # Errors
/// [`Error::File`] if it cannot be written, [`Error::NotFinite`] if a tensor holds a value that is not finite. The
/// earlier file at `path` then stays.
pub fn write<B: Backend>(
    path: &Path,
    backend: &B,
    config: &Config,
    place: &Place,
    epoch: u64,
    model: &Model<B::Tensor>,
) -> Result<(), Error> {
    let spec = &model.spec;
    let mut tensors = Vec::new();
    for layer in spec.layers() {
        for (role, shape) in spec.tensors(layer) {
            for part in Part::kept(spec, &config.optimizer, layer, role, place.step) {
                tensors.push((layer, role, part, shape.clone()));
            }
        }
    }
    let entry = Entry {
        format: FORMAT.into(),
        epoch,
        step: Some(place.step),
        data: Some(place.data.clone()),
        ranks: NonZeroUsize::new(place.ranks).filter(|ranks| ranks.get() > 1),
        backend: Some(place.backend.clone()).filter(|backend| backend != CPU),
        device: None,
        config: config.to_toml()?,
        crc32: None,
    };
    let names: Vec<(String, Vec<usize>)> =
        tensors.iter().map(|(layer, role, part, shape)| (name(layer, *role, *part), shape.clone())).collect();
    write_tensors(path, entry, &names, |at| {
        let ((layer, role, part, shape), (tensor, _)) = (&tensors[at], &names[at]);
        let values = download(backend, model, layer, *role, *part);
        let expected: usize = shape.iter().product();
        if values.len() != expected {
            let message = format!("tensor {tensor} has {} values, expected {shape:?}", values.len());
            return Err(Error::Checkpoint { path: path.into(), message });
        }
        if !values.iter().all(|value| value.is_finite()) {
            return Err(Error::NotFinite { tensor: tensor.clone(), step: place.step });
        }
        Ok(values)
    })
}

fn download<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    layer: &Layer,
    role: TensorRole,
    part: Part,
) -> Vec<f32> {
    let Some(parameter) = model.layers.get(layer.index).and_then(|layer| layer.get(role)) else { return Vec::new() };
    match role.is_kernel() {
        true => backend.download_weights(layer, part.of(parameter)),
        false => backend.download(part.of(parameter)),
    }
}

/// Reads the state of a run, from which [`crate::trainer::train`] continues. Only one tensor at a time is on the host.
///
/// # Errors
/// Same as [`Checkpoint::read`], and [`Error::Checkpoint`] if the file holds no state of the optimiser.
pub fn resume<B: Backend>(path: &Path, backend: &B) -> Result<(Header, State<B::Tensor>), Error> {
    let (mut file, header, _) = open(path)?;
    let step = header.place(path)?.step;
    let spec = header.config.network()?;
    let mut layers = Vec::with_capacity(spec.layers().len());
    for layer in spec.layers() {
        let empty =
            || Parameter { value: backend.upload(&[]), first: backend.upload(&[]), second: backend.upload(&[]) };
        let (weight, bias) = (empty(), empty());
        let mut parameters =
            LayerParameters { weight, bias, projection: None, feedback: None, head: None, mirror: None };
        for (role, shape) in spec.tensors(layer) {
            let mut parameter = empty();
            for part in Part::kept(&spec, &header.config.optimizer, layer, role, step) {
                let values = file.read(&name(layer, role, part), &shape)?;
                let tensor = match role.is_kernel() {
                    true => backend.upload_weights(layer, &values),
                    false => backend.upload(&values),
                };
                match part {
                    Part::Value => parameter.value = tensor,
                    Part::First => parameter.first = tensor,
                    Part::Second => parameter.second = tensor,
                }
            }
            match role {
                TensorRole::Weight => parameters.weight = parameter,
                TensorRole::Bias => parameters.bias = parameter,
                TensorRole::Projection => parameters.projection = Some(parameter),
                TensorRole::Feedback => parameters.feedback = Some(parameter),
                TensorRole::Head => parameters.head = Some(parameter),
                TensorRole::Mirror => parameters.mirror = Some(parameter),
            }
        }
        layers.push(parameters);
    }
    Ok((header, State { model: Model { spec, layers }, step }))
}

impl Header {
    /// Returns the position from which training continues.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the file at `path` holds no state of the optimiser.
    pub fn place(&self, path: &Path) -> Result<&Place, Error> {
        self.place.as_ref().ok_or_else(|| Error::Checkpoint {
            path: path.into(),
            message: match &self.device {
                Some(_) => "comes from a device, which learnt from frames outside any data set: it can be \
                            evaluated and exported, but training cannot continue from it"
                    .into(),
                None => format!(
                    "format is `{FORMAT_WITHOUT_STATE}`, which holds no state of the optimiser: it can be evaluated, \
                     but training cannot continue from it; expected `{FORMAT}`"
                ),
            },
        })
    }
}
