//! From matrices of accuracies to claims, a figure and a table.

use super::learners::{BP, KEPT, LEARNERS, Learner, PRETRAINED, PRETRAINED_KEPT, RANDOM, RINGED, STREAMING, Start};
use super::{Extent, KINDS, Outcomes, Rates, Setting};
use crate::continual::Model;
use crate::continual::course::Outcome;
use crate::continual::heads::Head;
use crate::continual::metrics::{Matrix, spread};
use crate::continual::stream::Kind;
use crate::draw::{Axis, Figure, Kind as Shown, Panel, Point, Series};
use crate::paper::encoder::Trained;
use crate::paper::table::{Cell, Column, Table};
use crate::paper::{Claim, Finding, Verdict};
use clapp_data::data::Dataset;
use clapp_data::error::Error;

/// A stream of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub kind: Kind,
    pub seed: u64,
}

/// All outcomes on a set, `[kind][seed][learner]`.
#[derive(Debug)]
pub(super) struct Results<'a> {
    pub set: &'a Dataset,
    /// Chosen learning rates, `[kind][learner]`.
    pub rates: Rates,
    pub outcomes: Outcomes,
    pub pretrained: Vec<Trained>,
}

/// A measure of a learner's outcome, given that of the frozen random encoder.
type Measure = fn(&Matrix, &Matrix) -> Option<f64>;

fn average(matrix: &Matrix, _: &Matrix) -> Option<f64> {
    matrix.average()
}

fn forgetting(matrix: &Matrix, _: &Matrix) -> Option<f64> {
    matrix.forgetting()
}

fn forward(matrix: &Matrix, reference: &Matrix) -> Option<f64> {
    matrix.forward_transfer(reference)
}

impl Results<'_> {
    /// A measure of a learner by a read-out, in per cent, for each seed.
    fn each(&self, kind: usize, learner: usize, head: Head, measure: Measure) -> Vec<f64> {
        let of = |seed: &Vec<Outcome>| measure(seed[learner].of(head), seed[RANDOM].of(head));
        // All cells that a measure asks for are filled.
        self.outcomes[kind].iter().filter_map(of).map(|value| 100.0 * value).collect()
    }

    /// Values of the learner's own read-out.
    fn own(&self, kind: usize, learner: usize, measure: Measure) -> Vec<f64> {
        self.each(kind, learner, LEARNERS[learner].method.head(), measure)
    }

    fn stream(&self, kind: usize) -> String {
        format!("{}, {}", self.set.name, KINDS[kind].name())
    }
}

/// The verdict on `one > two`, by pairs of the same seed: decided where the mean of the differences is twice its standard
/// error from 0 and all have its sign.
fn decide(one: &[f64], two: &[f64]) -> (Verdict, String) {
    let differences: Vec<f64> = one.iter().zip(two).map(|(one, two)| one - two).collect();
    let [mean, deviation] = spread(&differences);
    let error = deviation / (differences.len().max(1) as f64).sqrt();
    let sure = differences.len() > 1 && mean.abs() > 2.0 * error;
    let verdict = match sure && differences.iter().all(|difference| difference.signum() == mean.signum()) {
        true => Verdict::of(mean > 0.0),
        false => Verdict::Open,
    };
    let all: Vec<String> = differences.iter().map(|difference| format!("{difference:+.1}")).collect();
    (verdict, format!("{mean:+.1} points (standard error {error:.1}; seeds {})", all.join(", ")))
}

/// Verdict over several streams: held if it held on all, failed if it failed on all.
fn over_all(verdicts: &[Verdict]) -> Verdict {
    match verdicts.first() {
        Some(first) if verdicts.iter().all(|verdict| verdict == first) => *first,
        _ => Verdict::Open,
    }
}

