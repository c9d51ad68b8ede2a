//! The course of a run as TensorBoard reads it: event files, which are protocol buffers in frames with checksums.
//!
//! Each session of a run has its own file, as TensorBoard expects of a restarted program. Its first event names the
//! step after which older files no longer count.

use crate::metrics::Row;
use clapp_data::error::Error;
use crc::{CRC_32_ISCSI, Crc};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// First part of the names of event files.
pub const EVENTS: &str = "events.out.tfevents.";

/// The format's name, in the first event of each file.
const VERSION: &str = "brain.Event:2";

/// `SessionLog.SessionStatus.START`.
const START: u64 = 1;

/// CRC-32C (Castagnoli).
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// A message of TensorFlow's `event.proto` or `summary.proto`, written field by field.
#[derive(Default)]
struct Message(Vec<u8>);

/// How a field's value is stored, as its key says.
const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const BYTES: u64 = 2;
const FOUR_BYTES: u64 = 5;

impl Message {
    /// Seven bits a byte, the lowest first; the highest bit of a byte says that another follows.
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn key(self, field: u64, stored: u64) -> Self {
        self.varint(field << 3 | stored)
    }

    fn number(self, field: u64, value: u64) -> Self {
        self.key(field, VARINT).varint(value)
    }

    fn bytes(self, field: u64, value: &[u8]) -> Self {
        let mut message = self.key(field, BYTES).varint(value.len() as u64);
        message.0.extend(value);
        message
    }

    fn double(self, field: u64, value: f64) -> Self {
        let mut message = self.key(field, EIGHT_BYTES);
        message.0.extend(value.to_le_bytes());
        message
    }

    fn float(self, field: u64, value: f32) -> Self {
        let mut message = self.key(field, FOUR_BYTES);
        message.0.extend(value.to_le_bytes());
        message
    }
}

/// `Event` with `wall_time` (1) and `step` (2).
fn event(step: i64) -> Message {
    Message::default().double(1, now().as_secs_f64()).number(2, step as u64)
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
        // `file_version` is field 3, `session_log` field 7, and `status` field 1 of that.
        events.write(event(0).bytes(3, VERSION.as_bytes()))?;
        let log = Message::default().number(1, START);
        events.write(event(step.saturating_add(1) as i64).bytes(7, &log.0))?;
        Ok(events)
    }

    /// Appends a row of the metrics: `loss/layer{l}`, `u_pos/layer{l}`, `u_neg/layer{l}`, `mismatch/layer{l}`,
    /// `learning_rate` and `images_per_second`.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn row(&mut self, row: &Row) -> Result<(), Error> {
        // `summary` is field 5 of an event, each `value` field 1 of that, with `tag` (1) and `simple_value` (2).
        let scalar = |summary: Message, tag: &str, value: f64| {
            summary.bytes(1, &Message::default().bytes(1, tag.as_bytes()).float(2, value as f32).0)
        };
        let mut summary = scalar(Message::default(), "images_per_second", row.images_per_second);
        summary = scalar(summary, "learning_rate", row.learning_rate.into());
        let all = [("loss", &row.losses), ("u_pos", &row.u_pos), ("u_neg", &row.u_neg), ("mismatch", &row.mismatch)];
        for (name, series) in all {
            for (layer, value) in series.iter().enumerate() {
                if let Some(value) = value {
                    summary = scalar(summary, &format!("{name}/layer{layer}"), *value);
                }
            }
        }
        self.write(event(row.step as i64).bytes(5, &summary.0))
    }

    /// Appends an event in its frame: length, checksum of the length, event, checksum of the event.
    fn write(&mut self, Message(event): Message) -> Result<(), Error> {
        let length = (event.len() as u64).to_le_bytes();
        let frame =
            [&length[..], &masked_crc(&length).to_le_bytes(), &event, &masked_crc(&event).to_le_bytes()].concat();
        self.file.write_all(&frame).map_err(Error::file("write", &self.path))
    }
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
