//! A student's way through a stream.

use super::heads::Head;
use super::metrics::Matrix;
use super::stream::{Example, Kind, Stage, Stream};
use super::student::Student;
use clapp_data::error::Error;

/// Accuracy of a student after each stage: one matrix for each read-out.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Matrices of the nearest mean and of softmax.
    pub matrices: [Matrix; 2],
}

impl Outcome {
    /// The matrix of a read-out.
    pub fn of(&self, head: Head) -> &Matrix {
        let [nearest, softmax] = &self.matrices;
        match head {
            Head::Nearest => nearest,
            Head::Softmax => softmax,
        }
    }
}

/// Shows a student a stream. After each stage it is tested on all that it has seen and on the stage that comes next; for a
/// class that it cannot know yet, a copy of its read-outs is told that class's labels first: what it brings along is its
/// encoder. `go_on` is asked before each glance.
///
/// # Errors
/// Same as [`Student::see`]; that of `go_on`.
pub fn attend(
    student: &mut Student<'_>,
    stream: &Stream,
    mut go_on: impl FnMut() -> Result<(), Error>,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome { matrices: [(); 2].map(|()| Matrix::new(stream.stages.len())) };
    for (after, stage) in stream.stages.iter().enumerate() {
        student.begin();
        for glance in &stage.glances {
            go_on()?;
            student.see(glance)?;
        }
        student.end()?;
        for (on, seen) in stream.stages[..=after].iter().enumerate() {
            go_on()?;
            enter(&mut outcome, [after, on], test(student, &seen.test)?);
        }
        if let Some(next) = stream.stages.get(after + 1) {
            let shares = ahead(student, stream.kind, next)?;
            enter(&mut outcome, [after, after + 1], shares);
        }
    }
    Ok(outcome)
}

fn enter(outcome: &mut Outcome, [after, on]: [usize; 2], shares: [f64; 2]) {
    for (matrix, share) in outcome.matrices.iter_mut().zip(shares) {
        matrix.set(after, on, share);
    }
}

/// Accuracy on a stage that has not begun.
fn ahead(student: &mut Student<'_>, kind: Kind, stage: &Stage) -> Result<[f64; 2], Error> {
    let heads = student.heads.clone();
    if kind == Kind::ClassIncremental {
        student.tell(&stage.glances)?;
    }
    let shares = test(student, &stage.test);
    student.heads = heads;
    shares
}

/// The share of right predictions of each read-out.
fn test(student: &mut Student<'_>, examples: &[Example]) -> Result<[f64; 2], Error> {
    let mut right = [0_u32; 2];
    for Example { frame, class } in examples {
        for (right, prediction) in right.iter_mut().zip(student.predict(frame)?) {
            *right += u32::from(prediction == Some(usize::from(*class)));
        }
    }
    Ok(right.map(|right| f64::from(right) / examples.len().max(1) as f64))
}
