//! The images of a set in the device's memory.

use clapp_data::data::Split;
use clapp_data::loader::LoaderError;
use rayon::prelude::*;

/// Bytes that are gathered before they are copied.
const PIECE: usize = 1 << 24;

/// Brings all images of `split`, one after another as `[C, H, W]` bytes, to `write(offset, bytes)`, which is called in
/// order; after each call `progress` hears how many images are there.
///
/// # Errors
/// The error of `write`; [`LoaderError`] if an image cannot be read, or the images are not of one shape.
pub fn upload<E: From<LoaderError>>(
    split: &Split,
    mut write: impl FnMut(usize, &[u8]) -> Result<(), E>,
    mut progress: impl FnMut(usize),
) -> Result<(), E> {
    let shape = split.shape().ok_or_else(|| {
        LoaderError::Request("images in a device's memory must be of one shape, these may differ".into())
    })?;
    let images = (PIECE / shape.len()).clamp(1, split.len().max(1));
    let mut piece = vec![0; images * shape.len()];
    for first in (0..split.len()).step_by(images) {
        let count = images.min(split.len() - first);
        let piece = &mut piece[..count * shape.len()];
        // Decoding takes longer than copying.
        let read = piece.par_chunks_exact_mut(shape.len()).enumerate().map_init(Vec::new, |pixels, (image, out)| {
            split.read(first + image, pixels)?;
            out.copy_from_slice(pixels);
            Ok(())
        });
        // The first of the errors, whichever comes first.
        read.collect::<Vec<Result<(), LoaderError>>>().into_iter().collect::<Result<(), _>>()?;
        write(first * shape.len(), piece)?;
        progress(first + count);
    }
    Ok(())
}
