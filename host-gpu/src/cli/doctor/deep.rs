//! `clapp doctor --deep`: tests each part that training on a GPU needs, one after the other.
//!
//! The probes run in a separate process. If it dies, hangs or fails, a new process continues with the next probe,
//! because a CUDA error can make the GPU unusable for a process.

use super::probe::{Bench, Outcome, Probe};
use crate::cli::output::say;
use crate::cli::output_files::{Force, Guard, Mark, OutputFile};
use clap::Args;
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Arguments of `clapp doctor --deep`.
#[derive(Debug, Args)]
pub struct DeepArguments {
    /// Number of the GPU.
    #[arg(long, requires = "deep", value_name = "NUMBER", default_value_t = 0)]
    device: usize,
    /// Time limit of a probe, in seconds; after it the probe has failed.
    #[arg(long, requires = "deep", value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    limit: u64,
    /// Also write the report to this file (JSON), again after each probe.
    #[arg(long, requires = "deep", value_name = "FILE")]
    json: Option<OutputFile>,
    #[command(flatten)]
    force: Force,
    /// Runs these probes in this process and prints a line of JSON for each.
    #[arg(long, requires = "deep", hide = true, value_delimiter = ',')]
    probes: Option<Vec<String>>,
}

/// A line of the report.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    name: String,
    outcome: Outcome,
    detail: String,
    seconds: f64,
}

/// One message of the probing process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Message {
    Begin(String),
    Done(Line),
}

/// The mark of a report that this command wrote.
const REPORT: Mark = Mark::json("a report of `clapp doctor`", b"\"clapp-doctor/");

/// The report as a file.
#[derive(Serialize)]
struct Report<'a> {
    format: &'static str,
    version: &'static str,
    commit: &'static str,
    device: usize,
    exit_code: u8,
    complete: bool,
    probes: &'a [Line],
}

/// Runs all probes. Returns 0 if all probes that training on one GPU needs are ok, else the exit code of the first one
/// that is not.
///
/// # Errors
/// If the report cannot be written.
pub fn run(arguments: &DeepArguments) -> Result<u8, Error> {
    if let Some(names) = &arguments.probes {
        return work(arguments.device, names);
    }
    let guard = Guard::new(arguments.force);
    let json = arguments.json.as_ref();
    let json = json.map(|path| path.check("--json", REPORT, &guard)).transpose()?;
    let all = Probe::all();
    let mut lines: Vec<Line> = Vec::new();
    while lines.len() < all.len() {
        let mut worker = Worker::start(arguments.device, &all[lines.len()..])?;
        loop {
            let probe = all[lines.len()];
            let (line, goes_on) = worker.next(probe, Duration::from_secs(arguments.limit));
            show(&line, &lines)?;
            lines.push(line);
            keep(json, arguments.device, &all, &lines)?;
            if !goes_on || lines.len() == all.len() {
                break;
            }
        }
    }
    summary(&all, &lines)?;
    Ok(exit_code(&all, &lines))
}

/// Returns the exit code of the first needed probe that is not ok.
fn exit_code(all: &[Probe], lines: &[Line]) -> u8 {
    let bad = all.iter().zip(lines).find(|(probe, line)| probe.is_needed() && line.outcome != Outcome::Ok);
    bad.map_or(0, |(probe, _)| probe.exit_code())
}

/// Prints a line. A repeated reason is replaced by a reference to the earlier line.
fn show(line: &Line, before: &[Line]) -> Result<(), Error> {
    let outcome = match line.outcome {
        Outcome::Ok => "ok",
        Outcome::Failed => "FAILED",
        Outcome::NotRun => "not run",
    };
    let told = before.iter().find(|other| line.outcome != Outcome::Ok && other.detail == line.detail);
    let detail = told.map_or_else(|| line.detail.clone(), |other| format!("as {}", other.name));
    say(format!("{outcome:<8}{:<52}{:>6.1} s  {detail}", line.name, line.seconds))
}

