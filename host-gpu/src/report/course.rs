//! The course of a run, read back from `metrics.csv`.

use crate::error::Error;
use std::path::Path;

/// One row of `metrics.csv`, as far as the report shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct CourseRow {
    /// The last step of the row, counted from 1 over all epochs.
    pub step: u64,
    /// Images a second.
    pub images_per_second: f64,
    /// Loss of each layer; `None` where a layer has none.
    pub losses: Vec<Option<f64>>,
}

/// The rows of a run, in the order of their steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Course {
    /// The rows.
    pub rows: Vec<CourseRow>,
}

impl Course {
    /// Reads the file; columns are found by their names, those that are not shown may be anything.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, [`Error::Run`] with line and field where it is damaged.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
        Self::parse(&bytes).map_err(|message| Error::Run { path: path.into(), message })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = csv::Reader::from_reader(bytes);
        let names = reader.headers().map_err(|error| error.to_string())?.clone();
        let column = |name: &str| names.iter().position(|found| found == name);
        let needed = |name: &str| column(name).ok_or_else(|| format!("no column {name} in the first line"));
        let (step, speed) = (needed("step")?, needed("images_per_second")?);
        let losses: Vec<(String, usize)> = (0..)
            .map_while(|layer| Some(format!("loss_layer{layer}")).and_then(|name| Some((name.clone(), column(&name)?))))
            .collect();
        let mut rows: Vec<CourseRow> = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| error.to_string())?;
            let line = record.position().map_or(0, csv::Position::line);
            let text = |column: usize| record.get(column).unwrap_or_default();
            let wrong = |name: &str, column: usize, expected: &str| {
                format!("line {line}, field {name} is {:?}, expected {expected}", text(column))
            };
            let number = |name: &str, column: usize| {
                let number = text(column).parse::<f64>().ok().filter(|number| number.is_finite());
                number.ok_or_else(|| wrong(name, column, "a number"))
            };
            let found: u64 = text(step).parse().map_err(|_| wrong("step", step, "a whole number"))?;
            if rows.last().is_some_and(|last| last.step >= found) {
                return Err(wrong("step", step, "more than in the line before it"));
            }
            let loss = |(name, column): &(String, usize)| match text(*column) {
                "" => Ok(None),
                _ => number(name, *column).map(Some),
            };
            rows.push(CourseRow {
                step: found,
                images_per_second: number("images_per_second", speed)?,
                losses: losses.iter().map(loss).collect::<Result<_, _>>()?,
            });
        }
        Ok(Self { rows })
    }

    /// The last row's losses.
    pub fn final_losses(&self) -> &[Option<f64>] {
        self.rows.last().map_or(&[], |row| &row.losses)
    }

    /// Median over the rows: a machine that was busy for a while does not move it.
    pub fn images_per_second(&self) -> Option<f64> {
        let mut speeds: Vec<f64> = self.rows.iter().map(|row| row.images_per_second).collect();
        speeds.sort_by(f64::total_cmp);
        speeds.get(speeds.len() / 2).copied()
    }

    /// Step and loss of a layer, at most `most` points: each is the mean of as many rows as that takes.
    pub fn loss_curve(&self, layer: usize, most: usize) -> Vec<(f64, f64)> {
        let rows = self.rows.iter();
        let points: Vec<(f64, f64)> =
            rows.filter_map(|row| Some((row.step as f64, (*row.losses.get(layer)?)?))).collect();
        let mean = |points: &[(f64, f64)]| {
            let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
            (sum.0 / points.len() as f64, sum.1 / points.len() as f64)
        };
        points.chunks(points.len().div_ceil(most).max(1)).map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "epoch,step,images_per_second,loss_layer0,loss_layer1,lr\n\
        0,5,100.0,2.0,,x\n0,10,300.0,1.5,1.25,x\n1,15,200.0,1.0,1.0,x\n";

    #[test]
    fn columns_are_found_by_name_and_an_empty_loss_is_none() {
        let course = Course::parse(FILE.as_bytes()).unwrap();
        assert_eq!(course.rows[0], CourseRow { step: 5, images_per_second: 100.0, losses: vec![Some(2.0), None] });
        assert_eq!(course.final_losses(), [Some(1.0), Some(1.0)]);
        assert_eq!(course.images_per_second(), Some(200.0));
        assert_eq!(course.loss_curve(1, 9), [(10.0, 1.25), (15.0, 1.0)]);
        assert_eq!(course.loss_curve(0, 2), [(7.5, 1.75), (15.0, 1.0)]);
        assert_eq!(course.loss_curve(7, 2), []);
        let head = FILE.lines().next().unwrap();
        assert_eq!(Course::parse(head.as_bytes()).unwrap(), Course::default());
    }

    #[test]
    fn damage_is_named_by_line_and_field() {
        for (from, to, part) in [
            ("step", "stop", "no column step"),
            ("images_per_second", "speed", "no column images_per_second"),
            (",10,", ",ten,", "line 3, field step is \"ten\", expected a whole number"),
            (",10,", ",4,", "line 3, field step is \"4\", expected more"),
            ("300.0", "nan", "line 3, field images_per_second is \"nan\""),
            ("1.25", "1.2.5", "line 3, field loss_layer1 is \"1.2.5\", expected a number"),
            ("1.5,1.25,x", "1.5", "line: 3"),
        ] {
            assert!(FILE.contains(from), "{from}");
            let error = Course::parse(FILE.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.contains(part), "{from}: {error}");
        }
        assert!(Course::parse(b"").unwrap_err().contains("no column step"));
        assert!(Course::parse(b"epoch,step,images_per_second\n0,\xff,1\n").is_err());
    }
}
