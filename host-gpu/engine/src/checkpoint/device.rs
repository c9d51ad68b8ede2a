//! The state of a device, read from the checkpoint of a run, or written as a checkpoint.
//!
//! A checkpoint that comes from a device has the tensors of any checkpoint, the moments of all of them where the
//! device's optimiser has some, a tensor `readout` where it has a read-out, and in the metadata, instead of `step` and
//! `data`, `device`: frames learnt from, the state of each layer, how many moments there are, and the counts of the
//! read-out. Written and read again, it is the same to the bit.

use super::{ENTRY, Entry, FORMAT, Header, Part, name, open, write_tensors};
use crate::config::Config;
use crate::model::{LayerValues, NetworkSpec, TensorRole};
use crate::rules;
use clapp_core::checkpoint::Contents;
use clapp_core::learner::LayerState;
use clapp_core::optimizer::Optimizer;
use clapp_core::plan::Layer;
use clapp_data::error::Error;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The tensor of the read-out's numbers.
const READOUT: &str = "readout";

/// The learnt state of a device, in the layout of [`clapp_core::plan`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceState {
    /// Steps learnt.
    pub step: u64,
    /// All parameters.
    pub parameters: Vec<f32>,
    /// The optimiser's state: nothing, or one or two elements a parameter.
    pub state: Vec<f32>,
    /// State of each layer.
    pub layers: Vec<LayerState>,
    /// Numbers of the read-out; empty without one.
    pub readout: Vec<f32>,
    /// Counts of the read-out; empty without one.
    pub counts: Vec<u32>,
}

impl DeviceState {
    /// Returns the contents of a save on the device.
    pub fn contents(&self) -> Contents<'_> {
        let Self { step, parameters, state, layers, readout, counts } = self;
        Contents { step: *step, parameters, state, layers, readout, counts }
    }
}

/// Entry of a device in a checkpoint's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEntry {
    /// Steps learnt.
    pub step: u64,
    layers: Vec<LayerEntry>,
    /// Moments that the optimiser keeps of each parameter: 0, 1 or 2.
    moments: usize,
    /// Numbers of the read-out.
    readout: usize,
    counts: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerEntry {
    frozen: bool,
    steps: u32,
    refused: u32,
}

/// Optimiser state that a device starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moments {
    /// None: plain SGD.
    None,
    /// The moments of the configuration's optimiser.
    Config,
    /// The moments in a device's file; none for other files.
    AsHeld,
}

/// Reads a checkpoint, of a run or of a device, as a device holds it.
///
/// Values that a run does not have start empty: the read-out, and the count of refused updates.
///
/// # Errors
/// Same as [`super::Checkpoint::read`]; [`Error::Checkpoint`] if the network's rule is one that `clapp-core` does not
/// have, or the file does not hold the moments.
pub fn read(path: &Path, moments: Moments) -> Result<(Header, DeviceState), Error> {
    let wrong = |message: String| Error::Checkpoint { path: path.into(), message };
    let (mut file, header, _) = open(path)?;
    let spec = header.config.network()?;
    if let Some(reason) = rules::of(&spec).beyond_core() {
        let rule = header.config.rule.name();
        return Err(wrong(format!("{rule} {reason}, which clapp-core does not have: no device can learn by it")));
    }
    let optimizer = Optimizer::from(&header.config.optimizer);
    let asked = optimizer.state_len(&spec.view()).checked_div(spec.view().parameter_len()).unwrap_or(0);
    let kept = match (moments, &header.device) {
        (Moments::None, _) | (Moments::AsHeld, None) => 0,
        (Moments::AsHeld, Some(device)) => device.moments,
        (Moments::Config, None) => asked,
        (Moments::Config, Some(device)) if device.moments == asked => asked,
        (Moments::Config, Some(device)) => {
            return Err(wrong(format!(
                "holds {} moments of each parameter, but the optimiser of the configuration keeps {asked}",
                device.moments
            )));
        }
    };
    let mut values = |part: Part| -> Result<Vec<f32>, Error> {
        let mut layers = Vec::new();
        for layer in spec.layers() {
            let mut values = LayerValues::default();
            for (role, shape) in spec.tensors(layer) {
                if holds(&spec, &header, layer, role, part) {
                    *values.get_mut(role) = file.read(&name(layer, role, part), &shape)?;
                }
            }
            layers.push(values);
        }
        Ok(spec.flat_from_values(&layers))
    };
    if kept > 0 && header.device.is_none() {
        header.place(path)?;
    }
    let parameters = values(Part::Value)?;
    let mut state = Vec::new();
    for part in [Part::First, Part::Second].into_iter().take(kept) {
        state.extend(values(part)?);
    }
    let held = match &header.device {
        None => {
            let step = header.place.as_ref().map_or(0, |place| place.step);
            let steps = u32::try_from(step).unwrap_or(u32::MAX);
            let layers = vec![LayerState { steps, ..LayerState::NEW }; spec.layers().len()];
            DeviceState { step, parameters, state, layers, ..DeviceState::default() }
        }
        Some(device) => {
            if device.layers.len() != spec.layers().len() {
                let (found, expected) = (device.layers.len(), spec.layers().len());
                return Err(wrong(format!(
                    "`{ENTRY}` in the metadata: `device` has {found} layers, expected {expected}"
                )));
            }
            let layer = |&LayerEntry { frozen, steps, refused }: &LayerEntry| LayerState { frozen, steps, refused };
            let readout = if device.readout > 0 { file.read(READOUT, &[device.readout])? } else { Vec::new() };
            let layers = device.layers.iter().map(layer).collect();
            DeviceState { step: device.step, parameters, state, layers, readout, counts: device.counts.clone() }
        }
    };
    Ok((header, held))
}

