//! Nordic nRF52840, pins as on its development kit (PCA10056). Compiled in every test run, not run: no hardware.
//!
//! | what | pin |
//! |---|---|
//! | line to the host, 115200 baud: transmit, receive | P0.06, P0.08 (the kit's USB serial port) |
//! | thermal camera MLX90640: SDA, SCL | P0.26, P0.27 |
//! | saccade, label of class 1 (high) | P0.03, P0.04 |
//! | predicted class 0 to 3 (high) | P0.28 to P0.31 |
//!
//! The flash for the weights is the end of the chip's flash (`boards/nrf52840.x`). To flash the program and to read the
//! log:
//!
//! ```text
//! probe-rs run --chip nRF52840_xxAA target/thumbv7em-none-eabihf/firmware/clapp-firmware
//! ```

use super::received;
use crate::board::Board;
use crate::mlx90640::{ADDRESS, Mlx90640, Rate};
use crate::pins::{WithPins, show};
use crate::source::{Arrival, FrameSource, SourceError};
use defmt_rtt as _;
use nrf52840_hal::gpio::{Input, Level, Output, Pin, PullDown, PushPull, p0};
use nrf52840_hal::nvmc::Nvmc;
use nrf52840_hal::pac::uart0::baudrate::BAUDRATE_A;
use nrf52840_hal::pac::{Interrupt, NVIC, NVMC, Peripherals, TWIM0, UART0, interrupt};
use nrf52840_hal::twim::{self, Twim};

#[interrupt]
#[allow(unsafe_code)]
fn UARTE0_UART0() {
    // SAFETY: the program sends through this peripheral and leaves the receiver's registers to this handler.
    let uart = unsafe { &*UART0::ptr() };
    received::fill(|| {
        (uart.events_rxdrdy.read().bits() != 0).then(|| {
            uart.events_rxdrdy.reset();
            uart.rxd.read().bits() as u8
        })
    });
}

/// The camera with its pins.
type Camera = WithPins<Mlx90640<Twim<TWIM0>>, Pin<Input<PullDown>>, Pin<Input<PullDown>>>;

/// The camera, if one answered when the board started.
pub struct Eye(Option<Camera>);

impl FrameSource for Eye {
    fn poll(&mut self, frame: &mut [f32]) -> Result<Option<Arrival>, SourceError> {
        self.0.as_mut().ok_or(SourceError::Missing)?.poll(frame)
    }
}

/// The board.
pub struct Nrf52840 {
    line: UART0,
    flash: Nvmc<NVMC>,
    eye: Eye,
    classes: [Pin<Output<PushPull>>; 4],
}

impl core::fmt::Debug for Nrf52840 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Nrf52840").field("eye", &self.eye.0.is_some()).finish_non_exhaustive()
    }
}

impl Nrf52840 {
    /// Takes possession of the board; `None` if somebody has it already.
    #[allow(unsafe_code)]
    pub fn take() -> Option<Self> {
        let Peripherals { P0, UART0, TWIM0, NVMC, .. } = Peripherals::take()?;
        let pins = p0::Parts::new(P0);

        // The HAL drives this peripheral by DMA of whole buffers only; packets have no fixed length.
        let transmit = pins.p0_06.into_push_pull_output(Level::High).degrade();
        let receive = pins.p0_08.into_floating_input().degrade();
        // SAFETY: numbers of pins, and any value of the registers that start a task.
        unsafe {
            UART0.psel.txd.write(|w| w.bits(transmit.psel_bits()));
            UART0.psel.rxd.write(|w| w.bits(receive.psel_bits()));
            UART0.baudrate.write(|w| w.baudrate().variant(BAUDRATE_A::BAUD115200));
            UART0.enable.write(|w| w.enable().enabled());
            UART0.intenset.write(|w| w.rxdrdy().set());
            UART0.tasks_starttx.write(|w| w.bits(1));
            UART0.tasks_startrx.write(|w| w.bits(1));
        }
        // SAFETY: the handler above shares nothing but a queue behind a mutex.
        unsafe { NVIC::unmask(Interrupt::UARTE0_UART0) };

        let bus = twim::Pins {
            sda: pins.p0_26.into_floating_input().degrade(),
            scl: pins.p0_27.into_floating_input().degrade(),
        };
        let camera = Mlx90640::new(Twim::new(TWIM0, bus, twim::Frequency::K400), ADDRESS, Rate::Hz4);
        let eye = Eye(camera.ok().map(|sensor| WithPins {
            sensor,
            saccade: pins.p0_03.into_pulldown_input().degrade(),
            label: pins.p0_04.into_pulldown_input().degrade(),
            class: 1,
        }));
        let classes = [
            pins.p0_28.into_push_pull_output(Level::Low).degrade(),
            pins.p0_29.into_push_pull_output(Level::Low).degrade(),
            pins.p0_30.into_push_pull_output(Level::Low).degrade(),
            pins.p0_31.into_push_pull_output(Level::Low).degrade(),
        ];
        Some(Self { line: UART0, flash: Nvmc::new(NVMC, store()), eye, classes })
    }
}

/// The part of flash that the linker script keeps for the weights.
#[allow(unsafe_code)]
fn store() -> &'static mut [u8] {
    unsafe extern "C" {
        static mut _store_start: u8;
        static mut _store_end: u8;
    }
    let (start, end) = (&raw mut _store_start, &raw mut _store_end);
    // SAFETY: the script puts nothing else there, and this is called once, by whoever took the peripherals.
    unsafe { core::slice::from_raw_parts_mut(start, end as usize - start as usize) }
}

impl Board for Nrf52840 {
    const NAME: &'static str = "nrf52840";
    type Flash = Nvmc<NVMC>;
    type Sensor = Eye;

    fn receive(&mut self) -> Option<u8> {
        received::take()
    }

    fn send(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.line.events_txdrdy.reset();
            // SAFETY: any byte may be sent.
            #[allow(unsafe_code)]
            self.line.txd.write(|w| unsafe { w.bits(u32::from(*byte)) });
            while self.line.events_txdrdy.read().bits() == 0 {}
        }
    }

    fn flash(&mut self) -> Option<&mut Nvmc<NVMC>> {
        Some(&mut self.flash)
    }

    fn sensor(&mut self) -> &mut Eye {
        &mut self.eye
    }

    fn show(&mut self, class: Option<u8>) {
        let Ok(()) = show(&mut self.classes, class);
    }

    fn idle(&mut self) {
        // The camera raises no interrupt, so there may be something to do at any time.
    }
}

/// Stops for ever, for a debugger.
pub fn stop() -> ! {
    cortex_m::interrupt::disable();
    loop {
        cortex_m::asm::bkpt();
    }
}
