//! Packs all that a borrowed machine with a GPU needs that has neither cargo nor a network: one folder a call, each
//! small enough to be brought beside the repository's files.

use super::packed::{RECORD, pack_batch, pack_file};
use super::steps;
use crate::results::commit;
use crate::{Failed, cargo, kernels, root};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most bytes of a call: the files of the repository and those of the pack together.
const MOST: u64 = 60 << 20;

/// Most bytes of one part of the data.
const PART: u64 = 32 << 20;

/// Starts, or goes on with, the plan there.
pub const START: &str = include_str!("start.sh");

/// Makes a folder of links by which libraries of Python's packages are found.
pub const LINKS: &str = include_str!("links.sh");

/// The batches of CIFAR-10 that each call brings. Each call's own can be trained on where the machine is a fresh one:
/// that of the last has the test batch.
pub const CALLS: [[&str; 2]; 3] = [
    ["data_batch_1.bin", "data_batch_2.bin"],
    ["data_batch_3.bin", "data_batch_4.bin"],
    ["data_batch_5.bin", "test_batch.bin"],
];

/// Contents of the pack.
#[derive(Debug, Default)]
pub struct Contents<'a> {
    /// The programs `clapp` and `xtask`.
    pub programs: [PathBuf; 2],
    /// Folder of golden vectors, where there is one.
    pub golden: Option<PathBuf>,
    /// Folder of kernels that were compiled here, where there is one.
    pub cubins: Option<PathBuf>,
    /// Batches of CIFAR-10 with their names.
    pub batches: Vec<(&'a str, Vec<u8>)>,
    /// The steps that `start.sh` does.
    pub plan: String,
}

/// Builds the programs, compiles the kernels for the GPU of the borrowed machine, and fills a folder for each call.
pub fn pack(folder: &Path, golden: &Path, data: Option<&Path>, clapp: Option<&Path>) -> Result<(), Failed> {
    let (programs, compiler) = match clapp {
        // As it is, with this program beside it.
        Some(clapp) => {
            cargo(&["build", "--workspace", "--bin", "kernels"])?;
            let this = std::env::current_exe().map_err(|error| failed(clapp, &error))?;
            ([root().join(clapp), this], "target/debug/kernels")
        }
        // In one command: each package alone may have other features, and be built anew.
        None => {
            let programs = ["--package", "clapp-host-gpu", "--package", "xtask", "--package", "clapp-benches"];
            let bins = ["--bin", "clapp", "--bin", "xtask", "--bin", "kernels"];
            cargo(&[&["build", "--release"], &programs[..], &bins].concat())?;
            (["clapp", "xtask"].map(|program| root().join("target/release").join(program)), "target/release/kernels")
        }
    };
    let golden = Some(root().join(golden)).filter(|path| path.is_dir());
    if golden.is_none() {
        println!("no folder of golden vectors: they are not packed");
    }
    let cubins = kernels::cubins(compiler)?;
    let batches = match data {
        Some(data) => batches(&root().join(data))?,
        None => {
            println!("no --data: nothing will be trained on CIFAR-10");
            Vec::new()
        }
    };
    let folder = root().join(folder);
    fill(&folder, &Contents { programs, golden, cubins: Some(cubins), batches, plan: steps::plan(1) })?;
    let shown = folder.strip_prefix(root()).unwrap_or(&folder).display().to_string();
    println!("\nIn the folder of the repository there, one after the other:");
    for call in 1..=CALLS.len() {
        println!("  sh {shown}/call-{call}/start.sh --results FOLDER");
    }
    Ok(())
}

/// Fills a folder for each call: `call-1` and so on. Fails where one is too large.
pub fn fill(folder: &Path, contents: &Contents<'_>) -> Result<(), Failed> {
    let repository = tracked()?.iter().map(|path| size(&root().join(path))).sum::<Result<u64, Failed>>()?;
    println!("the files of the repository: {}", mebibytes(repository));
    // One for all calls: what is done is kept under it.
    let commit = commit();
    for (index, names) in CALLS.iter().enumerate() {
        let call = folder.join(format!("call-{}", index + 1));
        if call.exists() {
            std::fs::remove_dir_all(&call).map_err(|error| failed(&call, &error))?;
        }
        fill_call(&call, contents, &commit, names, index + 1 == CALLS.len())?;
        let packed = size(&call)?;
        println!("{}: {}, with the repository {}", call.display(), mebibytes(packed), mebibytes(packed + repository));
        if packed + repository > MOST {
            let most = mebibytes(MOST);
            return Err(Failed(format!("{}: more than {most} with the repository's files", call.display())));
        }
    }
    Ok(())
}

