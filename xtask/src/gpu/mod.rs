//! Everything that needs a GPU, in one command: `cargo xtask gpu`. It checks, measures and trains within the minutes that
//! it is given, and writes what it finds to `benches/results/gpu-*.json` after each row, so that a kill loses one row at
//! most. What was not measured is not written as a result, but named.

mod accuracy;
mod bounds;
mod checks;
mod machine;
mod pack;
mod packed;
mod programs;
mod rehearsal;
mod rows;
mod speed;
mod steps;
mod table;

pub use rehearsal::rehearse;

use crate::results::{commit, date, write};
use crate::{Failed, cargo, root, venv};
use clap::{Parser, ValueEnum};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Checks, measures and trains on a GPU, and keeps what it finds.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo xtask gpu")]
pub struct Arguments {
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Machine, Part::Checks, Part::Speed, Part::Accuracy])]
    only: Vec<Part>,
    /// Time for all parts together; what is cut off is named.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Runs everything in small on a backend that needs no GPU, into target/gpu-dry-run: shows that the command works,
    /// measures nothing.
    #[arg(long)]
    dry_run: bool,
    /// The backend [default: cuda, or emulated in a dry run].
    #[arg(long)]
    backend: Option<String>,
    /// The program, as `cargo build --release` leaves it [default: it is built].
    #[arg(long, value_name = "PROGRAM")]
    clapp: Option<PathBuf>,
    /// A Python with torch, torchvision and pillow [default: python3 where it has them, else an environment that is made
    /// in target/; in a dry run PyTorch is left out where python3 has it not].
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// Folder of golden vectors.
    #[arg(long, value_name = "FOLDER", default_value = "../shared/golden")]
    golden: PathBuf,
    /// CIFAR-10's archive or folder, without which nothing is trained on it [default: where it lies in ../shared/data].
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Epochs after which the run with CIFAR-10 is complete.
    #[arg(long, default_value_t = 300)]
    epochs: u64,
    /// Folder for the results [default: benches/results, or target/gpu-dry-run].
    #[arg(long, value_name = "FOLDER")]
    results: Option<PathBuf>,
    /// The data is a part of CIFAR-10: the batches that are there.
    #[arg(long)]
    partial: bool,
    /// Folder for runs, where there is no room for them in memory (/dev/shm) [default: out/gpu].
    #[arg(long, value_name = "FOLDER")]
    runs: Option<PathBuf>,
    /// Collects in this folder what a machine with a GPU needs that has neither cargo nor a network, in a folder for each of
    /// three calls, and does nothing else; docs/gpu.md says more.
    #[arg(long, value_name = "FOLDER")]
    pack: Option<PathBuf>,
    /// Tries the pack on a stand-in for a borrowed machine: three calls, one with a failure; needs no GPU.
    #[arg(long)]
    rehearse: bool,
    /// Does one step of the pack's plan; results are added to those in the folder.
    #[arg(long, value_name = "NAME", conflicts_with = "only")]
    step: Option<String>,
    /// Unpacks the files of this folder of a pack, and does nothing else.
    #[arg(long, value_name = "FOLDER", requires = "into")]
    unpack: Option<PathBuf>,
    /// Folder for the unpacked files.
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

/// A part of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Driver, GPU and libraries.
    Machine,
    /// Golden vectors, parity with the CPU, memory errors and races.
    #[value(alias = "parity")]
    Checks,
    /// Speed and peak memory beside PyTorch.
    Speed,
    /// CIFAR-10, trained and probed.
    Accuracy,
}

impl Part {
    /// Its share of the time.
    fn weight(self) -> f64 {
        match self {
            Self::Machine => 0.2,
            Self::Checks => 2.0,
            Self::Speed => 4.0,
            Self::Accuracy => 4.0,
        }
    }
}

