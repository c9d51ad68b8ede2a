//! Overflows its stack, to test the fault handler. With the argument `undefined` it executes an undefined instruction
//! instead.
#![no_std]
#![no_main]

use clapp_firmware::fault::{Fault, on_fault};
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m_rt::entry;
use defmt_semihosting as _;
use semihosting::{eprintln, process};

/// Size of an array that fills most of the RAM above the stack, in words.
const WORDS: usize = 50 * 1024;
static STATICS: [AtomicU32; WORDS] = [const { AtomicU32::new(0) }; WORDS];

fn pattern(at: usize) -> u32 {
    (at as u32).wrapping_mul(0x9E37_79B9) ^ 0x5555_5555
}

fn check(_: &Fault) {
    let spoilt = (0..).zip(&STATICS).filter(|(at, word)| word.load(Ordering::Relaxed) != pattern(*at)).count();
    eprintln!("{spoilt} of {WORDS} words of the statics are spoilt");
}

/// Each call keeps 256 bytes.
#[inline(never)]
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u32) -> u32 {
    let mut kept = [depth; 64];
    black_box(&mut kept);
    let deeper = black_box(recurse(depth + 1));
    black_box(&kept).iter().fold(deeper, |sum, value| sum ^ value)
}

#[entry]
fn main() -> ! {
    on_fault(check);
    (0..).zip(&STATICS).for_each(|(at, word)| word.store(pattern(at), Ordering::Relaxed));
    let arguments = semihosting::experimental::env::args::<256>();
    if arguments.is_ok_and(|arguments| (&arguments).any(|argument| argument == Ok("undefined"))) {
        cortex_m::asm::udf()
    }
    eprintln!("the recursion has come to {}", recurse(0));
    process::exit(0)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    process::exit(1)
}
