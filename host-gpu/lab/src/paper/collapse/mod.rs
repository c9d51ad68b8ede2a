//! Collapse alarms: how often they come before a loss of accuracy, and how often they are false.

mod judge;
mod runs;

use super::table::{Cell, Column, Table};
use super::{Claim, Finding, Setting, Verdict};
use crate::draw::{Axis, Figure, Kind, Panel, Point as Dot, Series};
use clapp_core::collapse::{Limits, Signs};
use clapp_data::data::generated;
use clapp_data::error::Error;
use clapp_engine::config::RuleName;
use judge::{Count, SIGNS, alarm, choose, in_time};
use rayon::prelude::*;
use runs::{Case, Course, FRAMES, Fault, LOST, ONSET};

/// Number of seeds that the limits are chosen on. The rates are those of the other seeds.
const CHOSEN: u64 = 4;
/// Largest upper bound of the false-alarm rate (95 %) with which no false alarm is a result.
const FEW: f64 = 0.2;

/// All streams.
fn cases(seeds: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    for seed in 0..seeds {
        for fault in Fault::ALL.into_iter().filter(|fault| *fault != Fault::None) {
            cases.push(Case { fault, channels: 8, rule: RuleName::ClappPpDfb, seed });
        }
        for rule in [RuleName::ClappPpDfb, RuleName::ClappPpPooled, RuleName::ClappPpBoth] {
            for channels in [4, 8, 16] {
                cases.push(Case { fault: Fault::None, channels, rule, seed });
            }
        }
    }
    cases
}

/// Runs the experiment.
///
/// # Errors
/// Same as its streams.
pub fn run(setting: &Setting) -> Result<Finding, Error> {
    let seeds = if setting.full { 40 } else { 8 };
    let data = setting.sets.first().cloned().unwrap_or_else(|| generated::shapes(setting.seed, 1000, 1000));
    let mut data = if data.channels() == 3 { data.in_grey() } else { data };
    data.train = data.train.take(1000);
    data.test = data.test.take(1000);
    let cases = cases(seeds);
    let bar = setting.bar("collapse: streams", cases.len() as u64);
    let one = |case: &Case| {
        let course = runs::run(setting, &data, *case)?;
        bar.inc(1);
        Ok(course)
    };
    let courses: Vec<Course> = cases.par_iter().map(one).collect::<Result<_, Error>>()?;
    bar.finish_and_clear();
    let (first, held): (Vec<&Course>, Vec<&Course>) = courses.iter().partition(|course| course.case.seed < CHOSEN);
    let chosen = choose(&first);
    let mut finding = Finding::new(
        "collapse",
        "Collapse alarms before accuracy is lost",
        "",
        "Small networks learn from a stream through clapp-core, as a device does. The collapse detector \
         (`clapp_core::collapse`) watches a few numbers of each layer. After a number of frames, the onset, a fault is \
         injected into the stream; healthy streams get none. An alarm is in time if it comes after the onset, and no later \
         than the first read-out that shows a loss of accuracy.",
    );
    finding.set("images", format!("{}, in grey, 16x16", data.source));
    finding.set("frames", format!("{FRAMES}, the onset after {ONSET}"));
    finding.set("loss of accuracy", format!("more than {:.0} points below the accuracy at the onset", 100.0 * LOST));
    finding.set(
        "streams",
        format!("{}: limits chosen on {}, rates reported on the other {}", courses.len(), first.len(), held.len()),
    );
    finding.set(
        "choice of a limit",
        "sign by sign, in the order of the table; among the limits at least one step away from the first that alarms on a \
         healthy stream, those that catch most faulty streams together with the signs before; of these, the one that alarms \
         least often",
    );
    finding.set("intervals of rates", "Wilson (1927)");
    finding.claims = claims(&held, &chosen);
    finding.tables = vec![faults(&held, &chosen), limits(&held, &chosen)];
    finding.figures = vec![figure(&courses, &held)];
    finding.notes = vec![
        "Neither rate counts a faulty stream that lost no accuracy; the table shows its alarms. A healthy stream that lost \
         accuracy counts as collapsed."
            .into(),
        "Read-outs come every 200 frames, so a loss is known to within 200 frames. The read-out uses the features of all \
         layers, so it shows less of a loss in the upper layers."
            .into(),
    ];
    Ok(finding)
}

