//! The processes that train together, and how they find each other.

use super::super::executor::GpuError;
use super::errors::failed;
use clapp_data::files::write_atomically;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes by which NCCL's processes recognise each other.
pub type Id = [u8; 128];

/// Default of [`Group::patience`].
const PATIENCE: Duration = Duration::from_secs(300);

/// Variables of the environment: this process's number, how many there are, and the file through which they meet.
const VARIABLES: [&str; 3] = ["CLAPP_RANK", "CLAPP_RANKS", "CLAPP_MEETING"];

/// One process a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// This process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub size: usize,
    /// A file that all can read, on one machine or on a shared disk. It must not be there at the start: rank 0 writes
    /// it, and removes it when all have come.
    pub meeting: PathBuf,
    /// Longest time to wait for the others.
    pub patience: Duration,
}

impl Group {
    /// As the environment says (`CLAPP_RANK`, `CLAPP_RANKS`, `CLAPP_MEETING`); `None` where it speaks of one process or
    /// of none.
    ///
    /// # Errors
    /// [`GpuError::Missing`] where one of the variables is missing or makes no sense.
    pub fn of_environment() -> Result<Option<Self>, GpuError> {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, GpuError> {
        let [rank, ranks, meeting] = VARIABLES;
        let Some(said) = variable(ranks) else { return Ok(None) };
        let wrong = |name: &str, reason: String| GpuError::Missing {
            what: format!("a value of {name}"),
            reason,
            remedy: "start one process a GPU, each with CLAPP_RANKS (how many), CLAPP_RANK (from 0) and CLAPP_MEETING \
                     (a file that is not there yet, the same for all)",
        };
        let number = |name: &str, said: &str| {
            said.trim().parse::<usize>().map_err(|error| wrong(name, format!("it is `{said}`: {error}")))
        };
        let size = number(ranks, &said)?;
        if size < 2 {
            return Ok(None);
        }
        let needed = |name: &str| variable(name).ok_or_else(|| wrong(name, format!("{ranks} is {size}")));
        let own = number(rank, &needed(rank)?)?;
        if own >= size {
            return Err(wrong(rank, format!("it is {own}, and {ranks} is {size}")));
        }
        Ok(Some(Self { rank: own, size, meeting: needed(meeting)?.into(), patience: PATIENCE }))
    }

    /// Gives all processes the id that rank 0 makes.
    ///
    /// # Errors
    /// If the file is there already, cannot be written, or does not come in time; and what `make` gives.
    pub fn exchange(&self, make: impl FnOnce() -> Result<Id, GpuError>) -> Result<Id, GpuError> {
        let path = self.meeting.display();
        if self.rank == 0 {
            if self.meeting.exists() {
                let reason = "the file is there already, from an earlier start; remove it or name another";
                return Err(failed(format!("meeting the other processes at {path}"), reason));
            }
            let id = make()?;
            let what = "telling the other processes the id of the group";
            write_atomically(&self.meeting, &id).map_err(|error| failed(what, error.to_string()))?;
            return Ok(id);
        }
        let start = Instant::now();
        loop {
            if let Ok(bytes) = std::fs::read(&self.meeting) {
                let reason = format!("it has {} bytes, {} were expected", bytes.len(), size_of::<Id>());
                return bytes.try_into().map_err(|_| failed(format!("reading {path}"), reason));
            }
            if start.elapsed() > self.patience {
                let reason = format!("rank 0 has not written {path} within {} s", self.patience.as_secs_f32());
                return Err(failed("meeting the other processes", reason));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All have come: the file has served.
    pub fn joined(&self) {
        if self.rank == 0 {
            let _ = std::fs::remove_file(&self.meeting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(rank: usize, folder: &std::path::Path) -> Group {
        Group { rank, size: 3, meeting: folder.join("meeting"), patience: Duration::from_secs(20) }
    }

    #[test]
    fn all_processes_get_the_id_of_rank_0() {
        let place = tempfile::tempdir().unwrap();
        let id: Id = std::array::from_fn(|index| index as u8);
        std::thread::scope(|scope| {
            let others = [1, 2].map(|rank| {
                let group = group(rank, place.path());
                scope.spawn(move || group.exchange(|| unreachable!("only rank 0 makes an id")))
            });
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(group(0, place.path()).exchange(|| Ok(id)), Ok(id));
            for other in others {
                assert_eq!(other.join().unwrap(), Ok(id));
            }
        });
        group(1, place.path()).joined();
        assert!(place.path().join("meeting").exists());
        group(0, place.path()).joined();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_an_earlier_start_left_and_who_does_not_come_are_told() {
        let place = tempfile::tempdir().unwrap();
        let late = Group { patience: Duration::from_millis(30), ..group(1, place.path()) };
        let error = late.exchange(|| unreachable!()).unwrap_err().to_string();
        assert!(error.contains("rank 0 has not written"), "{error}");
        std::fs::write(place.path().join("meeting"), "old").unwrap();
        let error = group(0, place.path()).exchange(|| unreachable!()).unwrap_err().to_string();
        assert!(error.contains("from an earlier start"), "{error}");
        let error = late.exchange(|| unreachable!()).unwrap_err().to_string();
        assert!(error.contains("has 3 bytes, 128 were expected"), "{error}");
    }

    #[test]
    fn the_environment_says_who_trains() {
        let of = |rank: Option<&str>, ranks: Option<&str>, meeting: Option<&str>| {
            Group::of(|name| match name {
                "CLAPP_RANK" => rank.map(Into::into),
                "CLAPP_RANKS" => ranks.map(Into::into),
                _ => meeting.map(Into::into),
            })
        };
        assert_eq!(of(None, None, None), Ok(None));
        assert_eq!(of(None, Some("1"), None), Ok(None));
        let group = of(Some("2"), Some("4"), Some("/tmp/x")).unwrap().unwrap();
        assert_eq!((group.rank, group.size, group.meeting), (2, 4, "/tmp/x".into()));
        for (rank, ranks, meeting, part) in [
            (None, "4", Some("x"), "a value of CLAPP_RANK was not found (CLAPP_RANKS is 4)"),
            (Some("4"), "4", Some("x"), "it is 4, and CLAPP_RANKS is 4"),
            (Some("0"), "4", None, "a value of CLAPP_MEETING"),
            (Some("0"), "four", Some("x"), "it is `four`"),
        ] {
            let error = of(rank, Some(ranks), meeting).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
