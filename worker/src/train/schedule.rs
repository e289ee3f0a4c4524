//! How many steps a trial has and which learning rate each uses, as Trainer of transformers 4.57 counts them.

use distilsweep_proto::params::{Schedule, TrainingArguments};

/// Learning rate at which the polynomial schedule ends (`lr_end` of transformers; its power is 1).
pub(super) const POLYNOMIAL_END: f64 = 1e-7;

/// The steps of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Examples a micro-batch.
    pub batch: usize,
    /// Examples an optimizer step: micro-batches times their size.
    pub window: usize,
    /// Micro-batches an epoch.
    pub batches_per_epoch: usize,
    /// Optimizer steps an epoch.
    pub steps_per_epoch: u64,
    /// Optimizer steps of the trial.
    pub total: u64,
    /// Of them, those that warm up.
    pub warmup: u64,
}

impl Plan {
    /// Counts the steps of training on `examples` examples, at least one.
    pub fn new(examples: usize, arguments: &TrainingArguments) -> Self {
        let batch = arguments.per_device_train_batch_size;
        let window = batch.saturating_mul(arguments.gradient_accumulation_steps);
        let steps_per_epoch = examples.div_ceil(window).max(1) as u64;
        let total = match u64::try_from(arguments.max_steps) {
            Ok(steps) if steps > 0 => steps,
            _ => (arguments.num_train_epochs * steps_per_epoch as f64).ceil() as u64,
        };
        let warmup = match arguments.warmup_steps {
            0 => (total as f64 * arguments.warmup_ratio).ceil() as u64,
            steps => steps as u64,
        };
        Self { batch, window, batches_per_epoch: examples.div_ceil(batch), steps_per_epoch, total, warmup }
    }

    /// Learning rate of `step`, from 0.
    pub fn learning_rate(&self, arguments: &TrainingArguments, step: u64) -> f64 {
        arguments.learning_rate * self.factor(arguments, step)
    }

    fn factor(&self, arguments: &TrainingArguments, step: u64) -> f64 {
        let (step, warmup, total) = (step as f64, self.warmup as f64, self.total as f64);
        let schedule = arguments.lr_scheduler_type;
        if step < warmup && schedule != Schedule::Constant {
            return step / warmup.max(1.0);
        }
        let left = total - step;
        let span = (total - warmup).max(1.0);
        match schedule {
            Schedule::Linear => (left / span).max(0.0),
            Schedule::Cosine => {
                let progress = (step - warmup) / span;
                // Half a cosine, written with transformers' num_cycles so that the rounding is the same.
                (0.5 * (1.0 + (std::f64::consts::PI * 0.5 * 2.0 * progress).cos())).max(0.0)
            }
            Schedule::Polynomial => {
                let peak = arguments.learning_rate;
                let remaining = (1.0 - (step - warmup) / span).max(0.0);
                ((peak - POLYNOMIAL_END) * remaining + POLYNOMIAL_END) / peak
            }
            Schedule::Constant | Schedule::ConstantWithWarmup => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(schedule: Schedule, max_steps: i64, warmup_steps: usize) -> TrainingArguments {
        TrainingArguments {
            learning_rate: 3e-4,
            lr_scheduler_type: schedule,
            max_steps,
            warmup_steps,
            ..TrainingArguments::default()
        }
    }

    /// From `transformers.get_scheduler(name, AdamW(lr=3e-4), num_warmup_steps=2, num_training_steps=7)` of 4.57.6.
    #[test]
    fn learning_rates_are_those_of_transformers() {
        let recorded = [
            (
                Schedule::Linear,
                [
                    0.0,
                    0.00015,
                    0.0003,
                    0.00023999999999999998,
                    0.00017999999999999998,
                    0.00011999999999999999,
                    5.9999999999999995e-05,
                ],
            ),
            (
                Schedule::Cosine,
                [
                    0.0,
                    0.00015,
                    0.0003,
                    0.0002713525491562421,
                    0.0001963525491562421,
                    0.0001036474508437579,
                    2.8647450843757897e-05,
                ],
            ),
            (
                Schedule::Polynomial,
                [
                    0.0,
                    0.00015,
                    0.0003,
                    0.00024002,
                    0.00018004000000000002,
                    0.00012006000000000001,
                    6.007999999999998e-05,
                ],
            ),
            (Schedule::Constant, [0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003]),
            (Schedule::ConstantWithWarmup, [0.0, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003]),
        ];
        for (schedule, expected) in recorded {
            let arguments = arguments(schedule, 7, 2);
            let plan = Plan::new(100, &arguments);
            let rates: Vec<f64> = (0..7).map(|step| plan.learning_rate(&arguments, step)).collect();
            assert_eq!(rates, expected, "{schedule:?}");
        }
    }

    #[test]
    fn a_short_last_window_is_a_step() {
        let accumulating = TrainingArguments {
            per_device_train_batch_size: 4,
            gradient_accumulation_steps: 3,
            num_train_epochs: 2.0,
            ..TrainingArguments::default()
        };
        let plan = Plan::new(29, &accumulating);
        assert_eq!((plan.batches_per_epoch, plan.steps_per_epoch, plan.total), (8, 3, 6));
    }

    #[test]
    fn fractions_of_epochs_and_the_warm_up_ratio_round_up() {
        let partial = TrainingArguments {
            num_train_epochs: 1.5,
            warmup_ratio: 0.1,
            per_device_train_batch_size: 10,
            ..TrainingArguments::default()
        };
        let plan = Plan::new(65, &partial);
        assert_eq!((plan.steps_per_epoch, plan.total, plan.warmup), (7, 11, 2));
    }

    #[test]
    fn max_steps_overrides_epochs() {
        assert_eq!(Plan::new(10, &arguments(Schedule::Linear, 77, 0)).total, 77);
    }
}