/// Returns `true` if a file holds a part of a tensor. A missing part is 0.
fn holds(spec: &NetworkSpec, header: &Header, layer: &Layer, role: TensorRole, part: Part) -> bool {
    let step = header.place.as_ref().map_or(0, |place| place.step);
    // A device's file has the moments of all tensors, like the device.
    header.device.is_some() || Part::kept(spec, &header.config.optimizer, layer, role, step).contains(&part)
}

/// Writes the learnt state of a device as a checkpoint, atomically.
///
/// # Errors
/// [`Error::File`] if it cannot be written; [`Error::Checkpoint`] if a length does not fit the network, or a value is
/// not finite. The earlier file at `path` then stays.
pub fn write(path: &Path, config: &Config, epoch: u64, held: &DeviceState) -> Result<(), Error> {
    let wrong = |message: String| Error::Checkpoint { path: path.into(), message };
    let spec = config.network()?;
    let parameters = spec.view().parameter_len();
    let moments = held.state.len().checked_div(parameters).unwrap_or(0);
    if held.parameters.len() != parameters || held.state.len() != moments * parameters || moments > 2 {
        let (found, state) = (held.parameters.len(), held.state.len());
        return Err(wrong(format!(
            "{found} parameters with {state} elements of state, expected {parameters} with none, as many or twice as many"
        )));
    }
    if held.layers.len() != spec.layers().len() {
        return Err(wrong(format!("state of {} layers, expected {}", held.layers.len(), spec.layers().len())));
    }
    for (what, values) in
        [("parameters", &held.parameters), ("optimiser's state", &held.state), ("read-out", &held.readout)]
    {
        if !values.iter().all(|value| value.is_finite()) {
            return Err(wrong(format!("a value of the {what} is not finite")));
        }
    }
    let layers = held.layers.iter();
    let device = DeviceEntry {
        step: held.step,
        layers: layers.map(|&LayerState { frozen, steps, refused }| LayerEntry { frozen, steps, refused }).collect(),
        moments,
        readout: held.readout.len(),
        counts: held.counts.clone(),
    };
    let entry = Entry {
        format: FORMAT.into(),
        epoch,
        step: None,
        data: None,
        backend: None,
        ranks: None,
        device: Some(device),
        config: config.to_toml()?,
        crc32: None,
    };
    let flat = [&held.parameters[..]].into_iter().chain(held.state.chunks(parameters.max(1)));
    let (mut names, mut tensors) = (Vec::new(), Vec::new());
    for (part, flat) in [Part::Value, Part::First, Part::Second].into_iter().zip(flat) {
        for (layer, mut values) in spec.layers().iter().zip(spec.values_from_flat(flat)) {
            for (role, shape) in spec.tensors(layer) {
                names.push((name(layer, role, part), shape));
                tensors.push(std::mem::take(values.get_mut(role)));
            }
        }
    }
    if !held.readout.is_empty() {
        names.push((READOUT.into(), vec![held.readout.len()]));
        tensors.push(held.readout.clone());
    }
    write_tensors(path, entry, &names, |at| Ok(std::mem::take(&mut tensors[at])))
}
