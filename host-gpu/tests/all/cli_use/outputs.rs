//! Every option that names an output, of every command: no input, no file of a run and no file of the user's is
//! replaced. An option that is not in the table fails the test.

use crate::cli_common::{CONFIG, clapp, succeeds, write_cifar};
use clap::{ArgAction, CommandFactory};
use clapp_host_gpu::cli::Arguments;
use clapp_host_gpu::cli::output_files::{OutputFile, OutputFolder};
use std::any::TypeId;
use std::fs;
use std::path::{Path, PathBuf};

/// An output file: its command and option, a call with `OUT` for the file, and an input of that command.
struct Row {
    command: &'static str,
    option: &'static str,
    call: &'static str,
    input: &'static str,
}

const fn row(command: &'static str, option: &'static str, call: &'static str, input: &'static str) -> Row {
    Row { command, option, call, input }
}

/// All options for output files.
const FILES: [Row; 14] = [
    row("eval", "json", "eval run --data data --cached --epochs 1 --json OUT", "run/checkpoint.safetensors"),
    row("align", "json", "align run --data data --batches 1 --json OUT", "run/checkpoint.safetensors"),
    row("sweep", "slurm", "sweep --config tiny.toml --data data --out all --slurm OUT", "tiny.toml"),
    row("report", "out", "report run --out OUT", "run/run.json"),
    row("paper", "page", "paper all --out found --found --data data --page OUT", "data/data_batch_1.bin"),
    row("data check", "contact_sheet", "data check data --contact-sheet OUT", "data/data_batch_1.bin"),
    row("device", "fetch", "device --port line --data data --overwrite --fetch OUT", "data/data_batch_1.bin"),
    row("device", "flash", "device --qemu --firmware firmware.elf --data data --flash OUT", "firmware.elf"),
    row("device", "log", "device --qemu --firmware firmware.elf --data data --log OUT", "firmware.elf"),
    row("features", "out", "features run --data data --images 2 --overwrite --out OUT", "run/checkpoint.safetensors"),
    row("doctor", "json", "doctor --deep --json OUT", ""),
    row("export", "output", "export run --overwrite --output OUT", "run/checkpoint.safetensors"),
    row("import", "output", "import chip.bin --network tiny.toml --overwrite --output OUT", "chip.bin"),
    row("recommend", "out", "recommend --ram 128k --flash 512k --classes 6 --input 1x32x32 --out OUT", ""),
];

/// All options for folders of outputs, with a call that names an input as the folder.
const FOLDERS: [(&str, &str, &str); 4] = [
    ("train", "out", "train --config tiny.toml --data data --out data"),
    ("sweep", "out", "sweep --config tiny.toml --data data --out data"),
    ("paper", "out", "paper theorem --data data --out data"),
    // Unpacked copies have names of their own; only a file is refused.
    ("*", "cache", "data check data --cache tiny.toml"),
];

/// Options and arguments of the types of paths and texts that are no outputs.
const INPUTS: [&str; 42] = [
    "align checkpoint",
    "align data",
    "data check path",
    "device data",
    "device firmware",
    "device port",
    "doctor probes",
    "eval checkpoint",
    "eval data",
    "export checkpoint",
    "export network",
    "features checkpoint",
    "features data",
    "features files",
    "golden paths",
    "import image",
    "import network",
    "info config",
    "info preset",
    "paper data",
    "paper name",
    "parity config",
    "parity data",
    "parity preset",
    "predict checkpoint",
    "predict images",
    "predict probe",
    "report runs",
    "speed config",
    "speed preset",
    "sweep config",
    "sweep cpus",
    "sweep data",
    "sweep gres",
    "sweep mem",
    "sweep partition",
    "sweep preset",
    "sweep time",
    "train config",
    "train data",
    "train preset",
    "device machine",
];

/// All arguments of a command and its subcommands that take a path or a text, with the type of their values.
fn named(command: &clap::Command, path: &str, list: &mut Vec<(String, String, TypeId)>) {
    let types = [
        TypeId::of::<PathBuf>(),
        TypeId::of::<std::ffi::OsString>(),
        TypeId::of::<String>(),
        TypeId::of::<OutputFile>(),
        TypeId::of::<OutputFolder>(),
    ];
    for argument in command.get_arguments().filter(|argument| !matches!(argument.get_action(), ArgAction::SetTrue)) {
        let found = argument.get_value_parser().type_id();
        if let Some(of) = types.into_iter().find(|of| found == *of) {
            list.push((path.to_owned(), argument.get_id().to_string(), of));
        }
    }
    for command in command.get_subcommands() {
        named(command, format!("{path} {}", command.get_name()).trim(), list);
    }
}

