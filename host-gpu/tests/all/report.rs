//! `clapp report`: contents of the page, missing data, and refused inputs.

use crate::cli_common;
use crate::report_runs;

use clapp_engine::config::RuleName;
use cli_common::refuses;
use report_runs::{Made, Place, accuracy, between, final_loss, write_probe};
use std::fs;

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// The row of a run in a table.
fn row<'a>(page: &'a str, table: &str, number: usize) -> &'a str {
    let tables = between(page, &format!("data-table=\"{table}\""), "</table>");
    let row = |table: &'a str| between(table, &format!("<tr data-run=\"{number}\">"), "</tr>").into_iter().next();
    tables.into_iter().find_map(row).expect("a row")
}

#[test]
fn one_run_is_a_page_with_its_numbers() {
    let place = Place::new();
    let folder = place.run("only", &Made::default());
    write_probe(&folder, false, 3);
    let page = place.page(&["only"]);
    let row = row(&page, "results", 1);
    let (last, best) = accuracy(3, 0);
    assert!(row.find(&percent(last)).expect("final epoch") < row.find(&percent(best)).expect("best epoch"), "{row}");
    assert!(row.contains("finished") && row.contains("103.0") && !row.contains("differs"), "{row}");
    assert!(page.contains("The best epoch is selected on the test images"));
    assert!(!page.contains("What differs") && !page.contains("data-chart=\"loss-layer-0\""));
    for chart in ["run-1-loss", "run-1-probe", "accuracy", "images-per-second"] {
        assert_eq!(page.matches(&format!("data-chart=\"{chart}\"")).count(), 1, "{chart}");
    }
}

#[test]
fn the_same_runs_give_the_same_bytes() {
    let place = Place::new();
    for (name, seed) in [("a", 1), ("b", 2)] {
        write_probe(&place.run(name, &Made { seed, ..Made::default() }), true, seed);
    }
    let page = place.page(&["a", "b"]);
    assert_eq!(page, place.page(&["a", "b"]));
    assert_ne!(page, place.page(&["b", "a"]));
}

#[test]
fn a_folder_of_runs_stands_for_them_by_name() {
    let place = Place::new();
    for (name, seed) in [("all/b", 2), ("all/a", 1)] {
        place.run(name, &Made { seed, ..Made::default() });
    }
    fs::create_dir(place.path().join("all/notes")).expect("a folder");
    let page = place.page(&["all"]);
    assert_eq!(page, place.page(&["all/a", "all/b"]));
    assert!(row(&page, "losses", 1).contains(&final_loss(1, 1)) && row(&page, "losses", 2).contains(&final_loss(2, 0)));
}

#[test]
fn settings_that_differ_are_marked_and_listed() {
    let place = Place::new();
    place.run("a", &Made::default());
    place.run("b", &Made { rule: RuleName::BpClappPp, width: 2.0, ..Made::default() });
    let page = place.page(&["a", "b"]);
    let cell =
        |label: &str| between(row(&page, "results", 2), "<td", ">").into_iter().find(|cell| cell.contains(label));
    for (label, differs) in [("\"rule\"", true), ("\"width\"", true), ("\"seed\"", false), ("\"epochs\"", false)] {
        assert_eq!(cell(label).expect("a cell").contains("differs"), differs, "{label}");
    }
    assert_eq!(between(&page, "data-field=\"", "\""), ["rule", "width"]);
    let rule = between(&page, "data-field=\"rule\"", "</div>")[0];
    assert!(rule.contains("clapp++") && rule.contains("bp-clapp++"), "{rule}");
}

