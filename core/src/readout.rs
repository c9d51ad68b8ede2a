//! Heads that learn on the device: classifiers on the concatenated pooled activity of all layers.
//!
//! Both keep their numbers in slices that the caller owns, refuse what is not finite, and leave everything
//! as it was where they refuse. [`Linear`] learns by the delta rule on its softmax, and
//! [`cross_entropy_gradient`] with [`descend`] does the same over a batch under any optimiser (docs/paper.md 5.3).
//! [`NearestMean`] needs no learning rate: it keeps each class's mean, over its last examples.

use crate::dense::squares;
use crate::math;
use crate::optimizer::{Optimizer, Step, Totals, UNBOUNDED};
use crate::rows::{each_row, each_row_mut};

/// The reason for which a head refused to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ReadoutError {
    /// A slice is empty, or its length does not fit the others'.
    Length,
    /// The label is not below the number of classes.
    Label {
        /// The label that was given.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A feature, a result computed from it, or the learning rate is not finite, or so large that the head
    /// would not stay finite.
    NotFinite,
    /// No class has been learnt yet.
    Untrained,
}

impl core::fmt::Display for ReadoutError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length => f.write_str("the lengths of features, weights, bias or scratch do not fit together"),
            Self::Label { label, classes } => write!(f, "label {label} is not below the {classes} classes"),
            Self::NotFinite => f.write_str(
                "a feature, a logit, a distance or the learning rate is not finite, or too large to learn from",
            ),
            Self::Untrained => f.write_str("no class has been learnt yet"),
        }
    }
}

impl core::error::Error for ReadoutError {}

/// Softmax classifier: `logits = W x + b`.
#[derive(Debug)]
pub struct Linear<'a> {
    weight: &'a mut [f32],
    bias: &'a mut [f32],
    logits: &'a mut [f32],
    features: usize,
}

impl<'a> Linear<'a> {
    /// A head over `weight` `[classes, features]`, `bias` `[classes]` and scratch `logits` `[classes]`.
    /// The numbers in `weight` and `bias` are kept; all zeros are a good start.
    ///
    /// # Errors
    /// [`ReadoutError::Length`] where the lengths do not fit together or there is no class or feature.
    pub fn new(
        features: usize,
        weight: &'a mut [f32],
        bias: &'a mut [f32],
        logits: &'a mut [f32],
    ) -> Result<Self, ReadoutError> {
        check_lengths(features, weight, bias, logits)?;
        Ok(Self { weight, bias, logits, features })
    }

    /// The logits `[classes]` of `features` `[features]`.
    ///
    /// # Errors
    /// [`ReadoutError::Length`] for a wrong number of features, [`ReadoutError::NotFinite`] for features or
    /// logits that are not finite.
    pub fn logits(&mut self, features: &[f32]) -> Result<&[f32], ReadoutError> {
        if features.len() != self.features {
            return Err(ReadoutError::Length);
        }
        compute_logits(self.weight, self.bias, features, self.logits)?;
        Ok(self.logits)
    }

    /// The class of the largest logit; the first of several.
    ///
    /// # Errors
    /// Those of [`Linear::logits`].
    pub fn predict(&mut self, features: &[f32]) -> Result<usize, ReadoutError> {
        Ok(first_largest(self.logits(features)?))
    }

    /// One step of the delta rule, `W += rate (onehot(label) - softmax) x^T`, and the same for the bias:
    /// gradient descent on the cross-entropy. Returns the cross-entropy before the step, in nats.
    ///
    /// # Errors
    /// Those of [`Linear::logits`], [`ReadoutError::Label`], and [`ReadoutError::NotFinite`] for a `rate` that is not
    /// finite, or a step that could move a logit of these features by 2^100 or more: `|rate| (|x|^2 + 1)` bounds it.
    /// Nothing is learnt then.
    pub fn learn(&mut self, features: &[f32], label: usize, rate: f32) -> Result<f32, ReadoutError> {
        check_label(label, self.bias.len())?;
        self.logits(features)?;
        // The errors lie between -1 and 1, so this bounds each change of a weight or a bias, too.
        let reach = rate.abs() * (squares(features) + 1.0);
        if reach.is_nan() || reach >= UNBOUNDED {
            return Err(ReadoutError::NotFinite);
        }
        let loss = into_error(self.logits, label);
        add_outer(-rate, self.logits, features, self.weight, self.bias);
        Ok(loss)
    }
}

