//! The training loop: a trial's steps, evaluations and best weights. It reads no clock, no random source and no file.

mod data;
mod evaluation;
mod metrics;
mod optimizer;
mod schedule;

use std::time::Duration;

use distilsweep_data::shuffled;
use distilsweep_proto::{
    names::Selection,
    params::{Schedule, TrainingArguments},
};
use tch::{Device, Kind, Reduction, Tensor};

pub use self::{
    data::{Prepared, Tokenized},
    optimizer::Optimizer,
    schedule::Plan,
};
use self::{evaluation::Evaluation, schedule::POLYNOMIAL_END};
use crate::{
    model::{Batch, DistilBertForSequenceClassification, Dropout, Example, Parameters, Rates, TorchError},
    trainer::{Ended, EvaluationRecord, Observer, Phase, Request, Scores, StepRecord},
};

/// A trial with everything loaded.
pub struct Trial<'a> {
    /// The model, on the storage of `parameters`.
    pub model: &'a DistilBertForSequenceClassification,
    /// What is trained; on `device`.
    pub parameters: &'a mut Parameters,
    /// What it is trained on.
    pub data: &'a Prepared,
    /// Hyperparameters.
    pub arguments: &'a TrainingArguments,
    /// Dropout in training.
    pub rates: Rates,
    /// What selects the best evaluation.
    pub selection: Selection,
    /// Whether more of it is better.
    pub maximize: bool,
    /// Where it is trained.
    pub device: Device,
    /// Kind of the parameters.
    pub kind: Kind,
}

/// A finished training; the trial's parameters are those of the best evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The first of the best evaluations.
    pub best: EvaluationRecord,
    /// Its weights on the test split.
    pub test: Option<Scores>,
    /// Optimizer steps done.
    pub steps: u64,
    /// Time in steps alone.
    pub stepping: Duration,
    /// Examples trained on, repetitions counted.
    pub samples: u64,
    /// Factor of weight decay up to the best evaluation, for decayed weights that no gradient reaches.
    pub decay: f64,
}

impl From<TorchError> for Ended {
    fn from(error: TorchError) -> Self {
        match error.out_of_memory() {
            true => Self::OutOfMemory(error.to_string()),
            false => Self::Internal(error.to_string()),
        }
    }
}

impl From<tch::TchError> for Ended {
    fn from(error: tch::TchError) -> Self {
        TorchError::from(error).into()
    }
}

/// The best evaluation so far and its weights.
struct Best {
    record: EvaluationRecord,
    parameters: Parameters,
    decay: f64,
}

/// Trains a trial to its end. `clock` tells the time since some fixed moment.
///
/// # Errors
/// Why there is no result.
pub fn run(
    trial: &mut Trial,
    clock: &dyn Fn() -> Duration,
    observer: &mut dyn Observer,
) -> Result<Outcome, Ended> {
    let arguments = trial.arguments;
    if arguments.lr_scheduler_type == Schedule::Polynomial && arguments.learning_rate <= POLYNOMIAL_END {
        return Err(Ended::BadPoint(format!(
            "`learning_rate` is {:e}, it must be above {POLYNOMIAL_END:e}, where the polynomial schedule ends",
            arguments.learning_rate
        )));
    }
    let plan = Plan::new(trial.data.train.len(), arguments);
    for tensor in trial.parameters.tensors() {
        let _same = tensor.f_set_requires_grad(true)?;
    }
    let mut run = Run {
        optimizer: Optimizer::new(trial.parameters)?,
        plan,
        step: 0,
        decay: 1.0,
        samples: 0,
        stepping: Duration::ZERO,
        pending: Vec::new(),
        best: None,
    };
    let mut epoch = 0;
    loop {
        let batches = run.epoch(trial, epoch, clock, observer)?;
        let passed = epoch as f64 + batches as f64 / plan.batches_per_epoch as f64;
        run.evaluate(trial, passed, observer)?;
        epoch += 1;
        if run.step >= plan.total {
            break;
        }
    }
    let Some(best) = run.best else {
        return Err(Ended::Internal("the training ended without an evaluation".to_owned()));
    };
    observer.progress(Phase::Finishing, run.step, plan.total);
    trial.parameters.restore(&best.parameters)?;
    let test =
        trial.data.test.as_ref().map(|split| trial.evaluation().scores(trial.model, split)).transpose()?;
    Ok(Outcome {
        best: best.record,
        test,
        steps: run.step,
        stepping: run.stepping,
        samples: run.samples,
        decay: best.decay,
    })
}

struct Run {
    optimizer: Optimizer,
    plan: Plan,
    step: u64,
    decay: f64,
    samples: u64,
    stepping: Duration,
    /// Losses since the last record, on the device.
    pending: Vec<Tensor>,
    best: Option<Best>,
}

