//! The settings of the paper, and of the sets that it does not have.

use super::{cifar, class_folders, stl10, tiny_imagenet};
use crate::augment::{BlurRange, CropRange, JitterRange, ViewAugment};

impl ViewAugment {
    /// The paper's pre-training views: colour jitter (0.8, 0.8, 0.8, 0.2), grey-scale, blur with a kernel of a tenth
    /// of the size, and crops of at least `area` of the image (0.25 for CIFAR-10, 0.08 for the others).
    pub fn pretraining(size: usize, area: f32, mean: &[f32], std: &[f32]) -> Self {
        Self {
            size,
            crop: CropRange { area: [area, 1.0], ..CropRange::default() },
            flip: 0.5,
            jitter: JitterRange { probability: 0.8, brightness: 0.8, contrast: 0.8, saturation: 0.8, hue: 0.2 },
            grey: 0.2,
            blur: BlurRange { probability: 0.5, kernel: BlurRange::kernel_for(size), sigma: [0.1, 2.0] },
            mean: mean.to_vec(),
            std: std.to_vec(),
        }
    }

    /// Pre-training views of CIFAR-10, with the paper's mean and deviation.
    pub fn cifar10() -> Self {
        Self::pretraining(32, 0.25, &cifar::CIFAR10.mean, &cifar::CIFAR10.std)
    }

    /// Pre-training views of STL-10.
    pub fn stl10() -> Self {
        Self::pretraining(96, 0.08, &stl10::MEAN, &stl10::STD)
    }

    /// Pre-training views of Tiny ImageNet.
    pub fn tiny_imagenet() -> Self {
        Self::pretraining(64, 0.08, &tiny_imagenet::MEAN, &tiny_imagenet::STD)
    }

    /// Pre-training views of ImageNet.
    pub fn imagenet() -> Self {
        Self::pretraining(224, 0.08, &class_folders::MEAN, &class_folders::STD)
    }

    /// Pre-training views of CIFAR-100, as those of CIFAR-10: the paper does not use it.
    pub fn cifar100() -> Self {
        Self::pretraining(32, 0.25, &cifar::CIFAR100.mean, &cifar::CIFAR100.std)
    }

    /// Pre-training views of grey images: no flips (a mirrored digit is another symbol), only brightness and contrast,
    /// milder crops.
    pub fn grey_images(size: usize, mean: &[f32], std: &[f32]) -> Self {
        Self {
            flip: 0.0,
            grey: 0.0,
            jitter: JitterRange { probability: 0.8, brightness: 0.8, contrast: 0.8, saturation: 0.0, hue: 0.0 },
            ..Self::pretraining(size, 0.25, mean, std)
        }
    }

    /// Pre-training views of the generated shapes. There colour says nothing of the class, so hue turns over the whole
    /// circle and half of the views are grey; crops and changes of light are milder than the paper's, and there is no
    /// blur, which would hide the fine textures.
    pub fn generated(size: usize, mean: &[f32], std: &[f32]) -> Self {
        let mut views = Self::pretraining(size, 0.4, mean, std);
        views.jitter = JitterRange { probability: 1.0, brightness: 0.4, contrast: 0.4, saturation: 0.8, hue: 0.5 };
        views.grey = 0.5;
        views.blur.probability = 0.0;
        views
    }

    /// Views for training the linear probe: resized crop of at least 8 % of the image, and flip.
    pub fn probe(size: usize, mean: &[f32], std: &[f32]) -> Self {
        Self {
            jitter: JitterRange::default(),
            grey: 0.0,
            blur: BlurRange { probability: 0.0, ..BlurRange::default() },
            ..Self::pretraining(size, 0.08, mean, std)
        }
    }
}