#[test]
fn every_option_that_names_an_output_is_in_the_table() {
    let mut list = Vec::new();
    named(&Arguments::command(), "", &mut list);
    assert!(list.len() > 30, "{list:?}");
    for (command, id, of) in list {
        let known = if of == TypeId::of::<OutputFile>() {
            FILES.iter().any(|row| row.command == command && row.option == id)
        } else if of == TypeId::of::<OutputFolder>() {
            FOLDERS.iter().any(|(of, option, _)| (*of == "*" || *of == command) && *option == id)
        } else {
            INPUTS.contains(&format!("{command} {id}").as_str())
        };
        assert!(
            known,
            "`clapp {command}` has an argument `{id}` that these tests do not know: an output is of type OutputFile or \
             OutputFolder and has a row here; anything else is one of the inputs"
        );
    }
}

/// A folder with a run, and what the calls of the table need.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    fs::write(folder.join("tiny.toml"), CONFIG).expect("a file");
    write_cifar(&folder.join("data"));
    succeeds(folder, &["train", "--config", "tiny.toml", "--data", "data", "--epochs", "0", "--out", "run"]);
    succeeds(folder, &["eval", "run", "--data", "data", "--quick", "--epochs", "1"]);
    succeeds(folder, &["export", "run", "--output", "chip.bin"]);
    fs::write(folder.join("firmware.elf"), "no firmware").expect("a file");
    for name in ["notes.txt", "notes.safetensors"] {
        fs::write(folder.join(name), "notes of the user\n").expect("a file");
    }
    place
}

fn call(call: &str, out: &str) -> Vec<String> {
    call.split(' ').map(|part| if part == "OUT" { out.into() } else { part.into() }).collect()
}

/// The call must end with exit code 2, name the option, and change no file.
fn refused(folder: &Path, call: &[String], option: &str, part: &str) {
    let before = bytes(folder);
    let call: Vec<&str> = call.iter().map(String::as_str).collect();
    let output = clapp(folder, &call);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{call:?}: {errors}");
    let option = format!("--{}", option.replace('_', "-"));
    assert!(errors.contains(&option) && errors.contains(part), "{call:?}: no `{option}` or no `{part}` in: {errors}");
    assert!(bytes(folder) == before, "{call:?} has changed a file");
}

/// All files below a folder, with their contents.
fn bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut list = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            list.extend(bytes(&path));
        } else {
            let contents = fs::read(&path).expect("a file");
            list.push((path, contents));
        }
    }
    list.sort();
    list
}

#[test]
fn no_output_takes_the_place_of_an_input_or_of_a_file_of_somebody_else() {
    let place = place();
    let folder = place.path();
    for Row { command, option, call: text, input } in &FILES {
        let end = ending(command);
        // The board writes into the file of a device's flash. A file that is no flash image is refused when it is
        // opened.
        let is_flash = *option == "flash";
        if !is_flash {
            refused(folder, &call(text, &format!("notes{end}")), option, "replace it with --force");
        }
        let of_probe = ["probe-quick.json", "probe-quick.safetensors"];
        for of_run in ["checkpoint.safetensors", "config.toml", "metrics.csv", "run.json"].into_iter().chain(of_probe) {
            let of_run = format!("run/{of_run}");
            assert!(folder.join(&of_run).exists(), "{of_run}");
            if end == ".txt" || of_run.ends_with(end) {
                refused(folder, &[call(text, &of_run), vec!["--force".into()]].concat(), option, "name another file");
            }
        }
        if input.is_empty() {
            continue;
        }
        let [hard, soft] = ["hard", "soft"].map(|name| format!("{name}{end}"));
        let names = [(*input).to_owned(), hard.clone(), soft.clone()];
        let [hard, soft] = [hard, soft].map(|name| folder.join(name));
        fs::hard_link(folder.join(input), &hard).expect("a link");
        std::os::unix::fs::symlink(folder.join(input), &soft).expect("a link");
        for name in names {
            refused(folder, &[call(text, &name), vec!["--force".into()]].concat(), option, "name another file");
        }
        for link in [hard, soft] {
            fs::remove_file(link).expect("removed");
        }
    }
}

/// Returns the extension of a command's outputs.
fn ending(command: &str) -> &'static str {
    if command == "features" { ".safetensors" } else { ".txt" }
}

#[test]
fn no_folder_of_outputs_is_an_input() {
    let place = place();
    for (_, option, text) in FOLDERS {
        refused(place.path(), &call(text, ""), option, "");
    }
}

/// The next command would read the output as a part of the set.
#[test]
fn no_output_goes_into_the_folder_of_a_data_set() {
    let place = place();
    let folder = place.path();
    std::os::unix::fs::symlink(folder.join("data"), folder.join("link")).expect("a link");
    let mut tried = 0;
    for Row { command, option, call: text, .. } in FILES.iter().filter(|row| row.call.contains("data")) {
        let end = ending(command);
        for name in ["data/new", "data/a/b/new", "link/new", "./data/../data/new", "run/a/../../data/new"] {
            let call = [call(text, &format!("{name}{end}")), vec!["--force".into()]].concat();
            refused(folder, &call, option, "lies in the folder of the data set (data)");
            tried += 1;
        }
    }
    assert_eq!(tried, 5 * 9);
    for (command, option, text) in FOLDERS.iter().filter(|(command, ..)| *command != "*") {
        for name in ["data/new", "link/a/b"] {
            let text = text.replace("--out data", &format!("--out {name}"));
            refused(folder, &call(&text, ""), option, "lies in the folder of the data set (data)");
        }
        // The folder that is taken where none is named.
        if *command == "train" {
            let text = text.replace("--data data --out data", "--data .");
            refused(folder, &call(&text, ""), option, "out/tiny lies in the folder of the data set (.)");
        }
    }
    // A run that is already in the folder of a data set can continue and be evaluated.
    fs::rename(folder.join("run"), folder.join("data/run")).expect("moved");
    succeeds(folder, &["train", "--resume", "--out", "data/run", "--data", "data", "--epochs", "1"]);
    succeeds(folder, &["eval", "data/run", "--data", "data", "--cached", "--epochs", "1"]);
}

