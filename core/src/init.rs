//! First values of the parameters, drawn from a seed.
//!
//! Each tensor has a random stream of its own (four times the layer's index, plus 0 for the weights, 1 for
//! the bias, 2 for the projection and 3 for the feedback), so that a change in one layer leaves the first
//! values of the others as they were. The values depend on the seed and the shapes only, never on features.

use crate::network::NetworkView;
use crate::plan::Layer;
use crate::rng::{Rng, stream};

/// The slice of parameters is not as long as [`NetworkView::parameter_len`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ParameterLength {
    /// Elements that the network has.
    pub needed: usize,
    /// Elements that were given.
    pub given: usize,
}

impl core::fmt::Display for ParameterLength {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the network has {} parameters, but the slice holds {}", self.needed, self.given)
    }
}

impl core::error::Error for ParameterLength {}

/// Draws all parameters as PyTorch does by default (docs/paper.md 4): weights and biases uniform within
/// `1 / sqrt(fan_in)` of 0, projections uniform within `1 / sqrt(length of the context)` of 0.
///
/// `parameters` has the layout of [`crate::plan`].
///
/// # Errors
/// If `parameters` has another length than the network's parameters.
pub fn uniform(net: &NetworkView<'_>, seed: u64, parameters: &mut [f32]) -> Result<(), ParameterLength> {
    each_tensor(net, parameters, |tensor, layer, values| {
        let mut rng = tensor.stream(seed, layer);
        match tensor {
            Tensor::Weight | Tensor::Bias => fill(&mut rng, layer.fan_in(), values),
            Tensor::Projection => fill(&mut rng, layer.pooled.len(), values),
            Tensor::Feedback => fill(&mut rng, net.top_len(), values),
        }
    })
}

/// Draws orthogonal weights and zero biases (docs/paper.md 6.3); projections as in [`uniform`], with the same values.
///
/// The weights of a layer are seen as a matrix `[out, fan_in]`. Where it has no more rows than columns its
/// rows are orthonormal (`W W^T = 1`: the layer passes on an orthogonal projection of its input); where it
/// has more rows than columns its columns are (`W^T W = 1`: lengths and angles are kept). A square matrix
/// has both. The directions are evenly distributed over all orthonormal frames: Gram-Schmidt on normal
/// draws, each vector made orthogonal twice. It takes about `4 min^2 max` operations of the two sides.
///
/// `parameters` has the layout of [`crate::plan`].
///
/// # Errors
/// If `parameters` has another length than the network's parameters.
pub fn orthogonal(net: &NetworkView<'_>, seed: u64, parameters: &mut [f32]) -> Result<(), ParameterLength> {
    each_tensor(net, parameters, |tensor, layer, values| {
        let mut rng = tensor.stream(seed, layer);
        match tensor {
            Tensor::Weight => Frame::of(layer).draw(&mut rng, values),
            Tensor::Bias => values.fill(0.0),
            Tensor::Projection => fill(&mut rng, layer.pooled.len(), values),
            Tensor::Feedback => fill(&mut rng, net.top_len(), values),
        }
    })
}

/// The tensor of a layer that is drawn; the numbers are part of a stream's name and never change.
#[derive(Clone, Copy)]
enum Tensor {
    Weight = 0,
    Bias = 1,
    Projection = 2,
    Feedback = 3,
}

impl Tensor {
    fn stream(self, seed: u64, layer: &Layer) -> Rng {
        stream(seed, 4 * layer.index as u64 + self as u64)
    }
}

/// Calls `draw` with each tensor of each layer, in the order in which they lie.
fn each_tensor(
    net: &NetworkView<'_>,
    parameters: &mut [f32],
    mut draw: impl FnMut(Tensor, &Layer, &mut [f32]),
) -> Result<(), ParameterLength> {
    let wrong = ParameterLength { needed: net.parameter_len(), given: parameters.len() };
    if wrong.needed != wrong.given {
        return Err(wrong);
    }
    let mut rest = parameters;
    let encoder = [Tensor::Weight, Tensor::Bias];
    let projections = [Tensor::Projection, Tensor::Feedback];
    for tensors in [encoder, projections] {
        for layer in (0..net.layer_count()).filter_map(|index| net.layer(index)) {
            for tensor in tensors {
                let length = match tensor {
                    Tensor::Weight => layer.weight_len(),
                    Tensor::Bias => layer.bias_len(),
                    Tensor::Projection => net.same_len(&layer),
                    Tensor::Feedback => net.feedback_len(&layer),
                };
                let (values, behind) = rest.split_at_mut_checked(length).ok_or(wrong)?;
                draw(tensor, &layer, values);
                rest = behind;
            }
        }
    }
    Ok(())
}

