//! `clapp sweep`: runs every rule at every width with every seed, one after the other, or as a SLURM array.

mod child;

use super::data::CacheArguments;
use super::output::say;
use super::output_files::{Force, Guard, Mark, OutputFile, OutputFolder, WRITTEN};
use super::stop::{INTERRUPTED, stop_by_signal};
use super::train::ConfigArguments;
pub use child::end_with_sweep;
use child::{Ended, run_child};
use clap::Args;
use clapp_data::error::Error;
use clapp_data::files::{lock_folder, write_atomically};
use clapp_data::words::counted;
use clapp_engine::config::{Config, DataSource, RuleName};
use clapp_engine::probe::Kind;
use clapp_engine::run_info::RUN;
use clapp_engine::sweep::slurm::{Resources, script};
use clapp_engine::sweep::{Axes, Cell, Done};
use clapp_lab::report::{Run, Skipped, groups, render};
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Arguments of `clapp sweep`.
#[derive(Debug, Args)]
pub struct SweepArguments {
    #[command(flatten)]
    configuration: ConfigArguments,
    /// Learning rules [default: the configuration's].
    #[arg(long, value_name = "RULE,RULE", value_delimiter = ',', conflicts_with = "rule")]
    rules: Vec<RuleName>,
    /// Factors by which the channels of every block are multiplied [default: the configuration's].
    #[arg(long, value_name = "WIDTH,WIDTH", value_delimiter = ',', conflicts_with = "width")]
    widths: Vec<f32>,
    /// Seeds and ranges of seeds: 1,2,5-7 [default: the configuration's].
    #[arg(long, value_name = "SEED,FROM-TO", value_delimiter = ',', conflicts_with = "seed", value_parser = seeds)]
    seeds: Vec<RangeInclusive<u64>>,
    /// Data set as downloaded (folder or archive). Not needed if the configuration generates its images.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArguments,
    /// Folder for the runs (one subfolder each) and the report.
    #[arg(long, value_name = "FOLDER")]
    out: OutputFolder,
    /// Probe cached features. Fast, but not the paper's protocol.
    #[arg(long)]
    cached: bool,
    /// Epochs of the probe [default: the configuration's].
    #[arg(long, value_name = "EPOCHS", value_parser = clap::value_parser!(u64).range(1..))]
    probe_epochs: Option<u64>,
    /// Do only the run with this index, counted from 0, without a report.
    #[arg(long, value_name = "INDEX")]
    only: Option<usize>,
    /// Run nothing. Write a SLURM array script with one task per run.
    #[arg(long, value_name = "FILE", conflicts_with = "only")]
    slurm: Option<OutputFile>,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    resources: Resources,
}

/// Name of the sweep's configuration in its folder, and name of the folder with the configurations of its runs.
const BASE: &str = "sweep.toml";
const CONFIGS: &str = "configs";

/// Interval at which a folder in use by another process is checked again.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs `clapp sweep`. Exit code 0: all runs are done. 1: some runs failed. 130: a signal stopped it.
///
/// # Errors
/// If the input is wrong, a folder holds a run with another configuration, or an output cannot be written.
pub fn run(arguments: &SweepArguments) -> Result<u8, Error> {
    let mut base = arguments.configuration.configuration()?;
    base.probe.epochs = arguments.probe_epochs.unwrap_or(base.probe.epochs);
    base.data = if arguments.data.is_some() { DataSource::Files } else { base.data };
    arguments.cache.configure(&mut base);
    // One split for all seeds, so that all accuracies are on the same test images.
    if base.split.is_some() {
        base.split_seed.get_or_insert(base.seed);
    }
    base.check(arguments.cache.origin(&arguments.configuration.origin()))?;
    let seeds = arguments.seeds.iter().cloned().flatten().collect();
    let axes = Axes { rules: arguments.rules.clone(), widths: arguments.widths.clone(), seeds };
    let cells = axes.cells(&base)?;
    // Check now, once, not in each run after hours.
    match &arguments.data {
        Some(path) => {
            path.metadata().map_err(Error::file("read", path))?;
        }
        None if base.data == DataSource::Files => return Err(super::no_images(&base.name)),
        None => {}
    }
    let config = arguments.configuration.config.as_deref();
    let guard = Guard::new(arguments.force).keep_data(arguments.data.as_deref()).keep(config);
    let out = arguments.out.check("--out", &guard)?;
    if let Some(path) = &arguments.slurm {
        let path = path.check("--slurm", Mark::SCRIPT, &guard.clone().keep([out.join(BASE).as_path()]))?;
        check_config("--out", &out.join(BASE), &base, &guard)?;
        return write_script(arguments, &base, &cells, [out, path]);
    }
    let chosen = match arguments.only {
        None => cells.as_slice(),
        Some(index) => std::slice::from_ref(cells.get(index).ok_or_else(|| Error::Config {
            origin: "--only".into(),
            message: format!("is {index}, but the sweep has {}, counted from 0", counted(cells.len(), "run")),
        })?),
    };
    guard.check("--out", &out.join("report.html"), Mark::REPORT)?;
    check_cells(arguments, out, chosen)?;
    for cell in chosen {
        check_config("--out", &out.join(CONFIGS).join(format!("{}.toml", cell.name)), &cell.config, &guard)?;
    }
    let stop = stop_by_signal()?;
    let mut failed: Vec<(&Cell, String)> = Vec::new();
    for (index, cell) in chosen.iter().enumerate() {
        say(format!("[{}/{}] {}", index + 1, chosen.len(), cell.name))?;
        if !is_free(&cell.folder(out), &stop)? {
            say("stopped; run the same command again to continue")?;
            return Ok(INTERRUPTED);
        }
        // Check only now, because another process may have used the folder until now.
        let done = match cell.done(out, kind_of(arguments)) {
            Ok(done) => done,
            Err(error) => {
                say(format!("skipped: {error}"))?;
                failed.push((cell, error.to_string()));
                continue;
            }
        };
        match make(arguments, out, cell, done, &stop)? {
            Ended::Well => {}
            Ended::Badly(reason) => failed.push((cell, reason)),
            Ended::Stopped => {
                say("stopped; run the same command again to continue")?;
                return Ok(INTERRUPTED);
            }
        }
    }
    if arguments.only.is_none() {
        close(arguments, out, chosen, &mut failed)?;
    }
    for (cell, reason) in &failed {
        say(format!("FAILED: {}: {reason}", cell.name))?;
    }
    Ok(u8::from(!failed.is_empty()))
}

