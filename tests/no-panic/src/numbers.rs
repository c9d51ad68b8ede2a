//! Functions of numbers: mathematics, random numbers, contrasts.

use crate::opaque::{Memory, unknown, use_up};
use clapp_core::contrast::{Phase, has_separate_terms, pairs, stream};
use clapp_core::network::{Contrast, Rule};
use clapp_core::shape::{Shape, window_positions};
use clapp_core::{math, rng};

pub fn all() {
    for function in [math::exp, math::ln_1p, math::sqrt, math::softplus, math::sigmoid] {
        use_up(function(unknown(0.5)));
    }
    use_up(window_positions(unknown(5), unknown(3), unknown(1), unknown(0)));
    let shape = unknown(Shape::new(1, 2, 3));
    use_up((shape.len(), shape.area(), shape.is_empty()));

    let mut rng = rng::stream(unknown(1), unknown(2));
    use_up((rng.bits(), rng.unit(), rng.normal(), rng.uniform(unknown(0.0), unknown(1.0)), rng.below(unknown(3))));

    let rule = unknown(Rule { contrast: Contrast::Phyll { theta: 2.0 }, ..Rule::clapp_pp() });
    let (mut scores, mut factors) = (Memory::new(0.0), Memory::new(0.0));
    use_up(has_separate_terms(rule.contrast));
    use_up(stream(&rule, unknown(Phase::Saccade), unknown(0.5)));
    use_up(pairs(&rule, unknown(0.5), scores.slice(), || unknown(0.5), unknown(Some(true)), factors.slice()));
}
