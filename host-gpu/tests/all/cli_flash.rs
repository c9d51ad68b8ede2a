//! `clapp export` and `clapp import`: from a run to a device's flash, through learning on the device, and back.

use crate::cli_common;
use crate::flash;

use clapp_core::checkpoint::{Contents, ContentsMut, Lengths, architecture};
use clapp_core::contrast::Phase;
use clapp_core::guard::Guard;
use clapp_core::learner::LayerState;
use clapp_core::optimizer::Optimizer;
use clapp_core::storage::Store;
use clapp_device::flash_image::Image;
use clapp_engine::config::Config;
use clapp_engine::core_memory::CoreMemory;
use cli_common::{CONFIG, refuses, spoilt, succeeds, write_cifar};
use flash::Cells;
use proptest::prelude::*;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A folder with a run of one epoch in `run`.
fn trained(config: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tiny.toml"), config).expect("a file");
    write_cifar(&folder.path().join("set"));
    let train = ["train", "--config", "tiny.toml", "--data", "set", "--out", "run", "--epochs", "1"];
    succeeds(folder.path(), &train);
    folder
}

/// All tensors of a file, as bytes.
fn tensors(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    file.tensors().into_iter().map(|(name, tensor)| (name, tensor.data().to_vec())).collect()
}

fn spec(config: &str) -> clapp_engine::model::NetworkSpec {
    Config::parse(config, "tiny").expect("a configuration").network().expect("a network")
}

#[test]
fn there_and_back_is_the_same_to_the_bit() {
    let folder = trained(CONFIG);
    let at = |name: &str| folder.path().join(name);
    let said =
        succeeds(folder.path(), &["export", "run", "--network", "tiny.toml", "--optimizer", "config", "-o", "a.bin"]);
    assert!(said.contains("step 5,"), "{said}");
    succeeds(folder.path(), &["import", "a.bin", "--network", "run", "-o", "home.safetensors"]);
    let (before, after) = (tensors(&at("run/checkpoint.safetensors")), tensors(&at("home.safetensors")));
    assert!(before.contains_key("layer1.projection.second"), "{:?}", before.keys());
    assert_eq!(before, after);

    // Once more, and the image is the same, too: with the state of the optimiser, as the file holds it.
    succeeds(folder.path(), &["export", "home.safetensors", "-o", "b.bin"]);
    assert_eq!(fs::read(at("a.bin")).expect("a file"), fs::read(at("b.bin")).expect("a file"));
    // An image of the whole store has the same slot first.
    succeeds(folder.path(), &["export", "home.safetensors", "--slot-length", "65536", "-o", "c.bin"]);
    let (one, both) = (fs::read(at("b.bin")).expect("a file"), fs::read(at("c.bin")).expect("a file"));
    assert_eq!((both.len(), &both[..one.len()]), (2 * 65536, &one[..]));
    assert!(both[one.len()..].iter().all(|&byte| byte == 0xff));
    succeeds(folder.path(), &["import", "c.bin", "--network", "tiny.toml", "-o", "again.safetensors"]);
    // And an image of all flash that the store has.
    succeeds(folder.path(), &["export", "home.safetensors", "--store-length", "131072", "-o", "d.bin"]);
    assert_eq!(fs::read(at("d.bin")).expect("a file"), both);
    let small = ["export", "home.safetensors", "--store-length", "1000", "-o", "e.bin"];
    refuses(folder.path(), &small, &["home.safetensors", "do not fit into a store of 1000"]);
    assert_eq!(tensors(&at("again.safetensors")), before);

    // The imported checkpoint can be evaluated like any other.
    let eval = |checkpoint| {
        succeeds(folder.path(), &["eval", checkpoint, "--data", "set", "--cached", "--json", "probe.json"])
    };
    let numbers =
        |text: String| text.lines().skip(1).filter(|line| line.contains('%')).map(String::from).collect::<Vec<_>>();
    let (run, home) = (numbers(eval("run")), numbers(eval("home.safetensors")));
    assert!(!run.is_empty());
    assert_eq!(run, home);
}

