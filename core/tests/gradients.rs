//! Activity, scores, gradients and updates against the plain reference, on random networks.

#![cfg(not(feature = "micromath"))] // The reference is exact.
#![allow(clippy::unwrap_used, reason = "a test that fails here has found something")]

mod reference;

use clapp_core::contrast::{Phase, has_separate_terms};
use clapp_core::guard::Guard;
use clapp_core::learner::{Batch, ring_negatives, uniform_negatives};
use clapp_core::network::Projection;
use clapp_core::observer::Outcome;
use clapp_core::optimizer::Optimizer;
use proptest::prelude::*;
use reference::run::{Memory, Seen};
use reference::{Case, Contexts, Lesson, Numbers, Task, Weights, case, distance, forward, learn, wide};

/// Closer than this to a kink, single and double precision may take different sides.
const MARGIN: f64 = 1e-4;

fn config() -> ProptestConfig {
    ProptestConfig { cases: 300, max_global_rejects: 20_000, failure_persistence: None, ..ProptestConfig::default() }
}

/// All layers' lessons of a batch, in double precision.
fn lessons(case: &Case, parameters: &[f32], frames: &[f32], task: &Task) -> Vec<Lesson> {
    let network = case.network();
    let parameters = wide(parameters);
    let mut inputs: Vec<Vec<f64>> = frames.chunks(network.input().len()).map(wide).collect();
    let mut all_inputs = Vec::new();
    let mut top = Vec::new();
    for index in 0..network.layer_count() {
        let layer = network.layer(index).unwrap();
        let weights = Weights::of(&network, &layer, &parameters);
        let rows: Vec<_> = inputs.iter().map(|input| forward(&layer, &weights, input)).collect();
        top = rows.iter().map(|row| row.pooled.clone()).collect();
        all_inputs.push(inputs);
        inputs = rows.into_iter().map(|row| row.output).collect();
    }
    let contexts = Contexts { same: None, top };
    (0..network.layer_count())
        .map(|index| {
            let layer = network.layer(index).unwrap();
            let weights = Weights::of(&network, &layer, &parameters);
            learn(&network, &layer, &weights, &all_inputs[index], &contexts, task)
        })
        .collect()
}

/// Frames and task of a batch of 2 or 3 pairs.
fn batch(case: &Case, numbers: &mut Numbers) -> (Vec<f32>, Vec<u32>, Option<Vec<bool>>, usize) {
    let pairs = 2 + case.seed as usize % 2;
    let rows = 2 * pairs;
    let per_row = 1 + (case.seed >> 8) as usize % 3;
    let frames = numbers.vec(rows * case.network().input().len(), 1.0);
    let mut negatives = vec![0; rows * per_row];
    if case.seed >> 16 & 1 == 0 {
        ring_negatives(&mut negatives, rows);
    } else {
        uniform_negatives(&mut negatives, rows, || numbers.bits());
    }
    let masks = case.seed >> 17 & 1 == 0 && has_separate_terms(case.rule.contrast);
    let keep = masks.then(|| (0..rows).map(|_| numbers.bits() & 1 == 0).collect());
    (frames, negatives, keep, per_row)
}

