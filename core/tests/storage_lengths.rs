//! A program with more classes or fewer, and so with slots of another length, on the flash of the one before.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that fails here has found something")]

#[path = "flash/faulty.rs"]
mod faulty;
mod flash;

use clapp_core::checkpoint::{Contents, ContentsMut, Error as Content, Lengths, Misfit, Part};
use clapp_core::learner::LayerState;
use clapp_core::rng::stream;
use clapp_core::storage::{Error, Loaded, Store};
use embedded_storage::nor_flash::NorFlash;
use embedded_storage::nor_flash::NorFlashErrorKind;
use faulty::Faulty;
use flash::{Cells, Residue};

type Outcome<T> = Result<T, Error<NorFlashErrorKind>>;

const FEATURES: usize = 8;
/// Each change of the classes that is tried.
const CHANGES: [(usize, usize); 6] = [(10, 11), (11, 10), (10, 1), (1, 2), (10, 255), (255, 10)];

/// A network whose checkpoint fills a slot to the last byte with 10 classes.
#[derive(Clone, Copy)]
struct Network {
    parameters: usize,
}

impl Network {
    fn new(erase: usize) -> Self {
        let at_least = Self { parameters: 1 }.lengths(10).slot_len(erase);
        let words = (at_least / 32 - 10) * 8 - 1;
        let network = Self { parameters: words - 3 - 10 * FEATURES - 10 };
        assert_eq!(network.lengths(10).stored_len(), at_least);
        assert!(network.lengths(11).slot_len(erase) > at_least);
        network
    }

    fn lengths(self, classes: usize) -> Lengths {
        let Self { parameters } = self;
        Lengths { layers: 1, parameters, state: 0, readout: FEATURES * classes, counts: classes }
    }

    fn store<F: NorFlash<Error = NorFlashErrorKind>>(self, flash: &mut F, classes: usize) -> Outcome<Store<&mut F>> {
        Ok(Store::open(flash, 0, self.lengths(classes).slot_len(F::ERASE_SIZE) as u32, 3)?.up_to(u32::MAX))
    }

    fn save<F: NorFlash<Error = NorFlashErrorKind>>(self, flash: &mut F, classes: usize, step: u64) -> Outcome<()> {
        let contents = Contents {
            step,
            parameters: &vec![step as f32; self.parameters],
            state: &[],
            layers: &[LayerState { steps: step as u32, ..LayerState::NEW }],
            readout: &vec![0.5; FEATURES * classes],
            counts: &vec![step as u32; classes],
        };
        self.store(flash, classes)?.save(&contents).map(drop)
    }

    /// Loads; the encoder must be that of the step, and the read-out, too, or reported and left alone.
    fn load<F: NorFlash<Error = NorFlashErrorKind>>(self, flash: &mut F, classes: usize) -> Outcome<Loaded> {
        let (mut parameters, mut layers) = (vec![0.0; self.parameters], [LayerState::NEW]);
        let (mut readout, mut counts) = (vec![8.0; FEATURES * classes], vec![88; classes]);
        let mut into = ContentsMut {
            parameters: &mut parameters,
            state: &mut [],
            layers: &mut layers,
            readout: &mut readout,
            counts: &mut counts,
        };
        let loaded = self.store(flash, classes)?.load(&mut into)?;
        let step = loaded.header.step;
        assert!(parameters.iter().all(|&value| value == step as f32));
        assert_eq!(layers[0].steps, step as u32);
        let (found, expected) = (loaded.header.lengths.readout, FEATURES * classes);
        let (number, count) = match loaded.read_out {
            Ok(()) => (0.5, step as u32),
            Err(misfit) => {
                assert_eq!(misfit, Misfit { part: Part::Readout, found, expected });
                (8.0, 88)
            }
        };
        assert_eq!(loaded.read_out.is_ok(), found == expected);
        assert!(readout.iter().all(|&value| value == number) && counts.iter().all(|&value| value == count));
        Ok(loaded)
    }
}

/// No power is cut: each save is found by each program.
fn each_change<const W: usize, const E: usize>() {
    let network = Network::new(E);
    for ((before, after), saves) in CHANGES.into_iter().flat_map(|change| (1..=4).map(move |saves| (change, saves))) {
        let longest = network.lengths(before.max(after)).slot_len(E);
        let mut cells = Cells::new::<W, E>(2 * longest, true, 1);
        let mut step = 0;
        for classes in [before, after, before, after] {
            for save in 0..saves {
                if step > 0 {
                    let loaded = network.load(&mut cells.on::<W, E>(), classes).expect("the newest save");
                    let fits = save > 0;
                    assert_eq!((loaded.header.step, loaded.fell_back), (step, false), "{E}: {before} to {after}");
                    assert_eq!(loaded.read_out.is_ok(), fits, "{E}: {before} to {after}");
                }
                step += 1;
                network.save(&mut cells.on::<W, E>(), classes, step).expect("a save");
            }
        }
    }
}

