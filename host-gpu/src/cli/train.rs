//! `clapp train`: an encoder from images, with checkpoints and metrics.

use super::data::{CacheArguments, remarks};
use super::evaluable::{self, Work};
use super::open_data;
use super::output::{note, say};
use super::output_files::{Force, Guard, Mark, OutputFolder, files_of_run};
use super::stop::{INTERRUPTED, stop_by_signal};
use super::warnings::Warnings;
use clap::Args;
use clap::builder::PossibleValuesParser;
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_data::files::{check_writable, lock_folder};
use clapp_data::words::counted;
use clapp_engine::alignment::{ALIGNMENT, refusal};
use clapp_engine::checkpoint::{DataIdentity, Header};
use clapp_engine::config::{Config, DataSource, PRESETS, RuleName, Setting, check_division, preset, printed, set};
use clapp_engine::distributed::Ranks;
use clapp_engine::memory::Needs;
use clapp_engine::probe;
use clapp_engine::progress::Progress;
use clapp_engine::rules::Feedback;
use clapp_engine::rules::Pooling;
use clapp_engine::run::{
    Begin, CHECKPOINT, CONFIG, Interval, METRICS, Run, check_backend, check_config, loader_threads,
};
use clapp_engine::run_info::{DataInfo, RUN, RunInfo};
use clapp_engine::step::backprop::Backward;
use clapp_engine::trainer::StepMetrics;
use clapp_gpu::choice::{BackendArguments, Computes};
use clapp_gpu::cuda::group::Group;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Arguments that name a configuration and change it.
#[derive(Debug, Clone, Args)]
pub struct ConfigArguments {
    /// Configuration file (TOML), complete or with the keys that replace those of a preset (`clapp config` lists all).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Named configuration; with --config, the one whose keys the file replaces.
    #[arg(long, value_parser = PossibleValuesParser::new(PRESETS))]
    pub preset: Option<String>,
    /// Factor on the channels of every block.
    #[arg(long)]
    pub width: Option<f32>,
    /// Learning rule.
    #[arg(long)]
    pub rule: Option<RuleName>,
    /// What the projections below the top learn from, in rules with a context from the top.
    #[arg(long)]
    pub feedback: Option<Feedback>,
    /// How gradients come down in rules that back-propagate: whole, checkpointed (maps are computed again) or
    /// accumulated=PARTS (a batch in parts). The gradients are the same, memory and time are not.
    #[arg(long, value_name = "HOW")]
    pub backward: Option<Backward>,
    /// Let the top layer's loss see its map as a whole, so that it is that of BP-CLAPP++, as in the paper's analysis of
    /// gradients.
    #[arg(long)]
    pub pool_top: bool,
    /// Passes over the training images; 0 writes the untrained encoder.
    #[arg(long)]
    pub epochs: Option<u64>,
    /// Use only the first so many training images.
    #[arg(long)]
    pub images: Option<usize>,
    /// Images in a batch.
    #[arg(long)]
    pub batch: Option<usize>,
    /// Seed of every random stream.
    #[arg(long)]
    pub seed: Option<u64>,
    /// One key of the configuration, such as optimizer.lr=0.001; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<Setting>,
}

/// Arguments of `clapp train`.
#[derive(Debug, Args)]
pub struct TrainArguments {
    #[command(flatten)]
    configuration: ConfigArguments,
    /// Data set as downloaded (folder or archive); not needed where the configuration generates its images.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArguments,
    /// Folder for checkpoint, configuration and metrics [default: out/NAME].
    #[arg(long, value_name = "FOLDER")]
    out: Option<OutputFolder>,
    /// Go on with the run in the folder, to the same bits as if it had never stopped. Its configuration need not be
    /// named again; where it is, it must be the same, but for more epochs. A folder without a run begins one.
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Print the complete configuration, for --config, and train nothing.
    #[arg(long, conflicts_with_all = ["overwrite", "mpi"])]
    print_config: bool,
    /// Throw away the run that lies in the folder.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    force: Force,
    /// Write a checkpoint at the end of each of these many epochs; 0 for the last epoch only.
    #[arg(long, value_name = "EPOCHS", default_value_t = 1)]
    checkpoint_epochs: u64,
    /// Write a checkpoint after each of these many steps, besides those at the end of epochs.
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Write a checkpoint after this many minutes without one; 0 for never.
    #[arg(long, value_name = "MINUTES", default_value_t = 10)]
    checkpoint_minutes: u64,
    /// Measure the alignment of each layer's gradient with back-propagation of the top's loss (as `clapp align` does)
    /// before the first step and after each of these many; no bit of the run depends on it. On the CPU only. A run that
    /// is gone on with measures as before, where nothing else is said.
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    align_every: Option<u64>,
    /// Train together with the other processes of an MPI launcher, each with batches of its own. Open MPI's and MPICH's
    /// launchers are noticed without it. Needs a build with `--features mpi`.
    #[arg(long)]
    mpi: bool,
    #[command(flatten)]
    backend: BackendArguments,
}

