//! The pages of all findings, as Markdown: one with a table of all claims, and one for each experiment in a folder beside
//! it, with its pictures and tables.

use super::finding::{Claim, Finding, Verdict};
use super::keep::{Inputs, Kept};
use clapp_data::error::Error;
use clapp_data::files::{make_folder, write_atomically};
use clapp_engine::run_info::MachineInfo;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The first line of the page with the table.
pub const TITLE: &str = "# What the experiments found";

/// A text near the top of an experiment's page.
pub const WRITTEN: &str = "\n\nWritten by `clapp paper all`. All results: [";

/// The page of an experiment: `NAME.md` in the folder called like the page `path`, without extension.
pub fn of_experiment(path: &Path, name: &str) -> PathBuf {
    path.with_extension("").join(format!("{name}.md"))
}

/// Writes the page with the table of all findings, and the last finding's page, pictures and tables. Call it after each
/// finding: those of the others are there already. `missing` are the experiments without a finding.
///
/// # Errors
/// If a picture cannot be drawn or a file cannot be written.
pub fn write(path: &Path, command: &str, findings: &[Kept], missing: &[&str]) -> Result<(), Error> {
    let folder = path.with_extension("");
    make_folder(&folder)?;
    if let Some(kept) = findings.last() {
        for (file, bytes) in kept.products(&folder, |_| true)? {
            write_atomically(&file, &bytes)?;
        }
        let page = of_experiment(path, &kept.finding.name);
        write_atomically(&page, experiment(&last_part(path), kept).as_bytes())?;
    }
    write_atomically(path, overview(&last_part(&folder), command, findings, missing).as_bytes())
}

