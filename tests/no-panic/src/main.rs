//! Proves that `clapp-core`, built for release, cannot panic: its panic handler calls a function that does
//! not exist, so this program links only if the optimiser and the linker find no way to the handler.
//!
//! It calls every public operation, with values that the optimiser cannot predict ([`opaque`]). Only the `Display`
//! texts of errors are left out: they format through `core::fmt`, which is the caller's choice.
//!
//! A failure looks like this:
//!
//! ```text
//! rust-lld: error: undefined symbol: clapp_core_has_a_panicking_path
//! ```
//!
//! To find the culprit, look into the assembly for calls of panicking functions. The `.loc FILE LINE COLUMN`
//! before a call is its source, `.file FILE …` names the file:
//!
//! ```text
//! cargo rustc --release --manifest-path tests/no-panic/Cargo.toml --target thumbv7em-none-eabihf \
//!     --config profile.release.debug=1 -- --emit asm
//! grep -E '^\s+\.file|^\s+\.loc|bl.*(core9panicking|core5slice5index)' TARGET_DIR/thumbv7em-none-eabihf/release/deps/no_panic-*.s \
//!     | grep -B1 -E 'bl|file'
//! ```
//!
//! Most are an index or a slice range, `copy_from_slice`, `chunks` of a size that may be 0, or an integer
//! division. `--features culprit` adds one on purpose, to see this test fail.

#![no_std]
#![no_main]

#[cfg(feature = "link")]
mod cable;
mod heads;
mod kernels;
mod learning;
mod numbers;
mod opaque;
mod plans;
mod saving;

unsafe extern "C" {
    /// Exists nowhere: a reference to it is a link error.
    safe fn clapp_core_has_a_panicking_path() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    clapp_core_has_a_panicking_path()
}

/// The linker's entry point, from which everything that may run is reached.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    numbers::all();
    heads::all();
    #[cfg(feature = "link")]
    cable::all();
    plans::with_networks(|network| {
        plans::all(network);
        kernels::all(network);
        learning::all(network);
        saving::all(network);
    });
    #[cfg(feature = "culprit")]
    opaque::use_up([1, 2, 3][opaque::unknown(3_usize)]);
    loop {
        core::hint::spin_loop();
    }
}
