//! The order of images for a device: unlabelled images, a few labelled images, and test images.
//!
//! During learning, an image stays for a few frames, each a new view of it (fixations), and then the next image follows
//! (a saccade). During training of the read-out and during tests, the layers do not learn.

use super::client::Client;
use super::description::Description;
use super::frames::Frames;
use super::live::Live;
use super::replay::{Event, Replay, Seen};
use clapp_core::contrast::Phase;
use clapp_core::link::{Answer, Command, Observed, Update};
use clapp_data::data::{Dataset, Split};
use clapp_data::error::Error;
use clapp_data::rng::{Purpose, stream};
use clapp_data::words::counted;

/// Numbers of frames and images of the lesson.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Frames without labels.
    pub frames: u64,
    /// Frames of one image, one after another.
    pub fixation: u64,
    /// Labelled images of each class.
    pub labels: usize,
    /// Images that the device is tested on.
    pub test: usize,
    /// Seed of all that is drawn.
    pub seed: u64,
}

/// Result of the unlabelled frames.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Learnt {
    /// Frames learnt from.
    pub frames: u64,
    /// Updates that the guard refused, of all layers.
    pub refused: u64,
    /// Mean loss of each layer over about the first tenth of the frames, and over the last.
    pub losses: Vec<[f64; 2]>,
}

/// A share of test images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Images whose class was predicted.
    pub right: usize,
    /// Images.
    pub of: usize,
}

impl Score {
    /// From 0 to 1.
    pub fn share(&self) -> f64 {
        self.right as f64 / self.of.max(1) as f64
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} % of {} test images", 100.0 * self.share(), self.of)
    }
}

/// A device and its lesson.
#[derive(Debug)]
pub struct Course<'a, 'b> {
    client: &'a mut Client<'b>,
    data: &'a Dataset,
    frames: Frames,
    plan: Plan,
    labelled: Vec<usize>,
    held_back: Vec<usize>,
    /// The factor on updates while the device learns.
    modulator: f32,
    replay: Option<Replay>,
    pixels: Vec<u8>,
}

impl<'a, 'b> Course<'a, 'b> {
    /// Draws the images.
    ///
    /// # Errors
    /// [`Error::Config`] if the images do not suffice, or the device's read-out has fewer classes;
    /// [`Error::Other`] where frames of the device's shape cannot be made.
    pub fn new(
        client: &'a mut Client<'b>,
        device: &Description,
        data: &'a Dataset,
        plan: Plan,
        replay: Option<Replay>,
    ) -> Result<Self, Error> {
        let wrong = |origin: &str, message: String| Err(Error::Config { origin: origin.into(), message });
        let classes = data.classes.len();
        if (plan.labels > 0 || plan.test > 0) && classes > device.classes {
            return wrong(
                "--data",
                format!(
                    "{} has {}, but the device's read-out has {}",
                    data.name,
                    counted(classes, "class"),
                    device.classes
                ),
            );
        }
        if plan.frames > 0 && data.pretrain.is_empty() {
            return wrong("--data", format!("{} has no images to learn from", data.name));
        }
        if plan.test > data.test.len() {
            return wrong(
                "--test",
                format!("is {}, but {} has {}", plan.test, data.name, counted(data.test.len(), "test image")),
            );
        }
        let mut order: Vec<usize> = (0..data.train.len()).collect();
        stream(plan.seed, Purpose::Labels, 0, 0).shuffle(&mut order);
        let mut left = vec![plan.labels; classes];
        order.retain(|&image| {
            let left = &mut left[data.train.label(image)];
            let taken = *left > 0;
            *left -= usize::from(taken);
            taken
        });
        if let Some((class, missing)) = left.iter().enumerate().find(|(_, left)| **left > 0) {
            let (name, has) = (&data.classes[class], plan.labels - missing);
            return wrong(
                "--labels",
                format!("is {}, but class {name} has {}", plan.labels, counted(has, "training image")),
            );
        }
        let mut held_back: Vec<usize> = (0..data.test.len()).collect();
        stream(plan.seed, Purpose::HeldBack, 0, 0).shuffle(&mut held_back);
        held_back.truncate(plan.test);
        let frames = Frames::new(device.spec.input(), data)?;
        // Unmute a device that an earlier program left muted.
        let modulator = if device.modulator == 0.0 { 1.0 } else { device.modulator };
        let pixels = Vec::new();
        Ok(Self { client, data, frames, plan, labelled: order, held_back, modulator, replay, pixels })
    }

