//! Alarms: the choice of a limit for each sign, and the rates of right and false alarms.

use super::runs::{Course, Fault, ONSET};
use clapp_core::collapse::{Condition, Limits, Signs};

/// A sign, and the limits that are tried.
#[derive(Debug, Clone, Copy)]
pub struct Sign {
    /// Its name.
    pub name: &'static str,
    /// The condition of a layer that it stands for.
    condition: Condition,
    /// Limits, from those that alarm seldom to those that alarm often.
    pub grid: [f32; 6],
    /// Reads it from [`Limits`].
    pub limit: fn(&Limits) -> f32,
    /// The limits with another one of this sign.
    pub with: fn(Limits, f32) -> Limits,
}

/// All signs, in the order of [`Signs::condition`](clapp_core::collapse::Signs::condition).
pub const SIGNS: [Sign; 6] = [
    Sign {
        name: "rise of dead channels",
        condition: Condition::Dead,
        grid: [0.75, 0.5, 0.4, 0.3, 0.2, 0.1],
        limit: |limits| limits.dead,
        with: |limits, dead| Limits { dead, ..limits },
    },
    Sign {
        name: "excess of the loss",
        condition: Condition::Diverging,
        grid: [2.0, 1.0, 0.5, 0.25, 0.1, 0.05],
        limit: |limits| limits.excess,
        with: |limits, excess| Limits { excess, ..limits },
    },
    Sign {
        name: "change of the activity",
        condition: Condition::Constant,
        grid: [1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1],
        limit: |limits| limits.change,
        with: |limits, change| Limits { change, ..limits },
    },
    Sign {
        name: "rest of the contrast",
        condition: Condition::Faded,
        grid: [-0.5, 0.0, 0.05, 0.2, 0.4, 0.6],
        limit: |limits| limits.left,
        with: |limits, left| Limits { left, ..limits },
    },
    Sign {
        name: "refused updates",
        condition: Condition::Refused,
        grid: [0.9, 0.7, 0.5, 0.25, 0.1, 0.05],
        limit: |limits| limits.refused,
        with: |limits, refused| Limits { refused, ..limits },
    },
    Sign {
        name: "change of the frames",
        condition: Condition::Still,
        grid: [1e-3, 1e-2, 3e-2, 1e-1, 2e-1, 3e-1],
        limit: |limits| limits.frames,
        with: |limits, frames| Limits { frames, ..limits },
    },
];

impl Sign {
    /// The frame of the first alarm by this sign alone.
    pub fn alarm(&self, course: &Course, limit: f32) -> Option<u64> {
        alarm(course, &(self.with)(Limits::NEVER, limit)).map(|(frame, _)| frame)
    }
}

/// The first alarm, as a device raises it, with the sign's name.
pub fn alarm(course: &Course, limits: &Limits) -> Option<(u64, &'static str)> {
    let found = |layers: &Vec<_>| {
        layers.iter().map(|signs: &Signs| signs.condition(limits)).find(|condition| *condition != Condition::Sound)
    };
    let (frame, condition) = course.signs.iter().find_map(|(frame, layers)| Some((*frame, found(layers)?)))?;
    let name = SIGNS.iter().find(|sign| sign.condition == condition).map_or("", |sign| sign.name);
    Some((frame, name))
}

/// Chooses limits on some courses, sign by sign. A limit is allowed if it lies at least one step of its grid away from the
/// first that alarms on a healthy course; this leaves a margin for other healthy courses. Of the allowed limits, those
/// count that catch most of the faulty courses together with the signs before. The result is the one of these that alarms
/// least often. If every limit alarms on a healthy course, it is the first of the grid.
pub fn choose(courses: &[&Course]) -> Limits {
    let (healthy, faulty): (Vec<&Course>, Vec<&Course>) =
        courses.iter().partition(|course| course.case.fault == Fault::None);
    let mut limits = Limits::NEVER;
    for sign in SIGNS {
        let is_quiet = |limit: f32| healthy.iter().all(|course| sign.alarm(course, limit).is_none());
        let quiet = sign.grid.iter().take_while(|limit| is_quiet(**limit)).count();
        let inside = &sign.grid[..quiet.saturating_sub(1).max(1)];
        let caught = |limit: f32| {
            let limits = (sign.with)(limits, limit);
            let after = |course: &&&Course| alarm(course, &limits).is_some_and(|(frame, _)| frame > ONSET);
            faulty.iter().filter(after).count()
        };
        let most = inside.iter().map(|limit| caught(*limit)).max();
        if let Some(limit) = inside.iter().find(|limit| Some(caught(**limit)) == most) {
            limits = (sign.with)(limits, *limit);
        }
    }
    limits
}

/// A count of courses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Number of courses that count.
    pub hits: usize,
    /// Number of all courses.
    pub of: usize,
}

