//! Scores, third factors and losses, and what activity and projections learn from them.

use super::{count, int};
use crate::executor::Executor;
use crate::memory::{Place, Tensor};
use crate::op::{Arg, Op, Product};
use crate::{Gpu, RowScores};
use clapp_core::network::{Contrast, Rule};
use clapp_engine::backend::{Factors, FactorsOf, PairedLosses, Pairing, Partner};

/// `CONTRAST`: which loss, and its constants.
pub(super) fn contrast_arguments(rule: &Rule) -> [Arg<Place>; 3] {
    let (code, theta) = match rule.contrast {
        Contrast::Hinge => (0, 0.0),
        Contrast::SoftHinge => (1, 0.0),
        Contrast::Goodness { theta } => (2, theta),
        Contrast::Linear => (3, 0.0),
        Contrast::Phyll { theta } => (4, theta),
    };
    [Arg::I32(code), Arg::F32(theta), Arg::F32(rule.pos_coeff)]
}

pub(super) fn partner(partner: Partner) -> Arg<Place> {
    Arg::I32(match partner {
        Partner::OtherView => 0,
        Partner::Itself => 1,
    })
}

impl<E: Executor + 'static> Gpu<E> {
    /// The indices of the negatives and which terms count: the step's inputs where it is recorded, else copied now.
    fn pairs(&self, pairing: Pairing<'_>) -> [Tensor; 2] {
        if let Some(inputs) = self.inputs.borrow().as_ref() {
            let len = pairing.negatives.len();
            return [inputs.negatives.part(pairing.list * len, len), inputs.keep.clone()];
        }
        let indices: Vec<u8> =
            pairing.negatives.iter().flat_map(|index| i32::try_from(*index).unwrap_or(0).to_ne_bytes()).collect();
        let keep: Vec<u8> = pairing.keep_positive.unwrap_or_default().iter().map(|keep| u8::from(*keep)).collect();
        [self.device.upload(&indices, size_of::<i32>()), self.device.upload(&keep, 1)]
    }

    /// `out = A B`.
    pub(super) fn multiply(&self, product: Product, a: &Tensor, b: &Tensor) -> Tensor {
        let out = self.floats(product.m * product.n);
        let bytes = self.device.note(self.device.executor.product_scratch(&product));
        let scratch = self.device.temporary(bytes, 1);
        self.device.run(Op::Multiply {
            product,
            a: self.device.place(a),
            b: self.device.place(b),
            out: self.device.place(&out),
            scratch: (self.device.place(&scratch), bytes),
        });
        out
    }

    /// `C B^T`.
    pub(crate) fn lower_project(&self, matrix: &Tensor, c: &Tensor, rows: usize) -> Tensor {
        let source = c.len() / rows;
        let (m, n) = (rows, matrix.len() / source);
        self.multiply(Product { m, n, k: source, a_transposed: false, b_transposed: true }, c, matrix)
    }

    pub(crate) fn lower_contrast(
        &self,
        rule: &Rule,
        pairing: Pairing<'_>,
        p: &Tensor,
        c: &Tensor,
        projection: Option<&Tensor>,
        rows: usize,
    ) -> FactorsOf<Self> {
        let dimension = p.len() / rows;
        let prediction = match projection {
            Some(projection) => self.lower_project(projection, c, rows),
            None if pairing.partner == Partner::Itself => {
                let scaled = self.floats(c.len());
                let factor = Arg::F32(rows as f32 / c.len() as f32);
                let args = vec![self.device.input(c), self.device.output(&scaled), factor, count(c.len())];
                self.device.launch_over("scale", c.len(), args);
                scaled
            }
            None => c.clone(),
        };
        let [negatives, keep] = self.pairs(pairing);
        let each = pairing.negatives.len();
        let scores = RowScores {
            u_pos: self.floats(rows),
            u_neg: self.floats(each),
            g_pos: self.doubles(rows),
            g_neg: self.doubles(each),
            summary: self.doubles(3),
            negatives,
            keep,
            partner: pairing.partner,
        };
        let loss = self.doubles(rows);
        let mut args = vec![
            self.device.input(p),
            self.device.input(&prediction),
            self.device.input(&scores.negatives),
            self.device.input(&scores.keep),
            self.device.output(&scores.u_pos),
            self.device.output(&scores.u_neg),
            self.device.output(&scores.g_pos),
            self.device.output(&scores.g_neg),
            self.device.output(&loss),
            int(rows),
            int(dimension),
            int(each / rows),
            partner(pairing.partner),
        ];
        args.extend(contrast_arguments(rule));
        self.device.launch("scores", [rows, 1, 1], args);
        self.summarise(&loss, &scores, rows, each / rows);
        Factors { scores, prediction }
    }

    /// Means over the rows; a loss that is not finite stops the training.
    pub(super) fn summarise(&self, loss: &Tensor, scores: &RowScores, rows: usize, each: usize) {
        let args = vec![
            self.device.input(loss),
            self.device.input(&scores.u_pos),
            self.device.input(&scores.u_neg),
            self.device.input(&scores.keep),
            self.device.output(&scores.summary),
            self.device.both(&self.control),
            int(rows),
            int(each),
            partner(scores.partner),
        ];
        self.device.launch("summary", [1, 1, 1], args);
    }

    pub(crate) fn lower_pooled_gradient(&self, losses: &PairedLosses<'_, Self>, rows: usize) -> Tensor {
        let len = losses.first().map_or(0, |(_, factors)| factors.prediction.len());
        let dp = self.doubles(len);
        for (index, (_, Factors { scores, prediction })) in losses.iter().enumerate() {
            let args = vec![
                self.device.input(prediction),
                self.device.input(&scores.negatives),
                self.device.input(&scores.g_pos),
                self.device.input(&scores.g_neg),
                if index > 0 { self.device.both(&dp) } else { self.device.output(&dp) },
                int(rows),
                int(len / rows),
                int(scores.negatives.len() / rows),
                partner(scores.partner),
                int(usize::from(index > 0)),
            ];
            self.device.launch("pooled_gradient", [rows, 1, 1], args);
        }
        dp
    }

    pub(crate) fn lower_projection_errors(&self, p: &Tensor, scores: &RowScores, rows: usize) -> Tensor {
        let errors = self.floats(p.len());
        let args = vec![
            self.device.input(p),
            self.device.input(&scores.negatives),
            self.device.input(&scores.g_pos),
            self.device.input(&scores.g_neg),
            self.device.output(&errors),
            int(rows),
            int(p.len() / rows),
            int(scores.negatives.len() / rows),
            partner(scores.partner),
        ];
        self.device.launch("projection_errors", [rows, 1, 1], args);
        errors
    }

    pub(crate) fn lower_projection_gradient(&self, errors: &Tensor, c: &Tensor, rows: usize) -> Tensor {
        let (errors, c, rows) = self.of_all(errors, c, rows);
        let product =
            Product { m: errors.len() / rows, n: c.len() / rows, k: rows, a_transposed: true, b_transposed: false };
        self.multiply(product, &errors, &c)
    }
}
