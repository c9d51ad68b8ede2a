//! Frames that carry a layer out of the finite numbers: the pass stops there, and nothing that is left of it is handed out.

#![allow(clippy::unwrap_used, reason = "a test that fails here has found something")]

mod reference;

use clapp_core::collapse::{Condition, Limits, Watch};
use clapp_core::contrast::Phase;
use clapp_core::guard::{Guard, Refusal};
use clapp_core::learner::{Batch, Error, Learner, Progress, Summary, infer, ring_negatives};
use clapp_core::network::{Activation, Block, Context, LossPool, Network, NetworkView, Rule};
use clapp_core::observer::{Activity, LayerReport, Observer, Outcome};
use clapp_core::optimizer::Optimizer;
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_core::{conv, pool};
use proptest::prelude::*;
use reference::run::{Memory, Seen};
use reference::{Case, Numbers, case};

const FREE: Guard = Guard::UNCAPPED;
const UNSOUND: Outcome = Outcome::Refused(Refusal::Activity);

/// Two inputs, one channel each layer: `w w b`, `w b`, and two projections of one element.
const TINY: Network<2> =
    Network::new(Shape::new(1, 1, 2), [Block::conv(1, [1, 2]), Block::conv(1, [1, 1])], Rule::clapp_pp());
const TINY_PARAMETERS: [f32; 7] = [2.0, -2.0, 0.5, 1.0, 0.5, 1.0, 1.0];

/// Three layers over 64 numbers. The first is sound up to 1e37, the second multiplies by a hundred.
const NET: Network<3> = Network::new(
    Shape::new(1, 8, 8),
    [
        Block::conv(2, [1, 1]).loss_pool(LossPool::Block([4, 4])),
        Block::conv(2, [1, 1]).loss_pool(LossPool::Block([4, 4])),
        Block::conv(2, [1, 1]).loss_pool(LossPool::Block([4, 4])),
    ],
    Rule::clapp_pp(),
);

fn memory(network: &NetworkView<'_>, optimizer: Optimizer) -> Memory {
    let mut memory = Memory::new(network, optimizer, vec![0.0; network.parameter_len()], 3, 1);
    let mut numbers = Numbers::new(7);
    memory.parameters.iter_mut().for_each(|value| *value = 0.3 * numbers.next());
    for (index, weight) in [0.5, 100.0, 0.5].into_iter().enumerate() {
        let layer = network.layer(index).unwrap();
        memory.parameters[layer.encoder_offset..layer.encoder_offset + layer.weight_len()].fill(weight);
    }
    memory
}

fn net() -> Memory {
    memory(&NET.view(), Optimizer::sgd(0.01))
}

fn ordinary(seed: u64) -> Vec<f32> {
    Numbers::new(seed).vec(64, 1.0).iter().map(|value| value.abs()).collect()
}

/// Layer 0 takes it, layer 1 does not.
fn too_much() -> Vec<f32> {
    vec![1e37; 64]
}

fn see(learner: &mut Learner<'_>, frame: &[f32], modulator: f32) -> (Summary, Vec<LayerReport>) {
    let mut seen = Seen::default();
    let summary = learner.observe(frame, Phase::Saccade, modulator, &mut seen).unwrap();
    assert_eq!(seen.pooled.len(), seen.reports.len() - usize::from(summary.unsound.is_some()));
    (summary, seen.reports)
}

fn outcomes(reports: &[LayerReport]) -> Vec<Outcome> {
    reports.iter().map(|report| report.outcome).collect()
}

#[test]
fn neither_the_sign_of_a_nan_nor_an_infinity_behind_a_relu_lets_the_layer_above_learn() {
    // inf - inf, whose sign is the platform's; and -inf, which a ReLU makes 0.
    for bad in [[f32::MAX, f32::MAX], [f32::MAX / 4.0, f32::MAX]] {
        for first in [vec![], vec![[0.5_f32, 0.25]]] {
            let mut memory = Memory::new(&TINY.view(), Optimizer::sgd(0.1), TINY_PARAMETERS.to_vec(), 0, 0);
            let before = memory.bits();
            let mut learner = memory.learner(TINY.view(), FREE);
            for frame in &first {
                learner.observe(frame, Phase::Saccade, 1.0, &mut ()).unwrap();
            }
            let (summary, reports) = see(&mut learner, &bad, 1.0);
            assert_eq!(outcomes(&reports), [UNSOUND], "{bad:?}");
            assert_eq!((summary.applied, summary.refused, summary.unsound), (0, 1, Some(0)));
            assert_eq!(learner.features(), Err(Error::Unsound { layer: 0 }));
            assert_eq!(learner.layers().iter().map(|layer| layer.refused).collect::<Vec<_>>(), [1, 0]);
            assert_eq!(memory.bits(), before);
        }
    }
}

