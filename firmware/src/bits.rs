//! One learning run with all inputs in a file, and a hash of the result of every frame and of the final weights. Device
//! and host both call [`run`]; equal hashes show that they compute the same bits.

use clapp_core::contrast::Phase;
use clapp_core::guard::Guard;
use clapp_core::init;
use clapp_core::learner::{self, Buffers, LayerState, Learner, Summary};
use clapp_core::network::{Block, NetworkView, Rule};
use clapp_core::optimizer::Optimizer;
use clapp_core::plan::NetworkError;
use clapp_core::rng;
use clapp_core::shape::Shape;
use crc::{CRC_64_XZ, Crc};
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Largest number of layers of a case.
pub const MOST_LAYERS: usize = 8;

/// A run, in the encoding of `postcard`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case<'a> {
    /// Shape of a frame.
    pub input: Shape,
    /// The network's blocks.
    pub blocks: Vec<Block, MOST_LAYERS>,
    /// The learning rule.
    pub rule: Rule,
    /// Optimiser of the run.
    pub optimizer: Optimizer,
    /// First values of the parameters.
    #[serde(borrow)]
    pub parameters: Parameters<'a>,
    /// Frames of the run.
    pub frames: Frames<'a>,
}

/// First values of all parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Parameters<'a> {
    /// Same as [`init::uniform`] draws them from a seed.
    Drawn(u64),
    /// Little-endian `f32`, laid out as [`clapp_core::plan`] says.
    Given(&'a [u8]),
}

/// Frames in the order in which they are learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Frames<'a> {
    /// `count` frames: of each image two noisy views.
    Drawn {
        /// Seed of the images.
        seed: u64,
        /// Number of frames; all but the first are learnt from.
        count: u32,
    },
    /// Little-endian `f32` of all frames, and a byte for each: 1 for a fixation, 0 for a saccade.
    Given {
        /// `[frames, C, H, W]`.
        values: &'a [u8],
        /// `[frames]`.
        fixation: &'a [u8],
    },
}

/// Memory for runs, shared by all of a program; a case takes what it needs.
#[derive(Debug)]
pub struct Memory<'m> {
    /// For parameters, state, contexts, workspace and one frame.
    pub floats: &'m mut [f32],
    /// For positions of maxima.
    pub argmax: &'m mut [u8],
}

/// Reason why a case was not run.
#[derive(Debug, PartialEq)]
pub enum Error {
    /// The file is not a case.
    Encoding,
    /// The blocks do not fit together.
    Network(NetworkError),
    /// The case needs more memory than available, or a list does not have the length that the network requires.
    Length,
    /// A call was refused.
    Refused(learner::Error),
}

/// Learns from all frames of a case. Returns a hash of each frame's outcomes and features, and at the end of the bits of
/// the parameters and the optimiser's state; both are the first of `memory.floats`, parameters first.
///
/// # Errors
/// The bytes are no case, or none that fits the memory.
pub fn run(case: &[u8], memory: &mut Memory<'_>) -> Result<u64, Error> {
    let case: Case<'_> = postcard::from_bytes(case).map_err(|_| Error::Encoding)?;
    let network = NetworkView::try_new(case.input, &case.blocks, case.rule).map_err(Error::Network)?;
    let mut rest = &mut *memory.floats;
    let mut cut = |len: usize| -> Result<&mut [f32], Error> {
        let (front, back) = core::mem::take(&mut rest).split_at_mut_checked(len).ok_or(Error::Length)?;
        rest = back;
        front.fill(0.0);
        Ok(front)
    };
    let parameters = cut(network.parameter_len())?;
    let state = cut(case.optimizer.state_len(&network))?;
    let (contexts, workspace) = (cut(network.context_len())?, cut(network.stream_len())?);
    let frame = cut(network.input().len())?;
    let mut layers = [LayerState::NEW; MOST_LAYERS];
    let layers = layers.get_mut(..network.layer_count()).ok_or(Error::Length)?;
    match case.parameters {
        Parameters::Drawn(seed) => init::uniform(&network, seed, parameters).map_err(|_| Error::Length)?,
        Parameters::Given(bytes) => floats(bytes, parameters)?,
    }
    let buffers = Buffers { parameters, state, contexts, layers, workspace, argmax: memory.argmax };
    let mut learner = Learner::new(network, case.optimizer, Guard::default(), buffers).map_err(|_| Error::Length)?;
    let count = match case.frames {
        Frames::Drawn { count, .. } => count,
        Frames::Given { fixation, .. } => u32::try_from(fixation.len()).map_err(|_| Error::Length)?,
    };
    let crc = Crc::<u64>::new(&CRC_64_XZ);
    let mut digest = crc.digest();
    for at in 0..count {
        let phase = next(&case.frames, at, network.input().width, frame)?;
        let Summary { loss, applied, refused, unsound } =
            learner.observe(frame, phase, 1.0, &mut ()).map_err(Error::Refused)?;
        let stopped = unsound.and_then(|layer| u32::try_from(layer).ok()).unwrap_or(u32::MAX);
        for word in [loss.to_bits(), applied, refused, stopped] {
            digest.update(&word.to_le_bytes());
        }
        for value in learner.features().unwrap_or_default() {
            digest.update(&value.to_bits().to_le_bytes());
        }
    }
    for value in learner.parameters().iter().chain(learner.state()) {
        digest.update(&value.to_bits().to_le_bytes());
    }
    Ok(digest.finalize())
}

/// Puts frame `at` into `frame`.
fn next(frames: &Frames<'_>, at: u32, width: usize, frame: &mut [f32]) -> Result<Phase, Error> {
    match *frames {
        Frames::Drawn { seed, .. } => {
            // Blocks of 4x4 pixels belong to the image, the noise on them to the view.
            let image = rng::stream(seed, 2 * u64::from(at / 2)).bits();
            let mut noise = rng::stream(seed, 2 * u64::from(at) + 1);
            for (place, value) in frame.iter_mut().enumerate() {
                let block = (place / width.max(1) / 4) * width + place % width.max(1) / 4;
                let grey = rng::stream(u64::from(image), block as u64).unit();
                *value = 2.0 * grey + 0.5 * noise.normal() - 1.0;
            }
            Ok(if at % 2 == 1 { Phase::Fixation } else { Phase::Saccade })
        }
        Frames::Given { values, fixation } => {
            let (at, len) = (at as usize, 4 * frame.len());
            floats(values.get(at * len..(at + 1) * len).ok_or(Error::Length)?, frame)?;
            let fixation = *fixation.get(at).ok_or(Error::Length)?;
            Ok(if fixation == 1 { Phase::Fixation } else { Phase::Saccade })
        }
    }
}

fn floats(bytes: &[u8], values: &mut [f32]) -> Result<(), Error> {
    let (words, []) = bytes.as_chunks::<4>() else { return Err(Error::Length) };
    if words.len() != values.len() {
        return Err(Error::Length);
    }
    values.iter_mut().zip(words).for_each(|(value, word)| *value = f32::from_le_bytes(*word));
    Ok(())
}
