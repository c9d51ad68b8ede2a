//! `clapp paper`: runs the paper's figures and tables, and this project's own, as experiments.

use super::data::CacheArguments;
use super::output::{note, say};
use super::output_files::{Force, Guard, Mark, OutputFile, OutputFolder};
use super::stop::stop_by_signal;
use clap::Args;
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_data::files::{lock_folder, make_folder};
use clapp_engine::checkpoint::CPU;
use clapp_gpu::choice::{BackendArguments, Computes};
use clapp_lab::paper::keep::{FINDING, Inputs, Kept};
use clapp_lab::paper::{EXPERIMENTS, Experiment, Setting, page};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// Name for all experiments and the page.
const ALL: &str = "all";

/// Arguments of `clapp paper`.
#[derive(Debug, Args)]
pub struct PaperArguments {
    /// Experiment to run. `all` runs every one and writes a page of the results. Without a name, the command lists the
    /// experiments.
    pub name: Option<String>,
    /// Data set as downloaded (folder or archive). May be given several times. Without one, the experiment generates
    /// images.
    #[arg(long, requires = "name")]
    pub data: Vec<PathBuf>,
    #[command(flatten)]
    cache: CacheArguments,
    #[command(flatten)]
    backend: BackendArguments,
    /// Run at the paper's size (hours or days), not at the small size (minutes on two cores).
    #[arg(long, requires = "name")]
    pub full: bool,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 2, requires = "name")]
    pub seed: u64,
    /// Folder for numbers, tables, pictures and runs.
    #[arg(long, default_value = "out/paper", value_name = "FOLDER", requires = "name")]
    pub out: OutputFolder,
    /// With `all`: file for the page with the table of all claims (Markdown). The folder beside it, with the same name,
    /// gets a page NAME.md for each experiment, its pictures and its tables [default: results.md in the folder of --out].
    #[arg(long, value_name = "FILE", requires = "name")]
    pub page: Option<OutputFile>,
    /// Run finished experiments again, and replace results from other images or options.
    #[arg(long, conflicts_with = "kept", requires = "name")]
    pub again: bool,
    /// Also keep results of another build of the program. The page names the commit of each result.
    #[arg(long, requires = "name")]
    pub kept: bool,
    /// With `all`: run nothing. Write the page from the existing results of any build.
    #[arg(long, conflicts_with_all = ["again", "kept"], requires = "name")]
    pub found: bool,
    #[command(flatten)]
    force: Force,
}