fn last_part(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The table of all claims.
fn overview(folder: &str, command: &str, findings: &[Kept], missing: &[&str]) -> String {
    let mut text = format!("{TITLE}\n\n| claim | verdict | number | experiment |\n| --- | --- | --- | --- |\n");
    for Finding { name, claims, .. } in findings.iter().map(|kept| &kept.finding) {
        for Claim { statement, verdict, number, .. } in claims {
            let number = number.as_deref().map_or_else(|| "-".to_owned(), cell);
            let statement = cell(statement);
            let _ =
                writeln!(text, "| {statement} | **{}** | {number} | [{name}]({folder}/{name}.md) |", verdict.words());
        }
    }
    let [held, failed, open] = [Verdict::Held, Verdict::Failed, Verdict::Open].map(Verdict::words);
    let _ = writeln!(
        text,
        "\nEach claim has a criterion, fixed in the program. **{held}**: the claim met it. **{failed}**: the claim did not \
         meet it. **{open}**: the differences are within their errors, or the experiment is too small. The number is the \
         main one of the evidence; of several like ones, it is the worst for the claim. The experiment's page has all the \
         evidence.\n\n\
         `{command}` wrote this page and the experiments' pages. No number is typed by hand.\n"
    );
    if !missing.is_empty() {
        let _ = writeln!(text, "Not run yet: {}.\n", missing.join(", "));
    }
    text.push_str("| experiment | page | in the paper | held | did not hold | not decided |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for Finding { name, title, source, claims, .. } in findings.iter().map(|kept| &kept.finding) {
        let source = if source.is_empty() { "-".to_owned() } else { cell(source) };
        let title = cell(title);
        let _ = write!(text, "| `{name}` | [{title}]({folder}/{name}.md) | {source} |");
        for verdict in [Verdict::Held, Verdict::Failed, Verdict::Open] {
            let _ = write!(text, " {} |", claims.iter().filter(|claim| claim.verdict == verdict).count());
        }
        text.push('\n');
    }
    text
}

/// The page of an experiment; `all` is the name of the page with the table.
fn experiment(all: &str, kept: &Kept) -> String {
    let Kept { inputs, machine, started, seconds, finding, .. } = kept;
    let source = if finding.source.is_empty() {
        "This project's own experiment.".to_owned()
    } else {
        format!("In the paper: {}.", finding.source)
    };
    let mut text = format!("# {}{WRITTEN}{all}](../{all}).\n\n{source} {}\n\n", finding.title, finding.about);
    if !finding.claims.is_empty() {
        text.push_str("| claim | verdict | evidence |\n| --- | --- | --- |\n");
        for Claim { statement, verdict, evidence, .. } in &finding.claims {
            let _ = writeln!(text, "| {} | **{}** | {} |", cell(statement), verdict.words(), cell(evidence));
        }
    }
    for figure in &finding.figures {
        let _ = writeln!(text, "\n![{}]({}.svg)\n\n{}", figure.name, figure.name, figure.caption);
    }
    for table in &finding.tables {
        let _ = writeln!(text, "\n{} ([CSV]({}.csv))\n\n{}", table.caption, table.name, table.markdown());
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
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Axis, Figure, Kind, Panel, Point, Series};
    use crate::paper::table::{Cell, Column, Table};
    use crate::paper::{Finding, Verdict};
    use clapp_engine::run_info::ProgramInfo;

    fn kept() -> Kept {
        let mut finding = Finding::new("fig9", "What matters, and why", "Figure 9", "Something was done.");
        finding.set("images", 12);
        finding.claims.push(Claim::new("a | b", Verdict::Held, "0.9 against 0.1").number("+0.8 points"));
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
    fn one_table_of_all_claims_and_a_page_for_each_experiment() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("docs/results.md");
        let mut second = kept();
        second.finding.name = "fig10".into();
        second.finding.source = String::new();
        // One at a time, as the command does.
        write(&path, "clapp paper all", &[kept()], &["fig10", "fig8"]).unwrap();
        write(&path, "clapp paper all", &[kept(), second], &["fig8"]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let opening = format!(
            "{TITLE}\n\n| claim | verdict | number | experiment |\n| --- | --- | --- | --- |\n\
             | a \\| b | **held** | +0.8 points | [fig9](results/fig9.md) |\n\
             | c | **did not hold** | - | [fig9](results/fig9.md) |\n\
             | d | **not decided** | - | [fig9](results/fig9.md) |\n\
             | a \\| b | **held** | +0.8 points | [fig10](results/fig10.md) |\n"
        );
        assert!(text.starts_with(&opening), "{text}");
        for part in [
            "`clapp paper all` wrote this page",
            "Not run yet: fig8.",
            "| `fig9` | [What matters, and why](results/fig9.md) | Figure 9 | 1 | 1 | 1 |",
            "| `fig10` | [What matters, and why](results/fig10.md) | - | 1 | 1 | 1 |",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        for name in ["fig9", "fig10"] {
            let text = std::fs::read_to_string(of_experiment(&path, name)).unwrap();
            assert!(
                text.starts_with(&format!("# What matters, and why{WRITTEN}results.md](../results.md).\n")),
                "{text}"
            );
            for part in [
                "| a \\| b | **held** | 0.9 against 0.1 |",
                "| d | **not decided** | 0.5 against 0.5 |",
                "![curves](curves.svg)",
                "([CSV](numbers.csv))",
                "| clapp++ | 12.35 ± 0.50 |",
                "The network is narrower",
                "Setting: images: 12.",
                &format!("`clapp paper {name}`, seed 7, backend cpu, 2 s on"),
            ] {
                assert!(text.contains(part), "{part} is missing in:\n{text}");
            }
        }
        for file in ["curves.svg", "curves.png", "numbers.csv"] {
            assert!(place.path().join("docs/results").join(file).is_file(), "{file}");
        }
    }

    /// A finding of a build before the numbers of the table.
    #[test]
    fn a_claim_without_a_number_is_read() {
        let text = r#"{"statement": "a", "verdict": "held", "evidence": "b"}"#;
        let claim: Claim = serde_json::from_str(text).unwrap();
        assert_eq!(claim, Claim::new("a", Verdict::Held, "b"));
        let numbered = claim.number("0.5");
        let again: Claim = serde_json::from_str(&serde_json::to_string(&numbered).unwrap()).unwrap();
        assert_eq!(again, numbered);
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
