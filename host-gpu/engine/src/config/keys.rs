//! All keys of a configuration, with their types, ranges and defaults. `clapp config`, docs/config.md and the messages
//! about wrong settings use this list. Tests compare it with the keys that the types read and the values that the
//! checks refuse.

use super::{MOST_CHANNELS, MOST_EPOCHS, MOST_IMAGES, MOST_NEGATIVES, PRESETS, RuleName};
use clap::ValueEnum;
use std::fmt::Write;

/// The values that a key accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    /// A text.
    Text(&'static str),
    /// `true` or `false`.
    Flag,
    /// A whole number, from and to.
    Whole(u64, u64),
    /// A number from the first to the second value (infinite: any finite number).
    Number(f64, f64),
    /// A number above the first value, at most the second (infinite: any finite number).
    Above(f64, f64),
    /// A number of at least 0 and below 1.
    BelowOne,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// The name of a rule.
    Rule,
    /// Described in words.
    Words(&'static str),
}

impl Form {
    /// Returns the description that follows "expected" in a message.
    pub fn words(self) -> String {
        let up_to = |most: f64| if most.is_finite() { format!(", at most {most}") } else { String::new() };
        let quoted = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
            match names.split_last() {
                Some((last, [rest @ .., before])) => {
                    let rest: String = rest.iter().map(|name| format!("{name}, ")).collect();
                    format!("{rest}{before} or {last}")
                }
                _ => names.concat(),
            }
        };
        match self {
            Self::Text(words) | Self::Words(words) => words.into(),
            Self::Flag => "true or false".into(),
            Self::Whole(least, u64::MAX) => format!("a whole number of at least {least}"),
            Self::Whole(least, most) => format!("a whole number, {least} to {most}"),
            Self::Number(least, most) if most.is_finite() => format!("a number, {least} to {most}"),
            Self::Number(least, _) => format!("a number of at least {least}"),
            Self::Above(least, most) => format!("a number above {least}{}", up_to(most)),
            Self::BelowOne => "a number of at least 0 and below 1".into(),
            Self::OneOf(names) => quoted(names),
            Self::Rule => quoted(&RuleName::value_variants().iter().map(|rule| rule.name()).collect::<Vec<_>>()),
        }
    }
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// Path of the key; `blocks[]` stands for each block.
    pub name: &'static str,
    /// Values that the key accepts.
    pub form: Form,
    /// Value if the key is left out: as TOML, or in words if it depends on other keys. `None` if the key is required.
    pub default: Option<&'static str>,
    /// Meaning of the key.
    pub about: &'static str,
}

const fn must(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, form, default: None, about }
}

const fn may(name: &'static str, form: Form, default: &'static str, about: &'static str) -> Key {
    Key { name, form, default: Some(default), about }
}

/// Any finite number.
const ANY: f64 = f64::INFINITY;
const PAIR: Form = Form::Words("[height, width], whole numbers of at least 1");
const PADDING: Form = Form::Words("[vertical, horizontal], whole numbers of at least 0");
const RANGE: Form = Form::Words("[least, most], numbers above 0, ascending");
const POOL: Form = Form::Words("\"global\", { block = [height, width] } or { adaptive = [height, width] }");

