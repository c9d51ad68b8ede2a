//! The firmware of this repository boots from the image that `clapp export` makes of a run with the preset `device`.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that fails here has found something")]

use crate::flash;

use clapp_core::checkpoint::architecture;
use clapp_core::learner::LayerState;
use clapp_core::storage::Store;
use clapp_device::flash_image::{Image, encode};
use clapp_engine::checkpoint::device::DeviceState;
use clapp_engine::config::preset;
use clapp_engine::trainer::initial_values;
use clapp_firmware::model::{CLASSES, NETWORK, Statics};
use flash::Cells;

const ERASE: usize = 4096;

#[test]
fn the_firmware_boots_from_an_image_of_the_preset() {
    let mut config = preset("device").expect("a preset");
    config.seed = 77;
    let spec = config.network().expect("a network");
    let network = architecture(&NETWORK.view());
    assert_eq!(architecture(&spec.view()), network, "the preset and the firmware's network differ");

    let held = DeviceState {
        step: 5,
        parameters: spec.flat_from_values(&initial_values(&config).expect("first values")),
        layers: vec![LayerState { steps: 5, ..LayerState::NEW }; spec.layers().len()],
        readout: vec![0.0; CLASSES * spec.view().feature_len()],
        counts: vec![0; CLASSES],
        ..DeviceState::default()
    };
    let slot = held.contents().lengths().slot_len(ERASE);
    let image = encode(&held, network, Some(slot)).expect("an image");

    let mut statics = Box::new(Statics::new());
    let (mut machine, ..) = statics.parts().expect("a machine");
    assert_eq!(machine.contents().lengths().slot_len(ERASE), slot, "the firmware's slots have another length");
    assert_ne!(machine.contents().parameters, held.parameters);
    let mut cells = Cells::with_bytes::<4, ERASE>(&image);
    let mut store = Store::open(cells.on::<4, ERASE>(), 0, slot as u32, network).expect("a store");
    let step = machine.restore(|into| store.load(into));
    assert_eq!(step, Ok(held.step));
    assert_eq!(machine.contents(), held.contents());

    // `clapp import` restores the state that the firmware saved.
    store.save(&machine.contents()).expect("a save");
    let home = Image::open(cells.bytes(), network, None).expect("an image");
    assert_eq!((home.found.slot, home.found.header.sequence), (1, 2));
    assert_eq!(home.read().expect("a checkpoint"), held);
}
