//! One page of all findings, as Markdown, with the files that it shows in a folder beside it.

use super::finding::Claim;
use super::keep::{Inputs, Kept};
use clapp_data::error::Error;
use clapp_data::files::{make_folder, write_atomically};
use clapp_engine::run_info::MachineInfo;
use std::fmt::Write;
use std::path::Path;

/// The first line of a page.
pub const TITLE: &str = "# What the experiments found";

/// Writes the page, and the pictures and tables of its last finding into the folder of the same name without extension:
/// a page that grows by a finding at a time has those of the others there. `missing` are the experiments that are not on it.
///
/// # Errors
/// Where a picture cannot be drawn or a file cannot be written.
pub fn write(path: &Path, command: &str, findings: &[Kept], missing: &[&str]) -> Result<(), Error> {
    let folder = path.with_extension("");
    make_folder(&folder)?;
    if let Some(kept) = findings.last() {
        for (file, bytes) in kept.products(&folder, |_| true)? {
            write_atomically(&file, &bytes)?;
        }
    }
    let beside = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    write_atomically(path, text(&beside, command, findings, missing).as_bytes())
}

fn text(folder: &str, command: &str, findings: &[Kept], missing: &[&str]) -> String {
    let mut text = format!(
        "{TITLE}\n\n`{command}` wrote this page, its pictures and its tables; no number is typed \
         by hand. Published numbers stand beside ours where there are any.\n\n"
    );
    if !missing.is_empty() {
        let _ = writeln!(text, "Not on it, as nothing has been found of them yet: {}.\n", missing.join(", "));
    }
    for Kept { finding, .. } in findings {
        let held = finding.claims.iter().map(|claim| claim.verdict.words());
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for words in held {
            match counts.iter_mut().find(|(other, _)| *other == words) {
                Some((_, count)) => *count += 1,
                None => counts.push((words, 1)),
            }
        }
        let counts: Vec<String> = counts.iter().map(|(words, count)| format!("{count} {words}")).collect();
        let source = if finding.source.is_empty() { String::new() } else { format!(" ({})", finding.source) };
        let anchor = anchor(&finding.title);
        let _ = writeln!(text, "- [{}](#{anchor}){source}: claims: {}", finding.title, counts.join(", "));
    }
    for kept in findings {
        section(&mut text, folder, kept);
    }
    text
}

/// The name that Markdown renderers give a heading.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