/// All keys, in the order of the file.
pub const KEYS: &[Key] = &[
    must(
        "name",
        Form::Text("letters, digits and ._-+, not beginning with a dot"),
        "name of the run, for tables and its folder",
    ),
    must("rule", Form::Rule, "learning rule"),
    must("seed", Form::Whole(0, u64::MAX), "seed of all random numbers"),
    must("epochs", Form::Whole(0, MOST_EPOCHS), "number of epochs; 0 leaves the encoder untrained"),
    must("batch", Form::Whole(2, MOST_IMAGES as u64), "images per batch; each gives two views"),
    must("width", Form::Above(0.0, 64.0), "factor by which the channels of every block are multiplied"),
    may("data", Form::OneOf(&["files", "generated"]), "\"files\"", "source of the images without `--data`"),
    may("images", Form::Whole(2, u64::MAX), "all", "number of training images to use, from the first"),
    may(
        "split",
        Form::Words("a number above 0 and below 1"),
        "none",
        "share of a flat set's images for training; the rest is for testing",
    ),
    may("split-seed", Form::Whole(0, u64::MAX), "the run's seed", "seed of the split"),
    may("skip-bad", Form::Flag, "false", "continue without images that cannot be decoded"),
    must(
        "negatives",
        Form::Words("\"ring\" or { uniform = COUNT }"),
        "how negatives are drawn: the next row, or rows of the whole batch",
    ),
    may("negatives.uniform", Form::Whole(1, MOST_NEGATIVES as u64), "none", "negatives of each context"),
    may("negatives-shared", Form::Flag, "true", "all losses share the drawn negatives"),
    may("either", Form::Flag, "false", "use only the positive or only the negative term of each row, drawn at random"),
    may(
        "contrast",
        Form::Words(
            "\"hinge\", \"soft-hinge\", \"linear\", { phyll = { theta = NUMBER } } or { goodness = { theta = NUMBER } }",
        ),
        "the rule's",
        "contrast function",
    ),
    may("contrast.phyll.theta", Form::Above(0.0, ANY), "none", "steepness"),
    may("contrast.goodness.theta", Form::Above(0.0, ANY), "none", "threshold"),
    may("pos-coeff", Form::Number(0.0, ANY), "1.0", "factor on the positive term of hinge, soft hinge and goodness"),
    may("projection", Form::OneOf(&["trainable", "frozen", "identity"]), "the rule's", "kind of the projections"),
    may(
        "feedback",
        Form::OneOf(&["trained", "frozen", "matched"]),
        "\"trained\"",
        "training of the projections from the top layer: by their layer's loss, none, or to match back-propagation",
    ),
    may(
        "backward",
        Form::Words("\"whole\", \"checkpointed\" or { accumulated = PARTS }"),
        "\"whole\"",
        "memory strategy of rules that back-propagate; the gradients are the same",
    ),
    may(
        "backward.accumulated",
        Form::Words("a whole number, 1 to batch"),
        "none",
        "number of parts that a batch is split into",
    ),
    may("head.outputs", Form::Whole(1, MOST_CHANNELS as u64), "1024", "outputs of the head of BP-InfoNCE at width 1"),
    may("head.temperature", Form::Above(0.0, ANY), "0.1", "temperature of its softmax"),
    may("lpl.predictive", Form::Number(0.0, ANY), "1.0", "weight of the squared distance between two views in LPL"),
    may("lpl.hebbian", Form::Number(0.0, ANY), "1.0", "weight of the negative logarithm of the variance"),
    may("lpl.decorrelation", Form::Number(0.0, ANY), "10.0", "weight of the squared covariances"),
    may("lpl.eps", Form::Above(0.0, ANY), "0.0001", "added to the variance"),
    may("soft-hebb.temperature", Form::Above(0.0, ANY), "1.0", "temperature of the softmax over channels in SoftHebb"),
    may(
        "soft-hebb.power",
        Form::Number(0.0, 4.0),
        "0.5",
        "exponent of the distance from the unit sphere in the learning rate",
    ),
    may("soft-hebb.start", Form::Number(0.01, 1000.0), "5.0", "approximate length of a channel's initial weights"),
    may(
        "relaxation.by",
        Form::OneOf(&["errors", "activities"]),
        "\"errors\"",
        "variables that the inference of predictive coding changes",
    ),
    may("relaxation.iterations", Form::Whole(1, 16384), "4", "steps of inference"),
    may("relaxation.rate", Form::Above(0.0, 1.0), "0.8", "step size, as a factor of the gradient"),
    may(
        "relaxation.weight",
        Form::Above(0.0, ANY),
        "1.0",
        "weight of a row's loss against half the squared prediction errors",
    ),
    may("mirror.rows", Form::Whole(1, 16384), "64", "noise frames per layer and step in weight-mirror"),
    may("mirror.amplitude", Form::Above(0.0, ANY), "1.0", "standard deviation of the noise"),
    may("mirror.rate", Form::Above(0.0, ANY), "0.2", "learning rate of the mirrors"),
    may("mirror.decay", Form::Number(0.0, 1.0), "0.2", "decay of the mirrors per step"),
    may("mirror.ahead", Form::Whole(0, 16384), "30", "mirror steps before the first learning step"),
    may(
        "schedule",
        Form::Words("\"constant\" or { warmup-cosine = { warmup-epochs = COUNT, least = NUMBER } }"),
        "\"constant\"",
        "how the learning rate changes over the epochs",
    ),
    may("schedule.warmup-cosine.warmup-epochs", Form::Whole(0, u64::MAX), "5", "epochs of the linear part"),
    may(
        "schedule.warmup-cosine.least",
        Form::Words("a number above 0, at most optimizer.lr"),
        "0.00001",
        "learning rate of the first epoch and at the end",
    ),
    must("input", Form::Words("[channels, height, width], with 1 or 3 channels"), "shape of the training views"),
    must(
        "optimizer.kind",
        Form::OneOf(&["sgd", "adamw", "lars"]),
        "optimiser of all tensors; if it changes, the keys that the new kind also has keep their values",
    ),
    must("optimizer.lr", Form::Above(0.0, ANY), "learning rate"),
    may("optimizer.momentum", Form::BelowOne, "0 (sgd), 0.9 (lars)", "momentum (sgd, lars)"),
    may("optimizer.beta1", Form::BelowOne, "0.9", "decay of the first moment (adamw)"),
    may("optimizer.beta2", Form::BelowOne, "0.999", "decay of the second moment (adamw)"),
    may("optimizer.eps", Form::Above(0.0, ANY), "0.00000001", "added to the root of the second moment (adamw)"),
    may("optimizer.weight-decay", Form::Number(0.0, ANY), "0.0", "weight decay; decoupled in adamw"),
    may("optimizer.trust", Form::Above(0.0, ANY), "0.001", "trust coefficient (lars)"),
    must("augment.size", Form::Words("a whole number, height and width of input"), "side of a view in pixels"),
    must("augment.crop.area", RANGE, "area of a crop, as a share of the image's area"),
    must("augment.crop.aspect", RANGE, "width : height of a crop"),
    must("augment.flip", Form::Number(0.0, 1.0), "probability of a horizontal flip"),
    must("augment.jitter.probability", Form::Number(0.0, 1.0), "probability of a jitter"),
    must("augment.jitter.brightness", Form::Number(0.0, ANY), "the factor of brightness lies in 1 ± this"),
    must("augment.jitter.contrast", Form::Number(0.0, ANY), "the factor of contrast lies in 1 ± this"),
    must("augment.jitter.saturation", Form::Number(0.0, ANY), "the factor of saturation lies in 1 ± this"),
    must("augment.jitter.hue", Form::Number(0.0, 0.5), "the hue turns by at most this share of the circle, either way"),
    must("augment.grey", Form::Number(0.0, 1.0), "probability that a colour image is made grey"),
    must("augment.blur.probability", Form::Number(0.0, 1.0), "probability of a blur"),
    must(
        "augment.blur.kernel",
        Form::Words("a whole number, odd, below twice the size"),
        "taps of the blur in each direction",
    ),
    must("augment.blur.sigma", RANGE, "standard deviation of the blur in pixels"),
    must(
        "augment.mean",
        Form::Words("a list of numbers, one a channel"),
        "mean of each channel, of values from 0 to 1",
    ),
    must("augment.std", Form::Words("a list of numbers above 0, one a channel"), "standard deviation of each channel"),
    must("probe.epochs", Form::Whole(0, MOST_EPOCHS), "epochs of the linear probe"),
    must("probe.batch", Form::Whole(1, MOST_IMAGES as u64), "images per batch of the probe"),
    must("probe.lr", Form::Above(0.0, ANY), "learning rate of the probe (Adam)"),
    may(
        "probe.test",
        Form::Words("\"as-is\" or { resize = PIXELS, crop = PIXELS }"),
        "\"as-is\"",
        "preparation of test images: resize the shorter side, then crop the centre square",
    ),
    may(
        "probe.test.resize",
        Form::Words("a whole number, crop to 8192"),
        "none",
        "new length of the shorter side in pixels",
    ),
    may(
        "probe.test.crop",
        Form::Words("a whole number, height and width of input"),
        "none",
        "side of the square in pixels",
    ),
    must("blocks[].channels", Form::Whole(1, MOST_CHANNELS as u64), "output channels at width 1"),
    must("blocks[].kernel", PAIR, "size of the convolution's kernel"),
    may("blocks[].stride", PAIR, "[1, 1]", "stride of the convolution"),
    may("blocks[].padding", PADDING, "[0, 0]", "zeros on each side"),
    may("blocks[].bias", Form::Flag, "true", "the convolution has a bias"),
    may("blocks[].relu", Form::Flag, "true", "a ReLU follows the convolution"),
    may("blocks[].max-pool", PAIR, "none", "window of the max-pool"),
    must("blocks[].loss-pool", POOL, "pooling for the loss of rules with spatial dependence"),
    may("blocks[].loss-pool.block", PAIR, "none", "size of a cell in pixels"),
    may("blocks[].loss-pool.adaptive", PAIR, "none", "number of cells"),
    must("blocks[].probe-pool", POOL, "pooling for the features of the linear probe"),
    may("blocks[].probe-pool.block", PAIR, "none", "size of a cell in pixels"),
    may("blocks[].probe-pool.adaptive", PAIR, "none", "number of cells"),
];

