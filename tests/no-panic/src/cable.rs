//! Packets of the link, both ways.

use crate::opaque::{Memory, unknown, use_up};
use clapp_core::collapse::{Limits, Watches};
use clapp_core::contrast::Phase;
use clapp_core::link::{
    Answer, Command, Direction, LayerNews, Receiver, Reply, Request, Session, encode, pixels_to_frame,
};
use clapp_core::network::Rule;
use clapp_core::observer::{Activity, LayerReport, Observer, Outcome};

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

    let mut watches = unknown(Watches::<4>::new(Rule::clapp_pp(), Limits::DEFAULT));
    watches.frame(frame.slice(), unknown(Phase::Saccade), unknown(1.0));
    watches.activity(&Activity { layer: unknown(1), rows: 1, output: frame.slice(), pooled: &[] });
    watches.activity(&Activity { layer: unknown(1), rows: 1, output: &[], pooled: frame.slice() });
    watches.report(&report);
    use_up((watches.verdict(), watches.signs(unknown(2))));
    watches.forget();

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
        use_up(receiver.header(len).map(|header| header.problem()));
    }
    session.stir(unknown(1));
    use_up((receiver.dropped(), session.repeated()));
}
