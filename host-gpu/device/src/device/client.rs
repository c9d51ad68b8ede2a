//! The host's side of the link: sends a request, and repeats it until there is a reply.

use super::transport::Transport;
use clapp_core::link::{
    Answer, Command, Direction, Identity, Problem, Receiver, Reply, Request, Status, VERSION, Verdict, encode,
    encoded_len,
};
use clapp_data::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Length of the buffer for replies, before byte stuffing.
pub const REPLY_LEN: usize = 8192;

/// Bytes read at a time.
const CHUNK: usize = 4096;
/// Longest time in which a request to stop is not noticed.
const SLICE: Duration = Duration::from_millis(50);
/// Time before a request is sent again: initial, smallest and largest value.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LEAST_RETRY: Duration = Duration::from_millis(100);
const MOST_RETRY: Duration = Duration::from_secs(5);
/// A request is sent again after this multiple of the usual reply time.
const PATIENCE: u32 = 4;
/// Number of consecutive requests for a session if each offered session is gone before it is opened.
const HELLOS: u32 = 5;

/// Statistics of the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were sent again.
    pub resent: u64,
    /// Answers to requests that had been answered before.
    pub stray: u64,
}

/// The host's end of a line to a device.
#[derive(Debug)]
pub struct Client<'b> {
    transport: Box<dyn Transport>,
    receiver: Receiver<'b>,
    request: Vec<u8>,
    chunk: Vec<u8>,
    /// Bytes of `chunk` that have not been looked at.
    unseen: std::ops::Range<usize>,
    session: u32,
    id: u32,
    /// Longest byte string that the device takes in a packet, once it has said so.
    most_bytes: Option<usize>,
    timeout: Duration,
    /// The time that answers take, rather too long than too short.
    usual: Option<Duration>,
    stop: Option<Arc<AtomicBool>>,
    counts: Counts,
}

/// A number by which an answer to a hello is known; nothing else depends on it.
fn drawn() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}

/// Result of waiting for a reply.
enum Heard<T> {
    Answer(Result<T, Error>),
    Nothing,
}

impl<'b> Client<'b> {
    /// A client that gives up on a request after `timeout`, and at the next chance once `stop` is set. `replies` is
    /// memory of [`REPLY_LEN`].
    pub fn new(transport: Box<dyn Transport>, replies: &'b mut [u8], timeout: Duration, stop: Arc<AtomicBool>) -> Self {
        Self {
            transport,
            receiver: Receiver::new(replies, Direction::ToHost),
            request: Vec::new(),
            chunk: vec![0; CHUNK],
            unseen: 0..0,
            session: drawn(),
            id: 0,
            most_bytes: None,
            timeout,
            usual: None,
            stop: Some(stop),
            counts: Counts::default(),
        }
    }

    /// Returns the statistics of the line.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Packets that were cut or torn on their way from the device.
    pub fn dropped(&self) -> u32 {
        self.receiver.dropped()
    }

    /// Name of the line.
    pub fn place(&self) -> String {
        self.transport.place()
    }

