//! A device that either runs operations as they come or records them as a program.

use super::executor::{Executor, GpuError};
use super::memory::{Block, Owner, Place, Tensor};
use super::op::{Arg, Op};
use super::program::Recording;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Threads of a block, for kernels that do not ask for another number.
pub(super) const THREADS: u32 = 256;

/// Blocks of a launch over the elements of an array, at most: more elements are walked through by each thread.
const MOST_BLOCKS: usize = 1 << 16;

/// An executor with what is recorded for it.
pub(super) struct Device<E> {
    pub executor: E,
    recording: RefCell<Option<Recording>>,
    failure: RefCell<Option<GpuError>>,
    /// Bytes of fixed memory that are taken now, and at most so far.
    taken: Cell<usize>,
    most: Cell<usize>,
    /// True if fresh memory is filled with NaN first.
    poison: Cell<bool>,
}

impl<E: Executor> Owner for Device<E> {
    fn release(&self, place: Place, bytes: usize) {
        match place {
            Place::Fixed(address) => {
                self.taken.set(self.taken.get() - bytes);
                self.executor.free(address, bytes);
            }
            // After the recording has ended the program knows all it needs.
            Place::Planned { buffer, .. } => {
                if let Some(recording) = self.recording.borrow_mut().as_mut() {
                    recording.free(buffer);
                }
            }
        }
    }
}

