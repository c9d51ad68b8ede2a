//! What a device holds: read word by word over the line, and compared to the bit.

use super::client::{Client, REPLY_LEN};
use super::description::Description;
use crate::error::Error;
use crate::files::write_with;
use crate::tensor_file::{write_header, write_values};
use clapp_core::learner::LayerState;
use clapp_core::link::{Answer, Command, OVERHEAD, Section};
use std::path::Path;

/// All that a device has learnt, in the layout of [`clapp_core::plan`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Held {
    /// Frames learnt from.
    pub step: u64,
    /// All parameters.
    pub parameters: Vec<f32>,
    /// The optimiser's state.
    pub state: Vec<f32>,
    /// State of each layer.
    pub layers: Vec<LayerState>,
    /// Means of the classes of the read-out, `[classes, features]`.
    pub readout: Vec<f32>,
    /// Examples of each class.
    pub counts: Vec<u32>,
}

impl Held {
    /// Reads all of it.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn read(client: &mut Client<'_>, device: &Description) -> Result<Self, Error> {
        let view = device.spec.view();
        let mut words = |section, len| read(client, device, section, len);
        let floats = |words: Vec<u32>| words.into_iter().map(f32::from_bits).collect();
        let parameters = floats(words(Section::Parameters, view.parameter_len())?);
        let state = floats(words(Section::State, device.optimizer.state_len(&view))?);
        let layers = words(Section::Layers, 3 * view.layer_count())?;
        let layer = |words: &[u32; 3]| LayerState { frozen: words[0] != 0, steps: words[1], refused: words[2] };
        let layers = layers.as_chunks().0.iter().map(layer).collect();
        let readout = floats(words(Section::Readout, device.classes * device.features())?);
        let counts = words(Section::Counts, device.classes)?;
        let step = client.status()?.step;
        Ok(Self { step, parameters, state, layers, readout, counts })
    }

    /// Writes it as safetensors: `layer{l}.weight` and so on as in a checkpoint, `state` and `readout` where the device has
    /// them, and metadata `clapp-device` with the rest.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written; what was at `path` before is then still there.
    pub fn write(&self, path: &Path, device: &Description) -> Result<(), Error> {
        let mut tensors = Vec::new();
        for (layer, mut values) in device.spec.layers().iter().zip(device.spec.values_from_flat(&self.parameters)) {
            for (role, shape) in device.spec.tensors(layer) {
                tensors.push((role.path(layer.index), shape, std::mem::take(values.get_mut(role))));
            }
        }
        if !self.state.is_empty() {
            tensors.push(("state".into(), vec![self.state.len()], self.state.clone()));
        }
        if !self.readout.is_empty() {
            tensors.push(("readout".into(), vec![device.classes, device.features()], self.readout.clone()));
        }
        let layer = |layer: &LayerState| {
            serde_json::json!({ "frozen": layer.frozen, "steps": layer.steps, "refused": layer.refused })
        };
        let layers: Vec<_> = self.layers.iter().map(layer).collect();
        let entry = serde_json::json!({
            "board": device.board, "firmware": device.firmware, "step": self.step, "layers": layers, "counts": self.counts
        });
        let failed = |error: std::io::Error| Error::file("write", path)(error);
        write_with(path, |file| {
            let names = tensors.iter().map(|(name, shape, _)| (name.clone(), shape.clone()));
            write_header(file, ("clapp-device", entry.to_string()), names).map_err(failed)?;
            tensors.iter().try_for_each(|(.., values)| write_values(file, values)).map_err(failed)
        })
    }

    /// Where this and `other` are not the same to the bit: one line a part.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let floats = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let layers = |layers: &[LayerState]| {
            layers.iter().flat_map(|layer| [u32::from(layer.frozen), layer.steps, layer.refused]).collect::<Vec<_>>()
        };
        let parts = [
            ("parameters", floats(&self.parameters), floats(&other.parameters)),
            ("numbers of the optimiser's state", floats(&self.state), floats(&other.state)),
            ("numbers of the layers' state", layers(&self.layers), layers(&other.layers)),
            ("numbers of the read-out", floats(&self.readout), floats(&other.readout)),
            ("counts of the read-out", self.counts.clone(), other.counts.clone()),
        ];
        let mut found = Vec::new();
        for (what, one, two) in parts {
            let differing = one.iter().zip(&two).filter(|(a, b)| a != b).count() + one.len().abs_diff(two.len());
            if differing > 0 {
                let first = one.iter().zip(&two).position(|(a, b)| a != b).unwrap_or(one.len().min(two.len()));
                found.push(format!("{differing} of {} {what} differ, the first is number {first}", one.len()));
            }
        }
        if self.step != other.step {
            found.push(format!("step {} against {}", self.step, other.step));
        }
        found
    }
}

/// Reads `len` words of a section, piece by piece.
fn read(client: &mut Client<'_>, device: &Description, section: Section, len: usize) -> Result<Vec<u32>, Error> {
    // A piece must fit into the device's packet and into this side's.
    let most = u16::try_from((REPLY_LEN - OVERHEAD) / 4).unwrap_or(u16::MAX).min(device.most_words);
    let mut words: Vec<u32> = Vec::with_capacity(len);
    while words.len() < len {
        let count = u16::try_from(len - words.len()).unwrap_or(u16::MAX).min(most);
        let offset = u32::try_from(words.len()).unwrap_or(u32::MAX);
        let piece = client.ask(Command::Read { section, offset, count }, |answer| match answer {
            Answer::Words { offset: at, words } if *at == offset => {
                Some(words.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>())
            }
            _ => None,
        })?;
        if piece.is_empty() {
            let message = format!("{section:?} ends after {} words, expected {len}", words.len());
            return Err(Error::Device { place: client.place(), message });
        }
        words.extend(piece);
    }
    words.truncate(len);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_bit_is_a_difference() {
        let held = Held {
            step: 3,
            parameters: vec![0.0, 1.0, 2.0],
            layers: vec![LayerState::NEW; 2],
            readout: vec![1.0; 4],
            counts: vec![1, 2],
            ..Held::default()
        };
        assert!(held.differences(&held.clone()).is_empty());
        let mut other = held.clone();
        // Equal as numbers, and not the same.
        other.parameters[0] = -0.0;
        assert_eq!(held.differences(&other), ["1 of 3 parameters differ, the first is number 0"]);
        let mut other = held.clone();
        (other.counts[1], other.step, other.layers[1].refused) = (3, 4, 1);
        assert_eq!(
            held.differences(&other),
            [
                "1 of 6 numbers of the layers' state differ, the first is number 5",
                "1 of 2 counts of the read-out differ, the first is number 1",
                "step 3 against 4"
            ]
        );
        let shorter = Held { parameters: vec![0.0], ..held.clone() };
        assert_eq!(held.differences(&shorter), ["2 of 3 parameters differ, the first is number 1"]);
    }
}