impl TrainArguments {
    /// What is read. A run that is in the data set's folder already, by an earlier version, may go on there.
    fn guard(&self, goes_on: bool) -> Guard {
        let guard = Guard::new(self.force).keep(self.configuration.config.as_deref());
        let data = self.data.as_deref();
        if goes_on { guard.keep(data) } else { guard.keep_data(data) }
    }

    /// The folder of the run, checked.
    fn folder(&self, config: &Config) -> Result<PathBuf, Error> {
        let out = self.out.clone().unwrap_or_else(|| Path::new("out").join(&config.name).into_os_string().into());
        out.check("--out", &self.guard(self.resume && out.is_run())).map(Path::to_path_buf)
    }
}

impl ConfigArguments {
    /// As given, with the demonstration's preset where neither a file nor a preset is named.
    pub fn or_demo(self) -> Self {
        let preset = if self.config.is_none() && self.preset.is_none() { Some("demo".into()) } else { self.preset };
        Self { preset, ..self }
    }

    /// What names the configuration in errors: its file, or its preset.
    pub fn origin(&self) -> String {
        match (&self.config, &self.preset) {
            (Some(path), None) => path.display().to_string(),
            (Some(path), Some(preset)) => format!("{} over preset {preset}", path.display()),
            (None, preset) => format!("preset {}", preset.as_deref().unwrap_or_default()),
        }
    }

    /// The configuration that the arguments ask for.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::File`] where there is none, or it makes no sense.
    pub fn configuration(&self) -> Result<Config, Error> {
        let config = match (&self.config, &self.preset) {
            (Some(path), None) => Config::read(path)?,
            (Some(path), Some(name)) => Config::read_over(name, path)?,
            (None, None) => {
                let message = format!("name a configuration: --config FILE or --preset {}", PRESETS.join("|"));
                return Err(Error::Config { origin: "arguments".into(), message });
            }
            (None, Some(name)) => {
                let unknown = || Error::Config {
                    origin: format!("preset `{name}`"),
                    message: format!("unknown, expected one of {}", PRESETS.join(", ")),
                };
                preset(name).ok_or_else(unknown)?
            }
        };
        self.changed(config)
    }

    /// What is to be said of images that are not those of the preset.
    pub fn note_on(&self, data: &Dataset) -> Option<String> {
        let preset = self.preset.as_deref().filter(|_| self.config.is_none())?;
        let fits = match data.set() {
            "shapes" => preset == "demo",
            "class-folders" => preset == "imagenet",
            "idx" => ["mnist", "fashion-mnist"].contains(&preset),
            name => preset == name,
        };
        let note = format!(
            "note: preset {preset} on {} data: input, views, normalisation and probe are made for another set",
            data.name
        );
        // What a device sees is any grey picture.
        (!fits && preset != "device").then_some(note)
    }

    /// Whether a file or a preset is named.
    pub fn is_named(&self) -> bool {
        self.config.is_some() || self.preset.is_some()
    }

    /// A configuration with the options that change it.
    ///
    /// # Errors
    /// [`Error::Config`] where it then makes no sense.
    pub fn changed(&self, mut config: Config) -> Result<Config, Error> {
        config.width = self.width.unwrap_or(config.width);
        if let Some(rule) = self.rule {
            config = config.with_rule(rule);
        }
        config.feedback = self.feedback.unwrap_or(config.feedback);
        config.backward = self.backward.unwrap_or(config.backward);
        if self.pool_top {
            check_pool_top(&config)?;
            config = config.with_top_pooled();
        }
        config.epochs = self.epochs.unwrap_or(config.epochs);
        config.images = self.images.or(config.images);
        config.batch = self.batch.unwrap_or(config.batch);
        config.seed = self.seed.unwrap_or(config.seed);
        config.check(&self.origin())?;
        set(config, &self.settings)
    }
}

