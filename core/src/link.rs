//! The messages between a host and a device over a serial line, defined once for both sides (feature `link`).
//!
//! # Packets
//!
//! A packet is a [`Request`] or a [`Reply`] in `postcard`'s encoding, followed by a CRC-32 (ISO-HDLC, little-endian)
//! over `clapp>` (to the device) or `clapp<` (to the host) and that encoding; both are byte-stuffed by COBS and stand
//! between two zero bytes. [`encode`] makes one; [`Receiver`] finds them in a stream of bytes. What is cut, torn, or
//! not of this protocol is counted, never misread.
//!
//! # Conversation
//!
//! The host asks, the device answers, one request at a time. A host that gets no answer sends the same request
//! again, under the same `id`; [`Session`] tells the device a repetition from something new, so that no frame is
//! learnt from twice. Every request that arrives whole is answered: met, answered again, or turned away with a
//! [`Problem`]. [`Command::Hello`] asks for a session; the device draws its number, and the first request under that
//! number opens it. A hello that the line repeats from earlier opens nothing. `docs/link.md` has the whole of it, as a table.
//!
//! [`Identity`] and one [`Block`] a layer describe the device's network, rule and optimiser in full: a host
//! that keeps a log can learn from the same frames with the same numbers, to the last bit.

use crate::checksum::Checksum;
use crate::collapse::Condition;
use crate::contrast::Phase;
use crate::network::{Block, Rule};
use crate::observer::{LayerReport, Outcome};
use crate::optimizer::Optimizer;
use crate::shape::Shape;
use cobs::{CobsEncoder, DecodeResult, DecoderState};
use heapless::Vec;
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

/// Version of this protocol. [`Command::Hello`] and [`Problem::Version`] keep their bytes in every version.
///
/// Within a version, messages are only added, at the end of [`Command`] and [`Answer`]: a device answers those that it does
/// not know by [`Problem::Unknown`], and says in [`Identity::commands`] how many it knows.
pub const VERSION: u16 = 2;

/// Layers of a network that a device reports on; those above go without report.
pub const MOST_LAYERS: usize = 16;

/// Bytes that a packet takes beyond a byte string in it (pixels, words), before byte stuffing; generously.
pub const OVERHEAD: usize = 64;

/// Length of the buffer in which a packet with a byte string of `len` is encoded.
pub const fn encoded_len(len: usize) -> usize {
    let stuffed = len + OVERHEAD;
    stuffed + stuffed / 254 + 3
}

/// Length of the buffer that holds the longest reply without byte string: a report on [`MOST_LAYERS`] layers.
pub const REPORT_LEN: usize = encoded_len(MOST_LAYERS * 24);

/// Length of the buffer for an answer that is not kept: who the device is, or why a request is turned away.
pub const ASIDE_LEN: usize = encoded_len(192);

/// A message from the host.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Request<'a> {
    /// The session's number ([`Identity::session`]); with [`Command::Hello`] a number that the host draws, to know its answer.
    pub session: u32,
    /// Number of the request: above that of the request before, wrapping; the same when repeated.
    pub id: u32,
    /// The command.
    #[serde(borrow)]
    pub command: Command<'a>,
}

