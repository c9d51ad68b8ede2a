//! One image of the generated set: background, clutter, figure, occlusion, light and noise.

use super::figure::{Figure, Form};
use super::{IMAGE, Nuisance, SIZE};
use crate::rng::Rng;

/// More clutter than this hides everything.
const MOST_CLUTTER: usize = 100;
const TURN: f32 = std::f32::consts::TAU;

/// Draws an image of class `form` into `out`, planes `[3, SIZE, SIZE]`.
pub(super) fn draw(form: Form, nuisance: &Nuisance, rng: &mut Rng, out: &mut [u8]) {
    let mut canvas = vec![0.0; IMAGE];
    let clutter_most = nuisance.clutter.min(MOST_CLUTTER);
    let back = colour(rng);
    background(back, nuisance.background, rng, &mut canvas);
    for _ in 0..rng.below(clutter_most + 1) {
        clutter(rng).paint(&mut canvas);
    }
    let figure = figure(form, back, nuisance, rng);
    figure.paint(&mut canvas);
    for _ in 0..rng.below(clutter_most / 2 + 1) {
        clutter(rng).paint(&mut canvas);
    }
    if rng.chance(nuisance.occlusion) {
        cover(&figure, rng).paint(&mut canvas);
    }
    let light = 1.0 + rng.uniform(-nuisance.light, nuisance.light);
    let noise = rng.uniform(0.0, nuisance.noise);
    for (pixel, value) in out.iter_mut().zip(&canvas) {
        // The cast saturates.
        *pixel = (255.0 * (value * light + noise * rough_normal(rng)) + 0.5) as u8;
    }
}

/// A random colour with values in `[0, 1]`.
fn colour(rng: &mut Rng) -> [f32; 3] {
    std::array::from_fn(|_| rng.unit())
}

/// A random colour that differs in brightness from `other` by at least `contrast`.
fn colour_unlike(other: [f32; 3], contrast: f32, rng: &mut Rng) -> [f32; 3] {
    let brightness = |[r, g, b]: [f32; 3]| 0.3 * r + 0.59 * g + 0.11 * b;
    for _ in 0..50 {
        let drawn = colour(rng);
        if (brightness(drawn) - brightness(other)).abs() >= contrast {
            return drawn;
        }
    }
    // A contrast that hardly any colour has.
    if brightness(other) < 0.5 { [1.0; 3] } else { [0.0; 3] }
}

/// Fills `canvas` with `colour`, a gradient, and two plane waves, of up to `amplitude` each.
fn background(colour: [f32; 3], amplitude: f32, rng: &mut Rng, canvas: &mut [f32]) {
    for (plane, base) in canvas.chunks_exact_mut(SIZE * SIZE).zip(colour) {
        plane.fill(base);
    }
    for periods in [0.25, rng.uniform(0.5, 2.0), rng.uniform(1.0, 4.0)] {
        let angle = rng.uniform(0.0, TURN);
        let phase = rng.uniform(0.0, TURN);
        let step = TURN * periods / SIZE as f32;
        let (dx, dy) = (step * libm::cosf(angle), step * libm::sinf(angle));
        let tint: [f32; 3] = std::array::from_fn(|_| rng.uniform(-amplitude, amplitude));
        for place in 0..SIZE * SIZE {
            let wave = libm::sinf((place % SIZE) as f32 * dx + (place / SIZE) as f32 * dy + phase);
            for (channel, strength) in tint.iter().enumerate() {
                canvas[channel * SIZE * SIZE + place] += wave * strength;
            }
        }
    }
}

/// The figure that gives the image its class.
fn figure(form: Form, back: [f32; 3], nuisance: &Nuisance, rng: &mut Rng) -> Figure {
    let middle = SIZE as f32 / 2.0;
    let radius = rng.uniform(nuisance.radius[0], nuisance.radius[1]);
    let stretch = rng.uniform(1.0, nuisance.stretch).sqrt();
    let (wide, flat) = (radius * stretch, radius / stretch);
    let first = colour_unlike(back, nuisance.contrast, rng);
    // Drawn for every form, so that the numbers that follow do not depend on the class.
    let any_outline = Form::OUTLINES[rng.below(Form::OUTLINES.len())];
    Figure {
        outline: if Form::OUTLINES.contains(&form) { form } else { any_outline },
        texture: form,
        centre: std::array::from_fn(|_| middle + rng.uniform(-nuisance.shift, nuisance.shift)),
        radius: if rng.chance(0.5) { [wide, flat] } else { [flat, wide] },
        angle: TURN * rng.uniform(-nuisance.rotation, nuisance.rotation),
        period: rng.uniform(3.5, 6.5),
        phase: rng.unit(),
        colours: [first, colour_unlike(first, nuisance.contrast, rng)],
    }
}

/// A small figure without meaning: a disc, a square or a bar.
fn clutter(rng: &mut Rng) -> Figure {
    let form = [Form::Disc, Form::Square, Form::Bar][rng.below(3)];
    let colour = colour(rng);
    Figure {
        outline: form,
        texture: form,
        centre: std::array::from_fn(|_| rng.uniform(0.0, SIZE as f32)),
        radius: std::array::from_fn(|_| rng.uniform(1.0, 4.0)),
        angle: rng.uniform(0.0, TURN),
        period: 1.0,
        phase: 0.0,
        colours: [colour; 2],
    }
}

/// A bar across part of `figure`.
fn cover(figure: &Figure, rng: &mut Rng) -> Figure {
    let size = figure.radius[0].min(figure.radius[1]);
    let colour = colour(rng);
    Figure {
        outline: Form::Bar,
        texture: Form::Bar,
        centre: figure.centre.map(|place| place + rng.uniform(-size, size)),
        radius: [rng.uniform(6.0, 14.0), SIZE as f32],
        angle: rng.uniform(0.0, TURN),
        period: 1.0,
        phase: 0.0,
        colours: [colour; 2],
    }
}

/// About normal, of mean 0 and variance 1: four of the 16-bit pieces of a word, summed.
fn rough_normal(rng: &mut Rng) -> f32 {
    let bits = rng.bits();
    let sum: u64 = (0..4).map(|piece| (bits >> (16 * piece)) & 0xffff).sum();
    // Four uniform numbers of variance 1/12 each.
    (sum as f32 / 65_536.0 - 2.0) * 1.732_050_8
}