/// Refuses to pool the top's map for its loss where the rule says what the loss sees, or nothing is to be compared with
/// BP-CLAPP++.
fn check_pool_top(config: &Config) -> Result<(), Error> {
    let refuse = |reason: &str| {
        let message = format!("means nothing here: rule {} {reason}; leave it out", config.rule.name());
        Err(Error::Config { origin: "--pool-top".into(), message })
    };
    match config.rule.choices().pooling {
        Pooling::Cells => {}
        Pooling::Map | Pooling::CellsBelowMap => return refuse("has the top see its map as a whole anyway"),
        Pooling::Pixels => return refuse("has a loss on every pixel"),
    }
    match refusal(&config.network()?) {
        Some(reason) => refuse(reason),
        None => Ok(()),
    }
}

/// Runs `clapp train`: exit code 0 where all epochs are done, 130 where a signal has stopped it.
///
/// # Errors
/// Where the input is wrong, an output cannot be written, or training diverges.
pub fn run(arguments: &TrainArguments) -> Result<u8, Error> {
    let ranks = Ranks::start(arguments.mpi)?;
    let outcome = run_on(arguments, &ranks);
    ranks.end(outcome)
}

fn run_on(arguments: &TrainArguments, ranks: &Ranks) -> Result<u8, Error> {
    // One of several processes speaks for all.
    let say = |text: String| if ranks.is_root() { say(text) } else { Ok(()) };
    let (mut config, out) = ranks.agree(configuration(arguments))?;
    config.data = if arguments.data.is_some() { DataSource::Files } else { config.data };
    arguments.cache.configure(&mut config);
    let origin = arguments.configuration.origin();
    ranks.agree(check_division(config.split, config.split_seed, arguments.cache.origin(&origin)))?;
    if arguments.print_config {
        say(printed(&config)?.trim_end().into())?;
        return Ok(0);
    }
    let path = out.join(CHECKPOINT);
    ranks.agree(arguments.backend.check())?;
    let begin = ranks.agree(begin(arguments, &config, &out))?;
    // Found out now rather than after the images have been read; a run that is done needs no free folder.
    ranks.agree(if ranks.is_root() && begin.is_some() { check_free(&out) } else { Ok(()) })?;
    let text = config.to_toml()?;
    ranks.same("the configuration", |hasher| hasher.write(text.as_bytes()))?;
    ranks.same("what lies in the folder of the run", |hasher| begin.hash(hasher))?;
    let Some(begin) = begin else {
        say(format!("{}: finished already, {}", path.display(), counted(config.epochs, "epoch")))?;
        return Ok(0);
    };
    let backend = arguments.backend.backend;
    if backend != Computes::Cpu && ranks.size() > 1 {
        return ranks
            .agree(Err(Error::Config { origin: "--backend".into(), message: "MPI is for the CPU only".into() }));
    }
    let align_every = ranks.agree(align_every(arguments, begin, &out))?;
    if align_every.is_some() {
        ranks.agree(check_alignment(backend, &config, ranks.size()))?;
    }
    let group = ranks.agree(group(backend))?;
    // On a GPU the host keeps no more than batches.
    let mut needs = Needs::of_training(&config, rayon::current_num_threads().max(loader_threads()))?;
    if align_every.is_some() {
        needs = needs.and_alignment(&config)?;
    }
    let check = || if backend == Computes::Cpu { needs.check("training", "lower --batch or --width") } else { Ok(()) };
    let fits = || ranks.agree(check());
    // Before an archive is unpacked for nothing; and once more beside the images that stay in memory.
    fits()?;
    let open = || {
        let device = arguments.backend.open(group.as_ref())?;
        device.check_training(&config).map(|()| device)
    };
    // Before the images are opened: a device that is not there, or too small, is told at once.
    let device = ranks.agree(open())?;
    // An archive is unpacked once, for all.
    let data = ranks.first(|| open_data(arguments.data.as_deref(), &arguments.cache, &config))?;
    // What would make the run impossible to evaluate is found out now, not after days of training.
    let labelled = config.images.map_or_else(|| data.train.clone(), |count| data.train.take(count));
    let check = || evaluable::check(Work::Training, &data, &labelled, &config, config.probe.test, &origin);
    for text in ranks.agree(check())?.iter().filter(|_| ranks.is_root()) {
        note(format!("note: {text}"));
    }
    let tested = [labelled.len(), data.test.len()];
    let probe = Needs::of_probe(&config, tested, data.classes.len(), false, loader_threads())?;
    if let Err(error) = probe.check("the probe of this run", "evaluate it on a larger machine, or with --quick")
        && ranks.is_root()
    {
        note(format!("note: {error}"));
    }
    let images = Arc::new(config.images.map_or_else(|| data.pretrain.clone(), |count| data.pretrain.take(count)));
    if let Some(text) = arguments.configuration.note_on(&data).filter(|_| ranks.is_root()) {
        note(text);
    }
    if ranks.is_root() {
        // Who says so on the command line knows it.
        if config.epochs == 0 && arguments.configuration.epochs.is_none() {
            note("note: epochs is 0: nothing is trained, and the encoder is kept as it begins; --epochs N trains it");
        }
        remarks(&data).iter().for_each(note);
    }
    let used =
        if images.len() < data.pretrain.len() { format!("; the first {} used", images.len()) } else { String::new() };
    say(format!("{}: {} on {}{used}", config.name, config.rule.name(), data.source))?;
    if let Some(asked) = config.images.filter(|asked| *asked > images.len()) {
        say(format!("note: --images asks for {asked}, the set has {}", images.len()))?;
    }
    fits()?;
    let identity = DataIdentity::of(&data.name, &images);
    ranks.same("the data set", |hasher| identity.hash(hasher))?;
    let stop = stop_by_signal()?;
    let known = DataInfo::of(&data, &config).with_images(images.len());
    let test = config.probe.test.fitted(data.test.shape(), config.input_shape());
    let info = RunInfo::collect(&config, known).on(&arguments.backend.name()).tested(test.sizes());
    let run = Run {
        config: &config,
        images: &images,
        data: identity,
        info: &info,
        folder: &out,
        begin,
        interval: Interval {
            epochs: Some(arguments.checkpoint_epochs).filter(|epochs| *epochs > 0),
            steps: arguments.checkpoint_every,
            time: (arguments.checkpoint_minutes > 0).then(|| Duration::from_secs(60 * arguments.checkpoint_minutes)),
        },
        align_every,
        stop: &stop,
        ranks,
    };
    let mut progress = Progress::new(config.rule.name(), config.epochs);
    let mut warnings = Warnings::new(&config)?;
    let heard = |step: &StepMetrics| {
        if ranks.is_root() {
            progress.step(step, config.epochs);
            warnings.step(step).iter().for_each(|line| progress.warn(line));
        }
    };
    let ended = device.train(&run, heard);
    progress.finish();
    let outcome = ended?;
    say(format!("wrote {}", path.display()))?;
    if outcome.finished {
        return Ok(0);
    }
    let option =
        |name: &str, path: Option<&Path>| path.map_or(String::new(), |path| format!(" --{name} {}", path.display()));
    let data = option("data", arguments.data.as_deref()) + &arguments.cache.options() + &arguments.backend.options();
    let launcher = match &group {
        // The file is not there any more: its name can serve again.
        Some(Group { rank, size, meeting, .. }) => {
            format!("CLAPP_RANKS={size} CLAPP_RANK={rank} CLAPP_MEETING={} ", meeting.display())
        }
        None if ranks.size() > 1 => format!("mpirun -n {} ", ranks.size()),
        None => String::new(),
    };
    say(format!(
        "stopped after step {}; go on with: {launcher}clapp train --resume --out {}{data}",
        outcome.step,
        out.display()
    ))?;
    Ok(INTERRUPTED)
}

