//! How many steps a trial has and which learning rate each uses, as Trainer of transformers 4.57 counts them.

use distilsweep_proto::params::{EvalStrategy, Schedule, Steps, TrainingArguments};

use crate::trainer::Ended;

/// Learning rate at which the polynomial schedule ends (`lr_end` of transformers; its power is 1).
pub(super) const POLYNOMIAL_END: f64 = 1e-7;

/// The steps of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Examples a micro-batch.
    pub batch: usize,
    /// Examples an optimizer step: micro-batches times their size.
    pub window: usize,
    /// Examples an epoch: all of the split, but for the tail that `dataloader_drop_last` leaves out.
    pub examples: usize,
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
    /// Counts the steps of training on `examples` examples.
    ///
    /// # Errors
    /// No example, or fewer than a full micro-batch where others are dropped.
    pub fn new(examples: usize, arguments: &TrainingArguments) -> Result<Self, Ended> {
        let batch = arguments.per_device_train_batch_size;
        let Some(Steps { examples, batches_per_epoch, steps_per_epoch, total }) = arguments.steps(examples)
        else {
            return Err(Ended::BadPoint(format!(
                "the training split has {examples} rows and `dataloader_drop_last` is true: \
                 `per_device_train_batch_size` is {batch}, it must be at most {examples}"
            )));
        };
        let warmup = match arguments.warmup_steps {
            0 => (total as f64 * arguments.warmup_ratio).ceil() as u64,
            steps => steps as u64,
        };
        let window = batch.saturating_mul(arguments.gradient_accumulation_steps);
        Ok(Self { batch, window, examples, batches_per_epoch, steps_per_epoch, total, warmup })
    }

    /// Where in which epoch a step, from 0, takes its examples: the epoch and a range of its order.
    pub fn examples_of(&self, step: u64) -> (u64, std::ops::Range<usize>) {
        let start = (step % self.steps_per_epoch) as usize * self.window;
        (step / self.steps_per_epoch, start..self.examples.min(start.saturating_add(self.window)))
    }

    /// Passes over the training split that `step` steps make, fractions by micro-batches.
    pub fn epochs(&self, step: u64) -> f64 {
        let (epoch, range) = self.examples_of(step);
        let batches = range.start / self.batch;
        epoch as f64 + batches as f64 / self.batches_per_epoch as f64
    }

    /// Whether an epoch ends with `step` steps.
    pub fn ends_epoch(&self, step: u64) -> bool {
        step == self.total || step.is_multiple_of(self.steps_per_epoch)
    }

    /// Whether an evaluation is due after `step` steps.
    pub fn evaluates(&self, arguments: &TrainingArguments, step: u64) -> bool {
        let every = arguments.eval_steps.unwrap_or(arguments.logging_steps as u64);
        step == self.total
            || match arguments.eval_strategy {
                EvalStrategy::Epoch => self.ends_epoch(step),
                EvalStrategy::Steps => step.is_multiple_of(every),
                EvalStrategy::No => false,
            }
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
            let plan = Plan::new(100, &arguments).unwrap();
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
        let plan = Plan::new(29, &accumulating).unwrap();
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
        let plan = Plan::new(65, &partial).unwrap();
        assert_eq!((plan.steps_per_epoch, plan.total, plan.warmup), (7, 11, 2));
    }

    #[test]
    fn max_steps_overrides_epochs() {
        assert_eq!(Plan::new(10, &arguments(Schedule::Linear, 77, 0)).unwrap().total, 77);
    }

    #[test]
    fn a_dropped_tail_counts_nowhere_and_must_leave_something() {
        let dropping = TrainingArguments {
            per_device_train_batch_size: 10,
            gradient_accumulation_steps: 4,
            dataloader_drop_last: true,
            ..TrainingArguments::default()
        };
        let plan = Plan::new(65, &dropping).unwrap();
        assert_eq!((plan.examples, plan.batches_per_epoch, plan.steps_per_epoch), (60, 6, 2));
        assert_eq!(plan.examples_of(3), (1, 40..60));
        assert!(matches!(Plan::new(9, &dropping), Err(Ended::BadPoint(_))));
    }

    #[test]
    fn epochs_are_counted_by_micro_batches() {
        let accumulating = TrainingArguments {
            per_device_train_batch_size: 4,
            gradient_accumulation_steps: 3,
            ..TrainingArguments::default()
        };
        let plan = Plan::new(29, &accumulating).unwrap();
        assert_eq!((0..=4).map(|step| plan.epochs(step)).collect::<Vec<_>>(), [0.0, 0.375, 0.75, 1.0, 1.375]);
        assert_eq!(plan.examples_of(2), (0, 24..29));
    }

    #[test]
    fn evaluations_are_due_by_epoch_by_steps_and_at_the_end() {
        let due = |eval_strategy, eval_steps| -> Vec<u64> {
            let arguments = TrainingArguments {
                max_steps: 11,
                eval_strategy,
                eval_steps,
                ..TrainingArguments::default()
            };
            let plan = Plan::new(40, &arguments).unwrap();
            let due: Vec<u64> = (1..=plan.total).filter(|step| plan.evaluates(&arguments, *step)).collect();
            let counted = arguments.steps(40).map(|steps| steps.evaluations(&arguments));
            assert_eq!(counted, Some(due.len() as u64), "what others count");
            due
        };
        assert_eq!(due(EvalStrategy::Epoch, None), [5, 10, 11]);
        assert_eq!(due(EvalStrategy::Steps, Some(4)), [4, 8, 11]);
        assert_eq!(due(EvalStrategy::Steps, None), [10, 11]);
        assert_eq!(due(EvalStrategy::No, Some(4)), [11]);
    }
}
