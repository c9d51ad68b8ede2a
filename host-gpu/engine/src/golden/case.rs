//! A golden file, checked: everything in it fits together, so that backends need not look again.

use super::GoldenError;
use super::spec::{self, Negatives, Spec, TaskSpec};
use super::tensors::Tensors;
use crate::model::{LayerValues, LossLayers, NetworkSpec, TensorRole};
use crate::optimizer::Optimizer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Required `format` in the metadata.
const FORMAT: &str = "local-ssl-golden/1";

/// Largest number of `f32` elements that a case may need from a backend for one purpose (1 GiB).
const MOST_ELEMENTS: usize = 1 << 28;

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// The file that it was read from.
    pub path: PathBuf,
    /// Its name in the file.
    pub name: String,
    /// The network and its rule.
    pub network: NetworkSpec,
    /// The parameters of each layer, as the network has them.
    pub values: Vec<LayerValues>,
    /// The frames `[rows, C, H, W]`. In a batch of N pairs, rows N.. are the second views.
    pub frames: Vec<f32>,
    /// Number of frames.
    pub rows: usize,
    /// The task on the frames.
    pub task: Task,
    /// Expected results, flattened, by name without `expect.`.
    pub expected: BTreeMap<String, Vec<f64>>,
    /// Unknown fields of the description. The report lists them: if one of them changes the computation, the comparison
    /// fails.
    pub unknown: Vec<String>,
}

/// The task of a case.
#[derive(Debug, Clone)]
pub enum Task {
    /// One batch of pairs under the network's rule (kind `batch`), and several steps on it by optimisers.
    Batch {
        /// Index `n_k(j)` into the list of positives, `[K][rows]` flattened (docs/paper.md 1.3).
        negatives: Vec<usize>,
        /// For each row: `true` if only its positive term counts, `false` if only its negative term counts. `None`:
        /// both count.
        keep_positive: Option<Vec<bool>>,
        /// Optimisers, each from the same first parameters.
        trials: Vec<Trial>,
    },
    /// Frames one after another by plain SGD (kind `stream`).
    Stream {
        /// For each frame: `true` for a fixation, `false` for a saccade.
        fixation: Vec<bool>,
        /// Learning rate.
        lr: f32,
    },
    /// The InfoNCE baseline on one batch of pairs (kind `infonce`, docs/paper.md 2.8).
    InfoNce {
        /// Head `[outputs, D_top]`, without bias.
        head: Vec<f32>,
        /// Temperature of the softmax.
        temperature: f32,
    },
    /// Adam on a linear probe of all layers' pooled activity, always on the same batch (kind `probe`,
    /// docs/paper.md 5.3).
    Probe {
        /// Weights `[classes, features]`.
        weight: Vec<f32>,
        /// Biases `[classes]`.
        bias: Vec<f32>,
        /// Class of each frame.
        labels: Vec<usize>,
        /// Learning rate.
        lr: f32,
        /// Number of steps.
        steps: usize,
    },
}

/// An optimiser whose result after some steps on one batch is expected as `after.{name}.*`.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its name in the file.
    pub name: String,
    /// Its settings.
    pub optimizer: Optimizer,
    /// Number of steps.
    pub steps: usize,
}

impl Case {
    /// Reads and checks a golden file.
    ///
    /// # Errors
    /// The first thing that is wrong, with the file and the field or tensor.
    pub fn read(path: &Path) -> Result<Self, GoldenError> {
        let bytes = std::fs::read(path).map_err(|source| GoldenError::Read { path: path.into(), source })?;
        Self::parse(path, &bytes)
    }

    /// Checks the contents of a golden file; `path` is for errors only.
    ///
    /// # Errors
    /// The errors of [`Case::read`], without read errors.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, GoldenError> {
        let (metadata, expected, mut tensors) = Tensors::read(path, bytes)?;
        let text = |key: &str| {
            metadata.get(key).ok_or_else(|| GoldenError::field(path, key, "missing in the file's metadata"))
        };
        let format = text("format")?;
        if format != FORMAT {
            return Err(GoldenError::field(path, "format", format!("\"{format}\", expected \"{FORMAT}\"")));
        }
        let name = match metadata.get("name") {
            Some(name) => name.clone(),
            None => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        };
        if expected.is_empty() {
            return Err(GoldenError::field(path, "expect", "the file has no expected tensors"));
        }
        let Spec { input, blocks, rule, learning, task, unknown } = spec::parse(path, text("kind")?, text("spec")?)?;
        let network = learning
            .network(input, blocks, rule)
            .map_err(|source| GoldenError::Network { path: path.into(), source })?;
        let rows = tensors.shape("x")?.first().copied().unwrap_or(0);
        let frames = tensors.floats("x", &[rows, input.channels, input.height, input.width])?;
        if rows == 0 {
            return Err(tensors.error("x", "holds no frame"));
        }
        let needed = network.view().batch_len(rows.div_ceil(2), 1).max(network.view().parameter_len());
        if needed > MOST_ELEMENTS {
            let reason = format!("the case needs {needed} elements of memory, more than {MOST_ELEMENTS}");
            return Err(GoldenError::field(path, "spec", reason));
        }
        let values = read_values(&network, &mut tensors)?;
        let parts = Parts { path, network: &network, rows, expected: &expected };
        let task = parts.task(task, &mut tensors)?;
        tensors.finish()?;
        Ok(Self { path: path.into(), name, network, values, frames, rows, task, expected, unknown })
    }
}

