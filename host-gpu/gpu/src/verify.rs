//! Holds a recorded program and its plan against what a device would do with them: nothing is used before it is written
//! or after it is freed, nothing outside its buffer, and no two buffers in use share memory.

use super::memory::Place;
use super::op::{Access, MapType, Op};
use super::plan::Plan;
use super::program::{Event, Recording};
use std::collections::BTreeMap;

/// A buffer in use.
struct Live {
    /// Bytes that have been written, as ranges that do not touch.
    written: Vec<[usize; 2]>,
}

impl Live {
    fn write(&mut self, from: usize, to: usize) {
        let mut merged = [from, to];
        self.written.retain(|range| {
            let apart = range[1] < merged[0] || merged[1] < range[0];
            if !apart {
                merged = [merged[0].min(range[0]), merged[1].max(range[1])];
            }
            apart
        });
        self.written.push(merged);
    }

    fn is_written(&self, from: usize, to: usize) -> bool {
        from == to || self.written.iter().any(|range| range[0] <= from && to <= range[1])
    }
}

/// Checks a program.
///
/// # Errors
/// The first thing that is wrong, with the operation's number.
pub fn verify(recording: &Recording, plan: &Plan, maps: MapType) -> Result<(), String> {
    let mut live: BTreeMap<usize, Live> = BTreeMap::new();
    let fixed: Vec<(u64, usize)> = recording.fixed().collect();
    let mut number = 0;
    for event in recording.events() {
        match event {
            Event::Allocate(buffer) => {
                let (from, to) = range(recording, plan, *buffer);
                for other in live.keys() {
                    let (start, end) = range(recording, plan, *other);
                    if from < end && start < to {
                        return Err(format!("buffers {buffer} and {other} overlap while both are in use"));
                    }
                }
                if to > plan.bytes {
                    return Err(format!("buffer {buffer} ends at {to}, but the arena has {} bytes", plan.bytes));
                }
                live.insert(*buffer, Live { written: Vec::new() });
            }
            Event::Free(buffer) => {
                if live.remove(buffer).is_none() {
                    return Err(format!("buffer {buffer} is freed while it is not in use"));
                }
            }
            Event::Run(op) => {
                number += 1;
                check(op, recording, &fixed, &mut live, maps)
                    .map_err(|error| format!("operation {number} ({}): {error}", name(op)))?;
            }
        }
    }
    Ok(())
}

fn range(recording: &Recording, plan: &Plan, buffer: usize) -> (usize, usize) {
    (plan.offsets[buffer], plan.offsets[buffer] + recording.sizes()[buffer])
}

/// The name of an operation.
pub fn name(op: &Op<Place>) -> &'static str {
    match op {
        Op::Launch { kernel, .. } => kernel,
        Op::Convolve { .. } => "convolution",
        Op::Multiply { .. } => "product",
        Op::Copy { .. } => "copy",
        Op::Zero { .. } => "zero",
        Op::Collect { .. } => "collective",
    }
}

fn check(
    op: &Op<Place>,
    recording: &Recording,
    fixed: &[(u64, usize)],
    live: &mut BTreeMap<usize, Live>,
    maps: MapType,
) -> Result<(), String> {
    let accesses = op.accesses(maps);
    // All reads come before all writes.
    for (place, bytes, access) in &accesses {
        let (buffer, offset) = match *place {
            Place::Fixed(0) if *bytes == 0 => continue,
            Place::Fixed(address) => {
                let inside =
                    |(start, len): &(u64, usize)| *start <= address && address + *bytes as u64 <= start + *len as u64;
                if !fixed.iter().any(inside) {
                    return Err(format!("{bytes} bytes at {address:#x} are not memory that the program keeps"));
                }
                continue;
            }
            Place::Planned { buffer, offset } => (buffer, offset),
        };
        let Some(state) = live.get(&buffer) else { return Err(format!("buffer {buffer} is not in use")) };
        if offset + bytes > recording.sizes()[buffer] {
            return Err(format!("{bytes} bytes from {offset} reach out of buffer {buffer}"));
        }
        if *access != Access::Write && !state.is_written(offset, offset + bytes) {
            return Err(format!("{bytes} bytes from {offset} of buffer {buffer} are read before they are written"));
        }
    }
    for (place, bytes, access) in accesses {
        if let (Place::Planned { buffer, offset }, true) = (place, access != Access::Read)
            && let Some(state) = live.get_mut(&buffer)
        {
            state.write(offset, offset + bytes);
        }
    }
    Ok(())
}
