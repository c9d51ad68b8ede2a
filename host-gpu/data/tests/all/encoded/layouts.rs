//! Possible positions of class folders, and the split of a set without a test part.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clapp_data::data::{self, Dataset, Holdout, Opening};

use super::{all, left_out, names};
use crate::sets::{self, Files, WNIDS, contents, folder_files, gz, refused, tiny_files, write_files, zip};

/// What becomes of the name of a file.
type Naming = Box<dyn Fn(&str) -> String>;

fn renamed(files: Files, name: impl Fn(&str) -> String) -> Files {
    files.into_iter().map(|(old, bytes)| (name(&old), bytes)).collect()
}

#[test]
fn class_folders_are_found_wherever_they_lie() {
    let place = tempfile::tempdir().unwrap();
    write_files(&place.path().join("plain"), &folder_files());
    let expected = all(&data::open(&place.path().join("plain")).unwrap());
    let parts = |train: &'static str, test: &'static str| {
        move |name: &str| name.replace("train/", &format!("{train}/")).replace("val/", &format!("{test}/"))
    };
    let forms: [(&str, Naming); 8] = [
        ("dot", Box::new(|name| format!("./{name}"))),
        ("wrapped", Box::new(|name| format!("photos/{name}"))),
        ("twice", Box::new(|name| format!("my photos/of animals/{name}"))),
        ("test", Box::new(parts("train", "test"))),
        ("valid", Box::new(parts("train", "valid"))),
        ("validation", Box::new(parts("training", "validation"))),
        ("case", Box::new(parts("Train", "Val"))),
        ("upper", Box::new(parts("TRAIN", "TEST"))),
    ];
    for (form, name) in forms {
        let files = renamed(folder_files(), name);
        let folder = place.path().join(form);
        write_files(&folder, &files);
        fs::write(folder.with_extension("zip"), zip(&files)).unwrap();
        fs::write(folder.with_extension("tar"), sets::tar(&files)).unwrap();
        fs::write(folder.with_extension("tar.gz"), gz(&sets::tar(&files))).unwrap();
        for path in ["", "zip", "tar", "tar.gz"] {
            let path = if path.is_empty() { folder.clone() } else { folder.with_extension(path) };
            let set = data::open(&path).unwrap_or_else(|error| panic!("{error}"));
            assert!(all(&set) == expected, "{}", path.display());
        }
    }
    // What a packer on Windows makes of the names.
    let backslashes = renamed(folder_files(), |name| format!("photos\\{}", name.replace('/', "\\")));
    fs::write(place.path().join("windows.zip"), zip(&backslashes)).unwrap();
    fs::write(place.path().join("windows.tar"), sets::tar(&backslashes)).unwrap();
    // The oldest form of a tar, without a mark.
    let mut old = tar::Builder::new(Vec::new());
    for (name, bytes) in folder_files() {
        let mut header = tar::Header::new_old();
        header.set_path(&name).unwrap();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        old.append(&header, bytes.as_slice()).unwrap();
    }
    fs::write(place.path().join("old.tar"), old.into_inner().unwrap()).unwrap();
    for name in ["windows.zip", "windows.tar", "old.tar"] {
        assert!(all(&data::open(&place.path().join(name)).unwrap()) == expected, "{name}");
    }
}

#[test]
fn of_several_parts_and_sets_it_is_said_which() {
    let place = tempfile::tempdir().unwrap();
    let mut files = folder_files();
    files.extend(renamed(folder_files(), |name| name.replace("train/", "extra/").replace("val/", "test/")));
    write_files(&place.path().join("more"), &files);
    let set = data::open(&place.path().join("more")).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (10, 4));
    assert_eq!(left_out(&set, "parts that are not used").0, 4);
    assert_eq!(left_out(&set, "outside of the set").0, 10);
    let twice = renamed(folder_files(), |name| name.replace("train/", "Train/").replace("val/", "Val/"));
    files = folder_files();
    files.extend(twice);
    fs::write(place.path().join("twice.zip"), zip(&files)).unwrap();
    let set = data::open(&place.path().join("twice.zip")).unwrap();
    assert_eq!((set.train.len(), left_out(&set, "outside of the set").0), (10, 14));
    assert!(set.left_out.warnings() > 0);
    // A class may be called as a part is.
    let vehicles = renamed(folder_files(), |name| name.replace("/cat/", "/train/").replace("/dog/", "/test/"));
    write_files(&place.path().join("vehicles"), &vehicles);
    assert_eq!(data::open(&place.path().join("vehicles")).unwrap().classes, ["test", "train"]);
    let mut two = renamed(folder_files(), |name| format!("a/{name}"));
    two.extend(renamed(folder_files(), |name| format!("b/{name}")));
    write_files(&place.path().join("two"), &two);
    refused(&place.path().join("two"), &["2 sets", "two/a", "two/b", "name its folder"]);
    fs::write(place.path().join("two.zip"), zip(&two)).unwrap();
    refused(&place.path().join("two.zip"), &["2 sets"]);
}

/// The set without its parts.
fn flat_files() -> Files {
    renamed(folder_files(), |name| name.trim_start_matches("train/").trim_start_matches("val/").into())
}

