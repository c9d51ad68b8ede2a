//! QEMU is killed while its firmware saves, again and again: it always starts with the old weights or the new ones.

use clapp_core::contrast::Phase;
use clapp_core::link::{Answer, Command, Origin};
use clapp_device::device::client::{Client, REPLY_LEN};
use clapp_device::device::description::Description;
use clapp_device::device::held;
use clapp_device::device::qemu::{Emulation, Qemu};
use clapp_device::device::transport::Transport;
use clapp_engine::checkpoint::device::DeviceState;
use clapp_tests::numbers;
use clapp_tests::qemu::Board;
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const KILLS: u32 = 60;

/// QEMU, killed a while after the next request if so wished.
#[derive(Debug)]
struct Mortal {
    qemu: Option<Qemu>,
    fuse: Rc<Cell<Option<Duration>>>,
}

impl Transport for Mortal {
    fn place(&self) -> String {
        "QEMU".into()
    }

    fn advice(&self) -> String {
        "it was killed".into()
    }

    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let Some(qemu) = &mut self.qemu else { return Err(std::io::Error::other("killed")) };
        qemu.send(bytes)?;
        if let Some(fuse) = self.fuse.take() {
            std::thread::sleep(fuse);
            // Dropping it is SIGKILL.
            self.qemu = None;
            return Err(std::io::Error::other("killed"));
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &mut [u8], wait: Duration) -> std::io::Result<usize> {
        self.qemu.as_mut().map_or_else(|| Err(std::io::Error::other("killed")), |qemu| qemu.receive(bytes, wait))
    }
}

fn start<'b>(flash: &Path, replies: &'b mut [u8]) -> (Client<'b>, Rc<Cell<Option<Duration>>>) {
    let emulation = Emulation {
        machine: Board::An386.machine().into(),
        firmware: Board::An386.program("clapp-firmware"),
        flash: Some(flash.into()),
        log: None,
    };
    let fuse = Rc::new(Cell::new(None));
    let mortal = Mortal { qemu: Some(Qemu::start(&emulation).expect("QEMU starts")), fuse: Rc::clone(&fuse) };
    let never = Arc::new(AtomicBool::new(false));
    (Client::new(Box::new(mortal), replies, Duration::from_secs(30), never), fuse)
}

/// Returns the description and the complete state of the device.
fn look(client: &mut Client<'_>) -> (Description, DeviceState) {
    let device = Description::ask(client).expect("a device");
    let state = held::read(client, &device).expect("its memory");
    (device, state)
}

#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-tests --features qemu")]
fn qemu_killed_while_it_saves_starts_with_old_or_new_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let flash = folder.path().join("flash.bin");
    let mut rng = numbers(11);
    // The last saved state, and the state of an interrupted save.
    let (mut old, mut new): (Option<DeviceState>, Option<DeviceState>) = (None, None);
    let mut long = Duration::from_millis(200);
    let [mut kept, mut replaced] = [0_u32; 2];
    for kill in 0..=KILLS {
        let mut replies = vec![0; REPLY_LEN];
        let (mut client, fuse) = start(&flash, &mut replies);
        let (device, found) = look(&mut client);
        match &old {
            None => assert_eq!(device.origin, Origin::Seed(1)),
            Some(old) => {
                assert!(found == *old || Some(&found) == new.as_ref(), "kill {kill}: neither old nor new weights");
                assert!(
                    matches!(device.origin, Origin::Saved { step, .. } if step == found.step),
                    "{:?}",
                    device.origin
                );
                if found == *old { kept += 1 } else { replaced += 1 }
            }
        }
        if old.is_some() {
            old = Some(found);
        }
        let pixels = |rng: &mut clapp_data::rng::Rng| -> Vec<u8> {
            (0..device.spec.view().input().len()).map(|_| rng.uniform(28.0, 228.0) as u8).collect()
        };
        for phase in [Phase::Saccade, Phase::Fixation, Phase::Saccade] {
            let label = Some(rng.uniform(0.0, 9.9) as u8);
            let command = Command::Frame { phase, label, pixels: &pixels(&mut rng) };
            client.ask(command, |answer| matches!(answer, Answer::Observed(_)).then_some(())).expect("an answer");
        }
        if old.is_none() {
            let begin = Instant::now();
            client.ask(Command::Save, |answer| matches!(answer, Answer::Saved { .. }).then_some(())).expect("a save");
            long = begin.elapsed();
            old = Some(look(&mut client).1);
            continue;
        }
        new = Some(look(&mut client).1);
        // From before the save begins to after it has ended.
        fuse.set(Some(long.mul_f64(2.0 * f64::from(kill) / f64::from(KILLS))));
        assert!(client.ask(Command::Save, |_| Some(())).is_err());
    }
    println!("{KILLS} kills: {kept} times the old weights, {replaced} times the new ones; a save takes {long:?}");
    assert!(kept > 0 && replaced > 0, "{kept} old, {replaced} new: the kills did not fall into the saves");
}
