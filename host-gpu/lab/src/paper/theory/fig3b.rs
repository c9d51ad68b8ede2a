//! Figure 3b: agreement of local losses with back-propagation in a trained network with ReLUs (docs/paper.md 6.6).

use super::conditions::{self, COLUMNS, Measured, NETWORK, Networks, Spread, listed};
use super::fig2::{BATCH, RIDGE};
use super::grey::{Grey, Images, PATCH_VALUES, Part};
use crate::draw::{Axis, Figure, Kind, Panel, Point, Series};
use crate::paper::{Claim, Finding, Setting};
use crate::theory::align::{Agreement, Losses};
use crate::theory::contrast::Contrast;
use crate::theory::net::Net;
use crate::theory::optimum::Rule;
use crate::theory::training::{Feedback, Training, rate};
use crate::theory::weights::uniform;
use clapp_data::error::Error;
use clapp_data::rng::{Purpose, stream};
use indicatif::ProgressBar;
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

const PROJECTIONS: u64 = 0x280;
const ORDER: u64 = 0x281;
/// Networks that are trained, each in all ways; the figure is of the first.
const NETWORKS: u64 = 3;
/// Standard deviations of an error bar (docs/paper.md 6.2).
const DEVIATIONS: f64 = 1.96;
/// Ways to learn, from the one that is to agree best.
const WAYS: [(&str, Feedback); 4] = [
    ("direct feedback, matched", Feedback::Matched),
    ("direct feedback", Feedback::Direct),
    ("lateral", Feedback::Lateral),
    ("direct feedback, frozen", Feedback::Frozen),
];

/// Amount of training.
#[derive(Debug, Clone, Copy)]
struct Size {
    layers: usize,
    width: usize,
    /// Images to train on.
    train: usize,
    /// Images on which agreement is measured.
    test: usize,
    epochs: usize,
    /// Epochs from one measurement to the next.
    every: usize,
    /// Rate of the first epoch.
    first_rate: f64,
    /// Rate at the end.
    last_rate: f64,
}

const PAPER: Size = Size {
    layers: 6,
    width: 512,
    train: 60_000,
    test: 10_000,
    epochs: 20,
    every: 1,
    first_rate: 5e-5,
    last_rate: 1e-5,
};
const REDUCED: Size =
    Size { layers: 6, width: 192, train: 1536, test: 640, epochs: 24, every: 4, first_rate: 2e-4, last_rate: 4e-5 };

/// Agreements on the test batches after so many epochs.
type Course = Vec<(usize, Vec<Vec<Agreement>>)>;

/// Layers with uniform weights and biases, as PyTorch's begin, and a ReLU after each.
fn network(size: &Size, seed: u64, number: u64) -> Net {
    let rng = &mut stream(seed, Purpose::Theory, NETWORK + 5, number);
    let mut net = Net::dense(PATCH_VALUES, &vec![size.width; size.layers], true, |_, outputs, inputs| {
        uniform(outputs, inputs, rng)
    });
    for layer in &mut net.layers {
        let bound = 1.0 / (layer.geometry.window() as f64).sqrt();
        let bias = |_, _| bound * (2.0 * rng.unit_f64() - 1.0);
        layer.biases = Some(DVector::from_fn(layer.channels(), bias));
    }
    net
}

/// Trains a network in one way and measures it on the way.
fn train(
    size: &Size,
    (seed, number): (u64, u64),
    feedback: Feedback,
    images: &Images,
    tests: &[DMatrix<f64>],
    mut each_step: impl FnMut() -> Result<(), Error>,
) -> Result<Course, Error> {
    let pools = vec![1; size.layers];
    let losses = Losses {
        contrast: Contrast::SoftHinge,
        ridge: RIDGE,
        context: feedback.context(),
        pools,
        rule: Rule::Reference,
    };
    let rng = &mut stream(seed, Purpose::Theory, PROJECTIONS, number);
    let mut training = Training::new(&network(size, seed, number), losses, feedback, rng);
    let measure = |training: &Training| tests.par_iter().map(|batch| training.agreements(batch)).collect();
    let mut course = vec![(0, measure(&training))];
    for epoch in 0..size.epochs {
        let mut order: Vec<usize> = (0..images.len()).collect();
        stream(seed, Purpose::Theory, ORDER, (number << 32) + epoch as u64).shuffle(&mut order);
        for batch in order.chunks_exact(BATCH) {
            each_step()?;
            training.step(&images.patches(batch), rate(size.first_rate, size.last_rate, epoch, size.epochs));
        }
        if (epoch + 1) % size.every == 0 || epoch + 1 == size.epochs {
            course.push((epoch + 1, measure(&training)));
        }
    }
    Ok(course)
}

