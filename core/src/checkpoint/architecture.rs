//! A number that tells networks apart.

use crate::network::{Activation, Block, Context, Contrast, LossPool, NetworkView, Projection, Rule};
use crc::{CRC_64_XZ, Crc, Digest, NoTable};

/// Without a table: a few hundred bytes are hashed once in a while.
static CRC: Crc<u64, NoTable> = Crc::<u64, NoTable>::new(&CRC_64_XZ);

/// A hash of a network's description: input shape, blocks and rule. Stable for ever.
///
/// It is the CRC-64/XZ of the description's fields as 32-bit little-endian words, in the order of
/// `docs/checkpoint-format.md`; so two descriptions that differ in one field, or in two neighbouring ones, never have
/// the same.
pub const fn architecture(network: &NetworkView<'_>) -> u64 {
    let mut hash = Words(CRC.digest());
    let input = network.input();
    hash.sizes(&[input.channels, input.height, input.width, network.layer_count()]);
    let mut rest = network.blocks();
    while let [block, above @ ..] = rest {
        hash.block(block);
        rest = above;
    }
    hash.rule(&network.rule());
    hash.0.finalize()
}

struct Words(Digest<'static, u64, NoTable>);

impl Words {
    const fn word(&mut self, word: u32) {
        self.0.update(&word.to_le_bytes());
    }

    /// A checked description has no size above 2^27, except strides, of which all that large mean the same.
    const fn sizes(&mut self, mut sizes: &[usize]) {
        while let [size, rest @ ..] = sizes {
            self.word(if *size as u64 > u32::MAX as u64 { u32::MAX } else { *size as u32 });
            sizes = rest;
        }
    }

    const fn block(&mut self, block: &Block) {
        self.sizes(&[block.out_channels]);
        self.sizes(&block.kernel);
        self.sizes(&block.stride);
        self.sizes(&block.padding);
        self.word(block.bias as u32);
        self.word(match block.activation {
            Activation::Relu => 0,
            Activation::Identity => 1,
        });
        self.sizes(&match block.max_pool {
            None => [0, 0],
            Some(window) => window,
        });
        let (kind, size) = match block.loss_pool {
            LossPool::Block(cell) => (0, cell),
            LossPool::Adaptive(output) => (1, output),
            LossPool::Global => (2, [0, 0]),
        };
        self.word(kind);
        self.sizes(&size);
    }

    const fn rule(&mut self, rule: &Rule) {
        let (kind, theta) = match rule.contrast {
            Contrast::Hinge => (0, 0.0),
            Contrast::SoftHinge => (1, 0.0),
            Contrast::Phyll { theta } => (2, theta),
            Contrast::Linear => (3, 0.0),
            Contrast::Goodness { theta } => (4, theta),
        };
        self.word(kind);
        self.word(theta.to_bits());
        self.word(match rule.context {
            Context::Same => 0,
            Context::Top => 1,
            Context::Both => 2,
        });
        self.word(match rule.projection {
            Projection::Trainable => 0,
            Projection::Frozen => 1,
            Projection::Identity => 2,
        });
        self.word(rule.pos_coeff.to_bits());
    }
}
