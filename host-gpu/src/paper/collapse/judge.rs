//! Alarms: which limit each sign needs, and how often it is right.

use super::runs::{Course, Fault, ONSET};
use clapp_core::collapse::{Limits, Signs};

/// A sign as a number that grows with the danger, and the limits that are tried.
#[derive(Debug, Clone, Copy)]
pub struct Sign {
    /// Its name.
    pub name: &'static str,
    /// The number that [`Limits`] has.
    pub of: fn(&Signs) -> Option<f32>,
    /// Whether it means danger above its limit, not below.
    pub above: bool,
    /// Limits, from those that alarm seldom to those that alarm often.
    pub grid: [f32; 5],
    /// That of [`Limits`].
    pub limit: fn(&Limits) -> f32,
    /// The limits with another one of this sign.
    pub with: fn(Limits, f32) -> Limits,
}

/// All signs.
pub const SIGNS: [Sign; 6] = [
    Sign {
        name: "dead channels",
        of: |signs| signs.dead,
        above: true,
        grid: [0.95, 0.75, 0.5, 0.35, 0.2],
        limit: |limits| limits.dead,
        with: |limits, dead| Limits { dead, ..limits },
    },
    Sign {
        name: "refused updates",
        of: |signs| signs.refused,
        above: true,
        grid: [0.9, 0.7, 0.5, 0.25, 0.1],
        limit: |limits| limits.refused,
        with: |limits, refused| Limits { refused, ..limits },
    },
    Sign {
        name: "change of the activity",
        of: |signs| signs.change,
        above: false,
        grid: [1e-4, 1e-3, 1e-2, 3e-2, 1e-1],
        limit: |limits| limits.change,
        with: |limits, change| Limits { change, ..limits },
    },
    Sign {
        name: "rank of the activity",
        of: |signs| signs.rank,
        above: false,
        grid: [1.002, 1.005, 1.02, 1.05, 1.2],
        limit: |limits| limits.rank,
        with: |limits, rank| Limits { rank, ..limits },
    },
    Sign {
        name: "excess of the loss",
        of: |signs| signs.excess,
        above: true,
        grid: [2.0, 1.0, 0.5, 0.25, 0.1],
        limit: |limits| limits.excess,
        with: |limits, excess| Limits { excess, ..limits },
    },
    Sign {
        name: "what is left of the contrast",
        of: |signs| signs.left,
        above: false,
        grid: [-0.5, 0.0, 0.05, 0.2, 0.4],
        limit: |limits| limits.left,
        with: |limits, left| Limits { left, ..limits },
    },
];

impl Sign {
    /// The frame of the first alarm.
    pub fn alarm(&self, course: &Course, limit: f32) -> Option<u64> {
        let alarms = |signs: &Signs| {
            (self.of)(signs).is_some_and(|value| if self.above { value >= limit } else { value <= limit })
        };
        course.signs.iter().find(|(_, layers)| layers.iter().any(alarms)).map(|(frame, _)| *frame)
    }
}

/// The first alarm of any sign, with its name.
pub fn alarm(course: &Course, limits: &Limits) -> Option<(u64, &'static str)> {
    let first = |sign: &Sign| Some((sign.alarm(course, (sign.limit)(limits))?, sign.name));
    SIGNS.iter().filter_map(first).min_by_key(|(frame, _)| *frame)
}

/// The limits that alarm most often without a false alarm in the healthy ones of these courses; the most careful of a sign
/// where there is none.
pub fn choose(courses: &[&Course]) -> Limits {
    let healthy: Vec<&&Course> = courses.iter().filter(|course| course.case.fault == Fault::None).collect();
    let mut limits = Limits::DEFAULT;
    for sign in SIGNS {
        let quiet =
            sign.grid.iter().take_while(|limit| healthy.iter().all(|course| sign.alarm(course, **limit).is_none()));
        let at = quiet.count().saturating_sub(1);
        if let Some(limit) = sign.grid.get(at) {
            limits = (sign.with)(limits, *limit);
        }
    }
    limits
}

/// How many of some courses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// So many.
    pub hits: usize,
    /// Of so many.
    pub of: usize,
}

impl Count {
    /// Counts those that `hit` is true of.
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

    /// As text, with the interval in percent.
    pub fn words(self) -> String {
        let [low, high] = self.interval();
        format!("{} of {} (95 %: {:.0} to {:.0} %)", self.hits, self.of, 100.0 * low, 100.0 * high)
    }
}

/// Whether an alarm of a course that lost accuracy came in time: after the onset, and not after the read-out that showed
/// the loss.
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
    use crate::config::RuleName;

    fn course(fault: Fault, excess: &[f32], accuracies: &[(u64, f64)]) -> Course {
        let case = Case { fault, channels: 8, rule: RuleName::ClappPpDfb, seed: 0 };
        let none = Signs { dead: None, refused: None, change: None, rank: None, excess: None, left: None };
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

    #[test]
    fn limits_are_chosen_so_that_the_healthy_are_left_alone() {
        let healthy = course(Fault::None, &[0.05, 0.2, 0.1], &[]);
        let ill = course(Fault::Dead, &[5.0], &[]);
        assert_eq!(choose(&[&healthy, &ill]).excess, 0.25);
        let wild = course(Fault::None, &[3.0], &[]);
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
