//! `clapp device` through the program, with the firmware in QEMU: a complete lesson raises the accuracy, and device and
//! host learn the same. Run with `cargo test -p clapp-host-gpu --features qemu`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failure is the end of a test")]

use crate::cli_common;

use cli_common::{clapp, succeeds, write_cifar};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The boards, by QEMU's names.
const BOARDS: [&str; 2] = ["mps2-an386", "mps2-an500"];

/// The firmware for a board, built when first asked for.
fn firmware(machine: &str) -> String {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo).args(["xtask", "firmware"]).current_dir(root).status().unwrap();
        assert!(status.success(), "`cargo xtask firmware` failed");
        root.join("target/firmware")
    });
    folder.join(format!("qemu-{machine}/clapp-firmware")).to_str().unwrap().to_string()
}

/// The arguments of a lesson on a board with flash.
fn lesson<'a>(machine: &'a str, firmware: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let board = ["device", "--qemu", "--machine", machine, "--firmware", firmware, "--flash", "flash.bin"];
    [&board[..], more].concat()
}

fn says(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "no `{part}` in: {text}"));
}

/// The number before ` %` in the line that begins so.
fn percent(text: &str, begin: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(begin)).unwrap();
    line.trim().split(' ').next().unwrap().parse().unwrap()
}

/// Returns the CIFAR-10 archive beside the repository, if it exists.
fn real_images() -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/cifar-10-binary.tar.gz");
    path.is_file().then(|| path.canonicalize().unwrap().to_str().unwrap().to_string())
}

/// All frames depend on the seed and both sides compute the same bits, so the accuracies are the same on every machine,
/// and these bounds do not depend on chance.
#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-host-gpu --features qemu")]
fn qemu_two_thousand_frames_help() {
    let place = tempfile::tempdir().unwrap();
    let (firmware, data) = (firmware(BOARDS[0]), real_images().unwrap_or_else(|| "generated".into()));
    let more =
        ["--data", &data, "--frames", "2000", "--labels", "10", "--test", "300", "--fetch", "learnt.safetensors"];
    let text = succeeds(place.path(), &lesson(BOARDS[0], &firmware, &more));
    println!("{text}");
    says(&text, &["qemu-mps2-an386, firmware ", "learnt without labels from 2000 frames in "]);
    says(&text, &["replay on the host: the same to the last bit (2800 frames, 6896 parameters, read-out)"]);
    let (before, after) = (percent(&text, "before learning:"), percent(&text, "after learning:"));
    assert!(after >= before + 3.0, "{before} % before, {after} % after");
    // It saves by itself: what it learns later is on top of that.
    let text =
        succeeds(place.path(), &lesson(BOARDS[0], &firmware, &["--frames", "0", "--labels", "0", "--test", "0"]));
    says(&text, &["step 2000, weights saved at step 2000"]);
}

#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-host-gpu --features qemu")]
fn qemu_both_boards_learn_the_same_over_a_bad_line_too() {
    let mut fetched = Vec::new();
    for (machine, faults) in [(BOARDS[0], "0"), (BOARDS[1], "0"), (BOARDS[0], "1e-4")] {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        write_cifar(&folder.join("cifar"));
        let firmware = firmware(machine);
        let more = ["--data", "cifar", "--frames", "60", "--fixation", "3", "--labels", "1", "--test", "10"];
        let more = [&more[..], &["--faults", faults, "--fetch", "held.safetensors", "--save"]].concat();
        let text = succeeds(folder, &lesson(machine, &firmware, &more));
        says(&text, &["saved in the device's flash at step 60", "the same to the last bit"]);
        // A slow machine may have something sent again on a good line, too, but nothing is spoilt there.
        let good = text.contains("packets that could not be read: 0 by the device, 0 by the host");
        assert_eq!(good, faults == "0", "{text}");
        let (network, held) =
            (["--network", "held.safetensors"], std::fs::read(folder.join("held.safetensors")).unwrap());
        // The flash holds what the line brought.
        let import = ["import", "flash.bin", "-o", "flash.safetensors"];
        succeeds(folder, &[&import[..], &network].concat());
        assert_eq!(std::fs::read(folder.join("flash.safetensors")).unwrap(), held);
        // And the device starts with it.
        let none = ["--frames", "0", "--labels", "0", "--test", "0", "--fetch", "again.safetensors"];
        let text = succeeds(folder, &lesson(machine, &firmware, &none));
        says(&text, &["step 60, weights saved at step 60"]);
        assert_eq!(std::fs::read(folder.join("again.safetensors")).unwrap(), held);
        // The checkpoint names the board.
        fetched.push(held);
    }
    assert_eq!(fetched[0], fetched[2]);
    let tensors = |file: &[u8]| {
        let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        file[8 + header..].to_vec()
    };
    assert_eq!(tensors(&fetched[0]), tensors(&fetched[1]));
}

