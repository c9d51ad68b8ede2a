use super::*;
use crate::backend::cpu::Cpu;
use crate::config::{Config, Negatives, RuleName, preset};
use crate::model::TensorRole;
use crate::rules::Feedback;
use crate::rules::clapp_pp_dfb::matched_step;
use crate::step::forward;
use crate::trainer::initial_values;
use clapp_data::data::{Split, generated};
use std::sync::Arc;

fn images() -> Arc<Split> {
    Arc::new(generated::shapes(1, 14, 0).pretrain)
}

/// Three layers of 4, 8 and 16 channels.
fn config(rule: RuleName) -> Config {
    Config { width: 0.25, batch: 4, ..preset("demo").unwrap().with_rule(rule) }
}

fn model(config: &Config) -> Model<Vec<f32>> {
    Model::upload(&Cpu, config.network().unwrap(), &initial_values(config).unwrap())
}

fn views(config: &Config, batches: usize) -> Vec<Views> {
    first_views(config, &images(), batches, 4, 2).unwrap().collect::<Result<_, _>>().unwrap()
}

fn measured(config: &Config) -> Vec<LayerAlignment> {
    measure(&Cpu, &mut model(config), &views(config, 3)).unwrap()
}

#[test]
fn the_top_is_aligned_with_itself_under_every_rule_and_the_layers_below_are_not() {
    let soft = Config { contrast: Some(clapp_core::network::Contrast::SoftHinge), ..config(RuleName::ClappPp) };
    let own = Config { negatives: Negatives::Uniform(2), negatives_shared: false, ..config(RuleName::ClappPpBoth) };
    let either = Config { either: true, ..config(RuleName::ClappPpDfb) };
    let rules = [RuleName::ClappPp, RuleName::ClappPpDfb, RuleName::ClappPpBoth, RuleName::ClappPpPooled];
    let more = [config(RuleName::Phyll), soft, own, either];
    for config in rules.map(config).into_iter().chain(more) {
        for config in [config.clone(), config.with_top_pooled()] {
            let found = measured(&config);
            let top = found.last().unwrap();
            assert_eq!(top.cosines, vec![Some(1.0); 3], "{config:?}");
            assert_eq!((top.mean(), top.std(), top.batches(), top.without()), (Some(1.0), Some(0.0), 3, 0));
            for layer in &found[..2] {
                assert!(layer.mean().unwrap() < 0.99, "{:?}: {found:?}", config.rule);
            }
        }
    }
}

#[test]
fn a_network_of_one_layer_is_its_own_top() {
    let mut one = config(RuleName::ClappPpDfb);
    one.blocks.truncate(1);
    assert_eq!(measured(&one), [LayerAlignment { cosines: vec![Some(1.0); 3] }]);
}

#[test]
fn measuring_changes_no_parameter_and_gives_the_same_each_time() {
    let config = config(RuleName::ClappPpBoth);
    let mut model = model(&config);
    let before = model.download(&Cpu);
    let views = views(&config, 3);
    let first = measure(&Cpu, &mut model, &views).unwrap();
    assert_eq!(measure(&Cpu, &mut model, &views).unwrap(), first);
    assert!(model.download(&Cpu) == before);
    assert!(model.layers.iter().all(|layer| layer.weight.first.is_empty()));
}

#[test]
fn matched_feedback_has_the_gradients_of_trained_feedback() {
    let trained = config(RuleName::ClappPpDfb);
    let matched = Config { feedback: Feedback::Matched, ..trained.clone() };
    // Compares the rule's own step with the cheaper one.
    let own = |backend: &Cpu, model: &mut Model<Vec<f32>>, views: &Views| {
        let x = backend.upload_frames(model.spec.input(), &views.x);
        let mut gradients = Vec::new();
        matched_step(
            backend,
            model,
            StepBatch { x, rows: views.rows, pairing: views.draws.pairing() },
            Mode::Record(&mut gradients),
        );
        Ok(download_gradients(backend, &model.spec, &gradients))
    };
    let found = measure_rule(&Cpu, &mut model(&matched), &views(&matched, 3), own).unwrap();
    assert_eq!(found, measured(&trained));
    assert_eq!(found, measured(&matched));
}

