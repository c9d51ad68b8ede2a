//! Signs that a layer that learns is about to collapse: a few running means of what it has at hand anyway.
//!
//! A [`Watch`] hears of each row of a layer's pooled activity and of each report; [`Watches`] are those of all layers of a
//! network, with one for its frames. They know six signs. `clapp paper collapse` tries them on streams with an injected
//! fault; what each caught there while its limit was chosen ([`Limits::DEFAULT`]) is said with it:
//!
//! - *dead*: most channels that answered at first answer to no frame any more, or nearly none is left. A layer whose first
//!   weights leave many channels silent is none the worse for it. Caught: ReLUs that never open again, and most learning
//!   rates a hundred times too large;
//! - *refused*: many updates are, by the guard. The weights are what they were, so that this is no collapse. Caught: some
//!   rates a hundred times too large, pixels that are not scaled;
//! - *constant*: the activity does not change from frame to frame, though the frames do. Seen by sketches, the activity's
//!   products with fixed random signs;
//! - *diverging*: the loss is far above the layer's own reference, which is the smallest slow mean of its losses since the
//!   watch began, and at least what scores of 0 would cost. Fixations and saccades have a reference each, so that a stream
//!   that turns from one to the other is not taken for a loss that grows. Caught: the same as *refused*, and earlier;
//! - *faded*: positives and negatives were told apart, and are not any more: the difference of their mean scores has fallen to
//!   a small part of the largest that it was, or its sign has turned. A difference counts from four standard errors on.
//!   Caught: the same, and in streams never before *diverging*; it is there for batches, whose means are steadier;
//! - *still*: the frames hardly change. No layer can answer differently to frames that are all alike, so that this is no
//!   collapse. Caught: a frozen camera, white frames.
//!
//! A layer that has not learnt cannot have collapsed: there is no verdict before an update has changed its parameters, and
//! frames that it does not learn from (modulator 0, a frozen layer) are passed over.

mod change;
mod frames;
mod watch;
mod watches;

pub use watch::Watch;
pub use watches::{STRETCH, Watches};

/// The condition of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "link", derive(serde::Serialize, serde::Deserialize))]
pub enum Condition {
    /// It answers, and differently to different frames.
    Sound,
    /// Most of its channels answer to nothing any more.
    Dead,
    /// Many of its updates are refused.
    Refused,
    /// It answers to every frame alike.
    Constant,
    /// It does worse than it did, and than a layer that says nothing.
    Diverging,
    /// It does not tell apart any more what it could tell apart.
    Faded,
    /// Its frames hardly change.
    Still,
}

impl Condition {
    /// True if the layer has lost what it has learnt: weights in this condition are not worth the ones before.
    pub const fn is_collapse(self) -> bool {
        matches!(self, Self::Dead | Self::Constant | Self::Diverging | Self::Faded)
    }
}

/// From where on a sign counts. `clapp paper collapse` says how often each is right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Rise of the share of dead channels, at least.
    pub dead: f32,
    /// Share of refused updates, at least.
    pub refused: f32,
    /// Standard deviation of the sketches relative to the activity's length, at most.
    pub change: f32,
    /// Loss over the reference, as a part of it, at least.
    pub excess: f32,
    /// Part of the largest difference of scores that is left, at most.
    pub left: f32,
    /// Distance of a frame from the one before, relative to its contrast, at most.
    pub frames: f32,
}

impl Limits {
    /// For streams of single frames: those that `clapp paper collapse` chose by all streams of its seeds 20 to 27 on
    /// CIFAR-10, 72 of them healthy, when the loss was still held against that of silence alone. That of still frames is a
    /// choice: frames of a natural stream have almost nothing in common, and those of a stuck sensor all.
    pub const DEFAULT: Self = Self { dead: 0.5, refused: 0.1, change: 0.01, excess: 2.0, left: -0.5, frames: 0.1 };

    /// No limit: every layer counts as sound.
    pub const NEVER: Self = Self {
        dead: f32::INFINITY,
        refused: f32::INFINITY,
        change: f32::NEG_INFINITY,
        excess: f32::INFINITY,
        left: f32::NEG_INFINITY,
        frames: f32::NEG_INFINITY,
    };

    /// For batches, whose mean scores vary much less than those of single frames.
    pub const BATCHES: Self = Self { excess: 0.5, left: 0.05, ..Self::DEFAULT };
}

