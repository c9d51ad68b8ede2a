//! The processes of a run, and their joint operations.

use super::link::Link;
use clapp_data::error::Error;
use clapp_data::loader::Part;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;

/// Elements that are averaged at a time: bounds the buffers beside a gradient.
const PIECE: usize = 1 << 22;

/// Environment variables with the number of processes: Open MPI; MPICH and Intel MPI.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// The processes of a run: the rank of this one and their number.
///
/// All methods but [`Ranks::rank`], [`Ranks::size`] and [`Ranks::is_root`] must be called by all ranks in the same
/// order. Sums over ranks run in the order of the ranks, so that the same number of ranks gives the same bits.
#[derive(Debug)]
pub struct Ranks {
    link: Option<Link>,
}

impl Ranks {
    /// One process without others.
    pub fn alone() -> Self {
        Self { link: None }
    }

    /// Joins the other processes where an MPI launcher has started several, or where `asked`. Once in a process.
    ///
    /// # Errors
    /// [`Error::Mpi`] if this build has no MPI, or the library cannot be used.
    pub fn start(asked: bool) -> Result<Self, Error> {
        let launched = SIZES.iter().find_map(|name| std::env::var(name).ok()?.parse::<usize>().ok()).unwrap_or(1);
        if !asked && launched < 2 {
            return Ok(Self::alone());
        }
        match Link::start() {
            Ok(link) => Ok(Self { link: Some(link) }),
            Err(Error::Mpi(message)) if !asked => {
                Err(Error::Mpi(format!("started as {launched} processes, but {message}")))
            }
            Err(error) => Err(error),
        }
    }

    /// This process, from 0.
    pub fn rank(&self) -> usize {
        self.link.as_ref().map_or(0, Link::rank)
    }

    /// Number of processes.
    pub fn size(&self) -> usize {
        self.link.as_ref().map_or(1, Link::size)
    }

    /// This rank's part of the work.
    pub fn part(&self) -> Part {
        Part { rank: self.rank(), ranks: self.size() }
    }

    /// Returns `true` if this process is the one that writes and prints.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// Replaces `values` by their mean over the ranks, weighted by `counts` (rows of each rank). The values of a rank
    /// with count 0 are ignored. Sums are in double precision.
    pub fn average(&self, values: &mut [f32], counts: &[usize]) {
        let Some(link) = self.others() else { return };
        let weights = weights(counts);
        for piece in values.chunks_mut(PIECE) {
            // Each rank sums one part for all: as much traffic as the fastest reductions, in an order that we know.
            let lengths = parts(piece.len(), link.size());
            let received = link.all_to_all(piece, &lengths);
            let own = lengths[link.rank()];
            let mut sums = vec![0.0_f64; own];
            for (received, weight) in received.chunks(own.max(1)).zip(&weights) {
                if *weight > 0.0 {
                    sums.iter_mut().zip(received).for_each(|(sum, value)| *sum += weight * f64::from(*value));
                }
            }
            let means: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
            piece.copy_from_slice(&link.all_gather(&means, &lengths));
        }
    }

    /// The mean of numbers over the ranks, weighted by `counts`. The same of them are `None` on all ranks.
    pub fn mean(&self, values: &[Option<f64>], counts: &[usize]) -> Vec<Option<f64>> {
        let Some(link) = self.others() else { return values.to_vec() };
        let own: Vec<f64> = values.iter().map(|value| value.unwrap_or(0.0)).collect();
        let all = link.all_gather(&own, &vec![own.len(); link.size()]);
        let mut means = vec![0.0; own.len()];
        for (values, weight) in all.chunks(own.len().max(1)).zip(weights(counts)) {
            if weight > 0.0 {
                means.iter_mut().zip(values).for_each(|(mean, value)| *mean += weight * value);
            }
        }
        values.iter().zip(means).map(|(value, mean)| value.map(|_| mean)).collect()
    }

