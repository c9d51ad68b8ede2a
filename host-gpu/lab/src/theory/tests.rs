//! The tests TH1 to TH7, TH11 and TH12 of docs/paper.md 6.7, and what the theory stands on: gradients and optima.

use super::align::{Context, Losses, Seen, distance};
use super::certificates::{
    CONTEXTS, CONTRASTS, RIDGE, Windows, equality, existence, existence_convolutional, feedback, gaussian_pairs,
    spatial,
};
use super::contrast::Contrast;
use super::layer::{Geometry, Layer};
use super::loss::{Loss, Negatives, Projections, references};
use super::net::Net;
use super::optimum::{Rule, closed_form, minimise};
use super::weights::{gaussian, orthogonal, uniform};
use argmin::core::{CostFunction, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use clapp_data::rng::{Purpose, Rng, stream};
use nalgebra::{DMatrix, DVector};

fn rng(index: u64) -> Rng {
    stream(1, Purpose::Theory, 0, index)
}

fn projections(rows: usize, columns: usize, rng: &mut Rng) -> Projections {
    Projections { first: gaussian(rows, columns, rng), second: gaussian(rows, columns, rng) }
}

/// Central differences of `f` at all entries of `at`.
fn differences(at: &DMatrix<f64>, f: impl Fn(&DMatrix<f64>) -> f64) -> DMatrix<f64> {
    let step = 1e-5;
    DMatrix::from_fn(at.nrows(), at.ncols(), |i, j| {
        let shifted = |by: f64| {
            let mut moved = at.clone();
            moved[(i, j)] += by;
            f(&moved)
        };
        (shifted(step) - shifted(-step)) / (2.0 * step)
    })
}

#[test]
fn gradients_of_the_loss_are_those_of_finite_differences() {
    for (case, contrast) in CONTRASTS.into_iter().enumerate() {
        let rng = &mut rng(case as u64);
        let (z, context, given) = (gaussian(5, 8, rng), gaussian(3, 8, rng), projections(3, 5, rng));
        let references = references(&context);
        for negatives in [Negatives::ring(8), Negatives::uniform(8, 3, rng)] {
            let loss = Loss { contrast, negatives, ridge: 0.3 };
            let by_z = differences(&z, |z| loss.value(&given, z, &references));
            assert!(distance(&loss.activity_gradient(&given, &z, &references), &by_z) < 1e-8, "{contrast:?}");
            let gradient = loss.projection_gradient(&given, &z, &references);
            let first = differences(&given.first, |first| {
                loss.value(&Projections { first: first.clone(), ..given.clone() }, &z, &references)
            });
            let second = differences(&given.second, |second| {
                loss.value(&Projections { second: second.clone(), ..given.clone() }, &z, &references)
            });
            assert!(distance(&gradient.first, &first) < 1e-8, "{contrast:?}");
            assert!(distance(&gradient.second, &second) < 1e-8, "{contrast:?}");
        }
    }
}

#[test]
fn the_gradient_of_the_mismatch_is_that_of_finite_differences() {
    for (case, contrast) in CONTRASTS.into_iter().enumerate() {
        let rng = &mut rng(60 + case as u64);
        let (z, context, given) = (gaussian(5, 8, rng), gaussian(3, 8, rng), projections(3, 5, rng));
        let (references, ideal) = (references(&context), gaussian(5, 8, rng) * 0.1);
        for negatives in [Negatives::ring(8), Negatives::uniform(8, 3, rng)] {
            let loss = Loss { contrast, negatives, ridge: 0.3 };
            let mismatch = |given: &Projections| loss.mismatch(given, &z, &references, &ideal);
            let (value, gradient) = mismatch(&given);
            assert!((value - (loss.activity_gradient(&given, &z, &references) - &ideal).norm_squared()).abs() < 1e-12);
            let first =
                differences(&given.first, |first| mismatch(&Projections { first: first.clone(), ..given.clone() }).0);
            let second = differences(&given.second, |second| {
                mismatch(&Projections { second: second.clone(), ..given.clone() }).0
            });
            assert!(distance(&gradient.first, &first) < 1e-7, "{contrast:?}");
            assert!(distance(&gradient.second, &second) < 1e-7, "{contrast:?}");
        }
    }
}

/// Small networks of all kinds of layers; ReLU and biases where asked for.
fn networks(relu: bool, rng: &mut Rng) -> Vec<Net> {
    let maps = |channels, size, kernel, stride, padding| Geometry {
        channels,
        height: size,
        width: size,
        kernel,
        stride,
        padding,
    };
    let stacks = [
        vec![(Geometry::dense(6), 5), (Geometry::dense(5), 4)],
        vec![(maps(2, 4, 2, 2, 0), 3), (maps(3, 2, 2, 2, 0), 4)],
        vec![(maps(1, 4, 3, 1, 1), 2), (maps(2, 4, 3, 1, 1), 3)],
        // The last row and column lie under no window.
        vec![(maps(2, 5, 2, 2, 0), 3), (maps(3, 2, 1, 1, 0), 2)],
    ];
    stacks
        .into_iter()
        .map(|stack| {
            let mut layer = |(geometry, outputs): (Geometry, usize)| Layer {
                biases: relu.then(|| DVector::from_fn(outputs, |_, _| f64::from(rng.normal()))),
                ..Layer::new(geometry, uniform(outputs, geometry.window(), rng))
            };
            Net { layers: stack.into_iter().map(&mut layer).collect(), relu }
        })
        .collect()
}

#[test]
fn back_propagation_is_that_of_finite_differences() {
    for relu in [false, true] {
        for net in networks(relu, &mut rng(10)) {
            let rng = &mut rng(11);
            let x = gaussian(net.layers[0].geometry.inputs(), 6, rng);
            let top = net.layers[1].outputs();
            let (given, loss) = (
                projections(top, top, rng),
                Loss { contrast: Contrast::SoftHinge, negatives: Negatives::ring(6), ridge: 0.0 },
            );
            let context = references(&net.forward(&x)[2]);
            let value = |net: &Net| loss.value(&given, &net.forward(&x)[2], &context);
            let values = net.forward(&x);
            let errors = net.back_propagate(&values, loss.activity_gradient(&given, &values[2], &context));
            for at in 0..2 {
                let expected = differences(&net.layers[at].weights, |weights| {
                    let mut net = net.clone();
                    net.layers[at].weights = weights.clone();
                    value(&net)
                });
                let found = net.weight_gradient(at, &values, &errors[at]);
                assert!(distance(&found, &expected) < 1e-7, "{:?}: {found} {expected}", net.layers[at].geometry);
                let (_, biases) =
                    net.layers[at].gradient(&values[at], &net.before_activation(&values[at + 1], &errors[at]));
                for i in 0..biases.as_ref().map_or(0, DVector::len) {
                    let at_bias = |by: f64| {
                        let mut net = net.clone();
                        net.layers[at].biases.as_mut().unwrap()[i] += by;
                        value(&net)
                    };
                    let expected = (at_bias(1e-5) - at_bias(-1e-5)) / 2e-5;
                    assert!((biases.as_ref().unwrap()[i] - expected).abs() < 1e-8);
                }
            }
        }
    }
}

#[test]
fn a_convolution_is_the_sum_that_it_should_be() {
    // 2 channels of 3x3, 3x3 windows with zeros around, 1 output: by the definition.
    let rng = &mut rng(12);
    let geometry = Geometry { channels: 2, height: 3, width: 3, kernel: 3, stride: 1, padding: 1 };
    let layer = Layer::new(geometry, gaussian(1, 18, rng));
    let x = gaussian(18, 2, rng);
    let found = layer.forward(&x);
    for sample in 0..2 {
        for (row, column) in (0..9).map(|pixel| (pixel / 3, pixel % 3)) {
            let mut sum = 0.0;
            for (y, x_, channel) in (0..18).map(|i| (i / 6, i / 2 % 3, i % 2)) {
                let (top, left) = ((row + y) as isize - 1, (column + x_) as isize - 1);
                if (0..3).contains(&top) && (0..3).contains(&left) {
                    let pixel = (top as usize * 3 + left as usize) * 2 + channel;
                    sum += layer.weights[(0, (y * 3 + x_) * 2 + channel)] * x[(pixel, sample)];
                }
            }
            assert!((found[(row * 3 + column, sample)] - sum).abs() < 1e-13);
        }
    }
}

#[test]
fn random_weights_are_what_they_are_called() {
    for (rows, columns) in [(5, 5), (3, 7), (7, 3)] {
        let w = orthogonal(rows, columns, &mut rng(13));
        let gram = if rows <= columns { &w * w.transpose() } else { w.tr_mul(&w) };
        assert_eq!((w.nrows(), w.ncols()), (rows, columns));
        assert!((gram - DMatrix::identity(rows.min(columns), rows.min(columns))).amax() < 1e-14);
    }
    let w = uniform(50, 16, &mut rng(14));
    assert!(w.amax() <= 0.25 && w.amax() > 0.24 && w.mean().abs() < 0.02);
}

/// A batch of correlated halves and contexts, of rank less than the rows.
fn batch(case: u64) -> (DMatrix<f64>, DMatrix<f64>) {
    let rng = &mut rng(20 + case);
    let x = gaussian_pairs(12, 10, rng);
    let z = uniform(6, 12, rng) * &x;
    (z, references(&(uniform(4, 12, rng) * x)))
}

#[test]
fn closed_form_and_minimiser_agree() {
    for case in 0..5 {
        let (z, references) = batch(case);
        let loss = Loss { contrast: Contrast::Linear, negatives: Negatives::ring(20), ridge: RIDGE };
        let expected = closed_form(&loss, &z, &references);
        assert!(loss.projection_gradient(&expected, &z, &references).largest() < 1e-14);
        // docs/paper.md 6.2, word by word.
        let mut first = DMatrix::zeros(4, 6);
        for row in 0..10 {
            let difference = references.column(row) - references.column((row + 19) % 20);
            first += difference * z.column(row).transpose() / (20.0 * RIDGE);
        }
        assert!(distance(&expected.first, &first) < 1e-14);
        for (rule, tolerance) in [(Rule::Reference, 1e-3), (Rule::Strict, 1e-12)] {
            let start = projections(4, 6, &mut rng(70 + case));
            let found = minimise(&loss, &z, &references, rule, &start).unwrap().projections;
            assert!(distance(&found.first, &expected.first) < tolerance);
            assert!(distance(&found.second, &expected.second) < tolerance);
        }
    }
}

#[test]
fn the_optimum_has_no_gradient_and_no_better_neighbour() {
    for contrast in [Contrast::SoftHinge, Contrast::PhyLl { theta: 2.0 }] {
        for negatives in [Negatives::ring(20), Negatives::uniform(20, 3, &mut rng(30))] {
            let (z, references) = batch(7);
            let loss = Loss { contrast, negatives, ridge: RIDGE };
            let start = Projections::uniform(4, 6, &mut rng(31));
            let strict = minimise(&loss, &z, &references, Rule::Strict, &start).unwrap().projections;
            assert!(loss.projection_gradient(&strict, &z, &references).largest() < 1e-10);
            let lowest = loss.value(&strict, &z, &references);
            for step in 0..20 {
                let rng = &mut rng(40 + step);
                let by = |p: &DMatrix<f64>| p + gaussian(4, 6, &mut rng.clone()) * 1e-2;
                assert!(loss.value(&strict.map(by), &z, &references) > lowest);
            }
            let reference = minimise(&loss, &z, &references, Rule::Reference, &start).unwrap();
            assert!(reference.iterations > 0);
            let excess = loss.value(&reference.projections, &z, &references) - lowest;
            assert!((-1e-14..1e-7).contains(&excess), "{excess}");
        }
    }
}

/// The loss on the entries of `P` and `Q` themselves.
struct Plain<'a>(&'a Loss, &'a DMatrix<f64>, &'a DMatrix<f64>);