/// Runs `clapp paper`.
///
/// # Errors
/// If the input is wrong, an output cannot be written or an experiment cannot be run.
pub fn run(arguments: &PaperArguments) -> Result<u8, Error> {
    let Some(name) = &arguments.name else {
        for Experiment { name, about, .. } in EXPERIMENTS {
            say(format!("{name:<18} {about}"))?;
        }
        say(format!("{ALL:<18} all of these, and a page of their results"))?;
        return Ok(0);
    };
    let refuse = |origin: &str, message: String| Err(Error::Config { origin: origin.into(), message });
    let chosen: Vec<&Experiment> =
        EXPERIMENTS.iter().filter(|experiment| name == ALL || name == experiment.name).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = EXPERIMENTS.iter().map(|experiment| experiment.name).collect();
        return refuse(
            "paper",
            format!("there is no experiment `{name}`, expected one of {} or {ALL}", names.join(", ")),
        );
    }
    if chosen.iter().all(|experiment| experiment.on_cpu) && arguments.backend.backend != Computes::Cpu {
        return refuse("--backend", format!("{name} computes on the CPU; leave it out"));
    }
    if arguments.found && name != ALL {
        return refuse("--found", format!("is of `clapp paper {ALL}`; leave it out"));
    }
    if arguments.page.is_some() && name != ALL {
        return refuse("--page", format!("is of `clapp paper {ALL}`; leave it out"));
    }
    arguments.backend.check()?;
    let guard = Guard::new(arguments.force).keep_data(arguments.data.iter().map(PathBuf::as_path));
    let out = arguments.out.check("--out", &guard)?;
    check_findings(&chosen, out, &guard)?;
    let beside = out.join("results.md");
    // Check now, not after hours.
    let page = match &arguments.page {
        Some(page) => page.check("--page", Mark::PAGE, &guard)?,
        None if name == ALL => guard.check("--page", &beside, Mark::PAGE).map(|()| beside.as_path())?,
        None => &beside,
    };
    if name == ALL {
        check_folder_of(page, &guard)?;
        for experiment in &chosen {
            guard.check("--page", &page::of_experiment(page, experiment.name), Mark::EXPERIMENT)?;
        }
    }
    if arguments.found && !out.is_dir() {
        return refuse("--found", format!("there are no results: {} does not exist", out.display()));
    }
    if out.is_dir() {
        drop(lock_folder(out)?);
    }
    let sets = arguments.data.iter().map(|path| open_set(path, &arguments.cache)).collect::<Result<Vec<_>, Error>>()?;
    if let Some(twice) =
        sets.iter().enumerate().find(|(at, set)| sets[..*at].iter().any(|other| other.name == set.name))
    {
        return refuse("--data", format!("{} is given twice", twice.1.name));
    }
    make_folder(out)?;
    let _lock = lock_folder(out)?;
    let setting = Setting {
        sets,
        full: arguments.full,
        seed: arguments.seed,
        backend: arguments.backend,
        folder: out.to_path_buf(),
        stop: stop_by_signal()?,
    };
    let mut findings: Vec<Kept> = Vec::new();
    for experiment in chosen {
        if arguments.found && kept(experiment, &setting, true).is_none() {
            say(format!("{}: {}", experiment.name, why_not(experiment, &setting)))?;
            continue;
        }
        findings.push(find(experiment, &setting, arguments)?);
        if name == ALL {
            // Write the page after each experiment, so that a stopped command leaves a page of the results so far.
            let is_missing = |name: &&str| findings.iter().all(|kept| kept.finding.name != *name);
            let missing: Vec<&str> = EXPERIMENTS.iter().map(|experiment| experiment.name).filter(is_missing).collect();
            page::write(page, &command(arguments), &findings, &missing)?;
        }
    }
    if findings.is_empty() {
        let message = format!("{} has no results from these inputs; no page is written", out.display());
        return refuse("--found", message);
    }
    if name == ALL {
        say(format!("wrote {}", page.display()))?;
    }
    Ok(0)
}

/// Refuses folders of experiments with files that clapp did not write.
fn check_findings(chosen: &[&Experiment], out: &Path, guard: &Guard) -> Result<(), Error> {
    for experiment in chosen {
        let folder = out.join(experiment.name);
        let finding = folder.join(FINDING);
        if finding.exists() {
            guard.check("--out", &finding, Mark::FINDING)?;
        } else {
            check_products("--out", &folder, guard)?;
        }
    }
    Ok(())
}

/// Refuses a folder beside a new page with files that clapp did not write.
fn check_folder_of(page: &Path, guard: &Guard) -> Result<(), Error> {
    if page.exists() { Ok(()) } else { check_products("--page", &page.with_extension(""), guard) }
}

/// Refuses a folder of pictures and tables of unknown origin.
fn check_products(option: &str, folder: &Path, guard: &Guard) -> Result<(), Error> {
    if folder.exists() && !folder.is_dir() {
        return guard.check_folder(option, folder);
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| ["svg", "png", "csv"].iter().any(|kind| end == *kind)) {
            guard.check(option, &path, Mark::NONE)?;
        }
    }
    Ok(())
}

/// Returns the reason why there is no result to take.
fn why_not(experiment: &Experiment, setting: &Setting) -> String {
    let folder = setting.folder_of(experiment.name);
    match Kept::read(&folder) {
        Ok(other) => {
            format!(
                "the result in {} is from {}",
                folder.display(),
                differences(&other.inputs, &inputs(experiment, setting))
            )
        }
        Err(_) if !folder.join(FINDING).exists() => "no result yet".into(),
        Err(error) => error.to_string(),
    }
}