/// Steps between two measurements of the alignment: as given, or as the run was begun.
fn align_every(arguments: &TrainArguments, begin: Begin, out: &Path) -> Result<Option<u64>, Error> {
    let goes_on = begin == Begin::Resume && out.join(RUN).exists();
    Ok(match arguments.align_every {
        None if goes_on => RunInfo::read(out)?.align_every,
        given => given,
    })
}

/// Refuses to measure alignment where there is none, or where training does not stand still for it.
fn check_alignment(backend: Computes, config: &Config, ranks: usize) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::Config { origin: "--align-every".into(), message });
    if let Some(reason) = refusal(&config.network()?) {
        return refuse(format!("rule {} {reason}", config.rule.name()));
    }
    if ranks > 1 || backend != Computes::Cpu {
        return refuse("is for one process on the CPU; `clapp align` measures checkpoints on any backend".into());
    }
    Ok(())
}

/// The processes of other GPUs that the environment speaks of.
fn group(backend: Computes) -> Result<Option<Group>, Error> {
    let group = Group::of_environment()?;
    match &group {
        Some(Group { size, .. }) if backend != Computes::Cuda => Err(Error::Config {
            origin: "CLAPP_RANKS".into(),
            message: format!("is {size}, but several processes go with `--backend cuda` only, one a GPU"),
        }),
        _ => Ok(group),
    }
}