impl Run {
    /// Trains one epoch, or what the plan leaves of it. Returns how many micro-batches it used.
    fn epoch(
        &mut self,
        trial: &Trial,
        epoch: u64,
        clock: &dyn Fn() -> Duration,
        observer: &mut dyn Observer,
    ) -> Result<usize, Ended> {
        let seed = trial.arguments.data_seed.unwrap_or(trial.arguments.seed);
        let order = shuffled(trial.data.train.len(), seed.wrapping_add(epoch));
        let mut batches = 0;
        for window in order.chunks(self.plan.window) {
            if self.step >= self.plan.total {
                break;
            }
            match observer.request() {
                Request::GoOn | Request::Checkpoint => {}
                Request::Stop | Request::HandBack => return Err(Ended::Stopped),
            }
            observer.progress(Phase::Training, self.step, self.plan.total);
            let began = clock();
            let (loss, norm, learning_rate) = self.optimize(trial, window)?;
            self.pending.push(loss);
            self.step += 1;
            self.samples += window.len() as u64;
            batches += window.len().div_ceil(self.plan.batch);
            let every = trial.arguments.logging_steps as u64;
            if self.step.is_multiple_of(every) || self.step == self.plan.total {
                let record = self.record(&norm, learning_rate)?;
                self.stepping += clock().saturating_sub(began);
                observer.logged(&record);
            } else {
                self.stepping += clock().saturating_sub(began);
            }
        }
        Ok(batches)
    }

    /// One optimizer step on the examples of `window`. Returns its loss, the gradients' norm and the learning rate.
    fn optimize(&mut self, trial: &Trial, window: &[u32]) -> Result<(Tensor, Tensor, f64), Ended> {
        let arguments = trial.arguments;
        let dropout = Dropout { rates: trial.rates, seed: arguments.seed, step: self.step };
        let parts = window.chunks(self.plan.batch);
        let share = 1.0 / parts.len() as f64;
        let mut loss: Option<Tensor> = None;
        self.optimizer.clear()?;
        for (i, part) in parts.enumerate() {
            let examples: Vec<Example> =
                part.iter().map(|row| trial.data.train.example(*row as usize)).collect();
            let batch = Batch::new(&examples, i * self.plan.batch, trial.device, trial.kind)?;
            let logits = trial.model.forward(&batch, Some(&dropout))?;
            let part_loss = logits.f_cross_entropy_loss(
                &batch.labels,
                None::<Tensor>,
                Reduction::Mean,
                -100,
                arguments.label_smoothing_factor,
            )?;
            let scaled = part_loss.f_mul_scalar(share)?;
            scaled.f_backward()?;
            let scaled = scaled.f_detach()?;
            loss = Some(match loss {
                Some(sum) => sum.f_add(&scaled)?,
                None => scaled,
            });
        }
        let learning_rate = self.plan.learning_rate(arguments, self.step);
        let norm = self.optimizer.step(learning_rate, arguments)?;
        self.decay *= 1.0 - learning_rate * arguments.weight_decay;
        let loss = loss.ok_or_else(|| Ended::Internal("a step had no examples".to_owned()))?;
        Ok((loss, norm, learning_rate))
    }

    /// Reads what gathered since the last record: the only place where a step waits for the device.
    fn record(&mut self, norm: &Tensor, learning_rate: f64) -> Result<StepRecord, Ended> {
        let losses = Tensor::f_stack(&self.pending, 0)?.f_mean(Kind::Double)?;
        self.pending.clear();
        let (loss, grad_norm) = (f64::try_from(losses)?, f64::try_from(norm)?);
        if !loss.is_finite() {
            return Err(Ended::Diverged(format!("the loss is {loss} by step {}", self.step)));
        }
        Ok(StepRecord { step: self.step, loss, grad_norm, learning_rate })
    }

    fn evaluate(&mut self, trial: &Trial, epoch: f64, observer: &mut dyn Observer) -> Result<(), Ended> {
        observer.progress(Phase::Evaluating, self.step, self.plan.total);
        let scores = trial.evaluation().scores(trial.model, &trial.data.validation)?;
        if !scores.loss.is_finite() {
            let step = self.step;
            return Err(Ended::Diverged(format!("the validation loss is {} at step {step}", scores.loss)));
        }
        let record = EvaluationRecord { step: self.step, epoch, scores };
        observer.evaluated(&record);
        let value = |record: &EvaluationRecord| {
            record.scores.named("eval").get(trial.selection.evaluation).copied().unwrap_or(f64::NAN)
        };
        match &mut self.best {
            Some(best) => {
                let better = match trial.maximize {
                    true => value(&record) > value(&best.record),
                    false => value(&record) < value(&best.record),
                };
                if better {
                    best.record = record;
                    best.decay = self.decay;
                    best.parameters.restore(trial.parameters)?;
                }
            }
            None => {
                let parameters = trial.parameters.copied(trial.device)?;
                self.best = Some(Best { record, parameters, decay: self.decay });
            }
        }
        Ok(())
    }
}

impl Trial<'_> {
    fn evaluation(&self) -> Evaluation {
        Evaluation {
            classes: self.data.classes.len(),
            batch: self.arguments.per_device_eval_batch_size,
            smoothing: self.arguments.label_smoothing_factor,
            device: self.device,
            kind: self.kind,
        }
    }
}
