//! Files that no program of ours wrote: random bytes, and right files cut or changed in random places. Reading them
//! gives a value or an error that names the file, never a panic.

use crate::cli_common;

use clapp_engine::backend::cpu::Cpu;
use clapp_engine::checkpoint::{CPU, Checkpoint, DataIdentity, Place, write};
use clapp_engine::config::Config;
use clapp_engine::trainer::State;
use cli_common::CONFIG;
use proptest::prelude::*;
use std::fs;

/// A change of bytes at some place: overwritten, cut out or put in.
#[derive(Debug, Clone)]
enum Change {
    Overwrite(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    Cut(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        4 => (place(), any::<u8>()).prop_map(|(place, byte)| Change::Overwrite(place, byte)),
        2 => (place(), 1_usize..40).prop_map(|(place, count)| Change::Remove(place, count)),
        2 => (place(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(place, bytes)| Change::Insert(place, bytes)),
        1 => place().prop_map(Change::Cut),
    ]
}

/// Characters that mean something in TOML, so that a change more often gives another number than no file at all.
fn text_change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    let character = prop::sample::select(b"0123456789-.eE\"[]{}=\n,naif".to_vec());
    prop_oneof![
        4 => (place(), character.clone()).prop_map(|(place, byte)| Change::Overwrite(place, byte)),
        2 => (place(), 1_usize..6).prop_map(|(place, count)| Change::Remove(place, count)),
        4 => (place(), prop::collection::vec(character, 1..12)).prop_map(|(place, bytes)| Change::Insert(place, bytes)),
    ]
}

fn apply(bytes: &mut Vec<u8>, changes: &[Change]) {
    for change in changes {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match change {
            Change::Overwrite(place, byte) => bytes[place.index(len)] = *byte,
            Change::Remove(place, count) => {
                let start = place.index(len);
                bytes.drain(start..len.min(start + count));
            }
            Change::Insert(place, more) => {
                let start = place.index(len);
                bytes.splice(start..start, more.iter().copied());
            }
            Change::Cut(place) => bytes.truncate(place.index(len)),
        }
    }
}

/// Reads a configuration. An accepted configuration must make a network, and must survive writing and reading.
fn try_config(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let text = String::from_utf8_lossy(bytes);
    match Config::parse(&text, "some.toml") {
        Ok(config) => {
            prop_assert!(config.network().is_ok() && config.probe_network().is_ok());
            let again = Config::parse(&config.to_toml().expect("text"), "again").expect("what was just written");
            prop_assert_eq!(again, config);
            Ok(true)
        }
        Err(error) => {
            prop_assert!(error.to_string().contains("some.toml"), "{}", error);
            prop_assert_eq!(error.exit_code(), 2);
            Ok(false)
        }
    }
}

fn checkpoint_bytes() -> Vec<u8> {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("checkpoint.safetensors");
    let config = Config::parse(CONFIG, "tiny").expect("a configuration");
    let state = State::first(&Cpu, &config).expect("values");
    let data = DataIdentity { name: "cifar10".into(), images: 20, channels: 3, size: Some([32, 32]) };
    write(&path, &Cpu, &config, &Place { step: 0, data, ranks: 1, backend: CPU.into() }, 0, &state.model)
        .expect("a checkpoint");
    fs::read(&path).expect("a checkpoint")
}

fn try_checkpoint(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("some.safetensors");
    fs::write(&path, bytes).expect("a file");
    match Checkpoint::read(&path) {
        Ok(checkpoint) => {
            let sound = |layer: &clapp_engine::model::LayerValues| layer.weight.iter().all(|value| value.is_finite());
            prop_assert!(checkpoint.layers.iter().all(sound));
            Ok(true)
        }
        Err(error) => {
            prop_assert!(error.to_string().contains("some.safetensors"), "{}", error);
            prop_assert_eq!(error.exit_code(), 2);
            Ok(false)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_no_configuration_and_no_checkpoint(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!try_config(&bytes)?);
        prop_assert!(!try_checkpoint(&bytes)?);
    }

    #[test]
    fn a_configuration_changed_at_random_is_taken_or_refused_without_a_panic(
        changes in prop::collection::vec(text_change(), 1..4),
    ) {
        let mut bytes = CONFIG.as_bytes().to_vec();
        apply(&mut bytes, &changes);
        try_config(&bytes)?;
    }

    #[test]
    fn a_configuration_cut_short_is_taken_or_refused_without_a_panic(place in any::<prop::sample::Index>()) {
        try_config(&CONFIG.as_bytes()[..place.index(CONFIG.len())])?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_checkpoint_changed_at_random_is_taken_or_refused_without_a_panic(
        changes in prop::collection::vec(change(), 1..3),
        in_header in any::<bool>(),
    ) {
        let whole = checkpoint_bytes();
        // Most of the file is weights; the header is where more can go wrong.
        let header = if in_header { 2500.min(whole.len()) } else { whole.len() };
        let (mut front, back) = (whole[..header].to_vec(), &whole[header..]);
        apply(&mut front, &changes);
        try_checkpoint(&[&front, back].concat())?;
    }

    #[test]
    fn a_checkpoint_cut_short_is_refused(place in any::<prop::sample::Index>()) {
        let whole = checkpoint_bytes();
        prop_assert!(!try_checkpoint(&whole[..place.index(whole.len())])?);
    }
}

#[test]
fn what_is_spoilt_above_is_taken_while_it_is_whole() {
    assert!(try_config(CONFIG.as_bytes()).expect("no panic"));
    assert!(try_checkpoint(&checkpoint_bytes()).expect("no panic"));
}