/// Gradient of the mean cross-entropy of a batch; returns that mean, in nats.
///
/// `batch` `[rows, features]` and `labels` `[rows]`; `weight` `[classes, features]`, `bias` `[classes]` and
/// scratch `logits` `[classes]`; writes `weight_gradient` and `bias_gradient`, shaped as `weight` and `bias`.
///
/// # Errors
/// [`ReadoutError::Length`], [`ReadoutError::Label`], and [`ReadoutError::NotFinite`] for a feature or a
/// logit that is not finite; the gradients are of no use then.
pub fn cross_entropy_gradient(
    batch: &[f32],
    labels: &[usize],
    [weight, bias]: [&[f32]; 2],
    [weight_gradient, bias_gradient]: [&mut [f32]; 2],
    logits: &mut [f32],
) -> Result<f32, ReadoutError> {
    let features = batch.len().checked_div(labels.len()).ok_or(ReadoutError::Length)?;
    check_lengths(features, weight, bias, logits)?;
    if batch.len() != features * labels.len()
        || weight_gradient.len() != weight.len()
        || bias_gradient.len() != bias.len()
    {
        return Err(ReadoutError::Length);
    }
    weight_gradient.fill(0.0);
    bias_gradient.fill(0.0);
    let share = 1.0 / labels.len() as f32;
    let mut loss = 0.0;
    for (row, &label) in each_row(batch, features).zip(labels) {
        check_label(label, bias.len())?;
        compute_logits(weight, bias, row, logits)?;
        loss += into_error(logits, label);
        add_outer(share, logits, row, weight_gradient, bias_gradient);
    }
    Ok(loss * share)
}

/// One step of `optimizer` down `gradient`, over parameters of a head: its `weight` or its `bias`.
///
/// `parameters` and `gradient` are one tensor (LARS scales by its norms). `state` is empty for plain SGD, twice
/// as long as `parameters` for AdamW, and as long as they are for the others; zeros at first. `steps` is the
/// number of earlier steps.
///
/// # Errors
/// [`ReadoutError::Length`], or [`ReadoutError::NotFinite`] where a parameter or the state would not be
/// finite; nothing is changed then.
pub fn descend(
    optimizer: &Optimizer,
    steps: u32,
    gradient: &[f32],
    parameters: &mut [f32],
    state: &mut [f32],
) -> Result<(), ReadoutError> {
    let length = parameters.len();
    let parts = match optimizer {
        Optimizer::Sgd { momentum: 0.0, .. } => 0,
        Optimizer::Sgd { .. } | Optimizer::Lars { .. } | Optimizer::Record => 1,
        Optimizer::AdamW { .. } => 2,
    };
    if gradient.len() != length || Some(state.len()) != length.checked_mul(parts) {
        return Err(ReadoutError::Length);
    }
    let step = Step::new(optimizer, 1.0, steps);
    let (first, second) = state.split_at_mut_checked(length).unwrap_or_default();
    let scale = match *optimizer {
        Optimizer::Lars { trust, weight_decay, .. } => {
            let decayed = gradient.iter().zip(parameters.iter()).map(|(g, p)| g + weight_decay * p);
            let decayed = math::sqrt(decayed.fold(0.0, |sum, g| sum + g * g));
            let norm = math::sqrt(squares(parameters));
            if norm > 0.0 && decayed > 0.0 { trust * (norm / decayed) } else { 1.0 }
        }
        _ => 1.0,
    };
    for write in [false, true] {
        let mut totals = Totals::default();
        step.take(gradient, scale, parameters, first, second, write, &mut totals);
        if totals.probe != 0.0 {
            return Err(ReadoutError::NotFinite);
        }
    }
    Ok(())
}

/// Nearest class mean: the class whose mean features are closest in Euclidean distance.
///
/// A mean is the plain mean of a class's first [`NearestMean::SPAN`] examples. From then on each example moves it by
/// `1 / SPAN` of the way, so that it follows a sensor that drifts: 1,000 examples replace all but 0.04 % of what was
/// learnt before. The price is a mean that scatters by 6 % of what single examples do. [`NearestMean::with_span`] sets
/// another span.
#[derive(Debug)]
pub struct NearestMean<'a> {
    means: &'a mut [f32],
    counts: &'a mut [u32],
    features: usize,
    span: u32,
}

