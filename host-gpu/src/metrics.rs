//! The course of a training run: mean losses and speed over a few steps at a time.

use crate::error::Error;
use crate::files::write_atomically;
use crate::trainer::StepMetrics;
use std::path::Path;

/// Steps whose mean is one row.
const STEPS_PER_ROW: u64 = 50;

/// Means over a few steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Epoch, from 0.
    pub epoch: u64,
    /// The last of the steps, counted from 1 over all epochs.
    pub step: u64,
    /// Images a second, loading included.
    pub images_per_second: f64,
    /// Loss of each layer; `None` where a layer has none.
    pub losses: Vec<Option<f64>>,
}

/// The rows so far, and the steps that will make the next one.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    rows: Vec<Row>,
    sums: Vec<Option<f64>>,
    steps: u64,
    images: usize,
    seconds: f64,
}

impl Metrics {
    /// The rows so far.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Takes a step in. A row ends after 50 steps and with each epoch.
    pub fn step(&mut self, metrics: &StepMetrics) {
        self.sums.resize(metrics.losses.len(), None);
        for (sum, loss) in self.sums.iter_mut().zip(&metrics.losses) {
            if let Some(loss) = loss {
                *sum = Some(sum.unwrap_or(0.0) + loss);
            }
        }
        self.steps += 1;
        self.images += metrics.images;
        self.seconds += metrics.elapsed.as_secs_f64();
        let ends_epoch = metrics.step.is_multiple_of(metrics.steps_per_epoch as u64);
        if self.steps < STEPS_PER_ROW && !ends_epoch {
            return;
        }
        let rows = std::mem::take(&mut self.rows);
        let Self { sums, steps, images, seconds, .. } = std::mem::take(self);
        self.rows = rows;
        self.rows.push(Row {
            epoch: metrics.epoch,
            step: metrics.step,
            images_per_second: images as f64 / seconds,
            losses: sums.into_iter().map(|sum| sum.map(|sum| sum / steps as f64)).collect(),
        });
    }

    /// Writes the rows as CSV: epoch, step, images_per_second, one loss a layer (empty where it has none).
    ///
    /// # Errors
    /// [`Error::File`] where the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), Error> {
        let csv_error = |error: csv::Error| Error::file("write", path)(std::io::Error::other(error));
        let layers = self.rows.first().map_or(0, |row| row.losses.len());
        let mut writer = csv::Writer::from_writer(Vec::new());
        let names = ["epoch", "step", "images_per_second"].map(String::from);
        writer
            .write_record(names.into_iter().chain((0..layers).map(|layer| format!("loss_layer{layer}"))))
            .map_err(csv_error)?;
        for row in &self.rows {
            let fixed = [row.epoch.to_string(), row.step.to_string(), format!("{:.1}", row.images_per_second)];
            let loss = |loss: &Option<f64>| loss.map_or(String::new(), |loss| format!("{loss:.6}"));
            writer.write_record(fixed.into_iter().chain(row.losses.iter().map(loss))).map_err(csv_error)?;
        }
        let bytes = writer.into_inner().map_err(|error| Error::file("write", path)(error.into_error()))?;
        write_atomically(path, &bytes)
    }
}
