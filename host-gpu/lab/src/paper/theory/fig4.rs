//! Figure 4: spatial dependence of the loss (docs/paper.md 6.5).

use super::conditions::{self, COLUMNS, Condition, Measured, NETWORK, Networks, listed, measure};
use super::fig2::{BATCH, BATCHES};
use super::grey::{Grey, Part, VIEW};
use crate::draw::{Axis, Figure, Kind, Panel};
use crate::paper::{Claim, Finding, Setting};
use crate::theory::align::{Context, Losses};
use crate::theory::contrast::Contrast;
use crate::theory::layer::{Geometry, Layer};
use crate::theory::net::Net;
use crate::theory::optimum::Rule;
use crate::theory::weights::orthogonal;
use clapp_data::error::Error;
use clapp_data::rng::{Purpose, stream};
use nalgebra::DMatrix;

/// Channels of every layer.
const CHANNELS: usize = 32;
/// Rows and columns of each layer's maps.
const MAPS: [usize; 4] = [8, 4, 2, 1];
/// Blocks by which maps are pooled so that positions count.
const SPATIAL: [usize; 4] = [2, 1, 1, 1];
/// `lambda` of the convolutional network.
const RIDGE: f64 = 0.02;

/// Four convolutions with windows of 2x2, two pixels apart, and orthogonal weights.
fn net(seed: u64, network: u64) -> Net {
    let rng = &mut stream(seed, Purpose::Theory, NETWORK + 4, network);
    let (mut channels, mut size) = (1, VIEW);
    let mut layers = Vec::new();
    for map in MAPS {
        let geometry = Geometry { channels, height: size, width: size, kernel: 2, stride: 2, padding: 0 };
        layers.push(Layer::new(geometry, orthogonal(CHANNELS, geometry.window(), rng)));
        (channels, size) = (CHANNELS, map);
    }
    Net { layers, relu: false }
}

fn conditions(seed: u64, network: u64) -> Vec<Condition> {
    let of = |name, pools: [usize; 4], context| Condition {
        name,
        net: net(seed, network),
        losses: Losses {
            contrast: Contrast::SoftHinge,
            ridge: RIDGE,
            context,
            pools: pools.into(),
            rule: Rule::Reference,
        },
        random: false,
    };
    vec![
        of("not spatial", MAPS, Context::Lateral),
        of("spatial", SPATIAL, Context::Lateral),
        of("spatial, direct feedback", SPATIAL, Context::Feedback),
    ]
}

/// Batches of two views of a set's first training images.
fn batches(grey: &Grey, count: usize, seed: u64) -> Result<Vec<DMatrix<f64>>, Error> {
    let images = grey.images(Part::Train, count * BATCH)?;
    let numbers: Vec<usize> = (0..images.len()).collect();
    numbers.chunks_exact(BATCH).map(|batch| images.views(batch, seed)).collect()
}

