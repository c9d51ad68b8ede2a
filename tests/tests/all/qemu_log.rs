//! The `defmt` log of the emulated device: the health of its layers, and a collapse when it happens.

use clapp_core::contrast::Phase;
use clapp_core::link::{Answer, Command, Observed};
use clapp_core::optimizer::Optimizer;
use clapp_device::device::client::{Client, REPLY_LEN};
use clapp_device::device::qemu::{Emulation, Qemu};
use clapp_tests::numbers;
use clapp_tests::qemu::Board;
use defmt_decoder::{DecodeError, Table};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The lines of a log.
fn text(log: &Path, elf: &Path) -> Vec<String> {
    let table = Table::parse(&std::fs::read(elf).expect("the program")).expect("an ELF file").expect("with a log");
    let mut decoder = table.new_stream_decoder();
    decoder.received(&std::fs::read(log).expect("a log"));
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => lines.push(frame.display_message().to_string()),
            Err(DecodeError::UnexpectedEof) => return lines,
            Err(DecodeError::Malformed) => unreachable!("a torn frame after {lines:?}"),
        }
    }
}

/// Streams noise to a device, under another optimiser if so wished, until `enough`; returns the last answer and the log.
fn stream(optimizer: Option<Optimizer>, enough: impl Fn(&Observed) -> bool) -> (Observed, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let firmware = Board::An386.program("clapp-firmware");
    let emulation = Emulation {
        machine: Board::An386.machine().into(),
        firmware: firmware.clone(),
        flash: None,
        log: Some(log.clone()),
    };
    let mut replies = vec![0; REPLY_LEN];
    let qemu = Box::new(Qemu::start(&emulation).expect("QEMU starts"));
    let never = Arc::new(AtomicBool::new(false));
    let mut client = Client::new(qemu, &mut replies, Duration::from_secs(30), never);
    let pixels = client.hello(|identity| identity.input.len()).expect("a device");
    if let Some(optimizer) = optimizer {
        client.tell(Command::Optimizer(optimizer)).expect("room for it");
    }
    let mut rng = numbers(12);
    for at in 0..400 {
        let phase = if at % 2 == 0 { Phase::Saccade } else { Phase::Fixation };
        let pixels: Vec<u8> = (0..pixels).map(|_| rng.uniform(28.0, 228.0) as u8).collect();
        let observed = client.ask(Command::Frame { phase, label: None, pixels: &pixels }, |answer| match answer {
            Answer::Observed(observed) => Some(observed.clone()),
            _ => None,
        });
        let observed = observed.expect("an answer");
        if enough(&observed) {
            drop(client);
            return (observed, text(&log, &firmware));
        }
    }
    unreachable!("400 frames were not enough")
}

#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-tests --features qemu")]
fn qemu_logs_the_health_of_each_layer() {
    let (observed, log) = stream(None, |observed| observed.step == 200);
    assert_eq!(observed.verdict, None, "{observed:?}");
    let count = |part: &str| log.iter().filter(|line| line.contains(part)).count();
    assert_eq!(count("weights from Seed(1)"), 1, "{log:?}");
    for step in [100, 200] {
        for layer in 0..3 {
            let start = format!("step {step}: layer {layer}: loss ");
            let line = log.iter().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{start}: {log:?}"));
            for part in ["score ", "update ", "dead ", "change ", "refused 0"] {
                assert!(line.contains(part), "{part}: {line}");
            }
        }
    }
    assert_eq!(count("collapse"), 0, "{log:?}");
}

/// With a rate that is far too large the guard refuses what a layer would learn, before it can collapse.
#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-tests --features qemu")]
fn qemu_reports_what_is_wrong_with_a_layer_when_it_happens() {
    let (observed, log) = stream(Some(Optimizer::sgd(1e4)), |observed| observed.verdict.is_some());
    println!("{:?} after {} frames; the log ends with {:?}", observed.verdict, observed.step, log.last());
    let start = format!("step {}: ", observed.step);
    let found: Vec<_> = log.iter().filter(|line| line.starts_with(&start) && line.contains(" is ")).collect();
    assert_eq!(found.len(), 1, "{log:?}");
    assert!(found[0].contains("layer "), "{found:?}");
}