/// `probe.augment` has the keys of `augment`: the name to look up in [`KEYS`].
pub(super) fn listed(name: &str) -> &str {
    match name.strip_prefix("probe.") {
        Some(rest) if rest == "augment" || rest.starts_with("augment.") => rest,
        _ => name,
    }
}

/// Finds the key with a path.
pub fn key(name: &str) -> Option<&'static Key> {
    let name = listed(name);
    KEYS.iter().find(|key| key.name == name)
}

/// Returns `true` if a path is a key, or a table with keys.
pub fn is_known(name: &str) -> bool {
    let of = listed(name);
    key(name).is_some()
        || KEYS.iter().any(|key| key.name.strip_prefix(of).is_some_and(|rest| rest.starts_with(['.', '['])))
}

/// Returns the keys whose names are nearest to an unknown one, best first.
pub fn nearest(name: &str) -> Vec<String> {
    let plain = |text: &str| text.replace('_', "-").to_lowercase();
    let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
    let wanted = plain(name);
    let all = KEYS.iter().flat_map(|key| {
        let of_probe = key.name.starts_with("augment.").then(|| format!("probe.{}", key.name));
        std::iter::once(key.name.to_owned()).chain(of_probe)
    });
    // Also the tables that contain them.
    let all = all.flat_map(|name| {
        let ends = name.match_indices('.').map(|(at, _)| name[..at].to_owned()).collect::<Vec<_>>();
        ends.into_iter().chain([name])
    });
    let mut found: Vec<(usize, String)> = all
        .map(|name| {
            let whole = strsim::damerau_levenshtein(&wanted, &name);
            // The right name, but in another table.
            let end = 1 + strsim::damerau_levenshtein(&last(&wanted), &last(&name));
            (whole.min(end), name)
        })
        .filter(|(distance, _)| *distance <= 1 + last(&wanted).len() / 3)
        .collect();
    found.sort();
    found.dedup();
    found.into_iter().map(|(_, name)| name).take(3).collect()
}