impl Plain<'_> {
    fn projections(&self, entries: &[f64]) -> Projections {
        let half = |from| DMatrix::from_column_slice(4, 6, &entries[from..from + 24]);
        Projections { first: half(0), second: half(24) }
    }

    fn entries(projections: &Projections) -> Vec<f64> {
        projections.first.iter().chain(&projections.second).copied().collect()
    }
}

impl CostFunction for &Plain<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, entries: &Vec<f64>) -> Result<f64, argmin::core::Error> {
        Ok(self.0.value(&self.projections(entries), self.1, self.2))
    }
}

impl Gradient for &Plain<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, entries: &Vec<f64>) -> Result<Vec<f64>, argmin::core::Error> {
        Ok(Plain::entries(&self.0.projection_gradient(&self.projections(entries), self.1, self.2)))
    }
}

#[test]
fn steps_on_the_span_are_those_on_all_entries() {
    // 20 rows of 2 scores, of which each projection sees 20, in 24 entries: some of the start lies outside.
    for contrast in [Contrast::SoftHinge, Contrast::Linear] {
        let (z, references) = batch(3);
        let loss = Loss { contrast, negatives: Negatives::ring(20), ridge: RIDGE };
        let start = Projections::uniform(4, 6, &mut rng(32));
        // The same three calls of the library on all 48 entries.
        let plain = Plain(&loss, &z, &references);
        let mut entries = Plain::entries(&start);
        let mut iterations = 0;
        for _ in 0..3 {
            let solver = LBFGS::new(MoreThuenteLineSearch::new(), 100);
            let solver = solver.with_tolerance_grad(1e-7).unwrap().with_tolerance_cost(1e-9).unwrap();
            let run = Executor::new(&plain, solver).configure(|state| state.param(entries).max_iters(1000)).run();
            let mut state = run.unwrap().state;
            iterations += state.get_iter();
            entries = state.take_best_param().unwrap();
        }
        let expected = plain.projections(&entries);
        let found = minimise(&loss, &z, &references, Rule::Reference, &start).unwrap();
        assert_eq!(found.iterations, iterations);
        assert!(distance(&found.projections.first, &expected.first) < 1e-6);
        assert!(distance(&found.projections.second, &expected.second) < 1e-6);
    }
}