/// Trains all networks in all ways at once: of each network, the courses in the order of [`WAYS`].
fn courses(setting: &Setting, size: &Size, images: &Images, tests: &[DMatrix<f64>]) -> Result<Vec<Vec<Course>>, Error> {
    let steps = NETWORKS as usize * WAYS.len() * size.epochs * (images.len() / BATCH);
    let bar: ProgressBar = setting.bar("fig3b", steps as u64);
    let each_step = || {
        bar.inc(1);
        setting.check_stop()
    };
    let pieces: Vec<(u64, Feedback)> =
        (0..NETWORKS).flat_map(|network| WAYS.map(|(_, feedback)| (network, feedback))).collect();
    let of_piece = |&(network, feedback): &(u64, Feedback)| {
        train(size, (setting.seed, network), feedback, images, tests, each_step)
    };
    let courses = pieces.par_iter().map(of_piece).collect::<Result<Vec<Course>, Error>>();
    bar.finish_and_clear();
    Ok(courses?.chunks(WAYS.len()).map(<[Course]>::to_vec).collect())
}

/// Runs the experiment.
///
/// # Errors
/// If an image cannot be read, there are too few, or the user has stopped the work.
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let mut finding = Finding::new(
        "fig3b",
        "Local losses in a trained network with ReLUs",
        "Figure 3b",
        "Six layers with biases and ReLUs learn from patches of 14x14 pixels by local losses, all weights and projections at \
         once. Then the gradient of each layer's own loss, with the projections that it has learnt, is held against the \
         back-propagated gradient of the loss at the top, on images that were held back.",
    );
    let size = if setting.full { PAPER } else { REDUCED };
    let grey = Grey::of(setting);
    grey.say(&mut finding);
    let [images, tests] =
        [(Part::Train, size.train), (Part::Test, size.test)].map(|(part, count)| grey.images(part, count));
    let (images, tests) = (images?, tests?);
    if images.len() < BATCH || tests.len() < BATCH {
        let message = format!("{} training and {} test images, expected {BATCH} or more", images.len(), tests.len());
        return Err(Error::Config { origin: "--data".into(), message });
    }
    // A last batch of one image has rows whose negatives are their partners: left out.
    let batches = (0..tests.len()).collect::<Vec<_>>();
    let batches: Vec<_> =
        batches.chunks(BATCH).filter(|batch| batch.len() > 1).map(|batch| tests.patches(batch)).collect();
    finding.set("network", format!("196 -> {} x {}, ReLU, with biases", size.width, size.layers));
    finding.set("loss", "softhinge, lambda 0.01, ring negatives");
    finding.set("training images", images.len());
    finding.set("epochs", format!("{}, batches of {BATCH} images", size.epochs));
    finding.set("Adam's rate", format!("{:e} to {:e} along a cosine", size.first_rate, size.last_rate));
    finding.set("measured on", format!("{} batches of the test images", batches.len()));
    let courses = courses(setting, &size, &images, &batches)?;
    let ends = |courses: &Vec<Course>| {
        let end = |((name, _), course): (&(&'static str, Feedback), &Course)| {
            course.last().map(|(_, agreements)| Measured::new(name, agreements.clone()))
        };
        WAYS.iter().zip(courses).filter_map(end).collect::<Vec<Measured>>()
    };
    let networks = Networks::new(courses.iter().map(ends).collect());
    networks.say(&mut finding);
    claims(&mut finding, &networks);
    finding.figures.push(figure(&size, networks.first(), &courses[0], batches.len()));
    let caption = format!("Agreement after training, by way to learn and layer. {COLUMNS}");
    finding.tables.push(conditions::table("fig3b", &caption, networks.first()));
    finding.tables.push(networks.table("fig3b-networks", "The same"));
    if !setting.full {
        finding.notes.push(format!(
            "The paper trains {} units a layer on all of MNIST for {} epochs; this is smaller, with a rate to match. The \
             numbers of its curve are not published; its order is what is claimed.",
            PAPER.width, PAPER.epochs
        ));
    }
    finding.notes.push(
        "Matched projections follow the gradient of the squared distance between the local and the back-propagated error \
         alone, without ridge; weights and the top's projections learn as with direct feedback."
            .into(),
    );
    Ok(finding)
}