/// A claim that is decided on each set for one kind of stream: `measure` of learner `one` above that of `two`.
fn claim(
    results: &[Results<'_>],
    kind: usize,
    statement: &str,
    compared: [(usize, Option<Head>); 2],
    measure: Measure,
) -> Claim {
    let (mut verdicts, mut evidence, mut smallest) = (Vec::new(), Vec::new(), f64::INFINITY);
    for result in results {
        let [one, two] = compared.map(|(learner, head)| match head {
            Some(head) => result.each(kind, learner, head, measure),
            None => result.own(kind, learner, measure),
        });
        let (verdict, words) = decide(&one, &two);
        let ([first, _], [second, _]) = (spread(&one), spread(&two));
        smallest = smallest.min(first - second);
        verdicts.push(verdict);
        let [one, two] = compared.map(|(learner, _)| LEARNERS[learner].name);
        evidence.push(format!("{}: {one} {first:.1}, {two} {second:.1}: {words}", result.stream(kind)));
    }
    Claim::new(statement, over_all(&verdicts), format!("{}.", evidence.join("; ")))
        .number(format!("{smallest:+.1} points"))
}

const CLASSES: usize = 0;
const DRIFT: usize = 1;

fn claims(results: &[Results<'_>]) -> Vec<Claim> {
    let own = |learner: usize| (learner, None);
    let nearest = |learner: usize| (learner, Some(Head::Nearest));
    let mut claims = Vec::new();
    for (kind, stream) in [(CLASSES, "one class after another"), (DRIFT, "a drift of conditions")] {
        let mut add = |statement: &str, compared, measure| {
            let statement = format!("On {stream}, {statement} (this project)");
            claims.push(claim(results, kind, &statement, compared, measure));
        };
        add(
            "streaming CLAPP++DFB ends with a higher average accuracy than the frozen random encoder that it began as",
            [own(STREAMING), own(RANDOM)],
            average,
        );
        add(
            "so it does when the labelled frames are kept and class means are learnt anew from them, so that only the \
             encoders differ",
            [own(KEPT), own(RANDOM)],
            average,
        );
        add("a ring of frames helps streaming CLAPP++DFB", [own(RINGED), own(STREAMING)], average);
        add(
            "learning on from the stream makes a pretrained encoder better, labelled frames kept",
            [own(PRETRAINED_KEPT), own(PRETRAINED)],
            average,
        );
        // More is worse: the sides are changed.
        add(
            "streaming CLAPP++DFB forgets less than back-propagation to the last block from the same weights, each with \
             its own read-out",
            [own(BP), own(STREAMING)],
            forgetting,
        );
        add(
            "streaming CLAPP++DFB forgets less than back-propagation to the last block when both are read by nearest means",
            [nearest(BP), nearest(STREAMING)],
            forgetting,
        );
    }
    claims
}

/// Average accuracy on what was seen, after each stage, of every learner.
fn figure(results: &[Results<'_>]) -> Figure {
    let mut panels = Vec::new();
    for result in results {
        for (kind, seeds) in result.outcomes.iter().enumerate() {
            let stages = seeds[0][0].of(Head::Nearest).stages();
            let series = LEARNERS.iter().enumerate().map(|(at, learner)| {
                let point = |stage: usize| {
                    let matrix = |seed: &Vec<Outcome>| seed[at].of(learner.method.head()).seen(stage);
                    let values: Vec<f64> = seeds.iter().filter_map(matrix).map(|value| 100.0 * value).collect();
                    let [mean, deviation] = spread(&values);
                    Point { error: Some(deviation), ..Point::new(stage as f64 + 1.0, mean) }
                };
                Series::new(learner.name, (0..stages).map(point).collect())
            });
            let x = if KINDS[kind] == Kind::Drift { "stages of the drift" } else { "classes seen" };
            panels.push(Panel {
                title: result.stream(kind),
                kind: Shown::Lines,
                x: Axis::between(x, 0.8, stages as f64 + 0.2),
                y: Axis::new("average accuracy on what was seen (%)"),
                series: series.collect(),
            });
        }
    }
    let caption = "Accuracy on the test images of all stages seen so far, after each stage of the stream: means over the \
                   seeds; bars are their standard deviation. Each learner by its own read-out.";
    Figure::new("continual", caption, panels)
}

fn table(results: &[Results<'_>], model: &Model, fixation: usize) -> Table {
    let columns = vec![
        Column::new("stream", 0),
        Column::new("learner", 0),
        Column::new("read-out", 0),
        Column::new("learning rate", 3),
        Column::new("average accuracy (%)", 1),
        Column::new("forgetting (points)", 1),
        Column::new("forward transfer (points)", 1),
        Column::new("average accuracy by the other read-out (%)", 1),
        Column::new("RAM (bytes)", 0),
    ];
    let caption = "Average accuracy at the end of the stream, forgetting and forward transfer (Lopez-Paz and Ranzato 2017): \
                   means and standard deviations over the seeds. Forward transfer is measured against the frozen random \
                   encoder of the same seed. RAM is that of learning or inference by the core's plan, one frame, one \
                   read-out, the ring, and what back-propagation keeps; weights that stay as they are lie in flash.";
    let mut table = Table::new("continual", caption, columns);
    for result in results {
        for kind in 0..KINDS.len() {
            for (at, Learner { name, method, .. }) in LEARNERS.iter().enumerate() {
                let cell = |values: Vec<f64>| {
                    let [mean, deviation] = spread(&values);
                    Cell::spread(mean, deviation)
                };
                let (head, other) = match method.head() {
                    Head::Nearest => ("nearest mean", Head::Softmax),
                    Head::Softmax => ("softmax", Head::Nearest),
                };
                table.rows.push(vec![
                    Cell::text(result.stream(kind)),
                    Cell::text(*name),
                    Cell::text(head),
                    result.rates[kind][at].map_or(Cell::none(), |rate| Cell::number(f64::from(rate))),
                    cell(result.own(kind, at, average)),
                    cell(result.own(kind, at, forgetting)),
                    cell(result.own(kind, at, forward)),
                    cell(result.each(kind, at, other, average)),
                    Cell::number(method.bytes(model, fixation) as f64),
                ]);
            }
        }
    }
    table
}

/// Puts the finding together.
pub(super) fn report(
    setting: &Setting,
    extent: Extent,
    model: &Model,
    results: &[Results<'_>],
    left_out: &[String],
    device: Claim,
) -> Result<Finding, Error> {
    let about = "The network that is built into the firmware (grey 32x32, 8-16-16 channels, CLAPP++DFB, plain SGD) learns \
                 from streams that never come back: one class after another, and all classes under rotation, blur, \
                 fading, brightness and noise that grow from frame to frame. The gaze rests on an image for a few frames, \
                 each another part of it, and jumps to the next; of a few images the class is told. Encoders learn from \
                 all frames by the local rule, with or without a ring of earlier frames, or stay as they are, or are \
                 trained on the labelled frames by back-propagation to the last block or to all biases.";
    let mut finding = Finding::new("continual", "Continual learning on a device", "", about);
    let Extent { size, pretrain, seeds } = extent;
    for result in results {
        finding.set("Data", &result.set.source);
    }
    finding.set("Images of each class", size.images);
    finding.set("Frames of each image", size.fixation);
    finding.set(
        "Labels of each class",
        format!("{}, and {} in each later stage of a drift", size.labels, size.more_labels),
    );
    finding.set("Stages", format!("a class each; {} of the drift", size.stages));
    finding.set("Test images of each class", size.test);
    let last = |trained: &Trained| trained.rows.len();
    let epochs: Vec<usize> = results.iter().flat_map(|result| result.pretrained.iter().map(last)).collect();
    finding.set(
        "Pretraining",
        format!(
            "CLAPP++DFB by batches, up to {} images outside the stream, {} epochs",
            pretrain.0,
            epochs.iter().max().copied().unwrap_or(0)
        ),
    );
    finding.set("Seeds", format!("{} to {}", setting.seed, setting.seed + seeds - 1));
    finding.set("Seed that the learning rates are chosen on", setting.seed + seeds);
    finding.claims = claims(results);
    finding.claims.push(device);
    finding.figures.push(figure(results));
    finding.tables.push(table(results, model, size.fixation));
    let shown = LEARNERS.iter().filter(|learner| learner.start == Start::Pretrained).count();
    finding.notes = vec![
        format!(
            "The {shown} learners called pretrained begin with an encoder that has seen other images of all classes, mixed, \
             without labels: what a maker could do at home. All others begin with the firmware's orthogonal random weights."
        ),
        "Forgetting of a frozen encoder is not 0 on a class-incremental stream: with every new class there is one more to \
         take an image for. What a learner forgets beyond that is its own."
            .into(),
        "Forward transfer on a class-incremental stream is that of the encoder: a class that has not come yet cannot be \
         predicted, so a copy of the read-outs is told its few labels before the encoder has seen any of its frames. \
         Lopez-Paz and Ranzato take the accuracy at random initialisation for b; here it is that of the frozen random \
         encoder whose read-out is told the same, which is stricter than chance."
            .into(),
        "Labels come once, as the class appears. An encoder that learns on leaves class means behind that are those of its \
         earlier weights; its images then fall to the means that were learnt last, which also makes its forward transfer \
         look good. Where labelled frames are kept, the means are learnt anew from them after each stage, and what is left \
         is what the encoder has gained or lost. Of a frozen encoder the means are the same either way."
            .into(),
    ];
    finding.notes.push(
        "Softmax and back-propagation take one step of plain gradient descent for each labelled frame as it comes, as \
         TinyOL does; the local rule takes one for each frame. Every learner has, for each kind of stream, the rate out of \
         a few that was best by average accuracy on a stream of another seed: one of 0.001, 0.003 and 0.01 (the firmware's) \
         for the local rule, of 0.003, 0.01, 0.03 and 0.1 for what learns from labels. On the device the rate is the \
         firmware's."
            .into(),
    );
    finding.notes.extend(left_out.iter().cloned());
    Ok(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_seeds_and_not_the_mean_alone() {
        assert_eq!(decide(&[3.0, 3.2, 2.9], &[1.0, 1.0, 1.0]).0, Verdict::Held);
        assert_eq!(decide(&[1.0, 1.0, 1.0], &[3.0, 3.2, 2.9]).0, Verdict::Failed);
        // A mean far from 0 by one seed only, and differences of both signs.
        assert_eq!(decide(&[9.0, 1.1, 1.1], &[1.0, 1.0, 1.0]).0, Verdict::Open);
        assert_eq!(decide(&[3.0, 3.0, 3.0, 0.9], &[1.0; 4]).0, Verdict::Open);
        assert_eq!(decide(&[3.0], &[1.0]).0, Verdict::Open);
        assert_eq!(decide(&[1.0, 1.0], &[1.0, 1.0]).0, Verdict::Open);
        let words = decide(&[2.0, 4.0], &[1.0, 1.0]).1;
        assert_eq!(words, "+2.0 points (standard error 1.0; seeds +1.0, +3.0)");
    }

    #[test]
    fn several_sets_must_agree() {
        use Verdict::{Failed, Held, Open};
        assert_eq!([over_all(&[Held, Held]), over_all(&[Failed]), over_all(&[Held, Failed])], [Held, Failed, Open]);
        assert_eq!((over_all(&[Held, Open]), over_all(&[])), (Open, Open));
    }
}
