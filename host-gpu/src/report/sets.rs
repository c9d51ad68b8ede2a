//! What runs learn from, in words.

use super::run::Run;

/// The data set of a run.
pub fn images(run: &Run) -> String {
    let data = &run.info.data;
    format!("{}: {} training, {} test images", data.name, data.train_images, data.test_images)
}
