//! The pack tried on a stand-in for a borrowed machine: three calls from fresh copies of the repository, in a bare
//! environment without cargo and PyTorch, on the emulated GPU. A part of the data is lost on its way, and a golden vector
//! arrives damaged: its step fails in the first call and is made up for in the second.

use super::pack::{CALLS, Contents, copy, copy_folder, fill, mebibytes, size, tracked};
use super::packed::RECORD;
use super::programs::in_path;
use super::steps::{SLOW, plan};
use crate::{Failed, root};
use std::fs::{File, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// All that the stand-in has: a shell, Python and Debian's coreutils; the emulated GPU asks the compiler for its version.
const PROGRAMS: [&str; 28] = [
    "sh", "c++", "basename", "cat", "chmod", "cp", "cut", "date", "df", "dirname", "env", "head", "ln", "ls", "mkdir",
    "mktemp", "mv", "readlink", "rm", "rmdir", "sleep", "sort", "tail", "timeout", "touch", "true", "uname", "wc",
];

/// Most bytes that are brought in a call.
const BROUGHT: u64 = 64 << 20;
/// Most files that are taken away.
const TAKEN: usize = 8;
/// Records of each batch of the stand-in for CIFAR-10.
const RECORDS: usize = 24;
/// A file of compiled kernels.
const READY: &str = "rehearsal.kernels";
/// Golden vectors that are tried.
const GOLDEN: [&str; 2] = ["bp_infonce.safetensors", "stream_same.safetensors"];

/// The stand-in.
struct Machine {
    place: PathBuf,
    /// True if a program can be run without a network here.
    apart: bool,
}

/// Packs small contents and goes through all calls.
pub fn rehearse() -> Result<(), Failed> {
    println!("\n==> rehearsal of the pack for a borrowed machine");
    let folder = tempfile::tempdir().map_err(|error| Failed(format!("a folder for the rehearsal: {error}")))?;
    let machine = Machine::new(folder.path())?;
    machine.compile_emulation()?;
    let golden = machine.golden()?;
    let contents = Contents {
        programs: [program()?, this()?],
        golden: golden.clone(),
        cubins: Some(machine.cubins()?),
        batches: CALLS.iter().flatten().enumerate().map(|(index, name)| (*name, batch(index))).collect(),
        plan: plan(SLOW),
    };
    fill(&machine.place.join("pack"), &contents)?;
    let second = machine.place.join("pack/call-1/data").join(format!("{}.packed", CALLS[0][1]));
    std::fs::remove_file(&second).map_err(|error| Failed(format!("{}: {error}", second.display())))?;
    if golden.is_some() {
        let vector = machine.place.join("pack/call-1/golden").join(GOLDEN[0]);
        std::fs::write(&vector, "damaged on its way")
            .map_err(|error| Failed(format!("{}: {error}", vector.display())))?;
    }
    let golden = |says| if golden.is_some() { says } else { "not run: no golden vectors" };
    // Less time than `speed` may take.
    let said = machine.call(1, 999, i32::from(golden("failed") == "failed"))?;
    expect(&said, &["machine: done", "one-step: done", "parity: done", "speed: not run: 1000 s do not fit"])?;
    expect(&said, &[&format!("golden: {}", golden("failed: exit code 1"))])?;
    expect(&said, &["memory: not run", "pytorch: not run: no PyTorch", "train: not run: no test batch"])?;
    let said = machine.call(2, 99_999, 0)?;
    expect(&said, &["machine: done", "speed: done", &format!("golden: {}", golden("done"))])?;
    expect(&said, &["train: not run: no test batch", "probe: not run"])?;
    let said = machine.call(3, 99_999, 0)?;
    expect(&said, &["train: done", "probe: done", "pytorch-best: not run: no PyTorch"])?;
    machine.check_state()?;
    let output = machine.command(1).arg("--bogus").output().map_err(|error| Failed(format!("sh: {error}")))?;
    if output.status.code() != Some(2) {
        return Err(Failed(format!("start.sh --bogus: {}", output.status)));
    }
    println!("the rehearsal went as planned");
    Ok(())
}

fn expect(text: &str, parts: &[&str]) -> Result<(), Failed> {
    match parts.iter().find(|part| !text.contains(**part)) {
        None => Ok(()),
        Some(part) => Err(Failed(format!("rehearsal: no `{part}` in:\n{text}"))),
    }
}

/// The program `clapp` that the tests have built.
fn program() -> Result<PathBuf, Failed> {
    let path = root().join("target/debug/clapp");
    if path.is_file() { Ok(path) } else { Err(Failed(format!("{}: build it first", path.display()))) }
}

fn this() -> Result<PathBuf, Failed> {
    std::env::current_exe().map_err(|error| Failed(format!("this program: {error}")))
}

/// Records with every label and pictures that differ.
fn batch(index: usize) -> Vec<u8> {
    let record = |record: usize| {
        let pixel = move |at: usize| ((at % 32) * (1 + record % 5) + (at / 32) * (1 + index) + 17 * record) as u8;
        std::iter::once((record % 10) as u8).chain((0..RECORD - 1).map(pixel))
    };
    (0..RECORDS).flat_map(record).collect()
}

impl Machine {
    fn new(place: &Path) -> Result<Self, Failed> {
        let failed = |error: std::io::Error| Failed(format!("{}: {error}", place.display()));
        let bin = place.join("bin");
        std::fs::create_dir(&bin).map_err(failed)?;
        for name in PROGRAMS {
            let path = in_path(name).ok_or_else(|| Failed(format!("the rehearsal needs {name}")))?;
            symlink(path, bin.join(name)).map_err(failed)?;
        }
        // In the search path there may be no more than a script that looks for it.
        let python = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        let python = python.map_err(|error| Failed(format!("python3: {error}")))?;
        let script = format!("#!/bin/sh\nexec {} \"$@\"\n", String::from_utf8_lossy(&python.stdout).trim());
        std::fs::write(bin.join("python3"), script).map_err(failed)?;
        std::fs::set_permissions(bin.join("python3"), Permissions::from_mode(0o755)).map_err(failed)?;
        // No PyTorch, whatever is installed here.
        std::fs::create_dir(place.join("python")).map_err(failed)?;
        std::fs::write(place.join("python/torch.py"), "raise ImportError('no torch here')\n").map_err(failed)?;
        let apart = Command::new("unshare").args(["-rn", "true"]).output().is_ok_and(|run| run.status.success());
        println!("{}", if apart { "without a network" } else { "unshare cannot take the network away here" });
        Ok(Self { place: place.into(), apart })
    }

    /// Some golden vectors, where they lie beside the repository.
    fn golden(&self) -> Result<Option<PathBuf>, Failed> {
        let from = root().join("../shared/golden");
        if !from.is_dir() {
            println!("no folder ../shared/golden beside the repository: rehearsed without golden vectors");
            return Ok(None);
        }
        let to = self.place.join("golden");
        for name in GOLDEN {
            copy(&from.join(name), &to.join(name))?;
        }
        Ok(Some(to))
    }

    /// A stand-in for kernels that were compiled here.
    fn cubins(&self) -> Result<PathBuf, Failed> {
        let folder = self.place.join("cubins");
        let failed = |error: std::io::Error| Failed(format!("{}: {error}", folder.display()));
        std::fs::create_dir(&folder).and_then(|()| std::fs::write(folder.join(READY), "kernels")).map_err(failed)?;
        // Of an earlier rehearsal.
        let _ = std::fs::remove_file(cache().join(READY));
        Ok(folder)
    }

    /// The emulation stands for the GPU: it is made beforehand, with a compiler that the stand-in lacks.
    fn compile_emulation(&self) -> Result<(), Failed> {
        for precision in ["f32", "bf16"] {
            let mut command = Command::new(program()?);
            command.args([
                "speed",
                "--preset",
                "demo",
                "--width",
                "0.25",
                "--batch",
                "2",
                "--steps",
                "1",
                "--warm-up",
                "0",
            ]);
            command.args(["--backend", "emulated", "--precision", precision]);
            let run = command.env("CLAPP_CACHE", cache()).env_remove("CXX").output();
            let run = run.map_err(|error| Failed(format!("clapp: {error}")))?;
            if !run.status.success() {
                return Err(Failed(format!("clapp speed: {}", String::from_utf8_lossy(&run.stderr))));
            }
        }
        Ok(())
    }

    fn repository(&self) -> PathBuf {
        self.place.join("repository")
    }

    fn results(&self, call: usize) -> PathBuf {
        self.place.join(format!("results-{call}"))
    }

    /// `start.sh` of a call, in a bare environment.
    fn command(&self, call: usize) -> Command {
        let sh = self.place.join("bin/sh");
        // By its path: the stand-in's own search path has no such program.
        let apart = if self.apart { in_path("unshare") } else { None };
        let mut command = Command::new(apart.as_ref().unwrap_or(&sh));
        if apart.is_some() {
            command.arg("-rn").arg(&sh);
        }
        command.arg(format!("target/pack/call-{call}/start.sh"));
        command.env_clear().env("PATH", self.place.join("bin")).env("PYTHONPATH", self.place.join("python"));
        command.env("CLAPP_KEEP", self.place.join("keep")).env("CLAPP_CACHE", cache());
        command.current_dir(self.repository());
        command
    }

    /// A call from a fresh copy of the repository; gives the outcome of all steps so far.
    fn call(&self, call: usize, seconds: u64, code: i32) -> Result<String, Failed> {
        let repository = self.repository();
        if repository.exists() {
            std::fs::remove_dir_all(&repository)
                .map_err(|error| Failed(format!("{}: {error}", repository.display())))?;
        }
        for path in tracked()? {
            copy(&root().join(&path), &repository.join(&path))?;
        }
        let name = format!("call-{call}");
        copy_folder(&self.place.join("pack").join(&name), &repository.join("target/pack").join(&name))?;
        let brought = size(&repository)?;
        println!("\n==> call {call}: {} brought", mebibytes(brought));
        if brought > BROUGHT {
            return Err(Failed(format!("call {call}: more than {} brought", mebibytes(BROUGHT))));
        }
        let results = self.results(call);
        let mut command = self.command(call);
        command.args(["--rehearse", "--seconds", &seconds.to_string(), "--results"]).arg(&results);
        let run = command.output().map_err(|error| Failed(format!("sh: {error}")))?;
        let said = [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        println!("{said}");
        if run.status.code() != Some(code) {
            return Err(Failed(format!(
                "call {call}: {}, expected exit code {code}\n{}",
                run.status,
                self.logs(call)?
            )));
        }
        self.check_results(&results)?;
        let steps = results.join("steps.txt");
        std::fs::read_to_string(&steps).map_err(|error| Failed(format!("{}: {error}", steps.display())))
    }

    /// Checks the files that are taken away: few, flat, with plain names, one of them a tar of all logs.
    fn check_results(&self, results: &Path) -> Result<(), Failed> {
        let failed = |error: std::io::Error| Failed(format!("{}: {error}", results.display()));
        let mut names = Vec::new();
        for entry in results.read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let plain = name.chars().all(|sign| sign.is_ascii_alphanumeric() || "._-".contains(sign));
            if !plain || !entry.path().is_file() {
                return Err(Failed(format!("results: {name} is no file with a plain name")));
            }
            names.push(name);
        }
        if names.len() > TAKEN
            || !["logs.tar", "steps.txt", "gpu.md"].iter().all(|name| names.iter().any(|n| n == name))
        {
            return Err(Failed(format!("results: expected at most {TAKEN} files, found {}", names.join(", "))));
        }
        Ok(())
    }

    /// All logs of a call, by name.
    fn log_files(&self, call: usize) -> Result<Vec<(String, String)>, Failed> {
        let path = self.results(call).join("logs.tar");
        let failed = |error: std::io::Error| Failed(format!("{}: {error}", path.display()));
        let mut logs = Vec::new();
        for entry in tar::Archive::new(File::open(&path).map_err(failed)?).entries().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            let name = entry.path().map_err(failed)?.display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).map_err(failed)?;
            logs.push((name, text));
        }
        Ok(logs)
    }

    fn logs(&self, call: usize) -> Result<String, Failed> {
        Ok(self.log_files(call)?.iter().map(|(name, text)| format!("== {name}\n{text}\n")).collect())
    }

    /// Nothing that was done was done again, what has failed was, and the data is what has arrived.
    fn check_state(&self) -> Result<(), Failed> {
        let logs = self.log_files(CALLS.len())?;
        let has = |name: &str| logs.iter().any(|(other, _)| other == &format!("logs/{name}.log"));
        let golden = self.place.join("golden").is_dir();
        let wanted = [("machine.1", true), ("machine.2", false), ("golden.1", golden), ("golden.2", golden)];
        let wanted = [&wanted[..], &[("golden.3", false), ("train.1", true), ("unpack", true)]].concat();
        if let Some((name, there)) = wanted.iter().find(|(name, there)| has(name) != *there) {
            let why = if *there { "is missing" } else { "should not be there" };
            return Err(Failed(format!("rehearsal: the log {name} {why}")));
        }
        if std::fs::read(cache().join(READY)).ok().as_deref() != Some(b"kernels") {
            return Err(Failed("rehearsal: compiled kernels did not come to where they are kept".into()));
        }
        let all = self.logs(CALLS.len())?;
        expect(&all, &["CIFAR-10 batches 1,3,4,5"])?;
        let document = self.results(CALLS.len()).join("gpu.md");
        let document = std::fs::read_to_string(&document).map_err(|error| Failed(format!("gpu.md: {error}")))?;
        expect(
            &document,
            &["A dry run", "| clapp++dfb | 2 | cached features |", "| five steps, cpu and the GPU | passed |"],
        )
    }
}

/// Folder of the emulation's kernels, kept between rehearsals.
fn cache() -> PathBuf {
    root().join("target/gpu-rehearsal")
}
