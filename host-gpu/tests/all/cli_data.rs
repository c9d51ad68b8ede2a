//! Data sets through the program: `clapp data check` on whole and broken sets, and training and evaluation on small
//! sets in the official layouts.

#![allow(clippy::unwrap_used)]

use crate::cli_common;
use crate::sets;

use std::fs;
use std::path::Path;

use cli_common::{CONFIG, clapp, grey_config, refuses, succeeds, write_cifar, write_idx};
use sets::{file, folder_files, gz, stl_files, tar, tiny_files, write_files, zip};

/// Runs `clapp data check`, which must fail with exit code 2 and one line that names all of `parts`.
fn fails(folder: &Path, path: &str, parts: &[&str]) {
    let errors = refused(folder, path, parts);
    assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
}

/// Same as [`fails`], in any number of lines, which it gives.
fn refused(folder: &Path, path: &str, parts: &[&str]) -> String {
    let output = clapp(folder, &["data", "check", path]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    parts.iter().for_each(|part| assert!(errors.contains(part), "no `{part}` in: {errors}"));
    errors
}

/// Runs a check of a set that can be used, but has something to warn of. Returns what it says.
fn warns(folder: &Path, arguments: &[&str], parts: &[&str]) -> String {
    let output = clapp(folder, arguments);
    let (text, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{text}{errors}");
    parts.iter().for_each(|part| assert!(text.contains(part), "no `{part}` in: {text}"));
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("usable, with ") && last.contains(" warning"), "{text}");
    text
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
    // So small a set has not an image of every class.
    let check = ["data", "check", "stl10_binary", "--contact-sheet", "pictures/stl.png"];
    let parts = ["7 unlabelled", "10 classes, each with 0 to 1 training and 0 to 1 test images; 2 folds"];
    let text = warns(folder, &check, &parts);
    assert!(text.contains("train_y.bin: 6 bytes; note: not the published file: md5 "), "{text}");
    assert!(text.contains("5a34089d4802c674881badbb80307741"), "{text}");
    assert!(text.contains("4 classes without any image: horse, monkey, ship, truck\n"), "{text}");
    is_picture(&folder.join("pictures/stl.png"), 1000, 11 * 96);

    fs::write(folder.join("stl.tar.gz"), gz(&tar(&stl_files()))).unwrap();
    let parts = ["STL-10 from stl.tar.gz: 7 unlabelled", "; unpacked to copies", "not the published file: md5"];
    warns(folder, &["data", "check", "stl.tar.gz", "--cache", "copies"], &parts);
    assert_eq!(fs::read_dir(folder.join("copies")).unwrap().count(), 1);

    fs::write(folder.join("tiny-imagenet-200.zip"), zip(&tiny_files())).unwrap();
    let text = succeeds(folder, &["data", "check", "tiny-imagenet-200.zip", "--contact-sheet", "tiny.png"]);
    says(&text, &["15 training and 6 validation images of 3 classes", "decoded all 21 images: 64 x 64"]);
    says(&text, &["left out: images in parts that are not used (1): tiny-imagenet-200/test/images/test_0.JPEG"]);
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
    let parts =
        ["2 of 21 images cannot be used; --skip-bad", "n01443537_1.JPEG is not", "val_2.JPEG is not", "cut short"];
    let errors = refused(folder, "tiny.zip", &parts);
    assert_eq!(errors.trim_end().lines().count(), 3, "{errors}");
    write_files(folder, &tiny);
    refused(folder, "tiny-imagenet-200", &parts);
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
    clapp_data::data::cifar::FILES.iter().map(read).collect()
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
    let parts = ["without class_names.txt", "without fold_indices.txt: no folds", "10 classes"];
    let text = warns(place.path(), &["data", "check", "stl10_binary"], &parts);
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
    warns(folder, &["data", "check", "stl.tar.gz"], &["7 unlabelled, 6 training and 4 test images"]);
    let text = succeeds(folder, &["data", "check", "photos.tar.gz"]);
    says(&text, &["10 training and 4 validation images", "decoded all 14 images"]);
    assert!(!text.contains("unpacked to"), "{text}");
    assert_eq!(names(), before);
    fs::write(folder.join("tiny.toml"), CONFIG).unwrap();
    let train = ["train", "--config", "tiny.toml", "--data", "photos.tar.gz", "--out", "run", "--epochs", "0"];
    let text = succeeds(folder, &train);
    let copy = names().into_iter().find(|name| name.ends_with(".tar")).unwrap();
    assert!(text.contains(&format!("unpacked to ./{copy} (remove the copy")) || text.contains(&copy), "{text}");
    // One that is there already is read, and stays.
    says(&succeeds(folder, &["data", "check", "photos.tar.gz"]), &[&copy]);
    assert!(folder.join(copy).is_file());
}

#[test]
fn a_check_shows_a_table_and_says_ok_only_of_a_whole_set() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let mut photos = folder_files();
    photos.push(("train/.DS_Store".into(), b"side".to_vec()));
    write_files(&folder.join("photos"), &photos);
    let text = succeeds(folder, &["data", "check", "photos"]);
    says(&text, &["  class  training      test\n", "  cat           5         2\n", "  all          10         4\n"]);
    says(
        &text,
        &["formats of 14 images: 10 JPEG, 4 PNG", "\nleft out: files that are not images (1): train/cat/notes.txt"],
    );
    says(&text, &["\nleft out: hidden files and system files (1): train/.DS_Store"]);
    fs::write(folder.join("photos/train/dog/x.heic"), b"\0\0\0\x18ftypheic").unwrap();
    fs::create_dir(folder.join("photos/train/emu")).unwrap();
    fs::remove_dir_all(folder.join("photos/val/dog")).unwrap();
    let parts = [
        "warning: left out: images in unsupported formats (1): train/dog/x.heic",
        "warning: 1 class without any image: emu",
        "warning: 1 class without test images (their accuracy cannot be measured): dog",
        "usable, with 3 warnings\n",
    ];
    warns(folder, &["data", "check", "photos"], &parts);
    // Training says the same, shortly.
    fs::write(folder.join("tiny.toml"), CONFIG).unwrap();
    let train = ["train", "--config", "tiny.toml", "--data", "photos", "--out", "run", "--epochs", "0"];
    let output = clapp(folder, &train);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    parts[..3].iter().for_each(|part| assert!(errors.contains(part), "no `{part}` in: {errors}"));
}

