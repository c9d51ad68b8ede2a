//! An emulated device with the memory of a feed, for tests.

use clapp_core::shape::Shape;
use clapp_data::augment::{Crop, Draw, Jitter, JitterOp, ViewAugment};
use clapp_data::data::Split;
use clapp_data::rng::{Purpose, stream};
use clapp_engine::config::{self, Config};
use clapp_gpu::emulated::{Emulated, Settings};
use clapp_gpu::executor::Executor;
use clapp_gpu::feed::{Clock, Feed, ViewPlaces};
use clapp_gpu::op::{MapType, Op};

pub const MAPS: [MapType; 2] = [MapType::F32, MapType::Bf16];

/// A device that runs threads in either order and checks what each operation writes.
pub fn device(maps: MapType, descending: bool) -> Emulated {
    Emulated::new(maps, Settings { descending, strict: true, ..Settings::default() }).unwrap()
}

pub fn put(device: &Emulated, bytes: &[u8]) -> u64 {
    let at = device.allocate(bytes.len()).unwrap();
    device.write(at, bytes).unwrap();
    at
}

pub fn get(device: &Emulated, at: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    device.read(at, &mut out).unwrap();
    out
}

pub fn ints(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks().0.iter().map(|&four| i32::from_le_bytes(four)).collect()
}

/// Maps as floats.
pub fn maps(device: &Emulated, at: u64, len: usize) -> Vec<f32> {
    match device.map_type() {
        MapType::F32 => ints(&get(device, at, 4 * len)).into_iter().map(|bits| f32::from_bits(bits as u32)).collect(),
        MapType::Bf16 => {
            let bytes = get(device, at, 2 * len);
            let upper = bytes.as_chunks().0.iter().map(|&two| u32::from(u16::from_le_bytes(two)) << 16);
            upper.map(f32::from_bits).collect()
        }
    }
}

/// As a map of this type holds it.
pub fn rounded(value: f32, maps: MapType) -> f32 {
    match maps {
        MapType::F32 => value,
        MapType::Bf16 => {
            let bits = value.to_bits();
            f32::from_bits((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000)
        }
    }
}

/// The device's `Control` in a step and at a place of its epoch, both counted from 1.
pub fn control(device: &Emulated, step: u64, place: u64) -> u64 {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&step.to_le_bytes());
    bytes[8..16].copy_from_slice(&place.to_le_bytes());
    put(device, &bytes)
}

pub fn clock(device: &Emulated, feed: &Feed, epoch: u64, step: u64, place: u64) -> Clock<u64> {
    Clock { control: control(device, step, place), settings: put(device, &feed.settings(epoch)) }
}

/// Memory for views; `images` as the operations read them.
pub fn view_places(device: &Emulated, feed: &Feed, clock: Clock<u64>, epoch: u64, images: &[u8]) -> ViewPlaces<u64> {
    let batch = 1 << 10;
    ViewPlaces {
        clock,
        order: put(device, &feed.order(epoch).unwrap()),
        images: put(device, images),
        drawn: device.allocate(feed.drawn_bytes(batch)).unwrap(),
        scratch: device.allocate(feed.scratch_bytes(64).max(1)).unwrap(),
    }
}

pub fn run(device: &Emulated, ops: &[Op<u64>]) {
    for op in ops {
        device.run(op).unwrap();
    }
    device.check().unwrap();
}

/// A configuration with these views; the rule is CLAPP++.
pub fn config(augment: &ViewAugment, batch: usize, seed: u64) -> Config {
    let mut config = config::preset("cifar10").unwrap();
    (config.augment, config.batch, config.seed) = (augment.clone(), batch, seed);
    config
}

/// Images that are neither flat nor noise alone: slopes, edges and some noise.
pub fn images(shape: Shape, count: usize, seed: u64) -> Split {
    let mut pixels = Vec::with_capacity(count * shape.len());
    for image in 0..count {
        let mut rng = stream(seed, Purpose::Other(7), 0, image as u64);
        for _ in 0..shape.channels {
            let [base, down, right, noise] = [255.0, 3.0, 3.0, 60.0].map(|most| rng.uniform(0.0, most));
            let edge = rng.below(shape.width);
            for y in 0..shape.height {
                for x in 0..shape.width {
                    let slope = base + (y as f32 - 20.0) * (down - 1.5) + (x as f32 - 20.0) * (right - 1.5);
                    let value = slope + rng.uniform(-noise, noise) + if x > edge { 70.0 } else { 0.0 };
                    pixels.push(value as u8);
                }
            }
        }
    }
    Split::new(shape, pixels, vec![0; count]).unwrap()
}

pub fn all_pixels(split: &Split) -> Vec<u8> {
    (0..split.len()).flat_map(|image| split.image(image).unwrap()).collect()
}

const OPS: [JitterOp; 4] = [JitterOp::Brightness, JitterOp::Contrast, JitterOp::Saturation, JitterOp::Hue];

/// `View` of the kernels.
pub fn view_bytes(draw: &Draw) -> Vec<u8> {
    let Crop { top, left, height, width } = draw.crop;
    let jitter = draw.jitter;
    let factors = jitter.map_or([None; 4], |j| [j.brightness, j.contrast, j.saturation, j.hue]);
    let present = (0..4).map(|op| i32::from(factors[op].is_some()) << op).sum();
    let place = |op: JitterOp| OPS.iter().position(|found| *found == op).unwrap() as i32;
    let mut words = [top, left, height, width].map(|value| value as i32).to_vec();
    words.extend([i32::from(draw.flip), i32::from(draw.grey), present]);
    words.extend(jitter.map_or([0, 1, 2, 3], |j| j.order.map(place)));
    words.extend(factors.map(|factor| factor.unwrap_or_default().to_bits() as i32));
    words.push(draw.blur.unwrap_or_default().to_bits() as i32);
    words.into_iter().flat_map(i32::to_le_bytes).collect()
}

/// What the kernels have drawn; a jitter of nothing is no jitter.
pub fn read_view(bytes: &[u8]) -> Draw {
    let words = ints(bytes);
    let [top, left, height, width] = [0, 1, 2, 3].map(|at| words[at] as usize);
    let float = |at: usize| f32::from_bits(words[at] as u32);
    let factor = |op: usize| (words[6] >> op & 1 == 1).then(|| float(11 + op));
    let [brightness, contrast, saturation, hue] = [0, 1, 2, 3].map(factor);
    let order = [7, 8, 9, 10].map(|at| OPS[words[at] as usize]);
    let jitter = Jitter { order, brightness, contrast, saturation, hue };
    Draw {
        crop: Crop { top, left, height, width },
        flip: words[4] == 1,
        jitter: (words[6] != 0).then_some(jitter),
        grey: words[5] == 1,
        blur: (float(15) != 0.0).then(|| float(15)),
    }
}