/// A command of a host for a device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Command<'a> {
    /// Asks for a session; answered by [`Answer::Hello`]. The first request of the session opens it: the session before
    /// ends, and the previous frame is forgotten.
    Hello {
        /// The host's [`VERSION`].
        version: u16,
    },
    /// Asks for the description of a layer; answered by [`Answer::Block`].
    Block {
        /// Index from the input.
        layer: u8,
    },
    /// A frame to infer and to learn from; answered by [`Answer::Observed`].
    Frame {
        /// The relation of the frame to the one before it.
        phase: Phase,
        /// The class that the frame shows, for the read-out.
        label: Option<u8>,
        /// `[C, H, W]` of the device's input; the value of a pixel is `pixel * scale + offset` ([`Identity`]).
        pixels: &'a [u8],
    },
    /// Sets the factor on all updates; at 0 nothing is learnt. Answered by [`Answer::Done`], as those that follow.
    Modulator(f32),
    /// Freezes a layer or lets it learn again.
    Freeze {
        /// Index from the input.
        layer: u8,
        /// True if it keeps its parameters.
        frozen: bool,
    },
    /// Sets the optimiser; one that needs another length of state is refused.
    Optimizer(Optimizer),
    /// Draws new weights, forgets the optimiser's state and the read-out, and starts at step 0.
    Reset {
        /// Seed of the weights.
        seed: u64,
    },
    /// Forgets what the read-out has learnt.
    ForgetLabels,
    /// Forgets the previous frame.
    ClearContext,
    /// Saves what was learnt in flash.
    Save,
    /// Goes back to what was saved last.
    Rollback,
    /// Takes frames from the sensor, or from the link only.
    Sensor(bool),
    /// Asks for [`Answer::Status`].
    Status,
    /// Reads words of a section; answered by [`Answer::Words`].
    Read {
        /// The section.
        section: Section,
        /// First word.
        offset: u32,
        /// Number of words; fewer come back where the section or the device's buffer ends.
        count: u16,
    },
    /// Writes words to a section.
    Write {
        /// The section.
        section: Section,
        /// First word.
        offset: u32,
        /// Little-endian words.
        words: &'a [u8],
    },
}

impl Command<'_> {
    /// Number of commands; a new one comes at the end.
    pub const COUNT: u8 = 15;
}

/// Memory that can be read and written in words of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Section {
    /// All parameters, as [`crate::plan`] lays them out, `f32`.
    Parameters,
    /// The optimiser's state, `f32`.
    State,
    /// Three words a layer: frozen (0 or 1), steps, refused updates.
    Layers,
    /// The read-out: means of the classes `[classes, features]`, `f32`.
    Readout,
    /// Examples of each class.
    Counts,
}

/// A message from the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply<'a> {
    /// The session that the request named.
    pub session: u32,
    /// Number of the request that is answered.
    pub id: u32,
    /// The answer.
    #[serde(borrow)]
    pub answer: Answer<'a>,
}

/// An answer of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "nothing keeps many of them, and there is no heap")]
pub enum Answer<'a> {
    /// Who the device is.
    Hello(#[serde(borrow)] Identity<'a>),
    /// A layer.
    Block(Block),
    /// The result of a frame.
    Observed(Observed),
    /// It was done.
    Done,
    /// It was saved.
    Saved {
        /// The step of which the weights are.
        step: u64,
    },
    /// The state of the device.
    Status(Status),
    /// Little-endian words of a section.
    Words {
        /// First word.
        offset: u32,
        /// The words.
        words: &'a [u8],
    },
    /// It was not done, and nothing was changed.
    Problem(Problem),
}

/// A device and what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Identity<'a> {
    /// The device's [`VERSION`].
    pub version: u16,
    /// The number under which the host's requests are met from now on.
    pub session: u32,
    /// Number of commands that the device knows: [`Command::COUNT`] of its firmware.
    pub commands: u8,
    /// Name of the board.
    pub board: &'a str,
    /// Version of the firmware.
    pub firmware: &'a str,
    /// Shape of a frame.
    pub input: Shape,
    /// Number of layers, each to be asked for by [`Command::Block`].
    pub layers: u8,
    /// The learning rule.
    pub rule: Rule,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The guard's cap on the norm of an update.
    pub max_update_norm: Option<f32>,
    /// Classes of the read-out.
    pub classes: u8,
    /// Factor from a pixel to a value.
    pub scale: f32,
    /// Added to it.
    pub offset: f32,
    /// The origin of the weights.
    pub origin: Origin,
    /// Frames learnt from so far.
    pub step: u64,
    /// The factor on all updates.
    pub modulator: f32,
    /// Length of the longest word list that [`Command::Write`] may carry and [`Command::Read`] brings, in words.
    pub most_words: u16,
}