#[test]
fn runs_on_different_data_are_told_apart_and_not_ranked() {
    let place = Place::new();
    for (name, data, seed) in [("a", "cifar10", 1), ("b", "stl10", 9), ("c", "cifar10", 2)] {
        let folder = place.run(name, &Made { seed, ..Made::default() });
        let path = folder.join("run.json");
        let text = fs::read_to_string(&path).expect("text").replace("\"cifar10\"", &format!("\"{data}\""));
        fs::write(&path, text).expect("a file");
        write_probe(&folder, false, seed);
    }
    let page = place.page(&["a", "b", "c"]);
    assert!(row(&page, "results", 2).contains("stl10: 20 training, 10 test images"));
    let data = between(&page, "data-field=\"data set\"", "</div>")[0];
    assert!(data.contains("cifar10: 20 training") && data.contains("stl10: 20 training"), "{data}");
    // The best of each set, and a chart of each.
    let (two, nine) = (percent(accuracy(2, 0).0), percent(accuracy(9, 0).0));
    assert!(page.contains(&format!("<b>{two}</b>highest final accuracy on cifar10, run ")), "{page}");
    // With a single run, no accuracy is marked as the highest.
    assert!(page.contains(&format!("<b>{nine}</b>final accuracy on stl10, run ")));
    let bars =
        |chart: &str| between(&page, &format!("data-chart=\"{chart}\""), "</figure>")[0].matches("<rect").count();
    assert_eq!((bars("accuracy-1"), bars("accuracy-2")), (6, 3));
    // The same images throughout: one list.
    let page = place.page(&["a", "c"]);
    assert!(page.contains(&format!("<b>{two}</b>highest final accuracy, run ")));
    assert!(!page.contains("data-field=\"data set\"") && page.contains("data-chart=\"accuracy\""));
}

#[test]
fn unlike_probes_are_shown_with_their_protocols_and_never_ranked_together() {
    let place = Place::new();
    for (name, seed) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        let folder = place.run(name, &Made { seed, ..Made::default() });
        match name {
            "d" => {}
            _ => write_probe(&folder, false, seed),
        }
        if name == "b" {
            let path = folder.join("probe.json");
            let text = fs::read_to_string(&path).expect("text");
            assert!(text.contains("\"epochs\": 3"), "{text}");
            fs::write(
                &path,
                text.replace("\"epochs\": 3", "\"epochs\": 1").replace("\"train_images\": 20", "\"train_images\": 9"),
            )
            .expect("a file");
        }
    }
    // One of each kind: nothing is the highest.
    let page = place.page(&["a", "b"]);
    assert!(!page.contains("highest final accuracy"), "{page}");
    assert_eq!(page.matches("data-table=\"results\"").count(), 2);
    for (number, words) in [
        (1, "3 epochs on 20 images, new augmentation each epoch"),
        (2, "1 epoch on 9 images, new augmentation each epoch"),
    ] {
        let row = row(&page, "results", number);
        assert!(row.contains(words) && row.contains("10 test images as they are; seed "), "{row}");
    }
    assert!(page.contains("data-chart=\"accuracy-1\"") && page.contains("data-chart=\"accuracy-2\""));
    assert!(page.contains("not comparable"));
    // Runs of equal protocol are ranked. Other runs, and runs without a probe, are listed separately.
    let page = place.page(&["a", "b", "c", "d"]);
    let highest = percent(accuracy(3, 0).0);
    assert_eq!(page.matches("highest final accuracy").count(), 1);
    assert!(page.contains(&format!("<b>{highest}</b>highest final accuracy, run ")), "{page}");
    let tables = between(&page, "data-table=\"results\"", "</table>");
    let runs: Vec<Vec<&str>> = tables.iter().map(|table| between(table, "<tr data-run=\"", "\"")).collect();
    assert_eq!(runs, [vec!["1", "3"], vec!["2"], vec!["4"]]);
    assert!(page.contains("<h3>Not probed</h3>"));
    // Runs with other probes are no repetition of each other.
    let seeds = between(&page, "data-table=\"seeds\"", "</table>")[0];
    assert!(seeds.contains("2 of 4 runs") && seeds.contains("3 epochs on 20 images"), "{seeds}");
    // Nor is the probe of an encoder that has learnt on since the highest.
    let path = place.path().join("c/probe.json");
    let text = fs::read_to_string(&path).expect("text").replace("\"encoder_epochs\": 1", "\"encoder_epochs\": 0");
    fs::write(&path, text).expect("a file");
    assert!(!place.page(&["a", "c"]).contains("highest final accuracy"));
}

