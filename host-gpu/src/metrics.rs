//! The course of a training run: losses, scores, learning rate and speed, as means over a few steps at a time.

use crate::error::Error;
use crate::files::write_atomically;
use crate::trainer::StepMetrics;
use std::path::Path;
use std::time::Duration;

/// A row ends with each of these many steps of an epoch.
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
    /// Learning rate of the last of the steps.
    pub learning_rate: f32,
    /// Mean score of the positives of each layer.
    pub u_pos: Vec<Option<f64>>,
    /// Mean score of the negatives of each layer.
    pub u_neg: Vec<Option<f64>>,
    /// How far each layer's error is from back-propagation's, where the feedback is matched.
    pub mismatch: Vec<Option<f64>>,
}

/// The steps that will make the next row.
#[derive(Debug, Clone, Default)]
struct Pending {
    /// Sums of losses, of scores of positives, of those of negatives, and of mismatches.
    sums: [Vec<Option<f64>>; 4],
    steps: u64,
    images: usize,
    elapsed: Duration,
    /// Epoch, number and learning rate of the last step.
    last: (u64, u64, f32),
}

/// The rows so far, and the steps that will make the next one.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    rows: Vec<Row>,
    pending: Pending,
}

impl Metrics {
    /// The rows so far.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Takes a step in. A row ends with every 50th step of an epoch and with each epoch; gives it where one has ended.
    pub fn step(&mut self, metrics: &StepMetrics) -> Option<&Row> {
        let pending = &mut self.pending;
        for (sums, values) in
            pending.sums.iter_mut().zip([&metrics.losses, &metrics.u_pos, &metrics.u_neg, &metrics.mismatch])
        {
            sums.resize(values.len(), None);
            for (sum, value) in sums.iter_mut().zip(values) {
                if let Some(value) = value {
                    *sum = Some(sum.unwrap_or(0.0) + value);
                }
            }
        }
        pending.steps += 1;
        pending.images += metrics.images;
        pending.elapsed += metrics.elapsed;
        pending.last = (metrics.epoch, metrics.step, metrics.learning_rate);
        let in_epoch = (metrics.step - 1) % metrics.steps_per_epoch as u64 + 1;
        if in_epoch.is_multiple_of(STEPS_PER_ROW) || metrics.ends_epoch() { self.end_row() } else { None }
    }

    /// Ends the row that is under way, as before a checkpoint: what goes on from there has not seen its steps.
    pub fn end_row(&mut self) -> Option<&Row> {
        let Pending { sums, steps, images, elapsed, last: (epoch, step, learning_rate) } =
            std::mem::take(&mut self.pending);
        if steps == 0 {
            return None;
        }
        let mean = |sum: Option<f64>| sum.map(|sum| sum / steps as f64);
        let [losses, u_pos, u_neg, mismatch] = sums.map(|sums| sums.into_iter().map(mean).collect());
        let images_per_second = images as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
        self.rows.push(Row { epoch, step, images_per_second, losses, learning_rate, u_pos, u_neg, mismatch });
        self.rows.last()
    }

    /// Reads the rows up to `step` of a file that [`Metrics::write_csv`] wrote for so many layers: those after it will
    /// be made again. No file is no rows.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, [`Error::Config`] where it is not such a file.
    pub fn read_csv(path: &Path, layers: usize, step: u64) -> Result<Self, Error> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let wrong = |message: String| Error::Config { origin: path.display().to_string(), message };
        let mut reader =
            csv::Reader::from_path(path).map_err(|error| Error::file("read", path)(std::io::Error::other(error)))?;
        let expected = names(layers);
        let found = reader.headers().map_err(|error| wrong(error.to_string()))?;
        // A run without a row yet knows no layers.
        if !found.iter().eq(&expected) && !found.iter().eq(&names(0)) {
            let found: Vec<&str> = found.iter().collect();
            return Err(wrong(format!("columns are {}, expected {}", found.join(","), expected.join(","))));
        }
        let mut rows = Vec::new();
        for (line, record) in reader.records().enumerate() {
            let record = record.map_err(|error| wrong(error.to_string()))?;
            let row = parse(&record, layers).ok_or_else(|| {
                let text: Vec<&str> = record.iter().collect();
                wrong(format!("row {}: `{}` is not {}", line + 1, text.join(","), expected.join(",")))
            })?;
            if row.step <= step {
                rows.push(row);
            }
        }
        Ok(Self { rows, pending: Pending::default() })
    }

    /// Writes the rows as CSV: `epoch`, `step`, `images_per_second`, the losses `loss_layer{l}`, `learning_rate`, and
    /// the mean scores `u_pos_layer{l}` and `u_neg_layer{l}`, and `mismatch_layer{l}`, the distance of the layer's error
    /// from back-propagation's over the square of the latter; empty where a layer has no such thing.
    ///
    /// # Errors
    /// [`Error::File`] where the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), Error> {
        let csv_error = |error: csv::Error| Error::file("write", path)(std::io::Error::other(error));
        let layers = self.rows.first().map_or(0, |row| row.losses.len());
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(names(layers)).map_err(csv_error)?;
        for row in &self.rows {
            let mut fields = vec![row.epoch.to_string(), row.step.to_string(), format!("{:.1}", row.images_per_second)];
            let text = |value: &Option<f64>| value.map_or(String::new(), |value| format!("{value:.6}"));
            fields.extend(row.losses.iter().map(text));
            fields.push(row.learning_rate.to_string());
            fields.extend(row.u_pos.iter().chain(&row.u_neg).chain(&row.mismatch).map(text));
            writer.write_record(fields).map_err(csv_error)?;
        }
        let bytes = writer.into_inner().map_err(|error| Error::file("write", path)(error.into_error()))?;
        write_atomically(path, &bytes)
    }
}

/// The names of the columns.
fn names(layers: usize) -> Vec<String> {
    let of_layers = |name: &'static str| (0..layers).map(move |layer| format!("{name}_layer{layer}"));
    let mut names: Vec<String> = ["epoch", "step", "images_per_second"].map(String::from).into();
    names.extend(of_layers("loss"));
    names.push("learning_rate".into());
    names.extend(of_layers("u_pos").chain(of_layers("u_neg")).chain(of_layers("mismatch")));
    names
}

fn parse(record: &csv::StringRecord, layers: usize) -> Option<Row> {
    let mut fields = record.iter();
    let (epoch, step) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let images_per_second = fields.next()?.parse().ok()?;
    let series = |fields: &mut dyn Iterator<Item = &str>| -> Option<Vec<Option<f64>>> {
        let value = |field: &str| if field.is_empty() { Some(None) } else { field.parse().ok().map(Some) };
        (0..layers).map(|_| value(fields.next()?)).collect()
    };
    let losses = series(&mut fields)?;
    let learning_rate = fields.next()?.parse().ok()?;
    let (u_pos, u_neg, mismatch) = (series(&mut fields)?, series(&mut fields)?, series(&mut fields)?);
    Some(Row { epoch, step, images_per_second, losses, learning_rate, u_pos, u_neg, mismatch })
}
