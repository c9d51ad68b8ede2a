//! Figure 3a: direct feedback where the layers get narrower (docs/paper.md 6.4).

use super::conditions::{self, COLUMNS, Condition, Measured, NETWORK, Networks, Spread, listed, measure};
use super::fig2::{BATCH, BATCHES, RIDGE, batches};
use super::grey::{Grey, PATCH_VALUES};
use crate::draw::{Axis, Figure, Kind, Panel};
use crate::paper::{Claim, Finding, Setting, Verdict};
use crate::theory::align::{Agreement, Context, Losses};
use crate::theory::certificates::gaussian_pairs;
use crate::theory::contrast::Contrast;
use crate::theory::net::Net;
use crate::theory::optimum::Rule;
use crate::theory::weights::orthogonal;
use clapp_data::error::Error;
use clapp_data::rng::{Purpose, stream};

const WIDTHS: [usize; 6] = [128, 64, 32, 16, 8, 4];

/// Number of the first of softhinge's two conditions.
const SOFTHINGE: usize = 2;
/// Random streams of pairs that are no images.
const NOISE: u64 = 0x2c0;
/// Batches of such pairs.
const NOISE_BATCHES: u64 = 8;

/// The conditions of the figure: lateral and direct feedback, with the linear contrast, then with softhinge.
fn conditions(seed: u64, network: u64) -> Vec<Condition> {
    let of = |name, contrast, context| {
        let rng = &mut stream(seed, Purpose::Theory, NETWORK + 3, network);
        let net = Net::dense(PATCH_VALUES, &WIDTHS, false, |_, outputs, inputs| orthogonal(outputs, inputs, rng));
        let pools = vec![1; WIDTHS.len()];
        Condition {
            name,
            net,
            losses: Losses { contrast, ridge: RIDGE, context, pools, rule: Rule::Reference },
            random: false,
        }
    };
    vec![
        of("linear, lateral", Contrast::Linear, Context::Lateral),
        of("linear, direct feedback", Contrast::Linear, Context::Feedback),
        of("softhinge, lateral", Contrast::SoftHinge, Context::Lateral),
        of("softhinge, direct feedback", Contrast::SoftHinge, Context::Feedback),
    ]
}

/// Runs the experiment.
///
/// # Errors
/// Same as [`measure`].
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let mut finding = Finding::new(
        "fig3a",
        "Direct feedback where layers get narrower",
        "Figure 3a",
        "As in Figure 2, with orthonormal rows as weights and layers of 128, 64, 32, 16, 8 and 4 units. The context of a \
         layer's loss is the layer's own activity (lateral) or that of the top (direct feedback).",
    );
    let grey = Grey::of(setting);
    grey.say(&mut finding);
    let batches = batches(&grey, BATCHES)?;
    finding.set("network", "196 -> 128, 64, 32, 16, 8, 4, no biases");
    finding.set("loss", "lambda 0.01, ring negatives");
    finding.set("batches", format!("{} of {BATCH} images (128 rows)", batches.len()));
    let networks = measure(setting, "fig3a", |network| conditions(setting.seed, network), &batches)?;
    networks.say(&mut finding);
    for (contrast, lateral) in [("linear", 0), ("softhinge", SOFTHINGE)] {
        claims(&mut finding, &networks, contrast, lateral, lateral + 1);
    }
    let panel = Panel {
        title: String::new(),
        kind: Kind::Lines,
        x: Axis::layers(WIDTHS.len()),
        y: Axis::between("cosine, local to back-propagated gradient", 0.0, 1.05),
        series: networks.first().iter().map(Measured::line).collect(),
    };
    let caption = format!(
        "Cosine between local and back-propagated gradients by layer. Error bars: 1.97 standard deviations over {} batches, \
         divided by the root of their number. One network; claims are judged over several.",
        batches.len()
    );
    finding.figures.push(Figure::new("fig3a", &caption, vec![panel]));
    let caption = format!("Agreement by condition and layer. {COLUMNS}");
    finding.tables.push(conditions::table("fig3a", &caption, networks.first()));
    finding.tables.push(networks.table("fig3a-networks", "The same"));
    finding.notes.push(
        "The numbers of the paper's curve are not published; its order is what is claimed. Theorem 3.3 is of distances, the \
         figure of cosines."
            .into(),
    );
    on_noise(&mut finding, setting, &networks)?;
    Ok(finding)
}

