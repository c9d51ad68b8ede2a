//! Data sets through the program: `clapp data check` on whole and broken sets, and training and evaluation on small
//! sets in the official layouts.

#![allow(clippy::unwrap_used)]

mod cli_common;
mod sets;

use std::fs;
use std::path::Path;

use cli_common::{CONFIG, clapp, grey_config, refuses, succeeds, write_cifar, write_idx};
use sets::{file, folder_files, gz, stl_files, tar, tiny_files, write_files, zip};

/// Runs `clapp data check`, which must fail with exit code 2 and one line that names all of `parts`.
fn fails(folder: &Path, path: &str, parts: &[&str]) {
    let output = clapp(folder, &["data", "check", path]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
    parts.iter().for_each(|part| assert!(errors.contains(part), "no `{part}` in: {errors}"));
}

fn says(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "no `{part}` in: {text}"));
    assert!(text.ends_with("ok\n"), "{text}");
}

/// A picture of at least that size with more than a few colours.
fn is_picture(path: &Path, width: u32, height: u32) {
    let picture = image::open(path).unwrap().into_rgb8();
    assert!(picture.width() >= width && picture.height() >= height, "{:?}", picture.dimensions());
    let colours: std::collections::HashSet<_> = picture.pixels().collect();
    assert!(colours.len() > 50, "{} colours", colours.len());
}

#[test]
fn whole_sets_are_counted_and_drawn() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write_files(folder, &stl_files());
    let text = succeeds(folder, &["data", "check", "stl10_binary", "--contact-sheet", "pictures/stl.png"]);
    says(&text, &["7 unlabelled", "10 classes, each with 0 to 1 training and 0 to 1 test images; 2 folds"]);
    says(&text, &["train_y.bin: 6 bytes; note: not the published file: md5", "5a34089d4802c674881badbb80307741"]);
    is_picture(&folder.join("pictures/stl.png"), 1000, 11 * 96);

    fs::write(folder.join("stl.tar.gz"), gz(&tar(&stl_files()))).unwrap();
    let text = succeeds(folder, &["data", "check", "stl.tar.gz", "--cache", "copies"]);
    says(&text, &["STL-10 from stl.tar.gz: 7 unlabelled", "; unpacked to copies", "not the published file: md5"]);
    assert_eq!(fs::read_dir(folder.join("copies")).unwrap().count(), 1);

    fs::write(folder.join("tiny-imagenet-200.zip"), zip(&tiny_files())).unwrap();
    let text = succeeds(folder, &["data", "check", "tiny-imagenet-200.zip", "--contact-sheet", "tiny.png"]);
    says(&text, &["15 training and 6 validation images of 3 classes", "decoded all 21 images: 64 x 64"]);
    is_picture(&folder.join("tiny.png"), 1000, 3 * 96);

    write_files(&folder.join("photos"), &folder_files());
    let text = succeeds(folder, &["data", "check", "photos", "--contact-sheet", "photos.png"]);
    says(&text, &["2 classes, each with 5 training and 2 test images"]);
    says(&text, &["decoded all 14 images: 21 to 90 high and 20 to 61 wide"]);
    is_picture(&folder.join("photos.png"), 1000, 2 * 96);

    write_cifar(&folder.join("cifar"));
    says(&succeeds(folder, &["data", "check", "cifar"]), &["CIFAR-10 from cifar: 20 training and 10 test images"]);
    write_idx(&folder.join("idx"), 6);
    let text = succeeds(folder, &["data", "check", "idx", "--contact-sheet", "idx.png"]);
    says(&text, &["2 classes, each with 3 training and 2 test images"]);
    assert!(folder.join("idx.png").is_file());
}

#[test]
fn broken_sets_are_refused_in_one_line() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let mut tiny = tiny_files();
    for name in ["n01443537_1.JPEG", "val_2.JPEG"] {
        let bytes = file(&mut tiny, name);
        bytes.truncate(bytes.len() - 30);
    }
    fs::write(folder.join("tiny.zip"), zip(&tiny)).unwrap();
    fails(folder, "tiny.zip", &["2 of 21 images cannot be used", "n01443537_1.JPEG", "cut short"]);
    write_files(folder, &tiny);
    fails(folder, "tiny-imagenet-200", &["2 of 21 images cannot be used", "n01443537_1.JPEG", "cut short"]);
    let mut stl = stl_files();
    file(&mut stl, "test_X.bin").pop();
    write_files(folder, &stl);
    fails(folder, "stl10_binary", &["test_X.bin", "110591 bytes", "27648"]);
    fails(folder, "nothing", &["nothing", "No such file"]);
    fs::create_dir(folder.join("empty")).unwrap();
    fails(folder, "empty", &["an empty folder", "STL-10", "Tiny ImageNet"]);
    refuses(folder, &["data", "check", "stl10_binary", "--contact-sheet", "."], &["."]);
    refuses(folder, &["data"], &["check"]);
}

