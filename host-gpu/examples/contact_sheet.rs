//! Writes images of a data set, and views of them, as one picture to look at.
//!
//! `cargo run --release --example contact_sheet -- OUT.ppm [DATA]` takes a data set's folder or archive, and the
//! generated shapes without one. Left: one image of each class a row; right: two views of each of them. PPM is the
//! simplest picture format; most viewers show it.

use std::error::Error;
use std::path::Path;

use clapp_host_gpu::augment::ViewAugment;
use clapp_host_gpu::data::{self, generated};
use clapp_host_gpu::rng::{Purpose, stream};

const COLUMNS: usize = 12;
const VIEWS: usize = 6;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().ok_or("usage: contact_sheet OUT.ppm [DATA]")?;
    let (set, augment) = match arguments.next() {
        Some(path) => {
            let set = data::open(Path::new(&path))?;
            let size = set.shape.height;
            let augment = if set.shape.channels == 3 {
                ViewAugment::pretraining(size, 0.25, &set.mean, &set.std)
            } else {
                ViewAugment::grey_images(size, &set.mean, &set.std)
            };
            (set, augment)
        }
        None => {
            let set = generated::shapes(1, 400, 100);
            let augment = ViewAugment::generated(set.shape.height, &set.mean, &set.std);
            (set, augment)
        }
    };
    println!("{}; classes {}", set.source, set.classes.join(", "));

    let view_shape = augment.view_shape(set.shape);
    let mut rows = Vec::new();
    for class in 0..set.classes.len() {
        let images: Vec<usize> = (0..set.train.len()).filter(|&i| set.train.label(i) == class).take(COLUMNS).collect();
        let mut row: Vec<(Vec<u8>, usize, usize)> =
            images.iter().map(|&i| (set.train.image(i).to_vec(), set.shape.height, set.shape.width)).collect();
        for &i in images.iter().take(VIEWS / 2) {
            for view in 0..2 {
                let draw = augment.draw(set.shape, &mut stream(1, Purpose::View(view), 0, i as u64));
                let pixels = augment.apply(set.train.image(i), set.shape, &draw)?;
                row.push((pixels, view_shape.height, view_shape.width));
            }
        }
        rows.push(row);
    }
    std::fs::write(out, sheet(&rows, set.shape.channels))?;
    Ok(())
}

/// Puts rows of pictures `(planes, height, width)` on one sheet, each twice as large, as a binary PPM.
fn sheet(rows: &[Vec<(Vec<u8>, usize, usize)>], channels: usize) -> Vec<u8> {
    const ZOOM: usize = 2;
    let pictures = rows.iter().flatten();
    let (cell_height, cell_width) =
        pictures.fold((0, 0), |cell, (_, h, w)| (cell.0.max(h * ZOOM), cell.1.max(w * ZOOM)));
    let (cell_height, cell_width) = (cell_height + 2, cell_width + 2);
    let width = cell_width * rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut file = format!("P6\n{width} {}\n255\n", cell_height * rows.len()).into_bytes();
    for row in rows {
        for y in 0..cell_height {
            for x in 0..width {
                let pixel = row.get(x / cell_width).and_then(|(planes, height, width)| {
                    let (y, x) = (y / ZOOM, x % cell_width / ZOOM);
                    (y < *height && x < *width).then_some((planes, height * width, y * width + x))
                });
                for channel in 0..3 {
                    file.push(
                        pixel.map_or(255, |(planes, area, place)| planes[channel.min(channels - 1) * area + place]),
                    );
                }
            }
        }
    }
    file
}
