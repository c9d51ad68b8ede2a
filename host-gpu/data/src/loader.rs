//! Batches of augmented images, made ahead of time by background threads.
//!
//! Thread `k mod T` makes batch `k` (counted from the first one made) and puts it into its own bounded queue. So
//! batches come in order, at most [`AHEAD`] of them wait per thread, and their contents depend only on `(seed, epoch)`:
//! each view has its own stream of random numbers ([`crate::rng::stream`]).

mod share;

pub use share::{Part, images_of_ranks, steps_per_epoch};

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use clapp_core::shape::Shape;

use crate::augment::{AugmentError, ViewAugment};
use crate::data::{DataError, Split};
use crate::error::Error;
use crate::rng::{Purpose, stream};

/// Finished batches that wait for each thread; a thread with that many pauses.
pub const AHEAD: usize = 2;

/// A batch for pre-training: two views of each of `N` images.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[2N, C, S, S]`, normalised: rows `0..N` are first views; row `N + i` is the second view of the image of row
    /// `i`.
    pub x: Vec<f32>,
    /// Index of each of the `N` images in the split.
    pub images: Vec<usize>,
}

/// A batch of images as they are, for a device that makes the views itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBatch {
    /// `[N, C, H, W]` bytes.
    pub pixels: Vec<u8>,
    /// Index of each of the `N` images in the split.
    pub images: Vec<usize>,
}

/// A batch for probe training: one view of each of `N` images.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledBatch {
    /// `[N, C, S, S]`, normalised.
    pub x: Vec<f32>,
    /// Label of each of the `N` images.
    pub labels: Vec<u16>,
    /// Index of each of the `N` images in the split.
    pub images: Vec<usize>,
}

/// Reason why a loader could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// An image could not be read.
    #[error("{error}{advice}", error = .0, advice = advice(.0))]
    Data(#[from] DataError),
    /// The settings do not fit the images.
    #[error(transparent)]
    Augment(#[from] AugmentError),
    /// Something about the request itself.
    #[error("cannot load batches: {0}")]
    Request(String),
    /// The system did not start a thread.
    #[error("cannot start a loader thread: {0}")]
    Thread(String),
    /// A loader thread ended before its batches were done: it panicked.
    #[error("the loader thread of batch {batch} ended early; this is a bug of the loader")]
    Lost {
        /// Number of the batch that did not come.
        batch: usize,
    },
}

impl From<LoaderError> for Error {
    fn from(error: LoaderError) -> Self {
        Self::input(error)
    }
}

/// Returns advice about an image that cannot be used.
fn advice(error: &DataError) -> &'static str {
    match error {
        DataError::Image { .. } => "; `clapp data check` lists all such images, and --skip-bad skips them",
        _ => "",
    }
}

/// Iterator over the batches of one epoch, in order. After an error it ends. Dropping it stops its threads.
#[derive(Debug)]
pub struct Loader<B> {
    queues: Vec<Receiver<Result<B, LoaderError>>>,
    threads: Vec<JoinHandle<()>>,
    first: usize,
    next: usize,
    batches: usize,
}

/// Position in a run where a loader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Epoch, from 0.
    pub epoch: u64,
    /// First batch of the epoch that is made; those before it are skipped, not made and thrown away.
    pub batch: usize,
    /// Whose batches of the epoch; they are counted from 0 for each rank.
    pub part: Part,
}

/// State shared by all threads of a loader.
struct Source {
    split: Arc<Split>,
    augment: ViewAugment,
    seed: u64,
    epoch: u64,
    /// All images of the epoch, in the order in which they are used.
    order: Vec<usize>,
    batch: usize,
}

/// Returns the number of batches of [`pairs`] in an epoch over `images` images.
pub fn pair_batches(images: usize, batch: usize) -> usize {
    let batch = batch.max(1);
    (images - usize::from(images % batch == 1)).div_ceil(batch)
}

