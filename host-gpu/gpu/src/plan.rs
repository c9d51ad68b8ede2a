//! The layout of a program's buffers: two that are in use at the same time never overlap, and the whole is small.

use super::program::{Event, Recording};

/// Alignment of every buffer, in bytes: what libraries and vector loads want.
pub const ALIGNMENT: usize = 256;

/// A place for each buffer of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// First byte of each buffer in the arena.
    pub offsets: Vec<usize>,
    /// Bytes of the arena.
    pub bytes: usize,
    /// Bytes of buffers that are in use at once, at most: no plan can be smaller.
    pub least: usize,
}

/// From the event in which it begins to the event in which it ends.
fn lifetimes(recording: &Recording) -> Vec<[usize; 2]> {
    let mut lifetimes = vec![[0, recording.events().len()]; recording.sizes().len()];
    for (at, event) in recording.events().iter().enumerate() {
        match event {
            Event::Allocate(buffer) => lifetimes[*buffer][0] = at,
            Event::Free(buffer) => lifetimes[*buffer][1] = at,
            Event::Run(_) => {}
        }
    }
    lifetimes
}

/// Plans the memory. The best plan is hard to find; of three that put one buffer after the other in the lowest gap that is
/// free for all its life, the smallest is taken.
pub fn plan(recording: &Recording) -> Plan {
    let lifetimes = lifetimes(recording);
    let size = |buffer: usize| recording.sizes()[buffer].next_multiple_of(ALIGNMENT);
    let length = |buffer: usize| lifetimes[buffer][1] - lifetimes[buffer][0];
    let order = |key: &dyn Fn(usize) -> usize| {
        let mut order: Vec<usize> = (0..lifetimes.len()).collect();
        order.sort_by_key(|buffer| (std::cmp::Reverse(key(*buffer)), *buffer));
        order
    };
    let orders = [order(&size), order(&|buffer| size(buffer) * length(buffer)), order(&|_| 0)];
    let [first, rest @ ..] = orders.map(|order| place(&order, &lifetimes, size));
    let (offsets, bytes) = rest.into_iter().fold(first, |best, other| if other.1 < best.1 { other } else { best });
    Plan { bytes, least: least(recording, size), offsets }
}

/// Places the buffers in `order`, each in the lowest gap; gives where they begin and where the last ends.
fn place(order: &[usize], lifetimes: &[[usize; 2]], size: impl Fn(usize) -> usize) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; lifetimes.len()];
    let mut end_of_all = 0;
    for (index, buffer) in order.iter().copied().enumerate() {
        let [begin, end] = lifetimes[buffer];
        let mut in_the_way: Vec<[usize; 2]> = order[..index]
            .iter()
            .filter(|other| lifetimes[**other][0] < end && begin < lifetimes[**other][1])
            .map(|other| [offsets[*other], offsets[*other] + size(*other)])
            .collect();
        in_the_way.sort_unstable();
        let mut offset = 0;
        for [from, to] in in_the_way {
            if from >= offset + size(buffer) {
                break;
            }
            offset = offset.max(to);
        }
        offsets[buffer] = offset;
        end_of_all = end_of_all.max(offset + size(buffer));
    }
    (offsets, end_of_all)
}

fn least(recording: &Recording, size: impl Fn(usize) -> usize) -> usize {
    let (mut now, mut most) = (0, 0);
    for event in recording.events() {
        match event {
            Event::Allocate(buffer) => now += size(*buffer),
            Event::Free(buffer) => now -= size(*buffer),
            Event::Run(_) => {}
        }
        most = most.max(now);
    }
    most
}
