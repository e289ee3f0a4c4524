//! One trial in training: its weights, its optimizer and where it is. What it does depends on nothing outside it.

mod resume;

use std::{path::PathBuf, sync::Arc, time::Duration};

use distilsweep_proto::{
    names::Selection,
    params::{Schedule, TrainingArguments},
};
use tch::{Kind, Tensor};

use super::{
    Finished, Shared,
    best::Judge,
    evaluation::Evaluation,
    feed::{Feed, Source, Window},
    metrics::{Confusion, Report},
    optimizer::Optimizer,
    schedule::{POLYNOMIAL_END, Plan},
    state::{Identity, State},
};
use crate::{
    model::{DistilBertForSequenceClassification, Dropout, Parameters, Rates},
    trainer::{Ended, EvaluationRecord, Observer, Phase, Request, StepRecord},
};

/// A trial to train, with its own weights.
#[derive(Debug)]
pub struct Trial {
    /// Its place among the observers.
    pub number: usize,
    /// What is trained; on the pack's device.
    pub parameters: Parameters,
    /// Hyperparameters.
    pub arguments: TrainingArguments,
    /// Dropout in training.
    pub rates: Rates,
    /// What selects the best evaluation.
    pub selection: Selection,
    /// Whether more of it is better.
    pub maximize: bool,
    /// Whether states to go on from are wanted.
    pub checkpoints: bool,
    /// Directories of such states, the best first.
    pub resume: Vec<PathBuf>,
    /// What a state must be of.
    pub identity: Identity,
}

/// The best evaluation so far and its weights.
struct Best {
    record: EvaluationRecord,
    confusion: Confusion,
    parameters: Parameters,
    decay: f64,
}

pub(super) struct Lane {
    pub(super) trial: Trial,
    pub(super) model: DistilBertForSequenceClassification,
    pub(super) optimizer: Optimizer,
    plan: Plan,
    judge: Judge,
    feed: Feed,
    step: u64,
    /// Factor of weight decay so far, for decayed weights that no gradient reaches.
    decay: f64,
    samples: u64,
    stepping: Duration,
    /// What earlier attempts took, and when this one began.
    spent: Duration,
    began: Duration,
    /// Losses since the last record, on the device.
    pending: Vec<Tensor>,
    waited: u32,
    best: Option<Best>,
    /// Whether the evaluation of this step was broken off, or has only begun.
    owes_evaluation: bool,
    /// The step of the last checkpoint.
    checkpointed: u64,
    ended: bool,
}

impl Lane {
    pub(super) fn start(
        trial: Trial,
        shared: &Shared,
        room: usize,
        clock: &dyn Fn() -> Duration,
        observer: &mut dyn Observer,
    ) -> Result<Self, Ended> {
        let arguments = &trial.arguments;
        if arguments.lr_scheduler_type == Schedule::Polynomial && arguments.learning_rate <= POLYNOMIAL_END {
            return Err(Ended::BadPoint(format!(
                "`learning_rate` is {:e}, it must be above {POLYNOMIAL_END:e}, where the polynomial schedule ends",
                arguments.learning_rate
            )));
        }
        let plan = Plan::new(shared.data.train.len(), arguments)?;
        for tensor in trial.parameters.tensors() {
            let _same = tensor.f_set_requires_grad(true)?;
        }
        let source = source(&trial, shared, plan);
        let mut lane = Self {
            model: shared.model(&trial.parameters),
            optimizer: Optimizer::new(&trial.parameters)?,
            judge: Judge::new(trial.selection, trial.maximize, arguments),
            feed: Feed::start(source.clone(), 0, room)?,
            trial,
            plan,
            step: 0,
            decay: 1.0,
            samples: 0,
            stepping: Duration::ZERO,
            spent: Duration::ZERO,
            began: clock(),
            pending: Vec::new(),
            waited: 0,
            best: None,
            owes_evaluation: plan.total == 0,
            checkpointed: 0,
            ended: false,
        };
        for directory in std::mem::take(&mut lane.trial.resume) {
            let fitting = State::read(&directory, &lane.trial.identity)
                .and_then(|state| lane.fits(&state).map(|()| state));
            match fitting {
                Ok(state) => {
                    lane.restore(&state, shared.device)?;
                    tracing::debug!(step = lane.step, directory = %directory.display(), "goes on from a checkpoint");
                    lane.feed = Feed::start(source, lane.step, room)?;
                    break;
                }
                Err(why) => tracing::warn!(%why, "a checkpoint is not used"),
            }
        }
        if lane.owes_evaluation {
            lane.evaluate(shared, clock, observer)?;
        } else if lane.step > 0 && lane.plan.evaluates(&lane.trial.arguments, lane.step) {
            observer.evaluated_before(lane.step, lane.plan.epochs(lane.step));
        }
        Ok(lane)
    }

