//! The thermal camera and the pins, against a bus and pins that check every transfer.

use clapp_core::contrast::Phase;
use clapp_firmware::mlx90640::{ADDRESS, Mlx90640, ROWS, Rate, SIZE};
use clapp_firmware::pins::{WithPins, show};
use clapp_firmware::source::{Arrival, FrameSource, LinkFrame, NoSensor, SourceError};
use embedded_hal_mock::eh1::MockError;
use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction as Level};
use embedded_hal_mock::eh1::i2c::{Mock as Bus, Transaction};
use std::io::ErrorKind;

/// Bus transactions of the program when it sets 4 Hz.
fn start() -> Vec<Transaction> {
    vec![
        Transaction::write_read(ADDRESS, vec![0x80, 0x0D], vec![0x19, 0x01]),
        // Bits 7 to 9 from 010 (2 Hz) to 011, the others as they were.
        Transaction::write(ADDRESS, vec![0x80, 0x0D, 0x19, 0x81]),
    ]
}

/// One frame: status, 24 rows, renewal.
fn frame(pixel: impl Fn(usize) -> i16) -> Vec<Transaction> {
    let mut all = vec![Transaction::write_read(ADDRESS, vec![0x80, 0x00], vec![0x00, 0x09])];
    for row in 0..ROWS {
        let address = 0x0400 + (row * SIZE) as u16;
        let words = (0..SIZE).flat_map(|column| pixel(row * SIZE + column).to_be_bytes()).collect();
        all.push(Transaction::write_read(ADDRESS, address.to_be_bytes().to_vec(), words));
    }
    all.push(Transaction::write(ADDRESS, vec![0x80, 0x00, 0x00, 0x10]));
    all
}

#[test]
fn the_camera_gives_frames_of_mean_zero_and_variance_one() {
    let pixel = |at: usize| (at as i16 % 97) * 3 - 200;
    let mut camera = Mlx90640::new(Bus::new(&[start(), frame(pixel)].concat()), ADDRESS, Rate::Hz4).unwrap();
    let mut values = vec![f32::NAN; SIZE * SIZE];
    let arrival = camera.poll(&mut values).unwrap();
    assert_eq!(arrival, Some(Arrival { phase: Phase::Fixation, label: None }));
    let count = values.len() as f64;
    // The first three of every four rows are the sensor's, the fourth is the third once more.
    let sensor_row = |row: usize| row / 4 * 3 + (row % 4).min(2);
    let raw = |at: usize| f64::from(pixel(sensor_row(at / SIZE) * SIZE + at % SIZE));
    let raw: Vec<f64> = (0..values.len()).map(raw).collect();
    let mean = raw.iter().sum::<f64>() / count;
    let deviation = (raw.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
    for (value, raw) in values.iter().zip(&raw) {
        assert!((f64::from(*value) - (raw - mean) / deviation).abs() < 1e-5);
    }
    camera.release().done();
}

#[test]
fn the_camera_waits_for_nothing_and_survives_a_flat_picture() {
    let quiet = vec![Transaction::write_read(ADDRESS, vec![0x80, 0x00], vec![0x00, 0x01])];
    let script = [start(), quiet, frame(|_| 1234)].concat();
    let mut camera = Mlx90640::new(Bus::new(&script), ADDRESS, Rate::Hz4).unwrap();
    let mut values = vec![7.0; SIZE * SIZE];
    assert_eq!(camera.poll(&mut values), Ok(None));
    assert_eq!(values[0], 7.0);
    assert!(camera.poll(&mut values).unwrap().is_some());
    assert!(values.iter().all(|value| *value == 0.0));
    let needed = SourceError::Length { given: SIZE * SIZE, needed: 3 };
    assert_eq!(camera.poll(&mut [0.0; 3]), Err(needed));
    camera.release().done();
}

#[test]
fn a_silent_bus_is_an_error_and_no_frame() {
    let broken = Transaction::write_read(ADDRESS, vec![0x80, 0x0D], vec![0, 0])
        .with_error(embedded_hal::i2c::ErrorKind::NoAcknowledge(embedded_hal::i2c::NoAcknowledgeSource::Address));
    let mut bus = Bus::new(&[broken]);
    assert_eq!(Mlx90640::new(bus.clone(), ADDRESS, Rate::Hz1).err(), Some(SourceError::Bus));
    bus.done();
}

/// A sensor that has a frame of ones.
struct Ones;

impl FrameSource for Ones {
    fn poll(&mut self, frame: &mut [f32]) -> Result<Option<Arrival>, SourceError> {
        frame.fill(1.0);
        Ok(Some(Arrival { phase: Phase::Fixation, label: None }))
    }
}

#[test]
fn pins_mark_saccades_and_give_labels() {
    for (saccade, label) in [(false, false), (false, true), (true, false), (true, true)] {
        let level = |high| vec![Level::get(if high { State::High } else { State::Low })];
        let (mut jump, mut tell) = (Pin::new(&level(saccade)), Pin::new(&level(label)));
        let mut source = WithPins { sensor: Ones, saccade: jump.clone(), label: tell.clone(), class: 4 };
        let expected =
            Arrival { phase: if saccade { Phase::Saccade } else { Phase::Fixation }, label: label.then_some(4) };
        assert_eq!(source.poll(&mut [0.0; 4]), Ok(Some(expected)));
        jump.done();
        tell.done();
    }
    let mut broken = Pin::new(&[Level::get(State::High).with_error(MockError::Io(ErrorKind::NotConnected))]);
    let mut unasked = Pin::new(&[]);
    let mut source = WithPins { sensor: Ones, saccade: broken.clone(), label: unasked.clone(), class: 0 };
    assert_eq!(source.poll(&mut [0.0; 4]), Err(SourceError::Bus));
    broken.done();
    unasked.done();
}

#[test]
fn one_pin_shows_the_prediction() {
    for class in [None, Some(0), Some(2), Some(9)] {
        let levels = |at: u8| vec![Level::set(if class == Some(at) { State::High } else { State::Low })];
        let mut pins: [Pin; 3] = core::array::from_fn(|at| Pin::new(&levels(at as u8)));
        assert_eq!(show(&mut pins, class), Ok(()));
        pins.iter_mut().for_each(Pin::done);
    }
}

#[test]
fn a_frame_of_the_link_is_given_once_and_must_fit() {
    let arrival = Arrival { phase: Phase::Saccade, label: Some(1) };
    let mut source = LinkFrame::new(&[0, 64, 255], arrival, [0.5, -1.0]);
    let mut values = [0.0; 3];
    assert_eq!(source.poll(&mut values), Ok(Some(arrival)));
    assert_eq!(values, [-1.0, 31.0, 126.5]);
    assert_eq!(source.poll(&mut values), Ok(None));
    let mut short = LinkFrame::new(&[0; 2], arrival, [1.0, 0.0]);
    assert_eq!(short.poll(&mut values), Err(SourceError::Length { given: 2, needed: 3 }));
    assert_eq!(NoSensor.poll(&mut values), Err(SourceError::Missing));
}