/// The origin of a device's weights when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Origin {
    /// Drawn from this seed: nothing was saved.
    Seed(u64),
    /// Read from flash.
    Saved {
        /// The step at which they were saved.
        step: u64,
        /// True if newer ones were saved and are damaged.
        older: bool,
    },
    /// Drawn from a seed, since what was saved could not be used.
    Unusable {
        /// The seed.
        seed: u64,
        /// Why.
        problem: Problem,
    },
    /// Drawn from this seed by [`Command::Reset`].
    Reset(u64),
    /// Written by the host, in part at least.
    Host,
    /// Read from flash, but for parts that were saved with another length; those begin anew.
    SavedInPart {
        /// The step at which they were saved.
        step: u64,
        /// True if newer ones were saved and are damaged.
        older: bool,
        /// True if the state of the optimiser was read.
        state: bool,
        /// True if the read-out was read.
        read_out: bool,
    },
}

/// The result of a frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Frames learnt from, this one included.
    pub step: u64,
    /// Class that the read-out saw before it was told; `None` before the first label.
    pub prediction: Option<u8>,
    /// The result of each layer. Where a layer's activity was not finite, its update is refused and it is the last one here;
    /// there are no features then, so no prediction, and nothing for a label to teach.
    pub layers: Vec<LayerNews, MOST_LAYERS>,
    /// The first layer that has collapsed, or that is not sound; `None` where all are.
    pub verdict: Option<Verdict>,
}

/// A layer that is not sound, and its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Verdict {
    /// Index from the input.
    pub layer: u8,
    /// Never [`Condition::Sound`].
    pub condition: Condition,
}

/// The short form of a [`LayerReport`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LayerNews {
    /// The outcome of the update.
    pub update: Update,
    /// Loss.
    pub loss: f32,
    /// Score: `u+` at a fixation, `u-` at a saccade.
    pub score: f32,
    /// L2 norm of the change of the layer's parameters.
    pub update_norm: f32,
    /// Share of channels all of whose outputs were zero, in percent.
    pub dead_percent: u8,
}

/// The outcome of an update: [`Outcome`] without its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Update {
    /// It happened.
    Applied,
    /// It was refused, by the guard or since activity or scores were not finite.
    Refused,
    /// The layer is frozen.
    Frozen,
    /// The modulator is zero.
    Muted,
    /// There was no frame before.
    NoContext,
}

impl From<&LayerReport> for LayerNews {
    fn from(report: &LayerReport) -> Self {
        Self {
            update: match report.outcome {
                Outcome::Applied => Update::Applied,
                Outcome::Refused(_) => Update::Refused,
                Outcome::Frozen => Update::Frozen,
                Outcome::Muted => Update::Muted,
                Outcome::NoContext => Update::NoContext,
            },
            loss: report.loss,
            score: report.mean_positive.or(report.mean_negative).unwrap_or(0.0),
            update_norm: report.update_norm,
            // A share of 1 at most; the cast saturates.
            dead_percent: (report.dead * 100.0) as u8,
        }
    }
}

/// The state of a device.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Status {
    /// Frames learnt from.
    pub step: u64,
    /// Step of the weights in flash.
    pub saved_step: Option<u64>,
    /// Updates that the guard refused, of all layers.
    pub refused: u32,
    /// Packets that were cut, torn or not of this protocol.
    pub dropped: u32,
    /// Packets that came again after they were answered.
    pub repeated: u32,
    /// Frames that the sensor did not deliver.
    pub sensor_errors: u32,
    /// Erases of flash since the start.
    pub erases: u32,
    /// As in [`Observed`].
    pub verdict: Option<Verdict>,
    /// True if an automatic save is due and waits for the end of a collapse.
    pub waiting: bool,
}