#[test]
fn th1_existence_lemma_dense() {
    for contrast in CONTRASTS {
        for context in CONTEXTS {
            for seed in 0..20 {
                let error = existence(seed, contrast, context, seed % 2 == 1);
                assert!(error <= 1e-12, "{contrast:?} {context:?} {seed}: {error:e}");
            }
        }
    }
}

#[test]
fn th2_existence_lemma_convolutional() {
    for contrast in CONTRASTS {
        for context in CONTEXTS {
            for windows in [Windows::Apart, Windows::Padded] {
                for seed in 0..4 {
                    let error = existence_convolutional(seed, contrast, context, windows, seed % 2 == 1);
                    assert!(error <= 1e-12, "{contrast:?} {context:?} {windows:?} {seed}: {error:e}");
                }
            }
        }
    }
}

#[test]
fn th3_theorem_31_linear() {
    for seed in 0..20 {
        for context in CONTEXTS {
            let found = equality(seed, Contrast::Linear, context, Rule::Strict, true).unwrap();
            assert!(found.distance <= 1e-12, "{seed}: {found:?}");
        }
    }
}

#[test]
fn th4_theorem_31_softhinge() {
    for seed in 0..8 {
        let strict = equality(seed, Contrast::SoftHinge, Context::Lateral, Rule::Strict, true).unwrap();
        assert!(strict.distance <= 1e-6, "{seed}: {strict:?}");
        let reference = equality(seed, Contrast::SoftHinge, Context::Lateral, Rule::Reference, true).unwrap();
        assert!(reference.distance <= 2e-3 && reference.cosine >= 1.0 - 1e-5, "{seed}: {reference:?}");
    }
}

