//! A picture of a set: a few images of each class, and pairs of augmented views.

use font8x8::UnicodeFonts;
use image::imageops::{FilterType, overlay, resize};
use image::{Rgb, RgbImage};

use crate::augment::{AugmentError, ViewAugment};
use crate::error::Error;
use crate::rng::{Purpose, stream};
use clapp_core::shape::Shape;

use super::{Dataset, Split};

/// Classes that are shown; more are passed over evenly.
const MOST_CLASSES: usize = 40;
/// Images of a class.
const IMAGES: usize = 8;
/// Images of a class of which two views are shown.
const PAIRS: usize = 3;
/// Side of a picture, and the room between pictures.
const SIDE: u32 = 96;
const GAP: u32 = 4;
/// Room between images and views, and between pairs.
const WIDE_GAP: u32 = 16;
/// Characters of a class's name, each of 8 pixels.
const NAME: usize = 22;
const LETTER: u32 = 8;
const HEAD: u32 = 48;
const PAPER: Rgb<u8> = Rgb([255; 3]);
const INK: Rgb<u8> = Rgb([20; 3]);
const PALE: Rgb<u8> = Rgb([110; 3]);

/// The sheet as a PNG file's bytes, with views drawn by `augment` and `seed`.
///
/// # Errors
/// [`Error`] if an image cannot be read or `augment` does not fit the images.
pub fn contact_sheet(data: &Dataset, augment: &ViewAugment, seed: u64) -> Result<Vec<u8>, Error> {
    let classes = data.classes.len();
    let shown: Vec<usize> = match classes {
        0..=MOST_CLASSES => (0..classes).collect(),
        _ => (0..MOST_CLASSES).map(|row| row * classes / MOST_CLASSES).collect(),
    };
    let mut rows: Vec<(String, &Split, Vec<usize>)> = Vec::new();
    if !data.pretrain.is_labelled() {
        rows.push(("(unlabelled)".into(), &data.pretrain, spread(data.pretrain.len())));
    }
    for &class in &shown {
        let of_class = (0..data.train.len()).filter(|&image| data.train.label(image) == class).take(IMAGES);
        rows.push((data.classes[class].clone(), &data.train, of_class.collect()));
    }
    let left = GAP + NAME as u32 * LETTER + GAP;
    let views = left + IMAGES as u32 * (SIDE + GAP) + WIDE_GAP;
    let pair = 2 * (SIDE + GAP) + WIDE_GAP;
    let mut sheet = RgbImage::from_pixel(views + PAIRS as u32 * pair, HEAD + rows.len() as u32 * (SIDE + GAP), PAPER);
    write(&mut sheet, GAP, 8, &data.source, INK);
    let part = if shown.len() < classes { format!(" ({} of {classes} classes)", shown.len()) } else { String::new() };
    write(&mut sheet, left, 28, &format!("images as they are{part}"), PALE);
    write(&mut sheet, views, 28, "pairs of views for pre-training", PALE);
    for (number, (name, split, images)) in rows.into_iter().enumerate() {
        let top = HEAD + number as u32 * (SIDE + GAP);
        let name: String = name.chars().take(NAME).collect();
        write(&mut sheet, GAP, top + SIDE / 2 - LETTER / 2, &name, INK);
        let mut pixels = Vec::new();
        for (column, &image) in images.iter().enumerate() {
            let shape = split.read(image, &mut pixels)?;
            place(&mut sheet, left + column as u32 * (SIDE + GAP), top, &picture(&pixels, shape));
            if column >= PAIRS {
                continue;
            }
            for view in 0..2_u8 {
                let made = one_view(augment, &pixels, shape, seed, view, image)?;
                let x = views + column as u32 * pair + u32::from(view) * (SIDE + GAP);
                place(&mut sheet, x, top, &picture(&made, augment.view_shape(shape)));
            }
        }
    }
    encoded(&sheet).map_err(|error| Error::Plot { path: "contact sheet".into(), message: error.to_string() })
}

/// As PNG, with the name of the program that drew it.
fn encoded(sheet: &RgbImage) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, sheet.width(), sheet.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.add_text_chunk("Software".into(), "clapp".into())?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(sheet)?;
    writer.finish()?;
    Ok(bytes)
}

/// Some of `len` images, evenly over all.
fn spread(len: usize) -> Vec<usize> {
    let count = IMAGES.min(len);
    (0..count).map(|number| number * len / count.max(1)).collect()
}

/// View `view` of an image as it is drawn in the first epoch of a run with that seed, before it is normalised.
fn one_view(
    augment: &ViewAugment,
    pixels: &[u8],
    shape: Shape,
    seed: u64,
    view: u8,
    image: usize,
) -> Result<Vec<u8>, AugmentError> {
    let draw = augment.draw(shape, &mut stream(seed, Purpose::View(view), 0, image as u64));
    augment.apply(pixels, shape, &draw)
}

/// Planes as a picture that fits in a cell: small ones are enlarged by whole pixels, large ones made smaller.
fn picture(planes: &[u8], shape: Shape) -> RgbImage {
    let area = shape.height * shape.width;
    let value = |channel: usize, place: usize| planes[channel.min(shape.channels - 1) * area + place];
    let (width, height) = (shape.width as u32, shape.height as u32);
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let place = y as usize * shape.width + x as usize;
        Rgb([value(0, place), value(1, place), value(2, place)])
    });
    let longest = width.max(height).max(1);
    let scaled = |side: u32| (side * SIDE / longest).max(1);
    match SIDE / longest {
        0 => resize(&picture, scaled(width), scaled(height), FilterType::Triangle),
        1 => picture,
        times => resize(&picture, width * times, height * times, FilterType::Nearest),
    }
}

/// Lays a picture in the middle of the cell at `x`, `y`.
fn place(sheet: &mut RgbImage, x: u32, y: u32, picture: &RgbImage) {
    let (right, down) = ((SIDE - picture.width().min(SIDE)) / 2, (SIDE - picture.height().min(SIDE)) / 2);
    overlay(sheet, picture, i64::from(x + right), i64::from(y + down));
}

/// Writes a line; what does not fit on the sheet is cut off.
fn write(sheet: &mut RgbImage, x: u32, y: u32, text: &str, ink: Rgb<u8>) {
    for (number, letter) in text.chars().enumerate() {
        let glyph = font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::LATIN_FONTS.get(letter)).unwrap_or([0x7e; 8]);
        for (down, bits) in glyph.into_iter().enumerate() {
            for right in (0..LETTER).filter(|right| bits >> right & 1 == 1) {
                let (x, y) = (x + number as u32 * LETTER + right, y + down as u32);
                if x < sheet.width() && y < sheet.height() {
                    sheet.put_pixel(x, y, ink);
                }
            }
        }
    }
}
