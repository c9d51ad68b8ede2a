//! Description of a run: rule, seed, data, program and machine, kept as `run.json` in the run's folder.

use crate::checkpoint::CPU;
use crate::config::Config;
use clapp_data::augment::Sizes;
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// Name of the file in a run's folder.
pub const RUN: &str = "run.json";

/// Name of the file with the reason why a run failed.
pub const FAILURE: &str = "failure.txt";

/// The value of `format`.
const FORMAT: &str = "clapp-run/1";

/// A run, as its folder's `run.json` describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// `clapp-run/1`.
    format: String,
    /// The configuration's name.
    pub name: String,
    /// The rule's name.
    pub rule: String,
    /// Seed of every random stream.
    pub seed: u64,
    /// Factor on the channels of every block.
    pub width: f32,
    /// The training data.
    pub data: DataInfo,
    /// The program.
    pub program: ProgramInfo,
    /// The machine.
    pub machine: MachineInfo,
    /// When the run began, UTC, as in RFC 3339.
    pub started: String,
    /// Backend and precision; none for the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Resizing and centre crop of the test images; none if they are used as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Sizes>,
    /// Steps between two measurements of the alignment with back-propagation; none if it is not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub align_every: Option<u64>,
}

/// The data set of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataInfo {
    /// Short name of the set, such as `cifar10`.
    pub name: String,
    /// Images that the encoder learns from, after any limit.
    pub train_images: usize,
    /// Test images of the set.
    pub test_images: usize,
    /// Share of each class for training, if the set had no test part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<f64>,
    /// Seed of that division.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
    /// Files of the images that cannot be used and were skipped, below the root of the set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

impl DataInfo {
    /// The set of a run of `config`, all of its images.
    pub fn of(data: &Dataset, config: &Config) -> Self {
        Self {
            name: data.name.clone(),
            train_images: data.pretrain.len(),
            test_images: data.test.len(),
            split: config.split,
            split_seed: config.split.map(|_| config.split_seed.unwrap_or(config.seed)),
            skipped: data.skipped.clone(),
        }
    }

    /// The same with another number of images to learn from.
    pub fn with_images(self, train_images: usize) -> Self {
        Self { train_images, ..self }
    }
}

/// The program of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramInfo {
    /// Version of the package.
    pub version: String,
    /// Git commit of the build, with `-dirty` where its sources had uncommitted changes; `unknown` without git.
    pub commit: String,
}

/// The machine of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineInfo {
    /// Model of the processor; `unknown` if the system does not tell.
    pub cpu: String,
    /// Logical cores of the machine; 0 if unknown.
    pub logical_cores: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Main memory in bytes; 0 if unknown.
    pub memory: u64,
    /// Operating system with its version; `unknown` if it does not tell.
    pub os: String,
}

/// The commit of the program's build.
static COMMIT: OnceLock<&str> = OnceLock::new();

/// Tells the commit of the program's build, once, before anything is recorded.
pub fn built_from(commit: &'static str) {
    let _ = COMMIT.set(commit);
}

impl ProgramInfo {
    /// This program.
    pub fn this() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").into(), commit: (*COMMIT.get().unwrap_or(&"unknown")).into() }
    }

    /// Returns the identity of this build: its commit, or the build time if it has no commit of its own.
    pub fn build() -> String {
        let commit = Self::this().commit;
        if commit != "unknown" && !commit.ends_with("-dirty") {
            return commit;
        }
        let built = std::env::current_exe().and_then(|path| path.metadata()?.modified()).ok();
        format!("{commit} {}", built.map(|time| humantime::format_rfc3339(time).to_string()).unwrap_or_default())
    }
}

impl MachineInfo {
    /// This machine, as far as the system tells.
    pub fn this() -> Self {
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(kinds).ok();
        let cpus = system.as_ref().map_or(&[][..], System::cpus);
        let brand = cpus.first().map(|cpu| cpu.brand().trim().to_string());
        Self {
            cpu: brand.filter(|brand| !brand.is_empty()).unwrap_or_else(|| "unknown".into()),
            logical_cores: cpus.len(),
            threads: rayon::current_num_threads(),
            memory: system.as_ref().map_or(0, System::total_memory),
            os: System::long_os_version().unwrap_or_else(|_| "unknown".into()),
        }
    }
}

impl RunInfo {
    /// A run of `config` on `data` that begins now, in this program and on this machine.
    pub fn collect(config: &Config, data: DataInfo) -> Self {
        Self {
            format: FORMAT.into(),
            name: config.name.clone(),
            rule: config.rule.name().into(),
            seed: config.seed,
            width: config.width,
            data,
            program: ProgramInfo::this(),
            machine: MachineInfo::this(),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            backend: None,
            test: None,
            align_every: None,
        }
    }

    /// The same on another backend than the CPU.
    pub fn on(self, backend: &str) -> Self {
        Self { backend: Some(backend.to_owned()).filter(|backend| backend != CPU), ..self }
    }

    /// The same with test images that are made ready like this.
    pub fn tested(self, test: Option<Sizes>) -> Self {
        Self { test, ..self }
    }

    /// The same with alignment measured after each of these many steps.
    pub fn aligned_every(self, steps: Option<u64>) -> Self {
        Self { align_every: steps, ..self }
    }

    /// Writes `run.json` into `folder`, whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(RUN);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Run { path: path.clone(), message: error.to_string() })?;
        write_atomically(&path, format!("{text}\n").as_bytes())
    }

    /// Reads the `run.json` of `folder`.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Run`] if it is not such a file.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(RUN);
        let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let wrong = |message: String| Error::Run { path: path.clone(), message };
        let run: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if run.format != FORMAT {
            return Err(wrong(format!("format is `{}`, expected `{FORMAT}`", run.format)));
        }
        Ok(run)
    }
}