/// The configuration and the folder of the run: where it is resumed and nothing else is named, the folder's own.
fn configuration(arguments: &TrainArguments) -> Result<(Config, PathBuf), Error> {
    let named = &arguments.configuration;
    if named.is_named() || !arguments.resume {
        let config = named.configuration()?;
        let out = arguments.folder(&config)?;
        return Ok((config, out));
    }
    let Some(out) = &arguments.out else {
        let message = "name the folder of the run with --out, or its configuration with --config or --preset".into();
        return Err(Error::Config { origin: "--resume".into(), message });
    };
    let out = out.check("--out", &arguments.guard(out.is_run()))?.to_path_buf();
    if !out.join(CHECKPOINT).exists() {
        let message = "holds no run to go on with; name --preset or --config to begin one".into();
        return Err(Error::Config { origin: out.display().to_string(), message });
    }
    let header = Header::read(&out.join(CHECKPOINT))?;
    let file = out.join(CONFIG);
    let config = if file.exists() { Config::read(&file)? } else { header.config };
    Ok((named.changed(config)?, out))
}

/// Refuses a folder that cannot be written, or in which another run is at work.
fn check_free(out: &Path) -> Result<(), Error> {
    check_writable(&out.join(CHECKPOINT))?;
    if out.is_dir() { lock_folder(out).map(drop) } else { Ok(()) }
}

/// How the run begins; `None` where nothing is left to do.
fn begin(arguments: &TrainArguments, config: &Config, out: &Path) -> Result<Option<Begin>, Error> {
    let path = out.join(CHECKPOINT);
    match (path.exists(), arguments.resume, arguments.overwrite) {
        (true, true, _) => Ok((!check_resumed(config, &arguments.backend.name(), out)?).then_some(Begin::Resume)),
        (true, false, false) => Err(Error::Exists { path }),
        (_, _, true) => check_run(arguments, out).map(|()| Some(Begin::Overwrite)),
        (false, _, false) if arguments.force.force => check_inputs(arguments, out).map(|()| Some(Begin::Overwrite)),
        (false, _, false) => check_empty(out).map(|()| Some(Begin::New)),
    }
}

/// Refuses to throw away a run among whose files is an input, and what is no run, unless that is asked for.
fn check_run(arguments: &TrainArguments, out: &Path) -> Result<(), Error> {
    check_inputs(arguments, out)?;
    let has = |name: &str, mark: Mark| -> Result<bool, Error> {
        let path = out.join(name);
        Ok(path.is_file() && mark.is_on(&path)?)
    };
    if arguments.force.force || has(CHECKPOINT, Mark::CHECKPOINT)? || has(RUN, Mark::RUN)? {
        return Ok(());
    }
    let path = out.join(CHECKPOINT);
    if path.exists() {
        let message = "is there and is no checkpoint of clapp; name another folder, or replace it with --force".into();
        return Err(Error::Run { path, message });
    }
    check_empty(out)
}

/// Refuses to write a run over an input.
fn check_inputs(arguments: &TrainArguments, out: &Path) -> Result<(), Error> {
    let guard = arguments.guard(true);
    match files_of_run(out).into_iter().find(|path| guard.keeps(path)) {
        None => Ok(()),
        Some(path) => Err(Error::Run {
            path,
            message: "is an input, and the run would write over it; name another folder with --out".into(),
        }),
    }
}

/// Refuses a folder that has no checkpoint, but files that a run would write over. A run that was killed before its
/// first checkpoint has left no more than the head of a table of metrics.
fn check_empty(out: &Path) -> Result<(), Error> {
    let has_rows = |path: &Path| std::fs::read_to_string(path).map_or(path.exists(), |text| text.lines().count() > 1);
    let files = [CONFIG, RUN, ALIGNMENT]
        .into_iter()
        .map(String::from)
        .chain(probe::files())
        .map(|name| out.join(name))
        .filter(|path| path.exists());
    let metrics = Some(out.join(METRICS)).filter(|path| has_rows(path));
    match files.chain(metrics).next() {
        None => Ok(()),
        Some(path) => Err(Error::Run {
            path,
            message: "exists already, without a checkpoint, and a run would write over it; name another folder with \
                      --out, or begin anew with --overwrite (with --force where clapp did not write these files)"
                .into(),
        }),
    }
}

/// Holds the checkpoint in a folder against the configuration asked for and that in the folder; `true` where there is
/// nothing left to do.
fn check_resumed(config: &Config, backend: &str, out: &Path) -> Result<bool, Error> {
    let path = out.join(CHECKPOINT);
    let header = Header::read(&path)?;
    header.place(&path)?;
    // The file first: where nothing else is named, the configuration asked for is the file's.
    let file = out.join(CONFIG);
    if file.exists() {
        check_config(&header, &Config::read(&file)?, &path, &file.display().to_string())?;
    }
    check_config(&header, config, &path, "the command line")?;
    check_backend(&header, backend, &path)?;
    Ok(header.epoch >= config.epochs)
}