    /// Hears what is asked of it. False where the trial is at its end.
    pub(super) fn goes_on(&mut self, now: Duration, observer: &mut dyn Observer) -> Result<bool, Ended> {
        if self.ended || self.step >= self.plan.total {
            return Ok(false);
        }
        observer.progress(Phase::Training, self.step, self.plan.total);
        self.obey(observer.request(), now, observer)?;
        Ok(true)
    }

    fn obey(&mut self, request: Request, now: Duration, observer: &mut dyn Observer) -> Result<(), Ended> {
        match request {
            Request::GoOn => Ok(()),
            Request::Checkpoint => self.checkpoint(now, observer),
            Request::Stop => Err(Ended::Stopped),
            Request::HandBack => {
                self.checkpoint(now, observer)?;
                Err(Ended::Stopped)
            }
        }
    }

    /// The examples of the next step.
    pub(super) fn window(&self) -> Result<Window, Ended> {
        self.feed.next()
    }

    /// Lays the examples of the next step out again, in pieces that are no larger than `room`.
    pub(super) fn cut(&mut self, shared: &Shared, room: usize) -> Result<(), Ended> {
        self.feed = Feed::start(source(&self.trial, shared, self.plan), self.step, room)?;
        Ok(())
    }

    pub(super) fn dropout(&self) -> Dropout {
        Dropout { rates: self.trial.rates, seed: self.trial.arguments.seed, step: self.step }
    }

