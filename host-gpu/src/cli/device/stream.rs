//! `clapp device --stream`: a stream of continual learning on a device and on the host.

use super::DeviceArguments;
use crate::cli::output::say;
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_device::device::client::Client;
use clapp_device::device::description::Description;
use clapp_lab::continual::device::{Compared, compare};
use clapp_lab::continual::stream::{Kind, Size, Stream};

/// Stages of a drift, and labels of each class in each of them but the first.
const STAGES: usize = 5;
const MORE_LABELS: usize = 2;

/// Returns the size of a stream for `--frames` and `--test`.
fn size(arguments: &DeviceArguments, kind: Kind, classes: usize) -> Result<Size, Error> {
    let wrong = |origin: &str, message: String| Err(Error::Config { origin: origin.into(), message });
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let fixation = whole(arguments.fixation);
    let images = whole(arguments.frames / arguments.fixation) / classes.max(1);
    let test = arguments.test / classes.max(1);
    let parts = if kind == Kind::Drift { STAGES } else { 1 };
    let needed = arguments.labels.max(1);
    if images / parts < needed {
        let frames = (needed * parts * classes) as u64 * arguments.fixation;
        return wrong(
            "--frames",
            format!("is {}, expected {frames} at least for a stream with {needed} labels a class", arguments.frames),
        );
    }
    if arguments.labels == 0 || test == 0 {
        let message = format!("a stream needs labels, and a test image of each of {classes} classes");
        return wrong("--labels, --test", message);
    }
    let more_labels = MORE_LABELS.min(arguments.labels);
    Ok(Size { images, fixation, labels: arguments.labels, stages: STAGES, more_labels, test })
}

/// Shows the stream and says what came of it after each stage.
pub(super) fn run(
    arguments: &DeviceArguments,
    kind: Kind,
    client: &mut Client<'_>,
    device: &Description,
    data: &Dataset,
) -> Result<Compared, Error> {
    let size = size(arguments, kind, data.classes.len())?;
    let stream = Stream::new(kind, data, device.spec.input(), size, arguments.seed)?;
    say(format!(
        "{} stream: {} stages, {} frames, {} labels of each class, {} test images of each class",
        kind.name(),
        stream.stages.len(),
        stream.frames(),
        size.labels,
        size.test
    ))?;
    let compared = compare(client, device, &stream)?;
    let [there, here] = &compared.matrices;
    let share = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.2} %", 100.0 * share));
    for (after, stage) in stream.stages.iter().enumerate() {
        let (there, here) = (share(there.seen(after)), share(here.seen(after)));
        say(format!("after {}: {there} of what was seen is right on the device, {here} on the host", stage.name))?;
    }
    say(format!("forgetting: {} on the device, {} on the host", share(there.forgetting()), share(here.forgetting())))?;
    match compared.differences.is_empty() {
        true => say(format!(
            "the same stream on the host: the same to the last bit ({} frames, {} parameters, read-out)",
            compared.frames,
            compared.held.parameters.len()
        ))?,
        false => say(format!("the same stream on the host: NOT the same: {}", compared.differences.join("; ")))?,
    }
    Ok(compared)
}