#[test]
fn hints_are_given_where_somebody_has_a_whole_copy() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let says = |path: &str, parts: &[&str], hint: &str| {
        fails(folder, path, parts);
        let errors = String::from_utf8(clapp(folder, &["data", "check", path]).stderr).unwrap();
        assert!(!errors.contains("a whole copy") || !hint.is_empty(), "{errors}");
        assert!(errors.contains(hint) && !errors.contains("image-net.org"), "{errors}");
    };
    // Images of the user's own.
    let mut photos = folder_files();
    photos.retain(|(name, _)| !name.starts_with("val/dog"));
    photos.push(("val/bird/1.jpg".into(), b"no image".to_vec()));
    write_files(&folder.join("photos"), &photos);
    says("photos", &["class bird", "a class of train"], "");
    fs::write(folder.join("photos.zip"), zip(&photos)).unwrap();
    says("photos.zip", &["class bird", "a class of train"], "");
    fs::write(folder.join("cut.zip"), &zip(&photos)[..3000]).unwrap();
    says("cut.zip", &["cut.zip"], "");
    // Tiny ImageNet without its list of classes is not taken for such.
    let mut tiny = tiny_files();
    tiny.retain(|(name, _)| !name.ends_with("wnids.txt"));
    write_files(folder, &tiny);
    says("tiny-imagenet-200", &["lacks wnids.txt"], "cs231n.stanford.edu");
    fs::write(folder.join("tiny.zip"), zip(&tiny)).unwrap();
    says("tiny.zip", &["lacks wnids.txt"], "cs231n.stanford.edu");
}

/// A small CIFAR-10 as the official archive has it.
fn cifar_files() -> sets::Files {
    let place = tempfile::tempdir().unwrap();
    write_cifar(place.path());
    let read = |name: &&str| (format!("cifar-10-batches-bin/{name}"), fs::read(place.path().join(name)).unwrap());
    clapp_host_gpu::data::cifar::FILES.iter().map(read).collect()
}

#[test]
fn cifar_is_read_from_a_zip_and_a_cut_file_is_named() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::write(folder.join("cifar.zip"), zip(&cifar_files())).unwrap();
    let text = succeeds(folder, &["data", "check", "cifar.zip"]);
    says(&text, &["CIFAR-10 from cifar.zip: 20 training and 10 test images"]);
    fs::write(folder.join("tiny.toml"), CONFIG).unwrap();
    write_cifar(&folder.join("plain"));
    let checkpoint = |data: &str, out: &str| {
        succeeds(folder, &["train", "--config", "tiny.toml", "--data", data, "--out", out, "--epochs", "1"]);
        fs::read(folder.join(out).join("checkpoint.safetensors")).unwrap()
    };
    assert!(checkpoint("cifar.zip", "zipped") == checkpoint("plain", "unzipped"));

    let mut files = cifar_files();
    file(&mut files, "data_batch_3.bin").truncate(7000);
    fs::write(folder.join("short.zip"), zip(&files)).unwrap();
    fails(folder, "short.zip", &["short.zip: cifar-10-batches-bin/data_batch_3.bin: found 7000 bytes", "3073"]);
    let whole = tar(&cifar_files());
    // In the midst of the third file: each takes 12,292 bytes and a header, in blocks of 512.
    fs::write(folder.join("cut.tar"), &whole[..2 * (512 + 12_800) + 512 + 5000]).unwrap();
    fails(folder, "cut.tar", &["cut.tar: cifar-10-batches-bin/data_batch_3.bin"]);
    // Compressed so little that a cut archive ends in the same file.
    fs::write(folder.join("cut.tar.gz"), gz(&whole[..2 * (512 + 12_800) + 512 + 5000])).unwrap();
    fails(folder, "cut.tar.gz", &["cut.tar.gz: cifar-10-batches-bin/data_batch_3.bin"]);
    let unknown = ["data", "check", "tiny.toml"];
    let errors = String::from_utf8(clapp(folder, &unknown).stderr).unwrap();
    assert!(errors.contains("CIFAR-10") && errors.len() < 300, "{errors}");
}