/// The reason for which a request was not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Problem {
    /// The host speaks another version.
    Version {
        /// The device's.
        device: u16,
    },
    /// No such session: the device has been restarted, or another host has opened one.
    NoSession,
    /// The network has no such layer.
    Layer,
    /// The frame has another number of pixels.
    Pixels {
        /// The number that a frame must have.
        needed: u32,
    },
    /// The label is not below the number of classes.
    Label,
    /// A number is infinite or NaN.
    NotFinite,
    /// The optimiser needs another length of state than the device has.
    Optimizer,
    /// The section ends before that.
    Range,
    /// A value is none that the section may hold.
    Value,
    /// Flash: nothing was saved.
    Empty,
    /// Flash: what was saved is damaged.
    Corrupt,
    /// Flash: what was saved is of another format, network, or type of data.
    Other,
    /// Flash: the hardware reports an error.
    Flash,
    /// The board has none: no flash, or no sensor.
    Missing,
    /// A later request of the session has been met. This one was met before that, or never will be.
    Stale {
        /// The latest request that was met.
        last: u32,
    },
    /// The device does not know that command.
    Unknown {
        /// Its number, counted from 0 in the order of [`Command`].
        command: u32,
    },
    /// The command is known, and what follows its number is not as this version has it.
    Malformed,
    /// Flash: whole contents lie there, but it is not proven that their save was complete, or that it was the last one.
    Unproven,
    /// Flash: two checkpoints of this length do not fit.
    Small {
        /// Bytes of one.
        needed: u32,
    },
}

/// The direction of a packet; both ways are told apart by their checksum, so that an echo is not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A [`Request`].
    ToDevice,
    /// A [`Reply`].
    ToHost,
}

impl Direction {
    /// A checksum that has seen which way the packet goes.
    fn checksum(self) -> Checksum {
        let mut checksum = Checksum::new();
        checksum.add(match self {
            Self::ToDevice => b"clapp>",
            Self::ToHost => b"clapp<",
        });
        checksum
    }
}

/// The buffer is too short for the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TooLong;

impl core::fmt::Display for TooLong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the packet is longer than the buffer for it")
    }
}

impl core::error::Error for TooLong {}

/// Bytes on their way through checksum and byte stuffing.
struct Stuffed<'b> {
    encoder: CobsEncoder<'b>,
    checksum: Checksum,
}

impl Stuffed<'_> {
    fn push(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.encoder.push(bytes).map_err(|_| postcard::Error::SerializeBufferFull)
    }
}

impl Flavor for Stuffed<'_> {
    /// Stuffed length.
    type Output = usize;

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.checksum.add(bytes);
        self.push(bytes)
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(mut self) -> postcard::Result<usize> {
        let sum = self.checksum.value();
        self.push(&sum.to_le_bytes())?;
        Ok(self.encoder.finalize())
    }
}

/// Encodes a [`Request`] or [`Reply`] into `buffer` ([`encoded_len`]); returns its length, the zeros at both ends
/// included.
///
/// # Errors
/// If the buffer is too short.
pub fn encode(packet: &impl Serialize, direction: Direction, buffer: &mut [u8]) -> Result<usize, TooLong> {
    let Some((start, stuffed)) = buffer.split_first_mut() else { return Err(TooLong) };
    *start = 0;
    let flavor = Stuffed { encoder: CobsEncoder::new(stuffed), checksum: direction.checksum() };
    let length = postcard::serialize_with_flavor(packet, flavor).map_err(|_| TooLong)?;
    *stuffed.get_mut(length).ok_or(TooLong)? = 0;
    Ok(length + 2)
}

/// Finds packets in a stream of bytes.
#[derive(Debug)]
pub struct Receiver<'b> {
    buffer: &'b mut [u8],
    direction: Direction,
    state: DecoderState,
    len: usize,
    /// The packet at hand is beyond repair; nothing is read before the next zero.
    skipping: bool,
    dropped: u32,
}

