//! Alignment with its progress shown.

use crate::alignment::{Views, of_batch};
use crate::backend::{Backend, Job};
use crate::model::{LayerValues, NetworkSpec};
use crate::step::Model;
use clapp_data::error::Error;
use indicatif::ProgressBar;

/// The cosines of all layers, batch by batch, with a bar.
#[derive(Debug)]
pub struct ShownAlignment<'a, V> {
    /// The encoder's network.
    pub spec: NetworkSpec,
    /// Its values.
    pub layers: &'a [LayerValues],
    /// The batches.
    pub views: V,
    /// Largest number of batches, for the bar.
    pub batches: usize,
}

impl<V: Iterator<Item = Result<Views, Error>>> Job for ShownAlignment<'_, V> {
    type Output = Vec<Vec<Option<f64>>>;

    fn run<B: Backend + 'static>(self, backend: B) -> Result<Self::Output, Error> {
        let mut model = Model::upload(&backend, self.spec, self.layers);
        let bar = ProgressBar::new(self.batches as u64);
        let found = self
            .views
            .map(|views| {
                bar.inc(1);
                of_batch(&backend, &mut model, &views?)
            })
            .collect();
        bar.finish_and_clear();
        found
    }
}