impl<'a> NearestMean<'a> {
    /// Examples of a class over which its mean reaches, unless [`NearestMean::with_span`] says otherwise.
    pub const SPAN: u32 = 128;

    /// A head over `means` `[classes, features]` and `counts` `[classes]` (examples learnt of each class, also those
    /// beyond the span). What they hold is kept; a count of 0 is a class not learnt yet, whatever its mean holds.
    ///
    /// # Errors
    /// [`ReadoutError::Length`] where the lengths do not fit together or there is no class or feature.
    pub fn new(features: usize, means: &'a mut [f32], counts: &'a mut [u32]) -> Result<Self, ReadoutError> {
        if features == 0 || counts.is_empty() || Some(means.len()) != counts.len().checked_mul(features) {
            return Err(ReadoutError::Length);
        }
        Ok(Self { means, counts, features, span: Self::SPAN })
    }

    /// Sets the span: an example moves its class's mean by at least `1 / span` of the way. 1 (0 counts as 1) keeps the
    /// last example only, `u32::MAX` the mean of all examples.
    #[must_use]
    pub fn with_span(mut self, span: u32) -> Self {
        self.span = span.max(1);
        self
    }

    /// Moves the mean of class `label` to take in one more example.
    ///
    /// # Errors
    /// [`ReadoutError::Length`], [`ReadoutError::Label`] or [`ReadoutError::NotFinite`]; nothing is learnt then.
    pub fn learn(&mut self, features: &[f32], label: usize) -> Result<(), ReadoutError> {
        let classes = self.counts.len();
        self.check(features)?;
        check_label(label, classes)?;
        let mean = each_row_mut(self.means, self.features).nth(label);
        let (Some(mean), Some(count)) = (mean, self.counts.get_mut(label)) else {
            return Err(ReadoutError::Label { label, classes });
        };
        if *count == 0 {
            mean.iter_mut().zip(features).for_each(|(mean, feature)| *mean = *feature);
        } else {
            let share = 1.0 / count.saturating_add(1).min(self.span) as f32;
            for (mean, &feature) in mean.iter_mut().zip(features) {
                *mean += share * feature - share * *mean;
            }
        }
        *count = count.saturating_add(1);
        Ok(())
    }

    /// The class with the nearest mean among those learnt; the first of several.
    ///
    /// # Errors
    /// [`ReadoutError::Length`], [`ReadoutError::NotFinite`] for a feature that is not finite or where no distance is
    /// (the square of 2^64 is not), or [`ReadoutError::Untrained`] before any class is learnt.
    pub fn predict(&self, features: &[f32]) -> Result<usize, ReadoutError> {
        self.check(features)?;
        let mut nearest = None;
        let means = each_row(self.means, self.features);
        for (class, (mean, _)) in means.zip(self.counts.iter()).enumerate().filter(|(_, (_, count))| **count > 0) {
            let mut distance = 0.0;
            for (mean, feature) in mean.iter().zip(features) {
                distance += (feature - mean) * (feature - mean);
            }
            if nearest.is_none_or(|(_, least)| distance < least) {
                nearest = Some((class, distance));
            }
        }
        match nearest {
            None => Err(ReadoutError::Untrained),
            Some((class, distance)) if f32::is_finite(distance) => Ok(class),
            Some(_) => Err(ReadoutError::NotFinite),
        }
    }

    /// Examples learnt of each class.
    pub fn counts(&self) -> &[u32] {
        self.counts
    }

    fn check(&self, features: &[f32]) -> Result<(), ReadoutError> {
        if features.len() != self.features {
            return Err(ReadoutError::Length);
        }
        check_finite(features)
    }
}

fn check_lengths(features: usize, weight: &[f32], bias: &[f32], logits: &[f32]) -> Result<(), ReadoutError> {
    let fits = Some(weight.len()) == bias.len().checked_mul(features) && logits.len() == bias.len();
    if fits && !weight.is_empty() { Ok(()) } else { Err(ReadoutError::Length) }
}

