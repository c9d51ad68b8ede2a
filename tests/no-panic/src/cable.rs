//! Packets of the link, both ways.

use crate::opaque::{Memory, unknown, use_up};
use clapp_core::contrast::Phase;
use clapp_core::link::{
    Answer, Command, Direction, LayerNews, Receiver, Reply, Request, Session, encode, pixels_to_frame,
};
use clapp_core::observer::{LayerReport, Outcome};

pub fn all() {
    let report = unknown(LayerReport {
        layer: 0,
        outcome: Outcome::Applied,
        loss: 0.5,
        mean_positive: Some(0.5),
        mean_negative: None,
        update_norm: 0.1,
        dead: 0.0,
        satisfied: 0.0,
    });
    let (mut bytes, mut frame) = (Memory::new(0_u8), Memory::new(0.0));
    let bytes = bytes.slice();
    use_up(LayerNews::from(&report));
    pixels_to_frame(bytes, unknown(0.5), unknown(-1.0), frame.slice());

    let command = Command::Frame { phase: Phase::Fixation, label: unknown(Some(1)), pixels: bytes };
    let request = unknown(Request { session: 1, id: 2, command });
    let mut packet = Memory::new(0_u8);
    use_up(encode(&request, Direction::ToDevice, packet.slice()));
    let reply = unknown(Reply { session: 1, id: 2, answer: Answer::Done });
    use_up(encode(&reply, Direction::ToHost, packet.slice()));

    let mut session = Session::NEW;
    let mut room = Memory::new(0_u8);
    let mut receiver = Receiver::new(room.slice(), unknown(Direction::ToDevice));
    if let Some(len) = receiver.push(unknown(1)) {
        if let Some(request) = receiver.packet::<Request<'_>>(len) {
            use_up(session.admit(&request));
        }
        use_up(receiver.packet::<Reply<'_>>(len).is_some());
    }
    use_up((receiver.dropped(), session.repeated()));
}
