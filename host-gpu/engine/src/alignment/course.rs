//! Alignment over the steps of a run: `alignment.csv`.

use super::LayerAlignment;
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use std::path::Path;

/// Name of the file in a run's folder.
pub const ALIGNMENT: &str = "alignment.csv";

/// The alignment after a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Steps done, over all epochs; 0 before the first.
    pub step: u64,
    /// Mean of each layer's cosines over the batches; `None` if no batch has one.
    pub means: Vec<Option<f64>>,
    /// Their standard deviations; `None` if fewer than two batches have a cosine.
    pub stds: Vec<Option<f64>>,
    /// Batches that have a cosine, of each layer.
    pub batches: Vec<u64>,
}

/// The rows of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    rows: Vec<Row>,
}

impl Course {
    /// The rows so far.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Adds the measurement after a step.
    pub fn push(&mut self, step: u64, layers: &[LayerAlignment]) {
        self.rows.push(Row {
            step,
            means: layers.iter().map(LayerAlignment::mean).collect(),
            stds: layers.iter().map(LayerAlignment::std).collect(),
            batches: layers.iter().map(|layer| layer.batches() as u64).collect(),
        });
    }

    /// Reads the rows up to `step` of a file by [`Course::write_csv`] for so many layers: those after it will be made
    /// again. No file is no rows.
    ///
    /// # Errors
    /// Same as [`read_rows`], and [`Error::Run`] if it is of a network with more or fewer layers.
    pub fn read_csv(path: &Path, layers: usize, step: u64) -> Result<Self, Error> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let mut rows = read_rows(path)?;
        if let Some(found) = rows.first().map(|row| row.means.len()).filter(|found| *found != layers) {
            let message = format!("has columns of {found} layers, but the network has {layers}");
            return Err(Error::Run { path: path.into(), message });
        }
        rows.retain(|row| row.step <= step);
        Ok(Self { rows })
    }

    /// Writes the rows as CSV: `step`, and of each layer `mean_layer{l}` and `std_layer{l}` of the cosines (empty if
    /// there is none) and `batches_layer{l}`, how many batches have one.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), Error> {
        let csv_error = |error: csv::Error| Error::file("write", path)(std::io::Error::other(error));
        let layers = self.rows.first().map_or(0, |row| row.means.len());
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(names(layers)).map_err(csv_error)?;
        for Row { step, means, stds, batches } in &self.rows {
            let text = |value: &Option<f64>| value.map_or(String::new(), |value| format!("{value:.6}"));
            let numbers = means.iter().chain(stds).map(text);
            let fields = std::iter::once(step.to_string()).chain(numbers).chain(batches.iter().map(u64::to_string));
            writer.write_record(fields).map_err(csv_error)?;
        }
        let bytes = writer.into_inner().map_err(|error| Error::file("write", path)(error.into_error()))?;
        write_atomically(path, &bytes)
    }
}

/// The names of the columns.
fn names(layers: usize) -> Vec<String> {
    let of_layers = |name: &'static str| (0..layers).map(move |layer| format!("{name}_layer{layer}"));
    let columns = of_layers("mean").chain(of_layers("std")).chain(of_layers("batches"));
    std::iter::once("step".into()).chain(columns).collect()
}

/// Reads all rows of a file by [`Course::write_csv`], for any number of layers.
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
    let layers = header.iter().filter(|name| name.starts_with("mean_layer")).count();
    let expected = names(layers);
    if !header.iter().eq(&expected) {
        let found: Vec<&str> = header.iter().collect();
        return Err(format!("columns are {}, expected {}", found.join(","), expected.join(",")));
    }
    let mut rows: Vec<Row> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let text = |column: usize| record.get(column).unwrap_or_default();
        let wrong = |column: usize, wanted: &str| {
            format!("line {line}, field {} is {:?}, expected {wanted}", expected[column], text(column))
        };
        let whole = |column: usize| text(column).parse::<u64>().map_err(|_| wrong(column, "a whole number"));
        let within = |column: usize, low: f64, high: f64, wanted: &str| match text(column) {
            "" => Ok(None),
            field => match field.parse::<f64>() {
                Ok(number) if (low..=high).contains(&number) => Ok(Some(number)),
                _ => Err(wrong(column, wanted)),
            },
        };
        // Rounding may carry a cosine of 1 no further than 1.
        let row = Row {
            step: whole(0)?,
            means: (1..=layers).map(|at| within(at, -1.0, 1.0, "a cosine, -1 to 1")).collect::<Result<_, _>>()?,
            stds: (1 + layers..=2 * layers)
                .map(|at| within(at, 0.0, 2.0, "a deviation of cosines"))
                .collect::<Result<_, _>>()?,
            batches: (1 + 2 * layers..=3 * layers).map(whole).collect::<Result<_, _>>()?,
        };
        if rows.last().is_some_and(|last| last.step >= row.step) {
            return Err(wrong(0, "more than in the line before it"));
        }
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course() -> Course {
        let mut course = Course::default();
        let layer = |cosines: &[Option<f64>]| LayerAlignment { cosines: cosines.to_vec() };
        course.push(0, &[layer(&[None, None]), layer(&[Some(1.0), Some(1.0)])]);
        course.push(5, &[layer(&[Some(0.25), Some(0.75)]), layer(&[Some(1.0), None])]);
        course
    }

    #[test]
    fn rows_are_read_as_they_were_written_and_those_after_the_checkpoint_are_left_out() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(ALIGNMENT);
        assert_eq!(Course::read_csv(&path, 2, 9).unwrap(), Course::default());
        course().write_csv(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "step,mean_layer0,mean_layer1,std_layer0,std_layer1,batches_layer0,batches_layer1");
        assert_eq!(lines[1], "0,,1.000000,,0.000000,0,2");
        assert_eq!(lines[2], "5,0.500000,1.000000,0.353553,,2,1");
        let read = Course::read_csv(&path, 2, 4).unwrap();
        assert_eq!(read.rows(), &course().rows()[..1]);
        assert_eq!(Course::read_csv(&path, 2, 5).unwrap().rows().len(), 2);
        let error = Course::read_csv(&path, 3, 5).unwrap_err().to_string();
        assert!(error.contains("alignment.csv") && error.contains("2 layers"), "{error}");
    }

    #[test]
    fn damage_is_named_by_line_and_field() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(ALIGNMENT);
        course().write_csv(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to, part) in [
            ("step,", "stop,", "columns are stop,"),
            ("std_layer1", "std", "columns are"),
            ("\n5,", "\n0,", "line 3, field step is \"0\", expected more"),
            ("0.500000", "1.5", "line 3, field mean_layer0 is \"1.5\", expected a cosine"),
            ("0.500000", "NaN", "line 3, field mean_layer0 is \"NaN\""),
            ("0.353553", "-1", "line 3, field std_layer0"),
            (",2,1", ",two,1", "line 3, field batches_layer0 is \"two\", expected a whole number"),
            (",2,1", ",2", "line: 3"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.contains(part), "{from}: {error}");
        }
        assert!(parse(b"").unwrap_err().contains("columns are"));
    }
}
