//! Measures the rate of making pairs of views from images in memory, with the presets' augmentation, in images per
//! second.

use clap::Parser;
use clapp_benches::numbers;
use clapp_core::shape::Shape;
use clapp_data::augment::ViewAugment;
use clapp_data::data::Split;
use clapp_data::loader::pairs;
use clapp_engine::config::preset;
use serde_json::json;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

/// Pairs of views a second.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Presets to take the augmentation and the size of the images from.
    #[arg(long, value_delimiter = ',', default_values_t = ["cifar10".to_string()])]
    presets: Vec<String>,
    /// Images at 32 pixels; fewer where they are larger.
    #[arg(long, default_value_t = 8192)]
    images: usize,
}

/// Images in a batch.
const BATCH: usize = 32;

/// Images a second over one epoch, from its second batch on.
fn rate(augment: &ViewAugment, images: usize, threads: usize) -> Result<f64, Box<dyn Error>> {
    let shape = Shape::new(3, augment.size, augment.size);
    let pixels = numbers(5, images * shape.len(), 128.0).iter().map(|value| (value + 128.0) as u8).collect();
    let split = Split::new(shape, pixels, vec![0; images]).ok_or("images of one shape")?;
    let mut batches = pairs(Arc::new(split), augment, BATCH, 1, 0, threads)?;
    batches.next().transpose()?;
    let begin = Instant::now();
    let mut count = 0;
    for batch in batches {
        count += batch?.images.len();
    }
    Ok(count as f64 / begin.elapsed().as_secs_f64())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut rates = Vec::new();
    for name in &arguments.presets {
        let augment = preset(name).ok_or(format!("no preset {name}"))?.augment;
        let images = (arguments.images * 32 * 32 / (augment.size * augment.size)).max(4 * BATCH);
        let images_per_second = rate(&augment, images, arguments.threads)?;
        rates.push(json!({ "preset": name, "size": augment.size, "images_per_second": images_per_second }));
    }
    println!("{}", json!(rates));
    Ok(())
}
