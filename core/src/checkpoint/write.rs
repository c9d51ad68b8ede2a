//! From contents to bytes.

use super::unit::halves;
use super::{Contents, DATA_TYPE, MAGIC, PAYLOAD_AT, Unit, VERSION};
use crate::checksum::Checksum;

/// Streams header and payload of a checkpoint to `sink`, unit by unit with the index of each, ascending; the units
/// between them, for commit words, are left out. Returns the checksum of the contents.
///
/// `architecture` is [`super::architecture`] of the network, `sequence` the number of the save. Parts may have up to
/// 2^32 words together.
///
/// # Errors
/// The first error of `sink`.
pub fn encode<E>(
    contents: &Contents<'_>,
    architecture: u64,
    sequence: u64,
    sink: impl FnMut(u32, &Unit) -> Result<(), E>,
) -> Result<u32, E> {
    let lengths = contents.lengths();
    let mut writer = Writer { sink, index: 0, unit: Unit::BLANK, place: 0, checksum: Checksum::new() };
    let [version_low, version_high] = VERSION.to_le_bytes();
    writer.words(MAGIC.as_chunks::<4>().0)?;
    writer.word([version_low, version_high, DATA_TYPE, 0])?;
    writer.word((lengths.layers as u32).to_le_bytes())?;
    for number in [architecture, contents.step, sequence] {
        writer.words(&halves(number))?;
    }
    let Contents { parameters, state, layers, readout, counts, .. } = *contents;
    for length in [parameters.len(), state.len(), readout.len(), counts.len(), lengths.payload_words()] {
        writer.word((length as u32).to_le_bytes())?;
    }
    writer.close()?;

    writer.index = PAYLOAD_AT;
    for layer in layers {
        for word in [u32::from(layer.frozen), layer.steps, layer.refused] {
            writer.word(word.to_le_bytes())?;
        }
    }
    for values in [parameters, state, readout] {
        for value in values {
            writer.word(value.to_bits().to_le_bytes())?;
        }
    }
    for count in counts {
        writer.word(count.to_le_bytes())?;
    }
    while writer.place < Unit::WORDS - 1 {
        writer.word([0xff; 4])?;
    }
    writer.close()
}

/// Fills units, one after the other.
struct Writer<F> {
    sink: F,
    index: u32,
    unit: Unit,
    place: usize,
    checksum: Checksum,
}

impl<E, F: FnMut(u32, &Unit) -> Result<(), E>> Writer<F> {
    fn words(&mut self, words: &[[u8; 4]]) -> Result<(), E> {
        words.iter().try_for_each(|word| self.word(*word))
    }

    fn word(&mut self, word: [u8; 4]) -> Result<(), E> {
        if let Some(place) = self.unit.0.get_mut(self.place) {
            *place = word;
        }
        self.place += 1;
        if self.place < Unit::WORDS {
            return Ok(());
        }
        self.checksum.add(self.unit.bytes());
        self.flush()
    }

    /// Ends a unit of which all but one word are filled with the checksum of all so far.
    ///
    /// The checksum itself is not summed up: with it, every header would leave the sum at the same value.
    fn close(&mut self) -> Result<u32, E> {
        self.checksum.add(self.unit.split().0);
        let value = self.checksum.value();
        let [.., last] = &mut self.unit.0;
        *last = value.to_le_bytes();
        self.flush()?;
        Ok(value)
    }

    fn flush(&mut self) -> Result<(), E> {
        (self.sink)(self.index, &self.unit)?;
        self.index = self.index.wrapping_add(1);
        self.place = 0;
        Ok(())
    }
}
