//! Bytes that have come over the line and wait for the program, between an interrupt and [`Board::receive`].
//!
//! [`Board::receive`]: crate::board::Board::receive

use core::cell::RefCell;
use cortex_m::interrupt::{Mutex, free};
use heapless::Deque;

/// Bytes that may wait.
const WAITING: usize = 1024;

static RECEIVED: Mutex<RefCell<Deque<u8, WAITING>>> = Mutex::new(RefCell::new(Deque::new()));

/// Takes all bytes that `next` has. If the buffer is full, a byte and its packet are lost.
pub fn fill(mut next: impl FnMut() -> Option<u8>) {
    free(|token| {
        let mut received = RECEIVED.borrow(token).borrow_mut();
        while let Some(byte) = next() {
            let _ = received.push_back(byte);
        }
    });
}

/// The oldest byte.
pub fn take() -> Option<u8> {
    free(|token| RECEIVED.borrow(token).borrow_mut().pop_front())
}

/// Returns `true` if no byte waits. The board can then sleep until the next one.
#[cfg(feature = "qemu")]
pub fn is_empty() -> bool {
    free(|token| RECEIVED.borrow(token).borrow().is_empty())
}
