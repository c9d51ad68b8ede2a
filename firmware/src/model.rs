//! The network that is built in, its rule and settings, and the static memory that they need.

use crate::line::{Line, NOTICE_LEN};
use crate::machine::{Machine, Memory, Settings};
use clapp_core::learner::{Buffers, Error, LayerState};
use clapp_core::link::{OVERHEAD, REPORT_LEN, encoded_len};
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

/// All the rest.
pub const SETTINGS: Settings = Settings {
    seed: 1,
    optimizer: Optimizer::sgd(0.01),
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
    parameters: [f32; NETWORK.view().parameter_len()],
    state: [f32; SETTINGS.optimizer.state_len(&NETWORK.view())],
    contexts: [f32; NETWORK.view().context_len()],
    layers: [LayerState; NETWORK.view().layer_count()],
    workspace: [f32; NETWORK.view().stream_len()],
    argmax: [u8; NETWORK.view().argmax_len()],
    frame: [f32; PIXELS],
    means: [f32; CLASSES * FEATURES],
    counts: [u32; CLASSES],
    packet: [u8; larger(PIXELS, 4 * MOST_WORDS) + OVERHEAD],
    reply: [u8; larger(REPORT_LEN, encoded_len(4 * MOST_WORDS)) + NOTICE_LEN],
    words: [u8; 4 * MOST_WORDS],
}

/// What [`Statics::parts`] cuts the memory into: the machine, the line, and room for words.
pub type Parts<'a> = (Machine<'a>, Line<'a>, &'a mut [u8]);

impl Statics {
    /// Zeros, which cost no flash.
    pub const fn new() -> Self {
        Self {
            parameters: [0.0; _],
            state: [0.0; _],
            contexts: [0.0; _],
            layers: [LayerState::NEW; _],
            workspace: [0.0; _],
            argmax: [0; _],
            frame: [0.0; _],
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
        let buffers = Buffers {
            parameters: &mut self.parameters,
            state: &mut self.state,
            contexts: &mut self.contexts,
            layers: &mut self.layers,
            workspace: &mut self.workspace,
            argmax: &mut self.argmax,
        };
        let memory = Memory { buffers, frame: &mut self.frame, means: &mut self.means, counts: &mut self.counts };
        let machine = Machine::new(VIEW.view(), SETTINGS, memory)?;
        Ok((machine, Line::new(&mut self.packet, &mut self.reply), &mut self.words))
    }
}

impl Default for Statics {
    fn default() -> Self {
        Self::new()
    }
}