/// Settings of all parts.
pub struct Bench {
    arguments: Arguments,
    /// The backend.
    backend: String,
    /// The program.
    clapp: PathBuf,
    /// Python with PyTorch, where there is one.
    python: Option<PathBuf>,
    /// Folder of the results.
    results: PathBuf,
    /// Origin of the results.
    made: Made,
}

/// On what results were made, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// True if this was a dry run: then nothing was measured.
    pub dry_run: bool,
    /// The backend that ran.
    pub backend: String,
    /// The GPU's name, where the driver's program tells it.
    pub gpu: Option<String>,
    /// Of the repository.
    pub commit: String,
    /// Of the run.
    pub date: String,
}

/// A part's results as they are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept<T> {
    /// Their origin.
    pub made: Made,
    /// The results.
    pub results: T,
}

impl Bench {
    /// The program, in the root folder, with CUDA's libraries where PyTorch has brought them.
    fn clapp(&self, arguments: &[&str]) -> Command {
        self.libraries(Command::new(&self.clapp), arguments)
    }

    /// A command in the root folder that finds CUDA's libraries where PyTorch has brought them.
    fn libraries(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments).current_dir(root());
        if std::env::var_os(LIBRARIES).is_none()
            && let Some(folder) = self.python.as_deref().and_then(packages)
        {
            command.env(LIBRARIES, folder);
        }
        command
    }

    /// A script of the reference, where Python has what it needs.
    fn script(&self, name: &str, arguments: &[&str]) -> Option<Command> {
        let mut command = Command::new(self.python.as_ref()?);
        command.arg(format!("benches/peers/gpu/{name}")).args(arguments).current_dir(root());
        Some(command)
    }

    /// Keeps a part's results, with what they were made on: the files of several runs may lie beside each other.
    fn keep(&self, name: &str, results: &impl Serialize) -> Result<(), Failed> {
        let kept = Kept { made: self.made.clone(), results };
        let text = serde_json::to_string_pretty(&kept).map_err(|error| Failed(format!("{name}: {error}")))?;
        write(&self.results.join(format!("gpu-{name}.json")), &(text + "\n"))
    }

    /// Results that an earlier step of the same commit, backend and kind has kept; nothing if there are none.
    fn kept<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let text = std::fs::read_to_string(self.results.join(format!("gpu-{name}.json"))).ok()?;
        let Kept { made, results } = serde_json::from_str(&text).ok()?;
        let of = |made: &Made| (made.dry_run, made.backend.clone(), made.commit.clone(), made.gpu.clone());
        (of(&made) == of(&self.made)).then_some(results)
    }

    /// The options of the data, where there is some.
    fn data(&self) -> Vec<String> {
        let mut options = Vec::new();
        if let Some(path) = &self.arguments.data {
            options.extend(["--data".into(), path.display().to_string()]);
            options.extend(self.arguments.partial.then(|| "--partial".into()));
        }
        options
    }
}

/// Usual places of CIFAR-10.
const DATA: [&str; 2] = ["../shared/data/cifar-10-binary.tar.gz", "../shared/data/cifar-10-batches-bin"];

/// Names folders in which the program looks for CUDA's libraries first.
const LIBRARIES: &str = "CLAPP_CUDA_LIBRARIES";

/// The folder of a Python's packages.
fn packages(python: &Path) -> Option<String> {
    let script = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let run = Command::new(python).args(["-c", script]).output().ok()?;
    let folder = String::from_utf8_lossy(&run.stdout).trim().to_string();
    (run.status.success() && !folder.is_empty()).then_some(folder)
}

