//! A learner with buffers of its own, and an observer that keeps all it sees.

use clapp_core::guard::Guard;
use clapp_core::learner::{Buffers, LayerState, Learner};
use clapp_core::network::NetworkView;
use clapp_core::observer::{Activity, LayerReport, Observer, Scores};
use clapp_core::optimizer::Optimizer;

pub struct Memory {
    pub parameters: Vec<f32>,
    pub state: Vec<f32>,
    pub contexts: Vec<f32>,
    pub layers: Vec<LayerState>,
    pub workspace: Vec<f32>,
    pub argmax: Vec<u8>,
    pub optimizer: Optimizer,
}

impl Memory {
    /// For batches of up to `pairs` pairs (0: streams only) with `negatives` negatives a row.
    pub fn new(
        network: &NetworkView<'_>,
        optimizer: Optimizer,
        parameters: Vec<f32>,
        pairs: usize,
        negatives: usize,
    ) -> Self {
        let workspace = network.stream_len().max(network.batch_len(pairs, negatives));
        Self {
            parameters,
            state: vec![0.0; optimizer.state_len(network)],
            contexts: vec![f32::NAN; network.context_len()],
            layers: vec![LayerState::NEW; network.layer_count()],
            // Whatever is read before it is written shows.
            workspace: vec![f32::NAN; workspace],
            argmax: vec![u8::MAX; network.argmax_len().max(network.batch_argmax_len(pairs))],
            optimizer,
        }
    }

    pub fn learner<'a>(&'a mut self, network: NetworkView<'a>, guard: Guard) -> Learner<'a> {
        let buffers = Buffers {
            parameters: &mut self.parameters,
            state: &mut self.state,
            contexts: &mut self.contexts,
            layers: &mut self.layers,
            workspace: &mut self.workspace,
            argmax: &mut self.argmax,
        };
        Learner::new(network, self.optimizer, guard, buffers).unwrap()
    }

    pub fn bits(&self) -> Vec<u32> {
        self.parameters.iter().chain(&self.state).map(|value| value.to_bits()).collect()
    }
}

#[derive(Default)]
pub struct Seen {
    pub outputs: Vec<Vec<f32>>,
    pub pooled: Vec<Vec<f32>>,
    pub scores: Vec<(usize, Vec<f32>, Vec<f32>, f32)>,
    pub reports: Vec<LayerReport>,
}

impl Observer for Seen {
    fn activity(&mut self, activity: &Activity<'_>) {
        self.outputs.push(activity.output.to_vec());
        self.pooled.push(activity.pooled.to_vec());
    }

    fn scores(&mut self, scores: &Scores<'_>) {
        self.scores.push((scores.layer, scores.positive.to_vec(), scores.negative.to_vec(), scores.loss));
    }

    fn report(&mut self, report: &LayerReport) {
        self.reports.push(*report);
    }
}
