//! The device's end of the link: finds requests, sends replies, and sends the last one again when asked again.

use clapp_core::link::{Admission, Answer, Direction, Problem, Receiver, Reply, Request, Session, encode};

/// Length of the notice that there is no such session, encoded.
pub const NOTICE_LEN: usize = 32;

/// Memory and state of the device's end of the line.
#[derive(Debug)]
pub struct Line<'a> {
    receiver: Receiver<'a>,
    session: Session,
    /// The last reply, encoded.
    reply: &'a mut [u8],
    reply_len: usize,
    /// Beside the last reply, which may still be asked for.
    notice: &'a mut [u8],
}

/// What is to be sent after a byte has come.
#[derive(Debug)]
pub struct Outcome<'l> {
    /// Bytes for the host.
    pub bytes: &'l [u8],
    /// Whether a request was met, rather than answered again or turned away.
    pub met: bool,
}

impl<'a> Line<'a> {
    /// A line that receives into `packet` ([`Receiver::new`]) and keeps its last reply in `reply`
    /// ([`clapp_core::link::encoded_len`] and [`NOTICE_LEN`]).
    pub fn new(packet: &'a mut [u8], reply: &'a mut [u8]) -> Self {
        let receiver = Receiver::new(packet, Direction::ToDevice);
        let (notice, reply) = reply.split_at_mut_checked(NOTICE_LEN).unwrap_or_default();
        Self { receiver, session: Session::NEW, reply, reply_len: 0, notice }
    }

    /// Packets that could not be read.
    pub fn dropped(&self) -> u32 {
        self.receiver.dropped()
    }

    /// Requests that came again.
    pub fn repeated(&self) -> u32 {
        self.session.repeated()
    }

    /// Takes a byte; where it ends a request, `meet` is asked for the answer, unless it has been met before.
    /// Returns what is to be sent. `meet` also learns the counts of dropped and repeated packets.
    pub fn push<'w>(
        &mut self,
        byte: u8,
        meet: impl FnOnce(&Request<'_>, [u32; 2]) -> Answer<'w>,
    ) -> Option<Outcome<'_>> {
        let len = self.receiver.push(byte)?;
        let counts = [self.receiver.dropped(), self.session.repeated()];
        let request = self.receiver.packet::<Request<'_>>(len)?;
        let (session, id) = (request.session, request.id);
        let answer = match self.session.admit(&request) {
            Admission::New => meet(&request, counts),
            Admission::NoSession => {
                let reply = Reply { session, id, answer: Answer::Problem(Problem::NoSession) };
                let len = encode(&reply, Direction::ToHost, self.notice).ok()?;
                return Some(Outcome { bytes: self.notice.get(..len).unwrap_or_default(), met: false });
            }
            Admission::Repeat => {
                return Some(Outcome { bytes: self.reply.get(..self.reply_len).unwrap_or_default(), met: false });
            }
            Admission::Late => return None,
        };
        let reply = Reply { session, id, answer };
        self.reply_len = match encode(&reply, Direction::ToHost, self.reply) {
            Ok(len) => len,
            Err(_) => {
                let reply = Reply { session, id, answer: Answer::Problem(Problem::Range) };
                encode(&reply, Direction::ToHost, self.reply).unwrap_or(0)
            }
        };
        Some(Outcome { bytes: self.reply.get(..self.reply_len).unwrap_or_default(), met: true })
    }
}