    /// Makes the step whose gradients are there, and what is due after it. `computing` is what the gradients took.
    pub(super) fn settle(
        &mut self,
        loss: Tensor,
        examples: usize,
        shared: &Shared,
        computing: Duration,
        clock: &dyn Fn() -> Duration,
        observer: &mut dyn Observer,
    ) -> Result<(), Ended> {
        let began = clock();
        let arguments = &self.trial.arguments;
        let learning_rate = self.plan.learning_rate(arguments, self.step);
        let norm = self.optimizer.step(learning_rate, arguments)?;
        self.decay *= 1.0 - learning_rate * arguments.weight_decay;
        self.pending.push(loss);
        self.step += 1;
        self.samples += examples as u64;
        let logged = self.step.is_multiple_of(arguments.logging_steps as u64) || self.step == self.plan.total;
        let record = logged.then(|| self.record(&norm, learning_rate)).transpose()?;
        self.stepping += computing + clock().saturating_sub(began);
        if let Some(record) = record {
            observer.logged(&record);
        }
        if self.plan.evaluates(&self.trial.arguments, self.step) {
            self.evaluate(shared, clock, observer)?;
        }
        if self.plan.ends_epoch(self.step) && self.step < self.plan.total && !self.ended {
            self.checkpoint(clock(), observer)?;
        }
        Ok(())
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

    /// Evaluates, unless it is told to end: a large split takes longer than a machine that is taken away has. Whoever
    /// goes on from there evaluates first.
    fn evaluate(
        &mut self,
        shared: &Shared,
        clock: &dyn Fn() -> Duration,
        observer: &mut dyn Observer,
    ) -> Result<(), Ended> {
        observer.progress(Phase::Evaluating, self.step, self.plan.total);
        self.owes_evaluation = true;
        // An evaluation needs the room, and nobody the gradients.
        self.optimizer.clear()?;
        let mut wanted = Request::GoOn;
        let mut go_on = || {
            match observer.request() {
                Request::GoOn => {}
                request => wanted = request,
            }
            matches!(wanted, Request::GoOn | Request::Checkpoint)
        };
        let report = self.evaluation(shared).report(&self.model, &shared.data.validation, &mut go_on)?;
        if let Some(report) = report {
            self.evaluated(report, shared, observer)?;
            self.owes_evaluation = false;
        }
        if self.ended {
            // What follows is no training that could go on from a checkpoint.
            return Ok(());
        }
        self.obey(wanted, clock(), observer)
    }

    /// Takes what an evaluation measured.
    fn evaluated(
        &mut self,
        report: Report,
        shared: &Shared,
        observer: &mut dyn Observer,
    ) -> Result<(), Ended> {
        let scores = report.scores();
        if !scores.loss.is_finite() {
            let step = self.step;
            return Err(Ended::Diverged(format!("the validation loss is {} at step {step}", scores.loss)));
        }
        let record = EvaluationRecord { step: self.step, epoch: self.plan.epochs(self.step), scores };
        observer.evaluated(&record);
        let before = self.best.as_ref().map(|best| self.judge.value(&best.record));
        let verdict = self.judge.verdict(self.judge.value(&record), before, self.waited);
        self.waited = verdict.waited;
        if verdict.best {
            match &mut self.best {
                Some(best) => {
                    best.record = record;
                    best.confusion = report.confusion;
                    best.decay = self.decay;
                    best.parameters.restore(&self.trial.parameters)?;
                }
                None => {
                    let parameters = self.trial.parameters.copied(shared.device)?;
                    let (confusion, decay) = (report.confusion, self.decay);
                    self.best = Some(Best { record, confusion, parameters, decay });
                }
            }
        }
        if verdict.stop && self.step < self.plan.total {
            tracing::info!(step = self.step, waited = verdict.waited, "stops early");
            self.ended = true;
        }
        Ok(())
    }

    /// The best evaluation's weights, and what they reach on the test split.
    pub(super) fn finish(
        mut self,
        shared: &Shared,
        now: Duration,
        observer: &mut dyn Observer,
    ) -> Result<Finished, Ended> {
        let Some(best) = self.best.take() else {
            return Err(Ended::Internal("the training ended without an evaluation".to_owned()));
        };
        observer.progress(Phase::Finishing, self.step, self.plan.total);
        self.trial.parameters.restore(&best.parameters)?;
        let split = shared.data.test.as_ref();
        let evaluation = self.evaluation(shared);
        let test = split.map(|split| evaluation.in_full(&self.model, split)).transpose()?;
        let (test, mistakes) = test.map_or((None, Vec::new()), |(report, mistakes)| (Some(report), mistakes));
        Ok(Finished {
            parameters: best.parameters,
            best: best.record,
            confusion: best.confusion,
            test,
            mistakes,
            steps: self.step,
            samples: self.samples,
            stepping: self.stepping,
            seconds: self.spent + now.saturating_sub(self.began),
            decay: best.decay,
        })
    }

    fn evaluation(&self, shared: &Shared) -> Evaluation {
        Evaluation {
            classes: shared.data.classes.len(),
            batch: self.trial.arguments.per_device_eval_batch_size,
            smoothing: self.trial.arguments.label_smoothing_factor,
            device: shared.device,
            kind: shared.storage,
        }
    }
}

fn source(trial: &Trial, shared: &Shared, plan: Plan) -> Source {
    Source {
        data: Arc::clone(&shared.data),
        arguments: trial.arguments.clone(),
        plan,
        tensors: (!shared.batched).then_some((shared.device, shared.storage)),
    }
}
