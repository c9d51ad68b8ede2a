//! The network that is built in, its rule and settings, and the static memory that they need.

use crate::line::Line;
use crate::machine::{Machine, Memory, Settings};
use crate::{memory, memory_of};
use clapp_core::learner::Error;
use clapp_core::link::{ASIDE_LEN, OVERHEAD, REPORT_LEN, encoded_len};
use clapp_core::network::{Block, LossPool, Network, Rule};
use clapp_core::optimizer::Optimizer;
use clapp_core::shape::Shape;

/// Shape of a frame: a grey picture, or that of the thermal camera.
pub const INPUT: Shape = Shape::new(1, 32, 32);

/// Cells of the loss pooling: 4x4 of them in the first layer, 2x2 in the second, one in the top.
const CELL: [usize; 2] = [INPUT.height / 8, INPUT.width / 8];

/// The network and its rule: every layer's context is the top layer's activity at the frame before.
pub const NETWORK: Network<3> = Network::new(
    INPUT,
    [
        Block::conv(8, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block(CELL)),
        Block::conv(16, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block(CELL)),
        Block::conv(16, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block(CELL)),
    ],
    Rule::clapp_pp_dfb(),
);

/// Classes of the read-out.
pub const CLASSES: usize = 10;

/// The optimiser, which has no state.
pub const OPTIMIZER: Optimizer = Optimizer::sgd(0.01);

/// All other settings.
pub const SETTINGS: Settings = Settings {
    seed: 1,
    optimizer: OPTIMIZER,
    max_update_norm: Some(4.0),
    // Pixels of mean 128 and standard deviation 50, as the host makes them, become numbers of mean 0 and deviation 1.5.
    scale: 0.03,
    offset: -3.84,
    save_every: 1000,
};

const PIXELS: usize = NETWORK.view().input().len();
const FEATURES: usize = NETWORK.view().feature_len();
/// Words of a section that one packet carries.
pub const MOST_WORDS: usize = 128;

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// All memory of the program, known to the last byte when it is compiled.
#[derive(Debug)]
pub struct Statics {
    learner: memory_of!(NETWORK, OPTIMIZER),
    means: [f32; CLASSES * FEATURES],
    counts: [u32; CLASSES],
    packet: [u8; larger(PIXELS, 4 * MOST_WORDS) + OVERHEAD],
    reply: [u8; larger(REPORT_LEN, encoded_len(4 * MOST_WORDS)) + ASIDE_LEN],
    words: [u8; 4 * MOST_WORDS],
}

/// The parts of [`Statics::parts`]: the machine, the line, and a buffer for words.
pub type Parts<'a> = (Machine<'a>, Line<'a>, &'a mut [u8]);

impl Statics {
    /// Zeros, which cost no flash.
    pub const fn new() -> Self {
        Self {
            learner: memory::Memory::NEW,
            means: [0.0; _],
            counts: [0; _],
            packet: [0; _],
            reply: [0; _],
            words: [0; _],
        }
    }

    /// The machine with its first weights, the line, and room for words.
    ///
    /// # Errors
    /// None that the sizes above allow.
    pub fn parts(&mut self) -> Result<Parts<'_>, Error> {
        static VIEW: Network<3> = NETWORK;
        let (frame, buffers) = self.learner.buffers();
        let memory = Memory { buffers, frame, means: &mut self.means, counts: &mut self.counts };
        let machine = Machine::new(VIEW.view(), SETTINGS, memory)?;
        Ok((machine, Line::new(&mut self.packet, &mut self.reply), &mut self.words))
    }
}

impl Default for Statics {
    fn default() -> Self {
        Self::new()
    }
}