#[test]
fn th7_theorem_33_direct_feedback_is_nearer() {
    for seed in 0..100 {
        for (layer, found) in feedback(seed, Contrast::Linear, Rule::Strict).unwrap().iter().enumerate() {
            let [lateral, direct] = found.distances;
            assert!(direct <= lateral + 1e-12, "seed {seed}, layer {layer}: {found:?}");
            assert!(direct > 1e-3, "seed {seed}, layer {layer}: nothing to tell apart");
        }
    }
}

#[test]
fn th11_optimal_projections_are_those_of_the_lemma() {
    for seed in 0..8 {
        for context in CONTEXTS {
            let found = equality(seed, Contrast::SoftHinge, context, Rule::Strict, true).unwrap();
            assert!(found.of_projections >= 1.0 - 1e-6, "{seed} {context:?}: {found:?}");
            let not = equality(seed, Contrast::SoftHinge, context, Rule::Strict, false).unwrap();
            assert!(not.of_projections < 0.99, "{seed} {context:?}: {not:?}");
        }
    }
}

#[test]
fn th12_at_the_top_local_is_global_to_the_bit() {
    for context in CONTEXTS {
        for net in networks(true, &mut rng(50)) {
            let rng = &mut rng(51);
            let x = gaussian(net.layers[0].geometry.inputs(), 8, rng);
            let losses = Losses {
                contrast: Contrast::SoftHinge,
                ridge: RIDGE,
                context,
                pools: vec![1; 2],
                rule: Rule::Reference,
            };
            let seen = Seen::new(&net, &losses, &x, Negatives::ring(8));
            let top = seen.random(1, rng);
            let local = seen.by_weights(1, &seen.local_error(1, &top));
            let global = seen.by_weights(1, &seen.back_propagated(&top)[1]);
            assert!(local.norm() > 0.0);
            assert_eq!(local, global);
        }
    }
}

#[test]
fn proposition_35_needs_space() {
    for seed in 0..6 {
        for windows in [Windows::Apart, Windows::Padded] {
            let found = spatial(seed, Contrast::SoftHinge, Context::Lateral, windows);
            assert!(found.unpooled < 1e-12 && found.pooled > 0.1, "{seed} {windows:?}: {found:?}");
        }
    }
}
