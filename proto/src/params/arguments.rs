//! The hyperparameters of one trial in typed form.

use serde::{Deserialize, Serialize};

use super::{Parameter, ParameterError, Params, Value};

/// Schedule of the learning rate, as `lr_scheduler_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are Hugging Face's")]
pub enum Schedule {
    Linear,
    Cosine,
    Polynomial,
    Constant,
    ConstantWithWarmup,
}

/// When a trial is evaluated, as `eval_strategy`; at its last step in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvalStrategy {
    /// After each pass over the training split.
    Epoch,
    /// Every `eval_steps` optimizer steps.
    Steps,
    /// At the last step alone.
    No,
}

/// How much an example's class weighs in the training loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// All the same.
    None,
    /// Each class as much as any other: n / (classes x its number of examples), as scikit-learn's `balanced`.
    Balanced,
}

/// The hyperparameters of one trial, complete and checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingArguments {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Examples a micro-batch.
    pub per_device_train_batch_size: usize,
    /// Examples a batch of evaluations; results do not depend on it (default 64; the Trainer's is 8).
    pub per_device_eval_batch_size: usize,
    /// Passes over the training split; may be a fraction.
    pub num_train_epochs: f64,
    /// Optimizer steps, overriding epochs where positive.
    pub max_steps: i64,
    /// AdamW's decoupled decay, on everything but biases and LayerNorms.
    pub weight_decay: f64,
    /// Share of the steps that warm up, rounded up.
    pub warmup_ratio: f64,
    /// Steps that warm up, overriding the ratio where positive.
    pub warmup_steps: usize,
    /// Schedule after the warm-up.
    pub lr_scheduler_type: Schedule,
    /// Micro-batches an optimizer step; their gradients' mean is taken.
    pub gradient_accumulation_steps: usize,
    /// Largest global L2 norm of the gradients; 0 does not clip.
    pub max_grad_norm: f64,
    /// Decay of AdamW's first moment.
    pub adam_beta1: f64,
    /// Decay of AdamW's second moment.
    pub adam_beta2: f64,
    /// AdamW's denominator term.
    pub adam_epsilon: f64,
    /// Share of the target spread over all classes.
    pub label_smoothing_factor: f64,
    /// Seed of head initialisation, dropout and, unless `data_seed` is set, data order.
    pub seed: u64,
    /// Seed of the data order.
    pub data_seed: Option<u64>,
    /// Tokens a text is cut to, special ones included (default 128; the Trainer leaves this to the tokenizer).
    pub max_length: usize,
    /// Optimizer steps between two points of the loss curve (default 10; the Trainer's is 500).
    pub logging_steps: usize,
    /// When the trial is evaluated (default epoch; the Trainer's is no).
    pub eval_strategy: EvalStrategy,
    /// Optimizer steps between evaluations by steps; `logging_steps` when left out.
    pub eval_steps: Option<u64>,
    /// Evaluations without an improvement after which a trial ends (transformers' EarlyStoppingCallback); never when
    /// left out.
    pub early_stopping_patience: Option<u32>,
    /// What counts as an improvement must be larger than this.
    pub early_stopping_threshold: f64,
    /// Leave out an epoch's last micro-batch where it is not full; evaluations leave nothing out (the Trainer's do).
    pub dataloader_drop_last: bool,
    /// Put texts of similar length into one batch.
    pub group_by_length: bool,
    /// Compute in bfloat16 with single precision weights; the device's habit when left out (the Trainer's is false).
    pub bf16: Option<bool>,
    /// AdamW under either of Trainer's names; one kernel serves both.
    pub optim: Optim,
    /// Dropout after the embeddings and the feed-forward layers; the model's own when left out, as for the next two,
    /// which have the names of DistilBERT's configuration.
    pub dropout: Option<f64>,
    /// Dropout of attention probabilities.
    pub attention_dropout: Option<f64>,
    /// Dropout before the classifier.
    pub seq_classif_dropout: Option<f64>,
    /// Weights of the classes in the training loss; no argument of Trainer.
    pub class_weights: ClassWeights,
}

/// Trainer's names for AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are Hugging Face's")]
pub enum Optim {
    AdamwTorch,
    AdamwTorchFused,
}