#[test]
fn stl_10_without_names_and_folds_says_so() {
    let place = tempfile::tempdir().unwrap();
    let mut files = stl_files();
    files.retain(|(name, _)| !name.ends_with(".txt"));
    write_files(place.path(), &files);
    let text = succeeds(place.path(), &["data", "check", "stl10_binary"]);
    says(&text, &["without class_names.txt", "without fold_indices.txt: no folds", "10 classes"]);
    assert!(!text.contains("2 folds"), "{text}");
}

#[test]
fn an_unpacked_copy_is_named_and_a_check_leaves_none() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::write(folder.join("stl.tar.gz"), gz(&tar(&stl_files()))).unwrap();
    fs::write(folder.join("photos.tar.gz"), gz(&tar(&folder_files()))).unwrap();
    let names = || {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.collect::<std::collections::BTreeSet<String>>()
    };
    let before = names();
    let text = succeeds(folder, &["data", "check", "stl.tar.gz"]);
    says(&text, &["7 unlabelled, 6 training and 4 test images"]);
    let text = succeeds(folder, &["data", "check", "photos.tar.gz"]);
    says(&text, &["10 training and 4 validation images", "decoded all 14 images"]);
    assert!(!text.contains("unpacked to"), "{text}");
    assert_eq!(names(), before);
    fs::write(folder.join("tiny.toml"), CONFIG).unwrap();
    let train = ["train", "--config", "tiny.toml", "--data", "photos.tar.gz", "--out", "run", "--epochs", "0"];
    let text = succeeds(folder, &train);
    let copy = names().into_iter().find(|name| name.ends_with(".tar")).unwrap();
    assert!(text.contains(&format!("unpacked to ./{copy}, which may be removed")) || text.contains(&copy), "{text}");
    // One that is there already is read, and stays.
    says(&succeeds(folder, &["data", "check", "photos.tar.gz"]), &[&copy]);
    assert!(folder.join(copy).is_file());
}

#[test]
fn a_preset_for_other_images_is_noted_and_the_record_says_what_was_read() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write_files(folder, &stl_files());
    write_cifar(&folder.join("cifar"));
    let note = |preset: &str, data: &str| {
        let fixed = ["train", "--width", "0.02", "--batch", "4", "--epochs", "0", "--overwrite", "--out", "run"];
        let output = clapp(folder, &[&fixed[..], &["--preset", preset, "--data", data]].concat());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{errors}");
        errors
    };
    assert!(note("cifar10", "stl10_binary").contains("note: preset cifar10 on stl10 data"));
    assert!(note("demo", "cifar").contains("note: preset demo on cifar10 data"));
    // Of a configuration that generates its images, the record names the files that were read instead.
    let config = fs::read_to_string(folder.join("run/config.toml")).unwrap();
    assert!(config.contains("data = \"files\""), "{config}");
    assert!(fs::read_to_string(folder.join("run/run.json")).unwrap().contains("\"cifar10\""));
    refuses(folder, &["eval", "run", "--cached"], &["--data"]);
    let more = ["train", "--resume", "--out", "run", "--data", "cifar", "--epochs", "1"];
    succeeds(folder, &more);
    assert_eq!(note("cifar10", "cifar"), "");
    succeeds(folder, &["train", "--preset", "demo", "--epochs", "0", "--out", "shapes"]);
    let config = fs::read_to_string(folder.join("shapes/config.toml")).unwrap();
    assert!(config.contains("data = \"generated\""), "{config}");
}

/// Trains and evaluates, twice by the paper's protocol and once on cached features; gives what `eval` says.
fn train_and_eval(folder: &Path, config: &str, data: &[&str]) -> String {
    fs::write(folder.join("run.toml"), config).unwrap();
    let train = ["train", "--config", "run.toml", "--out", "run", "--overwrite"];
    succeeds(folder, &[&train[..], data].concat());
    let eval = ["eval", "run/checkpoint.safetensors"];
    let first = succeeds(folder, &[&eval[..], data].concat());
    assert_eq!(first, succeeds(folder, &[&eval[..], data].concat()));
    succeeds(folder, &[&eval[..], data, &["--cached"]].concat());
    first
}