fn read_values(network: &NetworkSpec, tensors: &mut Tensors<'_>) -> Result<Vec<LayerValues>, GoldenError> {
    let mut all = Vec::new();
    for layer in network.layers() {
        let mut values = LayerValues::default();
        let name = |role: TensorRole| format!("layer{}.{}", layer.index, role.name());
        for (role, shape) in network.tensors(layer) {
            *values.get_mut(role) = tensors.floats(&name(role), &shape)?;
        }
        // Under global learning only the top layer has a loss; files hold projections for all the same.
        if network.form().losses == LossLayers::Top {
            tensors.skip(&name(TensorRole::Projection));
            tensors.skip(&name(TensorRole::Feedback));
        }
        all.push(values);
    }
    Ok(all)
}

/// Values that a task is checked with.
struct Parts<'a> {
    path: &'a Path,
    network: &'a NetworkSpec,
    rows: usize,
    expected: &'a BTreeMap<String, Vec<f64>>,
}

impl Parts<'_> {
    fn error(&self, field: &str, reason: impl Into<String>) -> GoldenError {
        GoldenError::field(self.path, field, reason)
    }

    fn task(&self, task: TaskSpec, tensors: &mut Tensors<'_>) -> Result<Task, GoldenError> {
        match task {
            TaskSpec::Batch { pairs, negatives, either, trials } => {
                self.pairs(pairs)?;
                let negatives = self.negatives(negatives, tensors)?;
                let keep = tensors.has("keep_positive") || either;
                let keep = keep.then(|| tensors.indices("keep_positive", &[self.rows], 2)).transpose()?;
                let keep_positive = keep.map(|keep| keep.into_iter().map(|keep| keep == 1).collect());
                Ok(Task::Batch { negatives, keep_positive, trials })
            }
            TaskSpec::Stream { frames, lr } => {
                self.agree("spec.frames", frames, self.rows, "frames of x")?;
                let fixation = tensors.indices("fixation", &[self.rows], 2)?;
                Ok(Task::Stream { fixation: fixation.into_iter().map(|fixation| fixation == 1).collect(), lr })
            }
            TaskSpec::InfoNce { pairs, head, temperature } => {
                self.pairs(pairs)?;
                if temperature <= 0.0 {
                    return Err(self.error("spec.temperature", "not above zero"));
                }
                let outputs = tensors.shape("head")?.first().copied().unwrap_or(0);
                self.agree("spec.head", head, outputs, "rows of head")?;
                let head = tensors.floats("head", &[outputs, self.network.view().top_len()])?;
                if outputs == 0 {
                    return Err(self.error("head", "has no rows"));
                }
                Ok(Task::InfoNce { head, temperature })
            }
            TaskSpec::Probe { rows, classes, lr } => {
                self.agree("spec.batch", rows, self.rows, "frames of x")?;
                let outputs = tensors.shape("probe.bias")?.first().copied().unwrap_or(0);
                self.agree("spec.classes", classes, outputs, "elements of probe.bias")?;
                let features = self.network.view().feature_len();
                let weight = tensors.floats("probe.weight", &[outputs, features])?;
                let bias = tensors.floats("probe.bias", &[outputs])?;
                if outputs == 0 {
                    return Err(self.error("probe.bias", "has no elements"));
                }
                let labels = tensors.indices("labels", &[self.rows], outputs)?;
                let Some(losses) = self.expected.get("losses") else {
                    return Err(self.error("expect.losses", "missing; its length is the number of steps"));
                };
                Ok(Task::Probe { weight, bias, labels, lr, steps: losses.len() })
            }
        }
    }

    /// Checks that the rows are two views of each of at least two images, and that their number matches the
    /// description.
    fn pairs(&self, pairs: Option<usize>) -> Result<(), GoldenError> {
        if !self.rows.is_multiple_of(2) || self.rows < 4 {
            return Err(self.error("x", format!("{} frames are not two views of at least two images", self.rows)));
        }
        self.agree("spec.batch", pairs, self.rows / 2, "pairs in x")
    }

    fn agree(&self, field: &str, said: Option<usize>, is: usize, of: &str) -> Result<(), GoldenError> {
        match said {
            Some(said) if said != is => Err(self.error(field, format!("{said}, but there are {is} {of}"))),
            _ => Ok(()),
        }
    }

    /// Returns the drawn negatives, or the ring `n(j) = j + 1` if the file has none.
    fn negatives(&self, said: Negatives, tensors: &mut Tensors<'_>) -> Result<Vec<usize>, GoldenError> {
        let ring = (0..self.rows).map(|row| (row + 1) % self.rows);
        let count = match said {
            Negatives::Ring => 1,
            Negatives::Drawn(count) => count,
        };
        if matches!(said, Negatives::Ring) && !tensors.has("negatives") {
            return Ok(ring.collect());
        }
        let given = tensors.indices("negatives", &[count, self.rows], self.rows)?;
        if matches!(said, Negatives::Ring) && !ring.eq(given.iter().copied()) {
            return Err(self.error("negatives", "are not the ring that spec.negatives names"));
        }
        Ok(given)
    }
}
