//! A build without MPI says so, rather than to let several processes write over each other.
#![cfg(not(feature = "mpi"))]

use std::process::Command;

fn refused(command: &mut Command, parts: &[&str]) {
    let place = tempfile::tempdir().expect("a folder");
    let output = command.current_dir(place.path()).output().expect("the program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    for part in parts {
        assert!(errors.contains(part), "no `{part}` in: {errors}");
    }
    assert_eq!(std::fs::read_dir(place.path()).expect("a folder").count(), 0, "something was written");
}

fn train() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clapp"));
    command.args(["train", "--preset", "demo", "--epochs", "0"]);
    command
}

#[test]
fn the_option_is_refused_with_what_to_build() {
    refused(train().arg("--mpi"), &["this build has no MPI", "--features mpi"]);
}

#[test]
fn several_processes_of_a_launcher_are_refused() {
    for name in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"] {
        refused(train().env(name, "2"), &["started as 2 processes, but this build has no MPI", "--features mpi"]);
    }
}
