//! Hidden files, empty folders, links and names that an archive has twice: each is counted and named, or refused.

use std::fs;
use std::io::{Cursor, Write};

use clapp_data::data;
use tar::EntryType;
use zip::write::SimpleFileOptions;

use super::{all, left_out, names};
use crate::sets::{Files, contents, folder_files, gz, jpeg, picture, refused, write_files, zip};

/// A tar with files, and entries with a type of their own and what they link to.
fn tar_of(entries: &[(&str, EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind, target, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        // As they are: the library would refuse what the test is about.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn side_files_and_empty_folders_are_named() {
    let place = tempfile::tempdir().unwrap();
    let mut files = folder_files();
    for name in
        ["train/.DS_Store", "train/cat/Thumbs.db", "train/cat/._0.jpg", "__MACOSX/train/cat/._0.jpg", ".git/config"]
    {
        files.push((name.into(), b"side".to_vec()));
    }
    files.push(("README.md".into(), b"read me".to_vec()));
    files.push(("train/cat/more/still/deep.png".into(), jpeg(&picture(0, 0, 9, 9))));
    files.push(("test/cat/1.jpg".into(), jpeg(&picture(0, 0, 9, 9))));
    files.push(("spare/2.jpg".into(), jpeg(&picture(0, 0, 9, 9))));
    write_files(place.path(), &files);
    for folder in ["train/emu", "val/emu", "val/fox"] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
    }
    let set = data::open(place.path()).unwrap();
    assert_eq!(set.classes, ["cat", "dog", "emu"]);
    assert_eq!((set.train.len(), set.test.len()), (11, 4));
    assert_eq!(left_out(&set, "system files").0, 5);
    assert_eq!(left_out(&set, "parts that are not used"), (1, vec!["test/cat/1.jpg".into()]));
    assert_eq!(left_out(&set, "outside of the set"), (1, vec!["spare/2.jpg".into()]));
    assert_eq!(left_out(&set, "empty folders of no class"), (1, vec!["val/fox/".into()]));
    assert_eq!(left_out(&set, "not images").1, ["train/cat/notes.txt", "README.md"]);
    assert_eq!(set.warnings(), ["1 class without any image: emu"]);
    // The same in an archive that has entries for its folders.
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for folder in ["train/emu", "val/emu", "val/fox"] {
        archive.add_directory(format!("set/{folder}"), SimpleFileOptions::default()).unwrap();
    }
    for (name, bytes) in &files {
        archive.start_file(format!("set/{name}"), SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("a.zip"), archive.finish().unwrap().into_inner()).unwrap();
    let packed = data::open(&other.path().join("a.zip")).unwrap();
    assert!(all(&packed) == all(&set) && packed.classes == set.classes);
    let counts = |set: &data::Dataset| set.left_out.iter().map(|entry| (entry.why, entry.count)).collect::<Vec<_>>();
    assert_eq!(counts(&packed), counts(&set));
}

#[test]
fn classes_that_cannot_be_learnt_or_tested_are_named() {
    let place = tempfile::tempdir().unwrap();
    let mut files: Files = folder_files();
    files.retain(|(name, _)| !name.starts_with("val/dog"));
    write_files(&place.path().join("untested"), &files);
    let warnings = data::open(&place.path().join("untested")).unwrap().warnings();
    assert_eq!(warnings, ["1 class without test images (their accuracy cannot be measured): dog"]);
    files = folder_files();
    files.retain(|(name, _)| !name.starts_with("train/dog"));
    write_files(&place.path().join("unlearnt"), &files);
    fs::create_dir(place.path().join("unlearnt/train/dog")).unwrap();
    let warnings = data::open(&place.path().join("unlearnt")).unwrap().warnings();
    assert!(warnings[0].starts_with("1 class with test images, but without training images"), "{warnings:?}");
    assert!(warnings[0].ends_with(": dog") && warnings[1].contains("belong to one class"), "{warnings:?}");
    files.retain(|(name, _)| !name.contains("/dog/"));
    write_files(&place.path().join("one"), &files);
    assert!(
        data::open(&place.path().join("one")).unwrap().warnings()[0]
            .contains("all training images belong to one class")
    );
}

#[cfg(unix)]
#[test]
fn links_in_a_folder_are_followed_once() {
    use std::os::unix::fs::symlink;
    let place = tempfile::tempdir().unwrap();
    let (set, elsewhere) = (place.path().join("set"), place.path().join("elsewhere"));
    write_files(&set, &folder_files());
    let plain = data::open(&set).unwrap();
    symlink(".", set.join("train/cat/self")).unwrap();
    symlink("..", set.join("train/loop")).unwrap();
    symlink("../..", set.join("val/dog/up")).unwrap();
    symlink("cat", set.join("train/kitty")).unwrap();
    symlink("nothing.jpg", set.join("train/cat/broken.jpg")).unwrap();
    symlink("a.link", set.join("train/cat/a.link")).unwrap();
    let found = data::open(&set).unwrap();
    assert!(all(&found) == all(&plain));
    assert_eq!(left_out(&found, "contains the link").1, ["train/loop/", "train/cat/self/", "val/dog/up/"]);
    assert_eq!(left_out(&found, "already read").1, ["train/kitty/"]);
    assert_eq!(left_out(&found, "broken links").1, ["train/cat/a.link", "train/cat/broken.jpg"]);
    assert!(found.left_out.warnings() > 0);

    // A class that lies elsewhere, with a way back into the set; and links to files.
    write_files(&elsewhere, &vec![("cow/1.jpg".into(), jpeg(&picture(2, 1, 30, 30)))]);
    symlink(&set, elsewhere.join("cow/set")).unwrap();
    symlink(elsewhere.join("cow"), set.join("train/cow")).unwrap();
    symlink("../cat/0.jpg", set.join("train/dog/same.jpg")).unwrap();
    fs::hard_link(set.join("train/cat/1.jpg"), set.join("train/dog/hard.jpg")).unwrap();
    let found = data::open(&set).unwrap();
    assert_eq!(found.classes, ["cat", "cow", "dog"]);
    assert_eq!((found.train.len(), found.test.len()), (plain.train.len() + 3, plain.test.len()));
    assert!(left_out(&found, "contains the link").1.contains(&"train/cow/set/".into()));
    // The same images to learn from and to test on.
    let both = place.path().join("both");
    fs::create_dir(&both).unwrap();
    symlink(set.join("train/dog"), both.join("dog")).unwrap();
    symlink(set.join("train/cat"), both.join("cat")).unwrap();
    let links = place.path().join("links");
    fs::create_dir(&links).unwrap();
    symlink(&both, links.join("train")).unwrap();
    symlink("train", links.join("val")).unwrap();
    let found = data::open(&links).unwrap();
    assert_eq!((found.train.len(), found.test.len()), (12, 12));
}

#[test]
fn links_in_an_archive_give_the_same_images_as_in_the_folder() {
    let place = tempfile::tempdir().unwrap();
    let [one, two, three] = [1, 2, 3].map(|number| jpeg(&picture(0, number, 20, 30)));
    let entries: Vec<(&str, EntryType, &str, &[u8])> = vec![
        ("set/pool/", EntryType::Directory, "", b""),
        ("set/pool/far/1.jpg", EntryType::Regular, "", &three),
        ("set/train/ant/0.jpg", EntryType::Regular, "", &one),
        ("set/train/ant/1.jpg", EntryType::Link, "set/train/ant/0.jpg", b""),
        ("set/train/ant/2.jpg", EntryType::Symlink, "./0.jpg", b""),
        ("set/train/bee/0.jpg", EntryType::Regular, "", &two),
        ("set/train/bee/chain.jpg", EntryType::Symlink, "../ant/2.jpg", b""),
        ("set/train/cow", EntryType::Symlink, "../pool/far", b""),
        ("set/val", EntryType::Symlink, "train", b""),
        // None of these may lead anywhere.
        ("set/train/ant/self", EntryType::Symlink, ".", b""),
        ("set/train/ant/up", EntryType::Symlink, "../..", b""),
        ("set/train/ant/out.jpg", EntryType::Symlink, "../../../../etc/passwd", b""),
        ("set/train/ant/root.jpg", EntryType::Symlink, "/etc/passwd", b""),
        ("set/train/ant/gone.jpg", EntryType::Link, "set/train/ant/9.jpg", b""),
        ("set/train/bee/a.jpg", EntryType::Symlink, "b.jpg", b""),
        ("set/train/bee/b.jpg", EntryType::Symlink, "a.jpg", b""),
    ];
    let tar = tar_of(&entries);
    fs::write(place.path().join("a.tar"), &tar).unwrap();
    fs::write(place.path().join("a.tgz"), gz(&tar)).unwrap();
    let set = data::open(&place.path().join("a.tar")).unwrap();
    assert_eq!(set.classes, ["ant", "bee", "cow"]);
    assert_eq!((set.train.len(), set.test.len()), (6, 6));
    assert!(contents(&set.train) == contents(&set.test));
    let image = |name: &str| {
        let at = (0..6).find(|&i| set.train.file_name(i) == Some(name)).unwrap();
        set.train.image(at).unwrap()
    };
    assert!(image("set/train/ant/1.jpg") == image("set/train/ant/0.jpg"));
    assert!(image("set/train/bee/chain.jpg") == image("set/train/ant/0.jpg"));
    assert!(image("set/train/cow/1.jpg") != image("set/train/ant/0.jpg"));
    assert!(all(&data::open(&place.path().join("a.tgz")).unwrap()) == all(&set));
    assert_eq!(left_out(&set, "out of the archive").0, 2 * 2);
    assert_eq!(left_out(&set, "broken links").0, 2);
    assert_eq!(left_out(&set, "lead to each other").0, 2 * 2);
    assert_eq!(left_out(&set, "contains the link").0, 2 * 2);

    // A zip keeps a link as a file with the path in it.
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, kind, target, bytes) in &entries {
        match kind {
            EntryType::Symlink => archive.add_symlink(*name, *target, SimpleFileOptions::default()).unwrap(),
            EntryType::Regular => {
                archive.start_file(*name, SimpleFileOptions::default()).unwrap();
                archive.write_all(bytes).unwrap();
            }
            EntryType::Link => {
                archive.start_file(*name, SimpleFileOptions::default()).unwrap();
                archive.write_all(&one).unwrap();
            }
            _ => {}
        }
    }
    fs::write(place.path().join("a.zip"), archive.finish().unwrap().into_inner()).unwrap();
    let zipped = data::open(&place.path().join("a.zip")).unwrap();
    // The hard link that led nowhere is a file here.
    assert_eq!((zipped.train.len(), zipped.test.len()), (7, 7));
    assert_eq!(names(&zipped.train).len(), 7);
}

#[test]
fn names_that_lead_out_of_an_archive_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let bytes = jpeg(&picture(0, 0, 8, 8));
    for (number, name) in
        ["../train/cat/out.jpg", "train/../../x.jpg", "/train/cat/x.jpg", "C:/train/cat/x.jpg"].iter().enumerate()
    {
        let unsafe_entry =
            [("train/cat/0.jpg", EntryType::Regular, "", &bytes[..]), (*name, EntryType::Regular, "", &bytes)];
        let tar = tar_of(&unsafe_entry);
        fs::write(place.path().join(format!("{number}.tar")), &tar).unwrap();
        fs::write(place.path().join(format!("{number}.tar.gz")), gz(&tar)).unwrap();
        let mut files = folder_files();
        files.push(((*name).into(), bytes.clone()));
        fs::write(place.path().join(format!("{number}.zip")), zip(&files)).unwrap();
        for ending in ["tar", "tar.gz", "zip"] {
            refused(&place.path().join(format!("{number}.{ending}")), &["unsafe name", name]);
        }
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 12);
}