#[test]
fn gradients_of_a_callers_rule_are_compared_with_the_tops() {
    let config = config(RuleName::ClappPp);
    let top = |sign: f32| {
        move |backend: &Cpu, model: &mut Model<Vec<f32>>, views: &Views| {
            let mut gradients = top_gradients(backend, model, &views.x, views.rows, views.draws.pairing());
            gradients.iter_mut().flat_map(|layer| &mut layer.weight).for_each(|value| *value *= sign);
            Ok(gradients)
        }
    };
    for sign in [1.0, -1.0, 0.125] {
        let found = measure_rule(&Cpu, &mut model(&config), &views(&config, 2), top(sign)).unwrap();
        let wanted = LayerAlignment { cosines: vec![Some(f64::from(sign.signum())); 2] };
        assert_eq!(found, vec![wanted; 3]);
    }
}

/// The loss of the top when the context is held at `contexts`, as the gradient takes it.
fn top_loss(model: &Model<Vec<f32>>, views: &Views, context: Option<&Vec<f32>>) -> (f64, Vec<f32>) {
    let mut x = Cpu.upload_frames(model.spec.input(), &views.x);
    let layers = model.spec.layers().to_vec();
    let mut pooled = Vec::new();
    for layer in &layers {
        let activity = forward(&Cpu, model, layer, &x, views.rows);
        pooled = Cpu.pool(layer, &activity);
        x = activity.z;
    }
    let top = model.layers.last().unwrap();
    let context = context.unwrap_or(&pooled);
    let roles = [TensorRole::Projection, TensorRole::Feedback];
    let loss = |role: &TensorRole| {
        let projection = &top.get(*role)?.value;
        let pairing = views.draws.pairing();
        let factors = Cpu.contrast(&model.spec.rule(), pairing, &pooled, context, Some(projection), views.rows);
        Some(Cpu.read_scores(pairing, *role, &factors.scores).loss)
    };
    (roles.iter().filter_map(loss).sum(), pooled)
}

#[test]
fn the_reference_is_the_slope_of_the_tops_loss() {
    for rule in [RuleName::ClappPp, RuleName::ClappPpDfb, RuleName::ClappPpBoth] {
        // Without the kinks of hinge, ReLU and max-pool.
        let mut config = Config { contrast: Some(clapp_core::network::Contrast::SoftHinge), ..config(rule) };
        for block in &mut config.blocks {
            (block.relu, block.max_pool, block.stride) = (false, None, [2, 2]);
        }
        let views = &views(&config, 1)[0];
        let mut model = model(&config);
        let reference = top_gradients(&Cpu, &mut model, &views.x, views.rows, views.draws.pairing());
        let values = model.download(&Cpu);
        let (_, context) = top_loss(&model, views, None);
        for layer in 0..3 {
            let gradient = &reference[layer].weight;
            let square: f64 = gradient.iter().map(|value| f64::from(*value).powi(2)).sum();
            // A step along the gradient that changes the loss by a hundredth.
            let step = 0.01 / square;
            let at = |sign: f64| {
                let mut values = values.clone();
                for (weight, slope) in values[layer].weight.iter_mut().zip(gradient) {
                    *weight += (sign * step * f64::from(*slope)) as f32;
                }
                top_loss(&Model::upload(&Cpu, model.spec.clone(), &values), views, Some(&context)).0
            };
            let slope = (at(1.0) - at(-1.0)) / (2.0 * step);
            assert!((slope / square - 1.0).abs() < 2e-3, "{rule:?}, layer {layer}: {slope}, not {square}");
        }
    }
}