#[test]
fn stl_10_trains_on_its_unlabelled_images_and_is_probed_on_the_others() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("stl10_binary.tar.gz"), gz(&tar(&stl_files()))).unwrap();
    let config = CONFIG.replace("lr = 0.01\n", "lr = 0.01\ntest = { resize = 36, crop = 32 }\n");
    let said = train_and_eval(place.path(), &config, &["--data", "stl10_binary.tar.gz", "--cache", "copies"]);
    assert!(said.contains("7 unlabelled, 6 training and 4 test images"), "{said}");
    assert!(said.contains("2 epochs on 6 images") && said.contains("plane"), "{said}");
    // Seven images in batches of 4: two steps an epoch.
    let metrics = fs::read_to_string(place.path().join("run/metrics.csv")).unwrap();
    let last = metrics.lines().last().unwrap();
    assert!(last.starts_with("1,4,") || last.starts_with("2,4,"), "{metrics}");
    let eval = ["eval", "run/checkpoint.safetensors", "--data", ".", "--cache", "copies", "--fold"];
    let said = succeeds(place.path(), &[&eval[..], &["1"]].concat());
    assert!(said.contains("2 epochs on 3 images"), "{said}");
    refuses(place.path(), &[&eval[..], &["2"]].concat(), &["--fold", "is 2", "stl10 has 2 folds"]);
    // As they are, they do not fit.
    fs::write(place.path().join("plain.toml"), CONFIG).unwrap();
    succeeds(place.path(), &["train", "--config", "plain.toml", "--data", ".", "--cache", "copies", "--out", "plain"]);
    refuses(
        place.path(),
        &["eval", "plain/checkpoint.safetensors", "--data", ".", "--cache", "copies"],
        &["input is [3, 32, 32]", "stl10 are [3, 96, 96]"],
    );
}

#[test]
fn tiny_imagenet_and_photos_are_trained_on_and_probed() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("tiny-imagenet-200.zip"), zip(&tiny_files())).unwrap();
    let config = CONFIG.replace("lr = 0.01\n", "lr = 0.01\ntest = { resize = 32, crop = 32 }\n");
    let said = train_and_eval(place.path(), &config, &["--data", "tiny-imagenet-200.zip"]);
    assert!(said.contains("15 training and 6 validation images") && said.contains("goldfish"), "{said}");
    write_files(&place.path().join("photos"), &folder_files());
    let said = train_and_eval(place.path(), &config, &["--data", "photos"]);
    assert!(said.contains("10 training and 4 validation images") && said.contains("dog"), "{said}");
    // Without a transform the first image that does not fit is named.
    fs::write(place.path().join("plain.toml"), CONFIG).unwrap();
    succeeds(place.path(), &["train", "--config", "plain.toml", "--data", "photos", "--out", "plain"]);
    refuses(
        place.path(),
        &["eval", "plain/checkpoint.safetensors", "--data", "photos"],
        &["is [3, 45, 60] when it is tested", "input is [3, 32, 32]", "probe.test"],
    );
    fs::write(place.path().join("grey.toml"), grey_config()).unwrap();
    // A network of one channel sees them in grey, but one of three has no colours to see in digits.
    let said = succeeds(place.path(), &["train", "--config", "grey.toml", "--data", "photos", "--out", "grey"]);
    assert!(said.contains("10 training and 4 validation images of 2 classes, in grey"), "{said}");
    write_idx(&place.path().join("digits"), 4);
    refuses(
        place.path(),
        &["train", "--config", "plain.toml", "--data", "digits", "--out", "digits-run"],
        &["input is [3, 32, 32]", "idx are [1, 32, 32]"],
    );
    fs::write(
        place.path().join("bad.toml"),
        CONFIG.replace("lr = 0.01\n", "lr = 0.01\ntest = { resize = 31, crop = 32 }\n"),
    )
    .unwrap();
    refuses(
        place.path(),
        &["train", "--config", "bad.toml", "--data", "photos", "--out", "bad"],
        &["bad.toml", "probe.test", "resize is 31"],
    );
}
