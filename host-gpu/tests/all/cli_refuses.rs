//! Input that is wrong in every way we thought of: the program says which file and field, with exit code 2, and
//! writes nothing.

use crate::cli_common;

use clapp_data::data::{cifar, idx};
use cli_common::parts::Parts;
use cli_common::{CONFIG, cifar_file, grey_config, idx_file, refuses, spoilt, succeeds, write_cifar, write_idx};
use safetensors::Dtype;
use std::fs;
use std::path::Path;

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), CONFIG).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

#[test]
fn a_wrong_configuration_is_refused_by_file_and_field() {
    let place = place();
    let table: [(&str, &str, &[&str]); 34] = [
        ("seed = 3", "seed = 3\nsede = 4", &["sede"]),
        ("size = 32", "size = 32\ncolour = 1", &["colour"]),
        ("channels = 4", "channels = 4\ndilation = [1, 1]", &["dilation"]),
        ("batch = 4", "batch = \"four\"", &["batch"]),
        ("batch = 4", "batch = 4.5", &["batch"]),
        ("batch = 4", "batch = 1", &["batch is 1"]),
        ("epochs = 2", "epochs = -1", &["epochs"]),
        ("width = 1.0", "width = 0.0", &["width is 0"]),
        ("width = 1.0", "width = nan", &["width is NaN"]),
        ("width = 1.0", "width = inf", &["width is inf"]),
        ("width = 1.0", "width = -2.0", &["width is -2"]),
        ("seed = 3", "seed = 3\nimages = 1", &["images"]),
        ("seed = 3", "", &["seed"]),
        ("rule = \"clapp++\"", "rule = \"clapp+++\"", &["rule", "clapp+++"]),
        ("\"ring\"", "\"random\"", &["negatives", "random"]),
        ("\"ring\"", "{ uniform = 0 }", &["negatives.uniform is 0"]),
        ("\"hinge\"", "\"square\"", &["contrast", "square"]),
        ("\"hinge\"", "{ phyll = { theta = 0.0 } }", &["theta"]),
        ("seed = 3", "seed = 3\npos-coeff = -1.0", &["pos_coeff"]),
        ("input = [3, 32, 32]", "input = [2, 32, 32]", &["2 channels"]),
        ("input = [3, 32, 32]", "input = [3, 0, 32]", &["0x32"]),
        ("input = [3, 32, 32]", "input = [3, 32]", &["input"]),
        ("kind = \"adamw\"", "kind = \"rmsprop\"", &["kind", "rmsprop"]),
        ("lr = 0.001", "lr = 0.0", &["optimizer: lr is 0"]),
        ("lr = 0.001", "lr = 0.001\nbeta1 = 1.0", &["optimizer: beta1 is 1"]),
        ("size = 32", "size = 24", &["augment.size is 24"]),
        ("flip = 0.5", "flip = 2.0", &["augment", "flip is 2"]),
        ("[0.25, 0.25, 0.25]", "[0.25, 0.0, 0.25]", &["augment", "deviation 0"]),
        ("lr = 0.01", "lr = nan", &["probe.lr is NaN"]),
        ("kernel = [3, 3]", "kernel = [40, 3]", &["blocks", "layer 0", "kernel"]),
        ("stride = [2, 2]", "stride = [0, 2]", &["blocks", "layer 0", "stride"]),
        ("max-pool = [2, 2]", "max-pool = [2, 17]", &["blocks", "layer 0", "max-pool"]),
        ("{ block = [4, 4] }", "{ block = [9, 4] }", &["blocks", "layer 0", "loss-pooling"]),
        ("{ adaptive = [2, 2] }", "{ adaptive = [0, 2] }", &["blocks", "layer 1", "adaptive"]),
    ];
    for (from, to, parts) in table {
        fs::write(place.path().join("bad.toml"), spoilt(from, to)).expect("a file");
        let parts = [&["bad.toml"], parts].concat();
        refuses(place.path(), &["train", "--config", "bad.toml", "--data", "data", "--out", "out"], &parts);
    }
    fs::write(place.path().join("bad.toml"), spoilt("kernel = [3, 3]", "kernel = [40, 3]")).expect("a file");
    for command in ["info", "parity"] {
        refuses(place.path(), &[command, "--config", "bad.toml"], &["bad.toml", "layer 0"]);
    }
}

