//! A program: operations recorded once, with the lifetimes of the buffers between them.

use super::memory::{Block, Place};
use super::op::Op;
use std::rc::Rc;

/// One event of a recording.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A buffer begins to be used.
    Allocate(usize),
    /// An operation.
    Run(Box<Op<Place>>),
    /// A buffer is not used any more.
    Free(usize),
}

/// Operations and buffers as they were recorded.
#[derive(Debug, Default)]
pub struct Recording {
    events: Vec<Event>,
    /// Bytes of each buffer.
    sizes: Vec<usize>,
    /// Fixed memory that operations use, kept as long as they may run.
    kept: Vec<Rc<Block>>,
}

impl Recording {
    pub(super) fn allocate(&mut self, bytes: usize) -> usize {
        let buffer = self.sizes.len();
        self.sizes.push(bytes);
        self.events.push(Event::Allocate(buffer));
        buffer
    }

    pub(super) fn free(&mut self, buffer: usize) {
        self.events.push(Event::Free(buffer));
    }

    pub(super) fn push(&mut self, op: Op<Place>) {
        self.events.push(Event::Run(Box::new(op)));
    }

    pub(super) fn keep(&mut self, block: &Rc<Block>) {
        let fixed = matches!(block.place, Place::Fixed(_));
        if fixed && !self.kept.iter().any(|kept| Rc::ptr_eq(kept, block)) {
            self.kept.push(Rc::clone(block));
        }
    }

    /// The events in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The same with other events: to see what a check says of it.
    pub fn changed(&self, change: impl FnOnce(&mut Vec<Event>)) -> Self {
        let mut events = self.events.clone();
        change(&mut events);
        Self { events, sizes: self.sizes.clone(), kept: self.kept.clone() }
    }

    /// Bytes of each buffer.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Address and bytes of the fixed memory that is used.
    pub fn fixed(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        self.kept.iter().filter_map(|block| match block.place {
            Place::Fixed(address) => Some((address, block.bytes)),
            Place::Planned { .. } => None,
        })
    }

    /// The operations.
    pub fn ops(&self) -> impl Iterator<Item = &Op<Place>> {
        self.events.iter().filter_map(|event| match event {
            Event::Run(op) => Some(&**op),
            Event::Allocate(_) | Event::Free(_) => None,
        })
    }

    /// The operations on memory of which the buffers begin at `arena`, as planned.
    pub(super) fn resolved(&self, arena: u64, plan: &super::plan::Plan) -> Vec<Op<u64>> {
        let address = |place: Place| match place {
            Place::Fixed(address) => address,
            Place::Planned { buffer, offset } => arena + (plan.offsets[buffer] + offset) as u64,
        };
        self.ops().map(|op| op.map(address)).collect()
    }
}
