//! Streams made of a data set: what a device sees, in order, and what it is tested on.
//!
//! The gaze rests on an image for a few frames, each another part of it, and jumps to the next. Of a few images the class
//! is told. Everything follows from the seed; no image comes twice.

use super::drift::Conditions;
use clapp_core::shape::Shape;
use clapp_data::data::{Dataset, Split};
use clapp_data::error::Error;
use clapp_data::rng::{Purpose, stream};
use clapp_data::words::counted;
use clapp_device::device::frames::Frames;

/// A kind of stream: classes or conditions change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// One class after another, each never seen again: a stage is a class.
    ClassIncremental,
    /// All classes all the time, under conditions that change from frame to frame: a stage is a part of the way.
    Drift,
}

impl Kind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClassIncremental => "class-incremental",
            Self::Drift => "drift",
        }
    }
}

/// Length of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Images of each class.
    pub images: usize,
    /// Frames of each image.
    pub fixation: usize,
    /// Images of each class whose label is told when the class appears.
    pub labels: usize,
    /// Stages of a drift.
    pub stages: usize,
    /// Images of each class whose label is told in each later stage of a drift.
    pub more_labels: usize,
    /// Test images of each class.
    pub test: usize,
}

/// The frames of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Index of the image in the data set's training images.
    pub image: usize,
    /// Its class, which a learner does not know.
    pub class: u8,
    /// Its class where a learner is told.
    pub label: Option<u8>,
    /// `[C, H, W]` bytes each, one after another.
    pub frames: Vec<Vec<u8>>,
}

/// An image to be tested on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// `[C, H, W]` bytes.
    pub frame: Vec<u8>,
    /// Its class.
    pub class: u8,
}

/// A part of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The class, or how far the drift has come.
    pub name: String,
    /// Frames of the stage, in order.
    pub glances: Vec<Glance>,
    /// Test images of this stage, used after every stage.
    pub test: Vec<Example>,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Kind of stream.
    pub kind: Kind,
    /// Its parts.
    pub stages: Vec<Stage>,
}

/// The training images of a set, drawn from the seed: those of the stream, class by class, and all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// Images of each class.
    pub classes: Vec<Vec<usize>>,
    /// The rest.
    pub rest: Vec<usize>,
}

/// Draws the first `count` images of each class of a split in the order of a seed.
///
/// # Errors
/// [`Error::Config`] if a class has fewer, or images have no labels.
pub fn draw(split: &Split, classes: &[String], count: usize, seed: u64, purpose: Purpose) -> Result<Drawn, Error> {
    let wrong = |message: String| Err(Error::Config { origin: "--data".into(), message });
    if !split.is_labelled() {
        return wrong("the images have no labels, without which there are no classes to learn".into());
    }
    let mut order: Vec<usize> = (0..split.len()).collect();
    stream(seed, purpose, 0, 0).shuffle(&mut order);
    let mut drawn = Drawn { classes: vec![Vec::new(); classes.len()], rest: Vec::new() };
    for image in order {
        match drawn.classes.get_mut(split.label(image)) {
            Some(class) if class.len() < count => class.push(image),
            _ => drawn.rest.push(image),
        }
    }
    match drawn.classes.iter().zip(classes).find(|(images, _)| images.len() < count) {
        Some((images, name)) => {
            wrong(format!("class {name} has {}, but {count} are needed", counted(images.len(), "image")))
        }
        None => Ok(drawn),
    }
}

/// `true` for `chosen` places, evenly spread over `count`, the first included.
fn evenly(at: usize, count: usize, chosen: usize) -> bool {
    at * chosen % count.max(1) < chosen
}

impl Stream {
    /// Makes a stream of frames of shape `input`.
    ///
    /// # Errors
    /// [`Error::Config`] if the images do not suffice or there are more classes than a label counts;
    /// [`Error::Other`] where an image cannot be read.
    pub fn new(kind: Kind, data: &Dataset, input: Shape, size: Size, seed: u64) -> Result<Self, Error> {
        let wrong = |message: String| Err(Error::Config { origin: "stream".into(), message });
        if u8::try_from(data.classes.len()).is_err() {
            return wrong(format!("{} has {} classes, at most 255 are possible", data.name, data.classes.len()));
        }
        if size.images < size.labels.max(1) || size.fixation == 0 || size.stages == 0 {
            return wrong(format!("{size:?} has no images, frames or stages, or more labels than images"));
        }
        let train = draw(&data.train, &data.classes, size.images, seed, Purpose::Stream)?;
        let test = draw(&data.test, &data.classes, size.test, seed, Purpose::HeldBack)?;
        let maker = Maker { data, frames: Frames::new(input, data)?, input, size, seed };
        let stages = match kind {
            Kind::ClassIncremental => maker.classes(&train, &test)?,
            Kind::Drift => maker.drift(&train, &test)?,
        };
        Ok(Self { kind, stages })
    }

