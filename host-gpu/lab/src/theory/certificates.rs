//! Numeric certificates of the paper's statements, each on one random network and batch (docs/paper.md 6.1, 6.7).
//!
//! Tests hold them against their tolerances on a few networks, `clapp paper theorem` on many.

use super::align::{Context, Losses, Seen, cosine_of, distance};
use super::contrast::Contrast;
use super::layer::{Geometry, Layer};
use super::loss::{Negatives, Projections};
use super::net::Net;
use super::optimum::{OptimumError, Rule};
use super::weights::{gaussian, orthogonal, uniform};
use clapp_data::rng::{Purpose, Rng, stream};
use nalgebra::DMatrix;

/// `lambda` of all certificates.
pub const RIDGE: f64 = 0.01;
/// All contrasts.
pub const CONTRASTS: [Contrast; 4] =
    [Contrast::Linear, Contrast::SoftHinge, Contrast::Hinge, Contrast::PhyLl { theta: 2.0 }];
/// Both contexts.
pub const CONTEXTS: [Context; 2] = [Context::Lateral, Context::Feedback];

/// Kind of networks; part of the name of their random streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Existence = 1,
    Convolution,
    Equality,
    Feedback,
    Spatial,
}

fn rng(seed: u64, what: What) -> Rng {
    stream(seed, Purpose::Theory, 0x100 + what as u64, 0)
}

/// Pairs of views: normal numbers, and the same with half as much noise on them; `2 pairs` rows, one a column.
pub fn gaussian_pairs(inputs: usize, pairs: usize, rng: &mut Rng) -> DMatrix<f64> {
    let first = gaussian(inputs, pairs, rng);
    let noise = gaussian(inputs, pairs, rng) * 0.5;
    DMatrix::from_fn(inputs, 2 * pairs, |i, row| {
        if row < pairs { first[(i, row)] } else { first[(i, row - pairs)] + noise[(i, row - pairs)] }
    })
}

fn losses(contrast: Contrast, context: Context, pools: Vec<usize>, rule: Rule) -> Losses {
    Losses { contrast, ridge: RIDGE, context, pools, rule }
}

fn between(low: usize, high: usize, rng: &mut Rng) -> usize {
    low + rng.below(high - low + 1)
}

/// The greatest relative error of a layer's gradient with the projections of the existence lemma, given random ones at
/// the top.
fn existence_error(net: &Net, losses: &Losses, x: &DMatrix<f64>, negatives: Negatives, rng: &mut Rng) -> f64 {
    let seen = Seen::new(net, losses, x, negatives);
    let last = seen.depth() - 1;
    // Long enough for scores on both sides of the hinge.
    let top = seen.random(last, rng);
    let lengthen = |p: &DMatrix<f64>| p * (p.ncols() as f64).sqrt();
    let top = top.map(lengthen);
    let projections: Vec<Projections> = (0..=last).map(|at| seen.lemma(at, &top)).collect();
    seen.agreements(&projections).iter().map(|agreement| agreement.distance).fold(0.0, f64::max)
}

/// Existence lemma on a dense network of three to six layers of four to 24 units, weights uniform: the greatest relative
/// error of a layer. Negatives are the next rows, or with `uniform_negatives` three random rows for each.
pub fn existence(seed: u64, contrast: Contrast, context: Context, uniform_negatives: bool) -> f64 {
    let rng = &mut rng(seed, What::Existence);
    let widths: Vec<usize> = (0..between(3, 6, rng)).map(|_| between(4, 24, rng)).collect();
    let inputs = between(8, 32, rng);
    let net = Net::dense(inputs, &widths, false, |_, outputs, inputs| uniform(outputs, inputs, rng) * 2.0);
    let x = gaussian_pairs(inputs, 8, rng);
    let negatives = if uniform_negatives { Negatives::uniform(16, 3, rng) } else { Negatives::ring(16) };
    let losses = losses(contrast, context, vec![1; widths.len()], Rule::Reference);
    existence_error(&net, &losses, &x, negatives, rng)
}

/// Windows of a stack of convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// 2x2, two pixels apart.
    Apart,
    /// 3x3, one pixel apart, with a zero around the maps.
    Padded,
}

/// A stack of three convolutions of random width with uniform weights, on maps of 8x8, or 5x5 where padded.
fn convolutions(windows: Windows, rng: &mut Rng) -> Net {
    let (mut size, kernel, stride, padding) = match windows {
        Windows::Apart => (8, 2, 2, 0),
        Windows::Padded => (5, 3, 1, 1),
    };
    let mut channels = between(1, 3, rng);
    let mut layers = Vec::new();
    for _ in 0..3 {
        let geometry = Geometry { channels, height: size, width: size, kernel, stride, padding };
        channels = between(3, 6, rng);
        layers.push(Layer::new(geometry, uniform(channels, geometry.window(), rng) * 2.0));
        size = geometry.output().0;
    }
    Net { layers, relu: false }
}

/// Existence lemma on a stack of three convolutions without pooling below the top, and there with or without.
pub fn existence_convolutional(
    seed: u64,
    contrast: Contrast,
    context: Context,
    windows: Windows,
    pooled_top: bool,
) -> f64 {
    let rng = &mut rng(seed, What::Convolution);
    let mut net = convolutions(windows, rng);
    if windows == Windows::Apart {
        // The top's maps are to be more than a pixel.
        net.layers.pop();
    }
    let last = &net.layers[net.layers.len() - 1];
    let mut pools = vec![1; net.layers.len()];
    if pooled_top {
        pools[net.layers.len() - 1] = last.geometry.output().0;
    }
    let x = gaussian_pairs(net.layers[0].geometry.inputs(), 6, rng);
    let losses = losses(contrast, context, pools, Rule::Reference);
    existence_error(&net, &losses, &x, Negatives::ring(12), rng)
}

