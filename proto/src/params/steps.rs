//! How many steps a trial has, as Trainer of transformers 4.57 counts them.

use super::{EvalStrategy, TrainingArguments};

/// The steps of training on a number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Examples an epoch: all of the split, but for the tail that `dataloader_drop_last` leaves out.
    pub examples: usize,
    /// Micro-batches an epoch.
    pub batches_per_epoch: usize,
    /// Optimizer steps an epoch.
    pub steps_per_epoch: u64,
    /// Optimizer steps of the trial.
    pub total: u64,
}

impl TrainingArguments {
    /// Counts the steps of training on `rows`; nothing where they do not fill a micro-batch and others are dropped.
    pub fn steps(&self, rows: usize) -> Option<Steps> {
        let batch = self.per_device_train_batch_size;
        let examples = if self.dataloader_drop_last { rows - rows % batch } else { rows };
        if examples == 0 {
            return None;
        }
        let batches_per_epoch = examples.div_ceil(batch);
        let steps_per_epoch = batches_per_epoch.div_ceil(self.gradient_accumulation_steps) as u64;
        let total = match u64::try_from(self.max_steps) {
            Ok(steps) if steps > 0 => steps,
            _ => (self.num_train_epochs * steps_per_epoch as f64).ceil() as u64,
        };
        Some(Steps { examples, batches_per_epoch, steps_per_epoch, total })
    }
}

impl Steps {
    /// Passes over the rows.
    pub fn epochs(&self) -> f64 {
        self.total as f64 / self.steps_per_epoch as f64
    }

    /// Evaluations on the validation split: the one at the last step is always made.
    pub fn evaluations(&self, arguments: &TrainingArguments) -> u64 {
        let every = match arguments.eval_strategy {
            EvalStrategy::Epoch => self.steps_per_epoch,
            EvalStrategy::Steps => arguments.eval_steps.unwrap_or(arguments.logging_steps as u64),
            EvalStrategy::No => self.total,
        };
        self.total.div_ceil(every.max(1))
    }

    /// Points of the loss curve, the one of the last step among them.
    pub fn logged(&self, arguments: &TrainingArguments) -> u64 {
        self.total.div_ceil((arguments.logging_steps as u64).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(arguments: &TrainingArguments) -> Steps {
        arguments.steps(40).unwrap()
    }

    #[test]
    fn steps_are_counted_by_epochs_or_as_said() {
        let arguments = TrainingArguments { num_train_epochs: 1.5, ..TrainingArguments::default() };
        let Steps { examples, batches_per_epoch, steps_per_epoch, total } = steps(&arguments);
        assert_eq!((examples, batches_per_epoch, steps_per_epoch, total), (40, 5, 5, 8));
        let said = TrainingArguments { max_steps: 11, ..arguments };
        assert_eq!((steps(&said).total, steps(&said).epochs()), (11, 2.2));
    }

    #[test]
    fn rows_that_fill_no_batch_are_no_training_where_the_rest_is_dropped() {
        let dropping = TrainingArguments { dataloader_drop_last: true, ..TrainingArguments::default() };
        assert_eq!(dropping.steps(7), None);
        assert_eq!(dropping.steps(9).map(|steps| steps.examples), Some(8));
    }

    #[test]
    fn what_is_due_at_the_last_step_comes_once() {
        let of = |eval_strategy, eval_steps, logging_steps| {
            let arguments = TrainingArguments {
                max_steps: 10,
                eval_strategy,
                eval_steps,
                logging_steps,
                ..TrainingArguments::default()
            };
            (steps(&arguments).evaluations(&arguments), steps(&arguments).logged(&arguments))
        };
        assert_eq!(of(EvalStrategy::Epoch, None, 10), (2, 1));
        assert_eq!(of(EvalStrategy::Steps, Some(4), 3), (3, 4));
        assert_eq!(of(EvalStrategy::Steps, None, 5), (2, 2));
        assert_eq!(of(EvalStrategy::No, Some(4), 100), (1, 1));
    }
}