/// Cosine below the top, mean over layers.
fn below_top(curve: &Measured) -> Vec<f64> {
    curve.below_top(|agreement| agreement.cosine)
}

fn claims(finding: &mut Finding, networks: &Networks) {
    for (better, pair) in networks.first().windows(2).enumerate() {
        let gain = networks.gain(better, better + 1, |agreement| agreement.cosine);
        let [high, low] = [better, better + 1].map(|way| networks.layers(way, |agreement| agreement.cosine));
        let claim = Claim::new(
            format!(
                "Figure 3b: after training, gradients agree better for `{}` than for `{}` (mean cosine of the layers below \
                 the top)",
                pair[0].name, pair[1].name
            ),
            gain.exceeds(0.0),
            format!("difference {:.3} ± {:.3}; {} and {}", gain.mean, gain.sure(), listed(&high), listed(&low)),
        );
        finding.claims.push(claim.number(format!("cosine {:+.3}", gain.mean)));
    }
}

fn figure(size: &Size, ends: &[Measured], courses: &[Course], batches: usize) -> Figure {
    let cosine = "cosine, local to back-propagated gradient";
    let layers = |curve: &Measured| {
        let points: Vec<_> =
            curve.cosines().iter().map(|spread| (spread.mean, Some(spread.error_of(DEVIATIONS)))).collect();
        Series::by_layer(curve.name, &points)
    };
    let course = |((name, _), course): (&(&'static str, Feedback), &Course)| {
        let point = |(epoch, agreements): &(usize, Vec<Vec<Agreement>>)| {
            let spread = Spread::of(&below_top(&Measured::new(name, agreements.clone())));
            Point { error: Some(spread.error_of(DEVIATIONS)), ..Point::new(*epoch as f64, spread.mean) }
        };
        Series::new(name, course.iter().map(point).collect())
    };
    let panels = vec![
        Panel {
            title: "after training".into(),
            kind: Kind::Lines,
            x: Axis::layers(size.layers),
            y: Axis::between(cosine, -0.05, 1.05),
            series: ends.iter().map(layers).collect(),
        },
        Panel {
            title: "mean of the layers below the top".into(),
            kind: Kind::Lines,
            x: Axis::new("epoch"),
            y: Axis::between(cosine, -0.05, 1.05),
            series: WAYS.iter().zip(courses).map(course).collect(),
        },
    ];
    let caption = format!(
        "Cosine between local and back-propagated gradients by layer after training, and of the layers below the top while \
         training. Error bars: {DEVIATIONS} standard deviations over {batches} batches, divided by the root of their number."
    );
    Figure::new("fig3b", &caption, panels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_data::data::generated;

    #[test]
    fn th10_agreement_after_training_is_in_the_papers_order() {
        let size = Size {
            layers: 4,
            width: 64,
            train: 512,
            test: 128,
            epochs: 24,
            every: 24,
            first_rate: 5e-4,
            last_rate: 1e-4,
        };
        let grey = Grey::in_grey(generated::shapes(1, size.train, size.test));
        let images = grey.images(Part::Train, size.train).unwrap();
        let tests = grey.images(Part::Test, size.test).unwrap();
        let batches: Vec<_> =
            (0..size.test).collect::<Vec<_>>().chunks(BATCH).map(|batch| tests.patches(batch)).collect();
        let of_way = |(name, feedback): &(&'static str, Feedback)| {
            let course = train(&size, (1, 0), *feedback, &images, &batches, || Ok(())).unwrap();
            let cosines = |at: usize| Spread::of(&below_top(&Measured::new(name, course[at].1.clone()))).mean;
            assert!(cosines(0).abs() < 0.1, "{name} at the start: {}", cosines(0));
            cosines(1)
        };
        let found: Vec<f64> = WAYS.par_iter().map(of_way).collect();
        let [matched, direct, lateral, frozen] = found[..] else { panic!("{found:?}") };
        assert!(matched >= direct + 0.03 && direct >= frozen + 0.03 && direct >= lateral + 0.03, "{found:?}");
    }
}