    /// Returns `true` if the user wants the work to end.
    pub fn stopping(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Ignores the stop signal from now on, because the last requests follow.
    pub fn keep_on(&mut self) {
        self.stop = None;
    }

    /// Opens a new session: asks for one, and opens it with a request whose only effect is that the device forgets the
    /// previous frame. If other hellos have displaced the offer, it asks again, a few times.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where nobody answers, or somebody of another version.
    pub fn hello<T>(&mut self, mut see: impl FnMut(&Identity<'_>) -> T) -> Result<T, Error> {
        let mut left = HELLOS;
        loop {
            left -= 1;
            self.session = drawn();
            let (seen, session, most) = self.ask(Command::Hello { version: VERSION }, |answer| match answer {
                Answer::Hello(identity) => {
                    let most = identity.input.len().max(4 * usize::from(identity.most_words));
                    Some((see(identity), identity.session, most))
                }
                _ => None,
            })?;
            (self.session, self.most_bytes) = (session, Some(most));
            let done = |answer: &Answer<'_>| matches!(answer, Answer::Done).then_some(());
            match self.exchange(Command::ClearContext, done)? {
                Ok(()) => return Ok(seen),
                Err(Problem::NoSession) if left > 0 => {}
                Err(problem) => return Err(self.refused(problem)),
            }
        }
    }

    /// Sends a command whose reply carries no data.
    ///
    /// # Errors
    /// Same as [`Client::ask`].
    pub fn tell(&mut self, command: Command<'_>) -> Result<(), Error> {
        self.ask(command, |answer| matches!(answer, Answer::Done).then_some(()))
    }

    /// Returns the status of the device.
    ///
    /// # Errors
    /// Same as [`Client::ask`].
    pub fn status(&mut self) -> Result<Status, Error> {
        self.ask(Command::Status, |answer| match answer {
            Answer::Status(status) => Some(*status),
            _ => None,
        })
    }

    /// Sends a request until it is answered, and shows the answer to `see`, which gives `None` if it is none that
    /// belongs to the request. However often it is sent, the device meets it once. After an error the next request is
    /// heard all the same: nobody knows then whether this one was met.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if no request has ever been answered; [`Error::Device`] if the device has stopped
    /// answering, has been restarted, or refuses; [`Error::Stopped`].
    pub fn ask<T>(&mut self, command: Command<'_>, see: impl FnOnce(&Answer<'_>) -> Option<T>) -> Result<T, Error> {
        self.exchange(command, see)?.map_err(|problem| self.refused(problem))
    }

    /// Returns the error for a device's refusal. If another program continues the session, this client continues after
    /// it.
    fn refused(&mut self, problem: Problem) -> Error {
        if let Problem::Stale { last } = problem {
            self.id = last;
        }
        refusal(problem, self.transport.place(), self.counts.answered > 1)
    }

    /// Same as [`Client::ask`], with the device's refusal apart.
    fn exchange<T>(
        &mut self,
        command: Command<'_>,
        see: impl FnOnce(&Answer<'_>) -> Option<T>,
    ) -> Result<Result<T, Problem>, Error> {
        let payload = match command {
            Command::Frame { pixels, .. } => pixels.len(),
            Command::Write { words, .. } => words.len(),
            _ => 0,
        };
        // The device would have no room to receive it, and could not say so.
        if let Some(most) = self.most_bytes.filter(|most| payload > *most) {
            return Err(self.failed(&format!("the device accepts packets of at most {most} bytes, not {payload}")));
        }
        self.id = self.id.wrapping_add(1);
        self.request.resize(encoded_len(payload), 0);
        let request = Request { session: self.session, id: self.id, command };
        let length = encode(&request, Direction::ToDevice, &mut self.request);
        let length = length.map_err(|error| self.failed(&error.to_string()))?;
        self.request.truncate(length);
        let (begin, mut waited, mut see, before) = (Instant::now(), Duration::ZERO, Some(see), self.counts.resent);
        let usual = self.usual.map_or(FIRST_RETRY, |usual| PATIENCE * usual);
        let mut retry = usual.clamp(LEAST_RETRY, MOST_RETRY);
        loop {
            self.transport.send(&self.request).map_err(|error| self.cut(&error))?;
            match self.listen(&mut see, retry, &mut waited, begin)? {
                Heard::Answer(answer) => {
                    self.counts.answered += 1;
                    // A repeated request does not measure the reply time (Karn and Partridge 1987).
                    if self.counts.resent == before {
                        let took = begin.elapsed();
                        self.usual = Some(self.usual.map_or(took, |usual| (usual / 8 * 7).max(took)));
                    }
                    return answer;
                }
                Heard::Nothing if begin.elapsed().max(waited) >= self.timeout => return Err(self.silent()),
                Heard::Nothing => {
                    self.counts.resent += 1;
                    retry = (2 * retry).min(MOST_RETRY);
                }
            }
        }
    }

    /// Waits for the answer to the last request for up to `wait`.
    fn listen<T>(
        &mut self,
        see: &mut Option<impl FnOnce(&Answer<'_>) -> Option<T>>,
        wait: Duration,
        waited: &mut Duration,
        begin: Instant,
    ) -> Result<Heard<Result<T, Problem>>, Error> {
        let until = *waited + wait;
        loop {
            for byte in self.unseen.by_ref().filter_map(|at| self.chunk.get(at).copied()) {
                let Some(length) = self.receiver.push(byte) else { continue };
                let Some(reply) = self.receiver.packet::<Reply<'_>>(length) else {
                    let header = self.receiver.header(length);
                    if header.is_some_and(|header| (header.session, header.id) == (self.session, self.id)) {
                        let message = "the device sent a reply that this program does not know";
                        return Ok(Heard::Answer(Err(self.failed(message))));
                    }
                    continue;
                };
                if (reply.session, reply.id) != (self.session, self.id) {
                    self.counts.stray += 1;
                    continue;
                }
                let Some(see) = see.take() else { continue };
                let answer = match reply.answer {
                    Answer::Problem(problem) => Ok(Err(problem)),
                    answer => see(&answer).map(Ok).ok_or_else(|| Error::Device {
                        place: self.transport.place(),
                        message: "the device sent the reply of another request".into(),
                    }),
                };
                return Ok(Heard::Answer(answer));
            }
            if *waited >= until || begin.elapsed() >= self.timeout {
                return Ok(Heard::Nothing);
            }
            if self.stopping() {
                return Err(Error::Stopped);
            }
            let slice = SLICE.min(until - *waited);
            let count = self.transport.receive(&mut self.chunk, slice).map_err(|error| self.cut(&error))?;
            self.unseen = 0..count;
            if count == 0 {
                *waited += slice;
            }
        }
    }

    /// An error of this line: one that the user can do something about as long as the device has never answered.
    fn failed(&self, message: &str) -> Error {
        let (place, message) = (self.transport.place(), message.to_string());
        if self.counts.answered == 0 { Error::NoDevice { place, message } } else { Error::Device { place, message } }
    }

    fn silent(&self) -> Error {
        let (seconds, advice) = (self.timeout.as_secs_f32(), self.transport.advice());
        let noise = match self.receiver.dropped() {
            0 => String::new(),
            dropped => format!(" ({dropped} damaged packets arrived)"),
        };
        match self.counts.answered {
            0 => self.failed(&format!("no reply within {seconds} s{noise}; {advice}")),
            answered => self.failed(&format!(
                "the device stopped replying: no reply within {seconds} s, after {answered} replies{noise}; {advice}"
            )),
        }
    }

    fn cut(&self, error: &std::io::Error) -> Error {
        self.failed(&format!("the connection is lost: {error}; {}", self.transport.advice()))
    }
}

/// The error that a device's refusal is.
fn refusal(problem: Problem, place: String, met: bool) -> Error {
    let message = match problem {
        Problem::Version { device } => {
            let message = format!(
                "the device uses version {device} of the link protocol, this program version {VERSION}; flash the firmware of \
                 this version"
            );
            return Error::NoDevice { place, message };
        }
        Problem::NoSession => {
            "the device was restarted, or another host is connected to it: everything learnt since its last save may be lost"
                .into()
        }
        Problem::Layer => "the device has no such layer".into(),
        Problem::Pixels { needed } => format!("the device takes frames of {needed} pixels"),
        Problem::Label => "the device's read-out has no such class".into(),
        Problem::NotFinite => {
            "a number on the device is not finite: its learning has diverged; start again with --reset SEED".into()
        }
        Problem::Optimizer => "the device has no memory for the state of that optimiser".into(),
        Problem::Range => "the address is outside the device's memory".into(),
        Problem::Value => "the device refuses a value: it is out of range".into(),
        Problem::Empty => "the device has no saved state".into(),
        Problem::Corrupt => "the device's saved state is damaged".into(),
        Problem::Other => "the device's saved state belongs to another format or network".into(),
        Problem::Flash => "the device's flash reports an error".into(),
        Problem::Stale { .. } => {
            "another program uses this session of the device: the device has already answered a later request".into()
        }
        Problem::Unknown { command } => {
            format!("the device does not know command {command} of the link protocol; flash the firmware of this version")
        }
        Problem::Malformed => "the device cannot read a command of that form; flash the firmware of this version".into(),
        Problem::Unproven => "the device's flash holds complete contents, but after power cuts nothing proves that the save was complete".into(),
        Problem::Small { needed } => {
            format!("the device's flash is too small for two checkpoints of {needed} bytes: fewer classes, or more flash")
        }
        Problem::Missing => "the device has no flash for its weights (QEMU: name a file with --flash), or no sensor".into(),
    };
    if met { Error::Device { place, message } } else { Error::NoDevice { place, message } }
}

/// Returns the message about an unhealthy layer, with advice.
pub fn wrong_with(verdict: Verdict) -> String {
    use clapp_core::collapse::Condition;
    let Verdict { layer, condition } = verdict;
    let what = match condition {
        Condition::Sound => return format!("layer {layer} is healthy"),
        Condition::Dead => "has collapsed: most of its channels no longer respond to any frame",
        Condition::Constant => "has collapsed: it gives the same response to every frame",
        Condition::Diverging => "has collapsed: its loss is far above its earlier loss",
        Condition::Faded => "has collapsed: it no longer separates fixations from saccades, as it did before",
        Condition::Refused => {
            return format!(
                "layer {layer}: the guard refuses many of its updates: the learning rate or the values of the frames are too \
                 large"
            );
        }
        Condition::Still => return "the frames hardly change: does the sensor work?".into(),
    };
    format!(
        "layer {layer} {what}; lower the learning rate, or return to the saved state. The device makes no automatic save until \
         this ends"
    )
}