fn check_label(label: usize, classes: usize) -> Result<(), ReadoutError> {
    if label < classes { Ok(()) } else { Err(ReadoutError::Label { label, classes }) }
}

fn check_finite(values: &[f32]) -> Result<(), ReadoutError> {
    if values.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(ReadoutError::NotFinite) }
}

/// `logits = W x + b`.
fn compute_logits(weight: &[f32], bias: &[f32], features: &[f32], logits: &mut [f32]) -> Result<(), ReadoutError> {
    check_finite(features)?;
    let rows = each_row(weight, features.len());
    for ((logit, row), &bias) in logits.iter_mut().zip(rows).zip(bias) {
        let mut sum = 0.0;
        for (weight, feature) in row.iter().zip(features) {
            sum += weight * feature;
        }
        *logit = sum + bias;
    }
    check_finite(logits)
}

/// Turns logits into `softmax - onehot(label)`, the derivative of the cross-entropy, which it returns.
fn into_error(logits: &mut [f32], label: usize) -> f32 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |most, &logit| most.max(logit));
    let of_label = logits.get(label).map_or(0.0, |logit| logit - largest);
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = math::exp(*logit - largest);
        sum += *logit;
    }
    for (class, error) in logits.iter_mut().enumerate() {
        *error = *error / sum - if class == label { 1.0 } else { 0.0 };
    }
    // The largest logit adds 1 to the sum, so the argument is not negative.
    math::ln_1p(sum - 1.0) - of_label
}

/// `weight += factor * error * features^T`, `bias += factor * error`.
fn add_outer(factor: f32, error: &[f32], features: &[f32], weight: &mut [f32], bias: &mut [f32]) {
    let rows = each_row_mut(weight, features.len());
    for ((row, bias), &error) in rows.zip(bias).zip(error) {
        let step = factor * error;
        for (weight, &feature) in row.iter_mut().zip(features) {
            *weight += step * feature;
        }
        *bias += step;
    }
}

