//! Runs the cases in the files that its arguments name (QEMU: `-semihosting-config arg=bits,arg=FILE,…`), and prints a
//! hash for each.
#![no_std]
#![no_main]

use clapp_firmware::bits::{Memory, run};
use core::ffi::CStr;
use cortex_m_rt::entry;
use defmt_semihosting as _;
use semihosting::fs::File;
use semihosting::io::Read;
use semihosting::{eprintln, println, process};

const ARGUMENTS: usize = 4096;
const FILE: usize = 64 * 1024;

#[entry]
fn main() -> ! {
    static mut FLOATS: [f32; 40 * 1024] = [0.0; _];
    static mut ARGMAX: [u8; 4096] = [0; _];
    static mut BYTES: [u8; FILE] = [0; _];
    let mut memory = Memory { floats: FLOATS, argmax: ARGMAX };
    let Ok(arguments) = semihosting::experimental::env::args::<ARGUMENTS>() else {
        fail("the arguments cannot be read")
    };
    for path in (&arguments).skip(1) {
        let mut name = [0; 1024];
        let Ok(path) = path else { fail("an argument is not text") };
        let Some(start) = name.get_mut(..path.len()) else { fail("a path is too long") };
        start.copy_from_slice(path.as_bytes());
        let Ok(name) = CStr::from_bytes_until_nul(&name) else { fail("a path is too long") };
        let Some(bytes) = read(name, BYTES) else { fail("a file is too long or cannot be read") };
        match run(bytes, &mut memory) {
            Ok(hash) => println!("{hash:016x}"),
            Err(error) => {
                eprintln!("{path}: {error:?}");
                process::exit(1)
            }
        }
    }
    process::exit(0)
}

fn read<'b>(path: &CStr, bytes: &'b mut [u8]) -> Option<&'b [u8]> {
    let mut file = File::open(path).ok()?;
    let len = usize::try_from(file.metadata().ok()?.len()).ok()?;
    let bytes = bytes.get_mut(..len)?;
    file.read_exact(bytes).ok()?;
    Some(bytes)
}

fn fail(reason: &str) -> ! {
    eprintln!("{reason}");
    process::exit(1)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    process::exit(1)
}
