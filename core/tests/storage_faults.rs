//! Faults beyond power cuts: each one that once lost a save, and random lives full of all of them.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that fails here has found something")]

#[path = "flash/faulty.rs"]
mod faulty;

use clapp_core::checkpoint::{Contents, ContentsMut, Error as Content, Lengths};
use clapp_core::learner::LayerState;
use clapp_core::rng::stream;
use clapp_core::storage::{Error, Saved, Store};
use embedded_storage::nor_flash::NorFlashErrorKind;
use faulty::{Faulty, Torn};

type Outcome<T> = Result<T, Error<NorFlashErrorKind>>;
type Flash = Faulty<4096>;

const LENGTHS: Lengths = Lengths { layers: 1, parameters: 20, state: 0, readout: 0, counts: 0 };
const SLOT: usize = 4096;
const UNIT: usize = 32;
/// Units of a slot; the first two hold the header, eight words follow, then the payload.
const UNITS: usize = SLOT / UNIT;
const WORDS: usize = 2;
/// Operations of a save before the first commit word: an erasure, the header, the payload.
const FIRST_WORD: usize = 1 + 2 + PAYLOAD;
const PAYLOAD: usize = LENGTHS.stored_len() / UNIT - 10;

fn flash() -> Flash {
    Flash::new(2 * SLOT, stream(1, 0))
}

fn save<const ERASE: usize>(flash: &mut Faulty<ERASE>, slot: usize, step: u64) -> Outcome<Saved> {
    let contents = Contents {
        step,
        parameters: &[step as f32; 20],
        state: &[],
        layers: &[LayerState::NEW],
        readout: &[],
        counts: &[],
    };
    Store::open(flash, 0, slot as u32, 7)?.save(&contents)
}

/// The step of what is loaded, and whether something newer is damaged.
fn load<const ERASE: usize>(flash: &mut Faulty<ERASE>, slot: usize) -> Outcome<(u64, bool)> {
    let (mut parameters, mut layers) = ([0.0; 20], [LayerState::NEW]);
    let mut into = ContentsMut {
        parameters: &mut parameters,
        state: &mut [],
        layers: &mut layers,
        readout: &mut [],
        counts: &mut [],
    };
    let found = Store::open(flash, 0, slot as u32, 7)?.load(&mut into)?;
    assert_eq!(parameters, [found.header.step as f32; 20]);
    Ok((found.header.step, found.fell_back))
}

/// A save that power cuts in one of its operations.
fn cut_save(flash: &mut Flash, step: u64, operation: usize, torn: bool) {
    flash.restart();
    flash.cut = Some((operation, torn));
    save(flash, SLOT, step).expect_err("a cut");
    assert!(flash.off);
    flash.restart();
}

fn two_saves() -> Flash {
    let mut flash = flash();
    for step in [1, 2] {
        assert!(save(&mut flash, SLOT, step).is_ok());
    }
    flash
}

/// The four cuts after which a settling word, numbered after contents that were forgotten later, outranked a save that had
/// been acknowledged.
#[test]
fn a_hidden_word_outranks_nothing_that_it_has_not_seen() {
    let mut flash = two_saves();
    cut_save(&mut flash, 3, 3, false);
    // A unit of the payload is torn, and reads as if it were whole.
    cut_save(&mut flash, 4, FIRST_WORD - 1, true);
    flash.torn = Torn::Shown;
    flash.cut = Some((0, true));
    load(&mut flash, SLOT).expect_err("a cut in what a load settles");
    assert!(flash.off && flash.torn_units().iter().any(|&unit| unit >= UNITS), "in slot 1");
    flash.torn = Torn::Hidden;
    cut_save(&mut flash, 5, 1, false);
    let saved = save(&mut flash, SLOT, 6).expect("a save");
    assert_eq!(load(&mut flash, SLOT), Ok((6, false)), "{saved:?}");
    for torn in [Torn::Shown, Torn::Random, Torn::Hidden] {
        flash.torn = torn;
        assert_eq!(load(&mut flash, SLOT), Ok((6, false)), "{torn:?}");
    }
    assert!(save(&mut flash, SLOT, 7).is_ok());
    assert_eq!(load(&mut flash, SLOT), Ok((7, false)));
}

