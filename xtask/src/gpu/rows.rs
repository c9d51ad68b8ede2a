//! The rows that the programs print of a measurement, and those that are kept.

use serde::{Deserialize, Serialize};

/// One line of `clapp speed --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ours {
    /// The backend.
    pub backend: String,
    /// Of convolutions and products.
    pub precision: String,
    /// The rule, as the table of the comparison names it.
    pub rule: String,
    /// Factor on all channels.
    pub width: f64,
    /// Channels, height and width of a frame.
    pub input: [usize; 3],
    /// Images of a batch; each gives two views.
    pub batch: usize,
    /// Median over the steps, of a batch that lies on the device.
    pub seconds_per_step: f64,
    /// Of the same.
    pub images_per_second: f64,
    /// With views made of images.
    pub end_to_end_seconds_per_step: Option<f64>,
    /// Peak of the device's memory.
    pub peak_bytes: u64,
    /// The forecast of `clapp info`.
    pub predicted_bytes: u64,
    /// Of a step, as the layers are defined.
    pub flops: f64,
    /// That a step must read and write at least.
    pub bytes_moved: f64,
}

/// Says that a step did not fit into memory: a result, not a failure.
pub const OUT_OF_MEMORY: &str = "out of memory";

/// One line of `benches/peers/gpu/speed.py`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Theirs {
    /// As ours.
    pub rule: String,
    /// Height and width of a frame.
    pub size: usize,
    /// Images of a batch.
    pub batch: usize,
    /// `as-is` or `best`.
    pub variant: String,
    /// `step` or `end-to-end`.
    pub mode: String,
    /// Factor on all channels.
    pub width: f64,
    /// Version of PyTorch.
    pub torch: String,
    /// Nothing where the step did not fit into memory.
    pub seconds_per_step: Option<f64>,
    /// Peak of what PyTorch had handed out; nothing on a CPU.
    pub peak_bytes: Option<u64>,
    /// Peak of what PyTorch had taken from the device.
    pub reserved_bytes: Option<u64>,
    /// Of its DataLoader.
    pub workers: Option<usize>,
    /// `out of memory`, or `failed: ` and the reason.
    pub error: Option<String>,
    /// The reason if the step should have been a CUDA graph, and could not be captured.
    pub without_graph: Option<String>,
    /// The reason if the step should have been compiled, and could not be.
    pub without_compiler: Option<String>,
}

/// The device's highest rates, from `benches/peers/gpu/ceilings.py`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// The device.
    pub device: String,
    /// FLOP/s of a large product.
    pub product_flops_f32: f64,
    /// In TF32.
    pub product_flops_tf32: f64,
    /// In bfloat16.
    pub product_flops_bf16: f64,
    /// FLOP/s of a large convolution.
    pub convolution_flops_f32: f64,
    /// In TF32.
    pub convolution_flops_tf32: f64,
    /// In bfloat16.
    pub convolution_flops_bf16: f64,
    /// Bytes a second that a copy reads and writes.
    pub copy_bytes_per_second: f64,
}

impl Ceilings {
    /// The better of product and convolution; nothing for an unknown precision.
    pub fn flops(&self, precision: &str) -> Option<f64> {
        match precision {
            "f32" => Some(self.product_flops_f32.max(self.convolution_flops_f32)),
            "tf32" => Some(self.product_flops_tf32.max(self.convolution_flops_tf32)),
            "bf16" => Some(self.product_flops_bf16.max(self.convolution_flops_bf16)),
            _ => None,
        }
    }

    /// Seconds under which no such step can be, at the rates of this device: the larger of work and traffic.
    pub fn floor(&self, ours: &Ours) -> Option<f64> {
        Some((ours.flops / self.flops(&ours.precision)?).max(ours.bytes_moved / self.copy_bytes_per_second))
    }
}

/// A combination of rule, size of the frames and batch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// Height and width of a frame.
    pub size: usize,
    /// Images of a batch.
    pub batch: usize,
    /// The rule.
    pub rule: String,
}

impl Ours {
    /// The measured combination.
    pub fn case(&self) -> Case {
        Case { size: self.input[1], batch: self.batch, rule: self.rule.clone() }
    }

    /// True if the numbers are possible: finite, above 0.
    pub fn is_sound(&self) -> bool {
        let numbers = [self.seconds_per_step, self.images_per_second, self.flops, self.bytes_moved];
        let end_to_end = self.end_to_end_seconds_per_step.unwrap_or(1.0);
        let fits = (self.images_per_second * self.seconds_per_step / self.batch as f64 - 1.0).abs() < 0.01;
        numbers.iter().chain([&end_to_end]).all(|number| number.is_finite() && *number > 0.0) && fits
    }
}

impl Theirs {
    /// The measured combination.
    pub fn case(&self) -> Case {
        Case { size: self.size, batch: self.batch, rule: self.rule.clone() }
    }

    /// True if there is either a number, or no room in memory.
    pub fn is_sound(&self) -> bool {
        match self.seconds_per_step {
            Some(seconds) => seconds.is_finite() && seconds > 0.0 && self.error.is_none(),
            None => self.error.as_deref() == Some(OUT_OF_MEMORY),
        }
    }
}

/// All that was measured of speed and memory, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Of the device.
    pub ceilings: Option<Ceilings>,
    /// One a combination.
    pub ours: Vec<Ours>,
    /// One a combination.
    pub theirs: Vec<Theirs>,
    /// Commands that failed, with the last that they printed.
    pub failures: Vec<String>,
    /// Measurements that the time did not suffice for.
    pub not_measured: Vec<String>,
}
