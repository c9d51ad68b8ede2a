//! The result of an experiment: claims with their verdicts, figures and tables, as plain numbers.
//!
//! Pictures, CSV files and pages are made from this alone, so no number is typed by hand.

use super::table::Table;
use crate::draw::Figure;
use clapp_data::error::Error;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The result of a claim in an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The claim held.
    Held,
    /// The claim did not hold.
    Failed,
    /// The differences are within their errors, or the experiment is too small to decide.
    Open,
}

impl Verdict {
    /// Held or failed.
    pub fn of(held: bool) -> Self {
        if held { Self::Held } else { Self::Failed }
    }

    /// The verdict on a claim with several parts: failed if one part failed, else open if one part is open.
    pub fn all(verdicts: &[Self]) -> Self {
        [Self::Failed, Self::Open].into_iter().find(|worse| verdicts.contains(worse)).unwrap_or(Self::Held)
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed => "did not hold",
            Self::Open => "not decided",
        }
    }
}

/// A claim and its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The claim and its author (a theorem, a figure, this project).
    pub statement: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The number that decides, with its unit, for the table of all claims. `None`: there is none, or the finding is from
    /// a build that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// All numbers that decide.
    pub evidence: String,
}

impl Claim {
    /// A claim without a number of its own.
    pub fn new(statement: impl Into<String>, verdict: Verdict, evidence: impl Into<String>) -> Self {
        Self { statement: statement.into(), verdict, number: None, evidence: evidence.into() }
    }

    /// The same with its number.
    pub fn number(self, number: impl Into<String>) -> Self {
        Self { number: Some(number.into()), ..self }
    }
}

/// The result of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The experiment's name on the command line, such as `fig2`.
    pub name: String,
    /// The heading of its page.
    pub title: String,
    /// The place in the paper, such as `Figure 2`; empty for this project's own experiments.
    pub source: String,
    /// The method, in a paragraph.
    pub about: String,
    /// Sizes, data, epochs, seeds: names and values.
    pub setting: Vec<(String, String)>,
    /// Claims and verdicts.
    pub claims: Vec<Claim>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Notes for the reader, a paragraph each: above all the reasons for differences from published numbers.
    pub notes: Vec<String>,
}

impl Finding {
    /// An empty finding.
    pub fn new(name: &str, title: &str, source: &str, about: &str) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            source: source.into(),
            about: about.into(),
            setting: Vec::new(),
            claims: Vec::new(),
            figures: Vec::new(),
            tables: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a line to the setting.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.setting.push((name.into(), value.to_string()));
    }

    /// Checks that all numbers are finite: JSON has no others.
    ///
    /// # Errors
    /// [`Error::Run`] with the figure or table, and the row.
    pub fn check(&self, folder: &Path) -> Result<(), Error> {
        let figures = self.figures.iter().filter_map(Figure::not_finite);
        let tables = self.tables.iter().filter_map(Table::not_finite);
        match figures.chain(tables).next() {
            None => Ok(()),
            Some(place) => Err(Error::Run { path: folder.into(), message: format!("{place}: a number is not finite") }),
        }
    }

    /// Title, claims and verdicts as text for a terminal.
    pub fn summary(&self) -> String {
        let source = if self.source.is_empty() { String::new() } else { format!(" ({})", self.source) };
        let mut lines = vec![format!("{}{source}", self.title)];
        for Claim { statement, verdict, evidence, .. } in &self.claims {
            lines.push(format!("  {}: {statement}", verdict.words()));
            lines.push(format!("    {evidence}"));
        }
        lines.join("\n")
    }
}
