//! The folder of an experiment: `finding.json`, and files made from it: a CSV file for each table, an SVG and a PNG for each
//! figure.

use super::finding::Finding;
use crate::draw::{self, FIGURE};
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use clapp_engine::checkpoint::DataIdentity;
use clapp_engine::run_info::{MachineInfo, ProgramInfo};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Name of the file with all numbers.
pub const FINDING: &str = "finding.json";

/// The value of `format`.
const FORMAT: &str = "clapp-finding/1";

/// Inputs of an experiment: its numbers depend on these and on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The data sets. If there is none, images are generated.
    pub data: Vec<DataIdentity>,
    /// `true`: the paper's size.
    pub full: bool,
    /// Seed of every random stream.
    pub seed: u64,
    /// Backend and precision, as in checkpoints.
    pub backend: String,
    /// The program.
    pub program: ProgramInfo,
    /// Identifies the build ([`ProgramInfo::build`]).
    pub build: String,
}

/// A finding with where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    format: String,
    /// Inputs of the experiment.
    pub inputs: Inputs,
    /// The machine that computed them.
    pub machine: MachineInfo,
    /// When the experiment began, UTC, as in RFC 3339.
    pub started: String,
    /// Duration in seconds.
    pub seconds: f64,
    /// The result.
    pub finding: Finding,
}

impl Kept {
    /// A finding of this program, on this machine.
    pub fn new(inputs: Inputs, started: String, seconds: f64, finding: Finding) -> Self {
        Self { format: FORMAT.into(), inputs, machine: MachineInfo::this(), started, seconds, finding }
    }

    /// Writes the numbers, tables and pictures. `finding.json` comes last: if it is there, all files are.
    ///
    /// # Errors
    /// If a number is not finite, a picture cannot be drawn or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        self.finding.check(folder)?;
        self.write_products(folder, |_| true)?;
        let path = folder.join(FINDING);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Run { path: path.clone(), message: error.to_string() })?;
        write_atomically(&path, format!("{text}\n").as_bytes())
    }

    /// Writes missing tables and pictures again.
    ///
    /// # Errors
    /// Same as [`Self::write`].
    pub fn restore(&self, folder: &Path) -> Result<(), Error> {
        self.write_products(folder, |path| !path.is_file())
    }

    fn write_products(&self, folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<(), Error> {
        self.products(folder, wanted)?.into_iter().try_for_each(|(path, bytes)| write_atomically(&path, &bytes))
    }

    /// Tables and pictures as files of `folder`, if `wanted` is true for the path.
    ///
    /// # Errors
    /// If a picture cannot be drawn.
    pub fn products(&self, folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
        let refused = |path: &Path, message: String| Error::Plot { path: path.into(), message };
        let mut files = Vec::new();
        for table in &self.finding.tables {
            let path = folder.join(format!("{}.csv", table.name));
            if wanted(&path) {
                let bytes = table.csv(&path)?;
                files.push((path, bytes));
            }
        }
        for figure in &self.finding.figures {
            let [of_svg, of_png] = ["svg", "png"].map(|kind| folder.join(format!("{}.{kind}", figure.name)));
            if wanted(&of_png) {
                let bytes = draw::png(figure, &FIGURE).map_err(|error| refused(&of_png, error.to_string()))?;
                files.push((of_png, bytes));
            }
            if wanted(&of_svg) {
                let svg = draw::svg(figure, &FIGURE).map_err(|error| refused(&of_svg, error.to_string()))?;
                files.push((of_svg, svg.into_bytes()));
            }
        }
        Ok(files)
    }

    /// Reads the finding of a folder.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Run`] if it is not such a file.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FINDING);
        let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let wrong = |message: String| Error::Run { path: path.clone(), message };
        let kept: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if kept.format != FORMAT {
            return Err(wrong(format!("format is `{}`, expected `{FORMAT}`", kept.format)));
        }
        Ok(kept)
    }

    /// The finding of a folder, if it was made from the same inputs. `any_program`: also by another build.
    pub fn same(folder: &Path, inputs: &Inputs, any_program: bool) -> Option<Self> {
        // A file that cannot be read, or is of another version, is made anew.
        let kept = Self::read(folder).ok()?;
        let mut made_from = kept.inputs.clone();
        if any_program {
            (made_from.program, made_from.build) = (inputs.program.clone(), inputs.build.clone());
        }
        (made_from == *inputs).then_some(kept)
    }
}
