//! `clapp paper` through the real program: wrong input is refused before anything is written, and results are kept.

use crate::cli_common;

use cli_common::{clapp, refuses, succeeds, write_cifar};
use std::fs;

#[test]
fn without_a_name_the_experiments_are_listed() {
    let place = tempfile::tempdir().expect("a folder");
    let said = succeeds(place.path(), &["paper"]);
    for name in ["theorem", "fig2", "fig3a", "fig3b", "fig4", "all"] {
        assert!(said.lines().any(|line| line.split_whitespace().next() == Some(name)), "no {name} in: {said}");
    }
    assert_eq!(fs::read_dir(place.path()).expect("a folder").count(), 0);
}

#[test]
fn wrong_arguments_are_refused_and_nothing_is_written() {
    let place = tempfile::tempdir().expect("a folder");
    let data = tempfile::tempdir().expect("a folder");
    write_cifar(&data.path().join("data"));
    let set = data.path().join("data").display().to_string();
    let table: [(&[&str], &[&str]); 11] = [
        (&["paper", "--seed", "4"], &["NAME"]),
        (&["paper", "all", "--found"], &["--found", "there are no results"]),
        (&["paper", "fig99"], &["fig99", "expected one of", "theorem"]),
        (&["paper", "theorem", "--page", "p.md"], &["--page", "paper all"]),
        (&["paper", "theorem", "--data", "no-such-folder"], &["no-such-folder"]),
        (&["paper", "theorem", "--data", &set, "--data", &set], &["--data", "twice"]),
        (&["paper", "theorem", "--precision", "bf16"], &["--precision"]),
        (&["paper", "theorem", "--backend", "emulated"], &["--backend", "theorem"]),
        (&["paper", "theorem", "--found"], &["--found", "paper all"]),
        (&["paper", "theorem", "--again", "--kept"], &["--again", "--kept"]),
        (&["paper", "all", "--page", "/proc/page.md"], &["/proc/page.md"]),
    ];
    for (arguments, parts) in table {
        refuses(place.path(), arguments, parts);
        assert_eq!(fs::read_dir(place.path()).expect("a folder").count(), 0, "{arguments:?}");
    }
}

#[test]
fn an_experiment_writes_its_numbers_once_and_keeps_them() {
    let place = tempfile::tempdir().expect("a folder");
    let said = succeeds(place.path(), &["paper", "theorem", "--out", "found"]);
    assert!(said.contains("held: ") && said.contains("wrote found/theorem"), "{said}");
    let folder = place.path().join("found/theorem");
    let file = folder.join("finding.json");
    let first = fs::read_to_string(&file).expect("a file");
    let names: Vec<String> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().any(|name| name.ends_with(".csv")), "{names:?}");
    // Lost files are made again.
    let lost: Vec<_> = names.iter().filter(|name| *name != "finding.json").map(|name| folder.join(name)).collect();
    let before: Vec<_> = lost.iter().map(|path| fs::read(path).expect("a file")).collect();
    for path in &lost {
        fs::remove_file(path).expect("removed");
    }
    let said = succeeds(place.path(), &["paper", "theorem", "--out", "found"]);
    assert!(said.contains("theorem: kept from ") && !said.contains("wrote"), "{said}");
    assert_eq!(lost.iter().map(|path| fs::read(path).expect("a file")).collect::<Vec<_>>(), before);
    assert_eq!(fs::read_to_string(&file).expect("a file"), first);
    // The page of the existing results, without running the rest.
    let said = succeeds(place.path(), &["paper", "all", "--found", "--out", "found", "--page", "page.md"]);
    assert!(said.contains("fig2: no result yet"), "{said}");
    let page = fs::read_to_string(place.path().join("page.md")).expect("a page");
    let claims = page.lines().filter(|line| line.ends_with(" | [theorem](page/theorem.md) |")).count();
    assert!(claims == 7 && page.contains("Not run yet: fig2, "), "{page}");
    // Each claim has its number.
    assert!(!page.contains("| - | [theorem]"), "{page}");
    let page = fs::read_to_string(place.path().join("page/theorem.md")).expect("a page");
    assert!(page.contains("[page.md](../page.md)") && page.contains("`clapp paper theorem`, seed 2"), "{page}");
    assert!(place.path().join("page/certificates.csv").is_file() && !place.path().join("page/fig2.md").exists());
    // Pages that clapp wrote are replaced, a page of somebody else is not.
    succeeds(place.path(), &["paper", "all", "--found", "--out", "found", "--page", "page.md"]);
    fs::write(place.path().join("page/theorem.md"), "# Mine\n").expect("a file");
    refuses(
        place.path(),
        &["paper", "all", "--found", "--out", "found", "--page", "page.md"],
        &["--page", "theorem.md"],
    );
    assert_eq!(fs::read_to_string(place.path().join("page/theorem.md")).expect("a page"), "# Mine\n");
    // A damaged file is made again, with the same numbers.
    fs::write(&file, &first[..first.len() / 3]).expect("a file");
    succeeds(place.path(), &["paper", "theorem", "--out", "found"]);
    let number = |text: &str| text.split("\"finding\"").nth(1).expect("a finding").to_owned();
    assert_eq!(number(&fs::read_to_string(&file).expect("a file")), number(&first));
    // Results from other inputs stay, unless the user replaces them.
    let other = ["paper", "theorem", "--out", "found", "--seed", "3"];
    refuses(place.path(), &other, &["found/theorem/finding.json", "is from seed 2", "another --out", "--again"]);
    let output = clapp(place.path(), &[&other[..], &["--again"]].concat());
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("kept from"));
    let warned = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(warned.contains("the result in found/theorem/finding.json, from seed 2, will be replaced"), "{warned}");
}
