//! Operations for the heads of a probe: rows by index, and the errors of softmax with cross-entropy.

use super::{count, int};
use crate::Gpu;
use crate::executor::Executor;
use crate::memory::Tensor;

impl<E: Executor + 'static> Gpu<E> {
    fn upload_indices(&self, indices: &[usize]) -> Tensor {
        // A matrix has less than 2^31 rows.
        let bytes: Vec<u8> =
            indices.iter().flat_map(|index| i32::try_from(*index).unwrap_or(0).to_ne_bytes()).collect();
        self.device.upload(&bytes, size_of::<i32>())
    }

    pub(crate) fn lower_rows_at(&self, matrices: &[(&Tensor, usize)], rows: &[usize]) -> Vec<Tensor> {
        let indices = self.upload_indices(rows);
        let of = |(from, dimension): &(&Tensor, usize)| {
            let to = self.floats(rows.len() * dimension);
            let args = vec![
                self.device.input(from),
                self.device.input(&indices),
                self.device.output(&to),
                int(*dimension),
                count(to.len()),
            ];
            self.device.launch_over("rows_at", to.len(), args);
            to
        };
        matrices.iter().map(of).collect()
    }

    pub(crate) fn lower_softmax(&self, logits: &Tensor, bias: &Tensor, labels: &[usize]) -> [Tensor; 2] {
        let (rows, classes) = (labels.len(), bias.len());
        let labels = self.upload_indices(labels);
        let (errors, sum) = (self.floats(rows * classes), self.floats(classes));
        let args = vec![
            self.device.input(logits),
            self.device.input(bias),
            self.device.input(&labels),
            self.device.output(&errors),
            int(rows),
            int(classes),
        ];
        self.device.launch("softmax_errors", [rows, 1, 1], args);
        let args = vec![self.device.input(&errors), self.device.output(&sum), int(rows), int(classes)];
        self.device.launch_over("add_up_rows", classes, args);
        [errors, sum]
    }

    /// Half of the memory that is free may be taken by features.
    pub(crate) fn has_room(&self, values: usize) -> bool {
        match self.device.executor.free_memory() {
            Ok(Some(free)) => values <= free / 2 / size_of::<f32>(),
            Ok(None) => true,
            Err(_) => false,
        }
    }
}
