//! Checks that a data set can be used for evaluation, before training and again before the evaluation.

use super::check_channels;
use clapp_data::augment::TestTransform;
use clapp_data::data::{Dataset, Split};
use clapp_data::error::Error;
use clapp_engine::config::Config;

/// Number of encoded images whose size is checked.
const LOOKED_AT: usize = 16;

/// The work that the set is checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Training needs no labels, but the later evaluation does.
    Training,
    /// The linear probe.
    Evaluation,
}

/// Refuses a set on which an encoder by `config` could not be evaluated. Returns notes for the user on the evaluation,
/// one sentence each. `train`: the labelled images used. `origin`: name of the configuration.
///
/// # Errors
/// [`Error::Config`] where channels, test images or labels are missing.
pub(crate) fn check(
    work: Work,
    data: &Dataset,
    train: &Split,
    config: &Config,
    test: TestTransform,
    origin: &str,
) -> Result<Vec<String>, Error> {
    let input = config.input_shape();
    check_channels(data, input, origin)?;
    let refuse = |message: String| Err(Error::Config { origin: data.source.clone(), message });
    if data.test.is_empty() {
        return refuse("no test images; the evaluation needs some".into());
    }
    if train.is_empty() || !train.is_labelled() || !data.test.is_labelled() {
        return refuse("no labelled training and test images; the evaluation needs both".into());
    }
    let mut notes = Vec::new();
    if let [class] = data.classes.as_slice() {
        let message = format!("only one class ({class}), expected at least two");
        match work {
            Work::Evaluation => return refuse(message),
            Work::Training => notes.push(format!("{message}; clapp eval will refuse the set")),
        }
    }
    // Check only a few encoded images, because there can be very many.
    if test == TestTransform::AsIs
        && let found = data.test.take(LOOKED_AT).measured().shape()
        && found.is_none_or(|found| (found.height, found.width) != (input.height, input.width))
    {
        let found = found.map_or("of several sizes".into(), |found| format!("{} x {}", found.height, found.width));
        let size = input.height;
        notes.push(format!(
            "test images are {found}, the network reads {size} x {size}: the probe resizes their shorter side to {size} and \
             cuts out the middle (probe.test = {{ resize = PIXELS, crop = {size} }}, or clapp eval --resize PIXELS, changes \
             that)"
        ));
    }
    Ok(notes)
}
