//! Checkpoints and their store, on a flash that nothing is known of.

use crate::opaque::{Memory, unknown, use_up};
use clapp_core::checkpoint::{self, Contents, ContentsMut, Lengths, Unit};
use clapp_core::learner::LayerState;
use clapp_core::network::NetworkView;
use clapp_core::optimizer::Optimizer;
use clapp_core::storage::Store;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

/// Reads anything, and may refuse anything.
struct Flash<const WRITE: usize>;

impl<const WRITE: usize> ErrorType for Flash<WRITE> {
    type Error = NorFlashErrorKind;
}

impl<const WRITE: usize> ReadNorFlash for Flash<WRITE> {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        use_up(offset);
        bytes.fill_with(|| unknown(0));
        unknown(Ok(()))
    }

    fn capacity(&self) -> usize {
        unknown(1 << 20)
    }
}

impl<const WRITE: usize> NorFlash for Flash<WRITE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        use_up((from, to));
        unknown(Ok(()))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        use_up((offset, bytes.iter().fold(0, |sum, byte| sum ^ byte)));
        unknown(Ok(()))
    }
}

pub fn all(network: &NetworkView<'_>) {
    let architecture = checkpoint::architecture(network);
    let lengths = Lengths::of(network, &unknown(Optimizer::Record), unknown(1), unknown(1));
    use_up((lengths.stored_len(), lengths.slot_len(unknown(4096))));

    let [mut parameters, mut state, mut readout] = [0.0; 3].map(Memory::new);
    let (mut layers, mut counts) = (Memory::new(LayerState::NEW), Memory::new(0_u32));
    let mut into = ContentsMut {
        parameters: parameters.slice(),
        state: state.slice(),
        layers: layers.slice(),
        readout: readout.slice(),
        counts: counts.slice(),
    };
    use_up(into.lengths());
    let source = |index: u32, unit: &mut Unit| {
        use_up(index);
        unit.bytes_mut().fill_with(|| unknown(0));
        unknown(Ok::<(), u8>(()))
    };
    use_up((checkpoint::header(source).is_ok(), checkpoint::decode(source, architecture, &mut into).is_ok()));
    store(Flash::<1>, architecture, &mut into);
    store(Flash::<32>, architecture, &mut into);
}

fn store<const WRITE: usize>(flash: Flash<WRITE>, architecture: u64, into: &mut ContentsMut<'_>) {
    let Ok(mut store) = Store::open(flash, unknown(4096), unknown(4096), architecture) else { return };
    use_up((store.erases_per_save(), store.newest().is_ok(), store.load(into).is_ok()));
    let contents = Contents {
        step: unknown(1),
        parameters: into.parameters,
        state: into.state,
        layers: into.layers,
        readout: into.readout,
        counts: into.counts,
    };
    use_up((contents.lengths(), store.save(&contents).is_ok(), store.erase().is_ok()));
    use_up(checkpoint::encode(&contents, architecture, unknown(1), |index, unit| {
        use_up((index, *unit));
        unknown(Ok::<(), u8>(()))
    }));
    use_up(store.release().capacity());
}