/// Largest number of seeds in one range.
const MOST_SEEDS: u64 = 10_000;

/// A seed, or a range of them.
fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number =
        |text: &str| text.trim().parse::<u64>().map_err(|_| "expected a seed, or FROM-TO such as 1-3".to_owned());
    let Some((from, to)) = text.split_once('-') else { return number(text).map(|seed| seed..=seed) };
    let (from, to) = (number(from)?, number(to)?);
    match to.checked_sub(from) {
        None => Err(format!("the range ends below its beginning; expected {to}-{from}")),
        Some(more) if more >= MOST_SEEDS => Err(format!("more than {MOST_SEEDS} seeds")),
        Some(_) => Ok(from..=to),
    }
}

/// Refuses to replace a configuration that no sweep wrote, unless both are equal.
fn check_config(option: &str, path: &Path, config: &Config, guard: &Guard) -> Result<(), Error> {
    if Config::read(path).is_ok_and(|found| found == *config) {
        return Ok(());
    }
    guard.check(option, path, Mark::CONFIG)
}

fn write_config(path: &Path, config: &Config) -> Result<(), Error> {
    write_atomically(path, format!("{WRITTEN} sweep`.\n{}", config.to_toml()?).as_bytes())
}

/// Refuses folders that hold runs with other configurations. A damaged checkpoint stops only its own run.
fn check_cells(arguments: &SweepArguments, out: &Path, cells: &[Cell]) -> Result<(), Error> {
    for cell in cells {
        if let Err(error @ Error::Differs { .. }) = cell.done(out, kind_of(arguments)) {
            return Err(error);
        }
    }
    Ok(())
}