#[test]
fn runs_in_deeper_folders_are_found_once_and_told_apart() {
    let place = Place::new();
    for (name, seed) in [("deep/x/one", 1), ("deep/y/z/one", 2), ("deep/y/two", 3)] {
        place.run(name, &Made { seed, ..Made::default() });
    }
    fs::create_dir_all(place.path().join("deep/empty/.hidden")).expect("a folder");
    let page = place.page(&["deep", "deep/y"]);
    let rows: Vec<&str> = (1..=3).map(|number| row(&page, "results", number)).collect();
    assert!(rows[0].contains("> x/one<") && rows[1].contains("> two<") && rows[2].contains("> z/one<"), "{rows:?}");
    assert_eq!(page.matches("<article").count(), 3);
    refuses(place.path(), &["report", "deep/empty", "--out", "page.html"], &["deep/empty", "no run.json"]);
}

#[test]
fn runs_that_differ_in_the_seed_only_have_a_mean_and_a_deviation() {
    let place = Place::new();
    for (name, seed, width) in [("a", 1, 1.0), ("b", 2, 1.0), ("c", 6, 1.0), ("wide", 1, 2.0), ("wider", 1, 3.0)] {
        let folder = place.run(name, &Made { seed, width, ..Made::default() });
        if name != "wider" {
            write_probe(&folder, false, seed);
        }
    }
    let page = place.page(&["a", "b", "c", "wide", "wider"]);
    let table = between(&page, "data-table=\"seeds\"", "</table>")[0];
    assert_eq!(table.matches("<tr>").count(), 2, "a head and one group: {table}");
    // 20.47, 20.94 and 22.82 %, and 1.23 more after the best epoch.
    assert!(table.contains("21.41 % ± 1.24") && table.contains("22.64 % ± 1.24"), "{table}");
    assert!(!table.contains("cached") && table.contains("cifar10: 20 training"), "{table}");
    // Without values no row.
    let accuracies = between(&page, "data-table=\"accuracies\"", "</table>")[0];
    assert_eq!(accuracies.matches("<tr data-run=").count(), 4);
    // Other images are another experiment.
    let path = place.path().join("c/run.json");
    let text = fs::read_to_string(&path).expect("text").replace("\"train_images\": 20", "\"train_images\": 19");
    fs::write(&path, text).expect("a file");
    let page = place.page(&["a", "b", "c"]);
    let table = between(&page, "data-table=\"seeds\"", "</table>")[0];
    assert!(table.contains("20.71 % ± 0.33"), "{table}");
    assert!(!place.page(&["a", "wide"]).contains("data-table=\"seeds\""));
    // So are other test images of a set that is divided.
    for (seeds, grouped) in [([1, 2], false), ([2, 2], true)] {
        for (name, seed) in ["a", "b"].into_iter().zip(seeds) {
            let path = place.run(name, &Made { seed: 1 + u64::from(name == "b"), ..Made::default() }).join("run.json");
            let text = fs::read_to_string(&path).expect("text");
            let division = format!("\"test_images\": 10, \"split\": 0.8, \"split_seed\": {seed}");
            fs::write(&path, text.replace("\"test_images\": 10", &division)).expect("a file");
        }
        assert_eq!(place.page(&["a", "b"]).contains("data-table=\"seeds\""), grouped, "{seeds:?}");
    }
}