    /// Shows the frames without labels.
    ///
    /// # Errors
    /// Same as [`Client::ask`]; [`Error::Other`] if an image cannot be read; [`Error::Stopped`].
    pub fn learn(&mut self) -> Result<Learnt, Error> {
        let Plan { frames, fixation, seed, .. } = self.plan;
        self.set_modulator(self.modulator)?;
        self.clear_context()?;
        let mut live = Live::new("learning", frames);
        let mut learnt = Learnt::default();
        let mut sums: Vec<[(f64, u64); 2]> = Vec::new();
        let images = self.data.pretrain.clone();
        let (mut order, mut views, mut shape) = (Vec::new(), stream(seed, Purpose::Fixation, 0, 0), None);
        for frame in 0..frames {
            let (glance, within) = (frame / fixation, frame % fixation);
            if within == 0 {
                let (epoch, place) = (glance / images.len() as u64, glance % images.len() as u64);
                if place == 0 {
                    order = (0..images.len()).collect();
                    stream(seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
                }
                let image = order[place as usize];
                views = stream(seed, Purpose::Fixation, epoch, image as u64);
                shape = Some(images.read(image, &mut self.pixels)?);
            }
            let Some(shape) = shape else { break };
            let pixels = self.frames.view(&self.pixels, shape, &mut views)?;
            let phase = if within == 0 { Phase::Saccade } else { Phase::Fixation };
            let observed = self.show(phase, None, pixels)?;
            learnt.frames += 1;
            // A pass that stopped below the top brings fewer layers.
            sums.resize(sums.len().max(observed.layers.len()), [(0.0, 0); 2]);
            for (sums, news) in sums.iter_mut().zip(&observed.layers) {
                learnt.refused += u64::from(news.update == Update::Refused);
                let tenth = (frames / 10).max(1);
                let parts = [frame <= tenth, frame >= frames - tenth];
                for ((sum, count), _) in sums.iter_mut().zip(parts).filter(|(_, within)| *within) {
                    // The first frame has no loss: there is nothing to compare it with. Activity that is not finite has
                    // none.
                    if news.update != Update::NoContext && news.loss.is_finite() {
                        (*sum, *count) = (*sum + f64::from(news.loss), *count + 1);
                    }
                }
            }
            // The read-out fits the earlier layers, so its predictions during learning are not meaningful.
            live.frame(&observed, None);
        }
        live.finish();
        learnt.losses = sums.into_iter().map(|sums| sums.map(|(sum, count)| sum / count.max(1) as f64)).collect();
        Ok(learnt)
    }

    /// Trains the read-out again on the labelled images, if there are any, and tests it on the test images. The layers
    /// do not learn.
    ///
    /// # Errors
    /// Same as [`Course::learn`].
    pub fn measure(&mut self) -> Result<Score, Error> {
        self.set_modulator(0.0)?;
        if !self.labelled.is_empty() {
            self.client.tell(Command::ForgetLabels)?;
            self.log(|| Event::ForgetLabels);
            let images = std::mem::take(&mut self.labelled);
            let taught = self.show_all("labels", &self.data.train, &images, true);
            self.labelled = images;
            taught?;
        }
        let images = std::mem::take(&mut self.held_back);
        let right = self.show_all("testing", &self.data.test, &images, false);
        self.held_back = images;
        Ok(Score { right: right?, of: self.held_back.len() })
    }

    /// Shows whole images. Returns the number of those whose class was predicted.
    fn show_all(
        &mut self,
        name: &'static str,
        split: &Split,
        images: &[usize],
        with_labels: bool,
    ) -> Result<usize, Error> {
        let mut live = Live::new(name, images.len() as u64);
        let mut all_right = 0;
        for &image in images {
            let shape = split.read(image, &mut self.pixels)?;
            let pixels = self.frames.whole(&self.pixels, shape)?;
            // The device has no more classes than a byte counts.
            let label = u8::try_from(split.label(image)).ok().filter(|_| with_labels);
            let observed = self.show(Phase::Saccade, label, pixels)?;
            // Ignore predictions for labelled frames.
            let right = prediction_is_right(split, image, &observed).filter(|_| !with_labels);
            all_right += usize::from(right == Some(true));
            live.frame(&observed, right);
        }
        live.finish();
        Ok(all_right)
    }

    /// Shows one frame.
    fn show(&mut self, phase: Phase, label: Option<u8>, pixels: Vec<u8>) -> Result<Observed, Error> {
        if self.client.stopping() {
            return Err(Error::Stopped);
        }
        let observed = self.client.ask(Command::Frame { phase, label, pixels: &pixels }, |answer| match answer {
            Answer::Observed(observed) => Some(observed.clone()),
            _ => None,
        })?;
        let losses = observed.layers.iter().map(|news| news.loss).collect();
        let seen = Seen { prediction: observed.prediction, losses };
        self.log(|| Event::Frame { phase, label, pixels, seen });
        Ok(observed)
    }

    fn set_modulator(&mut self, modulator: f32) -> Result<(), Error> {
        self.client.tell(Command::Modulator(modulator))?;
        self.log(|| Event::Modulator(modulator));
        Ok(())
    }

    fn clear_context(&mut self) -> Result<(), Error> {
        self.client.tell(Command::ClearContext)?;
        self.log(|| Event::ClearContext);
        Ok(())
    }

    fn log(&self, event: impl FnOnce() -> Event) {
        if let Some(replay) = &self.replay {
            replay.log(event());
        }
    }

    /// The line to the device.
    pub fn client(&mut self) -> &mut Client<'b> {
        self.client
    }

    /// Lets the device learn again, also after an error, and returns the replay.
    ///
    /// # Errors
    /// Same as [`Client::ask`].
    pub fn end(self) -> Result<Option<Replay>, Error> {
        self.client.keep_on();
        self.client.tell(Command::Modulator(self.modulator))?;
        self.client.tell(Command::ClearContext)?;
        Ok(self.replay)
    }
}

/// Returns `true` if a device's prediction is right, if any and the truth is known.
fn prediction_is_right(split: &Split, image: usize, observed: &Observed) -> Option<bool> {
    let truth = split.is_labelled().then(|| split.label(image))?;
    observed.prediction.map(|class| usize::from(class) == truth)
}
