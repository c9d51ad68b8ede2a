//! The table.

use super::course::Storage;
use super::point::{Point, Size};
use super::summary::{Estimate, Reading, Summary};
use crate::paper::table::{Cell, Column, Table};
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_device::device_plan::{Firmware, batch_bytes};

/// Name of the table, and of its file.
pub const TABLE: &str = "micro";
/// Its columns, and the digits that the page shows.
pub const COLUMNS: [(&str, usize); 22] = [
    ("images", 0),
    ("channels", 0),
    ("depth", 0),
    ("input", 0),
    ("batch", 0),
    ("projections", 0),
    ("learnt from, images", 0),
    ("epochs", 0),
    ("rate", 0),
    ("seeds", 0),
    ("test images", 0),
    ("untrained, %", 1),
    ("trained, %", 1),
    ("gain, points", 1),
    ("top layer, %", 1),
    ("gain of the top layer, points", 1),
    ("nearest mean, %", 1),
    ("gain of the nearest mean, points", 1),
    ("RAM learning, KiB", 1),
    ("RAM inference, KiB", 1),
    ("flash, KiB", 0),
    ("instructions a frame, million", 2),
];
const KIB: f64 = 1024.0;

/// Memory and work of a point.
pub struct Cost {
    /// KiB of RAM of the firmware that learns as the point does.
    pub learning: f64,
    /// KiB of RAM where it only infers.
    inference: f64,
    /// KiB of flash.
    flash: f64,
    /// Instructions of one frame of a stream.
    instructions: f64,
}

/// Computes memory and work of a point.
///
/// # Errors
/// If its network does not fit together.
pub fn cost(firmware: &Firmware, point: &Point, data: &Dataset) -> Result<Cost, Error> {
    let size = Size { images: 2, labelled: 2, test: 2, epochs: 1 };
    let config = point.config(0, data, &size)?;
    let spec = config.network()?;
    let plan = firmware.plan(&spec, data.classes.len());
    let mut ram = plan.ram;
    if point.batch > 1 {
        // The frames of the batch come in place of the one.
        ram = ram - plan.learner - 4 * spec.input().len() + batch_bytes(&config)?;
        // Both moments of AdamW.
        ram += 8 * spec.view().parameter_len();
    }
    let mut flash = plan.flash;
    if point.storage == Storage::Bf16 {
        let halved = 2 * (spec.view().parameter_len() - spec.view().encoder_len());
        (ram, flash) = (ram - halved, flash - 2 * halved);
    }
    Ok(Cost {
        learning: ram as f64 / KIB,
        inference: plan.inference_ram as f64 / KIB,
        flash: flash as f64 / KIB,
        instructions: plan.instructions as f64 / 1e6,
    })
}

/// All points.
///
/// # Errors
/// If a network's cost cannot be worked out.
pub fn table(summaries: &[Summary], data: &Dataset, size: &Size) -> Result<Table, Error> {
    let firmware = Firmware::measured()?;
    let mut table = Table::new(
        TABLE,
        "Read-outs after learning (ridge regression on all layers, on the top layer alone, the nearest class mean), what \
         learning adds to each, and what each network takes. Spreads are standard errors over seeds and test images. \
         RAM learning is that of learning as measured: for batches of 4 and 32 the frames and maps of the whole batch and \
         AdamW's moments; rows of batch 1 are what a device takes that learns from its stream. RAM inference is that of a \
         program that only infers, with its weights in flash. Storage in bf16 is emulated: clapp-core has none.",
        COLUMNS.iter().map(|(name, digits)| Column::new(name, *digits)).collect(),
    );
    for summary in summaries {
        let Point { channels, depth, input, batch, storage, .. } = summary.point;
        let Cost { learning, inference, flash, instructions } = cost(&firmware, &summary.point, data)?;
        let config = summary.point.config(0, data, size)?;
        let whole = |count: usize| Cell::number(count as f64);
        let percent = |share: Option<f64>| share.map_or(Cell::none(), |share| Cell::number(100.0 * share));
        let sure = |estimate: Option<Estimate>| {
            estimate.map_or(Cell::none(), |one| Cell::spread(100.0 * one.value, 100.0 * one.error))
        };
        table.rows.push(vec![
            Cell::text(data.name.clone()),
            whole(channels),
            whole(depth),
            whole(input),
            whole(batch),
            Cell::text(storage.name()),
            whole(size.images.min(data.pretrain.len())),
            Cell::number(size.epochs as f64),
            Cell::text(config.optimizer.learning_rate().to_string()),
            whole(summary.seeds()),
            whole(data.test.len()),
            percent(Some(summary.untrained(Reading::All))),
            sure(summary.accuracy()),
            sure(summary.gain(Reading::All)),
            percent(summary.trained(Reading::Top)),
            sure(summary.gain(Reading::Top)),
            percent(summary.trained(Reading::Nearest)),
            sure(summary.gain(Reading::Nearest)),
            Cell::number(learning),
            Cell::number(inference),
            Cell::number(flash),
            Cell::number(instructions),
        ]);
    }
    Ok(table)
}
