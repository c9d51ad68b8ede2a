//! The course of a training run: losses, scores, learning rate and speed, as means over a few steps at a time.

use crate::trainer::StepMetrics;
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use std::path::Path;
use std::time::Duration;

/// A row ends with each of these many steps of an epoch.
pub const STEPS_PER_ROW: u64 = 50;

/// Means over a few steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Epoch, from 0.
    pub epoch: u64,
    /// The last of the steps, counted from 1 over all epochs.
    pub step: u64,
    /// Images a second, loading included.
    pub images_per_second: f64,
    /// Loss of each layer; `None` if a layer has none.
    pub losses: Vec<Option<f64>>,
    /// Learning rate of the last of the steps.
    pub learning_rate: f32,
    /// Mean score of the positives of each layer.
    pub u_pos: Vec<Option<f64>>,
    /// Mean score of the negatives of each layer.
    pub u_neg: Vec<Option<f64>>,
    /// Distance of each layer's error from that of back-propagation, for matched feedback.
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

    /// Adds a step. A row ends with every 50th step of an epoch and with each epoch. Returns a row that has ended.
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

    /// Ends the row that is under way, as before a checkpoint: what continues from there has not seen its steps.
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

    /// Reads the rows up to `step` of a file by [`Metrics::write_csv`] for so many layers: those after it will be made
    /// again. No file is no rows.
    ///
    /// # Errors
    /// Same as [`read_rows`], and [`Error::Run`] if it is of a network with more or fewer layers.
    pub fn read_csv(path: &Path, layers: usize, step: u64) -> Result<Self, Error> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let mut rows = read_rows(path)?;
        if let Some(found) = rows.first().map(|row| row.losses.len()).filter(|found| *found != layers) {
            let message = format!("has columns of {found} layers, but the network has {layers}");
            return Err(Error::Run { path: path.into(), message });
        }
        rows.retain(|row| row.step <= step);
        Ok(Self { rows, pending: Pending::default() })
    }

    /// Writes the rows as CSV: `epoch`, `step`, `images_per_second`, the losses `loss_layer{l}`, `learning_rate`, and
    /// the mean scores `u_pos_layer{l}` and `u_neg_layer{l}`, and `mismatch_layer{l}`, the distance of the layer's
    /// error from back-propagation's over the square of the latter; empty if a layer has no such thing.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
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

/// Reads all rows of a file by [`Metrics::write_csv`], for any number of layers.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Run`] with line and field if it is damaged.
pub fn read_rows(path: &Path) -> Result<Vec<Row>, Error> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    parse(&bytes).map_err(|message| Error::Run { path: path.into(), message })
}

fn parse(bytes: &[u8]) -> Result<Vec<Row>, String> {
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let layers = header.iter().filter(|name| name.starts_with("loss_layer")).count();
    let expected = names(layers);
    if let Some(missing) = expected.iter().find(|name| !header.iter().any(|found| found == *name)) {
        return Err(format!("no column {missing} in the first line"));
    }
    if !header.iter().eq(&expected) {
        let found: Vec<&str> = header.iter().collect();
        return Err(format!("columns are {}, expected {}", found.join(","), expected.join(",")));
    }
    let mut rows: Vec<Row> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let fields = Fields { line: record.position().map_or(0, csv::Position::line), names: &expected, record };
        let row = fields.row(layers)?;
        if rows.last().is_some_and(|last| last.step >= row.step) {
            return Err(fields.wrong(1, "more than in the line before it"));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// One line of the file, with the names of its columns.
struct Fields<'a> {
    line: u64,
    names: &'a [String],
    record: csv::StringRecord,
}

impl Fields<'_> {
    fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default()
    }

    fn wrong(&self, column: usize, expected: &str) -> String {
        let (line, name) = (self.line, &self.names[column]);
        format!("line {line}, field {name} is {:?}, expected {expected}", self.text(column))
    }

    fn whole(&self, column: usize) -> Result<u64, String> {
        self.text(column).parse().map_err(|_| self.wrong(column, "a whole number"))
    }

    fn number(&self, column: usize) -> Result<f64, String> {
        let number = self.text(column).parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| self.wrong(column, "a number"))
    }

    /// A number a layer from `first` on; `None` if the field is empty.
    fn series(&self, first: usize, layers: usize) -> Result<Vec<Option<f64>>, String> {
        let value = |column: usize| if self.text(column).is_empty() { Ok(None) } else { self.number(column).map(Some) };
        (first..first + layers).map(value).collect()
    }

    /// In the order of [`names`].
    fn row(&self, layers: usize) -> Result<Row, String> {
        let after_losses = 3 + layers;
        Ok(Row {
            epoch: self.whole(0)?,
            step: self.whole(1)?,
            images_per_second: self.number(2)?,
            losses: self.series(3, layers)?,
            learning_rate: self.number(after_losses)? as f32,
            u_pos: self.series(after_losses + 1, layers)?,
            u_neg: self.series(after_losses + 1 + layers, layers)?,
            mismatch: self.series(after_losses + 1 + 2 * layers, layers)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "epoch,step,images_per_second,loss_layer0,loss_layer1,learning_rate,u_pos_layer0,u_pos_layer1,\
        u_neg_layer0,u_neg_layer1,mismatch_layer0,mismatch_layer1\n\
        0,5,100.0,2.0,,0.0002,1,,2,,,\n0,10,300.0,1.5,1.25,0.0002,1,2,3,4,5,\n1,15,200.0,1.0,1.0,0.0001,1,2,3,4,,\n";

    #[test]
    fn an_empty_field_is_none() {
        let rows = parse(FILE.as_bytes()).unwrap();
        let first = Row {
            epoch: 0,
            step: 5,
            images_per_second: 100.0,
            losses: vec![Some(2.0), None],
            learning_rate: 0.0002,
            u_pos: vec![Some(1.0), None],
            u_neg: vec![Some(2.0), None],
            mismatch: vec![None, None],
        };
        assert_eq!((rows.len(), &rows[0]), (3, &first));
        assert_eq!((&rows[1].u_neg, &rows[1].mismatch), (&vec![Some(3.0), Some(4.0)], &vec![Some(5.0), None]));
        let head = FILE.lines().next().unwrap();
        assert_eq!(parse(head.as_bytes()).unwrap(), []);
    }

    #[test]
    fn damage_is_named_by_line_and_field() {
        for (from, to, part) in [
            ("step", "stop", "no column step"),
            ("images_per_second", "speed", "no column images_per_second"),
            ("mismatch_layer1", "mismatch", "no column mismatch_layer1"),
            ("epoch,step", "step,epoch", "columns are step,epoch"),
            (",10,", ",ten,", "line 3, field step is \"ten\", expected a whole number"),
            (",10,", ",4,", "line 3, field step is \"4\", expected more"),
            ("300.0", "nan", "line 3, field images_per_second is \"nan\""),
            ("1.25", "1.2.5", "line 3, field loss_layer1 is \"1.2.5\", expected a number"),
            ("1.5,1.25,", "1.5,", "line: 3"),
        ] {
            assert!(FILE.contains(from), "{from}");
            let error = parse(FILE.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.contains(part), "{from}: {error}");
        }
        assert!(parse(b"").unwrap_err().contains("no column epoch"));
        assert!(parse(b"epoch,step,images_per_second,learning_rate\n0,\xff,1,1\n").is_err());
    }
}
