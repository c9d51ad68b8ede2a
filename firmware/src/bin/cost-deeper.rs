//! Measures the cost of [`networks::DEEPER`].
#![no_std]
#![no_main]

use clapp_firmware::cost::{self, networks};
use clapp_firmware::{memory, memory_of};
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    static mut MEMORY: memory_of!(networks::DEEPER, networks::OPTIMIZER) = memory::Memory::NEW;
    cost::run(networks::DEEPER.view(), networks::OPTIMIZER, MEMORY.buffers())
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    cost::panicked(info)
}
