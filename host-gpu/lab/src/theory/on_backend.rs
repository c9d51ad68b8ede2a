//! The existence lemma in the program's own conventions (docs/paper.md 1.2: one projection, which acts on the context)
//! and in `f32`, on the backend that trains: test TH1 of docs/paper.md 6.7.

use super::net::Net;
use super::weights::{gaussian, uniform};
use clapp_core::network::{Activation, Block, Context, Contrast, Rule};
use clapp_core::shape::Shape;
use clapp_data::rng::{Purpose, stream};
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Pairing};
use clapp_engine::model::LayerValues;
use clapp_engine::rules::local_network;
use clapp_engine::rules::{LearningRule, bp_clapp_pp, step};
use clapp_engine::step::{Mode, Model, StepBatch, download_gradients};
use nalgebra::DMatrix;

const ROWS: usize = 16;

/// Values in the order of tensors: row after row.
fn values(matrix: &DMatrix<f64>) -> Vec<f32> {
    matrix.transpose().iter().map(|&value| value as f32).collect()
}

/// The greatest relative error of a layer's gradient.
fn error(seed: u64, contrast: Contrast, context: Context, uniform_negatives: bool) -> f64 {
    let rng = &mut stream(seed, Purpose::Theory, 1, 0);
    let widths: Vec<usize> = (0..3 + rng.below(4)).map(|_| 4 + rng.below(21)).collect();
    let inputs = 8 + rng.below(25);
    let net = Net::dense(inputs, &widths, false, |_, outputs, inputs| uniform(outputs, inputs, rng) * 2.0);
    let top = widths[widths.len() - 1];
    let of_top = uniform(top, top, rng) * (top as f64).sqrt();
    let parameters: Vec<LayerValues> = (0..widths.len())
        .map(|at| {
            let weight = values(&net.layers[at].weights);
            let map = net.map_above(at);
            match context {
                Context::Same => {
                    let projection = values(&(map.tr_mul(&of_top) * map));
                    LayerValues { weight, projection, ..LayerValues::default() }
                }
                _ => LayerValues { weight, feedback: values(&map.tr_mul(&of_top)), ..LayerValues::default() },
            }
        })
        .collect();
    let block = |&width: &usize| Block::conv(width, [1, 1]).without_bias().activation(Activation::Identity);
    let rule = Rule { contrast, context, ..Rule::clapp_pp() };
    let blocks = widths.iter().map(block).collect();
    let network = local_network(Shape::new(inputs, 1, 1), blocks, rule).unwrap();
    let frames: Vec<f32> = gaussian(inputs, ROWS, rng).iter().map(|&value| value as f32).collect();
    let negatives: Vec<usize> = match uniform_negatives {
        true => (0..ROWS).map(|_| rng.below(ROWS)).collect(),
        false => (0..ROWS).map(|row| (row + 1) % ROWS).collect(),
    };
    let pairing = Pairing::views(&negatives, None);
    let mut model = Model::upload(&Cpu, network.clone(), &parameters);
    let upload = || Cpu.upload_frames(network.input(), &frames);
    let (mut local, mut global) = (Vec::new(), Vec::new());
    step(&Cpu, &mut model, StepBatch { x: upload(), rows: ROWS, pairing }, Mode::Record(&mut local));
    bp_clapp_pp::Rule::default().step(
        &Cpu,
        &mut model,
        StepBatch { x: upload(), rows: ROWS, pairing },
        Mode::Record(&mut global),
    );
    let [local, global] = [local, global].map(|gradients| download_gradients(&Cpu, &network, &gradients));
    let distance = |(local, global): (&LayerValues, &LayerValues)| {
        let square = |value: f64| value * value;
        let pairs = local.weight.iter().zip(&global.weight);
        let apart: f64 = pairs.map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
        let norm: f64 = global.weight.iter().map(|value| square(f64::from(*value))).sum();
        assert!(norm > 0.0);
        (apart / norm).sqrt()
    };
    local.iter().zip(&global).map(distance).fold(0.0, f64::max)
}

#[test]
fn th1_existence_lemma_in_f32_on_the_backend() {
    for contrast in [Contrast::Linear, Contrast::SoftHinge, Contrast::Hinge, Contrast::Phyll { theta: 2.0 }] {
        for context in [Context::Same, Context::Top] {
            for seed in 0..10 {
                let error = error(seed, contrast, context, seed % 2 == 1);
                assert!(error <= 2e-5, "{contrast:?} {context:?} {seed}: {error:e}");
            }
        }
    }
}
