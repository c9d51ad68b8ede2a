//! A network's parameters on a backend.

use crate::backend::{Backend, Parameter};
use crate::model::{LayerValues, NetworkSpec, TensorRole};
use clapp_core::plan::Layer;

/// One layer's tensors on a backend.
#[derive(Debug)]
pub struct LayerParameters<T> {
    /// Convolution weights.
    pub weight: Parameter<T>,
    /// Biases; empty without bias.
    pub bias: Parameter<T>,
    /// Projection of the same layer's context, if the rule has one.
    pub projection: Option<Parameter<T>>,
    /// Projection of the top layer's context, if the rule has one.
    pub feedback: Option<Parameter<T>>,
    /// Head of InfoNCE; at the top only.
    pub head: Option<Parameter<T>>,
    /// Kernels that errors come down through, if the rule has them.
    pub mirror: Option<Parameter<T>>,
}

impl<T> LayerParameters<T> {
    /// A tensor by its role, where the layer has it.
    pub fn get(&self, role: TensorRole) -> Option<&Parameter<T>> {
        match role {
            TensorRole::Weight => Some(&self.weight),
            TensorRole::Bias => Some(&self.bias),
            TensorRole::Projection => self.projection.as_ref(),
            TensorRole::Feedback => self.feedback.as_ref(),
            TensorRole::Head => self.head.as_ref(),
            TensorRole::Mirror => self.mirror.as_ref(),
        }
    }

    /// A tensor by its role, to change it.
    pub fn get_mut(&mut self, role: TensorRole) -> Option<&mut Parameter<T>> {
        match role {
            TensorRole::Weight => Some(&mut self.weight),
            TensorRole::Bias => Some(&mut self.bias),
            TensorRole::Projection => self.projection.as_mut(),
            TensorRole::Feedback => self.feedback.as_mut(),
            TensorRole::Head => self.head.as_mut(),
            TensorRole::Mirror => self.mirror.as_mut(),
        }
    }
}

/// Some of a layer's tensors on a backend: its gradients.
#[derive(Debug)]
pub struct LayerTensors<T> {
    tensors: Vec<(TensorRole, T)>,
}

impl<T> Default for LayerTensors<T> {
    fn default() -> Self {
        Self { tensors: Vec::new() }
    }
}

impl<T> LayerTensors<T> {
    /// Keeps a tensor.
    pub fn push(&mut self, role: TensorRole, tensor: T) {
        self.tensors.push((role, tensor));
    }

    /// Brings the tensors of `layer` to the host; those that are not there are empty.
    pub fn download<B: Backend<Tensor = T>>(&self, backend: &B, layer: &Layer) -> LayerValues {
        let mut values = LayerValues::default();
        for (role, tensor) in &self.tensors {
            *values.get_mut(*role) = match role {
                role if role.is_kernel() => backend.download_weights(layer, tensor),
                _ => backend.download(tensor),
            };
        }
        values
    }
}

/// Brings the gradients of a step to the host.
pub fn download_gradients<B: Backend>(
    backend: &B,
    spec: &NetworkSpec,
    gradients: &[LayerTensors<B::Tensor>],
) -> Vec<LayerValues> {
    spec.layers().iter().zip(gradients).map(|(layer, tensors)| tensors.download(backend, layer)).collect()
}

/// A network with its parameters on a backend.
#[derive(Debug)]
pub struct Model<T> {
    /// The description.
    pub spec: NetworkSpec,
    /// The parameters, from the input to the top.
    pub layers: Vec<LayerParameters<T>>,
}

impl<T> Model<T> {
    /// Uploads values; tensors that the description does not name are left out.
    pub fn upload<B: Backend<Tensor = T>>(backend: &B, spec: NetworkSpec, values: &[LayerValues]) -> Self {
        let parameter = |value: T| Parameter { value, first: backend.upload(&[]), second: backend.upload(&[]) };
        let layers = spec
            .layers()
            .iter()
            .zip(values)
            .map(|(layer, values)| {
                let roles: Vec<TensorRole> = spec.tensors(layer).into_iter().map(|(role, _)| role).collect();
                let optional = |role: TensorRole| {
                    let value = || match role.is_kernel() {
                        true => backend.upload_weights(layer, values.get(role)),
                        false => backend.upload(values.get(role)),
                    };
                    roles.contains(&role).then(|| parameter(value()))
                };
                LayerParameters {
                    weight: parameter(backend.upload_weights(layer, &values.weight)),
                    bias: parameter(backend.upload(&values.bias)),
                    projection: optional(TensorRole::Projection),
                    feedback: optional(TensorRole::Feedback),
                    head: optional(TensorRole::Head),
                    mirror: optional(TensorRole::Mirror),
                }
            })
            .collect();
        Self { spec, layers }
    }

    /// Copies all parameters back.
    pub fn download<B: Backend<Tensor = T>>(&self, backend: &B) -> Vec<LayerValues> {
        let optional = |parameter: &Option<Parameter<T>>| {
            parameter.as_ref().map(|parameter| backend.download(&parameter.value)).unwrap_or_default()
        };
        self.spec
            .layers()
            .iter()
            .zip(&self.layers)
            .map(|(layer, parameters)| LayerValues {
                weight: backend.download_weights(layer, &parameters.weight.value),
                bias: backend.download(&parameters.bias.value),
                projection: optional(&parameters.projection),
                feedback: optional(&parameters.feedback),
                head: optional(&parameters.head),
                mirror: parameters
                    .mirror
                    .as_ref()
                    .map(|parameter| backend.download_weights(layer, &parameter.value))
                    .unwrap_or_default(),
            })
            .collect()
    }
}
