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
    says(&text, &["STL-10 from stl.tar.gz, unpacked to copies", "not the published file: md5"]);
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
    refuses(
        place.path(),
        &["train", "--config", "grey.toml", "--data", "photos", "--out", "grey"],
        &["input is [1, 32, 32]", "class-folders are [3, H, W]"],
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
