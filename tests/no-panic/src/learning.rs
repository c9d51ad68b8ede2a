//! First values, inference and learning, in a stream and from batches, under any optimiser.

use crate::opaque::{Memory, unknown, use_up};
use clapp_core::contrast::Phase;
use clapp_core::guard::Guard;
use clapp_core::init;
use clapp_core::learner::{Batch, Buffers, LayerState, Learner, Progress, infer, ring_negatives, uniform_negatives};
use clapp_core::network::NetworkView;
use clapp_core::observer::{Activity, LayerReport, Observer, Scores};
use clapp_core::optimizer::Optimizer;
use clapp_core::rng;

pub fn all(network: &NetworkView<'_>) {
    let [mut parameters, mut frame, mut workspace, mut features] = [0.0; 4].map(Memory::new);
    let parameters = parameters.slice();
    use_up(init::uniform(network, unknown(1), parameters).is_ok());
    use_up(init::orthogonal(network, unknown(1), parameters).is_ok());
    use_up(infer(network, parameters, frame.slice(), workspace.slice(), features.slice()).is_ok());

    let optimizer = unknown(Optimizer::Record);
    let [mut state, mut contexts] = [0.0; 2].map(Memory::new);
    let (mut layers, mut argmax) = (Memory::new(LayerState::NEW), Memory::new(0_u8));
    let buffers = Buffers {
        parameters,
        state: state.slice(),
        contexts: contexts.slice(),
        layers: layers.slice(),
        workspace: workspace.slice(),
        argmax: argmax.slice(),
    };
    use_up(optimizer.state_len(network));
    if let Ok(mut learner) = Learner::new(*network, optimizer, unknown(Guard::default()), buffers) {
        accessors(&mut learner);
        stream(&mut learner);
        batch(&mut learner);
    }
}

/// Reads all values that an observer can see.
struct Curious;

impl Observer for Curious {
    fn activity(&mut self, activity: &Activity<'_>) {
        use_up(*activity);
    }

    fn scores(&mut self, scores: &Scores<'_>) {
        use_up(*scores);
    }

    fn report(&mut self, report: &LayerReport) {
        use_up(*report);
    }
}

fn accessors(learner: &mut Learner<'_>) {
    use_up((learner.network(), learner.parameters().len(), learner.state().len(), learner.features().is_ok()));
    use_up((learner.layers().len(), learner.layers_mut().len(), learner.parameters_mut().len()));
    use_up(learner.learnt_mut().0.len());
    learner.adjust_parameters(|parameters| parameters.fill(unknown(0.5)));
    learner.clear_context();
    learner.set_guard(unknown(Guard { max_update_norm: Some(1.0) }));
    let optimizers = [
        Optimizer::sgd(0.1),
        Optimizer::Sgd { lr: 0.1, momentum: 0.9, weight_decay: 1e-4 },
        Optimizer::adam_w(1e-3),
        Optimizer::Lars { lr: 0.1, momentum: 0.9, weight_decay: 1e-4, trust: 1e-3 },
    ];
    for optimizer in unknown(optimizers) {
        use_up(learner.set_optimizer(optimizer).is_ok());
    }
}

fn stream(learner: &mut Learner<'_>) {
    let mut frame = Memory::new(0.0);
    let frame = frame.slice();
    use_up(learner.observe(frame, unknown(Phase::Fixation), unknown(1.0), &mut Curious).is_ok());
    if let Ok(mut pass) = learner.begin_frame(frame, unknown(Phase::Saccade), unknown(1.0)) {
        while let Some(progress) = pass.step_layer(&mut ()) {
            if let Progress::Learnt(report) = progress {
                use_up(report);
            }
        }
    }
}

fn batch(learner: &mut Learner<'_>) {
    let (mut frames, mut negatives, mut keep) = (Memory::new(0.0), Memory::new(0_u32), Memory::new(true));
    let negatives = negatives.slice();
    ring_negatives(negatives, unknown(4));
    let mut random = rng::stream(unknown(1), unknown(2));
    uniform_negatives(negatives, unknown(4), || random.bits());
    let batch = Batch { frames: frames.slice(), negatives, keep_positive: unknown(Some(keep.slice())) };
    use_up(learner.step(&batch, unknown(1.0), &mut Curious).is_ok());
    if let Ok(pass) = learner.begin_step(&batch, unknown(1.0)) {
        use_up(pass.finish(&mut ()));
    }
}