impl<E: Executor + 'static> Device<E> {
    pub fn new(executor: E) -> Self {
        Self {
            executor,
            recording: RefCell::new(None),
            failure: RefCell::new(None),
            taken: Cell::new(0),
            most: Cell::new(0),
            poison: Cell::new(false),
        }
    }

    /// From now on fresh memory is filled with NaN.
    pub fn poison(&self) {
        self.poison.set(true);
    }

    /// Bytes of fixed memory that were taken at once, at most.
    pub fn most(&self) -> usize {
        self.most.get()
    }

    /// Bytes of fixed memory that are taken now.
    pub fn now(&self) -> usize {
        self.taken.get()
    }

    pub fn is_recording(&self) -> bool {
        self.recording.borrow().is_some()
    }

    /// From now on operations are recorded instead of run.
    pub fn record(&self) {
        *self.recording.borrow_mut() = Some(Recording::default());
    }

    /// Ends the recording and gives it; temporary tensors made since it began must not be used any more.
    pub fn recorded(&self) -> Recording {
        self.recording.borrow_mut().take().unwrap_or_default()
    }

    /// Keeps the first failure; nothing runs after it.
    pub fn note<T: Default>(&self, result: Result<T, GpuError>) -> T {
        result.unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            T::default()
        })
    }

    pub fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    pub fn take_failure(&self) -> Option<GpuError> {
        self.failure.borrow_mut().take()
    }

    /// Memory that stays until its last handle is dropped, whether or not a program is recorded.
    pub fn fixed(self: &Rc<Self>, len: usize, size: usize) -> Tensor {
        let bytes = len * size;
        if bytes == 0 || self.has_failed() {
            return Tensor { size, ..Tensor::empty() };
        }
        let address = self.note(self.executor.allocate(bytes));
        if address == 0 {
            return Tensor { size, ..Tensor::empty() };
        }
        self.taken.set(self.taken.get() + bytes);
        self.most.set(self.most.get().max(self.taken.get()));
        if self.poison.get() {
            self.note(self.executor.write(address, &vec![0xFF; bytes]));
        }
        let owner: Rc<dyn Owner> = self.clone();
        let block = Rc::new(Block::new(Place::Fixed(address), bytes, owner));
        Tensor { block: Some(block), offset: 0, len, size }
    }

    /// Memory for a step: planned where a program is recorded.
    pub fn temporary(self: &Rc<Self>, len: usize, size: usize) -> Tensor {
        if !self.is_recording() {
            return self.fixed(len, size);
        }
        let bytes = len * size;
        if bytes == 0 {
            return Tensor { size, ..Tensor::empty() };
        }
        let buffer = self.recording.borrow_mut().as_mut().map_or(0, |recording| recording.allocate(bytes));
        let owner: Rc<dyn Owner> = self.clone();
        let block = Rc::new(Block::new(Place::Planned { buffer, offset: 0 }, bytes, owner));
        Tensor { block: Some(block), offset: 0, len, size }
    }

    /// The place of a tensor, for an operation; a recording keeps fixed memory that it uses.
    pub fn place(&self, tensor: &Tensor) -> Place {
        if let (Some(recording), Some(block)) = (self.recording.borrow_mut().as_mut(), &tensor.block) {
            recording.keep(block);
        }
        tensor.place()
    }

    pub fn input(&self, tensor: &Tensor) -> Arg<Place> {
        if tensor.is_empty() { Arg::Null } else { Arg::In(self.place(tensor), tensor.bytes()) }
    }

    pub fn output(&self, tensor: &Tensor) -> Arg<Place> {
        if tensor.is_empty() { Arg::Null } else { Arg::Out(self.place(tensor), tensor.bytes()) }
    }

    pub fn both(&self, tensor: &Tensor) -> Arg<Place> {
        if tensor.is_empty() { Arg::Null } else { Arg::InOut(self.place(tensor), tensor.bytes()) }
    }

    /// Runs or records an operation.
    pub fn run(&self, op: Op<Place>) {
        if let Some(recording) = self.recording.borrow_mut().as_mut() {
            return recording.push(op);
        }
        if !self.has_failed() {
            let address = |place: Place| match place {
                Place::Fixed(address) => address,
                // Of a recording that has ended; `Tensor`s of one must not be used after it.
                Place::Planned { .. } => 0,
            };
            self.note(self.executor.run(&op.map(address)));
        }
    }

    /// A kernel with a grid of its own.
    pub fn launch(&self, kernel: &'static str, grid: [usize; 3], args: Vec<Arg<Place>>) {
        let grid = grid.map(|blocks| u32::try_from(blocks).unwrap_or(u32::MAX).max(1));
        self.run(Op::Launch { kernel, grid, block: THREADS, args });
    }

    /// A kernel over `len` elements.
    pub fn launch_over(&self, kernel: &'static str, len: usize, args: Vec<Arg<Place>>) {
        self.launch(kernel, [len.div_ceil(THREADS as usize).min(MOST_BLOCKS), 1, 1], args);
    }

    /// Copies values to fixed memory at once.
    pub fn upload(self: &Rc<Self>, bytes: &[u8], size: usize) -> Tensor {
        let tensor = self.fixed(bytes.len() / size, size);
        self.write(&tensor, bytes);
        tensor
    }

    pub fn write(&self, tensor: &Tensor, bytes: &[u8]) {
        if let (Place::Fixed(address), false) = (tensor.place(), self.has_failed() || bytes.is_empty())
            && address != 0
        {
            self.note(self.executor.write(address, bytes));
        }
    }

    /// As [`Device::write`], without waiting for the device where it can.
    pub fn stage(&self, tensor: &Tensor, bytes: &[u8]) {
        if let (Place::Fixed(address), false) = (tensor.place(), self.has_failed() || bytes.is_empty())
            && address != 0
        {
            self.note(self.executor.stage(address, bytes));
        }
    }

    /// Copies bytes back; zeros after a failure.
    pub fn read(&self, tensor: &Tensor) -> Vec<u8> {
        let mut bytes = vec![0; tensor.bytes()];
        if let (Place::Fixed(address), false) = (tensor.place(), self.has_failed() || bytes.is_empty())
            && address != 0
        {
            self.note(self.executor.read(address, &mut bytes));
        }
        bytes
    }

    /// Zeros fixed memory at once, also while a program is recorded.
    pub fn zero_now(&self, tensor: &Tensor) {
        if let (Place::Fixed(address), false) = (tensor.place(), self.has_failed())
            && address != 0
        {
            self.note(self.executor.run(&Op::Zero { at: address, bytes: tensor.bytes() }));
        }
    }
}