/// The signs of a layer as numbers, each as [`Limits`] has it; `None` before there is a verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signs {
    /// Rise of the share of dead channels over that of the first reports; 1 where nearly all are dead.
    pub dead: Option<f32>,
    /// Share of refused updates.
    pub refused: Option<f32>,
    /// Relative change of the activity.
    pub change: Option<f32>,
    /// Excess of the loss: that of fixations or of saccades, the larger.
    pub excess: Option<f32>,
    /// The part that is left of the difference of scores.
    pub left: Option<f32>,
    /// Relative change of the frames; `None` from a [`Watch`] alone.
    pub frames: Option<f32>,
}

impl Signs {
    /// The condition of a layer with these signs: the first in this order that counts. A collapse goes before what is
    /// none.
    pub fn condition(&self, limits: &Limits) -> Condition {
        let Self { dead, refused, change, excess, left, frames } = *self;
        let (at_least, at_most) = (
            |sign: Option<f32>, limit: f32| sign.is_some_and(|sign| sign >= limit),
            |sign: Option<f32>, limit: f32| sign.is_some_and(|sign| sign <= limit),
        );
        if at_least(dead, limits.dead) {
            Condition::Dead
        } else if at_least(excess, limits.excess) {
            Condition::Diverging
        } else if at_most(change, limits.change) {
            Condition::Constant
        } else if at_most(left, limits.left) {
            Condition::Faded
        } else if at_least(refused, limits.refused) {
            Condition::Refused
        } else if at_most(frames, limits.frames) {
            Condition::Still
        } else {
            Condition::Sound
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contrast::Phase;
    use crate::guard::Refusal;
    use crate::network::Rule;
    use crate::observer::{Activity, LayerReport, Observer, Outcome};
    use crate::rng::stream;

    const LIMITS: Limits = Limits::BATCHES;

    fn report(loss: f32, positive: Option<f32>, negative: Option<f32>) -> LayerReport {
        LayerReport {
            layer: 0,
            outcome: Outcome::Applied,
            loss,
            mean_positive: positive,
            mean_negative: negative,
            update_norm: 0.1,
            dead: 0.0,
            satisfied: 0.0,
        }
    }

    /// A watch that has heard of so many rows of activity, each with a report.
    fn heard(rows: u32, mut activity: impl FnMut(u32) -> [f32; 64]) -> Watch {
        let (mut watch, rule) = (Watch::NEW, Rule::clapp_pp());
        for row in 0..rows {
            watch.activity(&activity(row));
            watch.report(&report(1.0, Some(0.1), None), &rule);
        }
        watch
    }

    #[test]
    fn activity_that_changes_in_length_alone_changes() {
        let mut rng = stream(1, 0);
        let narrow = heard(500, |_| {
            let length = rng.uniform(0.9, 1.1);
            core::array::from_fn(|at| length * (at % 7) as f32)
        });
        let constant = heard(500, |_| core::array::from_fn(|at| (at % 7) as f32));
        assert_eq!(narrow.condition(&LIMITS), Condition::Sound);
        assert_eq!(constant.condition(&LIMITS), Condition::Constant);
    }

    #[test]
    fn channels_that_die_are_seen_and_those_that_never_answered_are_not() {
        let rule = Rule::clapp_pp();
        for (at_first, later, expected) in [
            (0.6, 0.7, Condition::Sound),
            (0.1, 0.5, Condition::Sound),
            (0.1, 0.7, Condition::Dead),
            (0.6, 1.0, Condition::Dead),
            (1.0, 1.0, Condition::Dead),
        ] {
            let mut watch = Watch::NEW;
            let mut hear = |dead: f32, count: u32| {
                (0..count).for_each(|_| watch.report(&LayerReport { dead, ..report(1.0, Some(0.1), None) }, &rule));
                watch.condition(&Limits::DEFAULT)
            };
            assert_eq!(hear(at_first, 63), Condition::Sound, "{at_first}");
            hear(at_first, 1);
            assert_eq!(hear(later, 400), expected, "{at_first} to {later}");
        }
    }

    /// As where the weights are new, or a learning rate warms up.
    #[test]
    fn a_loss_that_is_large_at_first_is_let_pass() {
        let (mut watch, rule) = (Watch::NEW, Rule::clapp_pp());
        for frame in 0..600 {
            let loss = if frame < 128 { 9.0 } else { 0.8 };
            watch.report(&report(loss, None, Some(0.1)), &rule);
            assert_eq!(watch.condition(&Limits::DEFAULT), Condition::Sound, "{frame}");
        }
        let until = (0..600).position(|_| {
            watch.report(&report(9.0, None, Some(0.1)), &rule);
            watch.condition(&Limits::DEFAULT) == Condition::Diverging
        });
        assert!(until.is_some_and(|until| until < 64), "{until:?}");
    }

    #[test]
    fn a_loss_above_the_layer_s_own_is_divergence_in_streams_and_batches() {
        let rule = Rule::clapp_pp();
        for factor in [0.9_f32, 1.2, 1.8] {
            let (mut streamed, mut batched) = (Watch::NEW, Watch::NEW);
            for frame in 0..800 {
                // Hinge: each term costs 1 at a score of 0.
                let (positive, negative) = if frame % 2 == 0 { (Some(0.1), None) } else { (None, Some(0.0)) };
                let factor = if frame < 200 { 0.9 } else { factor };
                streamed.report(&report(factor, positive, negative), &rule);
                batched.report(&report(2.0 * factor, Some(0.1), Some(0.0)), &rule);
            }
            let expected = if factor > 1.5 { Condition::Diverging } else { Condition::Sound };
            assert_eq!(streamed.condition(&LIMITS), expected, "{factor}");
            assert_eq!(batched.condition(&LIMITS), expected, "{factor}");
            assert!(batched.signs().excess.is_some_and(|excess| (excess - (factor - 1.0)).abs() < 1e-4));
        }
    }

    /// First weights can do worse than a layer that says nothing, for as long as they have not learnt much: that is no
    /// divergence, but what comes on top is.
    #[test]
    fn the_reference_is_the_layer_s_own_and_first_weights_have_a_largest_loss() {
        let rule = Rule::clapp_pp();
        for (at_first, later, expected) in [
            (6.0, 6.0, Condition::Sound),
            (6.0, 15.0, Condition::Sound),
            (6.0, 19.0, Condition::Diverging),
            // Diverged with the first updates: no weights are drawn so.
            (1e4, 1e4, Condition::Diverging),
        ] {
            let mut watch = Watch::NEW;
            for frame in 0..1000 {
                let loss = if frame < 300 { at_first } else { later };
                watch.report(&report(loss, None, Some(loss - 1.0)), &rule);
            }
            assert_eq!(watch.condition(&Limits::DEFAULT), expected, "{at_first} to {later}");
        }
    }

    /// A stream turns from fixations, which cost nothing any more, to saccades alone, whose loss is what it was.
    #[test]
    fn fixations_and_saccades_have_a_reference_each() {
        let (mut watch, rule) = (Watch::NEW, Rule::clapp_pp());
        for frame in 0..3000 {
            let saccade = frame >= 1500 || frame % 10 == 0;
            let (positive, negative) = if saccade { (None, Some(3.0)) } else { (Some(1.5), None) };
            watch.report(&report(if saccade { 4.0 } else { 0.0 }, positive, negative), &rule);
            assert_eq!(watch.condition(&Limits::DEFAULT), Condition::Sound, "{frame}");
        }
    }

    #[test]
    fn what_has_not_learnt_has_not_collapsed() {
        let (rule, mut rng) = (Rule::clapp_pp(), stream(4, 0));
        let bad = |outcome: Outcome, update_norm: f32| LayerReport {
            outcome,
            dead: 1.0,
            update_norm,
            ..report(50.0, None, Some(49.0))
        };
        let refused = Outcome::Refused(Refusal::Activity);
        for (outcome, norm, expected) in [
            (Outcome::Muted, 0.0, Condition::Sound),
            (Outcome::Frozen, 0.0, Condition::Sound),
            (Outcome::NoContext, 0.0, Condition::Sound),
            (Outcome::Applied, 0.0, Condition::Sound),
            (refused, 0.0, Condition::Refused),
            (Outcome::Applied, 1e-3, Condition::Dead),
        ] {
            let mut watch = Watch::NEW;
            for _ in 0..1000 {
                watch.activity(&[1.0; 8]);
                watch.report(&bad(outcome, norm), &rule);
            }
            assert_eq!(watch.condition(&Limits::DEFAULT), expected, "{outcome:?}");
        }
        // What comes while nothing is learnt does not count after it has learnt, either.
        let mut watch = heard(500, |_| core::array::from_fn(|_| rng.uniform(0.0, 1.0)));
        for _ in 0..1000 {
            watch.activity(&[1.0; 64]);
            watch.report(&bad(Outcome::Muted, 0.0), &rule);
            assert_eq!(watch.condition(&Limits::DEFAULT), Condition::Sound);
        }
    }

    const LAYERS: usize = 2;

    /// Shows a frame, of which each layer makes the activity and the report.
    fn show(
        watches: &mut Watches<LAYERS>,
        (frame, phase, modulator): (&[f32], Phase, f32),
        pooled: &[f32],
        of: &LayerReport,
    ) {
        watches.frame(frame, phase, modulator);
        for layer in 0..LAYERS {
            watches.activity(&Activity { layer, rows: 1, output: pooled, pooled });
            watches.report(&LayerReport { layer, ..*of });
        }
    }

    /// A camera that is off, that is frozen, or that sees white: the frames are still, and no layer has collapsed; nor has
    /// one when the camera is back.
    #[test]
    fn frames_that_do_not_change_are_not_the_layers_collapse() {
        let picture = |rng: &mut crate::rng::Rng| core::array::from_fn::<f32, 64, _>(|_| rng.normal());
        let mut rng = stream(5, 0);
        let frozen = picture(&mut rng);
        for fault in [[0.0; 64], [2.0; 64], frozen] {
            let mut watches = Watches::<LAYERS>::new(Rule::clapp_pp(), Limits::DEFAULT);
            let mut still = 0;
            for at in 0..3000 {
                let is_fault = (1000..2000).contains(&at);
                let frame = if is_fault { fault } else { picture(&mut rng) };
                let saccade = at % 2 == 0;
                let (positive, negative) = if saccade { (None, Some(0.1)) } else { (Some(0.1), None) };
                // What ReLUs make of it.
                let pooled = frame.map(|value| value.max(0.0));
                let silent = pooled.iter().filter(|value| **value == 0.0).count();
                let dead = if silent == 64 { 1.0 } else { 0.2 };
                let report = LayerReport { dead, ..report(0.9, positive, negative) };
                let phase = if saccade { Phase::Saccade } else { Phase::Fixation };
                show(&mut watches, (&frame, phase, 1.0), &pooled, &report);
                let verdict = watches.verdict().map(|(_, condition)| condition);
                assert!(matches!(verdict, None | Some(Condition::Still)), "{at}: {verdict:?}");
                still += u32::from(verdict.is_some());
                assert!(verdict.is_none() || (1100..2100).contains(&at), "{at}");
            }
            assert!(still > 500, "{still}");
            // The same frames, and nothing is learnt from them.
            let mut watches = Watches::<LAYERS>::new(Rule::clapp_pp(), Limits::DEFAULT);
            for _ in 0..500 {
                let report = LayerReport { outcome: Outcome::Muted, dead: 1.0, ..report(9.0, None, Some(8.0)) };
                show(&mut watches, (&fault, Phase::Saccade, 0.0), &fault, &report);
                assert_eq!(watches.verdict(), None);
            }
        }
    }

    /// The way back: means that recover, or a stretch in which the layer keeps to what it has become.
    #[test]
    fn a_verdict_ends() {
        let mut rng = stream(6, 0);
        let mut hear = |watches: &mut Watches<LAYERS>, count: u32, dead: f32, loss: f32| {
            let mut until = None;
            for at in 0..count {
                let frame = core::array::from_fn::<f32, 16, _>(|_| rng.normal());
                let report = LayerReport { dead, ..report(loss, None, Some(loss - 1.0)) };
                show(watches, (&frame, Phase::Saccade, 1.0), &frame, &report);
                if watches.verdict().is_none() {
                    until = until.or(Some(at));
                }
            }
            (until, watches.verdict().map(|(_, condition)| condition))
        };
        let new = || Watches::<LAYERS>::new(Rule::clapp_pp(), Limits::DEFAULT);
        for (dead, loss, condition) in [(0.8, 1.0, Condition::Dead), (0.1, 9.0, Condition::Diverging)] {
            let mut watches = new();
            assert_eq!(hear(&mut watches, 300, 0.1, 1.0).1, None);
            assert_eq!(hear(&mut watches, 300, dead, loss).1, Some(condition));
            // It recovers.
            let (until, after) = hear(&mut watches, 300, 0.1, 1.0);
            assert!(until.is_some_and(|until| until < 150) && after.is_none(), "{condition:?} {until:?}");
            // It stays so.
            assert_eq!(hear(&mut watches, 300, dead, loss).1, Some(condition));
            assert_eq!(hear(&mut watches, STRETCH, dead, loss).1, None, "{condition:?}");
            // From there on, worse is worse.
            assert_eq!(hear(&mut watches, 300, 1.0, loss).1, Some(Condition::Dead));
        }
        // What needs no reference stays what it is.
        for (dead, loss, condition) in [(1.0, 1.0, Condition::Dead), (0.1, 1e3, Condition::Diverging)] {
            let mut watches = new();
            assert_eq!(hear(&mut watches, 300, 0.1, 1.0).1, None);
            assert_eq!(hear(&mut watches, 3 * STRETCH, dead, loss).1, Some(condition));
            assert_eq!(hear(&mut watches, 300, 0.1, 1.0).1, None);
        }
    }

    /// The first layer that has collapsed is named, before those that are only not sound.
    #[test]
    fn a_collapse_goes_before_what_is_none() {
        let mut watches = Watches::<LAYERS>::new(Rule::clapp_pp(), Limits::DEFAULT);
        let mut rng = stream(7, 0);
        for _ in 0..300 {
            let frame = core::array::from_fn::<f32, 16, _>(|_| rng.normal());
            watches.frame(&frame, Phase::Saccade, 1.0);
            let refused = Outcome::Refused(Refusal::NotFinite);
            watches.report(&LayerReport { outcome: refused, ..report(1.0, None, Some(0.0)) });
            watches.activity(&Activity { layer: 1, rows: 1, output: &frame, pooled: &[1.0; 8] });
            watches.report(&LayerReport { layer: 1, ..report(1.0, None, Some(0.0)) });
        }
        assert_eq!(watches.condition(0), Condition::Refused);
        assert_eq!(watches.verdict(), Some((1, Condition::Constant)));
        watches.forget();
        assert_eq!(watches.verdict(), None);
    }

    #[test]
    fn scores_that_were_apart_and_are_not_any_more_have_faded() {
        let rule = Rule::clapp_pp();
        let mut watch = Watch::NEW;
        for _ in 0..100 {
            watch.scores(2.0, Some(0.0), Some(0.0), &rule);
        }
        // Never apart: slow, not faded.
        assert_eq!((watch.condition(&LIMITS), watch.signs().left), (Condition::Sound, None));
        for _ in 0..600 {
            watch.scores(1.0, Some(0.8), Some(-0.4), &rule);
        }
        assert_eq!(watch.condition(&LIMITS), Condition::Sound);
        assert!(watch.signs().left.is_some_and(|left| left > 0.9));
        let mut until = 0;
        while watch.condition(&LIMITS) == Condition::Sound {
            watch.scores(2.0, Some(0.3), Some(0.3), &rule);
            until += 1;
            assert!(until < 3000);
        }
        assert_eq!(watch.condition(&LIMITS), Condition::Faded);
        assert!(until > 256, "{until}");
    }

    #[test]
    fn what_is_not_finite_does_not_spoil_the_means() {
        let (mut watch, rule, mut rng) = (Watch::NEW, Rule::clapp_pp(), stream(3, 0));
        for frame in 0..500 {
            let bad = if frame % 10 == 0 { f32::NAN } else { 1.0 };
            watch.activity(&core::array::from_fn::<f32, 8, _>(|_| rng.uniform(0.0, 1.0) * bad));
            watch.report(&report(bad, Some(0.5 * bad), Some(f32::INFINITY * bad)), &rule);
        }
        let signs = watch.signs();
        assert!(signs.change.is_some_and(|change| change.is_finite() && change > 0.05), "{signs:?}");
        assert!(signs.excess.is_some_and(|excess| excess.abs() < 1.0), "{signs:?}");
    }

    /// A first value whose square is not finite, or two whose distance has none, leaves the means as good as any other.
    #[test]
    fn what_is_huge_does_not_spoil_the_means() {
        let rule = Rule::clapp_pp();
        for huge in [[1.9e19, 1.9e19], [3e38, -3e38], [1.3e19, -1.3e19], [4e18, -4e18], [f32::MAX, f32::MIN]] {
            for count in [1, 2, 7] {
                let (mut watch, mut rng) = (Watch::NEW, stream(8, 0));
                for at in 0..count {
                    let value = huge[at % 2];
                    watch.activity(&[value; 8]);
                    watch.report(&report(value.abs(), Some(value), Some(-value)), &rule);
                }
                for _ in 0..6000 {
                    watch.activity(&core::array::from_fn::<f32, 8, _>(|_| rng.uniform(0.0, 1.0)));
                    watch.report(&report(1.0, Some(0.8), Some(-0.4)), &rule);
                }
                let signs = watch.signs();
                assert!(signs.change.is_some_and(|change| change.is_finite() && change > 0.05), "{huge:?} {signs:?}");
                assert!(signs.excess.is_some_and(|excess| excess.abs() < 1.0), "{huge:?} {signs:?}");
                assert!(signs.left.is_none_or(f32::is_finite), "{huge:?} {signs:?}");
                assert_eq!(watch.condition(&LIMITS), Condition::Sound, "{huge:?} {signs:?}");
                if huge[0] > 4e18 {
                    assert!(signs.left.is_some_and(|left| left > 0.9), "{huge:?} {signs:?}");
                }
            }
        }
    }

    #[test]
    fn a_watch_is_small() {
        assert!(size_of::<Watch>() <= 160, "{}", size_of::<Watch>());
    }
}
