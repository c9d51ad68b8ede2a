//! Images and their labels in memory.

/// `N` images of one shape, each `[C, H, W]` planes of 8-bit values, and `N` labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    pixels: Vec<u8>,
    labels: Vec<u8>,
    image_len: usize,
}

impl Split {
    /// Images of `image_len` values each, one after another in `pixels`, with one label each.
    /// `None` where the lengths do not agree or `image_len` is 0.
    pub fn new(image_len: usize, pixels: Vec<u8>, labels: Vec<u8>) -> Option<Self> {
        let agrees = image_len > 0 && labels.len().checked_mul(image_len) == Some(pixels.len());
        agrees.then_some(Self { pixels, labels, image_len })
    }

    /// As [`Split::new`], for callers whose lengths agree by construction; images without a label, and labels without
    /// an image, are cut off.
    pub(super) fn labelled(image_len: usize, mut pixels: Vec<u8>, mut labels: Vec<u8>) -> Self {
        let count = labels.len().min(pixels.len() / image_len.max(1));
        pixels.truncate(count * image_len);
        labels.truncate(count);
        Self { pixels, labels, image_len }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// `true` where there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Values in one image: `C x H x W`.
    pub fn image_len(&self) -> usize {
        self.image_len
    }

    /// Image `i`, planes `[C, H, W]`.
    ///
    /// # Panics
    /// Like a slice, where `i >= len()`.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.pixels[i * self.image_len..][..self.image_len]
    }

    /// Label of image `i`, an index into the data set's classes.
    ///
    /// # Panics
    /// Like a slice, where `i >= len()`.
    pub fn label(&self, i: usize) -> usize {
        usize::from(self.labels[i])
    }

    /// All labels.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// All pixels: `len() x image_len()` values.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// A copy of the first `n` images, or of all where there are fewer.
    pub fn take(&self, n: usize) -> Self {
        let n = n.min(self.len());
        Self {
            pixels: self.pixels[..n * self.image_len].to_vec(),
            labels: self.labels[..n].to_vec(),
            image_len: self.image_len,
        }
    }

    /// Mean and standard deviation of each of `channels` channels, of values scaled to `[0, 1]`.
    /// A deviation below half a grey level is given as 1, so that a constant channel can be divided by it.
    pub fn statistics(&self, channels: usize) -> (Vec<f32>, Vec<f32>) {
        let plane = self.image_len / channels.max(1);
        let mut sums = vec![(0_u64, 0_u64); channels];
        for image in self.pixels.chunks_exact(self.image_len.max(1)) {
            for (sum, values) in sums.iter_mut().zip(image.chunks_exact(plane.max(1))) {
                // Whole numbers: exact, in any order.
                sum.0 += values.iter().map(|&v| u64::from(v)).sum::<u64>();
                sum.1 += values.iter().map(|&v| u64::from(v) * u64::from(v)).sum::<u64>();
            }
        }
        let count = (self.len() * plane).max(1) as f64;
        sums.into_iter()
            .map(|(sum, squares)| {
                let mean = sum as f64 / count;
                let deviation = (squares as f64 / count - mean * mean).max(0.0).sqrt();
                let scale = if deviation < 0.5 { 1.0 } else { deviation / 255.0 };
                ((mean / 255.0) as f32, scale as f32)
            })
            .unzip()
    }
}