/// Distance from equality in Theorem 3.1 on a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Equality {
    /// The greatest relative error of a layer's gradient.
    pub distance: f64,
    /// The least cosine.
    pub cosine: f64,
    /// The least cosine between a layer's optimal projections and those that the existence lemma makes of the top's.
    pub of_projections: f64,
}

/// Theorem 3.1 on a network of three to six layers of equal width (8 to 16): optimal projections, orthogonal weights but
/// for the first layer's, which are uniform and not square. All weights are uniform without `orthogonal_weights`.
///
/// # Errors
/// If the optimum is not reached.
pub fn equality(
    seed: u64,
    contrast: Contrast,
    context: Context,
    rule: Rule,
    orthogonal_weights: bool,
) -> Result<Equality, OptimumError> {
    let rng = &mut rng(seed, What::Equality);
    let (depth, width, inputs) = (between(3, 6, rng), between(8, 16, rng), between(17, 32, rng));
    let net = Net::dense(inputs, &vec![width; depth], false, |at, outputs, inputs| {
        if at > 0 && orthogonal_weights { orthogonal(outputs, inputs, rng) } else { uniform(outputs, inputs, rng) }
    });
    let x = gaussian_pairs(inputs, 16, rng);
    let losses = losses(contrast, context, vec![1; depth], rule);
    let seen = Seen::new(&net, &losses, &x, Negatives::ring(32));
    let optima = seen.optima(rng)?;
    let agreements = seen.agreements(&optima);
    let top = &optima[depth - 1];
    let of_projections = (0..depth).map(|at| cosine_of(&optima[at], &seen.lemma(at, top)));
    Ok(Equality {
        distance: agreements.iter().map(|agreement| agreement.distance).fold(0.0, f64::max),
        cosine: agreements.iter().map(|agreement| agreement.cosine).fold(1.0, f64::min),
        of_projections: of_projections.fold(1.0, f64::min),
    })
}

/// Widths of the networks of Theorem 3.3, the input first.
pub const DECREASING: [usize; 4] = [24, 16, 12, 6];

/// Theorem 3.3: for each layer below the top the relative distances from the back-propagated gradient and the cosines,
/// `[lateral, direct feedback]` each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feedback {
    /// Distances.
    pub distances: [f64; 2],
    /// Cosines.
    pub cosines: [f64; 2],
}

/// Theorem 3.3 on a network of widths [`DECREASING`] with semi-orthogonal weights and optimal projections.
///
/// # Errors
/// If the optimum is not reached.
pub fn feedback(seed: u64, contrast: Contrast, rule: Rule) -> Result<Vec<Feedback>, OptimumError> {
    let rng = &mut rng(seed, What::Feedback);
    let (inputs, widths) = (DECREASING[0], &DECREASING[1..]);
    let net = Net::dense(inputs, widths, false, |_, outputs, inputs| orthogonal(outputs, inputs, rng));
    let x = gaussian_pairs(inputs, 16, rng);
    let mut of = |context: Context| {
        let losses = losses(contrast, context, vec![1; widths.len()], rule);
        let seen = Seen::new(&net, &losses, &x, Negatives::ring(32));
        Ok::<_, OptimumError>(seen.agreements(&seen.optima(rng)?))
    };
    let (lateral, direct) = (of(Context::Lateral)?, of(Context::Feedback)?);
    let pair = lateral.iter().zip(&direct).take(widths.len() - 1);
    Ok(pair
        .map(|(lateral, direct)| Feedback {
            distances: [lateral.distance, direct.distance],
            cosines: [lateral.cosine, direct.cosine],
        })
        .collect())
}

/// Proposition 3.5 on a stack of convolutions whose top is pooled to one pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spatial {
    /// Greatest relative error of a layer's error (gradient by its values) without pooling below the top, with the
    /// projections of the existence lemma.
    pub unpooled: f64,
    /// Least relative error over the layers below the top that any projections whatever can reach where the layer is
    /// pooled to one pixel: its error is then the same on all pixels, and the nearest such is the mean over the pixels.
    pub pooled: f64,
}

/// Proposition 3.5 on a stack of three convolutions; the top is pooled to one pixel.
pub fn spatial(seed: u64, contrast: Contrast, context: Context, windows: Windows) -> Spatial {
    let rng = &mut rng(seed, What::Spatial);
    let net = convolutions(windows, rng);
    let last = net.layers.len() - 1;
    let size = |at: usize| net.layers[at].geometry.output().0;
    let mut pools = vec![1; last + 1];
    pools[last] = size(last);
    let x = gaussian_pairs(net.layers[0].geometry.inputs(), 6, rng);
    let losses = losses(contrast, context, pools, Rule::Reference);
    let seen = Seen::new(&net, &losses, &x, Negatives::ring(12));
    let top = seen.random(last, rng);
    let global = seen.back_propagated(&top);
    let unpooled = (0..last).map(|at| distance(&seen.local_error(at, &seen.lemma(at, &top)), &global[at]));
    let pooled = (0..last).map(|at| {
        let pool = net.pool(at, size(at));
        // Pooling is an average, so its adjoint spreads 1 / pixels of it.
        let mean = pool.backward(&pool.forward(&global[at])) * (size(at) * size(at)) as f64;
        distance(&mean, &global[at])
    });
    Spatial { unpooled: unpooled.fold(0.0, f64::max), pooled: pooled.fold(f64::INFINITY, f64::min) }
}
