//! The course of a run as TensorBoard reads it: event files, which are protocol buffers in frames with checksums.
//!
//! Each session of a run has its own file, as TensorBoard expects of a restarted program. Its first event names the
//! step after which older files no longer count.

use crate::metrics::Row;
use clapp_data::error::Error;
use crc::{CRC_32_ISCSI, Crc};
use prost::Message;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// First part of the names of event files.
pub const EVENTS: &str = "events.out.tfevents.";

/// The format's name, in the first event of each file.
const VERSION: &str = "brain.Event:2";

/// `SessionLog.SessionStatus.START`.
const START: i32 = 1;

/// CRC-32C (Castagnoli).
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The part of TensorFlow's `event.proto` that is used here.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Steps done, over all epochs.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// In the first event only.
    #[prost(string, optional, tag = "3")]
    pub file_version: Option<String>,
    /// Values of this step.
    #[prost(message, optional, tag = "5")]
    pub summary: Option<Summary>,
    /// Start of a session at this step.
    #[prost(message, optional, tag = "7")]
    pub session_log: Option<SessionLog>,
}

/// The part of `summary.proto` that is used here.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// One entry a curve.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Scalar>,
}

/// `Summary.Value` with a scalar.
#[derive(Clone, PartialEq, Message)]
pub struct Scalar {
    /// Name of the curve.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// The value.
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
}

/// `SessionLog`.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// `SessionLog.SessionStatus`.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// CRC-32C of some bytes, rotated and shifted as the frames have it, so that a checksum of bytes that hold a checksum
/// is not degenerate.
pub fn masked_crc(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// An open event file.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Creates a file in `folder` for a session that continues after `step`.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written.
    pub fn create(folder: &Path, step: u64) -> Result<Self, Error> {
        let now = now();
        // Readers take the files of a folder in the order of their names.
        let path = folder.join(format!("{EVENTS}{:010}.{:09}.clapp", now.as_secs(), now.subsec_nanos()));
        let file = File::options().append(true).create_new(true).open(&path).map_err(Error::file("write", &path))?;
        let mut events = Self { path, file };
        events.write(Event { file_version: Some(VERSION.into()), ..Event::default() })?;
        let step = step.saturating_add(1) as i64;
        events.write(Event { step, session_log: Some(SessionLog { status: START }), ..Event::default() })?;
        Ok(events)
    }

    /// Appends a row of the metrics: `loss/layer{l}`, `u_pos/layer{l}`, `u_neg/layer{l}`, `mismatch/layer{l}`,
    /// `learning_rate` and `images_per_second`.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn row(&mut self, row: &Row) -> Result<(), Error> {
        let scalar = |tag: String, value: f64| Scalar { tag, simple_value: Some(value as f32) };
        let mut value = vec![
            scalar("images_per_second".into(), row.images_per_second),
            scalar("learning_rate".into(), row.learning_rate.into()),
        ];
        let all = [("loss", &row.losses), ("u_pos", &row.u_pos), ("u_neg", &row.u_neg), ("mismatch", &row.mismatch)];
        for (name, series) in all {
            let layers = series.iter().enumerate();
            value.extend(layers.filter_map(|(layer, value)| Some(scalar(format!("{name}/layer{layer}"), (*value)?))));
        }
        self.write(Event { step: row.step as i64, summary: Some(Summary { value }), ..Event::default() })
    }

    /// Appends an event in its frame: length, checksum of the length, event, checksum of the event.
    fn write(&mut self, event: Event) -> Result<(), Error> {
        let event = Event { wall_time: now().as_secs_f64(), ..event }.encode_to_vec();
        let length = (event.len() as u64).to_le_bytes();
        let frame =
            [&length[..], &masked_crc(&length).to_le_bytes(), &event, &masked_crc(&event).to_le_bytes()].concat();
        self.file.write_all(&frame).map_err(Error::file("write", &self.path))
    }
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
