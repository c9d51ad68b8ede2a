//! Inference, and the forward pass of a layer that learning shares with it.

use crate::conv;
use crate::error::{Buffer, Error, at_least, exactly};
use crate::network::NetworkView;
use crate::plan::Layer;
use crate::pool;
use crate::rows::{each_row, each_row_mut};

/// Pooled activity of all layers for one frame. The pass stops at the first layer whose activity is not finite.
///
/// * `encoder`: the parameters' first part ([`NetworkView::encoder_len`]), readable in place from flash.
/// * `frame`: `[C, H, W]` as the network's input, `features`: [`NetworkView::feature_len`], layer after layer.
/// * `workspace`: [`NetworkView::inference_len`].
///
/// # Errors
/// A buffer of the wrong length, [`Error::FrameNotFinite`], or [`Error::Unsound`] where a layer's activity is not
/// finite; `features` are all NaN then, so that no read-out takes them for features.
pub fn infer(
    network: &NetworkView<'_>,
    encoder: &[f32],
    frame: &[f32],
    workspace: &mut [f32],
    features: &mut [f32],
) -> Result<(), Error> {
    at_least(Buffer::Parameters, network.encoder_len(), encoder.len())?;
    exactly(Buffer::Frames, network.input().len(), frame.len())?;
    at_least(Buffer::Workspace, network.inference_len(), workspace.len())?;
    exactly(Buffer::Features, network.feature_len(), features.len())?;
    if !finite(frame) {
        features.fill(f32::NAN);
        return Err(Error::FrameNotFinite);
    }
    let mut rest = workspace;
    let [even, odd] = network.activation_lens();
    let (even, odd) = (cut(&mut rest, even), cut(&mut rest, odd));
    for index in 0..network.layer_count() {
        let Some(layer) = network.layer(index) else { break };
        let (input, output) = in_and_out(index, even, odd);
        let input = if index == 0 { frame } else { input };
        let pooled = features.get_mut(layer.feature_offset..layer.feature_offset + layer.pooled.len());
        if !forward(&layer, 1, encoder, input, output, &mut [], rest, pooled.unwrap_or_default()) {
            features.fill(f32::NAN);
            return Err(Error::Unsound { layer: index });
        }
    }
    Ok(())
}

/// Output and pooled activity of a layer for `rows` frames. Returns whether all was finite, before the activation, too.
#[allow(clippy::too_many_arguments, reason = "buffers side by side")]
pub(crate) fn forward(
    layer: &Layer,
    rows: usize,
    encoder: &[f32],
    input: &[f32],
    output: &mut [f32],
    argmax: &mut [u8],
    scratch: &mut [f32],
    pooled: &mut [f32],
) -> bool {
    let (weights, bias) = encoder_of(layer, encoder);
    let mut argmax = each_row_mut(argmax, layer.output.len());
    let mut inputs = each_row(input, layer.input.len());
    let mut pooled = each_row_mut(pooled, layer.pooled.len());
    let mut all_finite = true;
    for output in each_row_mut(output, layer.output.len()).take(rows) {
        let (Some(input), Some(pooled)) = (inputs.next(), pooled.next()) else { break };
        let argmax = argmax.next().unwrap_or_default();
        all_finite &= conv::forward(layer, weights, bias, input, output, argmax, scratch);
        pool::loss_pool(output, layer.output, layer.block.loss_pool, layer.pooled, pooled);
        all_finite &= finite(pooled);
    }
    all_finite
}

pub(crate) fn finite(values: &[f32]) -> bool {
    zero_if_finite(values) == 0.0
}

/// 0, or NaN where a value is not finite.
#[inline(always)]
pub(crate) fn zero_if_finite(values: &[f32]) -> f32 {
    // Infinities and NaN times 0 are NaN; without leave to reorder, the compiler keeps this.
    values.iter().fold(0.0, |probe, value| probe + value * 0.0)
}

/// Cuts `len` elements off the front of what `rest` refers to; an empty slice where there are not so many.
pub(crate) fn cut<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    match core::mem::take(rest).split_at_mut_checked(len) {
        Some((front, back)) => {
            *rest = back;
            front
        }
        None => Default::default(),
    }
}

/// Weights and bias of a layer, from the encoder's part of the parameters (or all of them).
fn encoder_of<'a>(layer: &Layer, encoder: &'a [f32]) -> (&'a [f32], &'a [f32]) {
    let own = encoder.get(layer.encoder_offset..layer.encoder_offset + layer.encoder_len()).unwrap_or_default();
    own.split_at_checked(layer.weight_len()).unwrap_or_default()
}

/// Input and output of a layer among the two activation buffers: outputs of even layers are in the first.
pub(crate) fn in_and_out<'a>(index: usize, even: &'a mut [f32], odd: &'a mut [f32]) -> (&'a [f32], &'a mut [f32]) {
    if index.is_multiple_of(2) { (odd, even) } else { (even, odd) }
}
