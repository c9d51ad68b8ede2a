//! The kept table of `clapp paper micro`, row by row.

use crate::paper::micro::{COLUMNS, TABLE};
use clapp_data::error::Error;
use csv::StringRecord;

/// The kept table.
pub const MEASURED: &str = include_str!("../../../../benches/results/micro.csv");

/// A number of percent or points, and its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// The number.
    pub value: f64,
    /// Its standard error, over seeds and test images.
    pub error: f64,
}

/// A measured configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The images that it was measured on.
    pub images: String,
    /// Channels of every layer.
    pub channels: usize,
    /// Layers.
    pub depth: usize,
    /// Height and width of a frame.
    pub input: usize,
    /// Images in a batch; 1 is a stream.
    pub batch: usize,
    /// Images that it learnt from in an epoch.
    pub learnt_from: usize,
    /// Epochs.
    pub epochs: u64,
    /// Learning rate.
    pub rate: f32,
    /// Seeds that the numbers are means of.
    pub seeds: usize,
    /// Images that the read-outs were tested on.
    pub test_images: usize,
    /// Accuracy of a linear read-out of all layers after learning, percent.
    pub trained: Known,
    /// Its gain over the untrained encoder, points.
    pub gain: Known,
}

/// Reads the table of `clapp paper micro`: rows with projections in f32 that did not diverge.
///
/// # Errors
/// [`Error::Config`] with row and column where it is not such a table.
pub fn rows(text: &str) -> Result<Vec<Row>, Error> {
    let wrong = |message: String| Error::Config { origin: format!("{TABLE}.csv"), message };
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().map_err(|error| wrong(error.to_string()))?.clone();
    let place = |name: &str| {
        let found = heads.iter().position(|head| head == name);
        found.ok_or_else(|| wrong(format!("has no column `{name}`; write it anew with `clapp paper micro`")))
    };
    for (name, _) in COLUMNS {
        place(name)?;
    }
    let mut rows = Vec::new();
    for (line, record) in reader.records().enumerate() {
        let record: StringRecord = record.map_err(|error| wrong(error.to_string()))?;
        let text = |name: &str| Ok::<_, Error>(record.get(place(name)?).unwrap_or_default());
        if text("projections")? != "f32" || text("trained, %")?.is_empty() {
            continue;
        }
        let number = |name: &str| {
            let text = text(name)?;
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite() && (*value >= 0.0 || name == GAIN));
            value.ok_or_else(|| wrong(format!("row {}: {name} is `{text}`, expected a number", line + 1)))
        };
        let whole = |name: &str| {
            let value = number(name)?;
            match value.fract() == 0.0 && value >= 1.0 {
                true => Ok(value as usize),
                false => Err(wrong(format!("row {}: {name} is {value}, expected a whole number from 1 on", line + 1))),
            }
        };
        let known =
            |name: &str| Ok::<_, Error>(Known { value: number(name)?, error: number(&format!("{name} spread"))? });
        rows.push(Row {
            images: text("images")?.to_owned(),
            channels: whole("channels")?,
            depth: whole("depth")?,
            input: whole("input")?,
            batch: whole("batch")?,
            learnt_from: whole("learnt from, images")?,
            epochs: whole("epochs")? as u64,
            rate: number("rate")? as f32,
            seeds: whole("seeds")?,
            test_images: whole("test images")?,
            trained: known("trained, %")?,
            gain: known(GAIN)?,
        });
    }
    Ok(rows)
}

/// The one column whose numbers may be negative.
const GAIN: &str = "gain, points";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_table_is_read_whole() {
        let rows = rows(MEASURED).unwrap();
        assert!(rows.iter().any(|row| row.batch == 1) && rows.iter().any(|row| row.batch == 32));
        assert!(rows.len() >= 12, "{}", rows.len());
        for row in &rows {
            assert!((0.0..=100.0).contains(&row.trained.value) && row.trained.error > 0.0, "{row:?}");
            assert!(row.gain.value.abs() < 100.0 && row.gain.error > 0.0, "{row:?}");
        }
    }

    /// The kept table with one field of its first row replaced.
    fn spoilt(column: &str, by: &str) -> String {
        let mut reader = csv::Reader::from_reader(MEASURED.as_bytes());
        let heads = reader.headers().unwrap().clone();
        let first = reader.records().next().unwrap().unwrap();
        let fields = heads.iter().zip(&first).map(|(head, field)| if head == column { by } else { field });
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&heads).unwrap();
        writer.write_record(fields).unwrap();
        String::from_utf8(writer.into_inner().unwrap()).unwrap()
    }

    #[test]
    fn a_table_that_is_none_is_refused_by_column_or_row() {
        let refused = |text: &str| rows(text).unwrap_err().to_string();
        assert!(refused("a,b\n1,2\n").contains("no column `images`"));
        assert_eq!(rows(&spoilt("channels", "4")).unwrap()[0].channels, 4);
        for (column, by) in [
            ("channels", "sixteen"),
            ("channels", "0"),
            ("depth", "1.5"),
            ("test images", "-1"),
            ("trained, %", "NaN"),
            ("trained, % spread", ""),
            ("gain, points spread", "-0.5"),
            ("rate", ""),
        ] {
            let message = refused(&spoilt(column, by));
            assert!(message.contains("row 1") && message.contains(column), "{message}");
        }
        assert_eq!(rows(&spoilt("gain, points", "-0.5")).unwrap()[0].gain.value, -0.5);
        let short = MEASURED.lines().take(1).collect::<String>() + "\ncifar10,16\n";
        assert!(refused(&short).contains("record 1"), "{}", refused(&short));
    }
}
