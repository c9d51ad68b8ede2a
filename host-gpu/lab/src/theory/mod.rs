//! The paper's theory in numbers (docs/paper.md 6): when does a layer's own loss have the gradient of the loss at the
//! top?
//!
//! A small world of its own, in `f64`: networks of dense or convolutional layers ([`net`]), the theory's losses with two
//! projections ([`loss`]), their optimum ([`optimum`]), and how well local gradients agree with back-propagated ones
//! ([`align`]). Matrices have one column a row of the batch, so that a sample's values lie together; maps are flattened
//! pixel by pixel, all channels of a pixel together.

pub mod align;
pub mod certificates;
pub mod contrast;
pub mod layer;
pub mod loss;
pub mod net;
pub mod optimum;
pub mod pool;
pub mod training;
pub mod weights;

#[cfg(test)]
mod on_backend;
#[cfg(test)]
mod tests;