/// Measures the same networks on random pairs, as `theorem` does: whether images or widths make direct feedback farther
/// with softhinge.
fn on_noise(finding: &mut Finding, setting: &Setting, on_images: &Networks) -> Result<(), Error> {
    let batch = |number: u64| {
        gaussian_pairs(PATCH_VALUES, 2 * BATCH, &mut stream(setting.seed, Purpose::Theory, NOISE, number))
    };
    let batches: Vec<_> = (0..NOISE_BATCHES).map(batch).collect();
    let of_network = |network| conditions(setting.seed, network).split_off(SOFTHINGE);
    let networks = measure(setting, "fig3a, random pairs", of_network, &batches)?;
    finding
        .tables
        .push(networks.table("fig3a-random", "Softhinge on pairs of random inputs, the second the first with noise,"));
    let last = WIDTHS.len() - 1;
    let below = |networks: &Networks, condition: usize, number: fn(&Agreement) -> f64| {
        networks.layers(condition, number)[..last].to_vec()
    };
    let far = |networks: &Networks, lateral: usize| {
        [lateral, lateral + 1].map(|condition| below(networks, condition, |agreement| agreement.distance))
    };
    let nearer = |[lateral, direct]: &[Vec<Spread>; 2]| {
        lateral.iter().zip(direct).filter(|(lateral, direct)| direct.mean <= lateral.mean).count()
    };
    let (images, noise) = (far(on_images, SOFTHINGE), far(&networks, 0));
    let what = match (nearer(&images) < last, nearer(&noise) < last) {
        (true, false) => "So it is the images, not the widths, that make direct feedback farther",
        (false, false) => "So neither images nor widths make direct feedback farther",
        (true, true) => "So the images alone do not make direct feedback farther",
        (false, true) => "So random pairs, not images, make direct feedback farther",
    };
    let length = |condition| listed(&below(on_images, condition, |agreement| agreement.length));
    finding.notes.push(format!(
        "Softhinge, of which Theorem 3.3 may not speak: on these images direct feedback is nearer in {} of {last} layers. \
         `theorem` asks the same of narrower networks on random pairs. The networks of this figure on random pairs: nearer in \
         {} of {last} layers (distances, lateral {}, direct feedback {}). {what}. A distance of 1 is also that of no gradient \
         at all: where a layer is wide, projections alone satisfy its loss and little of the lateral gradient is left (its \
         length over that of the back-propagated one: {}; with direct feedback {}), so that a longer gradient is farther \
         even where its direction is better.",
        nearer(&images),
        nearer(&noise),
        listed(&noise[0]),
        listed(&noise[1]),
        length(SOFTHINGE),
        length(SOFTHINGE + 1)
    ));
    Ok(())
}

fn claims(finding: &mut Finding, networks: &Networks, contrast: &str, lateral: usize, direct: usize) {
    let gain = networks.gain(direct, lateral, |agreement| agreement.cosine);
    let [low, high] = [lateral, direct].map(|condition| networks.layers(condition, |agreement| agreement.cosine));
    let claim = Claim::new(
        format!(
            "Figure 3a, {contrast}: gradients agree better with direct feedback (mean cosine of the layers below the top)"
        ),
        gain.exceeds(0.0),
        format!(
            "difference {:.3} ± {:.3}; lateral {}, direct feedback {}",
            gain.mean,
            gain.sure(),
            listed(&low),
            listed(&high)
        ),
    );
    finding.claims.push(claim.number(format!("cosine {:+.3}", gain.mean)));
    let [far, near] = [lateral, direct].map(|condition| networks.layers(condition, |agreement| agreement.distance));
    let last = WIDTHS.len() - 1;
    let farther = far[..last].iter().zip(&near).map(|(lateral, direct)| direct.mean - lateral.mean);
    let farthest = farther.fold(f64::NEG_INFINITY, f64::max);
    let statement = match contrast {
        "linear" => "Theorem 3.3, linear: the gradient with direct feedback is nearer to the back-propagated one",
        _ => "The same for softhinge, of which the theorem may not speak: the gradient with direct feedback is nearer",
    };
    let claim = Claim::new(
        format!("{statement} in every layer below the top (mean over networks)"),
        Verdict::of(far[..last].iter().zip(&near).all(|(lateral, direct)| direct.mean <= lateral.mean)),
        format!("relative distances, lateral {}, direct feedback {}", listed(&far[..last]), listed(&near[..last])),
    );
    finding.claims.push(claim.number(format!("distance {farthest:+.2}")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clapp_data::data::generated;
    use rayon::prelude::*;

    #[test]
    fn th8_direct_feedback_agrees_better_with_softhinge() {
        let grey = Grey::in_grey(generated::shapes(1, 8 * BATCH, 1));
        let batches = batches(&grey, 8).unwrap();
        // A network of its own for each batch.
        let on = |condition: usize| {
            let layers = batches.par_iter().enumerate().map(|(network, batch)| {
                conditions(1, network as u64)[condition].on(batch, 1, network as u64).unwrap().0
            });
            Measured::new("", layers.collect())
        };
        let means = [2, 3].map(|condition| {
            let measured = on(condition);
            assert!((measured.cosines()[5].mean - 1.0).abs() < 1e-12);
            Spread::of(&measured.below_top(|agreement| agreement.cosine)).mean
        });
        assert!(means[1] >= means[0] + 0.01, "lateral and direct feedback {means:?}");
    }
}
