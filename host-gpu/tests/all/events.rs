//! Event files, read back frame by frame as TensorBoard does, checksums included.

use crate::cli_common;

use clapp_engine::events::{EVENTS, masked_crc};
use cli_common::{CONFIG, succeeds, write_cifar};
use prost::Message;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The part of TensorFlow's `event.proto` that is used here.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

/// The part of `summary.proto` that is used here.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

/// `Summary.Value` with a scalar.
#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[test]
fn the_checksum_is_the_one_of_the_format() {
    // CRC-32C of "123456789" is 0xe3069283 (the catalogue's check value).
    let rotated = 0xe306_9283_u32.rotate_right(15);
    assert_eq!(masked_crc(b"123456789"), rotated.wrapping_add(0xa282_ead8));
    assert_eq!(masked_crc(b"123456789"), 0xc78a_b0e5);
}

/// The events of a file; every checksum must be right and nothing may be left over.
fn read(path: &Path) -> Vec<Event> {
    let bytes = fs::read(path).expect("a file");
    let (mut rest, mut events) = (&bytes[..], Vec::new());
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes")) as usize;
        assert_eq!(word(&rest[8..12]), masked_crc(&rest[..8]));
        let event = &rest[12..12 + length];
        assert_eq!(word(&rest[12 + length..16 + length]), masked_crc(event));
        events.push(Event::decode(event).expect("an event"));
        rest = &rest[16 + length..];
    }
    events
}

/// The event files of a folder, in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(EVENTS)))
        .collect();
    files.sort();
    files
}

#[test]
fn every_row_of_the_metrics_is_an_event_and_each_session_has_a_file() {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), CONFIG).expect("a file");
    write_cifar(&place.path().join("data"));
    let train = ["train", "--config", "tiny.toml", "--data", "data", "--out", "run", "--checkpoint-every", "2"];
    succeeds(place.path(), &train);
    succeeds(place.path(), &[&train[..], &["--resume", "--epochs", "3"]].concat());
    let folder = place.path().join("run");
    let sessions: Vec<Vec<Event>> = files(&folder).iter().map(|path| read(path)).collect();
    assert_eq!(sessions.len(), 2);
    for (session, first) in sessions.iter().zip([1, 11]) {
        assert_eq!(session[0].file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!((session[1].step, session[1].session_log.as_ref().map(|log| log.status)), (first, Some(1)));
        assert!(session.windows(2).all(|pair| pair[0].wall_time <= pair[1].wall_time));
    }
    let metrics = fs::read_to_string(folder.join("metrics.csv")).expect("metrics");
    let mut lines = metrics.lines();
    let columns: Vec<&str> = lines.next().expect("names").split(',').collect();
    let rows: Vec<&str> = lines.collect();
    let events: Vec<&Event> = sessions.iter().flat_map(|session| &session[2..]).collect();
    assert_eq!((rows.len(), events.len()), (9, 9), "{metrics}");
    for (row, event) in rows.into_iter().zip(events) {
        // A value that a layer does not have is an empty field, and no scalar.
        let fields = columns.iter().copied().zip(row.split(',')).filter(|(_, value)| !value.is_empty());
        let row: BTreeMap<&str, f32> = fields.map(|(name, value)| (name, value.parse().expect("a number"))).collect();
        assert_eq!(event.step, row["step"] as i64);
        let scalars = &event.summary.as_ref().expect("values").value;
        assert_eq!(scalars.len(), row.len() - 2);
        for scalar in scalars {
            let value = scalar.simple_value.expect("a value");
            let column = scalar.tag.replace("/layer", "_layer");
            // As many digits as the table has.
            let rounding = if column == "images_per_second" { 0.06 } else { 1e-6 };
            assert!((value - row[&*column]).abs() <= rounding + 1e-6 * value.abs(), "{column}: {value}");
        }
    }
}
