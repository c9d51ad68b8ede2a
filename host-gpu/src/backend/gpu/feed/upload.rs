//! The images of a set in the device's memory.

use crate::data::Split;
use crate::loader::LoaderError;

/// Bytes that are gathered before they are copied.
const PIECE: usize = 1 << 24;

/// Brings all images of `split`, one after another as `[C, H, W]` bytes, to `write(offset, bytes)`, which is called in
/// order; after each call `progress` hears how many images are there.
///
/// # Errors
/// What `write` returns; [`LoaderError`] where an image cannot be read, or the images are not of one shape.
pub fn upload<E: From<LoaderError>>(
    split: &Split,
    mut write: impl FnMut(usize, &[u8]) -> Result<(), E>,
    mut progress: impl FnMut(usize),
) -> Result<(), E> {
    let shape = split.shape().ok_or_else(|| {
        LoaderError::Request("images in a device's memory must be of one shape, these may differ".into())
    })?;
    let (mut piece, mut pixels, mut offset) = (Vec::new(), Vec::new(), 0);
    for image in 0..split.len() {
        split.read(image, &mut pixels).map_err(LoaderError::from)?;
        piece.extend_from_slice(&pixels);
        if piece.len() + shape.len() > PIECE || image + 1 == split.len() {
            write(offset, &piece)?;
            offset += piece.len();
            piece.clear();
            progress(image + 1);
        }
    }
    Ok(())
}
