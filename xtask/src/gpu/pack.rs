//! What a machine with a GPU needs that has neither cargo nor a network: the programs, the golden vectors, and the data in
//! parts small enough to be carried one at a time.

use crate::results::commit;
use crate::{Failed, cargo, root};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Largest part of the data: ways to such machines have limits.
const PART: u64 = 40 << 20;

/// Starts the command there. The folder of the repository is the one above, or `CLAPP_ROOT`.
const START: &str = r#"#!/bin/sh
# Runs `cargo xtask gpu` with what lies beside this file, in the folder of the repository (CLAPP_ROOT, else the working
# folder). All arguments are those of `cargo xtask gpu`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export CLAPP_ROOT="${CLAPP_ROOT:-$(pwd)}" CLAPP_COMMIT="$(cat "$here/commit")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/clapp" "$here/xtask" "$work/"
chmod +x "$work/clapp" "$work/xtask"
set -- --clapp "$work/clapp" "$@"
[ ! -d "$here/golden" ] || set -- --golden "$here/golden" "$@"
if ls "$here"/data/part-* >/dev/null 2>&1; then
    name=$(cat "$here/data/name")
    cat "$here"/data/part-* > "$work/$name"
    [ "$(wc -c < "$work/$name")" -eq "$(cat "$here/data/bytes")" ] || { echo "parts of $name are missing" >&2; exit 2; }
    set -- --data "$work/$name" "$@"
fi
"$work/xtask" gpu "$@"
"#;

/// Fills `folder`: `clapp`, `xtask`, `start.sh`, `commit`, `golden/`, `data/part-NNN`.
pub fn pack(folder: &Path, golden: &Path, data: Option<&Path>) -> Result<(), Failed> {
    cargo(&["build", "--release", "--package", "clapp-host-gpu", "--package", "xtask"])?;
    let folder = root().join(folder);
    for program in ["clapp", "xtask"] {
        copy(&root().join("target/release").join(program), &folder.join(program))?;
        // Names of functions are of no use there; without them a third is left.
        let _ = std::process::Command::new("strip").arg(folder.join(program)).status();
    }
    for (name, text) in [("start.sh", START), ("commit", &commit())] {
        std::fs::write(folder.join(name), text).map_err(|error| failed(&folder.join(name), &error))?;
    }
    let golden = root().join(golden);
    if golden.is_dir() {
        copy_folder(&golden, &folder.join("golden"))?;
    } else {
        println!("no folder {}: golden vectors are not packed", golden.display());
    }
    match data {
        Some(data) if data.is_file() => split(data, &folder.join("data"), PART)?,
        Some(data) => return Err(Failed(format!("{}: only an archive can be packed", data.display()))),
        None => println!("no --data: nothing will be trained on CIFAR-10"),
    }
    println!(
        "\n{}: carry it, with the files of the repository, and run there: sh {}/start.sh",
        folder.display(),
        folder.strip_prefix(root()).unwrap_or(&folder).display()
    );
    Ok(())
}

fn failed(path: &Path, error: &std::io::Error) -> Failed {
    Failed(format!("{}: {error}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failed> {
    let parent = to.parent().unwrap_or(to);
    std::fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
    std::fs::copy(from, to).map(drop).map_err(|error| failed(from, &error))
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Failed> {
    for entry in from.read_dir().map_err(|error| failed(from, &error))? {
        let path = entry.map_err(|error| failed(from, &error))?.path();
        let target: PathBuf = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() { copy_folder(&path, &target)? } else { copy(&path, &target)? }
    }
    Ok(())
}

/// Writes a file in parts, with its name and its length.
fn split(file: &Path, folder: &Path, most: u64) -> Result<(), Failed> {
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    let mut input = BufReader::new(File::open(file).map_err(|error| failed(file, &error))?);
    let (mut bytes, mut index) = (0, 0);
    loop {
        let path = folder.join(format!("part-{index:03}"));
        let mut part = BufWriter::new(File::create(&path).map_err(|error| failed(&path, &error))?);
        let copied = std::io::copy(&mut input.by_ref().take(most), &mut part).map_err(|error| failed(&path, &error))?;
        part.flush().map_err(|error| failed(&path, &error))?;
        if copied == 0 {
            std::fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
            break;
        }
        (bytes, index) = (bytes + copied, index + 1);
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for (what, text) in [("name", name), ("bytes", bytes.to_string())] {
        std::fs::write(folder.join(what), text).map_err(|error| failed(&folder.join(what), &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_file_again() {
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("set.tar.gz");
        let bytes: Vec<u8> = (0..1000_u32).map(|at| (at * at % 251) as u8).collect();
        std::fs::write(&file, &bytes).expect("written");
        let folder = place.path().join("data");
        split(&file, &folder, 300).unwrap_or_else(|Failed(why)| panic!("{why}"));
        let parts: Vec<Vec<u8>> =
            (0..4).map(|index| std::fs::read(folder.join(format!("part-{index:03}"))).expect("a part")).collect();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [300, 300, 300, 100]);
        assert_eq!(parts.concat(), bytes);
        assert!(!folder.join("part-004").exists());
        assert_eq!(std::fs::read_to_string(folder.join("bytes")).expect("bytes"), "1000");
        assert_eq!(std::fs::read_to_string(folder.join("name")).expect("name"), "set.tar.gz");
    }
    #[test]
    fn the_start_puts_the_parts_together_and_refuses_where_one_is_missing() {
        let place = tempfile::tempdir().expect("a folder");
        let here = place.path().join("pack");
        std::fs::create_dir_all(here.join("golden")).expect("a folder");
        let file = place.path().join("set.tar.gz");
        std::fs::write(&file, "0123456789").expect("written");
        split(&file, &here.join("data"), 4).unwrap_or_else(|Failed(why)| panic!("{why}"));
        // In place of the programs: what they are called with, and the data that they find.
        let shows = "#!/bin/sh\necho \"$CLAPP_COMMIT $CLAPP_ROOT $*\"\nwhile [ \"$1\" != --data ]; do shift; done\ncat \"$2\"\n";
        for (name, text) in [("start.sh", START), ("commit", "abc"), ("clapp", ""), ("xtask", shows)] {
            std::fs::write(here.join(name), text).expect("written");
        }
        let start = || {
            let mut command = std::process::Command::new("sh");
            command.arg(here.join("start.sh")).args(["--only", "speed"]).env_remove("CLAPP_ROOT");
            command.current_dir(place.path()).output().expect("sh")
        };
        let output = start();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.starts_with("abc ") && text.ends_with("0123456789"), "{text}");
        for part in [" gpu --data ", "/set.tar.gz --golden ", "/golden --clapp ", "/clapp --only speed\n"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        std::fs::remove_file(here.join("data/part-001")).expect("removed");
        let output = start();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("parts of set.tar.gz are missing"));
    }
}