#[test]
fn of_a_name_that_comes_twice_the_last_file_is_read_and_the_name_is_said() {
    let place = tempfile::tempdir().unwrap();
    let [first, last] = [1, 4].map(|number| jpeg(&picture(0, number, 20, 30)));
    let entries: Vec<(&str, EntryType, &str, &[u8])> = vec![
        ("train/cat/0.jpg", EntryType::Regular, "", &first),
        ("./train/cat/0.jpg", EntryType::Regular, "", &last),
        ("val/cat/0.jpg", EntryType::Regular, "", &last),
    ];
    fs::write(place.path().join("a.tar"), tar_of(&entries)).unwrap();
    let set = data::open(&place.path().join("a.tar")).unwrap();
    assert_eq!(left_out(&set, "duplicate names"), (1, vec!["train/cat/0.jpg".into()]));
    assert_eq!(set.train.len(), 1);
    assert!(set.train.image(0).unwrap() == set.test.image(0).unwrap());
    // Writers of zips refuse it: one name is changed afterwards.
    let files: Files = [("train/cat/0.jpg", &first), ("train/cat/1.jpg", &last), ("val/cat/0.jpg", &last)]
        .map(|(name, bytes)| (name.to_string(), bytes.clone()))
        .into();
    let mut bytes = zip(&files);
    let old = b"train/cat/1.jpg";
    let places: Vec<usize> = (0..bytes.len() - old.len()).filter(|&at| bytes[at..].starts_with(old)).collect();
    assert_eq!(places.len(), 2);
    places.into_iter().for_each(|at| bytes[at + 10] = b'0');
    fs::write(place.path().join("a.zip"), bytes).unwrap();
    let set = data::open(&place.path().join("a.zip")).unwrap();
    assert_eq!(left_out(&set, "duplicate names"), (1, vec!["train/cat/0.jpg".into()]));
    assert!(set.train.len() == 1 && set.train.image(0).unwrap() == set.test.image(0).unwrap());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_archives_with_links_never_panic(
        flips in proptest::collection::vec((0.0_f64..1.0, proptest::prelude::any::<u8>()), 0..4),
        names in proptest::collection::vec("[abt./]{1,6}", 6),
    ) {
        let entries: Vec<(&str, EntryType, &str, &[u8])> = vec![
            ("train/a/1.ppm", EntryType::Regular, "", b"P5 1 1 255\nx"),
            ("val/a/1.ppm", EntryType::Regular, "", b"P5 1 1 255\nx"),
            (&names[0], EntryType::Symlink, &names[1], b""),
            ("train/a/t", EntryType::Symlink, &names[2], b""),
            (&names[3], EntryType::Link, &names[4], b""),
            (&names[5], EntryType::Regular, "", b"P5 1 1 255\nx"),
        ];
        let mut bytes = tar_of(&entries);
        let len = bytes.len() as f64;
        flips.into_iter().for_each(|(at, value)| bytes[(at * len) as usize] = value);
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("a.tar"), bytes).unwrap();
        if let Ok(set) = data::open(&place.path().join("a.tar")) {
            proptest::prop_assert!(set.train.labels().iter().all(|&label| usize::from(label) < set.classes.len()));
            proptest::prop_assert!(set.train.len() <= 16);
        }
    }
}