/// Returns `; did you mean …?`, or nothing if no key is near.
pub fn suggestion(name: &str) -> String {
    match nearest(name).as_slice() {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

/// Returns the page of all keys, as Markdown.
pub fn page() -> String {
    let mut text = format!(
        "# Configuration\n\n\
         `clapp config` prints this page. A test keeps docs/config.md equal to it.\n\n\
         A configuration is a TOML file for `--config`. It is complete, or it names a preset, whose keys it replaces:\n\n\
         ```toml\npreset = \"cifar10\"\nepochs = 20\n\n[optimizer]\nlr = 0.001\n```\n\n\
         `--preset NAME --config FILE` does the same without the first line. `--set KEY=VALUE` replaces one key, as in \
         `--set optimizer.lr=0.001 --set 'negatives={{ uniform = 4 }}' --set blocks[2].channels=64`. `clapp` applies the \
         file first, then options such as `--rule` and `--width`, then `--set`. `clapp train --preset NAME --print-config` prints the complete \
         configuration, for `--config`.\n\n\
         Tables are merged key by key. Lists are replaced as a whole, `[[blocks]]` too. If `optimizer.kind` \
         changes, the keys that the new kind also has keep their values. A `rule` other than the preset's also changes the optimiser, as `--rule` does.\n\n\
         Presets: {}.\n\n\
         | key | takes | default | meaning |\n| --- | --- | --- | --- |\n",
        PRESETS.map(|name| format!("`{name}`")).join(", ")
    );
    let cell = |text: &str| text.replace('|', "\\|");
    for Key { name, form, default, about } in KEYS {
        let default = default.map_or("required".into(), |default| match default {
            "all" | "none" | "the rule's" | "the run's seed" => default.into(),
            _ => format!("`{default}`"),
        });
        let _ = writeln!(text, "| `{name}` | {} | {default} | {} |", cell(&form.words()), cell(about));
    }
    text.push_str(
        "\n`probe.augment` has the keys of `augment`, for the labelled images of the probe. `blocks[]` is each block \
                   from the input to the top, a table `[[blocks]]` in the file.\n",
    );
    text
}
