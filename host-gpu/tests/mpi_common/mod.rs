//! How the tests start several ranks.

use std::process::Command;

/// `mpirun` for so many ranks of a program with its arguments.
pub fn mpirun(ranks: usize, program: &[&str]) -> Command {
    let mut command = launcher();
    command.args(["-n", &ranks.to_string()]).args(program);
    command
}

/// `mpirun` without ranks.
pub fn launcher() -> Command {
    let mut command = Command::new("mpirun");
    // Tests run in containers: as root, with fewer cores than ranks, and without leave to read another process's
    // memory, which Open MPI's shared memory would try first.
    command
        .args(["--allow-run-as-root", "--oversubscribe"])
        .env("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
        .env("RAYON_NUM_THREADS", "1");
    command
}