impl<'b> Receiver<'b> {
    /// A receiver of packets that go in `direction`. `buffer` must be as long as the longest packet before byte stuffing: the
    /// byte string in it and [`OVERHEAD`].
    pub fn new(buffer: &'b mut [u8], direction: Direction) -> Self {
        Self { buffer, direction, state: DecoderState::Idle, len: 0, skipping: false, dropped: 0 }
    }

    /// Number of packets that were cut, torn, too long, or not of this protocol.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Takes one byte. Returns the length of a whole packet with a good checksum, to be given to [`Receiver::packet`]
    /// before the next byte is taken.
    pub fn push(&mut self, byte: u8) -> Option<usize> {
        if self.skipping {
            self.skipping = byte != 0;
            return None;
        }
        match self.state.feed(byte) {
            Ok(DecodeResult::NoData) => None,
            Ok(DecodeResult::DataStart) => {
                self.len = 0;
                None
            }
            Ok(DecodeResult::DataContinue(data)) => {
                match self.buffer.get_mut(self.len) {
                    Some(place) => {
                        *place = data;
                        self.len += 1;
                    }
                    None => self.drop_packet(byte),
                }
                None
            }
            Ok(DecodeResult::DataComplete) => {
                let packet = self.buffer.get(..self.len).unwrap_or_default();
                let sound = packet.split_last_chunk::<4>().is_some_and(|(body, sum)| {
                    let mut checksum = self.direction.checksum();
                    checksum.add(body);
                    checksum.value() == u32::from_le_bytes(*sum)
                });
                if !sound {
                    self.drop_packet(byte);
                }
                sound.then(|| self.len.saturating_sub(4))
            }
            Err(_) => {
                self.drop_packet(byte);
                None
            }
        }
    }

    /// The packet of `len` bytes that [`Receiver::push`] has just announced; `None`, and counted as dropped, where
    /// it is of a kind that this side does not know.
    pub fn packet<'p, T: Deserialize<'p>>(&'p mut self, len: usize) -> Option<T> {
        let body = self.buffer.get(..len).unwrap_or_default();
        match postcard::take_from_bytes(body) {
            Ok((packet, [])) => Some(packet),
            _ => {
                self.dropped = self.dropped.wrapping_add(1);
                None
            }
        }
    }

    /// The start of the packet of `len` bytes that [`Receiver::push`] has just announced and that [`Receiver::packet`] could
    /// not read: in every version its session, its id, and the number of its command or answer.
    pub fn header(&self, len: usize) -> Option<Header> {
        let body = self.buffer.get(..len).unwrap_or_default();
        let ((session, id, message), _) = postcard::take_from_bytes(body).ok()?;
        Some(Header { session, id, message })
    }

    fn drop_packet(&mut self, byte: u8) {
        self.state = DecoderState::Idle;
        self.skipping = byte != 0;
        self.dropped = self.dropped.wrapping_add(1);
    }
}

/// The beginning of every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// See [`Request::session`].
    pub session: u32,
    /// See [`Request::id`].
    pub id: u32,
    /// Number of the command or answer, counted from 0.
    pub message: u32,
}

impl Header {
    /// The reason for which a device does not meet a request of which it can read no more than this.
    pub fn problem(&self) -> Problem {
        match self.message >= u32::from(Command::COUNT) {
            true => Problem::Unknown { command: self.message },
            false => Problem::Malformed,
        }
    }
}

/// The action of a device upon a request. Whatever it is, the request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Say who it is, and that this is the number of a session that it would open. Nothing else changes, and the answer
    /// is not kept.
    Hello {
        /// The number.
        session: u32,
    },
    /// Meet it as the first of a new session: forget the previous frame first. Keep the answer.
    Open,
    /// Meet it, and keep the answer.
    New,
    /// Send the answer that was kept once more.
    Repeat,
    /// Turn it away; the answer that was kept stays.
    Refuse(Problem),
}