/// A user's own archive has no official copy.
#[test]
fn a_cut_archive_names_the_official_one_only_by_its_name() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let whole = gz(&tar(&folder_files()));
    for (name, has) in [("own.tar.gz", ""), ("stl10_binary.tar.gz", "stl10")] {
        fs::write(folder.join(name), &whole[..whole.len() / 8]).unwrap();
        let errors = refused(folder, name, &[name, "The archive is cut short or damaged"]);
        assert_eq!(errors.contains("A whole copy"), !has.is_empty(), "{errors}");
        assert!(!errors.contains("cifar"), "{errors}");
    }
}

#[test]
fn bad_images_are_all_named_or_skipped_and_recorded() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let config = CONFIG.replace("lr = 0.01\n", "lr = 0.01\ntest = { resize = 36, crop = 32 }\n");
    fs::write(folder.join("tiny.toml"), config).unwrap();
    let mut photos = folder_files();
    for name in ["train/cat/1.jpg", "train/dog/4.PNG", "val/dog/a.jpeg"] {
        file(&mut photos, name).truncate(40);
    }
    write_files(&folder.join("photos"), &photos);
    let train = ["train", "--config", "tiny.toml", "--data", "photos", "--out", "run"];
    let parts =
        ["3 of 14 images cannot be used; --skip-bad", "train/cat/1.jpg is", "train/dog/4.PNG is", "val/dog/a.jpeg is"];
    refused(folder, "photos", &parts);
    // Before anything is trained, and before there is a folder.
    refuses(folder, &train, &parts);
    let text = succeeds(folder, &["data", "check", "photos", "--skip-bad"]);
    let skipped = "skipped bad images (3): train/cat/1.jpg, train/dog/4.PNG, val/dog/a.jpeg";
    assert!(text.contains(skipped) && text.contains("\n  all           8         3\n"), "{text}");
    assert!(text.ends_with("\nok without the 3 bad images\n"), "{text}");
    let output = clapp(folder, &[&train[..], &["--skip-bad"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains(skipped));
    // Those that are read, those that are skipped, those that are left.
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts =
        "10 training and 4 validation images of 2 classes; 3 bad images skipped, 8 training and 3 test images kept";
    assert!(said.contains(counts), "{said}");
    let run = fs::read_to_string(folder.join("run/run.json")).unwrap();
    assert!(run.contains("\"train/dog/4.PNG\"") && run.contains("\"train_images\": 8"), "{run}");
    // The evaluation does as the run did, and so does going on.
    let said = succeeds(folder, &["eval", "run", "--data", "photos", "--cached"]);
    assert!(said.contains("on 8 images"), "{said}");
    succeeds(folder, &["train", "--resume", "--out", "run", "--data", "photos", "--epochs", "3"]);
    // More than ten.
    for number in 0..12 {
        photos.push((format!("train/cat/bad{number:02}.png"), Vec::new()));
    }
    write_files(&folder.join("photos"), &photos);
    let errors = refused(folder, "photos", &["15 of 26 images cannot be used", "bad07.png is not", "\n  and 5 more"]);
    assert_eq!(errors.trim_end().lines().count(), 12, "{errors}");
    // Nothing is left.
    fs::create_dir_all(folder.join("none/train/cat")).unwrap();
    fs::create_dir_all(folder.join("none/val/cat")).unwrap();
    fs::write(folder.join("none/train/cat/1.jpg"), b"").unwrap();
    fs::write(folder.join("none/val/cat/1.jpg"), b"").unwrap();
    refuses(
        folder,
        &["data", "check", "none", "--skip-bad"],
        &["2 of 2 images cannot be used, and too few others are left"],
    );
}

#[test]
fn a_flat_set_is_split_by_the_run_and_its_evaluation_alike() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let config = CONFIG.replace("lr = 0.01\n", "lr = 0.01\ntest = { resize = 36, crop = 32 }\n");
    fs::write(folder.join("tiny.toml"), config).unwrap();
    let flat = folder_files()
        .into_iter()
        .map(|(name, bytes)| (format!("photos/{}", &name[name.find('/').unwrap() + 1..]), bytes));
    write_files(folder, &flat.collect());
    refused(folder, "photos", &["photos lacks val/CLASS", "--split 0.8"]);
    let train = ["train", "--config", "tiny.toml", "--data", "photos", "--out", "run"];
    refuses(folder, &train, &["--split 0.8"]);
    for wrong in ["0", "1", "1.5", "-0.5", "nan"] {
        refuses(
            folder,
            &[&train[..], &[&format!("--split={wrong}")]].concat(),
            &["--split: split is", "above 0 and below 1"],
        );
    }
    refuses(folder, &[&train[..], &["--split-seed", "3"]].concat(), &["split-seed is given without split"]);
    refuses(folder, &["train", "--preset", "demo", "--split", "0.5", "--out", "demo"], &["--split", "--data PATH"]);
    succeeds(folder, &[&train[..], &["--split", "0.7"]].concat());
    let run = fs::read_to_string(folder.join("run/run.json")).unwrap();
    assert!(
        run.contains("\"split\": 0.7") && run.contains("\"split_seed\": 3") && run.contains("\"test_images\": 4"),
        "{run}"
    );
    assert!(fs::read_to_string(folder.join("run/config.toml")).unwrap().contains("\nsplit = 0.7\n"));
    let eval = ["eval", "run", "--data", "photos", "--cached"];
    let said = succeeds(folder, &eval);
    assert!(
        said.contains("10 training and 4 validation images") && said.contains("split 0.7 by names with seed 3"),
        "{said}"
    );
    assert_eq!(said, succeeds(folder, &[&eval[..], &["--split", "0.7"]].concat()));
    refuses(folder, &[&eval[..], &["--split", "0.5"]].concat(), &["the run was trained on a split of 0.7 with seed 3"]);
    refuses(folder, &[&eval[..], &["--split-seed", "4"]].concat(), &["Leave --split and --split-seed out"]);
    succeeds(folder, &["train", "--resume", "--out", "run", "--data", "photos", "--epochs", "3"]);
    let text = succeeds(folder, &["data", "check", "photos", "--split", "0.7", "--split-seed", "3"]);
    says(&text, &["split 0.7 by names with seed 3", "  dog           5         2\n"]);
    write_cifar(&folder.join("cifar"));
    refuses(folder, &["data", "check", "cifar", "--split", "0.8"], &["cifar10", "images to test on", "and --split"]);
    // The user gave no such option.
    let other = ["eval", "run", "--data", "cifar", "--cached", "--json", "other.json"];
    refuses(folder, &other, &["images to test on, and a split of 0.7 in the run's configuration"]);
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

/// Trains and evaluates, twice by the paper's protocol and once on cached features. Returns what `eval` says.
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
    fs::create_dir(place.path().join("set")).unwrap();
    fs::write(place.path().join("set/stl10_binary.tar.gz"), gz(&tar(&stl_files()))).unwrap();
    let config = CONFIG.replace("lr = 0.01\n", "lr = 0.01\ntest = { resize = 36, crop = 32 }\n");
    let said = train_and_eval(place.path(), &config, &["--data", "set/stl10_binary.tar.gz", "--cache", "copies"]);
    assert!(said.contains("7 unlabelled, 6 training and 4 test images"), "{said}");
    assert!(said.contains("2 epochs on 6 images") && said.contains("plane"), "{said}");
    // Seven images in batches of 4: two steps an epoch.
    let metrics = fs::read_to_string(place.path().join("run/metrics.csv")).unwrap();
    let last = metrics.lines().last().unwrap();
    assert!(last.starts_with("1,4,") || last.starts_with("2,4,"), "{metrics}");
    let eval = ["eval", "run/checkpoint.safetensors", "--data", "set", "--cache", "copies", "--fold"];
    let said = succeeds(place.path(), &[&eval[..], &["1"]].concat());
    assert!(said.contains("2 epochs on 3 images"), "{said}");
    refuses(place.path(), &[&eval[..], &["2"]].concat(), &["--fold", "is 2", "stl10 has 2 folds"]);
    // The images do not fit as they are, and are resized and cropped.
    fs::write(place.path().join("plain.toml"), CONFIG).unwrap();
    succeeds(
        place.path(),
        &["train", "--config", "plain.toml", "--data", "set", "--cache", "copies", "--out", "plain"],
    );
    let said = succeeds(place.path(), &["eval", "plain/checkpoint.safetensors", "--data", "set", "--cache", "copies"]);
    assert!(said.contains("4 test images resized to 32, centre crop 32"), "{said}");
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
    // Without a configured transform, the images are resized and cropped.
    fs::write(place.path().join("plain.toml"), CONFIG).unwrap();
    succeeds(place.path(), &["train", "--config", "plain.toml", "--data", "photos", "--out", "plain"]);
    succeeds(place.path(), &["eval", "plain/checkpoint.safetensors", "--data", "photos"]);
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
