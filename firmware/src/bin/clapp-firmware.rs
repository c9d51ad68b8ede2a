//! Learns from frames that come over the link or from a sensor, for ever.
#![no_std]
#![no_main]

use clapp_firmware::app::App;
use clapp_firmware::boards::{Chosen, stop};
use clapp_firmware::model::Statics;
use cortex_m_rt::entry;
use static_cell::ConstStaticCell;

static STATICS: ConstStaticCell<Statics> = ConstStaticCell::new(Statics::new());

#[entry]
fn main() -> ! {
    let statics = STATICS.take();
    let Ok((machine, line, words)) = statics.parts() else { defmt::panic!("the memory does not fit the network") };
    let Some(board) = Chosen::take() else { defmt::panic!("somebody has the board already") };
    let mut app = App::new(board, machine, line, words);
    loop {
        app.poll();
    }
}

/// Reports, and stops.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    stop()
}
