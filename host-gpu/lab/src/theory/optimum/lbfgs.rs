//! L-BFGS with a line search to the strong Wolfe conditions: algorithms 7.5, 3.5 and 3.6 of Nocedal and Wright, *Numerical
//! Optimization*, second edition.

use std::collections::VecDeque;

/// When it stops.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// Where the gradient is as short as this.
    pub gradient: f64,
    /// Where a step lowers the value by less.
    pub change: f64,
    /// After so many steps.
    pub iterations: u64,
}

/// Part of the first slope by which the value must fall, and part of it that may be left of the slope.
const FALL: f64 = 1e-4;
const LEFT: f64 = 0.9;
/// Most points of a line that are looked at.
const LOOKS: usize = 40;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `a + by b`.
fn plus(a: &[f64], by: f64, b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + by * b).collect()
}

struct Point {
    place: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// A step from one point to the next, how the gradient changed, and one over their product.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    weight: f64,
}

/// A minimum of `f`, which gives a value and its gradient, near `from`, and the number of steps to it; `history` steps are
/// remembered.
pub fn minimise(from: Vec<f64>, history: usize, stop: Stop, f: impl Fn(&[f64]) -> (f64, Vec<f64>)) -> (Vec<f64>, u64) {
    let point = |place: Vec<f64>| {
        let (value, gradient) = f(&place);
        Point { place, value, gradient }
    };
    let mut here = point(from);
    let mut pairs: VecDeque<Pair> = VecDeque::new();
    for iteration in 0..stop.iterations {
        let length = dot(&here.gradient, &here.gradient).sqrt();
        if length < stop.gradient {
            return (here.place, iteration);
        }
        let direction = direction(&here.gradient, &pairs);
        let first = if pairs.is_empty() { (1.0 / length).min(1.0) } else { 1.0 };
        // Rounding is all that is left to gain.
        let Some(next) = Line { here: &here, direction: &direction, point: &point }.search(first) else {
            return (here.place, iteration);
        };
        let step = plus(&next.place, -1.0, &here.place);
        let change = plus(&next.gradient, -1.0, &here.gradient);
        let product = dot(&step, &change);
        if product > 0.0 {
            pairs.push_back(Pair { step, change, weight: 1.0 / product });
        }
        if pairs.len() > history {
            pairs.pop_front();
        }
        let fall = (here.value - next.value).abs();
        here = next;
        if fall < stop.change {
            return (here.place, iteration + 1);
        }
    }
    (here.place, stop.iterations)
}

/// Against the gradient, by the curvature that the pairs have seen.
fn direction(gradient: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut rest: Vec<f64> = gradient.iter().map(|value| -value).collect();
    let mut parts = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let part = pair.weight * dot(&pair.step, &rest);
        rest = plus(&rest, -part, &pair.change);
        parts.push(part);
    }
    if let Some(last) = pairs.back() {
        let scale = 1.0 / (last.weight * dot(&last.change, &last.change));
        rest.iter_mut().for_each(|value| *value *= scale);
    }
    for (pair, part) in pairs.iter().zip(parts.into_iter().rev()) {
        let back = pair.weight * dot(&pair.change, &rest);
        rest = plus(&rest, part - back, &pair.step);
    }
    rest
}

/// A line from a point.
struct Line<'a, F> {
    here: &'a Point,
    direction: &'a [f64],
    point: &'a F,
}

/// A place on a line: how far, and the value and the slope there.
#[derive(Clone, Copy)]
struct Look {
    far: f64,
    value: f64,
    slope: f64,
}

impl<F: Fn(Vec<f64>) -> Point> Line<'_, F> {
    fn look(&self, far: f64) -> (Look, Point) {
        let point = (self.point)(plus(&self.here.place, far, self.direction));
        (Look { far, value: point.value, slope: dot(&point.gradient, self.direction) }, point)
    }

    /// A point that is low and flat enough, else the lowest that was seen; none where none is lower than the start.
    fn search(&self, first: f64) -> Option<Point> {
        let start = Look { far: 0.0, value: self.here.value, slope: dot(&self.here.gradient, self.direction) };
        let (mut low, mut lowest) = (start, None);
        // The far end of what holds a minimum, as soon as there is one.
        let mut high: Option<Look> = None;
        let mut far = first;
        for _ in 0..LOOKS {
            let (look, point) = self.look(far);
            let falls = look.value <= start.value + FALL * far * start.slope && look.value < low.value;
            if !falls {
                high = Some(look);
            } else {
                if look.slope.abs() <= -LEFT * start.slope {
                    return Some(point);
                }
                // Uphill towards the far end: the minimum lies behind.
                let ahead = high.map_or(1.0, |high| high.far - low.far);
                if look.slope * ahead >= 0.0 {
                    high = Some(low);
                }
                (low, lowest) = (look, Some(point));
            }
            far = match high {
                Some(high) => between(low, high),
                None => 2.0 * far,
            };
        }
        lowest
    }
}

/// The minimum of the cubic through two places of a line, not too near to either.
fn between(low: Look, high: Look) -> f64 {
    let width = high.far - low.far;
    let first = low.slope + high.slope - 3.0 * (high.value - low.value) / width;
    let second = (first * first - low.slope * high.slope).sqrt() * width.signum();
    let part = 1.0 - (high.slope + second - first) / (high.slope - low.slope + 2.0 * second);
    low.far + width * if part.is_nan() { 0.5 } else { part.clamp(0.1, 0.9) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_valley_of_rosenbrock_is_walked_to_its_end() {
        let valley = |at: &[f64]| {
            let (x, y) = (at[0], at[1]);
            let value = (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2);
            (value, vec![-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x)])
        };
        let stop = Stop { gradient: 1e-8, change: 0.0, iterations: 1000 };
        for start in [[-1.2, 1.0], [3.0, -2.0], [0.0, 0.0]] {
            let (end, steps) = minimise(start.to_vec(), 10, stop, valley);
            assert!((end[0] - 1.0).abs() < 1e-7 && (end[1] - 1.0).abs() < 1e-7, "{start:?} {end:?}");
            assert!((5..100).contains(&steps), "{steps}");
        }
        // At the end there is nothing to do; and few steps are few.
        assert_eq!(minimise(vec![1.0, 1.0], 10, stop, valley), (vec![1.0, 1.0], 0));
        assert_eq!(minimise(vec![-1.2, 1.0], 10, Stop { iterations: 3, ..stop }, valley).1, 3);
    }

    #[test]
    fn a_quadratic_form_takes_no_more_steps_than_a_few_for_each_coordinate() {
        let scales: Vec<f64> = (0..12).map(|place| 2.0_f64.powi(place)).collect();
        let form = |at: &[f64]| {
            let gradient: Vec<f64> = at.iter().zip(&scales).map(|(at, scale)| at * scale).collect();
            (0.5 * dot(at, &gradient), gradient)
        };
        let stop = Stop { gradient: 1e-6, change: 0.0, iterations: 1000 };
        let (end, steps) = minimise(vec![1.0; 12], 100, stop, form);
        assert!(end.iter().all(|value| value.abs() < 1e-6) && steps < 80, "{end:?} {steps}");
    }
}
