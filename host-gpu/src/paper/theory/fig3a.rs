//! Figure 3a: direct feedback where the layers get narrower (spec 6.4).

use super::conditions::{self, COLUMNS, Condition, Measured, NETWORK, Networks, listed, measure};
use super::fig2::{BATCH, BATCHES, RIDGE, batches};
use super::grey::{Grey, PATCH_VALUES};
use crate::error::Error;
use crate::paper::figure::{Axis, Figure, Kind, Panel};
use crate::paper::{Claim, Finding, Setting, Verdict};
use crate::rng::{Purpose, stream};
use crate::theory::align::{Context, Losses};
use crate::theory::contrast::Contrast;
use crate::theory::net::Net;
use crate::theory::optimum::Rule;
use crate::theory::weights::orthogonal;

const WIDTHS: [usize; 6] = [128, 64, 32, 16, 8, 4];

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
/// As [`measure`].
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
    for (contrast, lateral) in [("linear", 0), ("softhinge", 2)] {
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
         divided by the root of their number.",
        batches.len()
    );
    finding.figures.push(Figure::new("fig3a", &caption, vec![panel]));
    let caption = format!("Agreement by condition and layer. {COLUMNS}");
    finding.tables.push(conditions::table("fig3a", &caption, networks.first()));
    finding.tables.push(networks.table("fig3a-networks"));
    finding.notes.push(
        "The numbers of the paper's curve are not published; its order is what is claimed. Theorem 3.3 is of distances, the \
         figure of cosines."
            .into(),
    );
    finding.notes.push(
        "For softhinge, of which Theorem 3.3 may not speak, `theorem` finds direct feedback nearer in all of its networks. Its \
         inputs are random and its networks narrower; these are patches of images. Which of the two makes the difference \
         was not looked into."
            .into(),
    );
    Ok(finding)
}

fn claims(finding: &mut Finding, networks: &Networks, contrast: &str, lateral: usize, direct: usize) {
    let gain = networks.gain(direct, lateral, |agreement| agreement.cosine);
    let [low, high] = [lateral, direct].map(|condition| networks.layers(condition, |agreement| agreement.cosine));
    finding.claims.push(Claim::new(
        format!("Figure 3a, {contrast}: gradients agree better with direct feedback (mean cosine of the layers below the top)"),
        gain.exceeds(0.0),
        format!(
            "difference {:.3} ± {:.3}; lateral {}, direct feedback {}",
            gain.mean,
            gain.sure(),
            listed(&low),
            listed(&high)
        ),
    ));
    let [far, near] = [lateral, direct].map(|condition| networks.layers(condition, |agreement| agreement.distance));
    let last = WIDTHS.len() - 1;
    let statement = match contrast {
        "linear" => "Theorem 3.3, linear: the gradient with direct feedback is nearer to the back-propagated one",
        _ => "The same for softhinge, of which the theorem may not speak: the gradient with direct feedback is nearer",
    };
    finding.claims.push(Claim::new(
        format!("{statement} in every layer below the top (mean over networks)"),
        Verdict::of(far[..last].iter().zip(&near).all(|(lateral, direct)| direct.mean <= lateral.mean)),
        format!("relative distances, lateral {}, direct feedback {}", listed(&far[..last]), listed(&near[..last])),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::generated;
    use crate::paper::theory::conditions::Spread;
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