#[test]
fn a_file_that_is_no_configuration_is_refused_by_its_name() {
    let place = place();
    let table: [(&[u8], &str); 5] = [
        (b"", "missing field"),
        (b"\xff\xfe\x00n\x00a", "UTF-8"),
        (b"name = \"tiny\" rule", "bad.toml:1"),
        (b"[[blocks]]\n", "missing field"),
        (b"\x00\x00\x00", "bad.toml"),
    ];
    for (bytes, part) in table {
        fs::write(place.path().join("bad.toml"), bytes).expect("a file");
        refuses(
            place.path(),
            &["train", "--config", "bad.toml", "--data", "data", "--out", "out"],
            &["bad.toml", part],
        );
    }
    refuses(place.path(), &["train", "--config", "none.toml"], &["none.toml", "No such file"]);
    refuses(place.path(), &["train", "--config", "data"], &["data", "directory"]);
}

#[test]
fn wrong_options_are_refused_by_name() {
    let place = place();
    let train = ["train", "--config", "tiny.toml", "--data", "data", "--out", "out"];
    let table: [(&[&str], &[&str]); 8] = [
        (&["--rule", "clapp+"], &["--rule", "clapp+", "clapp++dfb"]),
        (&["--batch", "1"], &["batch is 1"]),
        (&["--batch", "-3"], &["-3"]),
        (&["--width", "nan"], &["width is NaN"]),
        (&["--width", "0"], &["width is 0"]),
        (&["--epochs", "many"], &["--epochs", "many"]),
        (&["--images", "1"], &["images"]),
        (&["--wdith", "1"], &["--wdith"]),
    ];
    for (options, parts) in table {
        refuses(place.path(), &[&train[..], options].concat(), parts);
    }
    refuses(place.path(), &["train", "--preset", "cifar11"], &["--preset", "cifar11", "cifar10"]);
    refuses(place.path(), &["train"], &["--preset"]);
    refuses(place.path(), &["parity", "--config", "tiny.toml", "--backends", "cpu,cpu"], &["--backends"]);
    refuses(place.path(), &["parity", "--config", "tiny.toml", "--bound", "nan"], &["--bound"]);
    refuses(
        place.path(),
        &["parity", "--config", "tiny.toml", "--data", "data", "--rule", "bp-clapp++"],
        &["bp-clapp++"],
    );
    refuses(place.path(), &["golden"], &["PATH"]);
}

#[test]
fn sizes_that_no_machine_holds_are_refused_by_field() {
    let place = place();
    for batch in ["100000000000", "4611686018427387904", "9223372036854775807"] {
        refuses(place.path(), &["info", "--config", "tiny.toml", "--batch", batch], &["batch"]);
        let parity = ["parity", "--config", "tiny.toml", "--data", "data", "--steps", "1", "--batch", batch];
        refuses(place.path(), &parity, &["batch"]);
    }
    for count in ["1000000000000", "9223372036854775807"] {
        let config = spoilt("\"ring\"", &format!("{{ uniform = {count} }}"));
        fs::write(place.path().join("bad.toml"), config).expect("a file");
        refuses(place.path(), &["info", "--config", "bad.toml"], &["bad.toml", "negatives.uniform"]);
        let train = ["train", "--config", "bad.toml", "--data", "data", "--out", "out"];
        refuses(place.path(), &train, &["bad.toml", "negatives.uniform"]);
    }
}

#[test]
fn a_block_without_channels_is_refused() {
    let place = place();
    fs::write(place.path().join("bad.toml"), spoilt("channels = 4", "channels = 0")).expect("a file");
    refuses(place.path(), &["info", "--config", "bad.toml"], &["bad.toml", "channels"]);
}

#[test]
fn a_name_that_leads_out_of_the_output_folder_is_refused() {
    let place = place();
    fs::write(place.path().join("bad.toml"), spoilt("name = \"tiny\"", "name = \"../stray\"")).expect("a file");
    refuses(place.path(), &["train", "--config", "bad.toml", "--data", "data"], &["bad.toml", "name"]);
}

#[test]
fn a_probe_without_images_is_refused() {
    let place = place();
    succeeds(place.path(), &["train", "--config", "tiny.toml", "--data", "data", "--epochs", "0", "--out", "run"]);
    refuses(place.path(), &["eval", "run/checkpoint.safetensors", "--data", "data", "--images", "0"], &["images"]);
}

fn refuses_data(place: &Path, config: &str, parts: &[&str]) {
    fs::write(place.join("tiny.toml"), config).expect("a file");
    refuses(place, &["train", "--config", "tiny.toml", "--data", "data", "--out", "out"], parts);
}

