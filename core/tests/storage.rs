//! The store without power cuts: what it finds, what it refuses, damaged bits, wear.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that fails here has found something")]

mod flash;

use clapp_core::checkpoint::{Contents, ContentsMut, Error as Content, Lengths, Misfit, Part};
use clapp_core::learner::LayerState;
use clapp_core::storage::{Error, Geometry, Loaded, Saved, Store};
use embedded_storage::nor_flash::NorFlashErrorKind;
use flash::{Cells, Flash};

type Outcome<T> = Result<T, Error<NorFlashErrorKind>>;

const ARCHITECTURE: u64 = 5;
const LENGTHS: Lengths = Lengths { layers: 2, parameters: 5, state: 3, readout: 2, counts: 1 };
const SLOT: u32 = LENGTHS.slot_len(64) as u32;
const LAYERS: [LayerState; 2] =
    [LayerState { frozen: true, steps: 9, refused: 0 }, LayerState { frozen: false, steps: u32::MAX, refused: 3 }];

fn blank() -> Cells {
    Cells::new::<4, 64>(2 * SLOT as usize, false, 0)
}

fn save(cells: &mut Cells, step: u64) -> Outcome<Saved> {
    let value = step as f32;
    let contents = Contents {
        step,
        parameters: &[value, -0.0, f32::NAN, 1e-42, f32::MAX],
        state: &[value; 3],
        layers: &LAYERS,
        readout: &[value; 2],
        counts: &[7],
    };
    Store::open(cells.on::<4, 64>(), 0, SLOT, ARCHITECTURE)?.save(&contents)
}

/// Loads into buffers of some lengths; what was found, and all buffers' bits.
fn load_into(cells: &mut Cells, lengths: Lengths, architecture: u64) -> (Outcome<Loaded>, Vec<u32>) {
    let mut parameters = vec![8.0; lengths.parameters];
    let mut state = vec![8.0; lengths.state];
    let mut readout = vec![8.0; lengths.readout];
    let mut counts = vec![8; lengths.counts];
    let mut layers = vec![LayerState::NEW; lengths.layers];
    let mut into = ContentsMut {
        parameters: &mut parameters,
        state: &mut state,
        layers: &mut layers,
        readout: &mut readout,
        counts: &mut counts,
    };
    let loaded = Store::open(cells.on::<4, 64>(), 0, SLOT, architecture).and_then(|mut store| store.load(&mut into));
    let floats = [parameters, state, readout].concat().into_iter().map(f32::to_bits);
    let layers = layers.iter().flat_map(|layer| [u32::from(layer.frozen), layer.steps, layer.refused]);
    (loaded, floats.chain(layers).chain(counts).collect())
}

fn load(cells: &mut Cells) -> (Outcome<Loaded>, Vec<u32>) {
    load_into(cells, LENGTHS, ARCHITECTURE)
}

/// What [`load`] gives of the save at a step.
fn bits(step: u64) -> Vec<u32> {
    let value = (step as f32).to_bits();
    let floats = [value, (-0.0_f32).to_bits(), f32::NAN.to_bits(), 1e-42_f32.to_bits(), f32::MAX.to_bits()];
    [&floats[..], &[value; 5], &[1, 9, 0, 0, u32::MAX, 3], &[7]].concat()
}

#[test]
fn the_last_save_comes_back_to_the_bit() {
    let mut cells = blank();
    for step in [3, 4, 4, 2] {
        let saved = save(&mut cells, step).expect("a save");
        let (loaded, found) = load(&mut cells);
        let loaded = loaded.expect("what was saved");
        assert_eq!((loaded.header.step, loaded.slot, loaded.fell_back), (step, saved.slot, false));
        assert_eq!((loaded.header.sequence, loaded.header.lengths), (saved.sequence, LENGTHS));
        assert_eq!(found, bits(step));
    }
}

#[test]
fn each_erase_unit_is_erased_at_every_second_save() {
    let mut cells = blank();
    let units = SLOT / 64;
    for save_number in 1..=10 {
        assert_eq!(save(&mut cells, 0).expect("a save").erased, units);
        assert_eq!(cells.erasures.iter().sum::<u32>(), save_number * units);
    }
    assert!(cells.erasures.iter().all(|&erasures| erasures == 5));
}

