//! The plan for a machine that is borrowed for minutes: what is done there, in which order, and how long each step may take.
//! `start.sh` runs the steps; each is `xtask gpu --step NAME`.

use super::{Bench, accuracy, checks, machine, speed};
use crate::Failed;
use std::time::{Duration, Instant};

/// One step.
pub struct Step {
    /// Its name.
    pub name: &'static str,
    /// Seconds after which it is ended.
    pub limit: u64,
    /// Needed besides the programs, as `start.sh` knows it: `torch`, `golden`, `sanitizer`, `data`, or nothing.
    need: &'static str,
    /// Seconds before the limit at which the step itself ends, to keep what it has.
    spare: u64,
    run: fn(&Bench, Instant) -> Result<(), Failed>,
}

/// All steps, in order.
pub const STEPS: [Step; 10] = [
    Step { name: "machine", limit: 50, need: "", spare: 5, run: machine::run },
    Step {
        name: "one-step",
        limit: 60,
        need: "",
        spare: 5,
        run: |bench, deadline| checks::some(bench, deadline, "one"),
    },
    Step {
        name: "golden",
        limit: 30,
        need: "golden",
        spare: 5,
        run: |bench, deadline| checks::some(bench, deadline, "golden"),
    },
    Step {
        name: "parity",
        limit: 45,
        need: "",
        spare: 5,
        run: |bench, deadline| checks::some(bench, deadline, "parity"),
    },
    Step {
        name: "memory",
        limit: 55,
        need: "sanitizer",
        spare: 5,
        run: |bench, deadline| checks::some(bench, deadline, "memory"),
    },
    Step {
        name: "speed",
        limit: 100,
        need: "",
        spare: 10,
        run: |bench, deadline| speed::some(bench, deadline, speed::Side::Ours),
    },
    Step {
        name: "pytorch",
        limit: 65,
        need: "torch",
        spare: 10,
        run: |bench, deadline| speed::some(bench, deadline, speed::Side::AsIs),
    },
    Step {
        name: "pytorch-best",
        limit: 150,
        need: "torch",
        spare: 10,
        run: |bench, deadline| speed::some(bench, deadline, speed::Side::Best),
    },
    Step { name: "train", limit: 150, need: "data", spare: 40, run: accuracy::train_once },
    Step { name: "probe", limit: 60, need: "data", spare: 10, run: accuracy::probe_once },
];

/// Times as long as the plan says a step may take in a rehearsal, on a machine that may be busy with other things.
pub const SLOW: u64 = 10;

/// The steps as `start.sh` reads them: name, limit, need; with limits so many times as long.
pub fn plan(times: u64) -> String {
    STEPS.iter().map(|step| format!("{} {} {}\n", step.name, times * step.limit, step.need)).collect()
}

/// Does a step within its time.
pub fn run(bench: &Bench, name: &str) -> Result<(), Failed> {
    let Some(step) = STEPS.iter().find(|step| step.name == name) else {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(Failed(format!("--step {name}: unknown, expected one of {}", known.join(", "))));
    };
    let times = if bench.arguments.dry_run { SLOW } else { 1 };
    (step.run)(bench, Instant::now() + Duration::from_secs(times * (step.limit - step.spare)))
}

#[cfg(test)]
mod tests {
    use super::super::pack::START;
    use super::*;

    /// Seconds in all, calls, and seconds of one of them: 20 less than it may take, to end its last step.
    const ALL: u64 = 14 * 60;
    const CALLS: usize = 3;
    const CALL: u64 = 580;
    /// Of each call: to unpack, to look for PyTorch, to pack the logs.
    const AROUND: u64 = 25;

    #[test]
    fn the_plan_fits_the_minutes_even_where_every_step_takes_all_of_its_time() {
        let limits: u64 = STEPS.iter().map(|step| step.limit).sum();
        assert!(limits + CALLS as u64 * AROUND <= ALL, "{limits} s of steps");
        assert!(START.contains(&format!("seconds={CALL} ")), "start.sh has another limit of a call");
        // As start.sh does it: a step begins only where its whole limit is left; the data is whole in the last call.
        let mut left = Vec::new();
        for call in 1..=CALLS {
            let mut rest = CALL - AROUND;
            let mut later = Vec::new();
            for step in if call == 1 { STEPS.iter().collect() } else { std::mem::take(&mut left) } {
                if step.limit <= rest && (step.need != "data" || call == CALLS) {
                    rest -= step.limit;
                } else {
                    later.push(step);
                }
            }
            left = later;
        }
        assert!(left.is_empty(), "not done after {CALLS} calls: {:?}", left.iter().map(|s| s.name).collect::<Vec<_>>());
    }

    #[test]
    fn each_step_is_one_line_of_the_plan_and_start_sh_knows_its_needs() {
        for (line, step) in plan(1).lines().zip(&STEPS) {
            assert_eq!(line.trim_end(), format!("{} {} {}", step.name, step.limit, step.need).trim_end());
            assert!(step.need.is_empty() || START.contains(&format!("        {})", step.need)), "{}", step.need);
            assert!(step.spare < step.limit);
        }
    }
}