#[test]
fn two_outputs_of_a_command_are_never_one_file() {
    let place = place();
    for (text, option) in [
        ("sweep --config tiny.toml --data data --out all --slurm all/sweep.toml --force", "slurm"),
        ("device --qemu --fetch new --log new --force", "fetch"),
        ("device --qemu --log new --flash ./new --force", "log"),
    ] {
        refused(place.path(), &call(text, ""), option, "name another file");
    }
}

#[test]
fn an_archive_that_begins_with_a_checkpoint_is_no_file_of_clapp() {
    let place = place();
    let folder = place.path();
    let mut archive = tar::Builder::new(fs::File::create(folder.join("backup.tar")).expect("a file"));
    archive
        .append_path_with_name(folder.join("run/checkpoint.safetensors"), "checkpoint.safetensors")
        .expect("a member");
    archive.append_path_with_name(folder.join("tiny.toml"), "tiny.toml").expect("a member");
    archive.finish().expect("an archive");
    let import = "import chip.bin --network tiny.toml --overwrite --output OUT";
    refused(folder, &call(import, "backup.tar"), "output", "replace it with --force");
}

/// A command overwrites its own files. It replaces other files only with --force.
#[test]
fn files_of_ones_own_are_written_again_and_others_with_force() {
    let place = place();
    let folder = place.path();
    for Row { command, call: text, .. } in &FILES {
        if ["device", "paper", "doctor"].contains(command) {
            continue;
        }
        let file = format!("out{}", ending(command));
        let run = |more: &[&str]| {
            let call = call(text, &file);
            let call: Vec<&str> = call.iter().map(String::as_str).chain(more.iter().copied()).collect();
            succeeds(folder, &call);
            fs::read(folder.join(&file)).expect("a file")
        };
        let first = run(&[]);
        assert!(run(&[]) == first, "{command}");
        fs::write(folder.join(&file), "something else").expect("a file");
        assert!(run(&["--force"]) == first, "{command}");
        fs::remove_file(folder.join(&file)).expect("removed");
        // An empty file holds nothing that could be lost.
        fs::write(folder.join(&file), "").expect("a file");
        assert!(run(&[]) == first, "{command}");
        fs::remove_file(folder.join(&file)).expect("removed");
        // Files that a command writes beside the output.
        let _ = fs::remove_file(folder.join("out.safetensors"));
    }
}

#[test]
fn a_run_is_not_written_over_files_of_somebody_else_or_its_own_configuration() {
    let place = place();
    let folder = place.path();
    let train = ["train", "--data", "data", "--epochs", "0", "--overwrite", "--out"].map(String::from);
    let with = |more: &[&str]| [&train[..], &more.iter().map(|text| (*text).into()).collect::<Vec<_>>()].concat();
    // The configuration of the run is read from the folder that is to be written over.
    refused(folder, &with(&["run", "--config", "run/config.toml", "--force"]), "out", "is an input");
    fs::create_dir(folder.join("other")).expect("a folder");
    for name in ["config.toml", "metrics.csv", "run.json", "probe.json", "checkpoint.safetensors"] {
        let file = folder.join("other").join(name);
        fs::write(&file, "of the user\nhere\n").expect("a file");
        refused(folder, &with(&["other", "--config", "tiny.toml"]), "force", name);
        fs::remove_file(file).expect("removed");
    }
    fs::write(folder.join("other/config.toml"), "of the user\n").expect("a file");
    let forced = with(&["other", "--config", "tiny.toml", "--force"]);
    succeeds(folder, &forced.iter().map(String::as_str).collect::<Vec<_>>());
    // A sweep's page and configurations.
    fs::create_dir_all(folder.join("all/configs")).expect("a folder");
    let sweep = "sweep --config tiny.toml --data data --cached --probe-epochs 1 --epochs 0 --out all";
    for name in ["report.html", "configs/clapp++-w1-s3.toml"] {
        fs::write(folder.join("all").join(name), "of the user\n").expect("a file");
        refused(folder, &call(sweep, ""), "out", name);
        fs::remove_file(folder.join("all").join(name)).expect("removed");
    }
    for _ in 0..2 {
        succeeds(folder, &sweep.split(' ').collect::<Vec<_>>());
    }
}
