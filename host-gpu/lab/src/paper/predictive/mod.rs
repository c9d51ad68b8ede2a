//! Predictive coding: near back-propagation where it must be, on a supervised task, and on the self-supervised loss.

mod collapse;
mod encoders;
mod inference;
mod supervised;
mod taught;

use super::accuracy::{self, Accuracy};
use super::{Claim, Finding, Setting};
use clapp_data::error::Error;
use clapp_engine::config::RuleName;
use clapp_engine::step::relax::Inference;
use clapp_engine::step::relax::Relaxation;
use clapp_engine::trainer::initial_values;
use encoders::Encoder;
use inference::{Limit, Rest};

/// Inference with errors that are small.
const SMALL: Relaxation = Relaxation { weight: 0.01, ..Relaxation::DEFAULT };

/// The classical inference, at the rate and with the iterations that it is trained with.
const BY_ACTIVITIES: Relaxation = Relaxation { by: Inference::Activities, iterations: 8, rate: 0.5, weight: 1.0 };

/// Runs the experiment.
///
/// # Errors
/// Same as its encoders.
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let data = setting.colour();
    let mut finding = Finding::new(
        "predictive-coding",
        "Predictive coding on the self-supervised loss",
        "the comparison with predictive coding",
        "Predictive coding as this project has it is held against back-propagation in three ways: by its gradients where the \
         loss weighs little, by a supervised task, and on the loss of BP-CLAPP++, where the paper reports that it fails to \
         learn useful representations. Its activities relax on the energy either by descent on the prediction errors \
         (Goemaere et al. 2025) or by the classical descent on the activities; where they rest is the same.",
    );
    let words = |Relaxation { iterations, rate, .. }: Relaxation| format!("{iterations} iterations at rate {rate}");
    finding.set("inference by the errors", words(Relaxation::default()));
    finding.set("inference by the activities", words(BY_ACTIVITIES));
    let weights = [Relaxation::default().weight, SMALL.weight].map(|weight| weight.to_string());
    finding.set("weight of a row's loss", format!("{}, or {} where small", weights[0], weights[1]));
    let size = encoders::size(setting, RuleName::PredictiveCoding)?;
    let images = size.images.map_or(data.pretrain.len(), |images| images.min(data.pretrain.len()));
    finding.set("data", format!("{}, {images} training images, {} test images", data.name, data.test.len()));
    finding.set("network", format!("VGG-6 at width {}", size.width));
    finding.set("training", format!("{} epochs in batches of {}", size.epochs, size.batch));
    let first = initial_values(&size)?;
    let taught = taught::taught(setting, &data)?;
    finding.set("supervised task", &taught.size);
    let (encoders, back) = encoders::encoders(setting, &data)?;
    let limits = [inference::limit(setting, &data, &first)?, inference::limit(setting, &data, &back)?];
    let rest = inference::rest(setting, &data, &back)?;
    finding.claims = claims(&limits, &rest, &taught.all, &encoders);
    finding.tables = vec![taught.table(), encoders::table(&encoders)];
    finding.figures = vec![inference::figure(&limits, &rest)];
    finding.notes = vec![
        "The paper gives no numbers, no inference and no code for its predictive coding, so nothing of it could be taken \
         but the loss. Where predictive coding is at rest and the loss weighs little, it is back-propagation; what can go \
         wrong is an inference that stops before errors have reached the lower layers, or errors that are large. How \
         little is little changes while the network learns: the larger the derivatives of its blocks, the farther a \
         loss of the same weight moves the activities."
            .into(),
        format!("On the self-supervised loss: {}", accuracy::note(encoders::spread(&encoders))),
        "On the supervised task predictive coding by the errors has the small weight. Ways are compared by pairs of the same \
         seed, which begin with the same weights and see the same images in the same order."
            .into(),
    ];
    Ok(finding)
}

fn claims(limits: &[Limit; 2], rest: &Rest, taught: &[Accuracy], encoders: &[Encoder]) -> Vec<Claim> {
    let mut claims = vec![inference::claim_limit(limits)];
    claims.extend(inference::claim_rest(rest));
    claims.extend(taught::claims(taught));
    claims.extend(encoders::claims(encoders));
    claims
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper::Verdict;
    use collapse::Measures;
    use inference::ITERATIONS;

    #[test]
    fn verdicts_follow_the_numbers() {
        let accuracy = |name, seeds: &[f64]| Accuracy { name, seeds: seeds.to_vec(), images: 10_000 };
        let top = || Measures { norm: 1.0, likeness: 0.5, dimensions: 3.0, constant: 0.0 };
        let encoder = |seeds: &[f64]| Encoder { accuracy: accuracy("rule", seeds), top: top() };
        let limit: Limit = vec![(1.0, vec![0.9, 0.8]), (0.1, vec![0.999, 0.995])];
        let counts = |cosine: f64| ITERATIONS.map(|iterations| (iterations, vec![cosine, 1.0])).to_vec();
        let rest = vec![(Inference::Errors, counts(0.999)), (Inference::Activities, counts(0.4))];
        let taught =
            [accuracy("bp", &[0.40, 0.45]), accuracy("errors", &[0.40, 0.45]), accuracy("activities", &[0.30, 0.35])];
        let of = |seeds: &[&[f64]]| seeds.iter().map(|seeds| encoder(seeds)).collect::<Vec<_>>();
        let encoders = of(&[&[0.40, 0.41], &[0.45], &[0.45], &[0.40], &[0.45, 0.45]]);
        let verdicts = |limits: &[Limit; 2], rest, encoders: &[Encoder]| {
            claims(limits, rest, &taught, encoders).iter().map(|claim| claim.verdict).collect::<Vec<_>>()
        };
        use Verdict::{Failed, Held, Open};
        // Seeds differ by half a point, known with two degrees of freedom: half a point is not enough, 5 are.
        let limits = [limit.clone(), limit.clone()];
        let all = [Held, Held, Held, Failed, Failed, Failed, Open, Open];
        assert_eq!(verdicts(&limits, &rest, &encoders), all);
        let other = vec![(Inference::Errors, counts(0.98)), (Inference::Activities, counts(0.4))];
        let limits = [limit.clone(), limit[..1].to_vec()];
        assert_eq!(verdicts(&limits, &other, &encoders)[..2], [Failed, Failed]);
        let finding = Finding {
            tables: vec![encoders::table(&encoders)],
            figures: vec![inference::figure(&limits, &rest)],
            ..Finding::new("predictive-coding", "", "", "")
        };
        finding.check(std::path::Path::new("")).unwrap();
    }
}