/// Uniform within `1 / sqrt(inputs)` of 0.
fn fill(rng: &mut Rng, inputs: usize, values: &mut [f32]) {
    let bound = 1.0 / libm::sqrtf(inputs as f32);
    for value in values {
        *value = rng.uniform(-bound, bound);
    }
}

/// A matrix seen as `count` vectors of `length` elements: its rows or its columns, whichever are fewer.
struct Frame {
    count: usize,
    length: usize,
    /// Elements from one vector to the next.
    vector_stride: usize,
    /// Elements from one element of a vector to its next.
    element_stride: usize,
}

impl Frame {
    fn of(layer: &Layer) -> Self {
        let (rows, columns) = (layer.block.out_channels, layer.fan_in());
        if rows <= columns {
            Self { count: rows, length: columns, vector_stride: columns, element_stride: 1 }
        } else {
            Self { count: columns, length: rows, vector_stride: 1, element_stride: columns }
        }
    }

    /// Fills `matrix` with `count` orthonormal vectors.
    fn draw(&self, rng: &mut Rng, matrix: &mut [f32]) {
        for vector in 0..self.count {
            // One draw is enough, but for a chance of about 1e-4 in the last vector of a square matrix that
            // hardly anything of it is left, and rounding errors are most of that.
            for _ in 0..8 {
                for at in self.elements(vector) {
                    if let Some(element) = matrix.get_mut(at) {
                        *element = rng.normal();
                    }
                }
                self.orthogonalise(vector, matrix);
                let square = self.dot(vector, vector, matrix);
                if square > 1e-8 * self.length as f32 {
                    self.add(vector, 1.0 / libm::sqrtf(square) - 1.0, vector, matrix);
                    // Twice is enough (Kahan and Parlett): what rounding left of the others was made larger.
                    self.orthogonalise(vector, matrix);
                    let square = self.dot(vector, vector, matrix);
                    self.add(vector, 1.0 / libm::sqrtf(square) - 1.0, vector, matrix);
                    break;
                }
            }
        }
    }

    /// Takes the part along each earlier vector from `vector`.
    fn orthogonalise(&self, vector: usize, matrix: &mut [f32]) {
        for earlier in 0..vector {
            let along = self.dot(vector, earlier, matrix);
            self.add(vector, -along, earlier, matrix);
        }
    }

    fn elements(&self, vector: usize) -> impl Iterator<Item = usize> + use<> {
        let (first, stride) = (vector * self.vector_stride, self.element_stride);
        (0..self.length).map(move |element| first + element * stride)
    }

    fn dot(&self, one: usize, other: usize, matrix: &[f32]) -> f32 {
        let mut sum = 0.0;
        for (a, b) in self.elements(one).zip(self.elements(other)) {
            if let (Some(a), Some(b)) = (matrix.get(a), matrix.get(b)) {
                sum += a * b;
            }
        }
        sum
    }

