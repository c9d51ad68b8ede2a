//! Operations that only the global baselines and feedback matching need: InfoNCE, and the distance from the ideal
//! error.

use super::block::{cells, output_geometry};
use super::contrast::{contrast_arguments, partner};
use super::{count, int};
use crate::executor::{Executor, GpuError};
use crate::memory::Tensor;
use crate::op::{Arg, Op};
use crate::{Gpu, RowScores};
use clapp_core::network::Rule;
use clapp_core::plan::Layer;
use clapp_engine::backend::{Factors, InfoNce, Matching, PairedLosses, Partner, RowsOf};

/// Negatives a row that the kernel of matching holds.
const MATCHED_NEGATIVES: usize = 63;

impl<E: Executor + 'static> Gpu<E> {
    pub(crate) fn lower_info_nce(
        &self,
        p: &Tensor,
        head: &Tensor,
        temperature: f32,
        rows: usize,
    ) -> InfoNce<Tensor, Tensor, RowScores> {
        let (pairs, dimension) = (rows / 2, p.len() / rows);
        let outputs = head.len() / dimension;
        let device = &self.device;
        let (e, norm) = (self.doubles(rows * outputs), self.doubles(rows));
        let sizes = [int(rows), int(dimension), int(outputs)];
        let mut args = vec![device.input(p), device.input(head), device.output(&e)];
        args.extend(sizes);
        device.launch("nce_embed", [outputs, rows, 1], args);
        device.launch("nce_normalise", [rows, 1, 1], vec![device.both(&e), device.output(&norm), sizes[0], sizes[2]]);
        let cosines = self.doubles(pairs * pairs);
        let args = vec![device.input(&e), device.output(&cosines), int(pairs), int(outputs)];
        device.launch("nce_cosines", [pairs, pairs, 1], args);
        let slopes = self.doubles(pairs * pairs);
        let loss = self.doubles(pairs);
        let scores = RowScores {
            u_pos: self.floats(pairs),
            u_neg: self.floats(pairs),
            g_pos: Tensor::empty(),
            g_neg: Tensor::empty(),
            summary: self.doubles(3),
            negatives: Tensor::empty(),
            keep: Tensor::empty(),
            partner: Partner::OtherView,
        };
        let args = vec![
            device.input(&cosines),
            device.output(&slopes),
            device.output(&loss),
            device.output(&scores.u_pos),
            device.output(&scores.u_neg),
            Arg::F32(temperature),
            int(pairs),
        ];
        device.launch("nce_slopes", [pairs, 1, 1], args);
        self.summarise(&loss, &scores, pairs, 1);
        let g = self.doubles(rows * outputs);
        let args = vec![
            device.input(&e),
            device.input(&norm),
            device.input(&slopes),
            device.output(&g),
            int(pairs),
            int(outputs),
        ];
        device.launch("nce_gradient", [rows, 1, 1], args);
        let pooled = self.doubles(p.len());
        let mut args = vec![device.input(&g), device.input(head), device.output(&pooled)];
        args.extend(sizes);
        device.launch_over("nce_pooled", pooled.len(), args);
        let by_head = self.floats(head.len());
        let mut args = vec![device.input(&g), device.input(p), device.output(&by_head)];
        args.extend(sizes);
        device.launch_over("nce_head", by_head.len(), args);
        self.average(&by_head);
        InfoNce { scores, pooled, head: by_head }
    }

    /// Rows of tensors one after the other.
    pub(crate) fn lower_gather(&self, pieces: &[RowsOf<'_, Tensor>]) -> Tensor {
        let part = |(tensor, rows, range): &RowsOf<'_, Tensor>| {
            let len = tensor.len() / rows;
            tensor.part(range.start * len, range.len() * len)
        };
        let parts: Vec<Tensor> = pieces.iter().map(part).collect();
        let size = parts.first().map_or(1, |part| part.size);
        let out = self.device.temporary(parts.iter().map(Tensor::len).sum(), size);
        let mut first = 0;
        for part in &parts {
            let to = out.part(first, part.len());
            let (from, to) = (self.device.place(part), self.device.place(&to));
            self.device.run(Op::Copy { from, to, bytes: part.bytes() });
            first += part.len();
        }
        out
    }

    pub(crate) fn lower_add(&self, sum: &Tensor, more: &Tensor) {
        if !sum.is_empty() {
            let args = vec![self.device.both(sum), self.device.input(more), count(sum.len())];
            self.device.launch_over("add", sum.len(), args);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one layer's losses and both of its errors")]
    pub(crate) fn lower_matching(
        &self,
        rule: &Rule,
        layer: &Layer,
        p: &Tensor,
        losses: &PairedLosses<'_, Self>,
        pooled: &Tensor,
        ideal: &Tensor,
        rows: usize,
    ) -> Matching<Tensor, Tensor> {
        let device = &self.device;
        let (slope, partial) = (self.doubles(pooled.len()), self.doubles(2 * rows));
        let mut args = vec![device.input(pooled), device.input(ideal), device.output(&slope), device.output(&partial)];
        args.extend(output_geometry(layer, rows));
        args.extend(cells(layer));
        device.launch("match_distance", [rows, 1, 1], args);
        let distance = self.doubles(2);
        device.launch("sum_pairs", [1, 1, 1], vec![device.input(&partial), device.output(&distance), int(rows)]);
        let errors = losses.iter().map(|(_, Factors { scores, prediction })| {
            let each = scores.negatives.len() / rows;
            if each > MATCHED_NEGATIVES {
                device.note::<()>(Err(GpuError::Failed {
                    what: "feedback matching".into(),
                    reason: format!("{each} negatives a row, at most {MATCHED_NEGATIVES} are possible on the device"),
                }));
            }
            let errors = self.floats(p.len());
            let mut args = vec![
                device.input(p),
                device.input(prediction),
                device.input(&slope),
                device.input(&scores.negatives),
                device.input(&scores.g_pos),
                device.input(&scores.g_neg),
                device.output(&errors),
                int(rows),
                int(p.len() / rows),
                int(each),
                partner(scores.partner),
            ];
            args.extend(contrast_arguments(rule));
            device.launch("match_errors", [rows, 1, 1], args);
            // Once more than other gradients: see `matching` of the CPU backend.
            self.share(&errors);
            errors
        });
        Matching { distance, errors: errors.collect() }
    }
}
