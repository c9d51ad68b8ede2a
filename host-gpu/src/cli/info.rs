//! `clapp info`: prints the parameters, operations and memory of a network, and the memory of back-propagation for
//! comparison.

use super::output::say;
use super::train::ConfigArguments;
use clap::Args;
use clapp_core::network::NetworkView;
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_data::error::Error;
use clapp_data::words::readable;
use clapp_engine::config::Config;
use clapp_engine::memory::Needs;
use clapp_engine::model::TensorRole;
use clapp_gpu::needs::DeviceNeeds;
use clapp_gpu::op::MapType;

/// Arguments of `clapp info`.
#[derive(Debug, Args)]
pub struct InfoArguments {
    #[command(flatten)]
    configuration: ConfigArguments,
}

fn shape(shape: Shape) -> String {
    format!("{}x{}x{}", shape.channels, shape.height, shape.width)
}

/// Runs `clapp info`.
///
/// # Errors
/// If the configuration is wrong or the output cannot be written.
pub fn run(arguments: &InfoArguments) -> Result<u8, Error> {
    let config = arguments.configuration.clone().or_demo().configuration()?;
    let spec = config.network()?;
    let view = spec.view();
    let mut lines = Vec::new();
    lines.push(format!(
        "{}, {}, width {}, input {}\n",
        config.name,
        config.rule.name(),
        config.width,
        shape(spec.input())
    ));
    lines.push(format!(
        "{:<6} {:<12} {:<12} {:<10} {:>12} {:>14} {:>16}",
        "layer", "convolution", "output", "pooled", "weights", "projections", "forward MACs"
    ));
    let projections = |layer: &Layer| -> usize {
        let tensors = spec.tensors(layer);
        let projections =
            tensors.iter().filter(|(role, _)| matches!(role, TensorRole::Projection | TensorRole::Feedback));
        projections.map(|(_, shape)| shape.iter().product::<usize>()).sum()
    };
    for layer in spec.layers() {
        lines.push(format!(
            "{:<6} {:<12} {:<12} {:<10} {:>12} {:>14} {:>16}",
            layer.index,
            shape(layer.conv),
            shape(layer.output),
            shape(layer.pooled),
            layer.encoder_len(),
            projections(layer),
            layer.macs()
        ));
    }
    let encoder = view.encoder_len();
    let all_projections: usize = spec.layers().iter().map(projections).sum();
    let head = spec.form().head.map_or(0, |outputs| outputs * view.top_len());
    let head = if head > 0 { format!(", head {head} parameters") } else { String::new() };
    lines.push(format!("\nencoder {encoder} parameters, projections {all_projections} parameters{head}"));
    match config.learning_rule().beyond_core() {
        None => on_device(&mut lines, &view, &config),
        Some(reason) => lines.push(format!("\nnot on a device (clapp-core): {} {reason}", config.rule.name())),
    }
    let pairs = config.batch;
    let [even, odd] = view.activation_lens();
    let local = |rows: usize| 4 * rows * (even + odd);
    let global = |rows: usize| 4 * rows * view.backprop_activation_len();
    lines.push("\nactivations kept (f32): local learning against back-propagation through the network".to_string());
    for (name, rows) in [("one frame", 1), (&*format!("a batch of {pairs} pairs"), 2 * pairs)] {
        lines.push(format!("  {name:<34} {:>12}  against {:>12}", readable(local(rows)), readable(global(rows))));
    }
    if config.learning_rule().cost().descent.is_some() {
        lines.push(format!("  {} keeps the latter", config.rule.name()));
    }
    on_this_machine(&mut lines, &config)?;
    on_a_gpu(&mut lines, &config)?;
    say(lines.join("\n"))?;
    Ok(0)
}

/// Returns the lines on the memory that `clapp train` needs on this machine.
fn on_this_machine(lines: &mut Vec<String>, config: &Config) -> Result<(), Error> {
    let threads = rayon::current_num_threads();
    let needs = Needs::of_training(config, threads)?;
    lines.push(format!("\nclapp train on this machine ({threads} threads), without the images of the data set:"));
    let row = |name: &str, bytes: usize| format!("  {name:<34} {:>12}", readable(bytes));
    lines.extend(needs.parts().iter().map(|(name, bytes)| row(name, *bytes)));
    lines.push(row("in all, about", needs.total()));
    Ok(())
}

/// Returns the lines on the GPU memory that training needs.
fn on_a_gpu(lines: &mut Vec<String>, config: &Config) -> Result<(), Error> {
    if let Some(reason) = config.learning_rule().beyond_gpu() {
        lines.push(format!("\nnot on a GPU: {}: {reason}", config.rule.name()));
        return Ok(());
    }
    lines.push("\nclapp train --backend cuda, without the images of the data set and what the libraries take:".into());
    lines.push(format!("  {:<34} {:>12}  {:>12}", "", "f32 and tf32", "bf16"));
    let needs = [MapType::F32, MapType::Bf16].map(|maps| DeviceNeeds::of_training(config, maps));
    let [wide, narrow] = needs;
    let (wide, narrow) = (wide?, narrow?);
    let rows = [
        ("parameters and optimiser", wide.parameters, narrow.parameters),
        ("a step", wide.step, narrow.step),
        ("batches and reports", wide.exchange, narrow.exchange),
        ("in all, about", wide.total(), narrow.total()),
    ];
    let row = |(name, wide, narrow): (&str, usize, usize)| {
        format!("  {name:<34} {:>12}  {:>12}", readable(wide), readable(narrow))
    };
    lines.extend(rows.map(row));
    Ok(())
}

/// Returns the lines on the memory and operations of `clapp-core`, which does no back-propagation.
fn on_device(lines: &mut Vec<String>, view: &NetworkView<'_>, config: &Config) {
    let negatives = config.negatives.per_row();
    let pairs = config.batch;
    lines.push("\non a device (clapp-core, f32, plain SGD, without the frames themselves):".to_string());
    let row = |name: &str, bytes: usize, macs: u64| format!("  {name:<34} {:>12}  {macs:>16} MACs", readable(bytes));
    lines.push(row("inference, parameters in flash", view.inference_bytes(), view.forward_macs()));
    lines.push(row("learning from a stream of frames", view.stream_bytes(), view.stream_macs()));
    lines.push(row(
        &format!("learning from batches of {pairs} pairs"),
        view.batch_bytes(pairs, negatives),
        view.batch_macs(pairs),
    ));
}