/// Returns two augmented views of each image of `split`, in batches of `batch` images, shuffled for each `epoch`. The
/// last batch holds the remaining images. A single remaining image is dropped, because the rules compare an image with
/// others in its batch. `threads` of 0 counts as 1; the number of threads does not change the result.
///
/// # Errors
/// [`LoaderError`] if `batch` is below 2, there are fewer than 2 images, or the augmentation does not fit them; and,
/// from the iterator, if an image cannot be read, a view fails or a thread is lost.
pub fn pairs(
    split: Arc<Split>,
    augment: &ViewAugment,
    batch: usize,
    seed: u64,
    epoch: u64,
    threads: usize,
) -> Result<Loader<Batch>, LoaderError> {
    pairs_from(split, augment, batch, seed, Start { epoch, batch: 0, part: Part::WHOLE }, threads)
}

/// Same as [`pairs`], from any batch of the epoch on: the batches are those that [`pairs`] gives there.
///
/// # Errors
/// Same as [`pairs`].
pub fn pairs_from(
    split: Arc<Split>,
    augment: &ViewAugment,
    batch: usize,
    seed: u64,
    start: Start,
    threads: usize,
) -> Result<Loader<Batch>, LoaderError> {
    let order = pair_order(split.len(), batch, seed, start.epoch, start.part)?;
    let source = Source::new(split, augment, batch, seed, start.epoch, order)?;
    Loader::start(source, start.batch, threads, |source, images| {
        let x = source.views(images, &[Purpose::View(0), Purpose::View(1)])?;
        Ok(Batch { x, images: images.to_vec() })
    })
}

/// Same as [`pairs`], but for the first images in the order of the set: `batches` batches or fewer, with separate
/// views, for measurements during training. A single remaining image is dropped too.
///
/// # Errors
/// Same as [`pairs`].
pub fn first_pairs(
    split: Arc<Split>,
    augment: &ViewAugment,
    batch: usize,
    seed: u64,
    batches: usize,
    threads: usize,
) -> Result<Loader<Batch>, LoaderError> {
    check_pairs(split.len(), batch)?;
    let images = split.len().min(batch.saturating_mul(batches));
    let order = (0..images - usize::from(images % batch == 1)).collect();
    let source = Source::new(split, augment, batch, seed, 0, order)?;
    Loader::start(source, 0, threads, |source, images| {
        let x = source.views(images, &[Purpose::FirstView(0), Purpose::FirstView(1)])?;
        Ok(Batch { x, images: images.to_vec() })
    })
}

/// The images of the batches that [`pairs_from`] would make there, as they are stored.
///
/// # Errors
/// Same as [`pairs`], and if the images differ in shape.
pub fn raw_from(
    split: Arc<Split>,
    augment: &ViewAugment,
    batch: usize,
    seed: u64,
    start: Start,
    threads: usize,
) -> Result<Loader<RawBatch>, LoaderError> {
    let order = pair_order(split.len(), batch, seed, start.epoch, start.part)?;
    let source = Source::new(split, augment, batch, seed, start.epoch, order)?;
    if source.split.shape().is_none() {
        return Err(LoaderError::Request("images used as stored must have one shape, but these may differ".into()));
    }
    Loader::start(source, start.batch, threads, |source, images| {
        let mut batch = RawBatch { pixels: Vec::new(), images: images.to_vec() };
        let mut pixels = Vec::new();
        for &image in images {
            source.split.read(image, &mut pixels)?;
            batch.pixels.extend_from_slice(&pixels);
        }
        Ok(batch)
    })
}

/// The images of an epoch of pairs in the order in which one rank uses them, batch after batch.
///
/// # Errors
/// [`LoaderError::Request`] if `batch` is below 2 or there are fewer than 2 images.
pub fn pair_order(images: usize, batch: usize, seed: u64, epoch: u64, part: Part) -> Result<Vec<usize>, LoaderError> {
    check_pairs(images, batch)?;
    let mut order = shuffled(images, seed, Purpose::Shuffle, epoch);
    if images % batch == 1 {
        order.pop();
    }
    Ok(part.of_order(&order, batch))
}