    /// Frames that are seen, tests aside.
    pub fn frames(&self) -> usize {
        self.stages.iter().flat_map(|stage| &stage.glances).map(|glance| glance.frames.len()).sum()
    }
}

/// Images and settings for making stages.
struct Maker<'a> {
    data: &'a Dataset,
    frames: Frames,
    input: Shape,
    size: Size,
    seed: u64,
}

impl Maker<'_> {
    fn classes(&self, train: &Drawn, test: &Drawn) -> Result<Vec<Stage>, Error> {
        let mut order: Vec<usize> = (0..self.data.classes.len()).collect();
        stream(self.seed, Purpose::Stream, 1, 0).shuffle(&mut order);
        let count = self.size.images;
        let stage = |class: usize| {
            let told = |at: usize| evenly(at, count, self.size.labels);
            let glances = train.classes[class].iter().enumerate();
            let glances = glances.map(|(at, image)| self.glance(*image, told(at), 0.0)).collect::<Result<_, _>>()?;
            let test = test.classes[class].iter().map(|image| self.example(*image, 0.0)).collect::<Result<_, _>>()?;
            Ok(Stage { name: self.data.classes[class].clone(), glances, test })
        };
        order.into_iter().map(stage).collect()
    }

    fn drift(&self, train: &Drawn, test: &Drawn) -> Result<Vec<Stage>, Error> {
        let (size, classes) = (self.size, train.classes.len());
        let part = size.images / size.stages;
        if part < size.labels.max(size.more_labels).max(1) {
            let message = format!("{part} images of a class in each of {} stages are too few", size.stages);
            return Err(Error::Config { origin: "stream".into(), message });
        }
        let all = (part * size.stages * classes).saturating_sub(1).max(1) as f32;
        let stage = |stage: usize| {
            let labels = if stage == 0 { size.labels } else { size.more_labels };
            // An image's number within its class decides if its label is given; then all classes are mixed.
            let of_class = |images: &Vec<usize>| {
                let images = images[stage * part..(stage + 1) * part].iter().enumerate();
                images.map(|(at, image)| (*image, evenly(at, part, labels))).collect::<Vec<_>>()
            };
            let mut seen: Vec<(usize, bool)> = train.classes.iter().flat_map(of_class).collect();
            stream(self.seed, Purpose::Stream, 2, stage as u64).shuffle(&mut seen);
            let first = stage * part * classes;
            let glances = seen.into_iter().enumerate();
            let glances = glances.map(|(at, (image, told))| self.glance(image, told, (first + at) as f32 / all));
            let middle = (stage as f32 + 0.5) / size.stages as f32;
            let examples = test.classes.iter().flatten().map(|image| self.example(*image, middle));
            Ok(Stage {
                name: format!("{} %", (100.0 * middle).round()),
                glances: glances.collect::<Result<_, Error>>()?,
                test: examples.collect::<Result<_, Error>>()?,
            })
        };
        (0..size.stages).map(stage).collect()
    }

    /// The views of a training image.
    fn glance(&self, image: usize, told: bool, severity: f32) -> Result<Glance, Error> {
        let mut pixels = Vec::new();
        let shape = self.data.train.read(image, &mut pixels)?;
        let mut rng = stream(self.seed, Purpose::Fixation, 0, image as u64);
        let conditions = Conditions::at(severity);
        let view = |_| {
            let view = self.frames.view(&pixels, shape, &mut rng)?;
            Ok(conditions.apply(&view, self.input, &mut rng)?)
        };
        let frames = (0..self.size.fixation).map(view).collect::<Result<_, Error>>()?;
        // Counted above.
        let class = self.data.train.label(image) as u8;
        Ok(Glance { image, class, label: told.then_some(class), frames })
    }

    /// A whole test image.
    fn example(&self, image: usize, severity: f32) -> Result<Example, Error> {
        let mut pixels = Vec::new();
        let shape = self.data.test.read(image, &mut pixels)?;
        let whole = self.frames.whole(&pixels, shape)?;
        let mut rng = stream(self.seed, Purpose::HeldBack, 1, image as u64);
        let frame = Conditions::at(severity).apply(&whole, self.input, &mut rng)?;
        Ok(Example { frame, class: self.data.test.label(image) as u8 })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clapp_data::data::generated;
    use std::collections::HashSet;

    const SIZE: Size = Size { images: 12, fixation: 3, labels: 4, stages: 3, more_labels: 1, test: 2 };
    const INPUT: Shape = Shape::new(1, 32, 32);

    fn make(kind: Kind, seed: u64) -> Stream {
        Stream::new(kind, &generated::shapes(3, 200, 40), INPUT, SIZE, seed).unwrap()
    }

    fn glances(stream: &Stream) -> impl Iterator<Item = &Glance> {
        stream.stages.iter().flat_map(|stage| &stage.glances)
    }

    #[test]
    fn no_image_comes_twice_and_no_class_comes_back() {
        let stream = make(Kind::ClassIncremental, 1);
        assert_eq!((stream.stages.len(), stream.frames()), (10, 10 * 12 * 3));
        let images: HashSet<usize> = glances(&stream).map(|glance| glance.image).collect();
        assert_eq!(images.len(), 120);
        let mut gone = HashSet::new();
        let mut before = None;
        for glance in glances(&stream) {
            if before != Some(glance.class) {
                assert!(gone.insert(glance.class), "class {} comes back", glance.class);
                before = Some(glance.class);
            }
        }
        assert_eq!(gone.len(), 10);
        for stage in &stream.stages {
            assert_eq!(stage.glances.len(), 12);
            assert_eq!(stage.test.len(), 2);
            assert!(stage.test.iter().all(|example| example.class == stage.glances[0].class));
            // Told as the class appears, and then now and again.
            let told: Vec<bool> = stage.glances.iter().map(|glance| glance.label.is_some()).collect();
            assert_eq!(told, [true, false, false].repeat(4));
        }
        assert!(glances(&stream).all(|glance| glance.label.is_none_or(|label| label == glance.class)));
    }

    #[test]
    fn a_drift_has_all_classes_in_every_stage_and_grows() {
        let stream = make(Kind::Drift, 1);
        assert_eq!((stream.stages.len(), stream.frames()), (3, 120 * 3));
        let images: HashSet<usize> = glances(&stream).map(|glance| glance.image).collect();
        assert_eq!(images.len(), 120);
        for (at, stage) in stream.stages.iter().enumerate() {
            for class in 0..10 {
                let of_class = stage.glances.iter().filter(|glance| glance.class == class);
                assert_eq!(of_class.clone().count(), 4);
                let told = of_class.filter(|glance| glance.label == Some(class)).count();
                assert_eq!(told, if at == 0 { 4 } else { 1 });
                assert_eq!(stage.test.iter().filter(|example| example.class == class).count(), 2);
            }
        }
        // The same test images all the way, ever further from what they were.
        let [first, middle, last] = [0, 1, 2].map(|stage: usize| &stream.stages[stage].test[5].frame);
        let apart = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
        assert!(apart(first, middle) > 0 && apart(first, last) > apart(first, middle));
        assert_eq!(stream.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>(), ["17 %", "50 %", "83 %"]);
    }

    #[test]
    fn a_stream_follows_from_its_seed() {
        for kind in [Kind::ClassIncremental, Kind::Drift] {
            assert_eq!(make(kind, 1), make(kind, 1));
            assert_ne!(make(kind, 1), make(kind, 2));
        }
    }

    #[test]
    fn frames_of_a_glance_are_other_views_of_one_image() {
        for glance in glances(&make(Kind::ClassIncremental, 1)) {
            assert_eq!(glance.frames.len(), 3);
            assert!(glance.frames.iter().all(|frame| frame.len() == INPUT.len()));
            assert!(glance.frames[0] != glance.frames[1] && glance.frames[1] != glance.frames[2]);
        }
    }

    #[test]
    fn images_outside_the_stream_are_others() {
        let data = generated::shapes(3, 200, 40);
        let drawn = draw(&data.train, &data.classes, SIZE.images, 1, Purpose::Stream).unwrap();
        let seen: HashSet<usize> = glances(&make(Kind::ClassIncremental, 1)).map(|glance| glance.image).collect();
        assert_eq!(drawn.rest.len(), 80);
        assert!(drawn.rest.iter().all(|image| !seen.contains(image)));
        assert_eq!(drawn.classes.iter().flatten().copied().collect::<HashSet<_>>(), seen);
    }

    #[test]
    fn sets_that_do_not_suffice_are_refused() {
        let refused = |train: usize, test: usize, size: Size, part: &str| {
            let data = generated::shapes(3, train, test);
            for kind in [Kind::ClassIncremental, Kind::Drift] {
                let error = Stream::new(kind, &data, INPUT, size, 1).unwrap_err();
                assert!(error.to_string().contains(part) && error.exit_code() == 2, "{error}");
            }
        };
        refused(119, 40, SIZE, "has 11 images, but 12 are needed");
        refused(120, 19, SIZE, "has 1 image, but 2 are needed");
        refused(120, 20, Size { labels: 13, ..SIZE }, "more labels than images");
        refused(120, 20, Size { fixation: 0, ..SIZE }, "no images, frames or stages");
        let data = generated::shapes(3, 120, 20);
        let error = Stream::new(Kind::Drift, &data, INPUT, Size { labels: 5, ..SIZE }, 1).unwrap_err();
        assert!(error.to_string().contains("4 images of a class in each of 3 stages are too few"), "{error}");
    }
}
