//! Estimates the time of a probe on this machine from its first batches. The results of these batches are dropped.

use super::device::OnDevice;
use super::{Kind, ProbeTask, QUICK_EPOCHS, ROWS, features_of, quick_images};
use crate::backend::Backend;
use crate::probe::Inputs;
use crate::step::Model;
use clapp_data::error::Error;
use clapp_data::loader;
use rayon::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Seconds an image takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Features of an image as it is tested, loading included.
    pub plain: f64,
    /// A labelled image that is augmented, and a step of the heads on it.
    pub augmented: f64,
    /// A step of the heads on features that are there.
    pub learn: f64,
    /// Prediction of all heads from existing features.
    pub predict: f64,
}

/// The time after which nothing is measured once more.
const LONG: Duration = Duration::from_secs(1);

/// Smallest and largest number of repetitions of a short measurement, and the total time that is enough.
const TIMES: [usize; 2] = [3, 50];
const ENOUGH: Duration = Duration::from_millis(100);

/// Seconds that some work takes, as the median of several times: others may be at work on the machine, now and then. The
/// first time is not counted: programs are made, and memory is touched for the first time.
fn seconds(mut work: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    work()?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    loop {
        let from = Instant::now();
        work()?;
        times.push(from.elapsed().as_secs_f64());
        let enough = times.len() >= TIMES[0] && (begin.elapsed() > ENOUGH || times.len() >= TIMES[1]);
        if enough || begin.elapsed() > LONG {
            times.sort_by(f64::total_cmp);
            return Ok(times[times.len() / 2]);
        }
    }
}

/// Measures the work of a probe on its first images; changes nothing that the probe itself depends on.
///
/// # Errors
/// Same as [`super::probe`].
pub fn measure<B: Backend>(backend: &B, model: &Model<B::Tensor>, task: &ProbeTask<'_>) -> Result<Speed, Error> {
    let ProbeTask { pooled, config, data, seed, loader_threads, .. } = *task;
    let mut heads = task.heads();
    let images: Vec<usize> = (0..data.test.len().min(ROWS)).collect();
    let inputs = Inputs::new(config, data.test.shape(), pooled.input());
    let each = |begin: Instant, images: usize| begin.elapsed().as_secs_f64() / images.max(1) as f64;
    let count = images.len();
    let share = |seconds: f64| seconds / count.max(1) as f64;
    let test = features_of(backend, model, pooled, &data.test, &inputs, &images)?;
    let plain = share(seconds(|| features_of(backend, model, pooled, &data.test, &inputs, &images).map(drop))?);
    let labels: Vec<usize> = images.iter().map(|image| data.test.label(*image)).collect();
    let mut device = OnDevice::new(backend, &heads, (&test, count), Some((&test, count)));
    let predict = share(seconds(|| {
        match &device {
            Some(device) => drop(device.predictions(backend, &mut heads)),
            None => heads.par_iter_mut().for_each(|head| drop(head.predict(&test.rows(head.layers(), &images), count))),
        }
        Ok(())
    })?);
    let parts = || images.chunks(config.batch.max(1)).zip(labels.chunks(config.batch.max(1)));
    let learn = share(seconds(|| match &mut device {
        Some(device) => {
            parts().for_each(|(batch, labels)| device.learn(backend, batch, labels, config.lr));
            Ok(backend.check()?)
        }
        None => {
            heads.par_iter_mut().for_each(|head| {
                for (batch, labels) in parts() {
                    head.learn(&test.rows(head.layers(), batch), labels, config.lr);
                }
            });
            Ok(())
        }
    })?);
    let batches = (ROWS / config.batch.max(1)).max(1) + 1;
    let train = Arc::new(data.train.take(batches.saturating_mul(config.batch)));
    let (mut done, mut begin) = (0, None);
    let mut augmented = 0.0;
    for batch in loader::singles(train, &config.augment, config.batch, seed, 0, loader_threads)? {
        let batch = batch?;
        let images = batch.labels.len();
        // A single batch is measured itself.
        let from = *begin.get_or_insert_with(Instant::now);
        task.learn(backend, model, &mut heads, device.as_mut(), batch);
        if done == 0 {
            (augmented, begin) = (each(from, images), Some(Instant::now()));
        } else {
            augmented = each(from, done + images - config.batch);
        }
        done += images;
        if from.elapsed() > LONG && done > images {
            break;
        }
    }
    Ok(Speed { plain, augmented, learn, predict })
}

impl Speed {
    /// Returns the seconds of a probe of `epochs` epochs on `train` labelled and `test` images.
    pub fn seconds(&self, kind: Kind, epochs: u64, [train, test]: [usize; 2]) -> f64 {
        let (train, test) = (train as f64, test as f64);
        let [once, each] = match kind {
            Kind::Augmented => [test * self.plain, train * self.augmented],
            Kind::Cached | Kind::Quick => [(train + test) * self.plain, train * self.learn],
        };
        once + epochs as f64 * (each + test * self.predict)
    }

    /// Returns the seconds of [`Kind::Quick`] on a set of the given numbers of images and classes.
    pub fn quick_seconds(&self, [train, test]: [usize; 2], classes: usize) -> f64 {
        self.seconds(Kind::Quick, QUICK_EPOCHS, quick_images(train, test, classes))
    }
}