/// A device with flash that writes by 8 bytes, once, and erases by 4096.
#[test]
fn a_device_goes_on_from_a_run_and_the_weights_come_home() {
    const SLOT: u32 = 4096;
    const CLASSES: usize = 3;
    let folder = trained(CONFIG);
    let at = |name: &str| folder.path().join(name);
    succeeds(folder.path(), &["export", "run", "--classes", "3", "--erase-size", "4096"]);
    let image = fs::read(at("run/checkpoint.bin")).expect("a file");
    assert_eq!(image.len(), 2 * SLOT as usize);

    let spec = spec(CONFIG);
    let (view, optimizer) = (spec.view(), Optimizer::sgd(0.05));
    let architecture = architecture(&view);
    let lengths = Lengths::of(&view, &optimizer, CLASSES * view.feature_len(), CLASSES);
    assert_eq!(lengths.slot_len(4096), SLOT as usize);
    let mut cells = Cells::with_bytes::<8, 4096>(&image);
    let mut parameters = vec![0.0; lengths.parameters];
    let mut layers = vec![LayerState::NEW; lengths.layers];
    let (mut readout, mut counts) = (vec![1.0; lengths.readout], vec![1; lengths.counts]);
    let mut store = Store::open(cells.on::<8, 4096>(), 0, SLOT, architecture).expect("a store");
    let loaded = store.load(&mut ContentsMut {
        parameters: &mut parameters,
        state: &mut [],
        layers: &mut layers,
        readout: &mut readout,
        counts: &mut counts,
    });
    let header = loaded.expect("the exported checkpoint").header;
    assert_eq!((header.step, &layers[..]), (5, &[LayerState { steps: 5, ..LayerState::NEW }; 2][..]));
    assert!(readout.iter().all(|&mean| mean == 0.0) && counts == [0; CLASSES]);

    // It learns from a stream, with its lower layer frozen; the read-out has seen some examples.
    layers[0].frozen = true;
    let exported = parameters.clone();
    let mut memory = CoreMemory::holding(&spec, parameters, Vec::new(), layers);
    let mut learner = memory.learner(&spec, optimizer).expect("a learner");
    learner.set_guard(Guard::default());
    for number in 0..6 {
        let frame: Vec<f32> =
            (0..view.input().len()).map(|at| ((at * 7 + number * 31) % 17) as f32 / 8.0 - 1.0).collect();
        learner.observe(&frame, Phase::Saccade, 1.0, &mut ()).expect("a frame");
    }
    readout[4] = 0.5;
    counts = vec![2, 0, 7];
    let contents = Contents {
        step: header.step + 6,
        parameters: learner.parameters(),
        state: &[],
        layers: learner.layers(),
        readout: &readout,
        counts: &counts,
    };
    assert_eq!(store.save(&contents).expect("a save").slot, 1);
    let learnt = learner.parameters().to_vec();
    let layers = learner.layers().to_vec();
    assert_ne!(learnt, exported, "nothing was learnt");
    fs::write(at("flash.bin"), store.release().cells.bytes()).expect("a file");

    let said = succeeds(folder.path(), &["import", "flash.bin", "--network", "run", "-o", "home.safetensors"]);
    assert!(said.contains("step 11,") && said.contains("3 classes with 9 examples"), "{said}");
    let home = tensors(&at("home.safetensors"));
    for (values, layer) in spec.values_from_flat(&learnt).iter().zip(0..) {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(home[&format!("layer{layer}.weight")], bytes(&values.weight));
        assert_eq!(home[&format!("layer{layer}.bias")], bytes(&values.bias));
        assert_eq!(home[&format!("layer{layer}.projection")], bytes(&values.projection));
    }

    // Back on a device, everything is as it was there.
    succeeds(folder.path(), &["export", "home.safetensors", "-o", "back.bin"]);
    let back = Image::open(fs::read(at("back.bin")).expect("a file"), architecture, None).expect("an image");
    let held = back.read().expect("a checkpoint");
    assert_eq!((held.step, held.parameters, held.layers), (11, learnt, layers));
    assert_eq!((held.readout, held.counts, held.state), (readout, counts, Vec::new()));

    // The older slot is used, and said to be the older one, where the newer one is damaged.
    let mut damaged = fs::read(at("flash.bin")).expect("a file");
    damaged[SLOT as usize + 1000] ^= 4;
    fs::write(at("damaged.bin"), damaged).expect("a file");
    let output =
        cli_common::clapp(folder.path(), &["import", "damaged.bin", "--network", "run", "-o", "old.safetensors"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a newer checkpoint is damaged"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("step 5,"));

    // Training does not continue from frames that are in no data set.
    fs::rename(at("home.safetensors"), at("run/checkpoint.safetensors")).expect("a file");
    refuses(folder.path(), &["train", "--resume", "--out", "run", "--data", "set"], &["comes from a device"]);
}

#[test]
fn what_does_not_fit_is_refused_and_named() {
    let folder = trained(CONFIG);
    let path = folder.path();
    let other = spoilt("channels = 6", "channels = 7").replace("rule = \"clapp++\"", "rule = \"clapp++dfb\"");
    fs::write(path.join("other.toml"), other).expect("a file");
    let probe = spoilt("probe-pool = { block = [2, 2] }", "probe-pool = \"global\"").replace("batch = 4", "batch = 8");
    fs::write(path.join("probe.toml"), probe).expect("a file");
    fs::write(path.join("global.toml"), spoilt("clapp++", "bp-clapp++")).expect("a file");
    fs::write(path.join("empty.bin"), "").expect("a file");
    fs::write(path.join("blank.bin"), [0xff; 5000]).expect("a file");
    fs::write(path.join("noise.bin"), [7; 999]).expect("a file");
    succeeds(path, &["export", "run", "--network", "probe.toml", "-o", "image.bin"]);
    let image = fs::read(path.join("image.bin")).expect("a file");
    fs::write(path.join("short.bin"), &image[..image.len() - 1]).expect("a file");
    let mut flipped = image;
    flipped[400] ^= 1;
    fs::write(path.join("flipped.bin"), &flipped).expect("a file");

    let differs = ["other.toml", "blocks[1].channels: checkpoint has 6, other.toml has 7", "rule: checkpoint has"];
    refuses(path, &["export", "run", "--network", "other.toml"], &differs);
    let image = ["export", "run", "--network", "probe.toml", "-o", "image.bin"];
    refuses(path, &image, &["image.bin", "exists already", "--overwrite"]);
    succeeds(path, &[&image[..], &["--overwrite"]].concat());
    let itself = ["export", "run", "-o", "run/checkpoint.safetensors", "--overwrite"];
    refuses(path, &itself, &["run/checkpoint.safetensors", "is an input"]);
    refuses(path, &["export", "run", "--network", "global.toml"], &["global.toml", "no device can learn by it"]);
    refuses(path, &["export", "run", "--network", "nowhere"], &["nowhere", "neither a file", "cifar10"]);
    refuses(path, &["export", "nowhere.safetensors"], &["nowhere.safetensors", "cannot read"]);
    refuses(path, &["export", "tiny.toml"], &["tiny.toml", "safetensors"]);
    refuses(path, &["export", "run", "--slot-length", "512"], &["run/checkpoint.safetensors", "a slot has 512"]);
    refuses(path, &["export", "run", "--slot-length", "4294967295"], &["more than 4 GiB"]);
    refuses(path, &["export", "run", "--classes", "1000"], &["--classes is 1000", "at most 256"]);

    let import = |image: &str, network: &str, parts: &[&str]| {
        refuses(path, &["import", image, "--network", network, "-o", "new.safetensors"], parts);
    };
    import("nowhere.bin", "tiny.toml", &["nowhere.bin", "cannot read"]);
    import("set", "tiny.toml", &["set", "cannot read"]);
    import("image.bin", "other.toml", &["image.bin", "another network", "other.toml"]);
    import("image.bin", "global.toml", &["global.toml", "no device can learn by it"]);
    import("empty.bin", "tiny.toml", &["empty.bin", "nothing is saved"]);
    import("blank.bin", "tiny.toml", &["blank.bin", "nothing is saved"]);
    import("noise.bin", "tiny.toml", &["noise.bin", "nothing is saved"]);
    import("short.bin", "tiny.toml", &["short.bin", "corrupt"]);
    import("flipped.bin", "tiny.toml", &["flipped.bin", "corrupt"]);
    let long = ["import", "image.bin", "--network", "run", "-o", "new.safetensors", "--slot-length", "512"];
    refuses(path, &long, &["image.bin", "more than two slots of 512"]);
    let there = ["import", "image.bin", "--network", "run", "-o", "run/checkpoint.safetensors"];
    refuses(path, &there, &["run/checkpoint.safetensors", "is an input"]);
    succeeds(path, &["import", "image.bin", "--network", "run", "-o", "new.safetensors"]);
    let there = ["import", "image.bin", "--network", "run", "-o", "new.safetensors"];
    refuses(path, &there, &["new.safetensors", "exists already", "--overwrite"]);
    fs::remove_file(path.join("new.safetensors")).expect("removed");
    refuses(path, &["import", "image.bin", "--network", "run", "-o", "set"], &["set"]);
}

#[test]
fn a_rule_that_no_device_has_is_not_exported() {
    let folder = trained(&spoilt("clapp++", "bp-clapp++"));
    refuses(folder.path(), &["export", "run"], &["run/checkpoint.safetensors", "no device can learn by it"]);
}

#[test]
fn the_moments_must_be_those_of_the_optimiser() {
    let folder = trained(CONFIG);
    succeeds(folder.path(), &["export", "run", "-o", "plain.bin"]);
    succeeds(folder.path(), &["import", "plain.bin", "--network", "run", "-o", "plain.safetensors"]);
    let names = tensors(&folder.path().join("plain.safetensors"));
    assert!(names.keys().all(|name| !name.contains("first")), "{:?}", names.keys());
    let export = ["export", "plain.safetensors", "--optimizer", "config", "-o", "moments.bin"];
    refuses(folder.path(), &export, &["plain.safetensors", "holds 0 moments", "keeps 2"]);
}

/// A whole chip read out, with blank flash behind the store: the newest checkpoint is found, whichever slot it is in.
#[test]
fn the_newest_checkpoint_of_a_whole_chip_is_found() {
    let held = |step| clapp_engine::checkpoint::device::DeviceState {
        step,
        parameters: vec![0.25 * step as f32; 200],
        layers: vec![LayerState::NEW; 2],
        ..Default::default()
    };
    let mut cells = Cells::new::<8, 1024>(16 * 1024, false, 1);
    for step in 1..=4 {
        let mut store = Store::open(cells.on::<8, 1024>(), 0, 2048, 9).expect("a store");
        store.save(&held(step).contents()).expect("saved");
        let image = cells.bytes();
        for slot_length in [None, Some(2048)] {
            let found = Image::open(image.clone(), 9, slot_length).and_then(Image::read).expect("a checkpoint");
            assert_eq!(found, held(step), "{slot_length:?}");
        }
        // The bytes after the store do not matter, but they must not be more of the store.
        let wrong = Image::open(image, 9, Some(1000)).err().map(|error| error.to_string());
        assert!(wrong.is_some_and(|error| step == 1 || error.contains("more than two slots")));
    }
}

/// If one of two headers is damaged, only the usual size of an erase unit gives the slot length.
#[test]
fn a_damaged_header_in_a_whole_chip_is_seen() {
    let held = |step| clapp_engine::checkpoint::device::DeviceState {
        step,
        parameters: vec![0.25 * step as f32; 200],
        layers: vec![LayerState::NEW; 2],
        ..Default::default()
    };
    for damaged in [0, 1] {
        let mut cells = Cells::new::<8, 4096>(64 * 1024, false, 1);
        // The first in the first slot, the second in the second.
        for step in [1, 2] {
            Store::open(cells.on::<8, 4096>(), 0, 4096, 9)
                .expect("a store")
                .save(&held(step).contents())
                .expect("saved");
        }
        let mut bytes = cells.bytes();
        bytes[4096 * damaged + 20] ^= 1;
        let image = Image::open(bytes, 9, None).expect("a checkpoint");
        assert_eq!(image.found.fell_back, damaged == 1);
        assert_eq!(image.read().expect("whole"), held(2 - damaged as u64));
    }
}

/// A chip with something else in front of the store, which holds one save or several.
#[test]
fn a_store_behind_other_bytes_is_found() {
    let held = |step| clapp_engine::checkpoint::device::DeviceState {
        step,
        parameters: vec![0.25 * step as f32; 200],
        layers: vec![LayerState::NEW; 2],
        ..Default::default()
    };
    for (front, filling) in [(8192, 0), (4096, 0xff), (1024, 7), (512, 0), (100, 1), (64 * 1024, 0)] {
        let mut cells = Cells::new::<8, 1024>(8 * 1024, false, 1);
        for step in 1..=4 {
            let mut store = Store::open(cells.on::<8, 1024>(), 0, 2048, 9).expect("a store");
            store.save(&held(step).contents()).expect("saved");
            let image = [vec![filling; front], cells.bytes()].concat();
            for slot_length in [None, Some(2048)] {
                let opened = Image::open(image.clone(), 9, slot_length).expect("a checkpoint");
                assert_eq!(opened.read().expect("whole"), held(step), "{front} {slot_length:?}");
            }
        }
    }
}

/// Firmware with more classes and firmware with fewer, one after the other: the slots are longer, then shorter.
#[test]
fn the_newest_checkpoint_of_several_firmwares_is_found() {
    let held = |step, classes: usize| clapp_engine::checkpoint::device::DeviceState {
        step,
        parameters: vec![0.25 * step as f32; 200],
        layers: vec![LayerState::NEW; 2],
        readout: vec![0.5; 10 * classes],
        counts: vec![2; classes],
        ..Default::default()
    };
    for (first, second) in [(10, 11), (11, 10), (10, 40), (40, 10)] {
        let mut cells = Cells::new::<8, 128>(16 * 1024, false, 1);
        for step in 1..=9 {
            let held = held(step, if step % 5 < 3 { first } else { second });
            let slot = held.contents().lengths().slot_len(128) as u32;
            let store = Store::open(cells.on::<8, 128>(), 0, slot, 9).expect("a store");
            store.up_to(u32::MAX).save(&held.contents()).expect("saved");
            for front in [0, 1024] {
                let image = [vec![0; front], cells.bytes()].concat();
                let opened = Image::open(image, 9, None).expect("a checkpoint");
                assert!(!opened.found.fell_back);
                assert_eq!(opened.read().expect("whole"), held, "{first} and {second} classes, {front} bytes in front");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Changed bytes give an error or the saved state, nothing else.
    #[test]
    fn changed_images_are_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        slot_length in prop::option::of(1_u32..4000),
    ) {
        let held = clapp_engine::checkpoint::device::DeviceState {
            step: 3,
            parameters: vec![0.5; 40],
            layers: vec![LayerState::NEW; 2],
            counts: vec![1],
            ..Default::default()
        };
        let mut image = clapp_device::flash_image::encode(&held, 9, Some(1024)).expect("an image");
        for (place, byte) in changes {
            let len = image.len();
            image[place.index(len)] = byte;
        }
        if let Some(cut) = cut {
            image.truncate(cut.index(image.len()));
        }
        if let Ok(found) = Image::open(image, 9, slot_length).and_then(Image::read) {
            prop_assert_eq!(found, held);
        }
    }
}
