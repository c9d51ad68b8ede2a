//! Images of the usual formats in a [`Store`], decoded when asked for.

use std::io::Cursor;
use std::sync::Arc;

use clapp_core::shape::Shape;
use image::{ColorType, DynamicImage, ImageDecoder, ImageReader, Limits};

use super::DataError;
use super::kinds::{READ, foreign, format, name_of};
use super::store::Store;

/// Longest side of an image.
const MOST_SIDE: u32 = 1 << 14;
/// Largest number of pixels of an image: 200 MB as red, green and blue bytes.
const MOST_PIXELS: u64 = 1 << 26;

/// Some of the files of a store, each an image.
#[derive(Debug)]
pub(super) struct Encoded {
    store: Arc<Store>,
    files: Vec<u32>,
}

/// Properties of a decoded image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its shape, `[3, H, W]`.
    pub shape: Shape,
    /// Name of its format, such as `JPEG`.
    pub format: &'static str,
}

impl Encoded {
    /// The images in the files of `store` with these indices, in this order.
    pub(super) fn new(store: Arc<Store>, files: Vec<u32>) -> Self {
        Self { store, files }
    }

    /// Number of images.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Image `i` as planes `[3, H, W]`, in place of what `out` held. Grey is repeated in all three channels,
    /// transparency is dropped, 16 bits are rounded to 8, colours of a palette and of CMYK become red, green and blue.
    /// Of several pictures in a file the first counts.
    ///
    /// # Errors
    /// [`DataError`], with the file's name, if it cannot be read, is not whole, is in a format that is not read, or is
    /// too large.
    ///
    /// # Panics
    /// Like a slice, if there is no image `i`.
    pub(super) fn read(&self, i: usize, out: &mut Vec<u8>) -> Result<Shape, DataError> {
        self.inspect(i, out).map(|seen| seen.shape)
    }

    /// Same as [`Encoded::read`], with the format.
    ///
    /// # Errors
    /// As for [`Encoded::read`].
    ///
    /// # Panics
    /// As for [`Encoded::read`].
    pub(super) fn inspect(&self, i: usize, out: &mut Vec<u8>) -> Result<Seen, DataError> {
        let file = self.files[i] as usize;
        let mut bytes = Vec::new();
        self.store.read(file, &mut bytes)?;
        decode(&bytes, out).map_err(|why| DataError::Image { file: self.store.shown(file), why })
    }

    /// Name of the file of image `i`, below the root of the set's folder or archive.
    ///
    /// # Panics
    /// Like a slice, if there is no image `i`.
    pub(super) fn name(&self, i: usize) -> &str {
        self.store.name(self.files[i] as usize)
    }

    /// Shape of image `i` as its header says it; `None` if it has no usable header.
    ///
    /// # Panics
    /// Like a slice, if there is no image `i`.
    pub(super) fn measure(&self, i: usize) -> Option<Shape> {
        let mut bytes = Vec::new();
        self.store.read(self.files[i] as usize, &mut bytes).ok()?;
        let (width, height) = decoder(&bytes).ok()?.0.dimensions();
        Some(Shape::new(3, height as usize, width as usize))
    }

    /// Returns the error for image `i` if its shape differs from the measured one.
    pub(super) fn changed(&self, i: usize, found: Shape, expected: Shape) -> DataError {
        let text = |shape: Shape| format!("{}x{}", shape.width, shape.height);
        let why = format!("its size is {} now, but was {} when the run began", text(found), text(expected));
        DataError::Image { file: self.store.shown(self.files[i] as usize), why }
    }
}

/// Reads the header of an image.
fn decoder(bytes: &[u8]) -> Result<(impl ImageDecoder + '_, &'static str), String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let Some(format) = format(bytes) else {
        return Err(match foreign(bytes) {
            Some(format) => format!("the format is {format}, expected one of {READ}"),
            None => format!("none of the formats {READ}"),
        });
    };
    let text = |error: image::ImageError| match error {
        image::ImageError::Unsupported(error) => {
            format!("{error}; save it as {} of 8 or 16 bits a channel, or as PNG", name_of(format))
        }
        error => error.to_string(),
    };
    if bytes.starts_with(&[0xff, 0xd8]) && !ends(bytes) {
        return Err("the JPEG is cut short".into());
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MOST_SIDE), Some(MOST_SIDE));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(text)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("{width}x{height} pixels, expected at least one"));
    }
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(format!("{width}x{height} pixels, expected at most {MOST_PIXELS} in all"));
    }
    if [ColorType::Rgb32F, ColorType::Rgba32F].contains(&decoder.color_type()) {
        return Err("its values are 32-bit floating-point numbers, expected 8 or 16 bits a channel".into());
    }
    Ok((decoder, name_of(format)))
}

/// Decodes an image into planes `[3, H, W]`, in place of what `out` held.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Result<Seen, String> {
    let text = |error: image::ImageError| error.to_string();
    let (decoder, format) = decoder(bytes)?;
    let (width, height) = decoder.dimensions();
    let pixels = DynamicImage::from_decoder(decoder).map_err(text)?.into_rgb8().into_raw();
    let area = width as usize * height as usize;
    out.resize(3 * area, 0);
    let (red, rest) = out.split_at_mut(area);
    let (green, blue) = rest.split_at_mut(area);
    for ((pixel, red), (green, blue)) in pixels.chunks_exact(3).zip(red).zip(green.iter_mut().zip(blue)) {
        (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
    }
    Ok(Seen { shape: Shape::new(3, height as usize, width as usize), format })
}

/// Returns `true` if an end mark follows the last scan of a JPEG. The decoder would silently fill missing data with
/// grey.
fn ends(jpeg: &[u8]) -> bool {
    let last = |mark: u8| jpeg.windows(2).rposition(|pair| pair == [0xff, mark]);
    last(0xd9).is_some_and(|end| last(0xda).is_some_and(|scan| scan < end))
}
