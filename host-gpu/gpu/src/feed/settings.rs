//! Settings of the views, as the kernels read them.

use clapp_data::augment::ViewAugment;

/// Bytes of `Feed` in `kernels/draw.cu`.
pub const SETTINGS_BYTES: usize = 128;

/// `Feed`, field by field.
pub(super) fn bytes(augment: &ViewAugment, seed: u64, epoch: u64) -> [u8; SETTINGS_BYTES] {
    let ViewAugment { crop, flip, jitter, grey, blur, .. } = augment;
    let doubles = crop.area.map(f64::from).into_iter().chain(crop.aspect.map(|aspect| libm::log(f64::from(aspect))));
    let doubles = doubles.chain(crop.aspect.map(f64::from));
    let chances = [*flip, jitter.probability, *grey, blur.probability];
    let strengths = [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue];
    let channel = |values: &[f32], channel: usize| values.get(channel).copied().unwrap_or_default();
    let mean = [0, 1, 2].map(|at| channel(&augment.mean, at));
    let deviation = [0, 1, 2].map(|at| channel(&augment.std, at));
    let floats = chances.into_iter().chain(strengths).chain(blur.sigma).chain(mean).chain(deviation);
    let words = [seed, epoch].into_iter().flat_map(u64::to_le_bytes);
    let all = words.chain(doubles.flat_map(f64::to_le_bytes)).chain(floats.flat_map(f32::to_le_bytes));
    let mut out = [0; SETTINGS_BYTES];
    out.iter_mut().zip(all).for_each(|(out, byte)| *out = byte);
    out
}