/// What does not take a proof is not relied on: the save fails before it erases the one that is proven.
#[test]
fn refused_writes_leave_the_proven_slot_alone() {
    let mut flash = two_saves();
    cut_save(&mut flash, 3, FIRST_WORD, true);
    flash.torn = Torn::Shown;
    flash.refuse_writes = true;
    assert_eq!(save(&mut flash, SLOT, 4), Err(Error::Flash(NorFlashErrorKind::Other)));
    flash.restart();
    for (torn, expected) in [(Torn::Hidden, 2), (Torn::Shown, 3)] {
        let mut flash = flash.clone();
        flash.torn = torn;
        assert_eq!(load(&mut flash, SLOT), Ok((expected, false)), "{torn:?}");
    }
    assert!(save(&mut flash, SLOT, 5).is_ok(), "once writing works again");
}

/// The same, where torn units use up all room for words.
#[test]
fn eight_torn_words_leave_the_proven_slot_alone() {
    let mut flash = two_saves();
    cut_save(&mut flash, 3, FIRST_WORD, true);
    flash.torn = Torn::Shown;
    for _ in 0..12 {
        flash.restart();
        flash.cut = Some((0, true));
        load(&mut flash, SLOT).ok();
    }
    for operation in 0..4 {
        let mut flash = flash.clone();
        flash.restart();
        flash.cut = Some((operation, true));
        let saved = save(&mut flash, SLOT, 4);
        flash.restart();
        for torn in [Torn::Hidden, Torn::Shown, Torn::Random] {
            flash.torn = torn;
            let found = load(&mut flash, SLOT).map(|(step, _)| step);
            assert!(found.is_ok_and(|step| step >= 2), "{saved:?}, then {found:?}, {torn:?}");
        }
    }
}

/// Whole contents that nothing proves are told from nothing at all.
#[test]
fn whole_contents_without_a_word_are_not_called_nothing() {
    let mut flash = flash();
    assert_eq!(load(&mut flash, SLOT), Err(Error::Checkpoint(Content::Empty)));
    cut_save(&mut flash, 3, FIRST_WORD, true);
    flash.torn = Torn::Hidden;
    let error = load(&mut flash, SLOT).expect_err("contents without a commit word");
    assert_eq!(error, Error::Unproven { step: 3 });
    assert!(error.to_string().contains("step 3"), "{error}");
    assert!(save(&mut flash, SLOT, 4).is_ok());
    assert_eq!(load(&mut flash, SLOT), Ok((4, false)));
}

/// Each unit of the newest slot, unreadable a few times or for long: it is read in the end, or nothing is erased.
#[test]
fn failed_reads_of_the_newest_slot_lose_nothing() {
    for unit in 0..10 + PAYLOAD {
        for times in [1, 2, 3, 4, 5, 8, 100, u32::MAX] {
            let mut flash = two_saves();
            flash.unreadable = Some((UNITS + unit, times));
            match load(&mut flash, SLOT) {
                Ok(found) => assert_eq!(found, (2, false), "unit {unit}, {times} times"),
                Err(error) => assert!(times > 3, "unit {unit}, {times} times: {error}"),
            }
            flash.restart();
            flash.unreadable = Some((UNITS + unit, times));
            flash.cut = Some((2, true));
            save(&mut flash, SLOT, 3).expect_err("a cut, or a refusal");
            flash.restart();
            for _ in 0..3 {
                assert_eq!(load(&mut flash, SLOT), Ok((2, false)), "unit {unit}, {times} times");
            }
        }
    }
}

/// What can never be read again is given up on request only.
#[test]
fn what_stays_unreadable_is_given_up_on_request() {
    let mut flash = two_saves();
    flash.unreadable = Some((UNITS + 10, u32::MAX));
    let unreadable = Error::Unreadable(NorFlashErrorKind::Other);
    assert_eq!(load(&mut flash, SLOT), Err(unreadable));
    assert_eq!(save(&mut flash, SLOT, 3), Err(unreadable));
    let mut store = Store::open(&mut flash, 0, SLOT as u32, 7).expect("a store");
    store.give_up_unreadable();
    let found = store.newest().expect("the save before");
    assert_eq!((found.header.step, found.fell_back), (1, true));
}

/// The checksum of zlib.
fn crc(bytes: &[u8]) -> [u8; 4] {
    crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(bytes).to_le_bytes()
}