#[test]
fn a_data_set_that_is_not_whole_is_refused_by_file() {
    let place = place();
    let data = place.path().join("data");
    let file = data.join(cifar::FILES[2]);
    for (bytes, part) in [
        (cifar_file(0, 2)[..6000].to_vec(), "6000 bytes"),
        (Vec::new(), "0 bytes"),
        ([&[10], &cifar_file(0, 1)[1..]].concat(), "label 10"),
    ] {
        fs::write(&file, bytes).expect("a file");
        refuses_data(place.path(), CONFIG, &[cifar::FILES[2], part]);
    }
    fs::remove_file(&file).expect("a file");
    refuses_data(place.path(), CONFIG, &["data", cifar::FILES[2]]);
    fs::remove_dir_all(&data).expect("a folder");
    refuses_data(place.path(), CONFIG, &["data", "No such file"]);
    fs::create_dir(&data).expect("a folder");
    refuses_data(place.path(), CONFIG, &["data", "an empty folder"]);
}

#[test]
fn idx_files_that_are_wrong_or_do_not_fit_the_configuration_are_refused() {
    let place = place();
    let data = place.path().join("data");
    fs::remove_dir_all(&data).expect("a folder");
    write_idx(&data, 6);
    refuses_data(place.path(), CONFIG, &["input is [3, 32, 32]", "[1, 32, 32]"]);
    let image = vec![7; 6 * 1024];
    let mut wrong_magic = idx_file(&[6, 32, 32], &image);
    wrong_magic[2] = 0x0d;
    for (bytes, part) in [
        (wrong_magic, "0x00000d03"),
        (idx_file(&[6, 32, 32], &image[..6000]), "6000 values"),
        (idx_file(&[5, 32, 32], &image[..5 * 1024]), "5 images and 6 labels"),
        (idx_file(&[0, 32, 32], &[]), "[0, 32, 32]"),
        (vec![0, 0, 8], "3 bytes"),
    ] {
        fs::write(data.join(idx::FILES[0]), bytes).expect("a file");
        refuses_data(place.path(), &grey_config(), &[idx::FILES[0], part]);
    }
}

#[test]
fn one_training_image_is_refused_before_anything_is_written() {
    let place = place();
    let data = place.path().join("data");
    fs::remove_dir_all(&data).expect("a folder");
    write_idx(&data, 1);
    refuses_data(place.path(), &grey_config(), &["at least 2 images"]);
}

#[test]
fn an_output_folder_that_cannot_be_made_is_refused_before_training() {
    let place = place();
    fs::write(place.path().join("taken"), "a file in the way").expect("a file");
    for out in ["taken", "taken/deeper"] {
        refuses(place.path(), &["train", "--config", "tiny.toml", "--data", "data", "--out", out], &[out]);
    }
}

type Change = fn(&mut Parts);

#[test]
fn a_checkpoint_that_is_not_whole_or_not_ours_is_refused_by_file_and_tensor() {
    let place = place();
    succeeds(place.path(), &["train", "--config", "tiny.toml", "--data", "data", "--epochs", "0", "--out", "run"]);
    let whole = fs::read(place.path().join("run/checkpoint.safetensors")).expect("a checkpoint");
    let bad = place.path().join("bad.safetensors");
    let refused = |bytes: &[u8], parts: &[&str]| {
        fs::write(&bad, bytes).expect("a file");
        let parts = [&["bad.safetensors"], parts].concat();
        refuses(place.path(), &["eval", "bad.safetensors", "--data", "data", "--json", "report.json"], &parts);
    };
    refused(&[], &["not a complete safetensors file"]);
    refused(&whole[..5], &["not a complete safetensors file"]);
    refused(&whole[..whole.len() / 3], &["not a complete safetensors file"]);
    refused(&whole[..whole.len() - 1], &["not a complete safetensors file"]);
    refused(CONFIG.as_bytes(), &["not a complete safetensors file"]);
    let changes: [(Change, &[&str]); 10] = [
        (|parts| drop(parts.metadata.remove("clapp")), &["clapp", "metadata"]),
        (|parts| parts.header(|fields| drop(fields.remove("format"))), &["format"]),
        (
            |parts| parts.header(|fields| drop(fields.insert("format".into(), "clapp-checkpoint/3".into()))),
            &["format", "clapp-checkpoint/3"],
        ),
        (|parts| parts.header(|fields| drop(fields.remove("config"))), &["config"]),
        (
            |parts| {
                parts.header(|fields| drop(fields.insert("config".into(), spoilt("batch = 4", "batch = 1").into())))
            },
            &["config", "batch is 1"],
        ),
        (|parts| parts.header(|fields| drop(fields.insert("epoch".into(), "two".into()))), &["metadata", "two"]),
        (|parts| drop(parts.tensors.remove("layer1.bias")), &["layer1.bias", "missing"]),
        (
            |parts| parts.tensors.get_mut("layer0.weight").expect("it").1 = vec![4, 27],
            &["layer0.weight", "[4, 27]", "[4, 3, 3, 3]"],
        ),
        (|parts| parts.tensors.get_mut("layer0.bias").expect("it").0 = Dtype::I32, &["layer0.bias", "I32"]),
        (|parts| parts.nan("layer1.projection"), &["layer1.projection", "not finite"]),
    ];
    for (change, parts) in changes {
        let mut file = Parts::of(&whole);
        change(&mut file);
        refused(&file.bytes(), parts);
    }
    refuses(place.path(), &["eval", "data", "--data", "data"], &["data", "without checkpoint.safetensors"]);
    refuses(place.path(), &["eval", "none.safetensors"], &["none.safetensors", "No such file"]);
    // The parts themselves are sound: unchanged, they are read.
    fs::write(&bad, Parts::of(&whole).bytes()).expect("a file");
    succeeds(place.path(), &["eval", "bad.safetensors", "--data", "data", "--cached", "--epochs", "1"]);
}

