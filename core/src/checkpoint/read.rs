//! From bytes to contents.

use super::{
    ContentsMut, DATA_TYPE, Error, Header, Lengths, MAGIC, Misfit, PAYLOAD_AT, Part, Unit, VERSION, payload_units,
};
use crate::checksum::Checksum;

/// The reason for which a checkpoint was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError<E> {
    /// The source of its bytes failed.
    Source(E),
    /// The bytes are not the checkpoint that was asked for.
    Checkpoint(Error),
}

impl<E> From<Error> for DecodeError<E> {
    fn from(error: Error) -> Self {
        Self::Checkpoint(error)
    }
}

/// Reads only what a checkpoint says about itself; `source` fills the unit of an index.
///
/// # Errors
/// Those of `source`; [`Error::Empty`], [`Error::Corrupt`] or [`Error::OtherVersion`].
pub fn header<E>(source: impl FnMut(u32, &mut Unit) -> Result<(), E>) -> Result<Header, DecodeError<E>> {
    Ok(Reader::open(source)?.1)
}

/// The parts of a checkpoint that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// The checkpoint's header.
    pub header: Header,
    /// `Ok` if the state of the optimiser was read.
    pub state: Result<(), Misfit>,
    /// `Ok` if numbers and counts of the read-out were read.
    pub read_out: Result<(), Misfit>,
}

/// Reads a checkpoint of the network that has `architecture`; `source` fills the unit of an index. Commit words are
/// not looked at.
///
/// Layers and parameters must fit. State of the optimiser, and read-out with its counts, are passed over where their
/// lengths are other ones than those of their buffers, which are then left as they are.
///
/// # Errors
/// Those of `source`; all of [`Error`]. Only after an error of `source` and [`Error::Corrupt`] may `into` have been
/// written to.
pub fn decode<E>(
    source: impl FnMut(u32, &mut Unit) -> Result<(), E>,
    architecture: u64,
    into: &mut ContentsMut<'_>,
) -> Result<Decoded, DecodeError<E>> {
    let (mut reader, header) = Reader::open(source)?;
    let (found, room) = (&header.lengths, into.lengths());
    header.check(architecture, &room)?;
    let fits = |part, found, expected| if found == expected { Ok(()) } else { Err(Misfit { part, found, expected }) };
    let state = fits(Part::State, found.state, room.state);
    let read_out =
        fits(Part::Readout, found.readout, room.readout).and_then(|()| fits(Part::Counts, found.counts, room.counts));
    let failed = DecodeError::Source;
    for layer in into.layers.iter_mut() {
        layer.frozen = reader.word().map_err(failed)? & 1 == 1;
        layer.steps = reader.word().map_err(failed)?;
        layer.refused = reader.word().map_err(failed)?;
    }
    reader.floats(into.parameters).map_err(failed)?;
    if state.is_ok() {
        reader.floats(into.state).map_err(failed)?;
    } else {
        reader.skip(found.state).map_err(failed)?;
    }
    // The read-out is the last part: what is not read of it is summed up when the reader is closed.
    if read_out.is_ok() {
        reader.floats(into.readout).map_err(failed)?;
        for count in into.counts.iter_mut() {
            *count = reader.word().map_err(failed)?;
        }
    }
    reader.close().map_err(failed)?.ok_or(Error::Corrupt)?;
    Ok(Decoded { header, state, read_out })
}

