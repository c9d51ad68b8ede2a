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

/// Arguments that name a configuration and change its keys.
#[derive(Debug, Clone, Args)]
pub struct ConfigArguments {
    /// Configuration file (TOML): complete, or only the keys to change in a preset (`clapp config` lists all keys).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Named configuration. With --config, the file changes keys of this preset.
    #[arg(long, value_parser = PossibleValuesParser::new(PRESETS))]
    pub preset: Option<String>,
    /// Factor by which the channels of every block are multiplied.
    #[arg(long)]
    pub width: Option<f32>,
    /// Learning rule.
    #[arg(long)]
    pub rule: Option<RuleName>,
    /// Error that trains the projections below the top layer, for rules with a context from the top layer.
    #[arg(long)]
    pub feedback: Option<Feedback>,
    /// Memory strategy of rules that back-propagate: whole (keep all activations), checkpointed (compute activations
    /// again) or accumulated=PARTS (split the batch into parts). The gradients are the same; memory and time differ.
    #[arg(long, value_name = "HOW")]
    pub backward: Option<Backward>,
    /// Compute the top layer's loss on its whole map, as BP-CLAPP++ does and as in the paper's analysis of gradients.
    #[arg(long)]
    pub pool_top: bool,
    /// Number of epochs; 0 writes the untrained encoder.
    #[arg(long)]
    pub epochs: Option<u64>,
    /// Use only the first NUMBER training images.
    #[arg(long)]
    pub images: Option<usize>,
    /// Images per batch.
    #[arg(long)]
    pub batch: Option<usize>,
    /// Seed of all random numbers.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Set one key of the configuration, such as optimizer.lr=0.001. May be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<Setting>,
}

/// Arguments of `clapp train`.
#[derive(Debug, Args)]
pub struct TrainArguments {
    #[command(flatten)]
    configuration: ConfigArguments,
    /// Data set as downloaded (folder or archive). Not needed if the configuration generates its images.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArguments,
    /// Folder for checkpoint, configuration and metrics [default: out/NAME].
    #[arg(long, value_name = "FOLDER")]
    out: Option<OutputFolder>,
    /// Continue the run in the folder. The result has the same bits as an undisturbed run. The configuration need not
    /// be named again. If it is named, only the number of epochs may differ, and only upwards. If the folder holds no
    /// run, a new run starts.
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Print the complete configuration (a file for --config) and exit.
    #[arg(long, conflicts_with_all = ["overwrite", "mpi"])]
    print_config: bool,
    /// Delete the run that is in the folder, and start a new one.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    force: Force,
    /// Write a checkpoint every EPOCHS epochs; 0: only after the last epoch.
    #[arg(long, value_name = "EPOCHS", default_value_t = 1)]
    checkpoint_epochs: u64,
    /// Also write a checkpoint every STEPS steps.
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Write a checkpoint if the last one is MINUTES minutes old; 0: no such checkpoints.
    #[arg(long, value_name = "MINUTES", default_value_t = 10)]
    checkpoint_minutes: u64,
    /// Measure the alignment of each layer's gradient with back-propagation of the top layer's loss (see `clapp
    /// align`), before the first step and then every STEPS steps. The measurement does not change the run. CPU only. A
    /// resumed run keeps its interval unless this option is given.
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    align_every: Option<u64>,
    /// Train together with the other processes of an MPI launcher, each with its own batches. The launchers of Open MPI
    /// and MPICH are detected without this option. Needs a build with `--features mpi`.
    #[arg(long)]
    mpi: bool,
    #[command(flatten)]
    backend: BackendArguments,
}

impl TrainArguments {
    /// Returns a guard over the inputs. A run that an earlier version wrote into the data set's folder may continue
    /// there.
    fn guard(&self, goes_on: bool) -> Guard {
        let guard = Guard::new(self.force).keep(self.configuration.config.as_deref());
        let data = self.data.as_deref();
        if goes_on { guard.keep(data) } else { guard.keep_data(data) }
    }

    /// Checks the folder of the run and returns it.
    fn folder(&self, config: &Config) -> Result<PathBuf, Error> {
        let out = self.out.clone().unwrap_or_else(|| Path::new("out").join(&config.name).into_os_string().into());
        out.check("--out", &self.guard(self.resume && out.is_run())).map(Path::to_path_buf)
    }
}

impl ConfigArguments {
    /// Returns the arguments, with the preset `demo` if neither a file nor a preset is named.
    pub fn or_demo(self) -> Self {
        let preset = if self.config.is_none() && self.preset.is_none() { Some("demo".into()) } else { self.preset };
        Self { preset, ..self }
    }

    /// Returns the name of the configuration for errors: its file, or its preset.
    pub fn origin(&self) -> String {
        match (&self.config, &self.preset) {
            (Some(path), None) => path.display().to_string(),
            (Some(path), Some(preset)) => format!("{} over preset {preset}", path.display()),
            (None, preset) => format!("preset {}", preset.as_deref().unwrap_or_default()),
        }
    }

