//! The runs of a sweep: every rule at every width with every seed.

pub mod slurm;

use crate::checkpoint::Header;
use crate::config::{Config, RuleName};
use crate::probe::{Kind, ProbeRecord, Protocol, beside};
use crate::run::{CHECKPOINT, check_config};
use clapp_data::augment::TestTransform;
use clapp_data::error::Error;
use std::path::{Path, PathBuf};

/// Varied settings. An empty list keeps the configuration's value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Axes {
    /// Learning rules.
    pub rules: Vec<RuleName>,
    /// Factors on the channels of every block.
    pub widths: Vec<f32>,
    /// Seeds.
    pub seeds: Vec<u64>,
}

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Name of its folder: rule, width and seed.
    pub name: String,
    /// Configuration of the run.
    pub config: Config,
}

/// Finished parts of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// All epochs are in the checkpoint.
    pub trained: bool,
    /// The probe of that checkpoint is there.
    pub probed: bool,
}

impl Axes {
    /// All runs: rule by rule, in each width by width, in each seed by seed.
    ///
    /// # Errors
    /// [`Error::Config`] if a value is named twice, or a configuration makes no sense with it.
    pub fn cells(&self, base: &Config) -> Result<Vec<Cell>, Error> {
        let rules = values("--rules", &self.rules, base.rule, |rule| rule.name().into())?;
        let widths = values("--widths", &self.widths, base.width, f32::to_string)?;
        let seeds = values("--seeds", &self.seeds, base.seed, u64::to_string)?;
        let mut cells = Vec::new();
        for rule in rules {
            for width in &widths {
                for seed in &seeds {
                    let name = format!("{}-w{width}-s{seed}", rule.name());
                    let config = Config { width: *width, seed: *seed, ..base.clone().with_rule(rule) };
                    config.check(&name)?;
                    cells.push(Cell { name, config });
                }
            }
        }
        Ok(cells)
    }
}

/// The values of one axis.
fn values<T: Copy>(option: &str, list: &[T], base: T, text: impl Fn(&T) -> String) -> Result<Vec<T>, Error> {
    let texts: Vec<String> = list.iter().map(text).collect();
    if let Some(twice) = texts.iter().enumerate().find(|(index, text)| texts[..*index].contains(text)) {
        return Err(Error::Config { origin: option.into(), message: format!("names {} twice", twice.1) });
    }
    Ok(if list.is_empty() { vec![base] } else { list.to_vec() })
}

impl Cell {
    /// Its folder in that of the sweep.
    pub fn folder(&self, sweep: &Path) -> PathBuf {
        sweep.join(&self.name)
    }

    /// Its checkpoint.
    pub fn checkpoint(&self, sweep: &Path) -> PathBuf {
        self.folder(sweep).join(CHECKPOINT)
    }

    /// The protocol of its probe; the sizes of the test images are those of `found`, which `clapp eval` makes fit.
    fn protocol(&self, kind: Kind, found: &Protocol) -> Protocol {
        let config = &self.config;
        let test = match config.probe.test {
            TestTransform::AsIs => found.transform(),
            given => given,
        };
        Protocol::new(kind, &config.probe, test, config.seed, None)
    }

    /// Returns the finished parts.
    ///
    /// # Errors
    /// [`Error::Differs`] if the folder holds a run with another configuration; [`Error::Checkpoint`] where its
    /// checkpoint is damaged.
    pub fn done(&self, sweep: &Path, kind: Kind) -> Result<Done, Error> {
        let checkpoint = self.checkpoint(sweep);
        if !checkpoint.exists() {
            return Ok(Done { trained: false, probed: false });
        }
        let header = Header::read(&checkpoint)?;
        check_config(&header, &self.config, &checkpoint, "the sweep")?;
        let trained = header.epoch == self.config.epochs && header.config.epochs == self.config.epochs;
        // A damaged probe, or one of another kind, is made again.
        let probe = ProbeRecord::read(&beside(&checkpoint, kind));
        let is_this = |probe: ProbeRecord| {
            let of_config = |protocol: Protocol| protocol == self.protocol(kind, &protocol);
            probe.encoder_epochs == self.config.epochs
                && probe.report.epochs == self.config.probe.epochs
                && probe.report.protocol.is_none_or(of_config)
        };
        Ok(Done { trained, probed: trained && probe.is_ok_and(is_this) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::preset;

    #[test]
    fn cells_are_all_combinations_in_order() {
        let base = preset("demo").unwrap();
        let rules = vec![RuleName::ClappPp, RuleName::BpClappPp];
        let axes = Axes { rules, widths: vec![0.25, 1.0], seeds: vec![7] };
        let cells = axes.cells(&base).unwrap();
        let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
        assert_eq!(names, ["clapp++-w0.25-s7", "clapp++-w1-s7", "bp-clapp++-w0.25-s7", "bp-clapp++-w1-s7"]);
        assert_eq!(cells[2].config, Config { rule: RuleName::BpClappPp, width: 0.25, seed: 7, ..base.clone() });
        let only = Axes::default().cells(&base).unwrap();
        assert!(only.len() == 1 && only[0].config == base);
    }

    #[test]
    fn a_value_named_twice_or_out_of_range_is_refused() {
        let base = preset("demo").unwrap();
        let refused = |axes: Axes| axes.cells(&base).unwrap_err().to_string();
        let twice = refused(Axes { seeds: vec![1, 2, 1], ..Axes::default() });
        assert!(twice.contains("--seeds") && twice.contains("1 twice"), "{twice}");
        assert!(refused(Axes { widths: vec![1.0, 1.0], ..Axes::default() }).contains("--widths"));
        assert!(refused(Axes { widths: vec![-1.0], ..Axes::default() }).contains("width is -1"));
    }
}
