//! Checkpoints: what a device has learnt, as bytes that mean the same for ever.
//!
//! [`encode`] streams [`Contents`] out in units of [`Unit::LEN`] bytes, [`decode`] streams them into buffers of the
//! caller; neither needs memory for more than a unit. Where the units lie and when they count is the business of
//! [`crate::storage`]. `docs/checkpoint-format.md` describes every byte.
//!
//! ```
//! use clapp_core::checkpoint::Lengths;
//! use clapp_core::network::{Block, Network, Rule};
//! use clapp_core::optimizer::Optimizer;
//! use clapp_core::shape::Shape;
//!
//! const NET: Network<1> = Network::new(Shape::new(1, 8, 8), [Block::conv(4, [3, 3])], Rule::clapp_pp());
//! /// Nothing of a read-out is saved; the flash is erased by 4 KiB.
//! const SLOT: usize = Lengths::of(&NET.view(), &Optimizer::sgd(0.1), 0, 0).slot_len(4096);
//! assert_eq!(SLOT, 4096);
//! ```

mod architecture;
mod commit;
mod read;
mod unit;
mod write;

pub use architecture::architecture;
pub use read::{DecodeError, Decoded, decode, header};
pub use unit::Unit;
pub use write::encode;

pub(crate) use commit::{LAST_SEQUENCE, Word, last_number_of, number_of, sequence_of};
pub(crate) use read::Reader;

#[cfg(doc)]
use crate::learner::Buffers;
use crate::learner::LayerState;
use crate::network::NetworkView;
use crate::optimizer::Optimizer;

/// Version of the format that [`encode`] writes and [`decode`] reads.
pub const VERSION: u16 = 1;

/// The data type of parameters, state and read-out: `f32`, little-endian.
pub const DATA_TYPE: u8 = 1;

/// The first eight bytes of a checkpoint.
pub const MAGIC: [u8; 8] = *b"CLAPPchk";

/// Units of the header.
const HEADER_UNITS: u32 = 2;

/// Units for words: two commit words by the save itself, the others for settling after a power cut.
pub(crate) const COMMIT_UNITS: u32 = 8;

/// The unit at which the commit words begin.
pub(crate) const COMMIT_AT: u32 = HEADER_UNITS;

/// The unit at which the payload begins.
pub(crate) const PAYLOAD_AT: u32 = HEADER_UNITS + COMMIT_UNITS;

/// 32-bit words that are saved of each layer.
const LAYER_WORDS: usize = 3;

/// The data that are saved, as they lie in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contents<'a> {
    /// Steps learnt so far.
    pub step: u64,
    /// All parameters, [`Buffers::parameters`].
    pub parameters: &'a [f32],
    /// The optimiser's state, [`Buffers::state`].
    pub state: &'a [f32],
    /// The state of each layer, [`Buffers::layers`].
    pub layers: &'a [LayerState],
    /// A read-out's numbers: means of classes, or weights and biases; empty without one.
    pub readout: &'a [f32],
    /// Examples that a nearest-mean read-out has learnt of each class; empty without one.
    pub counts: &'a [u32],
}

impl Contents<'_> {
    /// The length of each part.
    pub const fn lengths(&self) -> Lengths {
        Lengths {
            layers: self.layers.len(),
            parameters: self.parameters.len(),
            state: self.state.len(),
            readout: self.readout.len(),
            counts: self.counts.len(),
        }
    }
}

/// Buffers that [`decode`] fills. Layers and parameters must have exactly the lengths that were saved; state and
/// read-out are left alone where theirs differ.
#[derive(Debug, PartialEq)]
pub struct ContentsMut<'a> {
    /// As [`Contents::parameters`].
    pub parameters: &'a mut [f32],
    /// As [`Contents::state`].
    pub state: &'a mut [f32],
    /// As [`Contents::layers`].
    pub layers: &'a mut [LayerState],
    /// As [`Contents::readout`].
    pub readout: &'a mut [f32],
    /// As [`Contents::counts`].
    pub counts: &'a mut [u32],
}

impl ContentsMut<'_> {
    /// The room for each part.
    pub const fn lengths(&self) -> Lengths {
        Lengths {
            layers: self.layers.len(),
            parameters: self.parameters.len(),
            state: self.state.len(),
            readout: self.readout.len(),
            counts: self.counts.len(),
        }
    }
}