#[test]
fn a_slot_holds_exactly_what_it_must() {
    assert_eq!(LENGTHS.stored_len(), 320 + 32 * 3);
    assert_eq!(LENGTHS.slot_len(4096), 4096);
    assert_eq!(LENGTHS.slot_len(0), LENGTHS.stored_len());
    let mut cells = Cells::new::<4, 32>(4096, false, 0);
    let contents = Contents { step: 0, parameters: &[1.0; 17], state: &[], layers: &LAYERS, readout: &[], counts: &[] };
    let needed = contents.lengths().stored_len();
    let mut store = Store::open(cells.on::<4, 32>(), 0, needed as u32, 0).expect("a store");
    assert_eq!(store.save(&contents).map(|saved| saved.slot), Ok(0));
    let one_more = Contents { parameters: &[1.0; 18], ..contents };
    let given = needed;
    assert_eq!(store.save(&one_more), Err(Error::SlotTooSmall { needed: needed + 32, given }));
    assert_eq!(store.newest().map(|found| found.header.lengths.parameters), Ok(17), "the save before is still there");
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_changed() {
    let mut cells = blank();
    assert_eq!(load(&mut cells).0, Err(Error::Checkpoint(Content::Empty)));
    save(&mut cells, 1).expect("a save");
    let misfit = |part, found, expected| Content::Length(Misfit { part, found, expected });
    let cases = [
        (LENGTHS, 6, Content::OtherArchitecture { found: ARCHITECTURE, expected: 6 }),
        (Lengths { layers: 1, ..LENGTHS }, ARCHITECTURE, misfit(Part::Layers, 2, 1)),
        (Lengths { parameters: 6, ..LENGTHS }, ARCHITECTURE, misfit(Part::Parameters, 5, 6)),
    ];
    for (lengths, architecture, expected) in cases {
        let before = load_into(&mut blank(), lengths, architecture).1;
        assert_eq!(load_into(&mut cells, lengths, architecture), (Err(Error::Checkpoint(expected)), before));
    }
    assert_eq!(load(&mut cells).1, bits(1));
}

/// One class more, one less, another optimiser: all else is read, and what is not is named and left alone.
#[test]
fn what_fits_is_read_and_the_rest_is_named() {
    let mut cells = blank();
    save(&mut cells, 1).expect("a save");
    for lengths in [
        Lengths { readout: 3, ..LENGTHS },
        Lengths { readout: 0, counts: 0, ..LENGTHS },
        Lengths { counts: 2, ..LENGTHS },
        Lengths { readout: 4, counts: 2, ..LENGTHS },
        Lengths { state: 0, ..LENGTHS },
        Lengths { state: 5, ..LENGTHS },
        Lengths { state: 5, counts: 0, ..LENGTHS },
    ] {
        let (loaded, found) = load_into(&mut cells, lengths, ARCHITECTURE);
        let loaded = loaded.expect("the encoder at least");
        let fits = |part, found, expected| match found == expected {
            true => Ok(()),
            false => Err(Misfit { part, found, expected }),
        };
        assert_eq!(loaded.state, fits(Part::State, 3, lengths.state));
        let read_out = fits(Part::Readout, 2, lengths.readout).and_then(|()| fits(Part::Counts, 1, lengths.counts));
        assert_eq!(loaded.read_out, read_out);
        assert_eq!((loaded.header.step, loaded.fell_back), (1, false));
        let all = bits(1);
        let untouched = |len| vec![8.0_f32.to_bits(); len];
        let expected = [
            all[..5].to_vec(),
            if loaded.state.is_ok() { all[5..8].to_vec() } else { untouched(lengths.state) },
            if loaded.read_out.is_ok() { all[8..10].to_vec() } else { untouched(lengths.readout) },
            all[10..16].to_vec(),
            if loaded.read_out.is_ok() { all[16..].to_vec() } else { vec![8; lengths.counts] },
        ];
        assert_eq!(found, expected.concat(), "{lengths:?}");
    }
    assert_eq!(load(&mut cells).0.map(|loaded| (loaded.state, loaded.read_out)), Ok((Ok(()), Ok(()))));
}

#[test]
fn each_single_flipped_bit_is_noticed() {
    let mut one = blank();
    save(&mut one, 1).expect("a save");
    let mut two = one.clone();
    save(&mut two, 2).expect("a save");
    let (mut lost, mut back, mut kept) = (0, 0, 0);
    for bit in 0..8 * 2 * SLOT as usize {
        let mut cells = one.clone();
        cells.flip(bit);
        match load(&mut cells) {
            (Ok(_), found) => assert_eq!(found, bits(1)),
            (Err(error), _) => {
                assert_eq!(error, Error::Checkpoint(Content::Corrupt), "bit {bit}");
                lost += 1;
            }
        }
        let mut cells = two.clone();
        cells.flip(bit);
        let (loaded, found) = load(&mut cells);
        let loaded = loaded.expect("one of two checkpoints");
        assert_eq!(found, bits(loaded.header.step), "bit {bit}");
        assert_eq!(loaded.fell_back, loaded.header.step == 1, "bit {bit}");
        if loaded.fell_back {
            back += 1
        } else {
            kept += 1
        }
        // The damaged slot is the one that is written next.
        save(&mut cells, 3).expect("a save over damage");
        assert_eq!(load(&mut cells).1, bits(3));
    }
    // All bits of header and payload with its checksum, and none of the commit words: one of two is enough.
    let protected = 8 * (LENGTHS.stored_len() - 8 * 32);
    assert_eq!((lost, back), (protected, protected));
    assert_eq!(kept, 8 * 2 * SLOT as usize - protected);
}

#[test]
fn both_slots_damaged_is_corrupt() {
    let mut cells = blank();
    save(&mut cells, 1).expect("a save");
    save(&mut cells, 2).expect("a save");
    cells.flip(8 * 330);
    cells.flip(8 * (SLOT as usize + 330));
    assert_eq!(load(&mut cells), (Err(Error::Checkpoint(Content::Corrupt)), load(&mut blank()).1));
    save(&mut cells, 3).expect("a save over damage");
    assert_eq!(load(&mut cells).1, bits(3));
}

#[test]
fn another_version_is_told_from_damage() {
    let mut cells = blank();
    save(&mut cells, 1).expect("a save");
    let mut bytes = cells.bytes();
    bytes[8] = 2;
    let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    let mut cells = Cells::with_bytes::<4, 64>(&bytes);
    assert_eq!(load(&mut cells).0, Err(Error::Checkpoint(Content::OtherVersion { found: 2 })));
}

#[test]
fn another_data_type_is_told_from_damage() {
    let mut cells = blank();
    save(&mut cells, 1).expect("a save");
    let mut bytes = cells.bytes();
    bytes[10] = 2;
    // Header and payload carry a checksum each, and the commit words the payload's.
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let header = crc.checksum(&bytes[..60]);
    bytes[60..64].copy_from_slice(&header.to_le_bytes());
    let end = LENGTHS.stored_len();
    let contents = crc.checksum(&[&bytes[..60], &bytes[320..end - 4]].concat());
    bytes[end - 4..end].copy_from_slice(&contents.to_le_bytes());
    for word in [64, 96] {
        bytes[word + 4..word + 8].copy_from_slice(&contents.to_le_bytes());
        let checksum = crc.checksum(&bytes[word..word + 16]);
        bytes[word + 16..word + 20].copy_from_slice(&checksum.to_le_bytes());
    }
    let mut cells = Cells::with_bytes::<4, 64>(&bytes);
    assert_eq!(load(&mut cells).0, Err(Error::Checkpoint(Content::OtherDataType { found: 2 })));
}

#[test]
fn a_header_is_bound_to_its_payload() {
    let (mut cells, mut other) = (blank(), blank());
    save(&mut cells, 1).expect("a save");
    save(&mut other, 2).expect("a save");
    let (mut bytes, other) = (cells.bytes(), other.bytes());
    bytes[..64].copy_from_slice(&other[..64]);
    let mut cells = Cells::with_bytes::<4, 64>(&bytes);
    assert_eq!(load(&mut cells).0, Err(Error::Checkpoint(Content::Corrupt)));
}

#[test]
fn an_erased_store_is_empty() {
    let mut cells = blank();
    save(&mut cells, 1).expect("a save");
    save(&mut cells, 2).expect("a save");
    let mut store = Store::open(cells.on::<4, 64>(), 0, SLOT, ARCHITECTURE).expect("a store");
    store.erase().expect("an erasure");
    assert_eq!(store.newest(), Err(Error::Checkpoint(Content::Empty)));
    assert!(store.release().cells.bytes().iter().all(|&byte| byte == 0xff));
}

#[test]
fn a_place_that_cannot_hold_a_store_is_refused() {
    fn open<const W: usize, const E: usize>(len: usize, start: u32, slot: u32) -> Outcome<()> {
        let mut cells = Cells::new::<W, E>(len, false, 0);
        Store::open(cells.on::<W, E>(), start, slot, 0).map(drop)
    }
    assert_eq!(open::<4, 64>(256, 128, 64), Ok(()));
    let refused = |geometry| Err(Error::Geometry(geometry));
    assert_eq!(open::<64, 64>(256, 0, 64), refused(Geometry::UnitSize));
    assert_eq!(open::<12, 48>(480, 0, 48), refused(Geometry::UnitSize));
    assert_eq!(open::<4, 64>(256, 32, 64), refused(Geometry::EraseUnits));
    assert_eq!(open::<4, 64>(256, 0, 96), refused(Geometry::EraseUnits));
    assert_eq!(open::<4, 64>(256, 0, 0), refused(Geometry::EraseUnits));
    assert_eq!(open::<4, 64>(256, 64, 128), refused(Geometry::Capacity));
    assert_eq!(open::<4, 64>(256, 0, u32::MAX - 63), refused(Geometry::Capacity));
}

#[test]
fn a_flash_that_refuses_is_named() {
    let mut cells = blank();
    save(&mut cells, 1).expect("a save");
    let mut flash: Flash<'_, 4, 64> = cells.on();
    flash.off = true;
    let mut store = Store::open(flash, 0, SLOT, ARCHITECTURE).expect("a store");
    assert_eq!(store.newest(), Err(Error::Flash(NorFlashErrorKind::Other)));
    assert_eq!(store.erase(), Err(Error::Flash(NorFlashErrorKind::Other)));
}