proptest! {
    #![proptest_config(config())]

    /// The reference itself: its gradient is that of its loss.
    #[test]
    fn reference_gradient_agrees_with_finite_differences(case in case()) {
        let mut numbers = Numbers::new(case.seed);
        let parameters = case.parameters(&mut numbers);
        let network = case.network();
        let (frames, negatives, keep, _) = batch(&case, &mut numbers);
        let task = if case.seed >> 20 & 1 == 0 {
            Task::Batch { negatives, keep }
        } else {
            Task::Stream(if case.seed >> 21 & 1 == 0 { Phase::Fixation } else { Phase::Saccade })
        };
        let layer = network.layer(0).unwrap();
        let weights = Weights::of(&network, &layer, &wide(&parameters));
        let mut inputs: Vec<Vec<f64>> = frames.chunks(network.input().len()).map(wide).collect();
        if matches!(task, Task::Stream(_)) {
            inputs.truncate(1);
        }
        let contexts = Contexts {
            same: Some(inputs.iter().map(|_| wide(&numbers.vec(layer.pooled.len(), 1.0))).collect()),
            top: inputs.iter().map(|_| wide(&numbers.vec(network.top_len(), 1.0))).collect(),
        };
        let lesson = learn(&network, &layer, &weights, &inputs, &contexts, &task);
        prop_assume!(lesson.margin > MARGIN);
        let step = 1e-6;
        type Part = fn(&mut Weights) -> &mut Vec<f64>;
        let parts: [Part; 4] = [|w| &mut w.weight, |w| &mut w.bias, |w| &mut w.same, |w| &mut w.feedback];
        for (number, part) in parts.into_iter().enumerate() {
            if number >= 2 && case.rule.projection != Projection::Trainable {
                continue;
            }
            let mut gradient = lesson.gradient.clone();
            let gradient = part(&mut gradient);
            for _ in 0..3.min(gradient.len()) {
                let at = numbers.bits() as usize % gradient.len();
                let loss = |step: f64| {
                    let mut moved = weights.clone();
                    part(&mut moved)[at] += step;
                    learn(&network, &layer, &moved, &inputs, &contexts, &task).loss
                };
                let slope = (loss(step) - loss(-step)) / (2.0 * step);
                prop_assert!((slope - gradient[at]).abs() <= 1e-6 * slope.abs().max(1.0), "{number} {at}: {slope} {}", gradient[at]);
            }
        }
    }

    /// One step of the paper's rule: everything that can be seen of it.
    #[test]
    fn batch_agrees_with_reference(case in case()) {
        let mut numbers = Numbers::new(case.seed);
        let parameters = case.parameters(&mut numbers);
        let network = case.network();
        let (frames, negatives, keep, per_row) = batch(&case, &mut numbers);
        let task = Task::Batch { negatives: negatives.clone(), keep: keep.clone() };
        let wanted = lessons(&case, &parameters, &frames, &task);
        prop_assume!(wanted.iter().all(|lesson| lesson.margin > MARGIN));

        let batch = Batch { frames: &frames, negatives: &negatives, keep_positive: keep.as_deref() };
        let pairs = frames.len() / network.input().len() / 2;
        let mut memory = Memory::new(&network, Optimizer::Record, parameters.clone(), pairs, per_row);
        memory.state.fill(0.0);
        let mut seen = Seen::default();
        memory.learner(network, Guard::default()).step(&batch, 1.0, &mut seen).unwrap();
        prop_assert_eq!(&memory.parameters, &parameters);
        let mut gradient = vec![0.0; parameters.len()];
        let mut scores = seen.scores.iter();
        for (index, lesson) in wanted.iter().enumerate() {
            let layer = network.layer(index).unwrap();
            lesson.gradient.put(&network, &layer, &mut gradient);
            let rows = |part: fn(&reference::Forward) -> &Vec<f64>| -> Vec<f64> {
                lesson.rows.iter().flat_map(|row| part(row).iter().copied()).collect()
            };
            prop_assert!(distance(&seen.outputs[index], &rows(|row| &row.output)) < 1e-5);
            prop_assert!(distance(&seen.pooled[index], &rows(|row| &row.pooled)) < 1e-5);
            let most = lesson.scores.iter().flat_map(|(a, b)| a.iter().chain(b)).fold(1.0_f64, |m, u| m.max(u.abs()));
            let mut loss = 0.0;
            for (positive, negative) in &lesson.scores {
                let (of, got_positive, got_negative, got_loss) = scores.next().unwrap();
                prop_assert_eq!(*of, index);
let error = |got: &[f32], want: &[f64]| got.iter().zip(want).fold(0.0_f64, |e, (g, w)| e.max((f64::from(*g) - w).abs()));
                prop_assert!(error(got_positive, positive) < 1e-5 * most);
                prop_assert!(error(got_negative, negative) < 1e-5 * most);
                loss += f64::from(*got_loss);
            }
            prop_assert!((loss - lesson.loss).abs() < 1e-5 * most);
            prop_assert!((loss - f64::from(seen.reports[index].loss)).abs() < 1e-5 * most);
            let range = |at: usize, len: usize| at..at + len;
            let projection = network.projection_offset(&layer);
            let projections = network.same_len(&layer) + network.feedback_len(&layer);
            // Single layers' gradients may cancel altogether: what counts is the error relative to the terms.
            let scale = lesson.gradient.weight.iter().chain(&lesson.gradient.bias).fold(0.5_f64, |m, g| m.max(g.abs()));
            for range in [range(layer.encoder_offset, layer.encoder_len()), range(projection, projections)] {
                for (got, want) in memory.state[range.clone()].iter().zip(&gradient[range]) {
                    prop_assert!((f64::from(*got) - want).abs() < 2e-5 * scale.max(want.abs()).max(most * 0.1), "layer {} {got} {want}", index);
                }
            }
        }
        prop_assert!(scores.next().is_none());

        // Plain SGD is the recorded gradient times the rate, to the bit.
        let rate = 0.03;
        let modulator = 0.7;
        let mut plain = Memory::new(&network, Optimizer::sgd(rate), parameters.clone(), pairs, per_row);
        let mut reports = Seen::default();
        plain.learner(network, Guard::default()).step(&batch, modulator, &mut reports).unwrap();
        prop_assert!(reports.reports.iter().all(|report| report.outcome == Outcome::Applied));
        let norms: f64 = reports.reports.iter().map(|report| f64::from(report.update_norm).powi(2)).sum();
        let mut changed = 0.0_f64;
        for ((after, before), gradient) in plain.parameters.iter().zip(&parameters).zip(&memory.state) {
            let change = (rate * modulator) * gradient;
            prop_assert_eq!(*after, before - change);
            changed += f64::from(change).powi(2);
        }
        prop_assert!((norms - changed).abs() <= 1e-4 * changed + 1e-20, "{norms} {changed}");
    }

    /// A stream of frames with plain SGD, followed in double precision.
    #[test]
    fn stream_agrees_with_reference(case in case()) {
        let rate = 0.02_f32;
        let mut numbers = Numbers::new(case.seed);
        let parameters = case.parameters(&mut numbers);
        let network = case.network();
        let layers = network.layer_count();
        let mut followed = wide(&parameters);
        let mut memory = Memory::new(&network, Optimizer::sgd(rate), parameters, 0, 0);
        let mut learner = memory.learner(network, Guard::default());
        let mut contexts: Vec<Vec<f64>> = Vec::new();
        for frame in 0..4 {
            let values = numbers.vec(network.input().len(), 1.0);
            let phase = if numbers.bits() & 1 == 0 { Phase::Fixation } else { Phase::Saccade };
            let mut input = wide(&values);
            let mut next_contexts = Vec::new();
            let mut losses = Vec::new();
            let old = followed.clone();
            for index in 0..layers {
                let layer = network.layer(index).unwrap();
                let mut weights = Weights::of(&network, &layer, &old);
                let row = forward(&layer, &weights, &input);
                prop_assume!(row.margin > MARGIN);
                if frame > 0 {
                    let contexts = Contexts {
                        same: Some(vec![contexts[index].clone()]),
                        top: vec![contexts[layers - 1].clone()],
                    };
                    let lesson = learn(&network, &layer, &weights, &[input], &contexts, &Task::Stream(phase));
                    prop_assume!(lesson.margin > MARGIN);
                    let scores = lesson.scores.iter().flat_map(|(positive, negative)| positive.iter().chain(negative));
                    losses.push((lesson.loss, scores.fold(1.0_f64, |most, u| most.max(u.abs()))));
                    let descend = |weights: &mut [f64], gradient: &[f64]| {
                        weights.iter_mut().zip(gradient).for_each(|(w, g)| *w -= f64::from(rate) * g);
                    };
                    descend(&mut weights.weight, &lesson.gradient.weight);
                    descend(&mut weights.bias, &lesson.gradient.bias);
                    descend(&mut weights.same, &lesson.gradient.same);
                    descend(&mut weights.feedback, &lesson.gradient.feedback);
                    weights.put(&network, &layer, &mut followed);
                }
                next_contexts.push(row.pooled);
                input = row.output;
            }
            contexts = next_contexts;
            let mut seen = Seen::default();
            let summary = learner.observe(&values, phase, 1.0, &mut seen).unwrap();
            prop_assert_eq!(summary.applied as usize, if frame == 0 { 0 } else { layers });
            for (report, (want, scale)) in seen.reports.iter().zip(&losses) {
                prop_assert!((f64::from(report.loss) - want).abs() < 1e-4 * scale, "{} {want} {scale} frame {frame}", report.loss);
            }
            let features: Vec<f64> = contexts.iter().flatten().copied().collect();
            prop_assert!(distance(learner.features().unwrap(), &features) < 1e-4);
        }
        prop_assert!(distance(learner.parameters(), &followed) < 1e-4);
    }

    /// Inference sees what learning sees.
    #[test]
    fn inference_gives_the_features_of_streaming(case in case()) {
        let mut numbers = Numbers::new(case.seed);
        let parameters = case.parameters(&mut numbers);
        let network = case.network();
        let frame = numbers.vec(network.input().len(), 1.0);
        let mut workspace = vec![f32::NAN; network.inference_len()];
        let mut features = vec![f32::NAN; network.feature_len()];
        let encoder = &parameters[..network.encoder_len()];
        clapp_core::learner::infer(&network, encoder, &frame, &mut workspace, &mut features).unwrap();
        let mut memory = Memory::new(&network, Optimizer::sgd(0.1), parameters.clone(), 0, 0);
        let mut learner = memory.learner(network, Guard::default());
        learner.observe(&frame, Phase::Fixation, 1.0, &mut ()).unwrap();
        prop_assert_eq!(learner.features(), Ok(&features[..]));
    }
}