/// Elements of each part of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Lengths {
    /// Layers.
    pub layers: usize,
    /// Parameters.
    pub parameters: usize,
    /// Elements of the optimiser's state.
    pub state: usize,
    /// Numbers of the read-out.
    pub readout: usize,
    /// Counts of the read-out.
    pub counts: usize,
}

impl Lengths {
    /// The lengths for a learner of `network` under `optimizer`, with `readout` numbers and `counts` counts of a read-out.
    pub const fn of(network: &NetworkView<'_>, optimizer: &Optimizer, readout: usize, counts: usize) -> Self {
        Self {
            layers: network.layer_count(),
            parameters: network.parameter_len(),
            state: optimizer.state_len(network),
            readout,
            counts,
        }
    }

    /// 32-bit words of the payload.
    const fn payload_words(&self) -> usize {
        self.layers
            .saturating_mul(LAYER_WORDS)
            .saturating_add(self.parameters)
            .saturating_add(self.state)
            .saturating_add(self.readout)
            .saturating_add(self.counts)
    }

    /// Bytes of a checkpoint: header, commit words and payload.
    pub const fn stored_len(&self) -> usize {
        stored_len(self.payload_words())
    }

    /// Bytes of the smallest slot for a checkpoint on flash that is erased by `erase_size` bytes (at least 1).
    pub const fn slot_len(&self, erase_size: usize) -> usize {
        let needed = self.stored_len();
        match needed.checked_next_multiple_of(erase_size) {
            Some(len) => len,
            None => needed,
        }
    }
}

/// Bytes of a checkpoint whose payload has `payload_words` words.
const fn stored_len(payload_words: usize) -> usize {
    (PAYLOAD_AT as usize).saturating_add(payload_units(payload_words)).saturating_mul(Unit::LEN)
}

/// Units of a payload: one more word than its own, the checksum, closes the last one.
const fn payload_units(payload_words: usize) -> usize {
    payload_words / Unit::WORDS + 1
}

/// The description that a checkpoint has of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// [`architecture`] of the network.
    pub architecture: u64,
    /// [`DATA_TYPE`], or a data type that this program does not know.
    pub data_type: u8,
    /// [`Contents::step`].
    pub step: u64,
    /// Number of the save, ascending over the life of a store.
    pub sequence: u64,
    /// Elements of each part.
    pub lengths: Lengths,
    /// 32-bit words of the payload.
    payload_words: u32,
}

impl Header {
    /// Bytes of the checkpoint: header, commit words and payload.
    pub const fn stored_len(&self) -> usize {
        stored_len(self.payload_words as usize)
    }
}

/// A part of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Part {
    /// State of the layers.
    Layers,
    /// Parameters.
    Parameters,
    /// State of the optimiser.
    State,
    /// Numbers of the read-out.
    Readout,
    /// Counts of the read-out.
    Counts,
}

/// The reason for which bytes are not the checkpoint that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error {
    /// Nothing was saved.
    Empty,
    /// Something was, but its bytes are not what they were.
    Corrupt,
    /// It has another version of the format.
    OtherVersion {
        /// The version.
        found: u16,
    },
    /// Its numbers are of another type.
    OtherDataType {
        /// The data type.
        found: u8,
    },
    /// It is of another network or rule.
    OtherArchitecture {
        /// The architecture that was saved.
        found: u64,
        /// The architecture that was asked for.
        expected: u64,
    },
    /// Its layers or its parameters are more or fewer than there is room for.
    Length(Misfit),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing is saved here"),
            Self::Corrupt => f.write_str("the checkpoint is corrupt: its checksum does not fit its bytes"),
            Self::OtherVersion { found } => write!(f, "format version {found}, expected {VERSION}"),
            Self::OtherDataType { found } => write!(f, "data type {found}, expected {DATA_TYPE} (f32)"),
            Self::OtherArchitecture { found, expected } => {
                write!(f, "a checkpoint of another network: architecture {found:016x}, expected {expected:016x}")
            }
            Self::Length(misfit) => misfit.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

/// A part of a checkpoint that is longer or shorter than its buffer, such as the read-out of one class more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Misfit {
    /// The part that does not fit.
    pub part: Part,
    /// Elements that were saved.
    pub found: usize,
    /// Elements that there is room for.
    pub expected: usize,
}

impl core::fmt::Display for Misfit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { part, found, expected } = self;
        write!(f, "{part:?}: {found} elements are saved, expected {expected}")
    }
}

impl core::error::Error for Misfit {}
