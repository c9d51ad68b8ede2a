//! A short stream of each kind on the emulated device, where QEMU and the firmware are there.

use super::{KINDS, Setting};
use crate::continual::stream::Size;
use crate::paper::{Claim, Verdict};
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use std::path::{Path, PathBuf};

/// The claim.
const STATEMENT: &str = "The same stream, sent through the cable to the emulated device, gives the same predictions, weights \
                         and read-out as on the host, to the last bit (this project)";

/// Short enough for an emulated processor; the labels lie as in the long ones.
const SIZE: Size = Size { images: 10, fixation: 2, labels: 2, stages: 5, more_labels: 1, test: 3 };

/// QEMU's name of the board.
const MACHINE: &str = "mps2-an386";

/// Path of the firmware that `cargo xtask firmware` builds.
pub(super) fn firmware() -> PathBuf {
    PathBuf::from(format!("target/firmware/qemu-{MACHINE}/clapp-firmware"))
}

/// The claim and its verdict. It is not decided if the emulator or the firmware is missing, or if the emulator stops
/// replying, as on a busy machine.
#[cfg(unix)]
pub(super) fn run(setting: &Setting, set: &Dataset, firmware: &Path) -> Result<Claim, Error> {
    match emulate(setting, set, firmware) {
        Err(error @ (Error::NoDevice { .. } | Error::Device { .. })) => {
            Ok(Claim::new(STATEMENT, Verdict::Open, format!("Not run to the end here: {error}.")))
        }
        other => other,
    }
}

#[cfg(unix)]
fn emulate(setting: &Setting, set: &Dataset, firmware: &Path) -> Result<Claim, Error> {
    use crate::continual::device::compare;
    use crate::continual::stream::Stream;
    use clapp_core::link::Command;
    use clapp_device::device::client::{Client, REPLY_LEN};
    use clapp_device::device::description::Description;
    use clapp_device::device::qemu::{Emulation, Qemu};
    use std::time::Duration;

    let emulation = Emulation { machine: MACHINE.into(), firmware: firmware.into(), flash: None, log: None };
    let mut parts = Vec::new();
    let mut differences = Vec::new();
    let mut board = String::new();
    for kind in KINDS {
        let line = Qemu::start(&emulation)?;
        let mut replies = vec![0; REPLY_LEN];
        let mut client = Client::new(Box::new(line), &mut replies, Duration::from_secs(60), setting.stop.clone());
        client.hello(|_| ())?;
        client.tell(Command::Reset { seed: setting.seed })?;
        let device = Description::ask(&mut client)?;
        let stream = Stream::new(kind, set, device.spec.input(), SIZE, setting.seed)?;
        let bar = setting.bar(&format!("{} on {}", kind.name(), device.board), 1);
        let compared = compare(&mut client, &device, &stream)?;
        bar.finish_and_clear();
        let average = |at: usize| compared.matrices[at].average().map_or(0.0, |average| 100.0 * average);
        parts.push(format!(
            "{}: {} frames, average accuracy {:.2} % there and {:.2} % here, {} parameters",
            kind.name(),
            compared.frames,
            average(0),
            average(1),
            compared.held.parameters.len()
        ));
        differences.extend(compared.differences);
        board = format!("{}, firmware {}", device.board, device.firmware);
    }
    let found = if differences.is_empty() { "no bit differs".into() } else { differences.join("; ") };
    let evidence = format!("{board}, {}. {}; {found}.", set.name, parts.join("; "));
    let number = format!("{} differences", differences.len());
    Ok(Claim::new(STATEMENT, Verdict::of(differences.is_empty()), evidence).number(number))
}

#[cfg(not(unix))]
pub(super) fn run(_: &Setting, _: &Dataset, _: &Path) -> Result<Claim, Error> {
    Ok(Claim::new(STATEMENT, Verdict::Open, "Not run here: the emulated line needs a Unix system."))
}