fn fill_call(call: &Path, contents: &Contents<'_>, commit: &str, names: &[&str], last: bool) -> Result<(), Failed> {
    let (data, programs) = (call.join("data"), call.join("programs"));
    for folder in [&data, &programs] {
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    }
    for (name, text) in [("start.sh", START), ("links.sh", LINKS), ("commit", commit), ("plan", &contents.plan)] {
        std::fs::write(call.join(name), text).map_err(|error| failed(&call.join(name), &error))?;
    }
    if last {
        std::fs::write(call.join("last"), "").map_err(|error| failed(&call.join("last"), &error))?;
    }
    let [clapp, xtask] = &contents.programs;
    // This one unpacks the rest.
    stripped(xtask, &call.join("xtask"))?;
    stripped(clapp, &programs.join("clapp"))?;
    pack_file(&programs.join("clapp"), &programs)?;
    std::fs::remove_file(programs.join("clapp")).map_err(|error| failed(&programs, &error))?;
    if let Some(golden) = &contents.golden {
        copy_folder(golden, &call.join("golden"))?;
    }
    if let Some(from) = &contents.cubins {
        let cubins = call.join("cubins");
        std::fs::create_dir_all(&cubins).map_err(|error| failed(&cubins, &error))?;
        entries(from)?.iter().try_for_each(|path| pack_file(path, &cubins))?;
    }
    for (name, bytes) in contents.batches.iter().filter(|(name, _)| names.contains(name)) {
        pack_batch(name, bytes, &data)?;
    }
    for path in entries(&data)? {
        if size(&path)? > PART {
            return Err(Failed(format!("{}: a part of the data has more than {}", path.display(), mebibytes(PART))));
        }
    }
    Ok(())
}

/// The files that git knows, relative to the root.
pub fn tracked() -> Result<Vec<PathBuf>, Failed> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let output = output.map_err(|error| Failed(format!("git ls-files: {error}")))?;
    if !output.status.success() {
        return Err(Failed(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    // One that was removed and not committed yet is carried nowhere.
    Ok(files.filter(|path| root().join(path).exists()).collect())
}

/// The batches of CIFAR-10's official archive or of its folder.
fn batches(data: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, Failed> {
    let known = || CALLS.iter().flatten().copied();
    let mut found = Vec::new();
    if data.is_dir() {
        for name in known() {
            let path = data.join(name);
            found.push((name, std::fs::read(&path).map_err(|error| failed(&path, &error))?));
        }
        return Ok(found);
    }
    let file = File::open(data).map_err(|error| failed(data, &error))?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(BufReader::new(file)));
    for entry in archive.entries().map_err(|error| failed(data, &error))? {
        let mut entry = entry.map_err(|error| failed(data, &error))?;
        let path = entry.path().map_err(|error| failed(data, &error))?.into_owned();
        if let Some(name) = known().find(|name| path.file_name().is_some_and(|other| other == *name)) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|error| failed(data, &error))?;
            found.push((name, bytes));
        }
    }
    let missing: Vec<&str> = known().filter(|name| found.iter().all(|(other, _)| other != name)).collect();
    if missing.is_empty() {
        return Ok(found);
    }
    Err(Failed(format!("{}: lacks {} (records of {RECORD} bytes)", data.display(), missing.join(", "))))
}

fn failed(path: &Path, error: &std::io::Error) -> Failed {
    Failed(format!("{}: {error}", path.display()))
}

pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let entries = folder.read_dir().map_err(|error| failed(folder, &error))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(|error| failed(folder, &error))).collect()
}

/// Bytes of a file, or of all files below a folder.
pub fn size(path: &Path) -> Result<u64, Failed> {
    if path.is_dir() {
        return entries(path)?.iter().map(|path| size(path)).sum();
    }
    path.metadata().map(|data| data.len()).map_err(|error| failed(path, &error))
}

/// Copies a program without the names of its functions, which are most of it and of no use there.
fn stripped(from: &Path, to: &Path) -> Result<(), Failed> {
    let status = Command::new("strip").arg("-o").arg(to).arg(from).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => copy(from, to),
    }
}

pub fn copy(from: &Path, to: &Path) -> Result<(), Failed> {
    let parent = to.parent().unwrap_or(to);
    std::fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
    std::fs::copy(from, to).map(drop).map_err(|error| failed(from, &error))
}

pub fn copy_folder(from: &Path, to: &Path) -> Result<(), Failed> {
    for path in entries(from)? {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() { copy_folder(&path, &target)? } else { copy(&path, &target)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_found_in_the_archive_and_in_a_folder() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&folder).expect("a folder");
        for (index, name) in CALLS.iter().flatten().enumerate() {
            std::fs::write(folder.join(name), vec![index as u8; RECORD]).expect("written");
        }
        let archive = place.path().join("set.tar.gz");
        let out = flate2::write::GzEncoder::new(File::create(&archive).expect("a file"), flate2::Compression::fast());
        let mut tar = tar::Builder::new(out);
        tar.append_dir_all("cifar-10-batches-bin", &folder).expect("packed");
        tar.into_inner().and_then(|out| out.finish()).expect("a file");
        let of = |path: &Path| {
            let mut found = batches(path).unwrap_or_else(|Failed(why)| panic!("{why}"));
            found.sort();
            found
        };
        assert_eq!(of(&archive), of(&folder));
        assert_eq!(of(&folder).len(), 6);
        std::fs::remove_file(folder.join("data_batch_4.bin")).expect("removed");
        assert!(matches!(batches(&folder), Err(Failed(why)) if why.contains("data_batch_4.bin")));
    }

    #[test]
    fn a_call_that_is_too_large_is_refused() {
        let place = tempfile::tempdir().expect("a folder");
        let program = place.path().join("program");
        // Bytes that nothing makes smaller.
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        std::fs::write(&program, noise.take(MOST as usize).collect::<Vec<u8>>()).expect("written");
        let contents = Contents { programs: [program.clone(), program], ..Contents::default() };
        let Err(Failed(why)) = fill(&place.path().join("pack"), &contents) else { panic!("too large, not refused") };
        assert!(why.contains("call-1: more than 60.0 MiB"), "{why}");
    }
}
