//! The networks whose cost is measured.

use clapp_core::network::{Block, Network, Rule};
use clapp_core::optimizer::Optimizer;
use clapp_core::shape::Shape;

/// A 3x3 block whose map keeps its size, then a 2x2 max-pool.
const fn pooling(channels: usize) -> Block {
    Block::conv(channels, [3, 3]).padding([1, 1]).max_pool([2, 2])
}

/// A 3x3 block whose map keeps its size.
const fn plain(channels: usize) -> Block {
    Block::conv(channels, [3, 3]).padding([1, 1])
}

/// 16x16 grey, three layers: for the smallest of microcontrollers.
pub const TINY: Network<3> = Network::new(Shape::new(1, 16, 16), [pooling(8), pooling(16), plain(16)], RULE);

/// 32x32 grey, three layers.
pub const SMALL: Network<3> = Network::new(Shape::new(1, 32, 32), [pooling(8), pooling(16), pooling(32)], RULE);

/// 32x32 in colour, four layers: learns within 256 KiB of RAM in all.
pub const COLOUR: Network<4> =
    Network::new(Shape::new(3, 32, 32), [pooling(16), pooling(32), pooling(32), plain(32)], RULE);

/// [`COLOUR`] with its top layer twice, to measure the cost of one more layer.
pub const DEEPER: Network<5> =
    Network::new(Shape::new(3, 32, 32), [pooling(16), pooling(32), pooling(32), plain(32), plain(32)], RULE);

const RULE: Rule = Rule::clapp_pp();

/// Their optimiser: no state besides the parameters.
pub const OPTIMIZER: Optimizer = Optimizer::sgd(0.01);
