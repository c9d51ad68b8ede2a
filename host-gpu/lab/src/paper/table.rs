//! Tables as numbers, to CSV and Markdown.

use clapp_data::error::Error;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Name of its CSV file.
    pub name: String,
    /// Caption on the page.
    pub caption: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Heading, with the unit.
    pub name: String,
    /// Digits after the point on the page; the CSV file has all.
    pub digits: usize,
    /// `true`: the page shows numbers as powers of ten.
    pub scientific: bool,
}

impl Column {
    /// A column of text, or of numbers with so many digits after the point.
    pub fn new(name: &str, digits: usize) -> Self {
        Self { name: name.into(), digits, scientific: false }
    }

    /// A column of numbers as powers of ten, with one digit after the point.
    pub fn scientific(name: &str) -> Self {
        Self { name: name.into(), digits: 1, scientific: true }
    }
}

/// A cell: text, a number with or without its spread, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Its standard deviation, or what the caption says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
}

impl Cell {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// A number.
    pub fn number(value: f64) -> Self {
        Self { value: Some(value), ..Self::default() }
    }

    /// A number and its spread.
    pub fn spread(value: f64, spread: f64) -> Self {
        Self { value: Some(value), spread: Some(spread), ..Self::default() }
    }

    /// Nothing: not measured, or not published.
    pub fn none() -> Self {
        Self::default()
    }

    fn shown(&self, column: &Column) -> String {
        let number = |value: f64| match column.scientific {
            true => format!("{value:.*e}", column.digits),
            false => format!("{value:.*}", column.digits),
        };
        match (&self.text, self.value, self.spread) {
            (Some(text), ..) => text.replace('|', "\\|"),
            (None, Some(value), Some(spread)) => format!("{} ± {}", number(value), number(spread)),
            (None, Some(value), None) => number(value),
            (None, None, _) => "-".into(),
        }
    }
}

impl Table {
    /// A table without rows.
    pub fn new(name: &str, caption: &str, columns: Vec<Column>) -> Self {
        Self { name: name.into(), caption: caption.into(), columns, rows: Vec::new() }
    }

    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.columns.iter().map(|column| column.name.clone()).collect());
        text += &line(self.columns.iter().map(|_| "---".into()).collect());
        for row in &self.rows {
            text += &line(row.iter().zip(&self.columns).map(|(cell, column)| cell.shown(column)).collect());
        }
        text
    }

    /// The table in CSV, with all digits. A column with spreads is followed by a column `… spread`.
    ///
    /// # Errors
    /// [`Error::Run`] if the library refuses.
    pub fn csv(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let spreads: Vec<bool> = (0..self.columns.len())
            .map(|column| self.rows.iter().any(|row| row.get(column).is_some_and(|cell| cell.spread.is_some())))
            .collect();
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let mut writer = csv::Writer::from_writer(Vec::new());
        let heads = self.columns.iter().zip(&spreads).flat_map(|(column, spread)| {
            [Some(column.name.clone()), spread.then(|| format!("{} spread", column.name))]
        });
        let refused = |error: csv::Error| Error::Run { path: path.into(), message: error.to_string() };
        writer.write_record(heads.flatten()).map_err(refused)?;
        for row in &self.rows {
            let cells = row.iter().zip(&spreads).flat_map(|(cell, spread)| {
                let value = cell.text.clone().unwrap_or_else(|| number(cell.value));
                [Some(value), spread.then(|| number(cell.spread))]
            });
            writer.write_record(cells.flatten()).map_err(refused)?;
        }
        writer.into_inner().map_err(|error| Error::Run { path: path.into(), message: error.to_string() })
    }

    /// The place of a number that is not finite, or of a row that is not as long as the columns.
    pub(super) fn not_finite(&self) -> Option<String> {
        let good = |number: Option<f64>| number.is_none_or(f64::is_finite);
        let bad = |row: &Vec<Cell>| {
            row.len() != self.columns.len() || row.iter().any(|cell| !good(cell.value) || !good(cell.spread))
        };
        self.rows.iter().position(bad).map(|row| format!("table {}, row {row}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_written_whole() {
        let mut table = Table::new("t", "", vec![Column::new("rule", 0), Column::new("%", 1), Column::scientific("d")]);
        table.rows.push(vec![Cell::text("a, \"b\""), Cell::spread(12.345, 0.5), Cell::number(1.25e-7)]);
        table.rows.push(vec![Cell::text("c|d"), Cell::none(), Cell::none()]);
        assert_eq!(
            table.markdown(),
            "| rule | % | d |\n| --- | --- | --- |\n| a, \"b\" | 12.3 ± 0.5 | 1.2e-7 |\n| c\\|d | - | - |\n"
        );
        let csv = String::from_utf8(table.csv(Path::new("t.csv")).unwrap()).unwrap();
        assert_eq!(csv, "rule,%,% spread,d\n\"a, \"\"b\"\"\",12.345,0.5,0.000000125\nc|d,,,\n");
        assert_eq!(table.not_finite(), None);
        table.rows.push(vec![Cell::text("e"), Cell::number(f64::NAN), Cell::none()]);
        assert_eq!(table.not_finite().as_deref(), Some("table t, row 2"));
        table.rows[2].pop();
        table.rows[2][1] = Cell::none();
        assert_eq!(table.not_finite().as_deref(), Some("table t, row 2"));
    }
}