#[test]
fn a_checkpoint_that_is_damaged_inside_a_tensor_is_refused_by_its_checksum() {
    let place = place();
    succeeds(place.path(), &["train", "--config", "tiny.toml", "--data", "data", "--epochs", "1", "--out", "run"]);
    let path = place.path().join("run/checkpoint.safetensors");
    let whole = fs::read(&path).expect("a checkpoint");
    let tensors = 8 + u64::from_le_bytes(whole[..8].try_into().expect("a length")) as usize;
    let eval = ["eval", "run", "--data", "data", "--cached", "--epochs", "1"];
    let align = ["align", "run", "--data", "data", "--batches", "1"];
    let resume = ["train", "--resume", "--out", "run", "--data", "data", "--epochs", "2"];
    let export = ["export", "run", "-o", "flash.bin"];
    // The lowest bit of a value: finite as before.
    for at in [tensors, ((tensors + whole.len()) / 2) & !3, whole.len() - 4] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).expect("a file");
        for command in [&eval[..], &align, &resume, &export] {
            refuses(place.path(), command, &["checkpoint.safetensors", "its contents do not match its checksum"]);
        }
        // An older file has no checksum, and is read as it is.
        let mut older = Parts::of(&damaged);
        older.header(|fields| drop(fields.remove("crc32").expect("a checksum")));
        fs::write(&path, older.bytes()).expect("a file");
        succeeds(place.path(), &align);
    }
    fs::write(&path, &whole).expect("a file");
    succeeds(place.path(), &align);
    let mut other = Parts::of(&whole);
    other.header(|fields| fields["crc32"] = "none".into());
    // The parts are put together with the right one.
    fs::write(&path, other.bytes()).expect("a file");
    succeeds(place.path(), &align);
}

#[test]
fn a_checkpoint_for_other_images_is_refused() {
    let place = place();
    succeeds(place.path(), &["train", "--config", "tiny.toml", "--data", "data", "--epochs", "0", "--out", "run"]);
    write_idx(&place.path().join("grey"), 4);
    let arguments = ["eval", "run/checkpoint.safetensors", "--data", "grey"];
    refuses(place.path(), &arguments, &["run/checkpoint.safetensors", "[3, 32, 32]", "[1, 32, 32]"]);
}

#[test]
fn a_device_is_not_replaced_by_a_result_nor_a_link_by_a_file() {
    let place = tempfile::tempdir().expect("a folder");
    let (file, link) = (place.path().join("file"), place.path().join("link"));
    fs::write(&file, "before").expect("a file");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    clapp_data::files::write_atomically(&link, b"after").expect("a link is followed");
    assert!(link.is_symlink());
    assert_eq!(fs::read(&file).expect("the file"), b"after");
    // A socket in place of a device: nobody else misses it if this goes wrong.
    let socket = place.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let refused = clapp_data::files::write_atomically(&socket, b"after").expect_err("a socket");
    assert!(refused.to_string().contains("not a regular file"), "{refused}");
    assert!(clapp_data::files::check_writable(&socket).is_err());
}
