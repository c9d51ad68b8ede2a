//! The memory of an emulated device: every allocation lies between red zones, and holds NaN until it is written.

use crate::executor::GpuError;
use std::collections::BTreeMap;
use std::ops::Range;

/// Content of fresh memory and red zones: NaN as `f32`, `f64` and bf16, -1 as an integer.
pub const POISON: u8 = 0xFF;

/// Alignment of allocations.
const ALIGNMENT: usize = 256;

/// Bytes before and behind every allocation that nobody may change.
const ZONE: usize = 1024;

struct Allocation {
    storage: Vec<u8>,
    /// The bytes of the storage that were asked for.
    range: Range<usize>,
}

impl Allocation {
    fn is_whole(&self) -> bool {
        let zones = [&self.storage[..self.range.start], &self.storage[self.range.end..]];
        zones.iter().all(|zone| zone.iter().all(|byte| *byte == POISON))
    }
}

/// All that is allocated, by address.
pub struct Memory {
    allocations: BTreeMap<u64, Allocation>,
    total: usize,
    used: usize,
}

/// The content of all memory at some time.
pub struct Snapshot(Vec<(u64, Vec<u8>)>);

fn failed(reason: String) -> GpuError {
    GpuError::Failed { what: "a memory check of the emulated device".into(), reason }
}

impl Memory {
    pub fn new(total: usize) -> Self {
        Self { allocations: BTreeMap::new(), total, used: 0 }
    }

    pub fn allocate(&mut self, bytes: usize) -> Result<u64, GpuError> {
        let free = self.total - self.used;
        if bytes > free {
            let remedy = "take a smaller batch";
            return Err(GpuError::Memory { needed: bytes, free, total: self.total, remedy });
        }
        let storage = vec![POISON; ZONE + ALIGNMENT + bytes + ZONE];
        let base = storage.as_ptr().expose_provenance();
        let start = (base + ZONE).next_multiple_of(ALIGNMENT) - base;
        let address = (base + start) as u64;
        self.allocations.insert(address, Allocation { storage, range: start..start + bytes });
        self.used += bytes;
        Ok(address)
    }

    pub fn free(&mut self, address: u64, bytes: usize) -> Result<(), GpuError> {
        match self.allocations.get(&address) {
            None => return Err(failed(format!("memory at {address:#x} is freed, but was not allocated"))),
            Some(found) if found.range.len() != bytes => {
                let len = found.range.len();
                return Err(failed(format!("{bytes} bytes at {address:#x} are freed, but {len} were allocated")));
            }
            Some(_) => {}
        }
        self.used -= bytes;
        match self.allocations.remove(&address) {
            Some(found) if !found.is_whole() => Err(written_beyond(address, bytes)),
            _ => Ok(()),
        }
    }

    /// Checks that all red zones are as they were.
    pub fn check(&self) -> Result<(), GpuError> {
        match self.allocations.iter().find(|(_, found)| !found.is_whole()) {
            Some((address, found)) => Err(written_beyond(*address, found.range.len())),
            None => Ok(()),
        }
    }

    /// The allocation that holds all of `bytes` at `address`, and where in its storage they lie.
    fn find(&self, address: u64, bytes: usize) -> Result<(u64, Range<usize>), GpuError> {
        let outside = || failed(format!("{bytes} bytes at {address:#x} are not all in one piece of allocated memory"));
        let (base, found) = self.allocations.range(..=address).next_back().ok_or_else(outside)?;
        let start = found.range.start + (address - base) as usize;
        if start + bytes > found.range.end {
            return Err(outside());
        }
        Ok((*base, start..start + bytes))
    }

    /// Bytes at an address.
    pub fn bytes(&self, address: u64, bytes: usize) -> Result<&[u8], GpuError> {
        let (base, range) = self.find(address, bytes)?;
        Ok(&self.allocations[&base].storage[range])
    }

    /// Bytes at an address, to be changed.
    pub fn bytes_mut(&mut self, address: u64, bytes: usize) -> Result<&mut [u8], GpuError> {
        let (base, range) = self.find(address, bytes)?;
        let found = self.allocations.get_mut(&base).ok_or_else(|| failed(format!("no memory at {address:#x}")))?;
        Ok(&mut found.storage[range])
    }

    pub fn snapshot(&self) -> Snapshot {
        let copy = |found: &Allocation| found.storage[found.range.clone()].to_vec();
        Snapshot(self.allocations.iter().map(|(address, found)| (*address, copy(found))).collect())
    }

    /// Checks that only these pieces of memory have changed since `before`.
    pub fn check_unchanged(&self, before: Snapshot, written: &[(u64, usize)]) -> Result<(), GpuError> {
        for (address, mut bytes) in before.0 {
            let now = self.bytes(address, bytes.len())?;
            for (at, len) in written.iter().filter(|(at, _)| (address..address + now.len() as u64).contains(at)) {
                let start = (at - address) as usize;
                bytes[start..start + len].copy_from_slice(&now[start..start + len]);
            }
            if let Some(offset) = bytes.iter().zip(now).position(|(before, now)| before != now) {
                let reason = format!(
                    "byte {offset} of the {} at {address:#x} was written by an operation that does \
                                      not name it as written",
                    now.len()
                );
                return Err(failed(reason));
            }
        }
        Ok(())
    }
}

fn written_beyond(address: u64, bytes: usize) -> GpuError {
    failed(format!("something was written beyond the {bytes} bytes at {address:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_memory_is_poisoned_and_aligned() {
        let mut memory = Memory::new(1000);
        for bytes in [1, 7, 256, 300] {
            let address = memory.allocate(bytes).expect("memory");
            assert_eq!(address % 256, 0);
            assert!(memory.bytes(address, bytes).expect("bytes").iter().all(|byte| *byte == POISON));
        }
        let error = memory.allocate(437).expect_err("564 are used");
        assert!(matches!(error, GpuError::Memory { needed: 437, free: 436, total: 1000, .. }), "{error}");
    }

    #[test]
    fn what_lies_outside_is_refused() {
        let mut memory = Memory::new(1000);
        let address = memory.allocate(100).expect("memory");
        memory.bytes(address + 60, 40).expect("the end");
        for (address, bytes) in [(address, 101), (address + 100, 1), (address - 1, 1), (0, 1)] {
            assert!(memory.bytes(address, bytes).is_err(), "{bytes}");
        }
        assert!(memory.free(address, 99).is_err());
        memory.free(address, 100).expect("freed");
        assert!(memory.free(address, 100).is_err(), "twice");
        assert!(memory.bytes(address, 1).is_err(), "after it was freed");
    }

    #[test]
    fn writes_beyond_are_found() {
        for offset in [-1, 100] {
            let mut memory = Memory::new(1000);
            let address = memory.allocate(100).expect("memory");
            memory.check().expect("whole");
            let found = memory.allocations.get_mut(&address).expect("it");
            let at = found.range.start.wrapping_add_signed(offset);
            found.storage[at] = 0;
            assert!(memory.check().is_err());
            assert!(memory.free(address, 100).is_err());
        }
    }

    #[test]
    fn changes_of_other_memory_are_found() {
        let mut memory = Memory::new(1000);
        let address = memory.allocate(100).expect("memory");
        let before = memory.snapshot();
        memory.bytes_mut(address + 10, 4).expect("bytes").fill(1);
        memory.check_unchanged(before, &[(address + 8, 6)]).expect("named");
        let before = memory.snapshot();
        memory.bytes_mut(address + 10, 4).expect("bytes").fill(2);
        assert!(memory.check_unchanged(before, &[(address + 11, 6)]).is_err());
    }
}
