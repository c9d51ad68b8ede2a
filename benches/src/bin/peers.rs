//! One CLAPP++ step of the CPU backend beside PyTorch's, in one run: `cargo xtask peers`.
//!
//! The two take turns, each in a separate process, on the same network, initial values and batch, and their losses must
//! agree. The output also states a floor: the time of the step at the rate of the matrix library and at the memory
//! bandwidth, both measured in the same run.

use clap::Parser;
use clapp_benches::measured::{Measured, json, sibling};
use clapp_engine::config::{Config, preset};
use clapp_engine::model::TensorRole;
use serde::Deserialize;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// Compares this program with PyTorch.
#[derive(Parser)]
struct Arguments {
    /// Python with torch and safetensors.
    #[arg(long)]
    python: PathBuf,
    /// `pytorch_step.py`.
    #[arg(long)]
    script: PathBuf,
    /// Folder for the exported networks.
    #[arg(long)]
    folder: PathBuf,
    #[arg(long, value_delimiter = ',', default_values_t = [0.25, 1.0])]
    widths: Vec<f32>,
    /// Turns of each program.
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// Timed steps a turn.
    #[arg(long, default_value_t = 5)]
    steps: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Deserialize)]
struct Floor {
    gflops: f64,
    gbytes: f64,
}

#[derive(Deserialize)]
struct Loader {
    preset: String,
    size: usize,
    images_per_second: f64,
}

/// Images in a batch.
const IMAGES: usize = 32;

/// Largest allowed difference between the losses of the two programs over three steps.
const AGREE: f64 = 1e-4;

/// Work of a step.
struct Work {
    /// Work of the encoder's forward pass and weight gradient: two multiply-adds per weight, output and row.
    encoder_gflop: f64,
    /// The same with the products that tiles of 2x2 outputs leave (first layer apart).
    tiled_gflop: f64,
    /// Predictions and outer products of the projections.
    projection_gflop: f64,
    /// The optimiser's reads and writes of all parameters.
    gbytes: f64,
}

fn work(config: &Config) -> Result<Work, Box<dyn Error>> {
    let spec = config.network()?;
    let rows = 2.0 * IMAGES as f64;
    let mut work = Work { encoder_gflop: 0.0, tiled_gflop: 0.0, projection_gflop: 0.0, gbytes: 0.0 };
    for layer in spec.layers() {
        let gflop = 2.0 * 2.0 * (layer.weight_len() * layer.conv.area()) as f64 * rows / 1e9;
        work.encoder_gflop += gflop;
        work.tiled_gflop += if layer.index == 0 { gflop } else { gflop / 2.25 };
        for (role, shape) in spec.tensors(layer) {
            let len = shape.iter().product::<usize>() as f64;
            if role == TensorRole::Projection {
                work.projection_gflop += 2.0 * 2.0 * len * rows / 1e9;
            }
            work.gbytes += 6.0 * 4.0 * len / 1e9;
        }
    }
    Ok(work)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let threads = arguments.threads.to_string();
    let ours = sibling("peer_step")?;
    let floor: Floor = json(Command::new(sibling("floor")?).args(["--threads", &threads]))?;
    let mut rows = Vec::new();
    let mut floors = Vec::new();
    for width in &arguments.widths {
        let config = Config { width: *width, ..preset("cifar10").ok_or("no preset cifar10")? };
        let width = width.to_string();
        let file = arguments.folder.join(format!("width-{width}.safetensors"));
        let status =
            Command::new(&ours).args(["--width", &width, "--export"]).arg(&file).status().map_err(|e| e.to_string())?;
        if !status.success() {
            return Err(format!("{}: {status}", ours.display()).into());
        }
        let steps = arguments.steps.to_string();
        let mut sides: Option<[Measured; 2]> = None;
        for _ in 0..arguments.turns {
            let ours = json(Command::new(&ours).args(["--width", &width, "--steps", &steps, "--threads", &threads]))?;
            let theirs = json(
                Command::new(&arguments.python)
                    .arg(&arguments.script)
                    .arg(&file)
                    .args(["--steps", &steps, "--threads", &threads])
                    .env("OMP_NUM_THREADS", &threads),
            )?;
            match &mut sides {
                None => sides = Some([ours, theirs]),
                Some([our_side, their_side]) => {
                    our_side.append(ours);
                    their_side.append(theirs);
                }
            }
        }
        std::fs::remove_file(&file)?;
        let Some([ours, theirs]) = sides else { return Err("no turns".into()) };
        let apart = ours.apart(&theirs);
        if apart > AGREE {
            return Err(format!("width {width}: the losses differ by {apart}: not the same step").into());
        }
        for side in [&ours, &theirs] {
            rows.push(format!(
                "| {width} | {} | {:.1} | {:.0} | {} |",
                side.program,
                side.rate(),
                side.peak_mib,
                side.seconds.len()
            ));
        }
        rows.push(format!(
            "| {width} | **ratio** | **{:.2}** | **{:.3}** | losses apart by {apart:.0e} |",
            ours.rate() / theirs.rate(),
            ours.peak_mib / theirs.peak_mib
        ));
        let work = work(&config)?;
        let compute = |gflop: f64| (gflop + work.projection_gflop) / floor.gflops;
        let memory = work.gbytes / floor.gbytes;
        let seconds = IMAGES as f64 / ours.rate();
        floors.push(format!(
            "| {width} | {:.1} | {:.1} | {:.1} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} |",
            work.encoder_gflop,
            work.tiled_gflop,
            work.projection_gflop,
            work.gbytes,
            1e3 * compute(work.encoder_gflop),
            1e3 * compute(work.tiled_gflop),
            1e3 * memory,
            1e3 * seconds,
        ));
    }
    let presets = ["--presets", "cifar10,tiny-imagenet,stl10", "--threads", &threads];
    let loader: Vec<Loader> = json(Command::new(sibling("loader_rate")?).args(presets))?;
    println!("| width | program | images/s, median step | peak memory, MiB | steps timed |");
    println!("|---|---|---|---|---|");
    println!("{}", rows.join("\n"));
    println!(
        "\nThe floor on {} threads: {:.0} GFLOP/s of the matrix library, {:.1} GB/s of memory read and written.\n",
        arguments.threads, floor.gflops, floor.gbytes
    );
    println!(
        "| width | encoder, GFLOP | by tiles | projections, GFLOP | AdamW, GB | products as defined, ms | by tiles, ms | \
         AdamW, ms | our step, ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    println!("{}", floors.join("\n"));
    println!("\nThe loader alone on {} threads (two augmented views an image, from memory):\n", arguments.threads);
    println!("| preset | size | images/s |");
    println!("|---|---|---|");
    for Loader { preset, size, images_per_second } in loader {
        println!("| {preset} | {size} | {images_per_second:.0} |");
    }
    Ok(())
}