#[test]
fn the_kernel_makes_the_same_of_every_nan_and_infinity() {
    let view = TINY.view();
    let layer = view.layer(0).unwrap();
    for bits in
        [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xff80_0001, 0xffff_ffff, 0x7fff_ffff, 0x7f80_0000, 0xff80_0000_u32]
    {
        let mut output = [9.0];
        let bad = f32::from_bits(bits);
        assert!(!conv::forward(&layer, &[bad, 1.0], &[0.0], &[1.0, 1.0], &mut output, &mut [], &mut []));
        assert_eq!(output[0].to_bits(), f32::NAN.to_bits(), "{bits:x}");
    }
}

/// Of a map narrower than a tile, the rest of the tile is computed and thrown away.
#[test]
fn what_belongs_to_no_output_makes_no_layer_unsound() {
    for (block, frame) in [
        // The last column is under no kernel.
        (Block::conv(1, [1, 2]).stride([1, 2]), vec![1.0, 1.0, 1.0, 1.0, f32::MAX]),
        // The first tap alone would overflow on what lies under the second.
        (Block::conv(1, [1, 2]), vec![0.0, f32::MAX]),
        (Block::conv(1, [1, 2]).stride([1, 3]), vec![1.0, 1.0, f32::MAX, 1.0]),
    ] {
        let (input, blocks) = (Shape::new(1, 1, frame.len()), [block]);
        let view = NetworkView::try_new(input, &blocks, Rule::clapp_pp()).unwrap();
        let mut parameters = vec![0.0; view.parameter_len()];
        parameters[..2].copy_from_slice(&[3.0, 0.25]);
        let (mut workspace, mut features) = (vec![f32::NAN; view.inference_len()], vec![f32::NAN; view.feature_len()]);
        infer(&view, &parameters, &frame, &mut workspace, &mut features).unwrap();
        assert!(features.iter().all(|value| value.is_finite()), "{features:?}");
    }
}

#[test]
fn a_mute_frozen_or_first_pass_is_unsound_all_the_same() {
    let huge = vec![f32::MAX; 64];
    for (first, modulator, frozen) in [(false, 0.0, false), (false, 1.0, true), (false, 0.0, true), (true, 1.0, false)]
    {
        for (frame, layer) in [(&huge, 0), (&too_much(), 1)] {
            let mut memory = net();
            memory.layers[layer].frozen = frozen;
            let mut learner = memory.learner(NET.view(), FREE);
            let mut features = vec![];
            if !first {
                see(&mut learner, &ordinary(1), 1.0);
                features = learner.features().unwrap().to_vec();
            }
            let (summary, reports) = see(&mut learner, frame, modulator);
            assert_eq!((summary.unsound, reports.len()), (Some(layer), layer + 1));
            assert_eq!(reports[layer].outcome, UNSOUND);
            assert!(reports[layer].loss.is_nan() && summary.loss.is_finite());
            assert_eq!(learner.features(), Err(Error::Unsound { layer }));
            // What was not to learn counts no refusals, so that a test changes nothing that is kept.
            assert_eq!(learner.layers()[layer].refused, u32::from(first));
            // The next frame compares itself with nothing, and its features are its own.
            let (_, reports) = see(&mut learner, &ordinary(2), modulator);
            assert_eq!(outcomes(&reports), [Outcome::NoContext; 3]);
            assert_ne!(learner.features().unwrap(), features);
        }
    }
}

/// 64 numbers of 1e38 through a layer that adds up a few of them.
#[test]
fn a_mute_pass_over_a_frame_that_overflows_gives_no_features() {
    let network: Network<1> =
        Network::new(Shape::new(1, 8, 8), [Block::conv(2, [3, 3]).padding([1, 1])], Rule::clapp_pp());
    let mut memory = Memory::new(&network.view(), Optimizer::sgd(0.1), vec![1.0; network.view().parameter_len()], 0, 0);
    let mut learner = memory.learner(network.view(), FREE);
    learner.observe(&[0.5; 64], Phase::Saccade, 1.0, &mut ()).unwrap();
    assert!(learner.features().is_ok());
    let summary = learner.observe(&[1e38; 64], Phase::Saccade, 0.0, &mut ()).unwrap();
    assert_eq!((summary.refused, summary.unsound), (1, Some(0)));
    assert_eq!(learner.features(), Err(Error::Unsound { layer: 0 }));
}

