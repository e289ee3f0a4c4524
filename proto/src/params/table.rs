//! Which hyperparameters there are, and what each may be.

use std::fmt;

use super::Value;

/// What a hyperparameter may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number of at least this.
    Integer {
        /// Smallest value.
        min: i64,
    },
    /// A finite number between these, both included.
    Number {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// One of these names.
    Name(&'static [&'static str]),
    /// True or false.
    Flag,
}

/// One hyperparameter that a sweep may set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Hugging Face's name.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
}

const fn number(name: &'static str, min: f64, max: f64) -> Parameter {
    Parameter { name, kind: Kind::Number { min, max } }
}

const fn integer(name: &'static str, min: i64) -> Parameter {
    Parameter { name, kind: Kind::Integer { min } }
}

const fn flag(name: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Flag }
}

const fn one_of(name: &'static str, names: &'static [&'static str]) -> Parameter {
    Parameter { name, kind: Kind::Name(names) }
}

/// Schedules of the learning rate.
pub const SCHEDULES: &[&str] = &["linear", "cosine", "polynomial", "constant", "constant_with_warmup"];

/// Every hyperparameter, in the order of messages and tables.
pub const PARAMETERS: &[Parameter] = &[
    number("learning_rate", 0.0, 1e3),
    integer("per_device_train_batch_size", 1),
    integer("per_device_eval_batch_size", 1),
    number("num_train_epochs", 0.0, 1e6),
    integer("max_steps", -1),
    number("weight_decay", 0.0, 1e3),
    number("warmup_ratio", 0.0, 1.0),
    integer("warmup_steps", 0),
    one_of("lr_scheduler_type", SCHEDULES),
    integer("gradient_accumulation_steps", 1),
    number("max_grad_norm", 0.0, f64::MAX),
    number("adam_beta1", 0.0, 1.0),
    number("adam_beta2", 0.0, 1.0),
    number("adam_epsilon", 0.0, 1.0),
    number("label_smoothing_factor", 0.0, 1.0),
    integer("seed", 0),
    integer("data_seed", 0),
    integer("max_length", 3),
    integer("logging_steps", 1),
    one_of("eval_strategy", &["epoch", "steps", "no"]),
    integer("eval_steps", 1),
    integer("early_stopping_patience", 1),
    number("early_stopping_threshold", 0.0, f64::MAX),
    flag("dataloader_drop_last"),
    flag("group_by_length"),
    flag("bf16"),
    one_of("optim", &["adamw_torch", "adamw_torch_fused"]),
    number("dropout", 0.0, 0.99),
    number("attention_dropout", 0.0, 0.99),
    number("seq_classif_dropout", 0.0, 0.99),
    one_of("class_weights", &["none", "balanced"]),
];

/// Hyperparameters that trials of one pack must agree in: they decide the shape of what is computed together.
pub const STRUCTURAL: &[&str] = &[
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "max_length",
    "dataloader_drop_last",
    "group_by_length",
    "bf16",
];

/// What `TrainingArguments` has besides, by what a user of it should know here.
const UNSUPPORTED: &[(&str, &[&str])] = &[
    ("the file's `metric` chooses it", &["greater_is_better", "metric_for_best_model"]),
    ("the best evaluation's weights are always taken", &["load_best_model_at_end"]),
    (
        "checkpoints are written after each epoch and by time",
        &[
            "resume_from_checkpoint",
            "restore_callback_states_from_checkpoint",
            "save_on_each_node",
            "save_only_model",
            "save_safetensors",
            "save_steps",
            "save_strategy",
            "save_total_limit",
        ],
    ),
    (
        "runs are recorded in MLflow, files go to the sweep's store",
        &[
            "hub_always_push",
            "hub_model_id",
            "hub_private_repo",
            "hub_revision",
            "hub_strategy",
            "hub_token",
            "logging_dir",
            "output_dir",
            "overwrite_output_dir",
            "project",
            "push_to_hub",
            "push_to_hub_model_id",
            "push_to_hub_organization",
            "push_to_hub_token",
            "report_to",
            "run_name",
            "trackio_space_id",
        ],
    ),
    (
        "a worker chooses its device when it starts",
        &["no_cuda", "tpu_metrics_debug", "tpu_num_cores", "use_cpu", "use_mps_device"],
    ),
    (
        "mixed precision here is `bf16`",
        &[
            "bf16_full_eval",
            "fp16",
            "fp16_backend",
            "fp16_full_eval",
            "fp16_opt_level",
            "half_precision_backend",
            "tf32",
        ],
    ),
    (
        "a trial is trained by one worker on one device",
        &[
            "accelerator_config",
            "average_tokens_across_devices",
            "ddp_backend",
            "ddp_broadcast_buffers",
            "ddp_bucket_cap_mb",
            "ddp_find_unused_parameters",
            "ddp_timeout",
            "deepspeed",
            "fsdp",
            "fsdp_config",
            "fsdp_min_num_params",
            "fsdp_transformer_layer_cls_to_wrap",
            "local_rank",
            "mp_parameters",
            "parallelism_config",
            "ray_scope",
        ],
    ),
    ("the optimizer is AdamW", &["adafactor", "optim_args", "optim_target_modules"]),
    (
        "it is not supported",
        &[
            "auto_find_batch_size",
            "batch_eval_metrics",
            "dataloader_num_workers",
            "dataloader_persistent_workers",
            "dataloader_pin_memory",
            "dataloader_prefetch_factor",
            "debug",
            "disable_tqdm",
            "do_eval",
            "do_predict",
            "do_train",
            "eval_accumulation_steps",
            "eval_delay",
            "eval_do_concat_batches",
            "eval_on_start",
            "eval_use_gather_object",
            "full_determinism",
            "gradient_checkpointing",
            "gradient_checkpointing_kwargs",
            "ignore_data_skip",
            "include_for_metrics",
            "include_inputs_for_metrics",
            "include_num_input_tokens_seen",
            "include_tokens_per_second",
            "jit_mode_eval",
            "label_names",
            "length_column_name",
            "liger_kernel_config",
            "log_level",
            "log_level_replica",
            "log_on_each_node",
            "logging_first_step",
            "logging_nan_inf_filter",
            "logging_strategy",
            "lr_scheduler_kwargs",
            "neftune_noise_alpha",
            "past_index",
            "per_gpu_eval_batch_size",
            "per_gpu_train_batch_size",
            "prediction_loss_only",
            "remove_unused_columns",
            "skip_memory_metrics",
            "torch_compile",
            "torch_compile_backend",
            "torch_compile_mode",
            "torch_empty_cache_steps",
            "torchdynamo",
            "use_legacy_prediction_loop",
            "use_liger_kernel",
        ],
    ),
];

/// What is wrong with a hyperparameter: a fragment that says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// No such hyperparameter.
    #[error("unknown parameter `{name}`{}", .near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// As written.
        name: String,
        /// The nearest known one.
        near: Option<&'static str>,
    },
    /// One of Trainer's that has no meaning here.
    #[error("`{name}` of TrainingArguments cannot be set here: {instead}")]
    Unsupported {
        /// As written.
        name: String,
        /// What to know instead.
        instead: &'static str,
    },
    /// The value is not what the hyperparameter may be.
    #[error("`{name}` is {value}, it must be {wanted}")]
    Value {
        /// Which hyperparameter.
        name: &'static str,
        /// As written.
        value: String,
        /// What would be right.
        wanted: String,
    },
}

