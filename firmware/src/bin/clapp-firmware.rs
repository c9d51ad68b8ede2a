//! Learns from frames that come over the link or from a sensor, for ever.
#![no_std]
#![no_main]

use clapp_firmware::app::App;
use clapp_firmware::boards::qemu_mps2::QemuMps2;
use clapp_firmware::model::Statics;
use cortex_m_rt::entry;
use defmt_semihosting as _;
use static_cell::ConstStaticCell;

static STATICS: ConstStaticCell<Statics> = ConstStaticCell::new(Statics::new());

#[entry]
fn main() -> ! {
    let statics = STATICS.take();
    let Ok((machine, line, words)) = statics.parts() else { defmt::panic!("the memory does not fit the network") };
    let mut app = App::new(QemuMps2::new(0), machine, line, words);
    loop {
        app.poll();
    }
}

/// Reports, and stops.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    semihosting::process::exit(1)
}