/// A flash in which a program runs, with what a load may find.
#[derive(Clone)]
struct Device<const W: usize, const E: usize> {
    network: Network,
    cells: Cells,
    expected: Vec<u64>,
    next: u64,
}

impl<const W: usize, const E: usize> Device<W, E> {
    /// After some saves of a program with `before` classes, on flash with room for programs with `after`, too.
    fn new((before, after): (usize, usize), saves: u64) -> Self {
        let network = Network::new(E);
        let longest = network.lengths(before.max(after)).slot_len(E);
        let cells = Cells::new::<W, E>(2 * longest, true, 2);
        let mut device = Self { network, cells, expected: vec![], next: 1 };
        (0..saves).for_each(|_| assert!(device.run(before, None)));
        device
    }

    /// Loads and saves until power is cut; whether it lasted.
    fn run(&mut self, classes: usize, cut: Option<(usize, Residue)>) -> bool {
        let mut flash = self.cells.until::<W, E>(cut);
        match self.network.load(&mut flash, classes) {
            Ok(loaded) => {
                let step = loaded.header.step;
                assert!(self.expected.contains(&step), "{step} instead of {:?}", self.expected);
                assert!(!loaded.fell_back, "an interrupted save is taken for a damaged one");
                self.expected = vec![step];
            }
            Err(_) if flash.off => return false,
            Err(Error::Checkpoint(Content::Empty)) if self.expected.is_empty() => {}
            Err(error) => panic!("{error}, but one of {:?} is to be read", self.expected),
        }
        let step = self.next;
        self.next += 1;
        match self.network.save(&mut flash, classes, step) {
            Ok(()) => self.expected = vec![step],
            Err(_) if flash.off => self.expected.push(step),
            Err(error) => panic!("a save after a cut: {error}"),
        }
        !flash.off
    }
}

/// After a change, each single cut with each residue in what the new program does first; then both programs go on.
fn each_cut<const W: usize, const E: usize>(step: usize) {
    // One class and the other way round: the slots are a little longer or shorter.
    for (change, saves) in CHANGES[..2].iter().flat_map(|&change| [1, 2, 3].map(|saves| (change, saves))) {
        let start = Device::<W, E>::new(change, saves);
        for residue in Residue::ALL {
            // Each operation at first, where the old place is given up, and at the end; of the payload some.
            for cut in (0..40).chain((40..).step_by(step)) {
                let mut device = start.clone();
                let lasted = device.run(change.1, Some((cut, residue)));
                for classes in [change.1, change.1, change.0, change.0, change.1] {
                    assert!(device.run(classes, None));
                }
                if lasted {
                    break;
                }
            }
        }
    }
}

/// Lives of nothing but cuts, in which programs follow each other at random.
fn lives<const W: usize, const E: usize>(count: u64) {
    let mut random = stream(9, E as u64);
    for life in 0..count {
        let change = CHANGES[random.below(4) as usize];
        let mut device = Device::<W, E>::new(change, 1 + life % 3);
        let longest = 2 * (device.cells.erasures.len() * E / W) as u32;
        for _ in 0..2 + random.below(6) {
            let classes = if random.below(2) == 0 { change.0 } else { change.1 };
            // Three torn units that read as something else each time are beyond what is promised of a load.
            let residue = Residue::ALL[random.below(5) as usize];
            let near = if random.below(2) == 0 { 20 } else { longest };
            device.run(classes, Some((random.below(near) as usize, residue)));
        }
        for classes in [change.0, change.1, change.1, change.0] {
            assert!(device.run(classes, None), "life {life}");
        }
    }
}

#[test]
fn erased_by_4096() {
    each_change::<8, 4096>();
    each_cut::<32, 4096>(53);
}

#[test]
fn erased_by_2048_and_1024() {
    each_change::<8, 2048>();
    each_change::<4, 1024>();
    each_cut::<32, 1024>(23);
    lives::<32, 1024>(100);
}

#[test]
fn erased_by_128() {
    each_change::<4, 128>();
    each_cut::<16, 128>(13);
    lives::<16, 128>(200);
}

#[test]
fn erased_by_32() {
    each_change::<32, 32>();
    each_cut::<32, 32>(5);
    lives::<32, 32>(200);
}

#[test]
fn erased_by_8() {
    each_change::<8, 8>();
    each_cut::<8, 8>(41);
}

/// A save without room for two checkpoints beside each other fails with an error, and the newest one stays.
#[test]
fn too_little_room_is_said_and_loses_nothing() {
    const E: usize = 128;
    let network = Network::new(E);
    let mut cells = Cells::new::<4, E>(2 * network.lengths(10).slot_len(E), true, 1);
    for step in 1..=3 {
        network.save(&mut cells.on::<4, E>(), 10, step).expect("a save");
        let refused = network.save(&mut cells.on::<4, E>(), 11, 9).expect_err("no room");
        assert!(refused.to_string().contains("two slots do not fit"), "{refused}");
        assert_eq!(network.load(&mut cells.on::<4, E>(), 10).map(|loaded| loaded.header.step), Ok(step));
    }
}

