//! Saves the learnt state in the board's flash, and loads it.

use crate::board::Board;
use crate::machine::Machine;
use clapp_core::checkpoint::{self, architecture};
use clapp_core::link::{Origin, Problem};
use clapp_core::storage::{self, Geometry, Store};
use embedded_storage::nor_flash::NorFlash;

/// Known state of the flash.
#[derive(Debug, Clone, Copy, Default)]
pub struct Saving {
    /// Step of the weights in flash.
    pub saved_step: Option<u64>,
    /// Erase units erased since the start.
    pub erases: u32,
    /// Saves in a row that failed since the flash refused to read.
    unreadable: u32,
}

/// The store of `machine`'s contents: all of the board's flash.
fn store<'f, B: Board>(machine: &Machine<'_>, board: &'f mut B) -> Result<Store<&'f mut B::Flash>, Problem> {
    let flash = board.flash().ok_or(Problem::Missing)?;
    let slot = machine.contents().lengths().slot_len(<B::Flash as NorFlash>::ERASE_SIZE);
    let slot = u32::try_from(slot).unwrap_or(u32::MAX);
    let store = Store::open(flash, 0, slot, architecture(&machine.network())).map_err(|error| match error {
        storage::Error::Geometry(Geometry::Capacity) => Problem::Small { needed: slot },
        error => problem(&error),
    })?;
    // A program with more classes may have had longer slots.
    Ok(store.up_to(u32::MAX))
}

fn problem<E>(error: &storage::Error<E>) -> Problem {
    match error {
        storage::Error::Checkpoint(checkpoint::Error::Empty) => Problem::Empty,
        storage::Error::Checkpoint(checkpoint::Error::Corrupt) | storage::Error::Unstable => Problem::Corrupt,
        storage::Error::Checkpoint(_) | storage::Error::Sequence => Problem::Other,
        storage::Error::Unproven { .. } | storage::Error::Undecided => Problem::Unproven,
        storage::Error::SlotTooSmall { needed, .. } => {
            Problem::Small { needed: u32::try_from(*needed).unwrap_or(u32::MAX) }
        }
        storage::Error::Geometry(_)
        | storage::Error::NotWritten
        | storage::Error::Unreadable(_)
        | storage::Error::Flash(_) => Problem::Flash,
    }
}

/// Number of tries of a load or a save before a part that the flash cannot read is given up.
const TRIES: u32 = 3;

impl Saving {
    /// Saves; returns the step that is safe now.
    ///
    /// If the flash cannot read a slot that may hold the newest checkpoint, the save fails. Only the last of a few
    /// tries in a row overwrites that slot.
    ///
    /// # Errors
    /// If the board has no flash, or the flash fails. The earlier save then stays.
    pub fn save<B: Board>(&mut self, machine: &Machine<'_>, board: &mut B) -> Result<u64, Problem> {
        let mut store = store(machine, board)?;
        if self.unreadable >= TRIES {
            store.give_up_unreadable();
        }
        let saved = store.save(&machine.contents());
        self.unreadable = match saved {
            Err(storage::Error::Unreadable(_)) => self.unreadable.saturating_add(1),
            _ => 0,
        };
        let saved = saved.map_err(|error| problem(&error))?;
        self.erases = self.erases.saturating_add(saved.erased);
        self.saved_step = Some(machine.step());
        Ok(machine.step())
    }

    /// Loads the last save and returns its step. If the flash cannot read it after several tries, loads the save
    /// before.
    ///
    /// # Errors
    /// If nothing of use is saved; the machine is what it was, or, after flash that read differently each time, as
    /// drawn from its seed.
    pub fn load<B: Board>(&mut self, machine: &mut Machine<'_>, board: &mut B) -> Result<u64, Problem> {
        let mut store = store(machine, board)?;
        let mut torn = false;
        let loaded = machine.restore(|into| {
            let mut loaded = store.load(into);
            for left in (0..TRIES).rev() {
                torn |= matches!(loaded, Err(storage::Error::Unstable));
                if !matches!(loaded, Err(storage::Error::Unstable | storage::Error::Flash(_))) {
                    break;
                }
                if left == 0 {
                    store.give_up_unreadable();
                }
                loaded = store.load(into);
            }
            loaded.map_err(|error| problem(&error))
        });
        if torn && loaded.is_err() {
            machine.reset(machine.settings().seed);
        }
        self.saved_step = loaded.ok();
        loaded
    }

    /// Loads the state saved before the start, or returns the reason why the weights are new.
    pub fn start<B: Board>(&mut self, machine: &mut Machine<'_>, board: &mut B) {
        if let Err(problem) = self.load(machine, board) {
            let seed = machine.settings().seed;
            let nothing = matches!(problem, Problem::Empty | Problem::Missing);
            machine.set_origin(if nothing { Origin::Seed(seed) } else { Origin::Unusable { seed, problem } });
        }
    }
}