fn section(text: &mut String, folder: &str, kept: &Kept) {
    let Kept { inputs, machine, started, seconds, finding, .. } = kept;
    let source = if finding.source.is_empty() {
        "This project's own experiment.".to_owned()
    } else {
        format!("In the paper: {}.", finding.source)
    };
    let _ = writeln!(text, "\n## {}\n\n{source} {}\n", finding.title, finding.about);
    if !finding.claims.is_empty() {
        text.push_str("| claim | verdict | evidence |\n| --- | --- | --- |\n");
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        for Claim { statement, verdict, evidence } in &finding.claims {
            let _ = writeln!(text, "| {} | **{}** | {} |", cell(statement), verdict.words(), cell(evidence));
        }
    }
    for figure in &finding.figures {
        let _ = writeln!(text, "\n![{}]({folder}/{}.svg)\n\n{}", figure.name, figure.name, figure.caption);
    }
    for table in &finding.tables {
        let _ = writeln!(text, "\n{} ([CSV]({folder}/{}.csv))\n\n{}", table.caption, table.name, table.markdown());
    }
    for note in &finding.notes {
        let _ = writeln!(text, "\n{note}");
    }
    let setting: Vec<String> = finding.setting.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    if !setting.is_empty() {
        let _ = writeln!(text, "\nSetting: {}.", setting.join("; "));
    }
    let MachineInfo { cpu, threads, .. } = machine;
    let Inputs { seed, backend, program, .. } = inputs;
    let _ = writeln!(
        text,
        "\n`clapp paper {}{}`, seed {seed}, backend {backend}, {seconds:.0} s on {threads} threads of {cpu}, commit {}, \
         {started}.",
        finding.name,
        if inputs.full { " --full" } else { "" },
        program.commit
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper::figure::{Axis, Figure, Kind, Panel, Point, Series};
    use crate::paper::table::{Cell, Column, Table};
    use crate::paper::{Finding, Verdict};
    use clapp_engine::run_info::ProgramInfo;

    fn kept() -> Kept {
        let mut finding = Finding::new("fig9", "What matters, and why", "Figure 9", "Something was done.");
        finding.set("images", 12);
        finding.claims.push(Claim::new("a | b", Verdict::Held, "0.9 against 0.1"));
        finding.claims.push(Claim::new("c", Verdict::Failed, "0.1 against 0.9"));
        finding.claims.push(Claim::new("d", Verdict::Open, "0.5 against 0.5"));
        let series = vec![Series::new("ours", vec![Point::new(1.0, 0.25)])];
        let panel =
            Panel { title: String::new(), kind: Kind::Lines, x: Axis::layers(2), y: Axis::new("cosine"), series };
        finding.figures.push(Figure::new("curves", "Cosine by layer.", vec![panel]));
        let mut table = Table::new("numbers", "All of it.", vec![Column::new("rule", 0), Column::new("%", 2)]);
        table.rows.push(vec![Cell::text("clapp++"), Cell::spread(12.345, 0.5)]);
        finding.tables.push(table);
        finding.notes.push("The network is narrower than the paper's.".into());
        let inputs = Inputs {
            data: Vec::new(),
            full: false,
            seed: 7,
            backend: "cpu".into(),
            program: ProgramInfo { version: "0.1.0".into(), commit: "abc".into() },
            build: "abc".into(),
        };
        Kept::new(inputs, "2026-01-01T00:00:00Z".into(), 1.5, finding)
    }

    #[test]
    fn the_page_says_what_held_and_shows_what_lies_beside_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("docs/results.md");
        write(&path, "clapp paper all", &[kept()], &["fig8"]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for part in [
            "`clapp paper all` wrote this page",
            "Not on it, as nothing has been found of them yet: fig8.",
            "- [What matters, and why](#what-matters-and-why) (Figure 9): claims: 1 held, 1 did not hold, 1 not decided",
            "| a \\| b | **held** | 0.9 against 0.1 |",
            "| d | **not decided** | 0.5 against 0.5 |",
            "![curves](results/curves.svg)",
            "([CSV](results/numbers.csv))",
            "| clapp++ | 12.35 ± 0.50 |",
            "The network is narrower",
            "Setting: images: 12.",
            "`clapp paper fig9`, seed 7, backend cpu, 2 s on",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        for file in ["curves.svg", "curves.png", "numbers.csv"] {
            assert!(place.path().join("docs/results").join(file).is_file(), "{file}");
        }
    }

    #[test]
    fn a_finding_is_taken_again_only_where_all_it_depends_on_is_the_same() {
        let place = tempfile::tempdir().unwrap();
        let (folder, kept) = (place.path().join("fig9"), kept());
        assert!(Kept::same(&folder, &kept.inputs, false).is_none());
        kept.write(&folder).unwrap();
        assert_eq!(Kept::same(&folder, &kept.inputs, false).as_ref(), Some(&kept));
        for name in ["finding.json", "curves.svg", "curves.png", "numbers.csv"] {
            assert!(folder.join(name).is_file(), "{name}");
        }
        let other = Inputs { build: "abd".into(), ..kept.inputs.clone() };
        assert!(Kept::same(&folder, &other, false).is_none() && Kept::same(&folder, &other, true).is_some());
        let others = [
            Inputs { seed: 8, ..kept.inputs.clone() },
            Inputs { full: true, ..kept.inputs.clone() },
            Inputs { backend: "cuda f32".into(), ..kept.inputs.clone() },
        ];
        assert!(others.iter().all(|other| Kept::same(&folder, other, true).is_none()));
        // Half a file is no finding.
        let path = folder.join("finding.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(Kept::same(&folder, &kept.inputs, true).is_none());
    }

    #[test]
    fn a_number_that_is_none_is_refused_by_its_place_and_nothing_is_written() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("fig9");
        let mut kept = kept();
        kept.finding.figures[0].panels[0].series[0].points[0].y = f64::NAN;
        let error = kept.write(&folder).unwrap_err().to_string();
        assert!(error.contains("figure curves, series ours, point 0"), "{error}");
        assert!(!folder.exists());
    }
}
