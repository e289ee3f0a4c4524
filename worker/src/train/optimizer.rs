//! AdamW with clipping over a model's parameters, as Trainer groups them.

use distilsweep_native::{AdamW, clear_gradients, fused_adamw, gradient_norm, scale_gradients};
use distilsweep_proto::params::TrainingArguments;
use tch::{Kind, Tensor};

use crate::model::{Parameters, TorchError};

/// Parameters with one weight decay, and their moments.
#[derive(Debug)]
struct Group {
    names: Vec<String>,
    parameters: Vec<Tensor>,
    first_moments: Vec<Tensor>,
    second_moments: Vec<Tensor>,
    decayed: bool,
}

/// AdamW's state: it updates in place the tensors of the parameters that it was made for.
#[derive(Debug)]
pub struct Optimizer {
    groups: [Group; 2],
    all: Vec<Tensor>,
    step: i64,
}

impl Optimizer {
    /// Moments of zero. Biases and LayerNorms are not decayed, embeddings are.
    ///
    /// # Errors
    /// What libtorch says, out of memory included.
    pub fn new(parameters: &Parameters) -> Result<Self, TorchError> {
        let group = |decayed: bool| -> Result<Group, TorchError> {
            let mut group = Group {
                names: vec![],
                parameters: vec![],
                first_moments: vec![],
                second_moments: vec![],
                decayed,
            };
            for (name, tensor) in parameters.names().iter().zip(parameters.tensors()) {
                if is_decayed(name) == decayed {
                    group.names.push(name.clone());
                    group.parameters.push(tensor.shallow_clone());
                    group.first_moments.push(tensor.f_detach()?.f_zeros_like()?);
                    group.second_moments.push(tensor.f_detach()?.f_zeros_like()?);
                }
            }
            Ok(group)
        };
        let all = parameters.tensors().iter().map(Tensor::shallow_clone).collect();
        Ok(Self { groups: [group(true)?, group(false)?], all, step: 0 })
    }

    /// Each parameter's name with its first and second moment.
    pub(super) fn moments(&self) -> impl Iterator<Item = (&str, [&Tensor; 2])> {
        self.groups.iter().flat_map(|group| {
            let moments = group.first_moments.iter().zip(&group.second_moments);
            group.names.iter().zip(moments).map(|(name, (first, second))| (name.as_str(), [first, second]))
        })
    }

    /// Says that the moments, which the caller has overwritten, are those after `step` steps.
    pub(super) fn resume(&mut self, step: u64) {
        self.step = step.cast_signed();
    }

    /// Forgets the gradients of the last step.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn clear(&self) -> Result<(), TorchError> {
        Ok(clear_gradients(&self.all)?)
    }

    /// Clips the gradients and updates the parameters. Returns the gradients' global L2 norm before clipping, still
    /// on the device.
    ///
    /// # Errors
    /// A parameter without a gradient; what libtorch says.
    pub fn step(&mut self, learning_rate: f64, arguments: &TrainingArguments) -> Result<Tensor, TorchError> {
        let norm = gradient_norm(&self.all)?;
        let mut divisor = None;
        if arguments.max_grad_norm > 0.0 {
            // torch.nn.utils.clip_grad_norm_ adds the same 1e-6.
            let excess = norm.f_add_scalar(1e-6)?;
            if norm.f_kind()? == Kind::Double {
                // The fused kernel reads its divisor in single precision, which would be the largest error here.
                let factor =
                    excess.f_reciprocal()?.f_mul_scalar(arguments.max_grad_norm)?.f_clamp_max(1.0)?;
                scale_gradients(&self.all, &factor)?;
            } else {
                divisor = Some(
                    excess
                        .f_mul_scalar(1.0 / arguments.max_grad_norm)?
                        .f_clamp_min(1.0)?
                        .f_to_kind(Kind::Float)?,
                );
            }
        }
        self.step += 1;
        for group in &self.groups {
            let constants = AdamW {
                step: self.step,
                learning_rate,
                beta1: arguments.adam_beta1,
                beta2: arguments.adam_beta2,
                weight_decay: if group.decayed { arguments.weight_decay } else { 0.0 },
                epsilon: arguments.adam_epsilon,
            };
            fused_adamw(
                &group.parameters,
                &group.first_moments,
                &group.second_moments,
                constants,
                divisor.as_ref(),
            )?;
        }
        Ok(norm)
    }
}

fn is_decayed(name: &str) -> bool {
    !(name.ends_with(".bias") || name.contains("LayerNorm") || name.contains("layer_norm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_embeddings_are_decayed_and_nothing_else() {
        let decayed = [
            "distilbert.embeddings.word_embeddings.weight",
            "distilbert.embeddings.position_embeddings.weight",
            "distilbert.transformer.layer.0.ffn.lin1.weight",
            "classifier.weight",
        ];
        let kept = [
            "distilbert.embeddings.LayerNorm.weight",
            "distilbert.transformer.layer.0.sa_layer_norm.weight",
            "distilbert.transformer.layer.0.output_layer_norm.bias",
            "distilbert.transformer.layer.0.ffn.lin1.bias",
            "classifier.bias",
        ];
        assert!(decayed.into_iter().all(is_decayed));
        assert!(!kept.into_iter().any(is_decayed));
    }
}
