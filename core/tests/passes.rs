//! Layer-wise passes, freezing and the modulator.

#![allow(clippy::unwrap_used, reason = "a test that fails here has found something")]

mod reference;

use clapp_core::contrast::Phase;
use clapp_core::guard::Guard;
use clapp_core::learner::{Batch, Buffer, Error, Progress, ring_negatives, uniform_negatives};
use clapp_core::network::{Block, Context, LossPool, Network, Projection, Rule};
use clapp_core::observer::Outcome;
use clapp_core::optimizer::Optimizer;
use clapp_core::shape::Shape;
use reference::Numbers;
use reference::run::{Memory, Seen};

const fn network(context: Context, projection: Projection) -> Network<3> {
    let pool = LossPool::Block([2, 2]);
    Network::new(
        Shape::new(2, 8, 8),
        [
            Block::conv(4, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(pool),
            Block::conv(4, [3, 3]).padding([1, 1]).loss_pool(pool),
            Block::conv(4, [3, 3]).padding([1, 1]).loss_pool(pool),
        ],
        Rule { context, projection, ..Rule::clapp_pp() },
    )
}

fn each(mut f: impl FnMut(Network<3>, Optimizer)) {
    for context in [Context::Same, Context::Top, Context::Both] {
        for projection in [Projection::Trainable, Projection::Frozen, Projection::Identity] {
            for optimizer in [
                Optimizer::sgd(0.05),
                Optimizer::Sgd { lr: 0.05, momentum: 0.9, weight_decay: 0.01 },
                Optimizer::adam_w(1e-3),
                Optimizer::Lars { lr: 0.3, momentum: 0.9, weight_decay: 1e-4, trust: 1e-3 },
            ] {
                f(network(context, projection), optimizer);
            }
        }
    }
}

fn memory(network: &Network<3>, optimizer: Optimizer) -> Memory {
    let parameters = Numbers::new(3).vec(network.view().parameter_len(), 0.3);
    Memory::new(&network.view(), optimizer, parameters, 3, 2)
}

fn frames(count: usize) -> Vec<f32> {
    Numbers::new(4).vec(count * 2 * 64, 1.0)
}

fn negatives() -> [u32; 12] {
    let mut numbers = Numbers::new(5);
    let mut negatives = [0; 12];
    uniform_negatives(&mut negatives, 6, || numbers.bits());
    negatives
}

#[test]
fn layer_by_layer_is_the_whole_step_to_the_bit() {
    each(|network, optimizer| {
        let (frames, negatives) = (frames(6), negatives());
        let batch = Batch { frames: &frames, negatives: &negatives, keep_positive: None };
        let (mut whole, mut parts) = (memory(&network, optimizer), memory(&network, optimizer));
        let (mut seen_whole, mut seen_parts) = (Seen::default(), Seen::default());
        let mut learner = whole.learner(network.view(), Guard::default());
        let mut other = parts.learner(network.view(), Guard::default());
        for _ in 0..2 {
            learner.step(&batch, 1.0, &mut seen_whole).unwrap();
            let mut pass = other.begin_step(&batch, 1.0).unwrap();
            let mut order = Vec::new();
            while let Some(progress) = pass.step_layer(&mut seen_parts) {
                order.push(match progress {
                    Progress::Prepared { layer } => layer,
                    Progress::Learnt(report) => 10 + report.layer,
                });
            }
            let prepared: &[usize] = if network.view().rule().context.has_top() { &[0, 1, 2] } else { &[] };
            assert_eq!(order, [prepared, &[10, 11, 12]].concat());
        }
        for frame in frames.chunks(128) {
            learner.observe(frame, Phase::Saccade, 0.5, &mut seen_whole).unwrap();
            let mut pass = other.begin_frame(frame, Phase::Saccade, 0.5).unwrap();
            for _ in 0..3 {
                assert!(matches!(pass.step_layer(&mut seen_parts), Some(Progress::Learnt(_))));
            }
            assert_eq!(pass.step_layer(&mut seen_parts), None);
        }
        assert_eq!(seen_whole.reports, seen_parts.reports);
        assert!(seen_whole.reports.iter().any(|report| report.outcome == Outcome::Applied));
        assert_eq!(whole.bits(), parts.bits());
        assert_eq!(whole.contexts, parts.contexts);
    });
}

#[test]
fn frozen_projections_keep_their_bits() {
    each(|network, optimizer| {
        let frozen = network.view().rule().projection == Projection::Frozen;
        let mut memory = memory(&network, optimizer);
        let encoder = network.view().encoder_len();
        let before = memory.parameters.clone();
        let mut learner = memory.learner(network.view(), Guard::default());
        for frame in frames(6).chunks(128) {
            learner.observe(frame, Phase::Saccade, 1.0, &mut ()).unwrap();
        }
        assert_ne!(memory.parameters[..encoder], before[..encoder]);
        if frozen {
            assert_eq!(memory.parameters[encoder..], before[encoder..]);
        }
    });
}

#[test]
fn a_frozen_layer_stays_and_still_reports() {
    each(|network, optimizer| {
        let view = network.view();
        let mut memory = memory(&network, optimizer);
        memory.layers[1].frozen = true;
        let before = memory.parameters.clone();
        let mut seen = Seen::default();
        let mut learner = memory.learner(view, Guard::default());
        for frame in frames(4).chunks(128) {
            learner.observe(frame, Phase::Saccade, 1.0, &mut seen).unwrap();
        }
        assert!(learner.layers()[1].steps == 0 && learner.layers()[0].steps == 3);
        for reports in seen.reports.chunks(3).skip(1) {
            assert_eq!(reports[1].outcome, Outcome::Frozen);
            assert!(reports[1].loss > 0.0 && reports[1].mean_negative.is_some() && reports[1].update_norm == 0.0);
        }
        let layer = view.layer(1).unwrap();
        let at = view.projection_offset(&layer);
        for range in [
            layer.encoder_offset..layer.encoder_offset + layer.encoder_len(),
            at..at + view.same_len(&layer) + view.feedback_len(&layer),
        ] {
            assert_eq!(memory.parameters[range.clone()], before[range]);
        }
        assert_ne!(memory.parameters, before);
    });
}

#[test]
fn a_modulator_of_zero_changes_nothing() {
    each(|network, optimizer| {
        let (frames, negatives) = (frames(6), negatives());
        let mut memory = memory(&network, optimizer);
        let before = memory.bits();
        let mut seen = Seen::default();
        let mut learner = memory.learner(network.view(), Guard::default());
        for frame in frames.chunks(128) {
            learner.observe(frame, Phase::Saccade, 0.0, &mut seen).unwrap();
        }
        let batch = Batch { frames: &frames, negatives: &negatives, keep_positive: None };
        learner.step(&batch, 0.0, &mut seen).unwrap();
        assert!(seen.reports[3..].iter().all(|report| report.outcome == Outcome::Muted && report.loss > 0.0));
        assert_eq!(memory.bits(), before);
    });
}

#[test]
fn the_first_frame_only_becomes_the_context() {
    each(|network, optimizer| {
        let mut memory = memory(&network, optimizer);
        let before = memory.bits();
        let mut seen = Seen::default();
        let mut learner = memory.learner(network.view(), Guard::default());
        learner.observe(&frames(1), Phase::Fixation, 1.0, &mut seen).unwrap();
        learner.clear_context();
        learner.observe(&frames(1), Phase::Fixation, 1.0, &mut seen).unwrap();
        assert!(seen.reports.iter().all(|report| report.outcome == Outcome::NoContext));
        let features: Vec<f32> = seen.pooled[..3].concat();
        assert_eq!(learner.features(), Ok(&features[..]));
        assert_eq!(memory.bits(), before);
    });
}

#[test]
fn what_does_not_fit_is_named() {
    let network = network(Context::Both, Projection::Trainable);
    let mut memory = memory(&network, Optimizer::sgd(0.1));
    let before = memory.bits();
    let needed = network.view().batch_len(4, 1);
    let mut learner = memory.learner(network.view(), Guard::default());
    let frames = frames(8);
    let mut try_step = |frames: &[f32], negatives: &[u32], keep_positive: Option<&[bool]>| {
        learner.step(&Batch { frames, negatives, keep_positive }, 1.0, &mut ()).unwrap_err()
    };
    let length = |buffer, needed, given| Error::Length { buffer, needed, given };
    assert_eq!(try_step(&frames[..127], &[], None), length(Buffer::Frames, 0, 127));
    assert_eq!(try_step(&frames[..128], &[], None), length(Buffer::Frames, 0, 128));
    assert_eq!(try_step(&frames[..256], &[0, 0], None), Error::TooFewPairs);
    assert_eq!(try_step(&frames[..512], &[0; 3], None), length(Buffer::Negatives, 4, 3));
    assert_eq!(try_step(&frames[..512], &[0; 5], None), length(Buffer::Negatives, 4, 5));
    assert_eq!(try_step(&frames[..512], &[0, 1, 4, 2], None), Error::NegativeOutOfRange);
    assert_eq!(try_step(&frames[..512], &[0; 4], Some(&[true; 3])), length(Buffer::KeepPositive, 4, 3));
    assert!(
        matches!(try_step(&frames, &[0; 8], None), Error::Length { buffer: Buffer::Workspace, needed: n, .. } if n == needed)
    );
    assert_eq!(memory.bits(), before);
}

#[test]
fn ring_and_uniform_negatives() {
    let mut ring = [9; 8];
    ring_negatives(&mut ring, 4);
    assert_eq!(ring, [1, 2, 3, 0, 2, 3, 0, 1]);
    let mut numbers = Numbers::new(8);
    let mut uniform = [0; 4000];
    uniform_negatives(&mut uniform, 4, || numbers.bits());
    for row in 0..4 {
        let count = uniform.iter().filter(|negative| **negative == row).count();
        assert!((900..1100).contains(&count), "{row}: {count}");
    }
}
