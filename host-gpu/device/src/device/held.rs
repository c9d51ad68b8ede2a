//! The state of a device: read word by word over the line, and compared bit by bit.

use super::client::{Client, REPLY_LEN};
use super::description::Description;
use clapp_core::learner::LayerState;
use clapp_core::link::{Answer, Command, OVERHEAD, Section};
use clapp_data::error::Error;
use clapp_engine::checkpoint::device::DeviceState;

/// Reads all that a device has learnt.
///
/// # Errors
/// Same as [`Client::ask`].
pub fn read(client: &mut Client<'_>, device: &Description) -> Result<DeviceState, Error> {
    let view = device.spec.view();
    let mut words = |section, len| words(client, device, section, len);
    let floats = |words: Vec<u32>| words.into_iter().map(f32::from_bits).collect();
    let parameters = floats(words(Section::Parameters, view.parameter_len())?);
    let state = floats(words(Section::State, device.optimizer.state_len(&view))?);
    let layers = words(Section::Layers, 3 * view.layer_count())?;
    let layer = |words: &[u32; 3]| LayerState { frozen: words[0] != 0, steps: words[1], refused: words[2] };
    let layers = layers.as_chunks().0.iter().map(layer).collect();
    let readout = floats(words(Section::Readout, device.classes * device.features())?);
    let counts = words(Section::Counts, device.classes)?;
    let step = client.status()?.step;
    Ok(DeviceState { step, parameters, state, layers, readout, counts })
}

/// Returns the differences between two devices' states, one line per part.
pub fn differences(one: &DeviceState, two: &DeviceState) -> Vec<String> {
    let floats = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let layers = |layers: &[LayerState]| {
        layers.iter().flat_map(|layer| [u32::from(layer.frozen), layer.steps, layer.refused]).collect::<Vec<_>>()
    };
    let parts = [
        ("parameters", floats(&one.parameters), floats(&two.parameters)),
        ("numbers of the optimiser's state", floats(&one.state), floats(&two.state)),
        ("numbers of the layers' state", layers(&one.layers), layers(&two.layers)),
        ("numbers of the read-out", floats(&one.readout), floats(&two.readout)),
        ("counts of the read-out", one.counts.clone(), two.counts.clone()),
    ];
    let mut found = Vec::new();
    for (what, one, two) in parts {
        let differing = one.iter().zip(&two).filter(|(a, b)| a != b).count() + one.len().abs_diff(two.len());
        if differing > 0 {
            let first = one.iter().zip(&two).position(|(a, b)| a != b).unwrap_or(one.len().min(two.len()));
            found.push(format!("{differing} of {} {what} differ, the first is number {first}", one.len()));
        }
    }
    if one.step != two.step {
        found.push(format!("step {} against {}", one.step, two.step));
    }
    found
}

/// Reads `len` words of a section, piece by piece.
fn words(client: &mut Client<'_>, device: &Description, section: Section, len: usize) -> Result<Vec<u32>, Error> {
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
        let held = DeviceState {
            step: 3,
            parameters: vec![0.0, 1.0, 2.0],
            layers: vec![LayerState::NEW; 2],
            readout: vec![1.0; 4],
            counts: vec![1, 2],
            ..DeviceState::default()
        };
        assert!(differences(&held, &held.clone()).is_empty());
        let mut other = held.clone();
        // Equal as numbers, and not the same.
        other.parameters[0] = -0.0;
        assert_eq!(differences(&held, &other), ["1 of 3 parameters differ, the first is number 0"]);
        let mut other = held.clone();
        (other.counts[1], other.step, other.layers[1].refused) = (3, 4, 1);
        assert_eq!(
            differences(&held, &other),
            [
                "1 of 6 numbers of the layers' state differ, the first is number 5",
                "1 of 2 counts of the read-out differ, the first is number 1",
                "step 3 against 4"
            ]
        );
        let shorter = DeviceState { parameters: vec![0.0], ..held.clone() };
        assert_eq!(differences(&held, &shorter), ["2 of 3 parameters differ, the first is number 1"]);
    }
}
