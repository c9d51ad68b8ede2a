//! Training with the processes of other GPUs, one process a GPU: what they do with each other's values.
//!
//! As [`clapp_engine::distributed::Shared`] for MPI on CPUs: gradients of weights, biases and heads are averaged, and of projections'
//! gradients `Q^T C` the rows of `Q` and `C` are exchanged. All processes have as many images in every step, so that
//! each has the same share of it.

use super::Gpu;
use super::executor::Executor;
use super::lower::count;
use super::memory::Tensor;
use super::op::{Arg, Collective, Op};
use clapp_data::error::Error;
use clapp_data::loader::Part;
use clapp_engine::backend::Backend;
use clapp_engine::config::Config;
use std::hash::{DefaultHasher, Hasher};

/// Refuses a set of which not every process would have as many images in every step.
///
/// # Errors
/// [`Error::Config`] with the largest number of images that goes.
pub fn check_images(images: usize, config: &Config, part: Part) -> Result<(), Error> {
    let used = images - usize::from(images % config.batch == 1);
    let of_step = config.batch * part.ranks;
    if part.ranks == 1 || (used > 0 && used.is_multiple_of(of_step)) {
        return Ok(());
    }
    let most = used / of_step * of_step;
    let remedy = if most > 0 {
        format!("use the first {most} with `--images {most}`")
    } else {
        "take smaller batches, more images or fewer processes".into()
    };
    Err(Error::Config {
        origin: "images".into(),
        message: format!(
            "{used} images do not divide into steps of {of_step} ({} processes with {} each); {remedy}",
            part.ranks, config.batch
        ),
    })
}

impl<E: Executor + 'static> Gpu<E> {
    /// The same as one of the processes that train together, whose executor's collectives are over all of them.
    pub fn among(self, part: Part) -> Self {
        Self { part, ..self }
    }

    /// This process's part of the work.
    pub fn part(&self) -> Part {
        self.part
    }

    fn to_share(&self, values: &Tensor, out: &Tensor) {
        let share = Arg::F32(1.0 / self.part.ranks as f32);
        let args = vec![self.device.input(values), self.device.output(out), share, count(values.len())];
        self.device.launch_over("scale", values.len(), args);
    }

    /// Values that are a mean over this process's images, times its share of all images of the step.
    pub(super) fn share(&self, values: &Tensor) {
        if self.part.ranks > 1 && !values.is_empty() {
            self.to_share(values, values);
        }
    }

    /// Replaces a gradient by its mean over the processes.
    pub(super) fn average(&self, gradient: &Tensor) {
        if self.part.ranks > 1 && !gradient.is_empty() {
            // First the share: the sum of all could leave the numbers.
            self.share(gradient);
            let place = self.device.place(gradient);
            self.device.run(Op::Collect { what: Collective::Sum, input: place, out: place, len: gradient.len() });
        }
    }

    /// `Q` and `C` of all processes with the number of their rows: `Q` so weighted that `Q^T C` is the averaged gradient.
    pub(super) fn of_all(&self, errors: &Tensor, c: &Tensor, rows: usize) -> (Tensor, Tensor, usize) {
        if self.part.ranks == 1 {
            return (errors.clone(), c.clone(), rows);
        }
        let scaled = self.floats(errors.len());
        self.to_share(errors, &scaled);
        (self.gather(&scaled), self.gather(c), rows * self.part.ranks)
    }

    fn gather(&self, own: &Tensor) -> Tensor {
        let all = self.floats(own.len() * self.part.ranks);
        self.device.run(Op::Collect {
            what: Collective::Gather { ranks: self.part.ranks },
            input: self.device.place(own),
            out: self.device.place(&all),
            len: own.len(),
        });
        all
    }

    /// The values of all processes, one after the other, at once; all must call it. Waits for the device.
    fn exchange(&self, own: &[u32]) -> Result<Vec<u32>, Error> {
        let bytes: Vec<u8> = own.iter().flat_map(|value| value.to_ne_bytes()).collect();
        let all = self.gather(&self.device.upload(&bytes, size_of::<u32>()));
        let bytes = self.device.read(&all);
        self.check()?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| u32::from_ne_bytes(*bytes)).collect())
    }

    /// The conditions that hold on any process; all must ask at the same place between two steps.
    ///
    /// # Errors
    /// If the device has failed.
    pub fn any<const N: usize>(&self, hold: [bool; N]) -> Result<[bool; N], Error> {
        if self.part.ranks == 1 {
            return Ok(hold);
        }
        let all = self.exchange(&hold.map(u32::from))?;
        Ok(std::array::from_fn(|index| all.chunks(N).any(|process| process[index] != 0)))
    }

    /// Makes sure that all processes have the same of something, as [`clapp_engine::distributed::Ranks::same`].
    ///
    /// # Errors
    /// [`Error::Mpi`] where it differs, on all of them; where the device has failed.
    pub fn same(&self, what: &str, hash: impl FnOnce(&mut DefaultHasher)) -> Result<(), Error> {
        if self.part.ranks == 1 {
            return Ok(());
        }
        let mut hasher = DefaultHasher::new();
        hash(&mut hasher);
        let own = hasher.finish();
        let all = self.exchange(&[own as u32, (own >> 32) as u32])?;
        match all.chunks(2).position(|hash| hash != &all[..2]) {
            None => Ok(()),
            Some(rank) => Err(Error::Mpi(format!("process {rank}: {what} is not that of process 0"))),
        }
    }
}
