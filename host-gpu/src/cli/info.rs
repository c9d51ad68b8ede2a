//! `clapp info`: what a network needs, beside what back-propagation through it would need.

use super::train::ConfigArguments;
use crate::config::Negatives;
use crate::error::Error;
use clap::Args;
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;

/// Arguments of `clapp info`.
#[derive(Debug, Args)]
pub struct InfoArguments {
    #[command(flatten)]
    configuration: ConfigArguments,
}

fn shape(shape: Shape) -> String {
    format!("{}x{}x{}", shape.channels, shape.height, shape.width)
}

fn kib(bytes: usize) -> String {
    if bytes < 10 << 20 {
        format!("{:.1} KiB", bytes as f64 / 1024.0)
    } else {
        format!("{:.1} MiB", bytes as f64 / 1048576.0)
    }
}

/// Runs `clapp info`.
///
/// # Errors
/// Where the configuration is wrong.
pub fn run(arguments: &InfoArguments) -> Result<u8, Error> {
    let config = arguments.configuration.clone().or_demo().configuration()?;
    let spec = config.network()?;
    let view = spec.view();
    println!("{}, {}, width {}, input {}\n", config.name, config.rule.name(), config.width, shape(spec.input()));
    println!(
        "{:<6} {:<12} {:<12} {:<10} {:>12} {:>14} {:>16}",
        "layer", "convolution", "output", "pooled", "weights", "projections", "forward MACs"
    );
    let projections = |layer: &Layer| -> usize {
        let tensors = spec.tensors(layer);
        let sizes = tensors.iter().skip(if layer.block.bias { 2 } else { 1 });
        sizes.map(|(_, shape)| shape.iter().product::<usize>()).sum()
    };
    for layer in spec.layers() {
        println!(
            "{:<6} {:<12} {:<12} {:<10} {:>12} {:>14} {:>16}",
            layer.index,
            shape(layer.conv),
            shape(layer.output),
            shape(layer.pooled),
            layer.encoder_len(),
            projections(layer),
            layer.macs()
        );
    }
    let encoder = view.encoder_len();
    let all_projections: usize = spec.layers().iter().map(projections).sum();
    println!("\nencoder {encoder} parameters, projections {all_projections} parameters");
    let negatives = match config.negatives {
        Negatives::Ring => 1,
        Negatives::Uniform(count) => count,
    };
    let pairs = config.batch;
    println!("\non a device (clapp-core, f32, plain SGD, without the frames themselves):");
    let row = |name: &str, bytes: usize, macs: u64| println!("  {name:<34} {:>12}  {macs:>16} MACs", kib(bytes));
    row("inference, parameters in flash", view.inference_bytes(), view.forward_macs());
    row("learning from a stream of frames", view.stream_bytes(), view.stream_macs());
    row(&format!("learning from batches of {pairs} pairs"), view.batch_bytes(pairs, negatives), view.batch_macs(pairs));
    let [even, odd] = view.activation_lens();
    let local = |rows: usize| 4 * rows * (even + odd);
    let global = |rows: usize| 4 * rows * view.backprop_activation_len();
    println!("\nactivations kept (f32): local learning against back-propagation through the network");
    for (name, rows) in [("one frame", 1), (&*format!("a batch of {pairs} pairs"), 2 * pairs)] {
        println!("  {name:<34} {:>12}  against {:>12}", kib(local(rows)), kib(global(rows)));
    }
    Ok(0)
}
