//! Fault handler: the program reports the fault and stops.
//!
//! The stack lies below all statics, at the lower end of the RAM (`boards/*.x`), so it cannot overflow into a static.
//! Not every bus refuses accesses below the RAM, so the memory protection unit forbids them from before `main`. An
//! overflow is then a fault, and the statics with the weights do not change. The handler has no stack left, so it first
//! resets the stack pointer to the top.

use core::arch::naked_asm;
use core::cell::Cell;
use cortex_m::interrupt::Mutex;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub struct Fault {
    /// Stack pointer at the fault. Below [`Fault::stack_end`], the stack has overflowed.
    pub stack_pointer: u32,
    /// Lowest address of the stack.
    pub stack_end: u32,
    /// Configurable Fault Status Register (Armv7-M Architecture Reference Manual, B3.2.15).
    pub status: u32,
    /// HardFault Status Register (B3.2.16).
    pub hard_status: u32,
    /// The forbidden or invalid address, if the status marks it as valid (B3.2.17 and 18).
    pub address: Option<u32>,
}

impl Fault {
    /// Returns `true` if the stack has overflowed.
    pub fn is_stack_overflow(&self) -> bool {
        self.stack_pointer < self.stack_end
    }
}

/// Function called on a fault.
pub type Hook = fn(&Fault);

static HOOK: Mutex<Cell<Option<Hook>>> = Mutex::new(Cell::new(None));

/// Calls `hook` on a fault, before the program stops. It runs with the whole stack at hand and the statics as they
/// were.
pub fn on_fault(hook: Hook) {
    cortex_m::interrupt::free(|token| HOOK.borrow(token).set(Some(hook)));
}

/// Forbids the mebibyte below the stack (Armv7-M Architecture Reference Manual, B3.5), which no frame here jumps over.
///
/// cortex-m-rt calls it before there are any statics, hence assembly. `_stack_end` must be a multiple of a mebibyte, or
/// the unit would forbid another one: the linker scripts of the boards check it.
#[allow(unsafe_code)]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn __pre_init() {
    naked_asm!(
        "ldr r0, =0xE000ED94", // MPU_CTRL, followed by the number, base and attributes of a region
        "ldr r1, =_stack_end",
        "sub r1, r1, #0x100000",
        "movs r2, #0",
        "str r2, [r0, #4]", // region 0
        "str r1, [r0, #8]",
        "ldr r2, =0x10000027", // never executed, no access, 2^20 bytes, enabled
        "str r2, [r0, #12]",
        "movs r2, #5", // enabled, everything else as without the unit
        "str r2, [r0]",
        "dsb",
        "isb",
        "bx lr",
    )
}

/// The exception's handler, which may find no stack to run on.
#[allow(unsafe_code)]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn HardFault() -> ! {
    naked_asm!(
        "mrs r0, msp",
        "ldr r1, =_stack_start",
        "msr msp, r1",
        "ldr r1, =_stack_end",
        "b {report}",
        report = sym report,
    )
}

extern "C" fn report(stack_pointer: u32, stack_end: u32) -> ! {
    // Bits of the status that say which of both address registers holds an address.
    const MMARVALID: u32 = 1 << 7;
    const BFARVALID: u32 = 1 << 15;
    let status = register(0xE000_ED28);
    let address = match status {
        status if status & MMARVALID != 0 => Some(register(0xE000_ED34)),
        status if status & BFARVALID != 0 => Some(register(0xE000_ED38)),
        _ => None,
    };
    let fault = Fault { stack_pointer, stack_end, status, hard_status: register(0xE000_ED2C), address };
    if let Some(hook) = cortex_m::interrupt::free(|token| HOOK.borrow(token).get()) {
        hook(&fault);
    }
    stop(&fault)
}

#[allow(unsafe_code)]
fn register(address: usize) -> u32 {
    // SAFETY: called with registers of the System Control Block, which every Armv7-M has and reading does not change.
    unsafe { (address as *const u32).read_volatile() }
}

/// Exit code of QEMU after a fault.
#[cfg(feature = "qemu")]
const EXIT_CODE: i32 = 3;

#[cfg(feature = "qemu")]
fn stop(fault: &Fault) -> ! {
    // Do not use `defmt`: the fault may have interrupted one of its messages.
    let what = if fault.is_stack_overflow() { "stack overflow" } else { "fault" };
    let Fault { stack_pointer, stack_end, status, hard_status, address } = *fault;
    semihosting::eprintln!(
        "{what}: stack at {stack_pointer:08x}, ends at {stack_end:08x}; CFSR {status:08x}, HFSR {hard_status:08x}, address {:08x}",
        address.unwrap_or(0)
    );
    semihosting::process::exit(EXIT_CODE)
}

#[cfg(not(feature = "qemu"))]
fn stop(fault: &Fault) -> ! {
    defmt::error!("stack overflow: {}, {}", fault.is_stack_overflow(), fault);
    crate::boards::stop()
}