fn check_pairs(images: usize, batch: usize) -> Result<(), LoaderError> {
    if batch < 2 || images < 2 {
        return Err(LoaderError::Request(format!(
            "pairs need batches and sets of at least 2 images, found batches of {batch} from {images} images"
        )));
    }
    Ok(())
}

fn shuffled(images: usize, seed: u64, shuffle: Purpose, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images).collect();
    stream(seed, shuffle, epoch, 0).shuffle(&mut order);
    order
}

/// Returns one augmented view and the label of each image of `split`, in batches of `batch` images, shuffled for each
/// `epoch`. The last batch holds the remaining images. `threads` as for [`pairs`].
///
/// # Errors
/// [`LoaderError`] if `batch` is 0, the images have no labels, or the augmentation does not fit them; and, from the
/// iterator, if an image cannot be read, a view fails or a thread is lost.
pub fn singles(
    split: Arc<Split>,
    augment: &ViewAugment,
    batch: usize,
    seed: u64,
    epoch: u64,
    threads: usize,
) -> Result<Loader<LabelledBatch>, LoaderError> {
    if batch == 0 {
        return Err(LoaderError::Request("batches of 0 images".into()));
    }
    if !split.is_labelled() {
        return Err(LoaderError::Request("a probe needs labels, found images without".into()));
    }
    let order = shuffled(split.len(), seed, Purpose::ProbeShuffle, epoch);
    let source = Source::new(split, augment, batch, seed, epoch, order)?;
    Loader::start(source, 0, threads, |source, images| {
        let x = source.views(images, &[Purpose::ProbeView])?;
        let labels = images.iter().map(|&image| source.split.labels()[image]).collect();
        Ok(LabelledBatch { x, labels, images: images.to_vec() })
    })
}

impl Source {
    fn new(
        split: Arc<Split>,
        augment: &ViewAugment,
        batch: usize,
        seed: u64,
        epoch: u64,
        order: Vec<usize>,
    ) -> Result<Self, LoaderError> {
        augment.check(split.shape().unwrap_or(Shape::new(split.channels(), 1, 1)))?;
        Ok(Self { split, augment: augment.clone(), seed, epoch, order, batch })
    }

    fn batches(&self) -> usize {
        self.order.len().div_ceil(self.batch)
    }

    /// A view of each of `images` for each of `purposes`, one purpose after another.
    fn views(&self, images: &[usize], purposes: &[Purpose]) -> Result<Vec<f32>, LoaderError> {
        let view_len = self.augment.view_shape(Shape::new(self.split.channels(), 1, 1)).len();
        let mut x = vec![0.0; purposes.len() * images.len() * view_len];
        let mut pixels = Vec::new();
        for (row, &image) in images.iter().enumerate() {
            // Decode once for all views, because decoding can take longer than a view.
            let shape = self.split.read(image, &mut pixels)?;
            for (part, &purpose) in purposes.iter().enumerate() {
                let mut rng = stream(self.seed, purpose, self.epoch, image as u64);
                let out = &mut x[(part * images.len() + row) * view_len..][..view_len];
                self.augment.view(&pixels, shape, &mut rng, out)?;
            }
        }
        Ok(x)
    }
}

impl<B: Send + 'static> Loader<B> {
    /// Starts `threads` threads that make the batches of `source` from `first` on with `make`.
    fn start(
        source: Source,
        first: usize,
        threads: usize,
        make: fn(&Source, &[usize]) -> Result<B, LoaderError>,
    ) -> Result<Self, LoaderError> {
        let source = Arc::new(source);
        let batches = source.batches();
        // More threads than batches would have nothing to do.
        let first = first.min(batches);
        let count = threads.clamp(1, (batches - first).max(1));
        let mut loader = Self { queues: Vec::new(), threads: Vec::new(), first, next: first, batches };
        for number in 0..count {
            let (queue, received) = sync_channel(AHEAD);
            let source = Arc::clone(&source);
            let work = move || run(&source, first + number, count, make, &queue);
            let thread = Builder::new().name(format!("loader-{number}")).spawn(work);
            // If one thread fails to start, dropping the loader stops the others.
            loader.threads.push(thread.map_err(|error| LoaderError::Thread(error.to_string()))?);
            loader.queues.push(received);
        }
        Ok(loader)
    }
}