/// Both streams of continual learning through the program: the learner of `clapp paper continual` and the device come
/// to the same after each stage, and hold the same.
#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-host-gpu --features qemu")]
fn qemu_streams_are_learnt_the_same_on_both_boards() {
    let data = real_images().unwrap_or_else(|| "generated".into());
    for (machine, kind, stages) in [(BOARDS[0], "class-incremental", 10), (BOARDS[1], "drift", 5)] {
        let place = tempfile::tempdir().unwrap();
        let firmware = firmware(machine);
        let more = ["--data", &data, "--stream", kind, "--frames", "400", "--labels", "4", "--test", "50"];
        let text = succeeds(place.path(), &lesson(machine, &firmware, &more));
        println!("{text}");
        says(&text, &[&format!("{kind} stream: {stages} stages, 400 frames, 4 labels of each class, 5 test images")]);
        says(
            &text,
            &["the same stream on the host: the same to the last bit (", " frames, 6896 parameters, read-out)"],
        );
        let after: Vec<&str> = text.lines().filter(|line| line.starts_with("after ")).collect();
        assert_eq!(after.len(), stages, "{text}");
        for line in after {
            let shares: Vec<&str> = line.split(' ').filter(|word| word.parse::<f64>().is_ok()).collect();
            // The name of a drift's stage is a number, too.
            assert_eq!(shares[shares.len() - 2], shares[shares.len() - 1], "{line}");
        }
    }
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clapp"));
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The process of QEMU that a program has started, once it is there.
fn emulator(program: &Child) -> u32 {
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(number) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            // Number, (name), state, parent.
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
            if parent == Some(program.id()) && stat.contains("(qemu-system-arm)") {
                return number;
            }
        }
    }
}

#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-host-gpu --features qemu")]
fn qemu_ends_with_a_program_that_is_killed() {
    let place = tempfile::tempdir().unwrap();
    write_cifar(&place.path().join("cifar"));
    let firmware = firmware(BOARDS[0]);
    let mut program = start(place.path(), &lesson(BOARDS[0], &firmware, &ENDLESS));
    let qemu = emulator(&program);
    program.kill().unwrap();
    program.wait().unwrap();
    let begin = Instant::now();
    while is_there(qemu) {
        assert!(begin.elapsed() < Duration::from_secs(20), "process {qemu} is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(name: &str, process: u32) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

/// Returns `true` if a process runs; one that has ended and that nobody has asked about does not.
fn is_there(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

const ENDLESS: [&str; 8] = ["--data", "cifar", "--frames", "1000000", "--labels", "0", "--test", "0"];

#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-host-gpu --features qemu")]
fn qemu_an_emulator_that_ends_is_an_error_and_one_that_is_interrupted_ends() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write_cifar(&folder.join("cifar"));
    let firmware = firmware(BOARDS[0]);
    let arguments = lesson(BOARDS[0], &firmware, &ENDLESS);
    let program = start(folder, &arguments);
    let qemu = emulator(&program);
    std::thread::sleep(Duration::from_millis(1500));
    signal("-KILL", qemu);
    let output = program.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{errors}");
    says(&errors, &["error: QEMU mps2-an386: the connection is lost: "]);

    let program = start(folder, &arguments);
    let qemu = emulator(&program);
    std::thread::sleep(Duration::from_millis(1500));
    signal("-INT", program.id());
    let output = program.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    says(
        &String::from_utf8(output.stdout).unwrap(),
        &["stopped; the emulated device lost everything that it learnt since its last save"],
    );
    assert!(!is_there(qemu));
}

#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-host-gpu --features qemu")]
fn qemu_what_is_no_firmware_is_refused() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("text"), "no firmware").unwrap();
    let begin = Instant::now();
    let output = clapp(place.path(), &["device", "--qemu", "--firmware", "text", "--timeout", "2"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    says(&errors, &["error: QEMU mps2-an386: "]);
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(begin.elapsed() < Duration::from_secs(40));
    // A board without flash has nowhere to save to.
    let firmware = firmware(BOARDS[1]);
    let board = ["device", "--qemu", "--machine", BOARDS[1], "--firmware", &firmware];
    let output =
        clapp(place.path(), &[&board[..], &["--frames", "0", "--labels", "0", "--test", "0", "--save"]].concat());
    assert_eq!(output.status.code(), Some(2));
    says(&String::from_utf8(output.stderr).unwrap(), &["an emulated board has no flash; add --flash FILE"]);
    // A file that is not a flash image is not overwritten.
    let notes = "notes ".repeat(1000);
    std::fs::write(place.path().join("notes.md"), &notes).unwrap();
    let output = clapp(place.path(), &[&board[..], &["--flash", "notes.md", "--frames", "0"]].concat());
    assert_eq!(output.status.code(), Some(2));
    says(&String::from_utf8(output.stderr).unwrap(), &["notes.md: is not an image of a device's flash"]);
    assert_eq!(std::fs::read_to_string(place.path().join("notes.md")).unwrap(), notes);
}