#[test]
fn a_silent_layer_has_no_cosine() {
    let config = config(RuleName::ClappPp);
    let mut values = initial_values(&config).unwrap();
    values[0].weight.fill(0.0);
    values[0].bias.fill(-1.0);
    let mut model = Model::upload(&Cpu, config.network().unwrap(), &values);
    let found = measure(&Cpu, &mut model, &views(&config, 3)).unwrap();
    assert_eq!((found[0].mean(), found[0].std(), found[0].batches(), found[0].without()), (None, None, 0, 3));
    assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), None);
    assert_eq!(cosine(&[f32::NAN, 0.0], &[1.0, 2.0]), None);
    assert_eq!(cosine(&[1.0, 1.0], &[-2.0, -2.0]), Some(-1.0));
    let some = LayerAlignment { cosines: vec![Some(0.5), None, Some(-0.5)] };
    assert_eq!((some.mean(), some.std(), some.batches(), some.without()), (Some(0.0), Some(0.5_f64.sqrt()), 2, 1));
}

#[test]
fn no_gradient_of_a_projection_is_made_below_the_top() {
    for rule in RuleName::ALL {
        let config = config(*rule);
        if refusal(&config.network().unwrap()).is_some() {
            continue;
        }
        let mut model = model(&config);
        let views = &views(&config, 1)[0];
        let gradients = local_gradients(&Cpu, &mut model, &views.x, views.rows, views.draws.pairing());
        for layer in &gradients[..gradients.len() - 1] {
            assert!(layer.projection.is_empty() && layer.feedback.is_empty(), "{}", rule.name());
        }
    }
}

#[test]
fn rules_without_an_alignment_are_refused() {
    for (rule, part) in [
        (RuleName::BpClappPp, "1 by definition"),
        (RuleName::BpInfoNce, "1 by definition"),
        (RuleName::ForwardForward, "normalises activity"),
        (RuleName::Scff, "normalises activity"),
        (RuleName::Lpl, "no contrast"),
        (RuleName::SoftHebb, "no contrast"),
    ] {
        let config = config(rule);
        let error = measure(&Cpu, &mut model(&config), &views(&config, 1)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn batches_are_the_first_images_in_order_whatever_the_threads() {
    let config = config(RuleName::ClappPp);
    let all = |batches, batch, threads| {
        let views = first_views(&config, &images(), batches, batch, threads).unwrap();
        views.collect::<Result<Vec<Views>, _>>().unwrap()
    };
    let frame = config.input_shape().len();
    let whole = all(9, 4, 1);
    assert_eq!(whole.iter().map(|views| views.rows).collect::<Vec<_>>(), [8, 8, 8, 4]);
    assert!(all(9, 4, 5) == whole && all(2, 4, 3) == whole[..2]);
    // The first view of image 4 is the same in whatever batch it comes; a left-over of one image is dropped.
    let large = all(9, 13, 2);
    assert_eq!(large.iter().map(|views| views.rows).collect::<Vec<_>>(), [26]);
    assert!(large[0].x[4 * frame..5 * frame] == whole[1].x[..frame]);
    // Not the views of training.
    let training = loader_view(&config);
    assert!(!whole.iter().any(|views| views.x.chunks(frame).any(|view| view == training)));
    let uniform = Config { negatives: Negatives::Uniform(1), ..config.clone() };
    let drawn = views(&uniform, 2);
    assert!(drawn[0].draws != drawn[1].draws);
    let few = Arc::new(generated::shapes(1, 1, 0).pretrain);
    assert!(first_views(&config, &few, 1, 4, 1).is_err() && first_views(&config, &images(), 1, 1, 1).is_err());
}

/// A view of the first batch of training.
fn loader_view(config: &Config) -> Vec<f32> {
    let mut batches = clapp_data::loader::pairs(images(), &config.augment, 4, config.seed, 0, 1).unwrap();
    batches.next().unwrap().unwrap().x[..config.input_shape().len()].to_vec()
}