/// Body of a thread: makes batches `first`, `first + count`, ... until they are done, one fails, or nobody listens.
fn run<B>(
    source: &Source,
    first: usize,
    count: usize,
    make: fn(&Source, &[usize]) -> Result<B, LoaderError>,
    queue: &SyncSender<Result<B, LoaderError>>,
) {
    for images in source.order.chunks(source.batch).skip(first).step_by(count) {
        let batch = make(source, images);
        let failed = batch.is_err();
        if queue.send(batch).is_err() || failed {
            return;
        }
    }
}

impl<B> Loader<B> {
    /// Batches of the whole epoch, skipped ones included.
    pub fn batches(&self) -> usize {
        self.batches
    }
}

impl<B> Iterator for Loader<B> {
    type Item = Result<B, LoaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.batches {
            return None;
        }
        let queue = self.queues.get((self.next - self.first) % self.queues.len().max(1))?;
        // A thread that panics drops its end of the queue, which wakes us here.
        let batch = queue.recv().unwrap_or(Err(LoaderError::Lost { batch: self.next }));
        self.next = if batch.is_ok() { self.next + 1 } else { self.batches };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error can end the epoch early.
        (0, Some(self.batches - self.next))
    }
}

impl<B> Drop for Loader<B> {
    fn drop(&mut self) {
        // Without listeners every thread's next `send` fails, even where it already waits in one.
        self.queues.clear();
        for thread in self.threads.drain(..) {
            // A panic was already reported as a lost batch, and on standard error.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        let split = Split::new(Shape::new(1, 2, 2), vec![0; 40], vec![0; 10]).unwrap();
        let augment = ViewAugment::probe(2, &[0.5], &[0.5]);
        Source::new(Arc::new(split), &augment, 2, 1, 0, shuffled(10, 1, Purpose::Shuffle, 0)).unwrap()
    }

    #[test]
    fn panic_of_a_thread_is_an_error_of_its_batch() {
        for threads in [1, 2, 5] {
            let mut loader = Loader::start(source(), 0, threads, |source, images| {
                assert!(images != &source.order[4..6], "this panic belongs to the test");
                Ok(images.to_vec())
            })
            .unwrap();
            assert!(loader.next().unwrap().is_ok() && loader.next().unwrap().is_ok());
            assert!(matches!(loader.next(), Some(Err(LoaderError::Lost { batch: 2 }))));
            assert!(loader.next().is_none());
        }
    }

    #[test]
    fn batches_before_the_first_are_not_made() {
        for threads in [1, 2, 5, 9] {
            let loader = Loader::start(source(), 2, threads, |source, images| {
                assert!(!source.order[..4].contains(&images[0]), "a batch to be skipped");
                Ok(images.to_vec())
            })
            .unwrap();
            assert_eq!(loader.batches(), 5);
            let order = source().order;
            assert_eq!(loader.map(Result::unwrap).collect::<Vec<_>>(), order[4..].chunks(2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn error_of_a_batch_ends_the_epoch() {
        for threads in [1, 2, 5] {
            let mut loader = Loader::start(source(), 0, threads, |source, images| {
                if images == &source.order[2..4] {
                    return Err(LoaderError::Request("of the test".into()));
                }
                Ok(images.to_vec())
            })
            .unwrap();
            assert!(loader.next().unwrap().is_ok());
            assert!(matches!(loader.next(), Some(Err(LoaderError::Request(_)))));
            assert!(loader.next().is_none());
        }
    }
}
