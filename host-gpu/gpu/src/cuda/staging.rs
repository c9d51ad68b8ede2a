//! Bytes on their way to the device, through memory that the system may not move: while one buffer is under way, the
//! host fills the other.

use super::super::executor::GpuError;
use super::errors::driver;
use cudarc::driver::{CudaEvent, CudaStream, PinnedHostSlice, result};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes that go in one piece where the order of the main stream is kept.
const PIECE: usize = 4 << 20;

/// A buffer of the host that the device reads.
#[derive(Debug)]
struct Buffer {
    memory: PinnedHostSlice<u8>,
    /// The moment after which the device no longer reads it.
    read: CudaEvent,
}

/// Two buffers and a stream for copies that run beside the work.
#[derive(Debug)]
pub struct Staging {
    buffers: [Option<Buffer>; 2],
    next: usize,
    turns: Turns<Arc<CudaEvent>>,
    copies: Arc<CudaStream>,
    work: Arc<CudaStream>,
}

impl Staging {
    /// For a device whose work is on `work`. Buffers are made when they are first needed.
    ///
    /// # Errors
    /// If the driver makes no other stream.
    pub fn new(work: &Arc<CudaStream>) -> Result<Self, GpuError> {
        let copies = work.context().new_stream().map_err(driver("making a stream for copies"))?;
        Ok(Self { buffers: [None, None], next: 0, turns: Turns::default(), copies, work: Arc::clone(work) })
    }

    /// Copies bytes to the device beside the work that is queued; waits only where both buffers are still under way.
    ///
    /// The bytes are at `address` for what is queued between this call and the next one; after that the memory may be
    /// written again. Where the next call goes to other memory, its copy runs beside what was queued in between.
    ///
    /// # Errors
    /// If the device has failed.
    ///
    /// # Safety
    /// There is as much memory of the device at `address`, and it stays until all that is queued has run.
    pub unsafe fn stage(&mut self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        let what = "copying a batch to the GPU";
        let now = Arc::new(self.work.record_event(None).map_err(driver(what))?);
        let free = self.turns.next(address, now);
        self.copies.wait(&free).map_err(driver(what))?;
        let copies = Arc::clone(&self.copies);
        // SAFETY: the caller's promise.
        unsafe { self.send(&copies, address, bytes) }?;
        let there = self.copies.record_event(None).map_err(driver(what))?;
        self.work.wait(&there).map_err(driver(what))
    }

    /// Copies bytes to the device after all that is queued, piece by piece.
    ///
    /// # Errors
    /// If the device has failed.
    ///
    /// # Safety
    /// As for [`Staging::stage`].
    pub unsafe fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        let work = Arc::clone(&self.work);
        for (index, piece) in bytes.chunks(PIECE).enumerate() {
            // SAFETY: the caller's promise.
            unsafe { self.send(&work, address + (index * PIECE) as u64, piece) }?;
        }
        Ok(())
    }

    /// Queues a copy through the next buffer.
    ///
    /// # Safety
    /// As for [`Staging::stage`].
    unsafe fn send(&mut self, stream: &CudaStream, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        let what = "copying to the GPU";
        let buffer = self.buffer(bytes.len())?;
        buffer.read.synchronize().map_err(driver(what))?;
        let memory = &mut buffer.memory.as_mut_slice().map_err(driver(what))?[..bytes.len()];
        memory.copy_from_slice(bytes);
        // SAFETY: the buffer is not written again before the event below has come; the rest is the caller's promise.
        unsafe { result::memcpy_htod_async(address, memory, stream.cu_stream()) }.map_err(driver(what))?;
        buffer.read.record(stream).map_err(driver(what))
    }

    /// The next buffer in turn, made or made larger where that is needed.
    fn buffer(&mut self, len: usize) -> Result<&mut Buffer, GpuError> {
        let what = "taking memory for copies to the GPU";
        let context = self.work.context();
        let slot = &mut self.buffers[self.next];
        self.next = 1 - self.next;
        // One that is too small may still be read.
        let old = slot.take();
        let buffer = match old {
            Some(buffer) if buffer.memory.len() >= len => buffer,
            old => {
                if let Some(old) = &old {
                    old.read.synchronize().map_err(driver(what))?;
                }
                drop(old);
                // SAFETY: it is written before it is read.
                let memory = unsafe { context.alloc_pinned::<u8>(len.max(PIECE)) }.map_err(driver(what))?;
                Buffer { memory, read: context.new_event(None).map_err(driver(what))? }
            }
        };
        Ok(slot.insert(buffer))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The buffers may be read by copies that are under way.
        for buffer in self.buffers.iter().flatten() {
            let _ = buffer.read.synchronize();
        }
    }
}

/// The moment of the work that a copy has to wait for: from then on its memory is no longer read.
#[derive(Debug)]
struct Turns<T> {
    /// Address of the last copy.
    last: Option<u64>,
    /// For each place, a moment after which it is no longer read.
    free: HashMap<u64, T>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { last: None, free: HashMap::new() }
    }
}

impl<T: Clone> Turns<T> {
    /// A copy to `address` is asked for at the moment `now`; gives the moment that it has to wait for.
    fn next(&mut self, address: u64, now: T) -> T {
        // What the last copy brought is read by what has been queued until now.
        if let Some(last) = self.last.replace(address) {
            self.free.insert(last, now.clone());
        }
        self.free.get(&address).cloned().unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The work is a list of readers, one queued after each copy; a moment is how many readers were queued.
        #[test]
        fn no_copy_overtakes_a_reader_of_its_memory(places in prop::collection::vec(0_u64..3, 1..40)) {
            let mut turns = Turns::default();
            for (moment, &place) in places.iter().enumerate() {
                let waits = turns.next(place, moment);
                let readers = places[..moment].iter().rposition(|other| *other == place).map_or(0, |last| last + 1);
                prop_assert!(waits >= readers && waits <= moment, "{waits} of {readers} before {moment}");
            }
        }
    }

    #[test]
    fn with_two_places_in_turn_a_copy_runs_beside_the_last_step() {
        let mut turns = Turns::default();
        let waits: Vec<usize> = (0..6).map(|moment| turns.next(moment as u64 % 2, moment)).collect();
        // Places are new at first; from then on a copy waits for the step before the last one.
        assert_eq!(waits, [0, 1, 1, 2, 3, 4]);
        let mut turns = Turns::default();
        let waits: Vec<usize> = (0..4).map(|moment| turns.next(7, moment)).collect();
        assert_eq!(waits, [0, 1, 2, 3]);
    }
}
