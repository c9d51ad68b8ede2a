//! Values that the optimiser knows nothing about.

use core::hint::black_box;

/// Elements of a buffer. The program never runs; it only matters that the compiler knows no length.
const SPACE: usize = 64;

/// `value`, which the optimiser must take for any value of its type.
pub fn unknown<T>(value: T) -> T {
    black_box(value)
}

/// Makes the optimiser believe that `value` is needed.
pub fn use_up<T>(value: T) {
    black_box(&value);
}

/// Memory for slices of unknown lengths.
pub struct Memory<T>([T; SPACE]);

impl<T: Copy> Memory<T> {
    pub fn new(value: T) -> Self {
        Self([value; SPACE])
    }

    /// A slice of unknown length and contents.
    pub fn slice(&mut self) -> &mut [T] {
        black_box(self.0.as_mut_slice())
    }
}
