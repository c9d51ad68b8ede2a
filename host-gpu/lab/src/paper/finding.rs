//! What an experiment has found: claims with their verdicts, figures and tables, as plain numbers.
//!
//! Pictures, CSV files and the page are made from this alone, so that no number is typed by hand.

use super::figure::Figure;
use super::table::Table;
use clapp_data::error::Error;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Whether a claim of the paper held in an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It held.
    Held,
    /// It did not.
    Failed,
    /// The differences are within their spread, or the experiment is too small to tell.
    Open,
}

impl Verdict {
    /// Held or failed.
    pub fn of(held: bool) -> Self {
        if held { Self::Held } else { Self::Failed }
    }

    /// Of a claim that is made of several: failed where one has failed, else open where one is.
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

/// A claim and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What is claimed, and by whom (a theorem, a figure, this project).
    pub statement: String,
    /// What became of it.
    pub verdict: Verdict,
    /// The numbers that decide.
    pub evidence: String,
}

impl Claim {
    /// A claim.
    pub fn new(statement: impl Into<String>, verdict: Verdict, evidence: impl Into<String>) -> Self {
        Self { statement: statement.into(), verdict, evidence: evidence.into() }
    }
}

/// What an experiment has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The experiment's name on the command line, such as `fig2`.
    pub name: String,
    /// What it is about, as a heading.
    pub title: String,
    /// Where the paper shows it, such as `Figure 2`; empty where it is this project's own.
    pub source: String,
    /// What was done, in a paragraph.
    pub about: String,
    /// Sizes, data, epochs, seeds: names and values.
    pub setting: Vec<(String, String)>,
    /// Claims and verdicts.
    pub claims: Vec<Claim>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Tables.
    pub tables: Vec<Table>,
    /// What a reader should know, a paragraph each: above all why a number differs from the published one.
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

    /// Refuses a number that JSON does not have: an experiment must say what became of it instead.
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
        for Claim { statement, verdict, evidence } in &self.claims {
            lines.push(format!("  {}: {statement}", verdict.words()));
            lines.push(format!("    {evidence}"));
        }
        lines.join("\n")
    }
}
