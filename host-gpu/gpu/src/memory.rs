//! Memory on the device, and when it is free again.
//!
//! A tensor's memory is free as soon as its last handle is dropped. That is how the schedule of the local rules becomes
//! a plan of memory: `step` drops a layer's maps when it is done with them, and a recording sees it.

use std::rc::Rc;

/// A piece of memory, as an operation names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// An address of the device that stays; 0 is no memory.
    Fixed(u64),
    /// So many bytes into a buffer of the program that is recorded; where it lies is planned when the program is whole.
    Planned {
        /// Index of the buffer.
        buffer: usize,
        /// Bytes into it.
        offset: usize,
    },
}

impl Place {
    /// The place `bytes` further on.
    pub fn offset(self, bytes: usize) -> Self {
        match self {
            Self::Fixed(address) => Self::Fixed(address + bytes as u64),
            Self::Planned { buffer, offset } => Self::Planned { buffer, offset: offset + bytes },
        }
    }
}

/// Whom memory goes back to.
pub(super) trait Owner {
    /// Takes a block back.
    fn release(&self, place: Place, bytes: usize);
}

/// A piece of memory; goes back to its owner when it is dropped.
pub(super) struct Block {
    pub place: Place,
    pub bytes: usize,
    owner: Rc<dyn Owner>,
}

impl Block {
    pub fn new(place: Place, bytes: usize, owner: Rc<dyn Owner>) -> Self {
        Self { place, bytes, owner }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.owner.release(self.place, self.bytes);
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}, {} bytes", self.place, self.bytes)
    }
}

/// An array on the device. Clones share the memory.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// `None` where there is nothing in it.
    pub(super) block: Option<Rc<Block>>,
    /// Bytes into the block.
    pub(super) offset: usize,
    /// Elements.
    pub(super) len: usize,
    /// Bytes of an element.
    pub(super) size: usize,
}

impl Tensor {
    /// An array without elements.
    pub(super) fn empty() -> Self {
        Self { block: None, offset: 0, len: 0, size: 4 }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        self.len * self.size
    }

    /// `len` elements from the element `first` on, in the same memory.
    pub(super) fn part(&self, first: usize, len: usize) -> Self {
        Self { offset: self.offset + first * self.size, len, ..self.clone() }
    }

    /// Its place.
    pub(super) fn place(&self) -> Place {
        self.block.as_ref().map_or(Place::Fixed(0), |block| block.place.offset(self.offset))
    }
}
