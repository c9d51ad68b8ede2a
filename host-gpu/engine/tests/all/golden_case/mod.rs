//! Golden files that tests write themselves, small and free to be spoilt.

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// A file before it is written.
#[derive(Clone)]
pub struct File {
    /// `format`, `kind` and so on, but for `spec` where [`File::spec`] is not null.
    pub metadata: HashMap<String, String>,
    spec: Value,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl File {
    fn new(kind: &str, spec: Value) -> Self {
        let mut metadata = HashMap::new();
        metadata.insert("format".into(), "local-ssl-golden/1".into());
        metadata.insert("kind".into(), kind.into());
        metadata.insert("name".into(), "written_by_a_test".into());
        metadata.insert("spec".into(), String::new());
        Self { metadata, spec, tensors: BTreeMap::new() }
    }

    /// The file as it would lie on a disk.
    pub fn bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
        });
        let mut metadata = self.metadata.clone();
        if let Some(spec) = metadata.get_mut("spec").filter(|spec| spec.is_empty()) {
            *spec = self.spec.to_string();
        }
        safetensors::serialize(views, Some(metadata)).expect("a file")
    }

    /// Sets a field of the description, such as `/layers/0/out`; intermediate objects must exist.
    pub fn set(&mut self, place: &str, value: Value) {
        let (parent, name) = place.rsplit_once('/').expect("a place");
        match self.spec.pointer_mut(parent).expect("a parent") {
            Value::Array(list) => list[name.parse::<usize>().expect("an index")] = value,
            parent => parent[name] = value,
        }
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) {
        self.tensors.remove(name).expect("a tensor");
    }

    /// Puts a tensor of `f32` in.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.insert(name.into(), (Dtype::F32, shape.to_vec(), bytes));
    }

    /// Puts a tensor of `f64` in.
    pub fn doubles(&mut self, name: &str, shape: &[usize], values: &[f64]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.insert(name.into(), (Dtype::F64, shape.to_vec(), bytes));
    }

    /// Puts a tensor of `i32` in.
    pub fn whole(&mut self, name: &str, shape: &[usize], values: &[i32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.insert(name.into(), (Dtype::I32, shape.to_vec(), bytes));
    }

    /// Puts a tensor of some values between -1 and 1 in.
    pub fn some(&mut self, name: &str, shape: &[usize]) {
        let values: Vec<f32> = (0..shape.iter().product()).map(|at: usize| (at as f32 * 1.7).sin()).collect();
        self.floats(name, shape, &values);
    }

    /// Frames and the parameters of the two layers of [`layers`].
    fn fill(&mut self) {
        self.some("x", &[4, 2, 6, 6]);
        self.some("layer0.weight", &[3, 2, 3, 3]);
        self.some("layer0.bias", &[3]);
        self.some("layer0.projection", &[12, 12]);
        self.some("layer1.weight", &[4, 3, 1, 2]);
        self.some("layer1.bias", &[4]);
        self.some("layer1.projection", &[4, 4]);
    }
}

fn layers() -> Value {
    json!([
        {"out": 3, "kernel": [3, 3], "padding": 1, "stride": 1, "max_pool": false, "loss_pool": 3},
        {"out": 4, "kernel": [1, 2], "padding": [0, 1], "stride": [1, 2], "max_pool": true, "loss_pool": null},
    ])
}

/// A batch that expects its loss.
pub fn batch() -> File {
    let spec = json!({
        "input": [2, 6, 6], "layers": layers(), "batch": 2, "negatives": "ring", "contrast": "hinge",
        "context": "same", "learning": "local",
        "optimisers": {"sgd": {"lr": 0.05, "steps": 1}, "adamw": {"lr": 0.01, "steps": 2}},
    });
    let mut file = File::new("batch", spec);
    file.fill();
    file.whole("negatives", &[1, 4], &[1, 2, 3, 0]);
    file.doubles("expect.loss", &[1], &[2.0]);
    file
}

/// A stream of four frames that expects its losses.
pub fn stream() -> File {
    let spec = json!({"input": [2, 6, 6], "layers": layers(), "frames": 4, "contrast": "soft_hinge", "lr": 0.02});
    let mut file = File::new("stream", spec);
    file.fill();
    file.whole("fixation", &[4], &[1, 1, 0, 1]);
    file.doubles("expect.losses", &[4, 2], &[1.0; 8]);
    file
}
