//! Read-outs that learn on the device.

use crate::opaque::{Memory, unknown, use_up};
use clapp_core::optimizer::Optimizer;
use clapp_core::readout::{Linear, NearestMean, cross_entropy_gradient, descend};

pub fn all() {
    let [mut weight, mut bias, mut scratch, mut features] = [0.0; 4].map(Memory::new);
    let (weight, bias, scratch, features) = (weight.slice(), bias.slice(), scratch.slice(), features.slice());
    let label = unknown(1);
    if let Ok(mut head) = Linear::new(unknown(4), weight, bias, scratch) {
        use_up((head.logits(features).is_ok(), head.predict(features), head.learn(features, label, unknown(0.1))));
    }
    let [mut weight_gradient, mut bias_gradient, mut state] = [0.0; 3].map(Memory::new);
    let mut labels = Memory::new(0_usize);
    let gradients = [weight_gradient.slice(), bias_gradient.slice()];
    use_up(cross_entropy_gradient(features, labels.slice(), [weight, bias], gradients, scratch));
    use_up(descend(&unknown(Optimizer::Record), unknown(0), scratch, weight, state.slice()));

    let mut counts = Memory::new(0_u32);
    if let Ok(mut head) = NearestMean::new(unknown(4), weight, counts.slice()) {
        use_up((head.learn(features, label), head.predict(features), head.counts().len()));
    }
}