fn divided(path: &Path, share: f64, seed: u64) -> Dataset {
    let opening = Opening { holdout: Some(Holdout { share, seed, of_run: false }), ..Opening::default() };
    data::open_as(path, opening).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_flat_set_is_divided_by_names_alike_everywhere() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("flat");
    write_files(&folder, &flat_files());
    refused(&folder, &["lacks val/CLASS", "class folders without train and val", "--split 0.8"]);
    let set = divided(&folder, 0.7, 3);
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!((set.train.len(), set.test.len()), (10, 4));
    assert_eq!(set.counts(), [vec![5, 5], vec![2, 2]]);
    assert!(set.source.contains("split 0.7 by names with seed 3"), "{}", set.source);
    let [train, test] = [&set.train, &set.test].map(|split| BTreeSet::from_iter(names(split)));
    assert!(train.is_disjoint(&test) && train.len() + test.len() == 14);
    assert!((0..8).any(|seed| names(&divided(&folder, 0.7, seed).test) != names(&set.test)));
    // Neither the order of the files nor what is around them matters.
    let mut reversed = flat_files();
    reversed.reverse();
    let wrapped = renamed(reversed.clone(), |name| format!("some/where/{name}"));
    write_files(&place.path().join("wrapped"), &wrapped);
    fs::write(place.path().join("flat.zip"), zip(&reversed)).unwrap();
    fs::write(place.path().join("flat.tar.gz"), gz(&sets::tar(&wrapped))).unwrap();
    for name in ["wrapped", "flat.zip", "flat.tar.gz"] {
        assert!(all(&divided(&place.path().join(name), 0.7, 3)) == all(&set), "{name}");
    }
    // One more image moves no other of another class.
    fs::write(folder.join("dog/new.jpg"), fs::read(folder.join("dog/0.jpg")).unwrap()).unwrap();
    let more = divided(&folder, 0.7, 3);
    let of_cats =
        |set: &Dataset| names(&set.test).into_iter().filter(|name| name.starts_with("cat")).collect::<Vec<_>>();
    assert_eq!(of_cats(&more), of_cats(&set));
    // A class with one image.
    fs::create_dir(folder.join("owl")).unwrap();
    fs::copy(folder.join("dog/0.jpg"), folder.join("owl/0.jpg")).unwrap();
    let set = divided(&folder, 0.5, 1);
    assert_eq!(set.counts()[0][2], 1);
    assert_eq!(set.warnings(), ["1 class without test images (their accuracy cannot be measured): owl"]);
}

#[test]
fn a_part_to_learn_from_alone_can_be_divided_and_a_whole_set_cannot() {
    let place = tempfile::tempdir().unwrap();
    // Images to test on without labels, as competitions give them.
    let mut files = folder_files();
    files = renamed(files, |name| if name.starts_with("val/") { name.replace('/', "_") } else { name.into() });
    files = renamed(files, |name| if name.starts_with("val_") { format!("test/{name}") } else { name.into() });
    write_files(place.path(), &files);
    refused(place.path(), &["lacks val/CLASS", "a part to learn from", "--split 0.8"]);
    let set = divided(place.path(), 0.8, 2);
    assert_eq!((set.train.len(), set.test.len()), (8, 2));
    assert_eq!(left_out(&set, "parts that are not used").0, 4);
    assert!(all(&divided(&place.path().join("train"), 0.8, 2)) == all(&set));

    let whole = tempfile::tempdir().unwrap();
    write_files(whole.path(), &folder_files());
    write_files(whole.path(), &tiny_files());
    let opening = Opening { holdout: Some(Holdout { share: 0.8, seed: 1, of_run: false }), ..Opening::default() };
    for path in [whole.path().to_path_buf(), whole.path().join("tiny-imagenet-200")] {
        let text = data::open_as(&path, opening).unwrap_err().to_string();
        assert!(text.contains("images to test on") && text.contains("--split for class folders without"), "{text}");
    }
}

#[test]
fn tiny_imagenet_with_sorted_validation_images_is_the_same_set() {
    let place = tempfile::tempdir().unwrap();
    write_files(&place.path().join("official"), &tiny_files());
    let official = data::open(&place.path().join("official")).unwrap();
    let class = |number: &str| WNIDS[number.parse::<usize>().unwrap() % 3];
    let sorted = |below: &str| {
        renamed(tiny_files(), |name| match name.split_once("val/images/val_") {
            Some((before, rest)) => {
                format!("{before}val/{}/{below}val_{rest}", class(rest.trim_end_matches(".JPEG")))
            }
            None => name.into(),
        })
    };
    for (number, below) in ["", "images/"].into_iter().enumerate() {
        let mut files = sorted(below);
        let folder = place.path().join(format!("sorted{number}"));
        write_files(&folder, &files);
        fs::write(folder.with_extension("zip"), zip(&files)).unwrap();
        for path in [folder.clone(), folder.with_extension("zip"), folder.join("tiny-imagenet-200")] {
            let set = data::open(&path).unwrap();
            assert_eq!(set.name, "tiny-imagenet");
            assert!(all(&set) == all(&official), "{}", path.display());
        }
        // Without the list, the folders tell.
        files.retain(|(name, _)| !name.ends_with("val_annotations.txt"));
        let folder = place.path().join(format!("without{number}"));
        write_files(&folder, &files);
        let set = data::open(&folder).unwrap();
        assert!(contents(&set.train) == contents(&official.train));
        assert_eq!(set.test.labels(), official.test.labels());
    }
    // A folder and the list that disagree.
    let mut files = sorted("");
    files = renamed(files, |name| name.replace("n01443537/val_0", "n01629819/val_0"));
    write_files(&place.path().join("wrong"), &files);
    refused(&place.path().join("wrong"), &["val_annotations.txt", "n01629819/val_0.JPEG", "the class of its folder"]);
}
