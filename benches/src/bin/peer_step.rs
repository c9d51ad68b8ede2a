//! Our side of the comparison with PyTorch (`benches/peers/pytorch_step.py`): the same network, first values and
//! batch, the same step. `cargo xtask peers` runs both.

use clap::Parser;
use clapp_benches::step_work::{StepWork, clear_peak, peak_mib};
use clapp_core::network::LossPool;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::config::{Config, RuleName, preset};
use clapp_engine::model::LossLayers;
use clapp_engine::optimizer::Optimizer;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::json;
use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Steps of training on one random batch.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 0.25)]
    width: f32,
    #[arg(long, default_value = "clapp++")]
    rule: RuleName,
    /// Images in the batch; each gives two views.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Steps that are timed.
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Steps before them.
    #[arg(long, default_value_t = 2)]
    warm_up: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Use a plain stack of this many layers of 64 channels on 16x16 maps instead of VGG-6.
    #[arg(long)]
    depth: Option<usize>,
    /// Write network, first values and batch here for the reference, and do nothing else.
    #[arg(long)]
    export: Option<PathBuf>,
}

fn configuration(arguments: &Arguments) -> Config {
    let base = preset("cifar10").expect("a preset");
    let mut config = Config { width: arguments.width, rule: arguments.rule, ..base };
    if let Some(depth) = arguments.depth {
        // The first block halves the frames; all others keep their shape, so that each adds the same work.
        let [halves, keeps] = [1, 2].map(|index| config.blocks[index]);
        let cells = LossPool::Block([4, 4]);
        config.width = 1.0;
        config.blocks = (0..depth).map(|index| if index == 0 { halves } else { keeps }).collect();
        for block in &mut config.blocks {
            (block.channels, block.loss_pool, block.probe_pool) = (64, cells, cells);
        }
    }
    config
}

fn export(config: &Config, work: &StepWork, path: &Path) -> Result<(), Box<dyn Error>> {
    let spec = &work.model.spec;
    let mut tensors = vec![("x".to_string(), vec![work.frames.len() / spec.input().len(), 3, 32, 32], &work.frames)];
    let values = work.model.download(&Cpu);
    for (layer, values) in spec.layers().iter().zip(&values) {
        for (role, shape) in spec.tensors(layer) {
            tensors.push((format!("layer{}.{}", layer.index, role.name()), shape, values.get(role)));
        }
    }
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, values)| (name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let mut views = Vec::with_capacity(bytes.len());
    for (name, shape, bytes) in &bytes {
        views.push((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?));
    }
    let Optimizer::AdamW { lr, .. } = config.optimizer else { return Err("the preset's optimiser is AdamW".into()) };
    let layers: Vec<_> = spec
        .layers()
        .iter()
        .map(|layer| {
            json!({
                "max_pool": layer.block.max_pool.is_some(),
                "cell": (layer.pooled.area() > 1).then_some(layer.output.height / layer.pooled.height),
            })
        })
        .collect();
    let learning = if spec.form().losses == LossLayers::EveryLayer { "local" } else { "global" };
    let peer = json!({ "learning": learning, "lr": lr, "layers": layers });
    serialize_to_file(views, Some(HashMap::from([("peer".into(), peer.to_string())])), path)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build_global()?;
    let config = configuration(&arguments);
    let mut work = StepWork::of(&config, arguments.batch);
    if let Some(path) = &arguments.export {
        return export(&config, &work, path);
    }
    clear_peak();
    let (mut losses, mut seconds) = (Vec::new(), Vec::new());
    for step in 0..arguments.warm_up + arguments.steps {
        let begin = Instant::now();
        let report = work.step();
        let elapsed = begin.elapsed();
        if step < 3 {
            let with_loss = report.iter().filter(|layer| !layer.scores.is_empty());
            losses.push(with_loss.map(|layer| layer.loss()).collect::<Vec<f64>>());
        }
        if step >= arguments.warm_up {
            seconds.push(elapsed.as_secs_f64());
        }
    }
    let program = format!("clapp {}", env!("CARGO_PKG_VERSION"));
    let result = json!({
        "program": program,
        "losses": losses,
        "seconds": seconds,
        "images": arguments.batch,
        "peak_mib": peak_mib(),
        "threads": arguments.threads,
        "parameters": work.model.spec.layers().iter()
            .flat_map(|layer| work.model.spec.tensors(layer))
            .map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>(),
    });
    println!("{result}");
    Ok(())
}