/// Waits until no other process uses a folder. After a killed sweep, its last run may still write a checkpoint. Returns
/// `false` if the sweep must stop.
fn is_free(folder: &Path, stop: &AtomicBool) -> Result<bool, Error> {
    let mut told = false;
    while folder.is_dir() && matches!(lock_folder(folder), Err(Error::Busy { .. })) {
        if !std::mem::replace(&mut told, true) {
            say(format!("waiting for another process that uses {}", folder.display()))?;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(!stop.load(Ordering::Relaxed))
}

/// Trains and probes one run. Skips the parts that are done.
fn make(
    arguments: &SweepArguments,
    out: &Path,
    cell: &Cell,
    done: Done,
    stop: &Arc<AtomicBool>,
) -> Result<Ended, Error> {
    let config = out.join(CONFIGS).join(format!("{}.toml", cell.name));
    let mut steps: Vec<(&str, Vec<&OsStr>)> = Vec::new();
    let (folder, checkpoint) = (cell.folder(out), cell.checkpoint(out));
    if !done.trained {
        write_config(&config, &cell.config)?;
        let options =
            ["--resume".as_ref(), "--config".as_ref(), config.as_os_str(), "--out".as_ref(), folder.as_os_str()];
        steps.push(("train", options.into()));
    }
    if !done.probed {
        let mut options = vec![checkpoint.as_os_str()];
        options.extend(arguments.cached.then_some(OsStr::new("--cached")));
        steps.push(("eval", options));
    }
    if steps.is_empty() {
        say("finished already")?;
    }
    let how = arguments.cache.list();
    for (command, mut options) in steps {
        options.extend(how.iter().map(OsString::as_os_str));
        if let Some(data) = &arguments.data {
            options.extend([OsStr::new("--data"), data.as_os_str()]);
        }
        match run_child(command, &options, stop)? {
            Ended::Well => {}
            ended => return Ok(ended),
        }
    }
    Ok(Ended::Well)
}

/// Prints the table and writes the page. Runs with another probe protocol, such as those of an earlier sweep, get their
/// own heading.
fn close<'a>(
    arguments: &SweepArguments,
    out: &Path,
    cells: &'a [Cell],
    failed: &mut Vec<(&'a Cell, String)>,
) -> Result<(), Error> {
    let kind = kind_of(arguments);
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let (mut runs, mut names, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for cell in cells {
        let folder = cell.folder(out);
        // A failed run may have left no file, or an unreadable one.
        match folder.join(RUN).is_file().then(|| Run::read(&folder)).transpose() {
            Ok(Some(run)) => {
                runs.push(run);
                names.push(cell.name.as_str());
            }
            Ok(None) => {}
            Err(error) => {
                skipped.push(Skipped { folder, reason: error.to_string() });
                if failed.iter().all(|(other, _)| other.name != cell.name) {
                    failed.push((cell, error.to_string()));
                }
            }
        }
    }
    let has_failed = |name: &str| failed.iter().any(|(cell, _)| cell.name == name);
    let mut listed = Vec::new();
    for group in groups(&runs, kind) {
        say(format!("\n{} on {}, all layers: {}", group.kind, group.data, group.protocol))?;
        say(format!("{:<32} {:>12} {:>12}", "", "final epoch", "best epoch*"))?;
        for index in group.runs {
            let Some(record) = runs[index].record(kind).filter(|_| !has_failed(names[index])) else { continue };
            let [last, best] = [record.report.all.last, record.report.all.best].map(percent);
            say(format!("{:<32} {last:>12} {best:>12}", names[index]))?;
            listed.push(names[index]);
        }
    }
    for cell in cells.iter().filter(|cell| !listed.contains(&cell.name.as_str())) {
        say(format!("{:<32} {:>12}", cell.name, "failed"))?;
    }
    say("* selected on the test images")?;
    if !runs.is_empty() {
        let page = out.join("report.html");
        write_atomically(&page, render(&runs, &skipped)?.as_bytes())?;
        say(format!("wrote {}", page.display()))?;
    }
    Ok(())
}

/// Returns the kind of probe for each run.
fn kind_of(arguments: &SweepArguments) -> Kind {
    if arguments.cached { Kind::Cached } else { Kind::Augmented }
}

/// Writes the array script and the configuration of its tasks.
fn write_script(
    arguments: &SweepArguments,
    base: &Config,
    cells: &[Cell],
    [out, path]: [&Path; 2],
) -> Result<u8, Error> {
    let text = |path: &Path| -> Result<String, Error> {
        let absolute = std::path::absolute(path).map_err(Error::file("find", path))?;
        let wrong = || Error::Config { origin: path.display().to_string(), message: "is not UTF-8".into() };
        Ok(absolute.to_str().ok_or_else(wrong)?.to_string())
    };
    let join = |values: Vec<String>| values.join(",");
    let program = std::env::current_exe().map_err(Error::file("find", Path::new("clapp")))?;
    let mut command = vec![text(&program)?, "sweep".into(), "--config".into(), text(&out.join(BASE))?];
    let lists = [
        ("--rules", join(arguments.rules.iter().map(|rule| rule.name().into()).collect())),
        ("--widths", join(arguments.widths.iter().map(f32::to_string).collect())),
        ("--seeds", join(arguments.seeds.iter().cloned().flatten().map(|seed| seed.to_string()).collect())),
    ];
    for (option, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        command.extend([option.into(), list]);
    }
    if let Some(data) = &arguments.data {
        command.extend(["--data".into(), text(data)?]);
    }
    command.extend(["--out".into(), text(out)?]);
    command.extend(arguments.cached.then(|| "--cached".into()));
    if let Some(cache) = arguments.cache.folder()? {
        command.extend(["--cache".into(), text(cache)?]);
    }
    command.extend(arguments.cache.partial.then(|| "--partial".into()));
    let script = script(&base.name, cells, &arguments.resources, &command)?;
    check_cells(arguments, out, cells)?;
    write_config(&out.join(BASE), base)?;
    write_atomically(path, script.as_bytes())?;
    say(format!(
        "wrote {} ({}); submit it with sbatch, and afterwards run: clapp report {}",
        path.display(),
        counted(cells.len(), "task"),
        out.display()
    ))?;
    Ok(0)
}
