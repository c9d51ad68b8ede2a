//! The device's end of the link: finds requests, sends replies, and sends the last one again when asked again.

use clapp_core::link::{ASIDE_LEN, Admission, Answer, Direction, Problem, Receiver, Reply, Request, Session, encode};

/// Memory and state of the device's end of the line.
#[derive(Debug)]
pub struct Line<'a> {
    receiver: Receiver<'a>,
    session: Session,
    /// The last reply to a request that was met, encoded.
    reply: &'a mut [u8],
    reply_len: usize,
    /// Buffer for other replies. The last reply is kept separately, because the host may ask for it again.
    aside: &'a mut [u8],
}

/// Bytes to send after a received byte.
#[derive(Debug)]
pub struct Outcome<'l> {
    /// Bytes for the host.
    pub bytes: &'l [u8],
    /// `true` if a request was met, rather than answered again or turned away.
    pub met: bool,
}

/// State of the line when a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Packets that could not be read.
    pub dropped: u32,
    /// Requests that came again.
    pub repeated: u32,
    /// `true` if the request opens a session.
    pub opens: bool,
    /// The session for the host to use. After a hello, it differs from the request's session.
    pub session: u32,
}

/// Encodes an answer, or that it is too long.
fn answered<'b>(session: u32, id: u32, answer: Answer<'_>, buffer: &'b mut [u8]) -> &'b [u8] {
    let reply = Reply { session, id, answer };
    let len = match encode(&reply, Direction::ToHost, buffer) {
        Ok(len) => len,
        Err(_) => {
            let reply = Reply { session, id, answer: Answer::Problem(Problem::Range) };
            encode(&reply, Direction::ToHost, buffer).unwrap_or(0)
        }
    };
    buffer.get(..len).unwrap_or_default()
}

impl<'a> Line<'a> {
    /// A line that receives into `packet` ([`Receiver::new`]) and keeps its last reply in `reply`
    /// ([`clapp_core::link::encoded_len`] and [`ASIDE_LEN`]).
    pub fn new(packet: &'a mut [u8], reply: &'a mut [u8]) -> Self {
        let receiver = Receiver::new(packet, Direction::ToDevice);
        let (aside, reply) = reply.split_at_mut_checked(ASIDE_LEN).unwrap_or_default();
        Self { receiver, session: Session::NEW, reply, reply_len: 0, aside }
    }

    /// Packets that could not be read.
    pub fn dropped(&self) -> u32 {
        self.receiver.dropped()
    }

    /// Requests that came again.
    pub fn repeated(&self) -> u32 {
        self.session.repeated()
    }

    /// Tells the line that time passes without a byte ([`Session::stir`]).
    pub fn wait(&mut self) {
        self.session.stir(1);
    }

    /// Takes a byte. If it ends a request, calls `meet` for the reply, unless the request was answered before or is
    /// refused. Returns the bytes to send: a reply to every request with a readable first part.
    pub fn push<'w>(
        &mut self,
        byte: u8,
        meet: impl FnOnce(&Request<'_>, Standing) -> Answer<'w>,
    ) -> Option<Outcome<'_>> {
        let len = self.receiver.push(byte)?;
        let [dropped, repeated] = [self.receiver.dropped(), self.session.repeated()];
        let Some(request) = self.receiver.packet::<Request<'_>>(len) else {
            // The checksum is right, so the request belongs to another version of this protocol.
            let header = self.receiver.header(len)?;
            let bytes = answered(header.session, header.id, Answer::Problem(header.problem()), self.aside);
            return Some(Outcome { bytes, met: false });
        };
        let (session, id) = (request.session, request.id);
        let mut standing = Standing { dropped, repeated, opens: false, session };
        match self.session.admit(&request) {
            Admission::Hello { session: offered } => {
                standing.session = offered;
                let bytes = answered(session, id, meet(&request, standing), self.aside);
                Some(Outcome { bytes, met: false })
            }
            Admission::Refuse(problem) => {
                Some(Outcome { bytes: answered(session, id, Answer::Problem(problem), self.aside), met: false })
            }
            Admission::Repeat => {
                Some(Outcome { bytes: self.reply.get(..self.reply_len).unwrap_or_default(), met: false })
            }
            admission @ (Admission::Open | Admission::New) => {
                standing.opens = admission == Admission::Open;
                let bytes = answered(session, id, meet(&request, standing), self.reply);
                self.reply_len = bytes.len();
                Some(Outcome { bytes, met: true })
            }
        }
    }
}
