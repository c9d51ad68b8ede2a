//! A candidate as Rust for `clapp-core` and as a configuration for `clapp train`.

use super::Candidate;
use super::measured::Row;
use crate::paper::micro::point::{BASE, Point, Size};
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_engine::config::Config;
use clapp_engine::model::NetworkSpec;
use std::fmt::Write;

impl Candidate {
    /// The configuration for `clapp train`, with the optimiser, rate, batch and epochs that were measured. For a network
    /// that learns from its stream, which `clapp train` does not do, it is the untrained network: no epochs. `None` where
    /// frames are not square, which its views are.
    ///
    /// # Errors
    /// If there is no preset to begin with.
    pub fn config(&self, data: &Dataset) -> Result<Option<Config>, Error> {
        let input = self.spec.input();
        if input.height != input.width {
            return Ok(None);
        }
        let Row { channels, depth, batch, rate, epochs, .. } = self.nearest;
        let point = Point { channels, depth, input: input.height, batch, ..BASE };
        let epochs = if batch == 1 { 0 } else { epochs };
        let mut config = point.config(0, data, &Size { images: 2, test: 2, labelled: 2, epochs })?;
        config.optimizer = config.optimizer.with_learning_rate(rate);
        config.name = format!("micro-{channels}x{depth}");
        config.images = None;
        config.input[0] = input.channels;
        for augment in [&mut config.augment, &mut config.probe.augment] {
            augment.mean = vec![0.5; input.channels];
            augment.std = vec![0.25; input.channels];
        }
        config.check("the recommended configuration")?;
        Ok(Some(config))
    }

    /// Rust code for `clapp-core`. The compiler checks its memory. Only a network that learns from its stream has an optimiser
    /// for the device, with the rate that was measured.
    pub fn rust(&self) -> String {
        rust(&self.spec, (self.nearest.batch == 1).then_some(self.nearest.rate))
    }
}

/// A network of [`super::network`] as Rust for `clapp-core`, and plain SGD of a rate.
pub fn rust(spec: &NetworkSpec, rate: Option<f32>) -> String {
    let (view, input) = (spec.view(), spec.input());
    let mut text = String::from("use clapp_core::network::{Block, LossPool, Network, Rule};\n");
    if rate.is_some() {
        text += "use clapp_core::optimizer::Optimizer;\n";
    }
    text += "use clapp_core::shape::Shape;\n\n";
    // Writing to a string does not fail.
    let _ = writeln!(text, "pub const NETWORK: Network<{}> = Network::new(", view.layer_count());
    let _ = writeln!(text, "    Shape::new({}, {}, {}),\n    [", input.channels, input.height, input.width);
    for layer in spec.layers() {
        let block = layer.block;
        let _ = write!(
            text,
            "        Block::conv({}, {:?}).padding({:?})",
            block.out_channels, block.kernel, block.padding
        );
        if let Some(window) = block.max_pool {
            let _ = write!(text, ".max_pool({window:?})");
        }
        let _ = writeln!(text, ".loss_pool(LossPool::{:?}),", block.loss_pool);
    }
    let _ = writeln!(text, "    ],\n    Rule::clapp_pp_dfb(),\n);");
    if let Some(rate) = rate {
        let _ = writeln!(text, "pub const OPTIMIZER: Optimizer = Optimizer::sgd({rate:?});");
    }
    let (what, bytes) = match rate {
        Some(_) => ("stream_bytes", view.stream_bytes()),
        None => ("inference_bytes", view.inference_bytes()),
    };
    let _ = writeln!(
        text,
        "// What it was recommended for: another build of clapp-core that takes more does not compile.\nconst _: () = \
         assert!(NETWORK.view().{what}() <= {bytes});"
    );
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::recommend::network;
    use clapp_core::shape::Shape;

    mod compiled {
        include!("../../../tests/fixtures/recommended.rs");
    }

    /// The code that is printed compiles, and is the network that was planned.
    #[test]
    fn the_rust_code_is_the_network() {
        let spec = network(16, 4, Shape::new(1, 32, 32)).unwrap();
        assert_eq!(rust(&spec, Some(0.003)), include_str!("../../../tests/fixtures/recommended.rs"));
        assert_eq!(compiled::NETWORK.view(), spec.view());
        assert_eq!(compiled::OPTIMIZER.state_len(&spec.view()), 0);
        // Without learning, no optimiser, and what inference takes.
        let carried = rust(&spec, None);
        assert!(!carried.contains("Optimizer") && carried.contains("inference_bytes() <="), "{carried}");
    }
}