impl Header {
    /// The header that two units hold.
    fn parse([first, second]: [&Unit; 2], checksum: &mut Checksum) -> Result<Self, Error> {
        if *first == Unit::BLANK && *second == Unit::BLANK {
            return Err(Error::Empty);
        }
        let (rest, value) = second.split();
        checksum.add(first.bytes());
        checksum.add(rest);
        let [magic_low, magic_high, kind, layers, architecture_low, architecture_high, step_low, step_high] = first.0;
        if [magic_low, magic_high].as_flattened() != MAGIC || checksum.value() != value {
            return Err(Error::Corrupt);
        }
        let [version_low, version_high, data_type, _] = kind;
        let found = u16::from_le_bytes([version_low, version_high]);
        if found != VERSION {
            return Err(Error::OtherVersion { found });
        }
        let [sequence_low, sequence_high, parameters, state, readout, counts, payload, _] = second.0;
        let [layers, parameters, state, readout, counts] =
            [layers, parameters, state, readout, counts].map(|length| u32::from_le_bytes(length) as usize);
        Ok(Self {
            architecture: Unit::number(architecture_low, architecture_high),
            data_type,
            step: Unit::number(step_low, step_high),
            sequence: Unit::number(sequence_low, sequence_high),
            lengths: Lengths { layers, parameters, state, readout, counts },
            payload_words: u32::from_le_bytes(payload),
        })
    }

    /// Checks that the checkpoint is of this network, and that its layers and parameters fit into these buffers.
    fn check(&self, architecture: u64, room: &Lengths) -> Result<(), Error> {
        if self.data_type != DATA_TYPE {
            return Err(Error::OtherDataType { found: self.data_type });
        }
        if self.lengths.payload_words() != self.payload_words as usize {
            return Err(Error::Corrupt);
        }
        if self.architecture != architecture {
            return Err(Error::OtherArchitecture { found: self.architecture, expected: architecture });
        }
        let found = &self.lengths;
        for (part, found, expected) in
            [(Part::Layers, found.layers, room.layers), (Part::Parameters, found.parameters, room.parameters)]
        {
            if found != expected {
                return Err(Error::Length(Misfit { part, found, expected }));
            }
        }
        Ok(())
    }
}

/// Reads a checkpoint from front to back, and sums it up on the way.
pub(crate) struct Reader<R> {
    source: R,
    unit: Unit,
    place: usize,
    index: u32,
    /// Units that are still to be read.
    left: usize,
    checksum: Checksum,
}

impl<E, R: FnMut(u32, &mut Unit) -> Result<(), E>> Reader<R> {
    /// Reads the header and stands before the payload.
    pub fn open(mut source: R) -> Result<(Self, Header), DecodeError<E>> {
        let (mut first, mut second) = (Unit::BLANK, Unit::BLANK);
        source(0, &mut first).map_err(DecodeError::Source)?;
        source(1, &mut second).map_err(DecodeError::Source)?;
        let mut checksum = Checksum::new();
        let header = Header::parse([&first, &second], &mut checksum)?;
        let left = payload_units(header.payload_words as usize);
        Ok((Self { source, unit: second, place: Unit::WORDS, index: PAYLOAD_AT, left, checksum }, header))
    }

    fn word(&mut self) -> Result<u32, E> {
        if self.place >= Unit::WORDS {
            self.advance()?;
        }
        let word = self.unit.0.get(self.place).copied().unwrap_or_default();
        self.place += 1;
        Ok(u32::from_le_bytes(word))
    }

    fn floats(&mut self, values: &mut [f32]) -> Result<(), E> {
        for value in values {
            *value = f32::from_bits(self.word()?);
        }
        Ok(())
    }

    /// Passes over words, as many as there are.
    fn skip(&mut self, words: usize) -> Result<(), E> {
        for _ in 0..words {
            // A length beyond the payload was refused, so this ends with it.
            self.word()?;
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<(), E> {
        (self.source)(self.index, &mut self.unit)?;
        self.left = self.left.saturating_sub(1);
        // The last word of the last unit is the checksum itself.
        self.checksum.add(if self.left == 0 { self.unit.split().0 } else { self.unit.bytes() });
        self.index = self.index.wrapping_add(1);
        self.place = 0;
        Ok(())
    }

    /// Reads what is left; the checksum of the contents, if it is the one that closes them.
    pub fn close(mut self) -> Result<Option<u32>, E> {
        while self.left > 0 {
            self.advance()?;
        }
        let value = self.checksum.value();
        Ok((self.unit.split().1 == value).then_some(value))
    }
}