    /// Returns the configuration that the arguments ask for.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::File`] if no configuration is named, or if it is invalid.
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

    /// Returns a note if the images are not those that the preset was made for.
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
        // The preset for devices takes any grey image.
        (!fits && preset != "device").then_some(note)
    }

    /// Returns `true` if a file or a preset is named.
    pub fn is_named(&self) -> bool {
        self.config.is_some() || self.preset.is_some()
    }

    /// Applies the options to a configuration.
    ///
    /// # Errors
    /// [`Error::Config`] if the result is invalid.
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

/// Refuses --pool-top if the rule itself defines the input of the top layer's loss, or if no comparison with BP-CLAPP++
/// applies.
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

/// Runs `clapp train`. Exit code 0: all epochs are done. 130: a signal stopped it.
///
/// # Errors
/// If the input is wrong, an output cannot be written, or training diverges.
pub fn run(arguments: &TrainArguments) -> Result<u8, Error> {
    let ranks = Ranks::start(arguments.mpi)?;
    let outcome = run_on(arguments, &ranks);
    ranks.end(outcome)
}

fn run_on(arguments: &TrainArguments, ranks: &Ranks) -> Result<u8, Error> {
    // Only one of several processes prints.
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
    // Check now, before the images are read. A finished run needs no free folder.
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
    // With a GPU, the host keeps only batches.
    let mut needs = Needs::of_training(&config, rayon::current_num_threads().max(loader_threads()))?;
    if align_every.is_some() {
        needs = needs.and_alignment(&config)?;
    }
    let check = || if backend == Computes::Cpu { needs.check("training", "lower --batch or --width") } else { Ok(()) };
    let fits = || ranks.agree(check());
    // Check before an archive is unpacked, and again later together with the images that stay in memory.
    fits()?;
    let open = || {
        let device = arguments.backend.open(group.as_ref())?;
        device.check_training(&config).map(|()| device)
    };
    // Check before the images are opened: a missing or too small device is reported at once.
    let device = ranks.agree(open())?;
    // One process unpacks an archive for all.
    let data = ranks.first(|| open_data(arguments.data.as_deref(), &arguments.cache, &config))?;
    // Check now, before days of training, that the run can be evaluated.
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
        // No note if the command line says --epochs 0.
        if config.epochs == 0 && arguments.configuration.epochs.is_none() {
            note("note: epochs is 0: the run writes the untrained encoder; --epochs N trains it");
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
        // The file is gone, so its name can be used again.
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

/// Returns the steps between two measurements of the alignment: as given, or as the run began.
fn align_every(arguments: &TrainArguments, begin: Begin, out: &Path) -> Result<Option<u64>, Error> {
    let goes_on = begin == Begin::Resume && out.join(RUN).exists();
    Ok(match arguments.align_every {
        None if goes_on => RunInfo::read(out)?.align_every,
        given => given,
    })
}

/// Refuses to measure alignment for a rule without one, and for a run on a GPU or with several processes.
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

/// Connects to the processes of other GPUs that the environment names.
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

/// Returns the configuration and the folder of the run. A resumed run without a named configuration takes the one in
/// its folder.
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

/// Refuses a folder that cannot be written, or that another run uses now.
fn check_free(out: &Path) -> Result<(), Error> {
    check_writable(&out.join(CHECKPOINT))?;
    if out.is_dir() { lock_folder(out).map(drop) } else { Ok(()) }
}

/// Returns the start of the run; `None` if all epochs are done.
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

/// Refuses to delete a run if an input is among its files. Deletes files that are no run only with --force.
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

/// Refuses a folder without a checkpoint but with files that a run would overwrite. A run that was killed before its
/// first checkpoint leaves only the header of its metrics table.
fn check_empty(out: &Path) -> Result<(), Error> {
    // The head alone is of a run that was stopped before its first row.
    let is_head = |text: &str| text.lines().count() <= 1 && (text.is_empty() || text.starts_with("epoch,step,"));
    let has_rows = |path: &Path| std::fs::read_to_string(path).map_or(path.exists(), |text| !is_head(&text));
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

/// Compares the checkpoint in a folder with the configuration asked for and with the one in the folder. Returns `true`
/// if all epochs are done.
fn check_resumed(config: &Config, backend: &str, out: &Path) -> Result<bool, Error> {
    let path = out.join(CHECKPOINT);
    let header = Header::read(&path)?;
    header.place(&path)?;
    // Check the file first: without a named configuration, the file's configuration is the one asked for.
    let file = out.join(CONFIG);
    if file.exists() {
        check_config(&header, &Config::read(&file)?, &path, &file.display().to_string())?;
    }
    check_config(&header, config, &path, "the command line")?;
    check_backend(&header, backend, &path)?;
    Ok(header.epoch >= config.epochs)
}