impl Parameter {
    /// Finds a hyperparameter, or the nearest to suggest.
    ///
    /// # Errors
    /// [`ParameterError::Unknown`] where there is none of this name, [`ParameterError::Unsupported`] where only
    /// Trainer has it.
    pub fn named(name: &str) -> Result<&'static Parameter, ParameterError> {
        if let Some(parameter) = PARAMETERS.iter().find(|p| p.name == name) {
            return Ok(parameter);
        }
        if let Some((instead, _)) = UNSUPPORTED.iter().find(|(_, names)| names.contains(&name)) {
            return Err(ParameterError::Unsupported { name: name.to_owned(), instead });
        }
        let near = PARAMETERS
            .iter()
            // Comparing takes as long as both lengths multiplied.
            .filter(|p| name.len() <= 2 * p.name.len())
            .map(|p| (strsim::normalized_damerau_levenshtein(p.name, name), p.name))
            .filter(|(likeness, _)| *likeness >= 0.5)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| name);
        Err(ParameterError::Unknown { name: name.to_owned(), near })
    }

    /// Checks a value and brings it to the parameter's kind: 3 becomes 3.0 where any number may stand, 3.0 becomes 3
    /// where a whole one must.
    ///
    /// # Errors
    /// [`ParameterError::Value`] with what would be right.
    pub fn check(&self, value: &Value) -> Result<Value, ParameterError> {
        let checked = match (self.kind, value) {
            (Kind::Integer { min }, Value::Integer(i)) if *i >= min => Some(Value::Integer(*i)),
            (Kind::Integer { min }, Value::Number(x)) if x.fract() == 0.0 && x.abs() < 2f64.powi(53) => {
                let whole = *x as i64;
                (whole >= min).then_some(Value::Integer(whole))
            }
            (Kind::Number { min, max }, Value::Integer(i)) => {
                let x = *i as f64;
                (min..=max).contains(&x).then_some(Value::Number(x))
            }
            (Kind::Number { min, max }, Value::Number(x)) => {
                (min..=max).contains(x).then_some(Value::Number(*x))
            }
            (Kind::Name(names), Value::Text(text)) => {
                names.contains(&text.as_str()).then(|| Value::Text(text.clone()))
            }
            (Kind::Flag, Value::Flag(flag)) => Some(Value::Flag(*flag)),
            (Kind::Integer { .. } | Kind::Number { .. } | Kind::Name(_) | Kind::Flag, _) => None,
        };
        checked.ok_or_else(|| ParameterError::Value {
            name: self.name,
            value: match value {
                Value::Text(text) => format!("\"{text}\""),
                Value::Flag(_) | Value::Integer(_) | Value::Number(_) => value.to_string(),
            },
            wanted: self.kind.to_string(),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Integer { min } => write!(f, "a whole number of at least {min}"),
            Kind::Number { min, max } if *max == f64::MAX => write!(f, "a number of at least {min}"),
            Kind::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Kind::Name(names) => write!(f, "one of {}", names.join(", ")),
            Kind::Flag => f.write_str("true or false"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_supported_or_refused_and_never_both() {
        let known: Vec<&str> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
        assert!(STRUCTURAL.iter().all(|name| known.contains(name)));
        let refused: Vec<&str> = UNSUPPORTED.iter().flat_map(|(_, names)| *names).copied().collect();
        assert!(!refused.iter().any(|name| known.contains(name)));
        let mut all = [known, refused].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