    /// `vector += factor * other`.
    fn add(&self, vector: usize, factor: f32, other: usize, matrix: &mut [f32]) {
        for (to, from) in self.elements(vector).zip(self.elements(other)) {
            let from = matrix.get(from).copied().unwrap_or(0.0);
            if let Some(to) = matrix.get_mut(to) {
                *to += factor * from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::network::{Block, Network, Rule};
    use crate::shape::Shape;
    use std::vec;
    use std::vec::Vec;

    /// Wide, tall and square weight matrices: `[8, 18]`, `[80, 72]`, `[80, 80]`.
    const NET: Network<3> = Network::new(
        Shape::new(2, 9, 9),
        [Block::conv(8, [3, 3]), Block::conv(80, [3, 3]), Block::conv(80, [1, 1])],
        Rule::clapp_pp_both(),
    );

    fn drawn(
        net: &NetworkView<'_>,
        how: fn(&NetworkView<'_>, u64, &mut [f32]) -> Result<(), ParameterLength>,
    ) -> Vec<f32> {
        let mut parameters = vec![f32::NAN; net.parameter_len()];
        how(net, 11, &mut parameters).unwrap();
        parameters
    }

    fn tensors(net: &NetworkView<'_>, parameters: &mut [f32]) -> Vec<(usize, u8, Vec<f32>)> {
        let mut all = Vec::new();
        each_tensor(net, parameters, |tensor, layer, values| all.push((layer.index, tensor as u8, values.to_vec())))
            .unwrap();
        all
    }

    #[test]
    fn uniform_values_fill_their_bounds_evenly() {
        let net = NET.view();
        let mut parameters = drawn(&net, uniform);
        for (index, tensor, values) in tensors(&net, &mut parameters) {
            let layer = net.layer(index).unwrap();
            let inputs = [layer.fan_in(), layer.fan_in(), layer.pooled.len(), net.top_len()][usize::from(tensor)];
            let bound = 1.0 / (inputs as f64).sqrt();
            let count = values.len() as f64;
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
            let variance = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / count;
            let largest = values.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            assert!(f64::from(largest) <= bound * (1.0 + 1e-7), "{largest} beyond {bound}");
            // Five standard errors of the mean and of the mean square of a uniform number.
            assert!(mean.abs() < 5.0 * bound / (3.0 * count).sqrt());
            assert!((variance - bound * bound / 3.0).abs() < 5.0 * bound * bound * (4.0 / 45.0 / count).sqrt());
        }
    }

    /// Computed from the definitions by another program; a seed in a lab book means these numbers.
    #[test]
    fn first_values_are_fixed_for_ever() {
        let mut parameters = drawn(&NET.view(), uniform);
        let heads: Vec<Vec<f32>> =
            tensors(&NET.view(), &mut parameters).into_iter().map(|t| t.2[..3].to_vec()).collect();
        assert_eq!(heads[0], [0.0561859, 0.15423617, -0.23118636]);
        assert_eq!(heads[1], [0.16126704, -0.19864617, 0.1874257]);
        assert_eq!(heads[2], [-0.04871475, 0.053636312, -0.039192796]);
        // Layer 0's projection: 8 pooled channels; its feedback: 80.
        assert_eq!(heads[6], [-0.16248448, 0.3507984, 0.24278256]);
        assert_eq!(heads[7], [0.077083394, 0.06178154, 0.0021547154]);
    }

    #[test]
    fn a_layer_does_not_depend_on_the_others() {
        let net = NET.view();
        let mut all = drawn(&net, uniform);
        let lower = NetworkView::try_new(net.input(), &net.blocks()[..2], net.rule()).unwrap();
        let mut fewer = drawn(&lower, uniform);
        let (all, fewer) = (tensors(&net, &mut all), tensors(&lower, &mut fewer));
        // The first two layers' encoder, and their projections to themselves.
        assert_eq!(all[..4], fewer[..4]);
        assert_eq!((&all[6], &all[8]), (&fewer[4], &fewer[6]));
        for (one, values) in all.iter().enumerate() {
            assert!(all[..one].iter().all(|earlier| earlier.2[0] != values.2[0]), "two tensors share a stream");
        }
    }

    #[test]
    fn orthogonal_weights_are_orthonormal() {
        let net = NET.view();
        let mut parameters = drawn(&net, orthogonal);
        let mut uniform_parameters = drawn(&net, uniform);
        let usual = tensors(&net, &mut uniform_parameters);
        for (at, (index, tensor, values)) in tensors(&net, &mut parameters).into_iter().enumerate() {
            match tensor {
                0 => {
                    let layer = net.layer(index).unwrap();
                    let (rows, columns) = (layer.block.out_channels, layer.fan_in());
                    let element = |row: usize, column: usize| f64::from(values[row * columns + column]);
                    let side = rows.min(columns);
                    for a in 0..side {
                        for b in 0..=a {
                            let dot: f64 = if rows <= columns {
                                (0..columns).map(|k| element(a, k) * element(b, k)).sum()
                            } else {
                                (0..rows).map(|k| element(k, a) * element(k, b)).sum()
                            };
                            let want = if a == b { 1.0 } else { 0.0 };
                            assert!((dot - want).abs() < 2e-6, "layer {index}: vectors {a} and {b} have product {dot}");
                        }
                    }
                }
                1 => assert!(values.iter().all(|&bias| bias == 0.0)),
                _ => assert_eq!(values, usual[at].2),
            }
        }
    }

    #[test]
    fn a_wrong_length_is_refused() {
        let net = NET.view();
        let mut short = vec![0.0; net.parameter_len() - 1];
        let error = ParameterLength { needed: net.parameter_len(), given: short.len() };
        assert_eq!(uniform(&net, 0, &mut short), Err(error));
        assert_eq!(orthogonal(&net, 0, &mut short), Err(error));
        assert!(short.iter().all(|&x| x == 0.0));
    }
}