/// The newest checkpoint is damaged, and lies where the program before put it: that one is missing is said.
#[test]
fn damage_at_another_place_is_seen() {
    const E: usize = 128;
    let network = Network::new(E);
    for (before, after) in [(10, 11), (11, 10)] {
        let lengths = network.lengths(before);
        for byte in (0..64).chain(320..lengths.stored_len()) {
            let mut cells = Cells::new::<4, E>(2 * network.lengths(11).slot_len(E), false, 1);
            for step in [1, 2] {
                network.save(&mut cells.on::<4, E>(), before, step).expect("a save");
            }
            cells.flip(8 * (lengths.slot_len(E) + byte));
            let loaded = network.load(&mut cells.on::<4, E>(), after).expect("the save before");
            assert_eq!((loaded.header.step, loaded.fell_back), (1, true), "byte {byte}");
            network.save(&mut cells.on::<4, E>(), after, 3).expect("a save");
            let loaded = network.load(&mut cells.on::<4, E>(), after).expect("a save");
            assert_eq!((loaded.header.step, loaded.fell_back), (3, false), "byte {byte}");
        }
    }
}

/// Nothing of what a longer store held comes back once it is erased.
#[test]
fn an_erased_store_keeps_nothing_at_any_place() {
    const E: usize = 128;
    let network = Network::new(E);
    let mut cells = Cells::new::<4, E>(2 * network.lengths(255).slot_len(E), false, 1);
    for (classes, step) in [(255, 1), (255, 2), (255, 3), (255, 4)] {
        network.save(&mut cells.on::<4, E>(), classes, step).expect("a save");
    }
    let mut flash = cells.on::<4, E>();
    network.store(&mut flash, 10).expect("a store").erase().expect("an erasure");
    assert!(matches!(network.load(&mut cells.on::<4, E>(), 255), Err(Error::Checkpoint(Content::Empty))));
    assert!(cells.bytes().iter().all(|&byte| byte == 0xff));
}

/// Programs that follow each other on flash with every fault at once: torn units that read as something else each time, writes
/// that are refused, reads that fail. `CLAPP_LIVES` asks for another number of lives.
#[test]
fn random_lives_of_several_programs_lose_nothing() {
    const E: usize = 32;
    let network = Network::new(E);
    let lives = std::env::var("CLAPP_LIVES").ok().and_then(|lives| lives.parse().ok()).unwrap_or(1000);
    let [mut saves, mut cuts, mut stuck] = [0_u64; 3];
    for life in 0..lives {
        let mut random = stream(life, 1);
        let len = 2 * network.lengths(11).slot_len(E);
        let mut flash = Faulty::<E>::new(len, stream(life, 2));
        let mut acknowledged = 0;
        for session in 1..=4 + u64::from(random.below(10)) {
            let classes = 10 + random.below(2) as usize;
            flash.restart();
            let odds = random.below(100);
            if random.below(2) == 0 {
                flash.cut = Some((random.below(100) as usize, random.below(4) > 0));
            }
            flash.refuse_writes = odds < 15;
            flash.glitches = if (15..40).contains(&odds) { 30 } else { 0 };
            if odds >= 80 {
                let times = if odds >= 90 { u32::MAX } else { 2 };
                flash.unreadable = Some((random.below(len as u32 / 32) as usize, times));
            }
            for _ in 0..random.below(3) {
                if let Ok(loaded) = network.load(&mut flash, classes) {
                    assert!(loaded.header.step >= acknowledged, "life {life}, session {session}: {loaded:?}");
                }
            }
            if network.save(&mut flash, classes, session).is_ok() {
                acknowledged = session;
                saves += 1;
            }
            cuts += u64::from(flash.off);
        }
        flash.restart();
        let classes = 10 + random.below(2) as usize;
        match (0..20).find_map(|_| network.load(&mut flash, classes).ok()) {
            Some(loaded) => assert!(loaded.header.step >= acknowledged, "life {life}: {loaded:?} after {acknowledged}"),
            None => assert_eq!(acknowledged, 0, "life {life}: nothing after {acknowledged}"),
        }
        let after = (0..20).find_map(|_| network.save(&mut flash, classes, 99).ok());
        stuck += u64::from(after.is_none());
        if after.is_some() {
            let step = (0..20).find_map(|_| network.load(&mut flash, 10).ok()).map(|loaded| loaded.header.step);
            assert_eq!(step, Some(99), "life {life}");
        }
    }
    println!(
        "{lives} lives: {saves} saves acknowledged, {cuts} cuts, none lost; {stuck} end with a store that asks to be erased"
    );
    assert!(stuck * 1000 <= lives);
}
