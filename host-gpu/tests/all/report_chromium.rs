//! The report's page in a real browser: what it shows, that it asks for nothing, that it fits a phone, and that it is
//! drawn in light and dark. Names begin with `chromium_`, so that `cargo xtask test --without chromium` finds them.

use crate::report_runs;

use clapp_engine::config::RuleName;
use report_runs::{LAYERS, Made, Place, accuracy, between, final_loss, write_probe};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names under which systems have the browser.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// The browser's own requests go to a closed port of this machine, and so would the page's.
const OPTIONS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--proxy-server=127.0.0.1:9",
    "--virtual-time-budget=3000",
];

/// Opens a page with more options and gives what the browser prints.
fn browse(page: &Path, more: &[&str]) -> String {
    let profile = tempfile::tempdir().expect("a folder");
    let printed = profile.path().join("printed");
    let search = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &&&str| std::env::split_paths(&search).any(|folder| folder.join(name).is_file());
    let browser = BROWSERS.iter().find(there).expect("no Chromium is installed: `cargo xtask tools` installs it");
    let mut child = Command::new(browser)
        .args(OPTIONS)
        .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
        .args(more)
        .arg(format!("file://{}", page.display()))
        .stdout(fs::File::create(&printed).expect("a file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("the browser");
    let begin = Instant::now();
    let status = loop {
        match child.try_wait().expect("its state") {
            Some(status) => break status,
            None if begin.elapsed() > Duration::from_secs(90) => {
                child.kill().expect("stopped");
                panic!("the browser has not come to an end");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert!(status.success(), "{browser}: {status}");
    fs::read_to_string(printed).expect("text")
}

/// Some runs of all kinds, with probes, and their page.
fn page_of(place: &Place, count: usize) -> Vec<Made> {
    let rules = [RuleName::ClappPp, RuleName::ClappPpDfb, RuleName::BpClappPp];
    let made: Vec<Made> = (0..count)
        .map(|run| Made { rule: rules[run % 3], seed: run as u64, epochs: 1 + (run % 2) as u64, width: 1.0 })
        .collect();
    let names: Vec<String> = (0..count).map(|run| format!("runs/run-{run:02}")).collect();
    for (name, made) in names.iter().zip(&made) {
        let folder = place.run(name, made);
        write_probe(&folder, false, made.seed);
        write_probe(&folder, true, made.seed + 50);
    }
    place.page(&["runs"]);
    made
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

#[test]
fn chromium_shows_every_run_plot_and_number() {
    let place = Place::new();
    for count in [1, 20] {
        fs::remove_dir_all(place.path().join("runs")).ok();
        let made = page_of(&place, count);
        let page = browse(&place.path().join("report.html"), &["--dump-dom"]);
        for table in ["results", "losses", "accuracies", "accuracies-cached", "origins"] {
            let body = between(&page, &format!("data-table=\"{table}\""), "</table>");
            assert_eq!(body.len(), 1, "{table}");
            assert_eq!(body[0].matches("<tr data-run=").count(), count, "{table}");
        }
        let row = |table: &str, number: usize| {
            let body = between(&page, &format!("data-table=\"{table}\""), "</table>")[0];
            between(body, &format!("<tr data-run=\"{number}\">"), "</tr>")[0]
        };
        for (number, made) in (1..).zip(&made) {
            let results = row("results", number);
            let numbers = [accuracy(made.seed, 0), accuracy(made.seed + 50, 0)];
            let mut shown: Vec<String> =
                numbers.iter().flat_map(|(last, best)| [percent(*last), percent(*best)]).collect();
            shown.extend([made.rule.name().into(), format!("{}.0", 100 + made.seed)]);
            shown.push(if made.epochs == 1 { "finished" } else { "1 of 2 epochs" }.into());
            assert!(shown.iter().all(|text| results.contains(text)), "{shown:?} in {results}");
            for layer in 0..LAYERS {
                assert!(row("losses", number).contains(&final_loss(made.seed, layer)));
                assert!(row("accuracies", number).contains(&percent(accuracy(made.seed, layer + 1).0)));
                assert!(row("accuracies-cached", number).contains(&percent(accuracy(made.seed + 50, layer + 1).0)));
            }
            assert!(page.contains(&format!("<article id=\"run-{number}\">")));
        }
        // Each curve and each bar, chart by chart. Axes are lines and polylines of two or three points.
        let chart = |name: &str| {
            let figures = between(&page, &format!("<figure data-chart=\"{name}\">"), "</figure>");
            assert_eq!(figures.len(), 1, "{name}");
            figures[0]
        };
        let curves = |name: &str| {
            let points = between(chart(name), "<polyline", "</polyline>");
            points.iter().filter(|line| between(line, "points=\"", "\"")[0].split_whitespace().count() > 2).count()
        };
        for name in ["accuracy", "accuracy-cached"] {
            assert_eq!(chart(name).matches("<rect").count(), count * (LAYERS + 1), "{name}");
        }
        assert_eq!(chart("images-per-second").matches("<rect").count(), count);
        for layer in 0..LAYERS {
            if count > 1 {
                assert_eq!(curves(&format!("loss-layer-{layer}")), count);
            }
        }
        for number in 1..=count {
            assert_eq!(curves(&format!("run-{number}-loss")), LAYERS);
            assert_eq!(curves(&format!("run-{number}-probe")), LAYERS + 1);
            assert_eq!(curves(&format!("run-{number}-probe-cached")), LAYERS + 1);
        }
        assert!(!page.contains("NaN") && !page.contains("<script"));
    }
}

/// Returns the network requests of a page, without regard to its policy.
fn requests(place: &Path, page: &str) -> Vec<String> {
    let (file, log) = (place.join("free.html"), place.join("net.json"));
    fs::write(&file, without_policy(page)).expect("a file");
    browse(&file, &["--dump-dom", &format!("--log-net-log={}", log.display())]);
    let log: Value = serde_json::from_str(&fs::read_to_string(&log).expect("a log")).expect("JSON");
    let events = log["events"].as_array().expect("events").iter();
    // Requests of the browser itself have no origin as their initiator.
    let of_page = events
        .map(|event| &event["params"])
        .filter(|it| it["initiator"].as_str().is_some_and(|it| it != "not an origin"));
    of_page.map(|it| it["url"].as_str().unwrap_or_default().to_string()).collect()
}

/// The page without the policy that keeps it from loading and running anything.
fn without_policy(page: &str) -> String {
    let policy = between(page, "<meta http-equiv=\"Content-Security-Policy\"", ">");
    assert_eq!(policy.len(), 1);
    page.replacen(&format!("<meta http-equiv=\"Content-Security-Policy\"{}>", policy[0]), "", 1)
}

#[test]
fn chromium_is_asked_to_load_nothing() {
    let place = Place::new();
    page_of(&place, 2);
    let page = fs::read_to_string(place.path().join("report.html")).expect("a page");
    assert_eq!(requests(place.path(), &page), [""; 0]);
    assert!(!page.contains("src=") && !page.contains("url("));
    assert!(between(&page, "href=\"", "\"").iter().all(|link| link.starts_with("#run-")));
    // The check would see a request: this copy makes one.
    let spoilt = page.replacen("<main>", "<main><img src=\"http://images.test/x.png\">", 1);
    assert_eq!(requests(place.path(), &spoilt), ["http://images.test/x.png"]);
}

/// Returns the pixels by which the page is wider than a window of `width`, and the elements that stick out.
fn overflow(place: &Path, page: &str, width: u32) -> (i64, String) {
    let inner = without_policy(page).replace('&', "&amp;").replace('"', "&quot;");
    // Reads the page through a frame, so that the window's own least width does not matter.
    let script = "const d=document.querySelector('iframe').contentDocument,e=d.documentElement;\
        const out=[...d.querySelectorAll('body *')].filter(x=>x.getBoundingClientRect().right>e.clientWidth+1);\
        document.body.dataset.overflow=e.scrollWidth-e.clientWidth;\
        document.body.dataset.out=out.map(x=>x.tagName+'.'+x.getAttribute('class')).join(' ');\
        document.querySelector('iframe').remove();";
    let outer = format!(
        "<body><iframe style=\"width:{width}px;height:900px;border:0\" srcdoc=\"{inner}\" onload=\"{script}\"></iframe>"
    );
    let file = place.join("outer.html");
    fs::write(&file, outer).expect("a file");
    let shown = browse(&file, &["--dump-dom", "--window-size=1400,1000"]);
    let find =
        |name: &str| between(&shown, name, "\"").first().unwrap_or_else(|| panic!("no {name}: {shown}")).to_string();
    (find("data-overflow=\"").parse().expect("a number"), find("data-out=\""))
}

#[test]
fn chromium_lays_the_page_out_within_a_phones_width() {
    let place = Place::new();
    page_of(&place, 4);
    let long = place.run(&format!("runs/{}", "a-long-name-without-any-space-".repeat(6)), &Made::default());
    fs::write(long.join("failure.txt"), "x".repeat(400)).expect("a file");
    let page = place.page(&["runs"]);
    for width in [320, 400, 1280] {
        let (by, out) = overflow(place.path(), &page, width);
        // On a wide screen a table may scroll in its frame, but not the page.
        assert!(by <= 0 && (width > 500 || out.is_empty()), "{width} px: {by} px too wide: {out}");
    }
    let spoilt = page.replacen("<main>", "<main><div style=\"width:700px\">wide</div>", 1);
    assert!(overflow(place.path(), &spoilt, 400).0 > 200, "the check sees an element that is too wide");
}

/// The most frequent colour of a screenshot, and how many colours there are.
fn colours(place: &Path, options: &[&str]) -> ([u8; 3], usize) {
    let picture = place.join("picture.png");
    let shot = format!("--screenshot={}", picture.display());
    browse(&place.join("report.html"), &[&["--window-size=1280,2400", &shot], options].concat());
    let mut reader = png::Decoder::new(std::io::BufReader::new(fs::File::open(picture).expect("a picture")))
        .read_info()
        .expect("PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let frame = reader.next_frame(&mut pixels).expect("pixels");
    assert_eq!((frame.width, frame.height), (1280, 2400));
    let mut counts: HashMap<[u8; 3], usize> = HashMap::new();
    for pixel in pixels.chunks_exact(frame.line_size / frame.width as usize) {
        *counts.entry([pixel[0], pixel[1], pixel[2]]).or_default() += 1;
    }
    let most = counts.iter().max_by_key(|(_, count)| **count).map(|(colour, _)| *colour);
    // Colours of charts and marks, not the shades at the edges of letters.
    (most.expect("a colour"), counts.values().filter(|count| **count > 400).count())
}

#[test]
fn chromium_draws_the_page_in_light_and_dark() {
    let place = Place::new();
    page_of(&place, 3);
    let (light, many) = colours(place.path(), &["--blink-settings=preferredColorScheme=1"]);
    assert!(light.iter().all(|part| *part > 240) && many >= 8, "{light:?} {many}");
    let (dark, many) = colours(place.path(), &["--blink-settings=preferredColorScheme=0"]);
    assert!(dark.iter().all(|part| *part < 50) && many >= 8, "{dark:?} {many}");
}