fn summary(all: &[Probe], lines: &[Line]) -> Result<(), Error> {
    let names = |outcome: Outcome| -> Vec<&str> {
        let of = all.iter().zip(lines).filter(|(probe, line)| probe.is_needed() && line.outcome == outcome);
        of.map(|(_, line)| line.name.as_str()).collect()
    };
    let [ok, failed, not_run] = [Outcome::Ok, Outcome::Failed, Outcome::NotRun].map(names);
    let mut text = format!("\n{} ok, {} failed, {} not run", ok.len(), failed.len(), not_run.len());
    for (what, names) in [("failed", failed), ("not run", not_run)] {
        if !names.is_empty() {
            text += &format!("\n{what}: {}", names.join(", "));
        }
    }
    let code = exit_code(all, lines);
    say(format!("{text}\nexit code {code}{}", if code == 0 { ": training can run on this GPU" } else { "" }))
}

/// Writes the report as it is now.
fn keep(path: Option<&Path>, device: usize, all: &[Probe], lines: &[Line]) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    let report = Report {
        format: "clapp-doctor/1",
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("CLAPP_COMMIT"),
        device,
        exit_code: exit_code(all, lines),
        complete: lines.len() == all.len(),
        probes: lines,
    };
    let text = serde_json::to_string_pretty(&report).map_err(|error| Error::Output(error.into()))?;
    write_atomically(path, (text + "\n").as_bytes())
}

/// A process that runs probes.
struct Worker {
    child: Child,
    messages: Receiver<Message>,
    errors: Option<std::thread::JoinHandle<String>>,
}

impl Worker {
    fn start(device: usize, probes: &[Probe]) -> Result<Self, Error> {
        let names: Vec<String> = probes.iter().map(|probe| probe.name()).collect();
        let program = std::env::current_exe().map_err(Error::file("find", Path::new("clapp")))?;
        let mut child = Command::new(&program)
            .args(["doctor", "--deep", "--device", &device.to_string(), "--probes", &names.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::file("start", &program))?;
        let (sender, messages) = channel();
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        std::thread::spawn(move || {
            // Ignore lines that libraries print.
            let lines = output.into_iter().flat_map(|output| BufReader::new(output).split(b'\n'));
            let said = lines.map_while(Result::ok).filter_map(|line| serde_json::from_slice(&line).ok());
            for message in said {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let errors = errors.map(|mut errors| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = errors.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        });
        Ok(Self { child, messages, errors })
    }

    /// Returns the outcome of `probe`, and `true` if this process continues with the next one.
    fn next(&mut self, probe: Probe, limit: Duration) -> (Line, bool) {
        let failed = |detail: String, seconds: f64| {
            (Line { name: probe.name(), outcome: Outcome::Failed, detail, seconds }, false)
        };
        loop {
            match self.messages.recv_timeout(limit) {
                Ok(Message::Begin(_)) => {}
                Ok(Message::Done(line)) => {
                    let goes_on = line.outcome != Outcome::Failed;
                    return (line, goes_on);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    let seconds = limit.as_secs();
                    return failed(
                        format!("no answer within {seconds} s (--limit); the process was ended"),
                        seconds as f64,
                    );
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                    let said = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
                    return failed(format!("the process died ({ended}){}", last_words(&said)), 0.0);
                }
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The process has reported. End it, because a process that lost its GPU can wait for ever.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the last lines that a process printed before it died.
fn last_words(said: &str) -> String {
    let lines: Vec<&str> =
        said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: ")).collect();
    let end = lines[lines.len().saturating_sub(3)..].join(" / ");
    if end.is_empty() { end } else { format!(": {end}") }
}

/// Runs probes in this process. Stops after a failed probe, because the process may have lost the GPU.
fn work(device: usize, names: &[String]) -> Result<u8, Error> {
    let all = Probe::all();
    let mut bench = Bench::new(device);
    let send = |message: &Message| {
        let text = serde_json::to_string(message).map_err(|error| Error::Output(error.into()))?;
        let mut out = std::io::stdout().lock();
        // Begin a new line, because a library may have printed before.
        writeln!(out, "\n{text}").and_then(|()| out.flush()).map_err(Error::Output)
    };
    for name in names {
        let Some(probe) = all.iter().find(|probe| probe.name() == *name) else {
            return Err(Error::Config { origin: "--probes".into(), message: format!("there is no probe {name}") });
        };
        send(&Message::Begin(name.clone()))?;
        let (outcome, detail, seconds) = bench.run(*probe);
        send(&Message::Done(Line { name: name.clone(), outcome, detail, seconds }))?;
        if outcome == Outcome::Failed {
            // Free nothing: after a failure, that could block for ever.
            std::process::exit(1);
        }
    }
    Ok(0)
}