/// Returns the differences between the inputs of two findings.
fn differences(found: &Inputs, wanted: &Inputs) -> String {
    let mut parts = Vec::new();
    if found.data != wanted.data {
        parts.push("other images".to_owned());
    }
    if found.full != wanted.full {
        parts.push((if found.full { "full size" } else { "small size" }).into());
    }
    if found.seed != wanted.seed {
        parts.push(format!("seed {}", found.seed));
    }
    if found.backend != wanted.backend {
        parts.push(format!("backend {}", found.backend));
    }
    if (&found.program, &found.build) != (&wanted.program, &wanted.build) {
        parts.push(format!("another build of the program (commit {})", found.program.commit));
    }
    if parts.is_empty() { "the same inputs".into() } else { parts.join(", ") }
}

/// Opens a set. Its description in the findings holds only the last part of its path.
fn open_set(path: &Path, arguments: &CacheArguments) -> Result<Dataset, Error> {
    let mut set = arguments.open(path)?;
    if let Some(name) = path.file_name() {
        set.source = set.source.replace(&path.display().to_string(), &name.to_string_lossy());
    }
    Ok(set)
}

/// Returns the inputs that an experiment's numbers depend on.
fn inputs(experiment: &Experiment, setting: &Setting) -> Inputs {
    let inputs = setting.inputs();
    if experiment.on_cpu { Inputs { backend: CPU.into(), ..inputs } } else { inputs }
}

/// Returns the finding in an experiment's folder if it comes from the same inputs.
fn kept(experiment: &Experiment, setting: &Setting, any_program: bool) -> Option<Kept> {
    Kept::same(&setting.folder_of(experiment.name), &inputs(experiment, setting), any_program)
}

/// Runs an experiment, unless its folder has a finding from the same inputs.
fn find(experiment: &Experiment, setting: &Setting, arguments: &PaperArguments) -> Result<Kept, Error> {
    let folder = setting.folder_of(experiment.name);
    let (kept, what) = match kept(experiment, setting, arguments.kept || arguments.found).filter(|_| !arguments.again) {
        Some(kept) => {
            kept.restore(&folder)?;
            say(format!("{}: kept from {}", experiment.name, kept.started))?;
            (kept, "it is in")
        }
        None => {
            if let Ok(other) = Kept::read(&folder) {
                replaceable(&other.inputs, &inputs(experiment, setting), &folder, arguments.again)?;
            }
            let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            let begin = Instant::now();
            let finding = (experiment.run)(setting).inspect_err(|error| {
                if matches!(error, Error::Stopped) {
                    note(
                        "stopped: the same command continues from the encoders trained so far; experiments that train no \
                         encoder begin again"
                    );
                }
            })?;
            let kept = Kept::new(inputs(experiment, setting), started, begin.elapsed().as_secs_f64(), finding);
            kept.write(&folder)?;
            (kept, "wrote")
        }
    };
    say(kept.finding.summary())?;
    say(format!("{what} {}\n", folder.display()))?;
    Ok(kept)
}

/// Prints a note that a finding will be replaced. A finding of another build from the same inputs is replaced. A
/// finding from other inputs is replaced only if the user asks for it, because it may have taken days.
///
/// # Errors
/// If it must not be replaced.
fn replaceable(found: &Inputs, wanted: &Inputs, folder: &Path, again: bool) -> Result<(), Error> {
    let of_this_build = Inputs { program: wanted.program.clone(), build: wanted.build.clone(), ..found.clone() };
    let path = folder.join(FINDING);
    if !again && of_this_build != *wanted {
        let message = format!(
            "is from {}, expected the inputs of this command; another --out keeps both, --again replaces it",
            differences(&of_this_build, wanted)
        );
        return Err(Error::Run { path, message });
    }
    note(format!("the result in {}, from {}, will be replaced", path.display(), differences(found, wanted)));
    Ok(())
}

/// Returns the command as a reader would type it. Of each path it keeps the last part only.
fn command(arguments: &PaperArguments) -> String {
    let mut text = format!("clapp paper {ALL}");
    for path in &arguments.data {
        let name = path.file_name().unwrap_or(path.as_os_str());
        text += &format!(" --data {}", Path::new(name).display());
    }
    text += &arguments.backend.options();
    if arguments.full {
        text += " --full";
    }
    text + &format!(" --seed {}", arguments.seed)
}