/// A slot with a checkpoint whose sequence, or whose words' number, is forged.
fn forge(flash: &mut Flash, slot: usize, sequence: u64, number: u64) {
    let mut bytes = vec![0xff; SLOT];
    let contents =
        Contents { step: 1, parameters: &[1.0; 20], state: &[], layers: &[LayerState::NEW], readout: &[], counts: &[] };
    let checksum = clapp_core::checkpoint::encode(&contents, 7, sequence, |index, unit| {
        bytes[index as usize * UNIT..][..UNIT].copy_from_slice(unit.bytes());
        Ok::<(), ()>(())
    });
    let checksum = checksum.expect("bytes").to_le_bytes();
    for (at, (magic, add)) in (WORDS..).zip([(b"CMT1", 0), (b"CMT2", 4096)]) {
        let word = [&magic[..], &checksum, &number.saturating_add(add).to_le_bytes()].concat();
        bytes[at * UNIT..][..20].copy_from_slice(&[&word[..], &crc(&word)].concat());
    }
    flash.put(slot * SLOT, &bytes);
}

/// A save over a forged image is found again, or refused with a reason.
#[test]
fn numbers_at_the_end_of_their_range_never_hide_a_save() {
    let top = u64::MAX / 65536;
    let sequences = [0, 1, top - 3, top - 2, top - 1, top, top + 1, u64::MAX - 1, u64::MAX];
    let mut refused = 0;
    for sequence in sequences {
        for number in [0, sequence.saturating_mul(65536), u64::MAX - 4096, u64::MAX] {
            for beside in [false, true] {
                let mut flash = if beside { two_saves() } else { flash() };
                forge(&mut flash, 0, sequence, number);
                assert!(load(&mut flash, SLOT).is_ok(), "{sequence} {number}");
                for step in 10..14 {
                    match save(&mut flash, SLOT, step) {
                        Ok(_) => assert_eq!(load(&mut flash, SLOT), Ok((step, false)), "{sequence} {number} {beside}"),
                        Err(error) => {
                            assert_eq!(error, Error::Sequence);
                            assert!(load(&mut flash, SLOT).is_ok(), "nothing is changed");
                            refused += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 0);
}

/// Lives full of all faults: what was acknowledged is found, or the load says why it cannot be read just now.
///
/// `CLAPP_LIVES` asks for another number of them.
#[test]
fn random_lives_lose_nothing() {
    const SMALL: usize = LENGTHS.stored_len();
    const _: () = assert!(SMALL == 416);
    let lives = std::env::var("CLAPP_LIVES").ok().and_then(|lives| lives.parse().ok()).unwrap_or(3000);
    let [mut loads, mut saves, mut failed, mut stuck, mut cuts] = [0_u64; 5];
    for life in 0..lives {
        let mut random = stream(life, 1);
        let mut flash = Faulty::<SMALL>::new(2 * SMALL, stream(life, 2));
        let mut acknowledged = 0;
        let begun = 4 + random.below(10);
        for session in 1..=u64::from(begun) {
            flash.restart();
            let odds = random.below(100);
            if random.below(2) == 0 {
                flash.cut = Some((random.below(20) as usize, random.below(4) > 0));
            }
            flash.refuse_writes = odds < 15;
            flash.glitches = if (15..40).contains(&odds) { 30 } else { 0 };
            if odds >= 80 {
                let times = if odds >= 90 { u32::MAX } else { 2 };
                flash.unreadable = Some((random.below(2 * SMALL as u32 / 32) as usize, times));
            }
            for _ in 0..random.below(3) {
                if let Ok((found, fell_back)) = load(&mut flash, SMALL) {
                    loads += 1;
                    assert!(found >= acknowledged, "life {life}, session {session}: {found} after {acknowledged}");
                    assert!(!fell_back || found >= acknowledged);
                }
            }
            match save(&mut flash, SMALL, session) {
                Ok(_) => {
                    acknowledged = session;
                    saves += 1;
                }
                Err(_) => failed += u64::from(!flash.off),
            }
            cuts += u64::from(flash.off);
        }
        flash.restart();
        let found = (0..20).find_map(|_| load(&mut flash, SMALL).ok());
        match found {
            Some((found, _)) => assert!(found >= acknowledged, "life {life}: {found} after {acknowledged}"),
            None => assert_eq!(acknowledged, 0, "life {life}: nothing after {acknowledged}"),
        }
        let after = (0..20).find_map(|_| save(&mut flash, SMALL, 99).ok());
        stuck += u64::from(after.is_none());
        if after.is_some() {
            assert_eq!((0..20).find_map(|_| load(&mut flash, SMALL).ok()), Some((99, false)), "life {life}");
        }
    }
    println!(
        "{lives} lives: {saves} saves acknowledged, {cuts} cuts, {loads} loads, none lost; {failed} saves failed with power"
    );
    println!("{stuck} lives end with a store that asks to be erased");
    assert!(stuck * 1000 <= lives);
}
