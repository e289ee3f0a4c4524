//! Trains trials of the tiny fixture in this process, and hears all that they tell.

use std::{
    fs,
    path::{Path, PathBuf},
};

use distilsweep_proto::{
    dataset::{DatasetSource, DatasetSpec, Labels},
    names::{DEFAULT_METRIC, Selection},
    params::{Params, TrainingArguments},
};
use distilsweep_worker::{
    torch::{Options, TorchTrainer},
    trainer::{
        Checkpoint, Ended, EvaluationRecord, Job, Observer, Phase, Request, StepRecord, Trained, Trainer,
    },
};
use tempfile::TempDir;

/// A tiny DistilBERT and its data; see its README.
pub(crate) fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/fixture")
}

/// What a trial told, and what is asked of it.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) steps: Vec<StepRecord>,
    pub(crate) evaluations: Vec<EvaluationRecord>,
    /// Step and epoch of the evaluation that it went on from.
    pub(crate) evaluated_before: Option<(u64, f64)>,
    pub(crate) ended: Option<Result<Trained, Ended>>,
    /// Asked once, before the step after this many.
    pub(crate) ask: Option<(u64, Request)>,
    /// Where checkpoints are written, by step.
    pub(crate) checkpoints: Option<PathBuf>,
    /// Steps of the checkpoints that were written.
    pub(crate) kept: Vec<u64>,
    /// Where it is.
    pub(crate) step: u64,
}

impl Observer for Heard {
    fn progress(&mut self, _phase: Phase, step: u64, _total: u64) {
        self.step = step;
    }

    fn logged(&mut self, record: &StepRecord) {
        self.steps.push(*record);
    }

    fn evaluated(&mut self, record: &EvaluationRecord) {
        self.evaluations.push(*record);
    }

    fn evaluated_before(&mut self, step: u64, epoch: f64) {
        self.evaluated_before = Some((step, epoch));
    }

    fn request(&mut self) -> Request {
        match self.ask {
            Some((step, request)) if step == self.step => {
                self.ask = None;
                request
            }
            _ => Request::GoOn,
        }
    }

    fn checkpointed(&mut self, checkpoint: Checkpoint) {
        if let Some(root) = &self.checkpoints {
            let directory = root.join(checkpoint.step.to_string());
            fs::create_dir_all(&directory).unwrap();
            (checkpoint.write)(&directory).unwrap();
            self.kept.push(checkpoint.step);
        }
    }

    fn measured(&mut self, _lane_bytes: u64) {}

    fn ended(&mut self, ended: Result<Trained, Ended>) {
        assert!(self.ended.replace(ended).is_none(), "a trial ended twice");
    }
}

pub(crate) fn params(json: &str) -> Params {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn job(params: &Params, output: &TempDir) -> Job {
    let selection = Selection::named(DEFAULT_METRIC).unwrap();
    Job {
        model: fixture().join("start").to_str().unwrap().to_owned(),
        model_revision: None,
        dataset: DatasetSpec {
            labels: Labels::Names(["praise", "blame", "fact"].map(str::to_owned).to_vec()),
            ..DatasetSpec::of(DatasetSource::Files {
                train: vec![fixture().join("train.csv")],
                validation: vec![fixture().join("validation.csv")],
                test: Vec::new(),
            })
        },
        params: params.clone(),
        arguments: TrainingArguments::from_params(params).unwrap(),
        selection,
        maximize: selection.maximize,
        output: output.path().to_owned(),
        checkpoints: false,
        resume: Vec::new(),
    }
}

pub(crate) fn trainer(options: Options) -> TorchTrainer {
    TorchTrainer::new(Options { threads: Some(1), log_every_step: true, ..options }).unwrap()
}

/// Trains one trial to its result.
pub(crate) fn train(trainer: &mut TorchTrainer, params: &Params) -> (Heard, Trained, TempDir) {
    let output = TempDir::new().unwrap();
    let mut heard = Heard::default();
    trainer.train(&[job(params, &output)], &mut [&mut heard]);
    let trained = heard.ended.take().unwrap().unwrap();
    (heard, trained, output)
}

pub(crate) fn assert_close(what: &str, step: u64, got: f64, recorded: f64, tolerance: f64) {
    let difference = (got - recorded).abs() / recorded.abs();
    assert!(
        difference < tolerance,
        "{what} of step {step} is {got}, recorded {recorded}: off by {difference:e}"
    );
}
