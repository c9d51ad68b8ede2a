//! Every sequence of power cuts, whatever the units that they tore read as each time.

use super::unsteady::{Cells, Flash, SLOT_UNITS, WRITE, Written, all_readings, compact};
use clapp_core::checkpoint::{Contents, ContentsMut, Lengths};
use clapp_core::learner::LayerState;
use clapp_core::storage::{Error, Store};
use embedded_storage::nor_flash::NorFlashErrorKind;
use std::collections::HashSet;

const LENGTHS: Lengths = Lengths { layers: 1, parameters: 1, state: 0, readout: 0, counts: 0 };
const SLOT: usize = LENGTHS.stored_len();
const UNITS: usize = 2 * SLOT_UNITS;

type Outcome<T> = Result<T, Error<NorFlashErrorKind>>;

fn save<const ERASE: usize>(flash: &mut Flash<'_, UNITS, ERASE>, step: u64) -> Outcome<()> {
    let layers = [LayerState::NEW];
    let contents =
        Contents { step, parameters: &[step as f32], state: &[], layers: &layers, readout: &[], counts: &[] };
    Store::open(flash, 0, SLOT as u32, 0)?.save(&contents).map(drop)
}

fn load<const ERASE: usize>(flash: &mut Flash<'_, UNITS, ERASE>) -> Outcome<u64> {
    let (mut parameters, mut layers) = ([0.0], [LayerState::NEW]);
    let mut into = ContentsMut {
        parameters: &mut parameters,
        state: &mut [],
        layers: &mut layers,
        readout: &mut [],
        counts: &mut [],
    };
    let found = Store::open(flash, 0, SLOT as u32, 0)?.load(&mut into)?;
    assert_eq!(parameters, [found.header.step as f32]);
    Ok(found.header.step)
}

/// What may be in flash, with the step of the last save that was acknowledged; 0 before the first.
type State = (Cells<UNITS>, u64);

/// What was found.
#[derive(Debug, Default)]
pub struct Tally {
    /// Loads and saves that were run, each with other readings or another cut.
    pub readings: u64,
    /// Loads that gave neither what was acknowledged last nor anything later.
    pub lost: u64,
    /// Saves that failed though power lasted.
    pub failed: u64,
}

/// All devices of a kind, and what came of them.
struct Lives<const ERASE: usize> {
    written: Written,
    tally: Tally,
}

impl<const ERASE: usize> Lives<ERASE> {
    /// What may be in flash after the device has loaded; whether power lasted.
    fn after_load(&mut self, state: &State, cut: Option<usize>, next: &mut HashSet<State>) -> bool {
        let (cells, acknowledged) = state;
        let mut lasted = true;
        self.tally.readings += all_readings::<UNITS, ERASE>(&self.written, cells, cut, |flash| {
            match load(flash) {
                Ok(found) => self.tally.lost += u64::from(found < *acknowledged),
                // What was acknowledged is sound, and another load finds it where torn units came in between.
                Err(Error::Unstable) => {}
                Err(_) => self.tally.lost += u64::from(!flash.off && *acknowledged > 0),
            }
            lasted &= !flash.off;
            next.insert((flash.cells, *acknowledged));
        });
        lasted
    }

    /// What may be in flash after the device has saved; whether power lasted.
    fn after_save(&mut self, state: &State, cut: Option<usize>, step: u64, next: &mut HashSet<State>) -> bool {
        let (cells, acknowledged) = state;
        let mut lasted = true;
        self.tally.readings += all_readings::<UNITS, ERASE>(&self.written, cells, cut, |flash| {
            let saved = save(flash, step);
            self.tally.failed += u64::from(saved.is_err() && !flash.off);
            lasted &= !flash.off;
            next.insert((flash.cells, if saved.is_ok() { step } else { *acknowledged }));
        });
        lasted
    }

    /// Devices start, load and save; power is cut once if `cut`, anywhere.
    fn session(&mut self, states: &HashSet<State>, cut: bool, step: u64) -> HashSet<State> {
        let (mut loaded, mut next) = (HashSet::new(), HashSet::new());
        for state in states {
            self.after_load(state, None, &mut loaded);
            (0..).take_while(|&at| cut && !self.after_load(state, Some(at), &mut next)).count();
        }
        for state in &loaded {
            self.after_save(state, None, step, &mut next);
            (0..).take_while(|&at| cut && !self.after_save(state, Some(at), step, &mut next)).count();
        }
        next
    }
}

/// Each sequence of sessions with one cut each, after some saves; and what two more sessions find then.
pub fn every_sequence_of_cuts<const ERASE: usize>(saves: u64, cuts: u64) -> Tally {
    let mut lives = Lives::<ERASE> { written: Written::new(), tally: Tally::default() };
    let mut states = HashSet::from([(Cells::NEW, 0)]);
    for step in 1..=saves + cuts + 2 {
        states = lives.session(&states, step > saves && step <= saves + cuts, step);
        let mut list: Vec<State> = states.into_iter().collect();
        compact(&mut lives.written, &mut list.iter_mut().map(|(cells, _)| cells).collect::<Vec<_>>());
        states = list.into_iter().collect();
        println!("erased by {ERASE}, session {step}: {} states, {:?}", states.len(), lives.tally);
    }
    assert_eq!(WRITE * UNITS, 2 * SLOT);
    lives.tally
}
