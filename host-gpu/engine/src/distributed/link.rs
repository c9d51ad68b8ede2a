//! The few operations of MPI that are used.

use clapp_data::error::Error;
use mpi::Count;
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::{Universe, initialize_with_threading};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence};

/// All processes of the run.
pub struct Link {
    world: SimpleCommunicator,
    // After the communicator: dropping it ends MPI.
    _universe: Universe,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Link({} of {})", self.rank(), self.size())
    }
}

impl Link {
    /// Joins the other processes. Call it once in a process.
    pub fn start() -> Result<Self, Error> {
        // Loader and matrix products have separate threads; only this thread calls MPI.
        let Some((universe, threading)) = initialize_with_threading(mpi::Threading::Funneled) else {
            return Err(Error::Mpi("MPI was started twice in this process".into()));
        };
        if threading < mpi::Threading::Funneled {
            return Err(Error::Mpi("this MPI library allows no threads beside the calling one".into()));
        }
        Ok(Self { world: universe.world(), _universe: universe })
    }

    /// This process, from 0.
    pub fn rank(&self) -> usize {
        usize::try_from(self.world.rank()).unwrap_or(0)
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        usize::try_from(self.world.size()).unwrap_or(1)
    }

    /// The values of all ranks one after the other; `lengths` are theirs.
    pub fn all_gather<T: Equivalence + Clone + Default>(&self, own: &[T], lengths: &[usize]) -> Vec<T> {
        let mut all = vec![T::default(); lengths.iter().sum()];
        let (counts, starts) = counts_and_starts(lengths);
        self.world.all_gather_varcount_into(own, &mut PartitionMut::new(&mut all[..], counts, starts));
        all
    }

    /// Cuts `values` into a piece a rank, of `lengths`, and sends each its piece; gives all ranks' pieces for this one.
    pub fn all_to_all(&self, values: &[f32], lengths: &[usize]) -> Vec<f32> {
        let own = lengths[self.rank()];
        let mut received = vec![0.0; own * self.size()];
        let (counts, starts) = counts_and_starts(lengths);
        let (own_counts, own_starts) = counts_and_starts(&vec![own; self.size()]);
        self.world.all_to_all_varcount_into(
            &Partition::new(values, counts, starts),
            &mut PartitionMut::new(&mut received[..], own_counts, own_starts),
        );
        received
    }

    /// Waits for all ranks.
    pub fn wait(&self) {
        self.world.barrier();
    }

    /// Ends all ranks.
    pub fn abort(&self, code: u8) -> ! {
        self.world.abort(code.into())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The other ranks may wait for this one for ever, so a normal end of MPI would hang.
        if std::thread::panicking() {
            self.abort(101);
        }
    }
}

/// MPI counts in `i32`; callers cut what would not fit.
fn counts_and_starts(lengths: &[usize]) -> (Vec<Count>, Vec<Count>) {
    let counts: Vec<Count> = lengths.iter().map(|&length| Count::try_from(length).unwrap_or(Count::MAX)).collect();
    let starts = counts.iter().scan(0, |end: &mut Count, count| {
        let start = *end;
        *end = end.saturating_add(*count);
        Some(start)
    });
    let starts = starts.collect();
    (counts, starts)
}