#[test]
fn layers_below_the_first_unsound_one_have_learnt_and_those_above_have_not() {
    for optimizer in [Optimizer::sgd(1e-37), Optimizer::Sgd { lr: 1e-37, momentum: 0.9, weight_decay: 0.0 }] {
        let mut memory = memory(&NET.view(), optimizer);
        let mut learner = memory.learner(NET.view(), FREE);
        // Scores must be finite, or the layer below is refused for them.
        learner.observe(&[0.0; 64], Phase::Saccade, 1.0, &mut ()).unwrap();
        let before = learner.parameters().to_vec();
        let (summary, reports) = see(&mut learner, &too_much(), 1.0);
        assert_eq!((outcomes(&reports), summary.unsound), (vec![Outcome::Applied, UNSOUND], Some(1)));
        let own = NET.view().layer(0).unwrap();
        let at = NET.view().projection_offset(&own);
        for (place, (after, before)) in learner.parameters().iter().zip(&before).enumerate() {
            let is_own = (own.encoder_offset..own.encoder_offset + own.encoder_len()).contains(&place)
                || (at..at + NET.view().same_len(&own)).contains(&place);
            assert!(is_own || after.to_bits() == before.to_bits(), "{place}");
        }
        assert_ne!(learner.parameters(), before);
    }
}

#[test]
fn scores_that_are_not_finite_stop_one_layer_and_not_the_pass() {
    for modulator in [1.0, 0.0] {
        let mut memory = net();
        let layer = NET.view().layer(0).unwrap();
        let at = NET.view().projection_offset(&layer);
        memory.parameters[at..at + 4].fill(f32::MAX);
        memory.layers[0].frozen = modulator == 0.0;
        let mut learner = memory.learner(NET.view(), FREE);
        learner.observe(&ordinary(1), Phase::Saccade, modulator, &mut ()).unwrap();
        let frame: Vec<f32> = ordinary(2).iter().map(|value| 100.0 * value).collect();
        let (summary, reports) = see(&mut learner, &frame, modulator);
        assert_eq!(reports[0].outcome, Outcome::Refused(Refusal::Score));
        assert!(reports[1..].iter().all(|report| !matches!(report.outcome, Outcome::Refused(_))));
        assert_eq!((summary.refused, summary.unsound), (1, None));
        assert!(learner.features().is_ok());
    }
}

