//! One page of all findings, as Markdown, with the files that it shows in a folder beside it.

use super::finding::Claim;
use super::keep::{Inputs, Kept};
use crate::error::Error;
use crate::files::{make_folder, write_atomically};
use crate::run_info::MachineInfo;
use std::fmt::Write;
use std::path::Path;

/// Writes the page, and its pictures and tables into the folder of the same name without extension.
///
/// # Errors
/// Where a picture cannot be drawn or a file cannot be written.
pub fn write(path: &Path, command: &str, findings: &[Kept]) -> Result<(), Error> {
    let folder = path.with_extension("");
    make_folder(&folder)?;
    for kept in findings {
        for (file, bytes) in kept.products(&folder)? {
            write_atomically(&file, &bytes)?;
        }
    }
    let beside = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    write_atomically(path, text(&beside, command, findings).as_bytes())
}

fn text(folder: &str, command: &str, findings: &[Kept]) -> String {
    let mut text = format!(
        "# What the experiments found\n\n`{command}` wrote this page, its pictures and its tables; no number is typed \
         by hand. Published numbers stand beside ours where there are any.\n\n"
    );
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