    /// Returns `true` if it holds on any rank.
    pub fn any(&self, holds: bool) -> bool {
        let Some(link) = self.others() else { return holds };
        link.all_gather(&[u64::from(holds)], &vec![1; link.size()]).contains(&1)
    }

    /// Returns the rows of all ranks, in the order of the ranks. `own`: this rank's rows of `columns` values each.
    /// `counts`: number of rows from each rank (0, or all its rows).
    pub fn gather(&self, own: &[f32], columns: usize, counts: &[usize]) -> Vec<f32> {
        let Some(link) = self.others() else { return own.to_vec() };
        let lengths: Vec<usize> = counts.iter().map(|count| count * columns).collect();
        link.all_gather(&own[..lengths[link.rank()]], &lengths)
    }

    /// Returns the outcome if it is `Ok` on all ranks. Otherwise the first rank with an error gets its error back, and
    /// all others get [`Error::Elsewhere`], which is not shown.
    ///
    /// # Errors
    /// The first error of any rank.
    pub fn agree<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        let Some(link) = self.others() else { return outcome };
        let code = outcome.as_ref().err().map_or(0, |error| u64::from(error.exit_code()));
        let codes = link.all_gather(&[code], &vec![1; link.size()]);
        match codes.iter().position(|code| *code != 0) {
            Some(rank) if rank != link.rank() => Err(Error::Elsewhere),
            _ => outcome,
        }
    }

    /// `work` on rank 0, and then on the others: what it leaves on the disk, they find there. Errors as of
    /// [`Ranks::agree`].
    ///
    /// # Errors
    /// The first error of any rank.
    pub fn first<T>(&self, work: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let done = self.agree(if self.is_root() { work().map(Some) } else { Ok(None) })?;
        self.agree(done.map_or_else(work, Ok))
    }

    /// Checks that all ranks have the same value. `what` names it, `hash` feeds it to a hasher.
    ///
    /// # Errors
    /// [`Error::Mpi`] on the first rank that differs from rank 0, [`Error::Elsewhere`] on the others.
    pub fn same(&self, what: &str, hash: impl FnOnce(&mut DefaultHasher)) -> Result<(), Error> {
        let Some(link) = self.others() else { return Ok(()) };
        // The same program runs on all ranks, so the hash need not outlive a version of the standard library.
        let mut hasher = DefaultHasher::new();
        hash(&mut hasher);
        let hashes = link.all_gather(&[hasher.finish()], &vec![1; link.size()]);
        let differs = hashes[link.rank()] != hashes[0];
        self.agree(if differs { Err(Error::Mpi(format!("{what} differs from that of rank 0"))) } else { Ok(()) })
    }

    /// Ends the run on this rank. An error is printed with the rank and ends all ranks at once: they could wait for
    /// this one in vain.
    pub fn end(self, outcome: Result<u8, Error>) -> Result<u8, Error> {
        let Some(link) = self.others() else { return outcome };
        match outcome {
            Ok(code) => Ok(code),
            Err(Error::Elsewhere) => {
                // Wait until the rank with the error has printed it and ends this process.
                link.wait();
                Err(Error::Elsewhere)
            }
            Err(error) => {
                let text = format!("error: rank {} of {}: {error}\n", link.rank(), link.size());
                // Write in one piece, because the launcher and other ranks write to the same place. If that fails, the
                // exit code still reports the error.
                let _ = std::io::stderr().write_all(text.as_bytes());
                link.abort(error.exit_code())
            }
        }
    }

    /// Returns the link if the run has other processes.
    fn others(&self) -> Option<&Link> {
        self.link.as_ref().filter(|link| link.size() > 1)
    }
}

/// Shares of a whole.
fn weights(counts: &[usize]) -> Vec<f64> {
    let total: usize = counts.iter().sum();
    counts.iter().map(|count| *count as f64 / total as f64).collect()
}

/// Cuts `length` into `count` parts that differ by at most 1.
fn parts(length: usize, count: usize) -> Vec<usize> {
    (0..count).map(|part| length * (part + 1) / count - length * part / count).collect()
}