#[test]
fn a_context_that_was_forgotten_does_not_return() {
    let ways: [fn(&mut Learner<'_>); 5] = [
        |learner| learner.clear_context(),
        |learner| {
            learner.learnt_mut();
        },
        |learner| {
            learner.parameters_mut();
        },
        |learner| {
            // A pass that goes no further than its first layer.
            let frame = ordinary(5);
            let mut pass = learner.begin_frame(&frame, Phase::Fixation, 1.0).unwrap();
            assert!(matches!(pass.step_layer(&mut ()), Some(Progress::Learnt(_))));
        },
        |learner| drop(learner.begin_frame(&ordinary(5), Phase::Fixation, 1.0).unwrap()),
    ];
    for (at, forget) in ways.into_iter().enumerate() {
        for overflows in [false, true] {
            let mut memory = net();
            let mut learner = memory.learner(NET.view(), FREE);
            assert_eq!(learner.features(), Err(Error::NoFrame));
            see(&mut learner, &ordinary(1), 1.0);
            forget(&mut learner);
            let reason = if at < 3 { Error::NoFrame } else { Error::Unfinished };
            assert_eq!(learner.features(), Err(reason), "{at}");
            if overflows {
                assert_eq!(see(&mut learner, &too_much(), 1.0).0.unsound, Some(1));
            }
            let (summary, reports) = see(&mut learner, &ordinary(2), 1.0);
            assert_eq!(outcomes(&reports), [Outcome::NoContext; 3], "{at}");
            assert_eq!((summary.applied, summary.refused), (0, 0));
            assert!(learner.features().is_ok());
            assert!(see(&mut learner, &ordinary(3), 1.0).0.applied > 0);
        }
    }
}

#[test]
fn parameters_that_are_adjusted_keep_the_context() {
    let mut memory = net();
    let mut learner = memory.learner(NET.view(), FREE);
    see(&mut learner, &ordinary(1), 1.0);
    learner.adjust_parameters(|parameters| parameters.iter_mut().for_each(|value| *value *= 0.5));
    assert!(learner.features().is_ok());
    assert!(see(&mut learner, &ordinary(2), 1.0).0.applied > 0);
}

#[test]
fn a_frame_that_is_refused_before_it_starts_leaves_the_features_of_the_one_before() {
    let mut memory = net();
    let mut learner = memory.learner(NET.view(), FREE);
    see(&mut learner, &ordinary(1), 1.0);
    let features = learner.features().unwrap().to_vec();
    assert_eq!(learner.observe(&[f32::NAN; 64], Phase::Saccade, 1.0, &mut ()), Err(Error::FrameNotFinite));
    assert_eq!(learner.features(), Ok(&features[..]));
}

#[test]
fn a_batch_stops_at_the_first_unsound_layer_and_leaves_the_stream_alone() {
    for (context, modulator) in [(Context::Same, 1.0), (Context::Same, 0.0), (Context::Top, 1.0), (Context::Both, 0.0)]
    {
        let blocks = NET.view().blocks().to_vec();
        let view = NetworkView::try_new(NET.view().input(), &blocks, Rule { context, ..Rule::clapp_pp() }).unwrap();
        let mut memory = memory(&view, Optimizer::sgd(0.01));
        let mut learner = memory.learner(view, FREE);
        learner.observe(&ordinary(1), Phase::Saccade, 1.0, &mut ()).unwrap();
        let (features, before) = (learner.features().unwrap().to_vec(), learner.parameters().to_vec());
        let mut negatives = [0; 4];
        ring_negatives(&mut negatives, 4);
        // One bad row among sound ones.
        let frames = [ordinary(2), ordinary(3), too_much(), ordinary(4)].concat();
        let batch = Batch { frames: &frames, negatives: &negatives, keep_positive: None };
        let mut seen = Seen::default();
        let summary = learner.step(&batch, modulator, &mut seen).unwrap();
        assert_eq!(summary.unsound, Some(1), "{context:?}");
        assert_eq!(seen.reports.last().unwrap().outcome, UNSOUND);
        // Where the top is a context, it is asked first, and nobody learns.
        assert_eq!(seen.reports.len(), if context == Context::Same { 2 } else { 1 });
        let counted: u32 = learner.layers().iter().map(|layer| layer.refused).sum();
        assert_eq!(counted, if modulator == 0.0 { 0 } else { summary.refused });
        let above = view.layer(1).unwrap().encoder_offset;
        assert_eq!(learner.parameters()[above..view.encoder_len()], before[above..view.encoder_len()]);
        if context != Context::Same || modulator == 0.0 {
            assert_eq!(learner.parameters(), before);
        }
        assert_eq!(learner.features(), Ok(&features[..]));
        // A batch of sound rows goes on.
        let frames = [ordinary(2), ordinary(3), ordinary(5), ordinary(4)].concat();
        let batch = Batch { frames: &frames, ..batch };
        assert_eq!(learner.step(&batch, 1.0, &mut ()).unwrap().unsound, None);
    }
}

#[test]
fn inference_gives_an_error_instead_of_numbers() {
    let view = NET.view();
    let memory = net();
    let (mut workspace, mut features) = (vec![0.0; view.inference_len()], vec![1.0; view.feature_len()]);
    let mut run = |frame: &[f32]| {
        let result = infer(&view, &memory.parameters, frame, &mut workspace, &mut features);
        (result, features.iter().filter(|value| value.is_nan()).count())
    };
    assert_eq!(run(&ordinary(1)), (Ok(()), 0));
    assert_eq!(run(&too_much()), (Err(Error::Unsound { layer: 1 }), view.feature_len()));
    assert_eq!(run(&[f32::INFINITY; 64]), (Err(Error::FrameNotFinite), view.feature_len()));
    assert_eq!(run(&ordinary(1)), (Ok(()), 0));
}

/// Channels of a linear layer that answer by negative numbers are as alive as any.
#[test]
fn a_dead_channel_is_one_that_gives_nothing_but_zeros() {
    for (activation, dead) in [(Activation::Identity, 0.25), (Activation::Relu, 0.75)] {
        let blocks = [Block::conv(4, [1, 1]).without_bias().activation(activation)];
        let view = NetworkView::try_new(Shape::new(1, 2, 2), &blocks, Rule::clapp_pp()).unwrap();
        let mut memory = Memory::new(&view, Optimizer::sgd(0.1), vec![0.1; view.parameter_len()], 0, 0);
        memory.parameters[..4].copy_from_slice(&[1.0, -1.0, -0.0, -2.0]);
        let mut learner = memory.learner(view, FREE);
        let (_, reports) = see(&mut learner, &[0.0, 1.0, 0.5, 0.25], 1.0);
        assert_eq!(reports[0].dead, dead, "{activation:?}");
    }
}

/// What the firmware stops its saves by.
#[test]
fn a_linear_layer_of_negative_outputs_has_not_collapsed() {
    struct Watched(Watch);
    impl Observer for Watched {
        fn activity(&mut self, activity: &Activity<'_>) {
            self.0.activity(activity.pooled);
        }
        fn report(&mut self, report: &LayerReport) {
            self.0.report(report, &Rule::clapp_pp());
        }
    }
    for (activation, dead) in [(Activation::Identity, 0.0), (Activation::Relu, 1.0)] {
        let blocks = [Block::conv(4, [1, 1]).without_bias().activation(activation)];
        let view = NetworkView::try_new(Shape::new(1, 2, 2), &blocks, Rule::clapp_pp()).unwrap();
        let mut memory = Memory::new(&view, Optimizer::sgd(1e-3), vec![0.1; view.parameter_len()], 0, 0);
        memory.parameters[..4].copy_from_slice(&[-1.0, -0.5, -0.25, -2.0]);
        let mut learner = memory.learner(view, FREE);
        let mut watched = Watched(Watch::NEW);
        for seed in 0..200 {
            let frame: Vec<f32> = ordinary(seed)[..4].to_vec();
            learner.observe(&frame, Phase::Fixation, 1.0, &mut watched).unwrap();
        }
        assert_eq!(watched.0.dead(), dead, "{activation:?}");
        // The ReLUs have been silent from the first frame on: that layer has not learnt, and has lost nothing.
        assert_eq!(watched.0.condition(&Limits::DEFAULT), Condition::Sound, "{activation:?}");
    }
}

/// Largest, overflowing in sums, subnormal, signed zeros, and ordinary.
const HOSTILE: [f32; 14] = [
    f32::MAX,
    f32::MIN,
    f32::MAX / 4.0,
    f32::MIN / 4.0,
    1e38,
    -1e38,
    1e30,
    -1e19,
    f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    0.0,
    -0.0,
    0.5,
];

/// The first layer that is not finite somewhere, by the plainest loops in single precision.
fn first_unsound(network: &NetworkView<'_>, parameters: &[f32], frame: &[f32]) -> Option<usize> {
    let mut input = frame.to_vec();
    for index in 0..network.layer_count() {
        let layer = network.layer(index).unwrap();
        let map = plain_convolution(&layer, parameters, &input);
        let mut sound = map.iter().all(|value| value.is_finite());
        let relu = layer.block.activation == Activation::Relu;
        let map: Vec<f32> = map.iter().map(|&value| if relu && value < 0.0 { 0.0 } else { value }).collect();
        let mut output = map.clone();
        if let Some(window) = layer.block.max_pool {
            output = vec![0.0; layer.output.len()];
            for (map, out) in map.chunks(layer.conv.area()).zip(output.chunks_mut(layer.output.area())) {
                pool::max_pool(map, layer.conv.width, window, out, layer.output.width, &mut []);
            }
        }
        let mut pooled = vec![0.0; layer.pooled.len()];
        pool::loss_pool(&output, layer.output, layer.block.loss_pool, layer.pooled, &mut pooled);
        sound &= pooled.iter().all(|value| value.is_finite());
        if !sound {
            return Some(index);
        }
        input = output;
    }
    None
}

/// Values before the activation.
fn plain_convolution(layer: &Layer, parameters: &[f32], input: &[f32]) -> Vec<f32> {
    let ([height, width], [down, right]) = (layer.block.kernel, layer.block.stride);
    let [above, left] = layer.block.padding;
    let weights = &parameters[layer.encoder_offset..];
    let mut map = Vec::new();
    for out in 0..layer.block.out_channels {
        for (y, x) in (0..layer.conv.height).flat_map(|y| (0..layer.conv.width).map(move |x| (y, x))) {
            let mut sum = 0.0;
            for channel in 0..layer.input.channels {
                for (ky, kx) in (0..height).flat_map(|ky| (0..width).map(move |kx| (ky, kx))) {
                    let (row, column) = (y * down + ky, x * right + kx);
                    let inside = (above..above + layer.input.height).contains(&row)
                        && (left..left + layer.input.width).contains(&column);
                    if inside {
                        let at = (channel * layer.input.height + row - above) * layer.input.width + column - left;
                        let weight = ((out * layer.input.channels + channel) * height + ky) * width + kx;
                        sum += weights[weight] * input[at];
                    }
                }
            }
            map.push(sum + if layer.block.bias { weights[layer.weight_len() + out] } else { 0.0 });
        }
    }
    map
}

/// Bits of the parameters and the state of all layers from `first` on.
fn bits_from(network: &NetworkView<'_>, memory: &[&[f32]], first: usize) -> Vec<u32> {
    let mut bits = Vec::new();
    for index in first..network.layer_count() {
        let layer = network.layer(index).unwrap();
        let at = network.projection_offset(&layer);
        let projections = network.same_len(&layer) + network.feedback_len(&layer);
        for range in [layer.encoder_offset..layer.encoder_offset + layer.encoder_len(), at..at + projections] {
            for values in memory {
                bits.extend(values.get(range.clone()).into_iter().flatten().map(|value| value.to_bits()));
            }
        }
    }
    bits
}

/// A frame: ordinary, hostile all over, or hostile in a few places.
fn hostile_frame(numbers: &mut Numbers, len: usize) -> Vec<f32> {
    let kind = numbers.bits() % 4;
    let mut frame = numbers.vec(len, 1.0);
    for value in &mut frame {
        if kind == 0 || (kind == 1 && numbers.bits().is_multiple_of(8)) {
            *value = HOSTILE[numbers.bits() as usize % HOSTILE.len()];
        }
    }
    frame
}

fn hostile_stream(case: &Case) -> Result<(), TestCaseError> {
    let mut numbers = Numbers::new(case.seed);
    let network = case.network();
    let momentum = Optimizer::Sgd { lr: 0.01, momentum: 0.9, weight_decay: 1e-4 };
    let optimizer = [Optimizer::sgd(0.01), momentum, Optimizer::adam_w(1e-3)][numbers.bits() as usize % 3];
    let mut memory = Memory::new(&network, optimizer, case.parameters(&mut numbers), 0, 0);
    for layer in &mut memory.layers {
        layer.frozen = numbers.bits().is_multiple_of(4);
    }
    let layers = network.layer_count();
    let mut has_context = false;
    let mut learner = memory.learner(network, FREE);
    for _ in 0..8 {
        let frame = hostile_frame(&mut numbers, network.input().len());
        let modulator = if numbers.bits().is_multiple_of(4) { 0.0 } else { 1.0 };
        let unsound = first_unsound(&network, learner.parameters(), &frame);
        let first_above = unsound.unwrap_or(layers);
        let before = bits_from(&network, &[learner.parameters(), learner.state()], first_above);
        let mut seen = Seen::default();
        let summary = learner.observe(&frame, Phase::Saccade, modulator, &mut seen).unwrap();
        prop_assert_eq!(summary.unsound, unsound);
        prop_assert_eq!(seen.reports.len(), (first_above + 1).min(layers));
        prop_assert_eq!(bits_from(&network, &[learner.parameters(), learner.state()], first_above), before);
        for report in &seen.reports {
            prop_assert_eq!(report.outcome == UNSOUND, Some(report.layer) == unsound);
            prop_assert!(has_context || report.outcome == UNSOUND || report.outcome == Outcome::NoContext);
        }
        has_context = unsound.is_none();
        match unsound {
            Some(layer) => prop_assert_eq!(learner.features(), Err(Error::Unsound { layer })),
            None => prop_assert_eq!(learner.features(), Ok(&seen.pooled.concat()[..])),
        }
        prop_assert!(learner.parameters().iter().chain(learner.state()).all(|value| value.is_finite()));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_layer_above_a_refused_one_never_changes(case in case()) {
        hostile_stream(&case)?;
    }
}