impl Default for TrainingArguments {
    fn default() -> Self {
        Self {
            learning_rate: 5e-5,
            per_device_train_batch_size: 8,
            per_device_eval_batch_size: 64,
            num_train_epochs: 3.0,
            max_steps: -1,
            weight_decay: 0.0,
            warmup_ratio: 0.0,
            warmup_steps: 0,
            lr_scheduler_type: Schedule::Linear,
            gradient_accumulation_steps: 1,
            max_grad_norm: 1.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            label_smoothing_factor: 0.0,
            seed: 42,
            data_seed: None,
            max_length: 128,
            logging_steps: 10,
            eval_strategy: EvalStrategy::Epoch,
            eval_steps: None,
            early_stopping_patience: None,
            early_stopping_threshold: 0.0,
            dataloader_drop_last: false,
            group_by_length: false,
            bf16: None,
            optim: Optim::AdamwTorchFused,
            dropout: None,
            attention_dropout: None,
            seq_classif_dropout: None,
            class_weights: ClassWeights::None,
        }
    }
}

impl TrainingArguments {
    /// Completes checked hyperparameters with the defaults.
    ///
    /// # Errors
    /// The first hyperparameter, by name, that is unknown or has a value that it may not have.
    pub fn from_params(params: &Params) -> Result<Self, ParameterError> {
        let mut object = serde_json::Map::new();
        for (name, value) in params {
            let parameter = Parameter::named(name)?;
            let checked = match parameter.check(value)? {
                Value::Flag(flag) => flag.into(),
                Value::Integer(i) => i.into(),
                Value::Number(x) => x.into(),
                Value::Text(text) => text.into(),
            };
            object.insert(parameter.name.to_owned(), checked);
        }
        // Every kind of the table fits its field, which a test holds for all of them.
        serde_json::from_value(object.into()).map_err(|error| ParameterError::Value {
            name: "parameters",
            value: error.to_string(),
            wanted: "as the table of parameters says".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Kind, PARAMETERS};

    fn params(entries: &[(&str, Value)]) -> Params {
        entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn defaults_are_hugging_face_s_but_for_those_that_say_so() {
        let arguments = TrainingArguments::from_params(&Params::new()).unwrap();
        assert_eq!(arguments, TrainingArguments::default());
        assert_eq!(arguments.learning_rate, 5e-5);
        assert_eq!(arguments.per_device_train_batch_size, 8);
    }

    #[test]
    fn every_parameter_of_the_table_has_a_field_of_its_kind() {
        for parameter in PARAMETERS {
            let value = match parameter.kind {
                Kind::Integer { min } => Value::Integer(min.max(1)),
                Kind::Number { .. } => Value::Number(0.5),
                Kind::Name(names) => Value::Text(names[0].to_owned()),
                Kind::Flag => Value::Flag(true),
            };
            let given = TrainingArguments::from_params(&params(&[(parameter.name, value)]));
            assert!(given.is_ok(), "{}: {given:?}", parameter.name);
        }
    }

    #[test]
    fn whole_numbers_and_fractions_are_brought_to_the_parameter_s_kind() {
        let given = params(&[("num_train_epochs", Value::Integer(2)), ("seed", Value::Number(7.0))]);
        let arguments = TrainingArguments::from_params(&given).unwrap();
        assert_eq!(arguments.num_train_epochs, 2.0);
        assert_eq!(arguments.seed, 7);
    }

    #[test]
    fn errors_say_what_would_be_right() {
        let wrong = |name: &str, value: Value| {
            TrainingArguments::from_params(&params(&[(name, value)])).unwrap_err().to_string()
        };
        insta::assert_snapshot!(
            [
                wrong("learning_rte", Value::Number(1e-5)),
                wrong("fp16_opt_level", Value::Text("O1".into())),
                wrong("colour", Value::Text("O1".into())),
                wrong("group_by_length", Value::Integer(1)),
                wrong("seed", Value::Text("one".into())),
                wrong("per_device_train_batch_size", Value::Integer(0)),
                wrong("warmup_ratio", Value::Number(1.5)),
                wrong("lr_scheduler_type", Value::Text("liner".into())),
                wrong("learning_rate", Value::Number(f64::NAN)),
            ]
            .join("\n"),
            @r#"
        unknown parameter `learning_rte`, did you mean `learning_rate`?
        `fp16_opt_level` of TrainingArguments cannot be set here: mixed precision here is `bf16`
        unknown parameter `colour`
        `group_by_length` is 1, it must be true or false
        `seed` is "one", it must be a whole number of at least 0
        `per_device_train_batch_size` is 0, it must be a whole number of at least 1
        `warmup_ratio` is 1.5, it must be a number from 0 to 1
        `lr_scheduler_type` is "liner", it must be one of linear, cosine, polynomial, constant, constant_with_warmup
        `learning_rate` is NaN, it must be a number from 0 to 1000
        "#
        );
    }
}