/// Streams that lost accuracy, and healthy ones that did not.
fn parts<'a>(held: &[&'a Course]) -> (Vec<&'a Course>, Vec<&'a Course>) {
    let lost = held.iter().copied().filter(|course| course.lost().is_some()).collect();
    let healthy = |course: &&Course| course.case.fault == Fault::None && course.lost().is_none();
    (lost, held.iter().copied().filter(healthy).collect())
}

fn rates(held: &[&Course], limits: &Limits) -> [Count; 2] {
    let (lost, healthy) = parts(held);
    let frame = |course: &Course| alarm(course, limits).map(|(frame, _)| frame);
    [
        Count::of(lost.into_iter(), |course| in_time(course, frame(course))),
        Count::of(healthy.into_iter(), |course| frame(course).is_some()),
    ]
}

fn claims(held: &[&Course], chosen: &Limits) -> Vec<Claim> {
    let mut claims = Vec::new();
    let limits = [("the limits chosen on other streams", chosen), ("the limits of the firmware", &Limits::DEFAULT)];
    for (name, limits) in limits {
        let [detected, wrong] = rates(held, limits);
        let seen = if detected.of == 0 { Verdict::Open } else { Verdict::of(detected.hits == detected.of) };
        let statement = format!("Every loss of accuracy is announced in time, with {name}");
        let claim = Claim::new(statement, seen, format!("in time: {}", detected.words()));
        claims.push(claim.number(format!("{} of {}", detected.hits, detected.of)));
        let quiet = match wrong {
            Count { hits: 0, of } if of > 0 && wrong.interval()[1] <= FEW => Verdict::Held,
            Count { hits: 0, .. } => Verdict::Open,
            _ => Verdict::Failed,
        };
        let statement = format!("No healthy stream raises an alarm, with {name}");
        let claim = Claim::new(statement, quiet, format!("false alarms: {}", wrong.words()));
        claims.push(claim.number(format!("{} of {}", wrong.hits, wrong.of)));
    }
    claims
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Faults, losses and alarms.
fn faults(held: &[&Course], limits: &Limits) -> Table {
    let columns = ["fault", "streams", "lost accuracy", "alarm in time", "alarms", "first sign"];
    let mut columns: Vec<Column> = columns.map(|name| Column::new(name, 0)).into();
    columns.push(Column::new("alarm after, frames (median)", 0));
    columns.push(Column::new("loss after, frames (median)", 0));
    let caption = "Streams of the seeds that the limits were not chosen on. Frames count from the onset.";
    let mut table = Table::new("collapse", caption, columns);
    for fault in Fault::ALL {
        let of: Vec<&Course> = held.iter().copied().filter(|course| course.case.fault == fault).collect();
        let alarms: Vec<(u64, &str)> = of.iter().filter_map(|course| alarm(course, limits)).collect();
        let after = |frame: u64| frame as f64 - ONSET as f64;
        let number = |count: usize| Cell::number(count as f64);
        let lost = of.iter().filter_map(|course| course.lost());
        let timely = of.iter().filter(|course| in_time(course, alarm(course, limits).map(|(frame, _)| frame)));
        let mut names: Vec<&str> = alarms.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        names.dedup();
        let cell = |value: Option<f64>| value.map_or(Cell::none(), Cell::number);
        table.rows.push(vec![
            Cell::text(fault.name()),
            number(of.len()),
            number(lost.clone().count()),
            number(timely.count()),
            number(alarms.len()),
            Cell::text(names.join(", ")),
            cell(median(alarms.iter().map(|(frame, _)| after(*frame)).collect())),
            cell(median(lost.map(after).collect())),
        ]);
    }
    table
}

/// Each sign alone, at each limit.
fn limits(held: &[&Course], chosen: &Limits) -> Table {
    let mut columns: Vec<Column> = vec![Column::new("sign", 0), Column::new("limit", 4)];
    columns.extend(["healthy streams", "false alarms"].map(|name| Column::new(name, 0)));
    columns.push(Column::new("at most, % (95 %)", 0));
    columns.extend(["collapses", "in time"].map(|name| Column::new(name, 0)));
    columns.push(Column::new("used by", 0));
    let mut table = Table::new(
        "limits",
        "Each sign alone, from limits that alarm least often to those that alarm most often.",
        columns,
    );
    let (lost, healthy) = parts(held);
    for sign in SIGNS {
        for limit in sign.grid {
            let alarms = |course: &Course| sign.alarm(course, limit);
            let wrong = Count::of(healthy.iter().copied(), |course| alarms(course).is_some());
            let right = Count::of(lost.iter().copied(), |course| in_time(course, alarms(course)));
            let users = [("this experiment", chosen), ("the firmware", &Limits::DEFAULT)];
            let users: Vec<&str> =
                users.into_iter().filter(|(_, limits)| (sign.limit)(limits) == limit).map(|(name, _)| name).collect();
            table.rows.push(vec![
                Cell::text(sign.name),
                Cell::number(f64::from(limit)),
                Cell::number(wrong.of as f64),
                Cell::number(wrong.hits as f64),
                Cell::number(100.0 * wrong.interval()[1]),
                Cell::number(right.of as f64),
                Cell::number(right.hits as f64),
                Cell::text(users.join(", ")),
            ]);
        }
    }
    table
}

/// Rates of each sign over its limits, and one stream of each kind.
fn figure(courses: &[Course], held: &[&Course]) -> Figure {
    let (lost, healthy) = parts(held);
    let rate = |count: Count| 100.0 * count.hits as f64 / count.of.max(1) as f64;
    let curve = |sign: &judge::Sign| {
        let dot = |limit: &f32| {
            let alarms = |course: &Course| sign.alarm(course, *limit);
            let wrong = Count::of(healthy.iter().copied(), |course| alarms(course).is_some());
            let right = Count::of(lost.iter().copied(), |course| in_time(course, alarms(course)));
            Dot::new(rate(wrong), rate(right))
        };
        Series::new(sign.name, sign.grid.iter().map(dot).collect())
    };
    let of = |fault: &Fault| courses.iter().find(|course| course.case.fault == *fault && course.case.channels == 8);
    let accuracy = |fault: &Fault| {
        let dots = of(fault)?.accuracies.iter().map(|(frame, share)| Dot::new(*frame as f64, 100.0 * share));
        Some(Series::new(&fault.name(), dots.collect()))
    };
    let worst = |fault: &Fault, sign: fn(&Signs) -> Option<f32>| {
        let most = |layers: &Vec<Signs>| {
            layers
                .iter()
                .filter_map(sign)
                .fold(None, |most: Option<f32>, value| Some(most.map_or(value, |most| most.max(value))))
        };
        // More would be drawn over each other.
        let dots = of(fault)?
            .signs
            .iter()
            .step_by(50)
            .filter_map(|(frame, layers)| Some(Dot::new(*frame as f64, f64::from(most(layers)?.clamp(-1.0, 3.0)))));
        Some(Series::new(&fault.name(), dots.collect()))
    };
    let panel = |title: &str, x: Axis, y: Axis, series: Vec<Series>| Panel {
        title: title.into(),
        kind: Kind::Lines,
        x,
        y,
        series,
    };
    let panels = vec![
        panel(
            "each sign over its limits",
            Axis::between("false alarms, % of healthy streams", -3.0, 103.0),
            Axis::between("in time, % of collapses", -3.0, 103.0),
            SIGNS.iter().map(curve).collect(),
        ),
        panel(
            "one stream of each kind",
            Axis::new("frame"),
            Axis::new("read-out of all layers, %"),
            Fault::ALL.iter().filter_map(accuracy).collect(),
        ),
        panel(
            "the same: excess of the loss, the largest of the layers",
            Axis::new("frame"),
            Axis::new("loss over that of scores of 0, less 1 (cut at 3)"),
            Fault::ALL.iter().filter_map(|fault| worst(fault, |signs| signs.excess)).collect(),
        ),
    ];
    Figure::new("collapse", "Rates of alarms, and one stream for each fault.", panels)
}