/// Runs the parts that are asked for; fails at the end where one has failed or a bound is missed.
pub fn run(mut arguments: Arguments) -> Result<(), Failed> {
    if let (Some(from), Some(into)) = (&arguments.unpack, &arguments.into) {
        return packed::unpack(from, into);
    }
    if arguments.rehearse {
        return rehearse();
    }
    if arguments.data.is_none() && arguments.step.is_none() {
        arguments.data = DATA.iter().map(PathBuf::from).find(|path| root().join(path).exists());
    }
    if let Some(folder) = &arguments.pack {
        return pack::pack(folder, &arguments.golden, arguments.data.as_deref(), arguments.clapp.as_deref());
    }
    let bench = prepare(arguments)?;
    if let Some(name) = bench.arguments.step.clone() {
        let outcome = steps::run(&bench, &name);
        write(&bench.results.join("gpu.md"), &table::document(&bench.results)?)?;
        return outcome;
    }
    let end = Instant::now() + Duration::from_secs_f64(60.0 * bench.arguments.minutes);
    let parts = &bench.arguments.only;
    let mut failures = Vec::new();
    for (index, &part) in parts.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let weights: f64 = parts[index..].iter().map(|part| part.weight()).sum();
        let deadline = Instant::now() + left.mul_f64(part.weight() / weights);
        println!("\n==> {part:?}: {:.0} s", deadline.saturating_duration_since(Instant::now()).as_secs_f64());
        let outcome = match part {
            Part::Machine => machine::run(&bench, deadline),
            Part::Checks => checks::run(&bench, deadline),
            Part::Speed => speed::run(&bench, deadline),
            Part::Accuracy => accuracy::run(&bench, deadline),
        };
        if let Err(Failed(reason)) = outcome {
            println!("\n{part:?} failed: {reason}");
            failures.push(format!("{part:?}: {reason}"));
        }
    }
    let text = table::document(&bench.results)?;
    println!("\n{text}");
    write(&bench.results.join("gpu.md"), &text)?;
    if failures.is_empty() { Ok(()) } else { Err(Failed(failures.join("\n"))) }
}

fn prepare(arguments: Arguments) -> Result<Bench, Failed> {
    if !(arguments.minutes.is_finite() && arguments.minutes > 0.0) {
        return Err(Failed(format!("--minutes {}: expected above 0", arguments.minutes)));
    }
    let usual = if arguments.dry_run { ["emulated", "target/gpu-dry-run"] } else { ["cuda", "benches/results"] };
    let clapp = match &arguments.clapp {
        Some(path) => absolute(path)?,
        None => {
            cargo(&["build", "--release", "--package", "clapp-host-gpu"])?;
            root().join("target/release/clapp")
        }
    };
    let made = Made {
        dry_run: arguments.dry_run,
        backend: arguments.backend.clone().unwrap_or_else(|| usual[0].into()),
        gpu: machine::ask_driver("name"),
        commit: commit(),
        date: date(),
    };
    Ok(Bench {
        backend: made.backend.clone(),
        made,
        python: python(&arguments)?,
        results: root().join(arguments.results.clone().unwrap_or_else(|| usual[1].into())),
        clapp,
        arguments,
    })
}

/// The path as it is from any folder; links are kept, by which an environment's Python is known.
fn absolute(path: &Path) -> Result<PathBuf, Failed> {
    std::path::absolute(path).map_err(|error| Failed(format!("{}: {error}", path.display())))
}

/// A Python with PyTorch.
fn python(arguments: &Arguments) -> Result<Option<PathBuf>, Failed> {
    // Whoever asks for a step has found out before: it takes PyTorch seconds to start.
    if arguments.step.is_some() {
        return arguments.python.as_deref().map(absolute).transpose();
    }
    if let Some(path) = &arguments.python {
        let there = programs::has_torch(path);
        return if there {
            Ok(Some(absolute(path)?))
        } else {
            Err(Failed(format!("--python {}: has no torch, torchvision, pillow", path.display())))
        };
    }
    if let Some(path) = programs::in_path("python3").filter(|path| programs::has_torch(path)) {
        return Ok(Some(path));
    }
    if arguments.dry_run || arguments.only == [Part::Checks] || arguments.only == [Part::Accuracy] {
        println!("no Python with PyTorch here: nothing is compared with it");
        return Ok(None);
    }
    let environment = venv::make("gpu", "benches/peers/gpu/requirements.txt", &[])?;
    Ok(Some(root().join(environment).join("bin/python")))
}
