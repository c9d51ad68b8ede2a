//! Measures instructions and stack of a piece of the program, in QEMU.
//!
//! Under `-icount shift=0` every instruction takes a nanosecond of the emulated time, and so always the same. SysTick
//! counts that time at the 25 MHz of the board. The cycle counter of the debug unit does not exist in QEMU.

use core::arch::asm;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::STACK_PAINT_VALUE;

/// Instructions from one tick of SysTick to the next: 1 GHz over 25 MHz.
pub const INSTRUCTIONS_A_TICK: u64 = 40;

/// Highest value of the counter of 24 bits.
const RELOAD: u32 = 0x00FF_FFFF;

/// Counts instructions.
pub struct Counter(SYST);

impl Counter {
    /// Takes SysTick over.
    pub fn new(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(RELOAD);
        timer.clear_current();
        timer.enable_counter();
        Self(timer)
    }

    /// Instructions that `work` takes, to about [`INSTRUCTIONS_A_TICK`], with what it returns; `None` instead of the
    /// number where the counter may have come round (above some 670 million instructions).
    pub fn count<T>(&mut self, work: impl FnOnce() -> T) -> (Option<u64>, T) {
        // Writing the counter makes it start again from the top at the next tick.
        self.0.clear_current();
        while SYST::get_current() == 0 {}
        self.0.has_wrapped();
        let before = SYST::get_current();
        let result = work();
        let after = SYST::get_current();
        let ticks = (!self.0.has_wrapped()).then(|| u64::from(before.wrapping_sub(after) & RELOAD));
        (ticks.map(|ticks| ticks * INSTRUCTIONS_A_TICK), result)
    }
}

/// Runs `2 * rounds` instructions.
#[expect(unsafe_code, reason = "only assembly says how many instructions there are")]
pub fn known_loop(rounds: u32) {
    // SAFETY: changes one register and the flags, touches no memory.
    unsafe { asm!("2:", "subs {0}, {0}, #1", "bne 2b", inout(reg) rounds => _, options(nomem, nostack)) }
}

/// Bytes of the stack that have been written to since the program started, and bytes that it has.
#[expect(unsafe_code, reason = "reads memory outside of any Rust object")]
pub fn stack() -> (usize, usize) {
    unsafe extern "C" {
        static _stack_start: u32;
        static _stack_end: u32;
    }
    let (top, bottom) = (&raw const _stack_start, &raw const _stack_end);
    let size = top as usize - bottom as usize;
    // SAFETY: the linker script puts the stack between both addresses, aligned to words; reads only.
    let word = |at: usize| unsafe { bottom.wrapping_add(at).read_volatile() };
    let untouched = (0..size / 4).take_while(|&at| word(at) == STACK_PAINT_VALUE).count();
    (size - 4 * untouched, size)
}
