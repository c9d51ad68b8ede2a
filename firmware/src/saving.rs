//! Saves what was learnt in the board's flash, and brings it back.

use crate::board::Board;
use crate::machine::Machine;
use clapp_core::checkpoint::{self, architecture};
use clapp_core::link::{Origin, Problem};
use clapp_core::storage::{self, Store};
use embedded_storage::nor_flash::NorFlash;

/// What is known of the flash.
#[derive(Debug, Clone, Copy, Default)]
pub struct Saving {
    /// Step of the weights in flash.
    pub saved_step: Option<u64>,
    /// Erase units erased since the start.
    pub erases: u32,
}

/// The store of `machine`'s contents at the start of the board's flash.
fn store<'f, B: Board>(machine: &Machine<'_>, board: &'f mut B) -> Result<Store<&'f mut B::Flash>, Problem> {
    let flash = board.flash().ok_or(Problem::Missing)?;
    let slot = machine.contents().lengths().slot_len(<B::Flash as NorFlash>::ERASE_SIZE);
    let slot = u32::try_from(slot).map_err(|_| Problem::Flash)?;
    Store::open(flash, 0, slot, architecture(&machine.network())).map_err(|_| Problem::Flash)
}

fn problem<E>(error: &storage::Error<E>) -> Problem {
    match error {
        storage::Error::Checkpoint(checkpoint::Error::Empty) => Problem::Empty,
        storage::Error::Checkpoint(checkpoint::Error::Corrupt) | storage::Error::Unstable => Problem::Corrupt,
        storage::Error::Checkpoint(_) => Problem::Other,
        storage::Error::Geometry(_)
        | storage::Error::SlotTooSmall { .. }
        | storage::Error::NotWritten
        | storage::Error::Flash(_) => Problem::Flash,
    }
}

impl Saving {
    /// Saves; returns the step that is safe now.
    ///
    /// # Errors
    /// Where the board has no flash, or the flash fails; what was saved before is then still there.
    pub fn save<B: Board>(&mut self, machine: &Machine<'_>, board: &mut B) -> Result<u64, Problem> {
        let saved = store(machine, board)?.save(&machine.contents()).map_err(|error| problem(&error))?;
        self.erases = self.erases.saturating_add(saved.erased);
        self.saved_step = Some(machine.step());
        Ok(machine.step())
    }

    /// Goes back to what was saved last; returns its step.
    ///
    /// # Errors
    /// Where nothing of use is saved; the machine is what it was, or, after flash that read differently twice, as
    /// drawn from its seed.
    pub fn load<B: Board>(&mut self, machine: &mut Machine<'_>, board: &mut B) -> Result<u64, Problem> {
        let mut store = store(machine, board)?;
        let mut torn = false;
        let loaded = machine.restore(|into| {
            store.load(into).map(|loaded| (loaded.header.step, loaded.fell_back)).map_err(|error| {
                torn = matches!(error, storage::Error::Unstable);
                problem(&error)
            })
        });
        if torn {
            machine.reset(machine.settings().seed);
        }
        self.saved_step = loaded.ok();
        loaded
    }

    /// Brings back what was saved before the device started, or says why the weights are new.
    pub fn start<B: Board>(&mut self, machine: &mut Machine<'_>, board: &mut B) {
        if let Err(problem) = self.load(machine, board) {
            let seed = machine.settings().seed;
            let nothing = matches!(problem, Problem::Empty | Problem::Missing);
            machine.set_origin(if nothing { Origin::Seed(seed) } else { Origin::Unusable { seed, problem } });
        }
    }
}