#[test]
fn what_is_missing_is_said() {
    let place = Place::new();
    let raw = place.run("raw", &Made { epochs: 0, ..Made::default() });
    fs::remove_file(raw.join("metrics.csv")).expect("removed");
    let going = place.run("going", &Made { epochs: 7, ..Made::default() });
    write_probe(&going, false, 3);
    let early = place.run("early", &Made { epochs: 7, ..Made::default() });
    fs::remove_file(early.join("checkpoint.safetensors")).expect("removed");
    let failed = place.run("failed", &Made { epochs: 7, ..Made::default() });
    fs::write(failed.join("failure.txt"), "the loss of layer 1 is NaN at step 9\n").expect("a file");
    let page = place.page(&["raw", "going", "early", "failed"]);
    let row = |number| row(&page, "results", number);
    assert!(row(1).contains("untrained encoder") && row(1).contains("not measured") && row(1).contains("no probe yet"));
    assert!(
        row(2).contains("1 of 7 epochs: still going, or interrupted") && row(2).contains(&percent(accuracy(3, 0).0))
    );
    assert!(row(3).contains("0 of 7 epochs") && row(3).contains("no probe yet"));
    assert!(row(4).contains("failed: the loss of layer 1 is NaN at step 9"));
    assert!(page.contains("<b>1 of 4</b>finished") && page.contains("<b>1</b>failed"));
    // A probe of an earlier checkpoint is not passed off as one of this.
    let later = fs::read_to_string(going.join("probe.json")).expect("text");
    fs::write(going.join("probe.json"), later.replace("\"encoder_epochs\": 1", "\"encoder_epochs\": 4"))
        .expect("a file");
    assert!(place.page(&["going"]).contains("of the encoder after 4 epochs"));
    fs::remove_file(going.join("probe.json")).expect("removed");
    assert!(place.page(&["going"]).contains("No run has been probed yet"));
}

#[test]
fn names_from_files_are_text_and_never_markup() {
    let place = Place::new();
    let evil = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>";
    let folder = place.run("x\"><script>alert(3)<", &Made::default());
    let change = |file: &str, from: &str| {
        let text = fs::read_to_string(folder.join(file)).expect("text");
        let quoted = serde_json::to_string(evil).expect("text");
        assert!(text.contains(from), "{text}");
        fs::write(folder.join(file), text.replacen(from, &quoted, 1)).expect("a file");
    };
    change("run.json", "\"tiny\"");
    change("run.json", "\"clapp++\"");
    change("run.json", "\"cifar10\"");
    fs::write(folder.join("failure.txt"), evil).expect("a file");
    let page = place.page(&["x\"><script>alert(3)<"]);
    assert!(!page.contains("<script") && !page.contains("<img"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("alert(3)&lt;"));
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn a_folder_that_is_no_run_and_damaged_files_are_refused_by_file_and_field() {
    let place = Place::new();
    let folder = place.run("run", &Made::default());
    write_probe(&folder, false, 3);
    fs::create_dir(place.path().join("empty")).expect("a folder");
    let refused = |run: &str, parts: &[&str]| refuses(place.path(), &["report", run, "--out", "page.html"], parts);
    refused("empty", &["empty", "no run.json"]);
    refused("nowhere", &["nowhere", "cannot read"]);
    refused("tiny.toml", &["tiny.toml", "cannot read"]);
    refuses(place.path(), &["report"], &["RUN"]);
    refuses(place.path(), &["report", "run", "--out", "data"], &["data", "directory"]);
    let table: [(&str, &str, &str, &[&str]); 9] = [
        ("metrics.csv", "0,100,103.0", "0,100,fast", &["metrics.csv", "line 3", "images_per_second", "\"fast\""]),
        ("metrics.csv", "0,150,", "0,50,", &["metrics.csv", "line 4", "step"]),
        ("metrics.csv", "step", "stop", &["metrics.csv", "no column step"]),
        ("run.json", "\"seed\": 3,", "", &["run.json", "seed"]),
        ("config.toml", "seed = 3", "seed = \"three\"", &["config.toml", "seed"]),
        ("probe.json", "\"last\": 0.", "\"last\": 7.", &["probe.json", "all", "0 to 1"]),
        ("probe.json", "\"best\"", "\"bets\"", &["probe.json", "best"]),
        ("probe.json", "clapp-probe/1", "clapp-probe/2", &["probe.json", "clapp-probe/2"]),
        ("probe.json", "}", "", &["probe.json"]),
    ];
    for (file, from, to, parts) in table {
        let path = folder.join(file);
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.contains(from), "{file}: {from}");
        fs::write(&path, text.replacen(from, to, 1)).expect("a file");
        refused("run", parts);
        fs::write(&path, text).expect("a file");
    }
    let checkpoint = folder.join("checkpoint.safetensors");
    let bytes = fs::read(&checkpoint).expect("bytes");
    fs::write(&checkpoint, &bytes[..100]).expect("a file");
    refused("run", &["checkpoint.safetensors"]);
}
