//! A trainer that follows a script: no mathematics, but every event that a real training has, at a chosen pace. With
//! it leases, faults and the coordinator are tested without libtorch. Its result is a function of the trial alone,
//! as a real one's is.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use crate::trainer::{
    Ended, EvaluationRecord, Job, Observer, Phase, Request, Scores, StepRecord, Trained, Trainer,
};

/// The script: how many steps of what length every trial has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptedTrainer {
    /// Optimizer steps of every trial.
    pub steps: u64,
    /// How long each takes.
    pub step_time: Duration,
}

impl FromStr for ScriptedTrainer {
    type Err = String;

    /// Reads `STEPSxMILLISECONDS`.
    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (steps, milliseconds) = text.split_once('x')?;
            Some(Self {
                steps: steps.parse().ok()?,
                step_time: Duration::from_millis(milliseconds.parse().ok()?),
            })
        };
        read().ok_or_else(|| format!("`{text}` is no script, it must be STEPSxMILLISECONDS: 20x50, say"))
    }
}

impl Trainer for ScriptedTrainer {
    fn train(&mut self, jobs: &[Job], observers: &mut [&mut dyn Observer]) {
        for (job, observer) in jobs.iter().zip(observers) {
            let ended = self.trained(job, *observer);
            observer.ended(ended);
        }
    }
}

impl ScriptedTrainer {
    fn trained(&self, job: &Job, observer: &mut dyn Observer) -> Result<Trained, Ended> {
        let score = score(job);
        let mut evaluation = EvaluationRecord { step: 0, epoch: 0.0, scores: Scores::default() };
        for step in 1..=self.steps {
            match observer.request() {
                Request::GoOn | Request::Checkpoint => {}
                Request::Stop | Request::HandBack => return Err(Ended::Stopped),
            }
            std::thread::sleep(self.step_time);
            observer.progress(Phase::Training, step, self.steps);
            let progress = step as f64 / self.steps as f64;
            if step % job.arguments.logging_steps as u64 == 0 {
                observer.logged(&StepRecord {
                    step,
                    loss: 1.0 - score * progress,
                    grad_norm: 1.0,
                    learning_rate: job.arguments.learning_rate,
                });
            }
            if step == self.steps {
                let value = score;
                let scores = Scores {
                    loss: 1.0 - value,
                    accuracy: value,
                    precision: value,
                    recall: value,
                    f1_score: value,
                    f1_macro: value,
                    matthews_correlation: value,
                };
                evaluation = EvaluationRecord { step, epoch: 1.0, scores };
                observer.evaluated(&evaluation);
            }
        }
        let model = job.output.join("model");
        let write = || {
            std::fs::create_dir_all(&model)?;
            std::fs::write(model.join("script.txt"), format!("{score}\n"))
        };
        write()
            .map_err(|error| Ended::Internal(format!("{} cannot be written: {error}", model.display())))?;
        let seconds = self.step_time.as_secs_f64() * self.steps as f64;
        Ok(Trained {
            best: evaluation,
            test: Some(evaluation.scores),
            steps: self.steps,
            seconds,
            steps_per_second: self.steps as f64 / seconds.max(1e-9),
            samples_per_second: 0.0,
            baseline: BTreeMap::from([("eval_f1_score".to_owned(), 0.25)]),
            tags: BTreeMap::from([("device".to_owned(), "scripted".to_owned())]),
        })
    }
}

/// A score from 0 to 1 out of the trial's hyperparameters, the same on every machine.
fn score(job: &Job) -> f64 {
    let text = format!("{:?}", job.params);
    // FNV-1a: short, and fixed for ever, which the standard library's hasher is not.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash >> 11) as f64 / (1u64 << 53) as f64
}
