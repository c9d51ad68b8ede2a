//! Data of the runs, in words.

use super::run::Run;
use clapp_data::words::counted;

/// The data set of a run.
pub fn images(run: &Run) -> String {
    let data = &run.info.data;
    format!("{}: {} training, {}", data.name, data.train_images, counted(data.test_images, "test image"))
}