impl Count {
    /// Counts the courses for which `hit` is true.
    pub fn of<'a>(courses: impl Iterator<Item = &'a Course>, hit: impl Fn(&Course) -> bool) -> Self {
        courses.fold(Self::default(), |count, course| Self {
            hits: count.hits + usize::from(hit(course)),
            of: count.of + 1,
        })
    }

    /// The interval of Wilson (1927) for the rate, at 95 %.
    pub fn interval(self) -> [f64; 2] {
        if self.of == 0 {
            return [0.0, 1.0];
        }
        let (z, n, p) = (1.96_f64, self.of as f64, self.hits as f64 / self.of as f64);
        let centre = p + z * z / (2.0 * n);
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        [centre - half, centre + half].map(|end| (end / (1.0 + z * z / n)).clamp(0.0, 1.0))
    }

    /// In words, with the interval in percent.
    pub fn words(self) -> String {
        let [low, high] = self.interval();
        format!("{} of {} (95 %: {:.0} to {:.0} %)", self.hits, self.of, 100.0 * low, 100.0 * high)
    }
}

/// `true` if an alarm of a course that lost accuracy came in time: after the onset, and no later than the read-out that
/// showed the loss.
pub fn in_time(course: &Course, alarm: Option<u64>) -> bool {
    match (alarm, course.lost()) {
        (Some(alarm), Some(lost)) => alarm > ONSET && alarm <= lost,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::runs::Case;
    use super::*;
    use clapp_engine::config::RuleName;

    fn course(fault: Fault, excess: &[f32], accuracies: &[(u64, f64)]) -> Course {
        let case = Case { fault, channels: 8, rule: RuleName::ClappPpDfb, seed: 0 };
        let none = Signs { dead: None, refused: None, change: None, excess: None, left: None, frames: None };
        let signs = excess
            .iter()
            .enumerate()
            .map(|(at, excess)| (ONSET + 10 * (at as u64 + 1), vec![none, Signs { excess: Some(*excess), ..none }]));
        Course { case, signs: signs.collect(), accuracies: accuracies.to_vec() }
    }

    #[test]
    fn alarms_come_at_the_first_layer_s_first_crossing_and_in_time_or_not() {
        let lost = course(Fault::Frozen, &[0.0, 0.3, 0.6, 0.9], &[(1000, 0.4), (1020, 0.38), (1040, 0.3)]);
        assert_eq!(lost.lost(), Some(1040));
        assert_eq!(alarm(&lost, &Limits { excess: 0.5, ..Limits::DEFAULT }), Some((1030, "excess of the loss")));
        assert!(in_time(&lost, Some(1030)) && in_time(&lost, Some(1040)) && !in_time(&lost, Some(1050)));
        assert!(!in_time(&lost, None) && !in_time(&lost, Some(900)));
        let kept = course(Fault::Frozen, &[0.9], &[(1000, 0.4), (1200, 0.36)]);
        assert!(kept.lost().is_none() && !in_time(&kept, Some(1010)));
    }

    /// The order of [`SIGNS`] has no influence: the device's order decides.
    #[test]
    fn an_alarm_has_the_name_of_what_the_device_calls_the_layer() {
        let mut ill = course(Fault::Dead, &[2.5], &[]);
        for (signs, name) in [
            (Signs { dead: Some(0.9), ..ill.signs[0].1[1] }, "rise of dead channels"),
            (Signs { change: Some(0.0), left: Some(-1.0), ..ill.signs[0].1[1] }, "excess of the loss"),
            (Signs { change: Some(0.0), left: Some(-1.0), ..ill.signs[0].1[0] }, "change of the activity"),
        ] {
            ill.signs[0].1[1] = signs;
            assert_eq!(alarm(&ill, &Limits::DEFAULT), Some((ONSET + 10, name)));
            assert_eq!(alarm(&ill, &Limits::NEVER), None);
        }
    }

    #[test]
    fn limits_are_chosen_so_that_the_healthy_are_left_alone() {
        let healthy = course(Fault::None, &[0.05, 0.2, 0.1], &[]);
        // Quiet down to 0.25, one step inside is 0.5; as much is caught from 1 on.
        let [ill, worse] = [course(Fault::Dead, &[1.5], &[]), course(Fault::Dead, &[5.0], &[])];
        assert_eq!(choose(&[&healthy, &ill, &worse]).excess, 1.0);
        assert_eq!(choose(&[&healthy, &worse]).excess, 2.0);
        let slight = course(Fault::Dead, &[0.3], &[]);
        assert_eq!(choose(&[&healthy, &worse, &slight]).excess, 2.0, "0.25 is too near to the healthy");
        let wild = course(Fault::None, &[4.0], &[]);
        assert_eq!(choose(&[&wild]).excess, 2.0);
    }

    #[test]
    fn the_interval_is_wilson_s() {
        let [low, high] = Count { hits: 0, of: 20 }.interval();
        assert!(low == 0.0 && (high - 0.161).abs() < 1e-3, "{high}");
        let [low, high] = Count { hits: 10, of: 20 }.interval();
        assert!((low - 0.299).abs() < 1e-3 && (high - 0.701).abs() < 1e-3, "{low} {high}");
        assert_eq!(Count::default().interval(), [0.0, 1.0]);
    }
}