fn first_largest(values: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (at, &value) in values.iter().enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::rng::{Rng, stream};
    use std::vec::Vec;

    const FEATURES: usize = 6;
    const CLASSES: usize = 3;
    /// The precision that the exponential of [`math`] leaves of a gradient's digits.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 3e-3 } else { 1e-6 };

    fn draw(rng: &mut Rng, count: usize) -> Vec<f32> {
        (0..count).map(|_| rng.uniform(-1.0, 1.0)).collect()
    }

    /// An example of a class: its own centre with noise around it.
    fn example(rng: &mut Rng, label: usize) -> [f32; FEATURES] {
        core::array::from_fn(|at| 0.3 * rng.normal() + if at % CLASSES == label { 1.0 } else { 0.0 })
    }

    /// Mean cross-entropy in double precision, straight from its definition.
    fn loss(batch: &[f32], labels: &[usize], weight: &[f64], bias: &[f64]) -> f64 {
        let mut sum = 0.0;
        for (row, &label) in batch.chunks_exact(FEATURES).zip(labels) {
            let logit = |class: usize| {
                row.iter().zip(&weight[class * FEATURES..]).map(|(&x, w)| f64::from(x) * w).sum::<f64>() + bias[class]
            };
            sum += (0..CLASSES).map(|class| logit(class).exp()).sum::<f64>().ln() - logit(label);
        }
        sum / labels.len() as f64
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let mut rng = stream(1, 0);
        let (batch, labels) = (draw(&mut rng, 5 * FEATURES), [0, 2, 1, 1, 0]);
        let (weight, bias) = (draw(&mut rng, CLASSES * FEATURES), draw(&mut rng, CLASSES));
        let mut gradients = [[f32::NAN; CLASSES * FEATURES].to_vec(), [f32::NAN; CLASSES].to_vec()];
        let [weight_gradient, bias_gradient] = &mut gradients;
        let into = [weight_gradient.as_mut_slice(), bias_gradient.as_mut_slice()];
        let got = cross_entropy_gradient(&batch, &labels, [&weight, &bias], into, &mut [0.0; CLASSES]).unwrap();
        let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (weight, bias) = (wide(&weight), wide(&bias));
        assert!((f64::from(got) - loss(&batch, &labels, &weight, &bias)).abs() < TOLERANCE);
        let step = 1e-4;
        for at in 0..CLASSES * FEATURES + CLASSES {
            let moved = |by: f64| {
                let (mut weight, mut bias) = (weight.clone(), bias.clone());
                match at.checked_sub(CLASSES * FEATURES) {
                    None => weight[at] += by,
                    Some(class) => bias[class] += by,
                }
                loss(&batch, &labels, &weight, &bias)
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            let computed = gradients.concat()[at];
            assert!((f64::from(computed) - slope).abs() < TOLERANCE, "element {at}: {computed} against {slope}");
        }
    }

    #[test]
    fn the_delta_rule_is_a_step_down_the_gradient() {
        let mut rng = stream(2, 0);
        let features = draw(&mut rng, FEATURES);
        let (mut weight, mut bias) = (draw(&mut rng, CLASSES * FEATURES), draw(&mut rng, CLASSES));
        let (before, bias_before) = (weight.clone(), bias.clone());
        let (mut down, mut bias_down) = ([0.0; CLASSES * FEATURES], [0.0; CLASSES]);
        let mut logits = [0.0; CLASSES];
        let into = [down.as_mut_slice(), bias_down.as_mut_slice()];
        let expected = cross_entropy_gradient(&features, &[1], [&weight, &bias], into, &mut logits);
        let mut head = Linear::new(FEATURES, &mut weight, &mut bias, &mut logits).unwrap();
        assert_eq!(head.learn(&features, 1, 0.1), expected);
        for ((after, before), down) in
            weight.iter().zip(&before).zip(down).chain(bias.iter().zip(&bias_before).zip(bias_down))
        {
            assert!((after - (before - 0.1 * down)).abs() < 1e-6);
        }
    }

    #[test]
    fn both_heads_learn_classes_online() {
        let mut rng = stream(3, 0);
        let (mut weight, mut bias, mut logits) = ([0.0; CLASSES * FEATURES], [0.0; CLASSES], [0.0; CLASSES]);
        let (mut means, mut counts) = ([f32::NAN; CLASSES * FEATURES], [0; CLASSES]);
        let mut linear = Linear::new(FEATURES, &mut weight, &mut bias, &mut logits).unwrap();
        let mut nearest = NearestMean::new(FEATURES, &mut means, &mut counts).unwrap();
        assert_eq!(nearest.predict(&[0.0; FEATURES]), Err(ReadoutError::Untrained));
        let mut right = [0; 2];
        for trial in 0..400 {
            let label = trial % CLASSES;
            let features = example(&mut rng, label);
            if trial >= 300 {
                right[0] += usize::from(linear.predict(&features) == Ok(label));
                right[1] += usize::from(nearest.predict(&features) == Ok(label));
            } else {
                linear.learn(&features, label, 0.1).unwrap();
                nearest.learn(&features, label).unwrap();
            }
        }
        assert!(right.iter().all(|&right| right >= 97), "{right:?} of 100");
        assert_eq!(nearest.counts(), [100; 3]);
    }

    #[test]
    fn nearest_mean_keeps_the_mean_and_ignores_classes_it_has_not_seen() {
        let (mut means, mut counts) = ([f32::NAN; 4], [0; 2]);
        let mut head = NearestMean::new(2, &mut means, &mut counts).unwrap();
        for example in [[1.0, 2.0], [2.0, 2.0], [6.0, -1.0]] {
            head.learn(&example, 1).unwrap();
        }
        assert_eq!(head.predict(&[-9.0, -9.0]), Ok(1));
        assert!((means[2] - 3.0).abs() < 1e-6 && (means[3] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_mean_follows_its_last_examples() {
        let spans = [(NearestMean::SPAN, 0.999..1.0), (1000, 0.63..0.64), (u32::MAX, 0.0909..0.091), (0, 1.0..1.1)];
        for (span, moved) in spans {
            let (mut means, mut counts) = ([0.0], [0]);
            let mut head = NearestMean::new(1, &mut means, &mut counts).unwrap();
            assert_eq!(head.span, NearestMean::SPAN);
            head = head.with_span(span);
            for at in 0..11_000 {
                head.learn(&[if at < 10_000 { 0.0 } else { 1.0 }], 0).unwrap();
            }
            assert_eq!(head.counts(), [11_000]);
            assert!(moved.contains(&means[0]), "{span}: {}", means[0]);
        }
    }

    #[test]
    fn a_step_too_large_for_the_head_is_refused() {
        let (mut weight, mut bias, mut logits) = ([0.5, -0.5], [0.25; 2], [0.0; 2]);
        let mut head = Linear::new(1, &mut weight, &mut bias, &mut logits).unwrap();
        for (feature, rate) in [(1e30, 1e10), (1e30, 1.0), (1e18, 1e-3), (1.0, 1e38), (0.0, 1e38), (1.0, f32::NAN)] {
            assert_eq!(head.learn(&[feature], 0, rate), Err(ReadoutError::NotFinite), "{feature} {rate}");
        }
        // Whatever is learnt, the head still works afterwards.
        for feature in [1e-30, 1.0, 1e10, 1e20, -1e15, 1e37] {
            for rate in [1e-30, 1e-3, 1.0, 1e10] {
                let _ = head.learn(&[feature], 1, rate);
                assert!(head.logits(&[1.0]).is_ok() && head.learn(&[1.0], 0, 0.1).is_ok(), "{feature} {rate}");
            }
        }
    }

    #[test]
    fn distances_that_overflow_name_no_class() {
        let (mut means, mut counts) = ([0.0, 1e30], [1; 2]);
        let head = NearestMean::new(1, &mut means, &mut counts).unwrap();
        assert_eq!(head.predict(&[-1e30]), Err(ReadoutError::NotFinite));
        assert_eq!(head.predict(&[f32::MAX]), Err(ReadoutError::NotFinite));
        // One that does not overflow is nearer than one that does.
        assert_eq!((head.predict(&[1e30]), head.predict(&[1e18])), (Ok(1), Ok(0)));
    }

    #[test]
    fn what_cannot_be_learnt_changes_nothing() {
        let (mut weight, mut bias, mut logits) = ([0.5; 6], [0.25; 2], [0.0; 2]);
        let (mut means, mut counts) = ([0.5; 6], [1; 2]);
        let mut linear = Linear::new(3, &mut weight, &mut bias, &mut logits).unwrap();
        let mut nearest = NearestMean::new(3, &mut means, &mut counts).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(linear.learn(&[0.0, bad, 1.0], 0, 0.1), Err(ReadoutError::NotFinite));
            assert_eq!(linear.predict(&[0.0, bad, 1.0]), Err(ReadoutError::NotFinite));
            assert_eq!(linear.learn(&[0.0, 1.0, 1.0], 0, bad), Err(ReadoutError::NotFinite));
            assert_eq!(nearest.learn(&[0.0, bad, 1.0], 0), Err(ReadoutError::NotFinite));
            assert_eq!(nearest.predict(&[0.0, bad, 1.0]), Err(ReadoutError::NotFinite));
        }
        // Finite features whose logit is not.
        assert_eq!(linear.learn(&[f32::MAX, f32::MAX, f32::MAX], 0, 0.1), Err(ReadoutError::NotFinite));
        let label = Err(ReadoutError::Label { label: 2, classes: 2 });
        assert_eq!((linear.learn(&[0.0; 3], 2, 0.1).map(|_| ()), nearest.learn(&[0.0; 3], 2)), (label, label));
        assert_eq!(
            (linear.predict(&[0.0; 2]), nearest.predict(&[0.0; 2])),
            (Err(ReadoutError::Length), Err(ReadoutError::Length))
        );
        assert_eq!((weight, bias, means, counts), ([0.5; 6], [0.25; 2], [0.5; 6], [1; 2]));
    }

    /// Steps written out from the optimisers' definitions (docs/paper.md 5.1), in double precision.
    #[test]
    fn every_optimiser_descends_by_its_definition() {
        let (lr, momentum, weight_decay, trust) = (0.05, 0.9, 0.01, 0.001);
        let (betas, eps) = ([0.9, 0.999], 1e-8);
        let optimizers = [
            Optimizer::Sgd { lr, momentum: 0.0, weight_decay },
            Optimizer::Sgd { lr, momentum, weight_decay },
            Optimizer::AdamW { lr, betas, eps, weight_decay },
            Optimizer::Lars { lr, momentum, weight_decay, trust },
        ];
        for (case, optimizer) in optimizers.into_iter().enumerate() {
            let (mut parameters, mut state) = ([0.5, -1.0, 2.0], [0.0; 6]);
            let state = &mut state[..3 * [0, 1, 2, 1][case]];
            let (mut p, mut m, mut v) = ([0.5, -1.0, 2.0_f64], [0.0; 3], [0.0; 3]);
            for steps in 0..4 {
                // The gradient of half a sum of squares.
                let gradient = parameters;
                descend(&optimizer, steps, &gradient, &mut parameters, state).unwrap();
                let norm = |values: [f64; 3]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
                let scale = if case == 3 { 0.001 * norm(p) / norm(p.map(|p| p + 0.01 * p)) } else { 1.0 };
                for ((p, m), v) in p.iter_mut().zip(&mut m).zip(&mut v) {
                    let g = if case == 2 { *p } else { scale * (*p + 0.01 * *p) };
                    if case == 2 {
                        *m = 0.9 * *m + 0.1 * g;
                        *v = 0.999 * *v + 0.001 * g * g;
                        let unbiased = [
                            *m / (1.0 - 0.9_f64.powi(steps as i32 + 1)),
                            *v / (1.0 - 0.999_f64.powi(steps as i32 + 1)),
                        ];
                        *p -= 0.05 * (unbiased[0] / (unbiased[1].sqrt() + 1e-8) + 0.01 * *p);
                    } else {
                        *m = if case == 0 { g } else { 0.9 * *m + g };
                        *p -= 0.05 * *m;
                    }
                }
            }
            for (got, want) in parameters.iter().zip(p) {
                assert!((f64::from(*got) - want).abs() < TOLERANCE, "optimiser {case}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn a_step_out_of_the_finite_numbers_is_refused_whole() {
        let (mut parameters, mut state) = ([1.0, 1.0], [0.0; 4]);
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            let refused = descend(&Optimizer::adam_w(0.1), 0, &[1.0, bad], &mut parameters, &mut state);
            assert_eq!(refused, Err(ReadoutError::NotFinite));
        }
        let refused = descend(&Optimizer::sgd(0.1), 0, &[1.0, f32::NAN], &mut parameters, &mut []);
        assert_eq!(refused, Err(ReadoutError::NotFinite));
        let refused = descend(&Optimizer::sgd(0.1), 0, &[1.0], &mut parameters, &mut []);
        assert_eq!(refused, Err(ReadoutError::Length));
        let refused = descend(&Optimizer::adam_w(0.1), 0, &[1.0, 1.0], &mut parameters, &mut [0.0; 2]);
        assert_eq!(refused, Err(ReadoutError::Length));
        assert_eq!((parameters, state), ([1.0, 1.0], [0.0; 4]));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let refused = |features, weight: usize, bias: usize, logits: usize| {
            let (mut w, mut b, mut l) = ([0.0; 12], [0.0; 12], [0.0; 12]);
            Linear::new(features, &mut w[..weight], &mut b[..bias], &mut l[..logits]).is_err()
        };
        assert!(!refused(3, 6, 2, 2));
        assert!(refused(3, 6, 2, 3) && refused(3, 5, 2, 2) && refused(0, 0, 2, 2) && refused(3, 0, 0, 0));
        let mut gradient = [0.0; 6];
        let (weights, bias_gradient) = ([0.0; 6], &mut [0.0; 2]);
        let got = cross_entropy_gradient(
            &[0.0; 5],
            &[0, 1],
            [&weights, &[0.0; 2]],
            [&mut gradient, bias_gradient],
            &mut [0.0; 2],
        );
        assert_eq!(got, Err(ReadoutError::Length));
        let got =
            cross_entropy_gradient(&[], &[], [&weights, &[0.0; 2]], [&mut gradient, bias_gradient], &mut [0.0; 2]);
        assert_eq!(got, Err(ReadoutError::Length));
        assert!(NearestMean::new(3, &mut [0.0; 5], &mut [0; 2]).is_err());
        assert!(NearestMean::new(0, &mut [], &mut [0; 2]).is_err());
    }
}
