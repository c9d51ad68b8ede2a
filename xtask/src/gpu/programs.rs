//! The programs that are measured and compared: started, watched, stopped in time.

use crate::{Failed, root};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest time for a program to stop after it was asked to.
const GRACE: Duration = Duration::from_secs(60);

/// A program that has ended.
pub struct Ended {
    /// The command as one would type it.
    pub command: String,
    /// All that it printed, standard output and errors together in the order in which lines came.
    pub text: String,
    /// Its standard output alone.
    pub output: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// True if it was stopped because its time was over.
    pub stopped: bool,
    /// Its duration.
    pub seconds: f64,
}

impl Ended {
    /// True if it ended by itself, with exit code 0.
    pub fn succeeded(&self) -> bool {
        self.status.success() && !self.stopped
    }

    /// The last lines of what it printed.
    pub fn tail(&self, lines: usize) -> String {
        let all: Vec<&str> = self.text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// A description of its failure.
    pub fn failure(&self) -> String {
        let how = if self.stopped { "its time was over".into() } else { self.status.to_string() };
        format!("{} ({how})\n{}", self.command, self.tail(15))
    }
}

/// Runs a program to its end, or to the deadline, and shows what it prints. Each line of its standard output is also
/// given to `line` as it comes.
///
/// At the deadline it is interrupted as by Ctrl-C, and killed where it goes on for a minute more.
pub fn watch(command: &mut Command, deadline: Instant, mut line: impl FnMut(&str)) -> Result<Ended, Failed> {
    let shown = shown(command);
    println!("\n==> {shown}");
    let begin = Instant::now();
    let failed = |error: std::io::Error| Failed(format!("{shown}: {error}"));
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let (sender, lines) = std::sync::mpsc::channel();
    let readers: Vec<_> = [
        child.stdout.take().map(|pipe| (true, Box::new(pipe) as Box<dyn Read + Send>)),
        child.stderr.take().map(|pipe| (false, Box::new(pipe) as Box<dyn Read + Send>)),
    ]
    .into_iter()
    .flatten()
    .map(|(is_output, pipe)| {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                // Nobody listens any more once the program was killed.
                let _ = sender.send((is_output, line));
            }
        })
    })
    .collect();
    drop(sender);
    let (mut text, mut output, mut stopped) = (String::new(), String::new(), false);
    let mut take = |(is_output, printed): (bool, String)| {
        println!("{printed}");
        text += &format!("{printed}\n");
        if is_output {
            output += &format!("{printed}\n");
            line(&printed);
        }
    };
    let status = loop {
        while let Ok(printed) = lines.recv_timeout(Duration::from_millis(50)) {
            take(printed);
        }
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if Instant::now() >= deadline && !stopped {
            stopped = true;
            interrupt(&child);
        }
        if Instant::now() >= deadline + GRACE {
            child.kill().map_err(failed)?;
            break child.wait().map_err(failed)?;
        }
        // With both pipes closed `recv_timeout` returns at once.
        std::thread::sleep(Duration::from_millis(20));
    };
    // What it has started may hold the pipes open for longer.
    let until = Instant::now() + Duration::from_secs(2);
    while readers.iter().any(|reader| !reader.is_finished()) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    lines.try_iter().for_each(&mut take);
    Ok(Ended { command: shown, text, output, status, stopped, seconds: begin.elapsed().as_secs_f64() })
}

fn interrupt(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended just now.
        let _ = kill_process(pid, Signal::INT);
    }
}

/// The command as one would type it in the root folder, the program by its name alone.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    let inside = |word: &OsStr| {
        let inside = Path::new(word).strip_prefix(root()).map(|path| path.as_os_str().to_owned());
        inside.unwrap_or_else(|_| word.to_owned()).to_string_lossy().into_owned()
    };
    std::iter::once(name).chain(command.get_args().map(inside)).collect::<Vec<_>>().join(" ")
}

/// A program in the search path.
pub fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// True if this Python has what the reference needs.
pub fn has_torch(python: &Path) -> bool {
    let run = Command::new(python).args(["-c", "import torch, torchvision, PIL"]).output();
    run.is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, seconds: f64) -> Ended {
        let deadline = Instant::now() + Duration::from_secs_f64(seconds);
        // A shell cannot trap a signal that was ignored when it began, as the tests are where they run in the background.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", "sh", "-c", script]);
        watch(&mut command, deadline, |_| {}).unwrap_or_else(|Failed(why)| panic!("{why}"))
    }

    #[test]
    fn what_a_program_prints_comes_line_by_line_and_in_parts() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo bad >&2; sleep 0.2; printf two; exit 3"]);
        let ended = watch(&mut command, Instant::now() + Duration::from_secs(20), |line| lines.push(line.to_string()));
        let ended = ended.unwrap_or_else(|Failed(why)| panic!("{why}"));
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(ended.output, "one\ntwo\n");
        assert!(ended.text.contains("bad") && !ended.succeeded() && !ended.stopped);
        assert!(ended.failure().contains("exit status: 3"));
    }

    #[test]
    fn a_program_is_interrupted_at_its_deadline_and_may_finish() {
        let ended =
            shell("trap 'echo saved; exit 0' INT; i=0; while [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done", 0.4);
        assert!(ended.stopped && !ended.succeeded(), "{}", ended.failure());
        assert!(ended.output.contains("saved") && ended.seconds < 9.0, "{}", ended.seconds);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let ended = watch(&mut Command::new("no-such-program"), Instant::now(), |_| {});
        assert!(matches!(ended, Err(Failed(why)) if why.contains("no-such-program")));
    }
}