/// A session that a device has offered, and nobody has opened yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offer {
    /// Session and id of the hello.
    hello: (u32, u32),
    session: u32,
}

/// Sessions that are on offer at a time: so many hellos that the line repeats from earlier do no harm to a new one.
const OFFERS: usize = 4;

/// The session of a device, the request that it met last, and the sessions that it has offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Session {
    /// Session and last request.
    open: Option<(u32, u32)>,
    offers: [Option<Offer>; OFFERS],
    /// Place of the next offer.
    next: usize,
    /// The source of the next session's number.
    salt: u32,
    repeated: u32,
}

/// Every bit of the result depends on every bit of `x` (the finaliser of MurmurHash3), one to one.
fn mixed(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
    let x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

impl Session {
    /// Before the first hello.
    pub const NEW: Self = Self { open: None, offers: [None; OFFERS], next: 0, salt: 0, repeated: 0 };

    /// Number of requests that came again after they were met.
    pub fn repeated(&self) -> u32 {
        self.repeated
    }

    /// Stirs something into the numbers of the sessions to come that is different each time a device runs, such as how long
    /// it has waited for the host: so that what the line repeats from before a restart has no session afterwards.
    pub fn stir(&mut self, value: u32) {
        self.salt = mixed(self.salt ^ value).wrapping_add(1);
    }

    /// Decides what becomes of a request.
    pub fn admit(&mut self, request: &Request<'_>) -> Admission {
        let (session, id) = (request.session, request.id);
        if let Command::Hello { version } = request.command {
            return match version == VERSION {
                true => Admission::Hello { session: self.offer((session, id)) },
                false => Admission::Refuse(Problem::Version { device: VERSION }),
            };
        }
        if let Some((open, last)) = self.open.filter(|(open, _)| *open == session) {
            let ahead = id.wrapping_sub(last);
            if ahead == 0 {
                self.repeated = self.repeated.wrapping_add(1);
                return Admission::Repeat;
            }
            // Requests in between never arrived, and the host has given them up.
            if ahead <= u32::MAX / 2 {
                self.open = Some((open, id));
                return Admission::New;
            }
            self.repeated = self.repeated.wrapping_add(1);
            return Admission::Refuse(Problem::Stale { last });
        }
        let offered = self.offers.iter_mut().find(|offer| offer.is_some_and(|offer| offer.session == session));
        match offered.map(Option::take) {
            Some(_) => {
                self.open = Some((session, id));
                Admission::Open
            }
            None => Admission::Refuse(Problem::NoSession),
        }
    }

    /// The number of the session that is on offer for a hello: the same where the hello comes again.
    fn offer(&mut self, hello: (u32, u32)) -> u32 {
        if let Some(offer) = self.offers.iter().flatten().find(|offer| offer.hello == hello) {
            return offer.session;
        }
        let mut session = self.salt;
        // One in four thousand million is in use: what is mixed one to one does not come again so soon.
        for _ in 0..=OFFERS {
            self.stir(hello.0 ^ hello.1.rotate_left(16));
            session = mixed(self.salt);
            let taken = self.offers.iter().flatten().any(|offer| offer.session == session);
            if !taken && self.open.is_none_or(|(open, _)| open != session) {
                break;
            }
        }
        if let Some(place) = self.offers.get_mut(self.next) {
            *place = Some(Offer { hello, session });
        }
        self.next = (self.next + 1) % OFFERS;
        session
    }
}

/// The value of each pixel: `pixel * scale + offset`, rounded after the product and after the sum. Both sides use
/// this, so that they learn from the same numbers.
pub fn pixels_to_frame(pixels: &[u8], scale: f32, offset: f32, frame: &mut [f32]) {
    for (value, pixel) in frame.iter_mut().zip(pixels) {
        *value = f32::from(*pixel) * scale + offset;
    }
}