/// Runs the experiment.
///
/// # Errors
/// Same as [`measure`].
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let mut finding = Finding::new(
        "fig4",
        "Losses with and without 2D spatial dependence",
        "Figure 4 (linear convolutional network)",
        "Four linear convolutions with orthogonal weights read two views of 16x16 pixels of an image. Each layer's maps are \
         averaged before its loss: to one value a channel (not spatial), or so that 4x4 positions at most are left \
         (spatial). For each batch the projections are brought to their optimum, then the gradient of each layer's loss is \
         held against the back-propagated gradient of the loss at the top.",
    );
    let grey = Grey::of(setting);
    grey.say(&mut finding);
    let batches = batches(&grey, BATCHES, setting.seed)?;
    finding.set("network", "four convolutions of 32 channels, windows 2x2, stride 2, no biases");
    finding.set("loss", "softhinge, lambda 0.02, ring negatives");
    finding.set(
        "views",
        "random crops of area 0.15 to 1 resized to 16x16, erased rectangles of area 0.04 to 0.16 in half",
    );
    finding.set("batches", format!("{} of {BATCH} images (64 rows)", batches.len()));
    let networks = measure(setting, "fig4", |network| conditions(setting.seed, network), &batches)?;
    networks.say(&mut finding);
    claims(&mut finding, &networks);
    let panel = Panel {
        title: String::new(),
        kind: Kind::Lines,
        x: Axis::layers(MAPS.len()),
        y: Axis::between("cosine, local to back-propagated gradient", -0.1, 1.05),
        series: networks.first().iter().map(Measured::line).collect(),
    };
    let caption = format!(
        "Cosine between local and back-propagated gradients by layer. Error bars: 1.97 standard deviations over {} batches, \
         divided by the root of their number.",
        batches.len()
    );
    finding.figures.push(Figure::new("fig4", &caption, vec![panel]));
    let caption = format!("Agreement by condition and layer. {COLUMNS}");
    finding.tables.push(conditions::table("fig4", &caption, networks.first()));
    finding.tables.push(networks.table("fig4-networks", "The same"));
    finding.notes.push(
        "The numbers of the paper's curve are not published; its order is what is claimed. The network with ReLUs that the \
         paper's figure shows beside this one is VGG-6, which the alignment experiment has."
            .into(),
    );
    Ok(finding)
}

fn claims(finding: &mut Finding, networks: &Networks) {
    let below = MAPS.len() - 1;
    let cosines = |condition: usize| listed(&networks.layers(condition, |agreement| agreement.cosine)[..below]);
    let mut gain = |statement: &str, better: usize, worse: usize, least: f64| {
        let gain = networks.gain(better, worse, |agreement| agreement.cosine);
        let names = [worse, better].map(|condition| networks.first()[condition].name);
        let evidence = format!(
            "difference {:.3} ± {:.3}; cosines below the top, {}: {}, {}: {}",
            gain.mean,
            gain.sure(),
            names[0],
            cosines(worse),
            names[1],
            cosines(better)
        );
        let claim = Claim::new(statement, gain.exceeds(least), evidence);
        finding.claims.push(claim.number(format!("cosine {:+.3}", gain.mean)));
    };
    gain(
        "Figure 4: with 2D spatial dependence gradients agree better (mean cosine of the layers below the top)",
        1,
        0,
        0.0,
    );
    gain(
        "Figure 4: with direct feedback besides, they agree no worse (mean cosine, less than 0.02 lower)",
        2,
        1,
        -0.02,
    );
    let distances = |condition: usize| listed(&networks.layers(condition, |agreement| agreement.distance)[..below]);
    // Nearer is less far.
    let nearer = networks.gain(1, 2, |agreement| agreement.distance);
    let claim = Claim::new(
        "With direct feedback besides, gradients are nearer to the back-propagated ones (mean relative distance of the layers \
         below the top)",
        nearer.exceeds(0.0),
        format!(
            "nearer by {:.3} ± {:.3}; relative distances, spatial: {}, with direct feedback: {}",
            nearer.mean,
            nearer.sure(),
            distances(1),
            distances(2)
        ),
    );
    finding.claims.push(claim.number(format!("distance {:+.3}", -nearer.mean)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper::theory::conditions::Spread;
    use clapp_data::data::generated;

    #[test]
    fn th9_gradients_agree_better_with_spatial_dependence() {
        let grey = Grey::in_grey(generated::shapes(1, 4 * BATCH, 1));
        let batches = batches(&grey, 4, 1).unwrap();
        // A network of its own for each batch.
        let on = |condition: usize| {
            let layers = batches.iter().enumerate().map(|(network, batch)| {
                conditions(1, network as u64)[condition].on(batch, 1, network as u64).unwrap().0
            });
            Measured::new("", layers.collect())
        };
        let means = [0, 1].map(|condition| {
            let measured = on(condition);
            assert!((measured.cosines()[3].mean - 1.0).abs() < 1e-12);
            Spread::of(&measured.below_top(|agreement| agreement.cosine)).mean
        });
        assert!(means[1] >= means[0] + 0.05, "not spatial and spatial {means:?}");
    }
}
