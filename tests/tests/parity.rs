//! The worker against transformers' Trainer, as `parity/` has recorded it.
#![expect(clippy::unwrap_used, reason = "tests and their helpers")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use distilsweep_data::shuffled;
use distilsweep_proto::{
    dataset::{DatasetSource, DatasetSpec, Limits},
    names::{DEFAULT_METRIC, Selection},
    params::{Params, TrainingArguments},
};
use distilsweep_worker::{
    torch::{Options, Precision, TorchTrainer},
    trainer::{
        Checkpoint, Ended, EvaluationRecord, Job, Observer, Phase, Request, StepRecord, Trained, Trainer,
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use tempfile::TempDir;

/// Largest relative difference: what double precision leaves after 200 steps, with room.
const TOLERANCE: f64 = 1e-8;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/fixture")
}

fn lines<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[derive(Default)]
struct Heard {
    steps: Vec<StepRecord>,
    evaluations: Vec<EvaluationRecord>,
    ended: Option<Result<Trained, Ended>>,
}

impl Observer for Heard {
    fn progress(&mut self, _phase: Phase, _step: u64, _total: u64) {}

    fn logged(&mut self, record: &StepRecord) {
        self.steps.push(*record);
    }

    fn evaluated(&mut self, record: &EvaluationRecord) {
        self.evaluations.push(*record);
    }

    fn request(&mut self) -> Request {
        Request::GoOn
    }

    fn checkpointed(&mut self, _checkpoint: Checkpoint) {}

    fn measured(&mut self, _lane_bytes: u64) {}

    fn ended(&mut self, ended: Result<Trained, Ended>) {
        self.ended = Some(ended);
    }
}

fn job(params: &Params, output: &TempDir) -> Job {
    let selection = Selection::named(DEFAULT_METRIC).unwrap();
    Job {
        model: fixture().join("start").to_str().unwrap().to_owned(),
        model_revision: None,
        dataset: DatasetSpec {
            source: DatasetSource::Files {
                train: fixture().join("train.csv"),
                validation: Some(fixture().join("validation.csv")),
                test: None,
            },
            text: None,
            label: None,
            labels: ["praise", "blame", "fact"].map(str::to_owned).to_vec(),
            limit: Limits::default(),
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

fn train(trainer: &mut TorchTrainer, params: &Params) -> (Heard, Trained, TempDir) {
    let output = TempDir::new().unwrap();
    let mut heard = Heard::default();
    trainer.train(&[job(params, &output)], &mut [&mut heard]);
    let trained = heard.ended.take().unwrap().unwrap();
    (heard, trained, output)
}

fn trainer(options: Options) -> TorchTrainer {
    TorchTrainer::new(Options { threads: Some(1), log_every_step: true, ..options }).unwrap()
}

fn params(json: &str) -> Params {
    serde_json::from_str(json).unwrap()
}

fn assert_close(what: &str, step: u64, got: f64, recorded: f64, tolerance: f64) {
    let difference = (got - recorded).abs() / recorded.abs();
    assert!(
        difference < tolerance,
        "{what} of step {step} is {got}, recorded {recorded}: off by {difference:e}"
    );
}

#[derive(Deserialize)]
struct RecordedEvaluation {
    step: u64,
    epoch: f64,
    loss: f64,
    accuracy: f64,
    f1_score: f64,
    f1_macro: f64,
}

fn follows_the_trainer(case: &str, tolerance: f64) {
    let directory = fixture().join(case);
    let params = params(&fs::read_to_string(directory.join("params.json")).unwrap());
    let mut trainer =
        trainer(Options { precision: Some(Precision::Fp64), dropout: Some(0.0), ..Options::default() });
    let (heard, _, _) = train(&mut trainer, &params);

    let recorded: Vec<StepRecord> = lines(&directory.join("steps.jsonl"));
    assert_eq!(heard.steps.len(), recorded.len());
    for (got, recorded) in heard.steps.iter().zip(&recorded) {
        assert_eq!((got.step, got.learning_rate), (recorded.step, recorded.learning_rate));
        assert_close("loss", got.step, got.loss, recorded.loss, tolerance);
        assert_close("gradient norm", got.step, got.grad_norm, recorded.grad_norm, tolerance);
    }
    let recorded: Vec<RecordedEvaluation> = lines(&directory.join("evals.jsonl"));
    assert_eq!(heard.evaluations.len(), recorded.len());
    for (got, recorded) in heard.evaluations.iter().zip(&recorded) {
        assert_eq!((got.step, got.epoch), (recorded.step, recorded.epoch));
        assert_close("evaluation loss", got.step, got.scores.loss, recorded.loss, tolerance);
        assert_close("accuracy", got.step, got.scores.accuracy, recorded.accuracy, tolerance);
        assert_close("weighted F1", got.step, got.scores.f1_score, recorded.f1_score, tolerance);
        assert_close("macro F1", got.step, got.scores.f1_macro, recorded.f1_macro, tolerance);
    }
}

#[test]
fn two_hundred_steps_follow_the_trainer_in_double_precision() {
    follows_the_trainer("linear", TOLERANCE);
}

#[test]
fn accumulation_and_cosine_follow_the_trainer_in_double_precision() {
    follows_the_trainer("accumulated", TOLERANCE);
}

/// Trainer itself sums smoothed losses in single precision.
#[test]
fn label_smoothing_and_other_betas_follow_the_trainer() {
    follows_the_trainer("smoothed", 1e-5);
}

#[test]
fn the_data_order_is_the_trainer_s() {
    for case in ["linear", "accumulated", "smoothed"] {
        let directory = fixture().join(case);
        let params = params(&fs::read_to_string(directory.join("params.json")).unwrap());
        let arguments = TrainingArguments::from_params(&params).unwrap();
        let recorded: Vec<Vec<u32>> =
            serde_json::from_str(&fs::read_to_string(directory.join("order.json")).unwrap()).unwrap();
        let examples = 77;
        let ours = (0..).flat_map(|epoch| {
            let order = shuffled(examples, arguments.data_seed.unwrap_or(arguments.seed) + epoch);
            order.chunks(arguments.per_device_train_batch_size).map(<[u32]>::to_vec).collect::<Vec<_>>()
        });
        assert_eq!(ours.take(recorded.len()).collect::<Vec<_>>(), recorded, "{case}");
    }
}

const WITH_DROPOUT: &str = r#"{"max_steps": 30, "learning_rate": 1e-3, "per_device_train_batch_size": 6}"#;

fn noisy() -> Options {
    Options { dropout: Some(0.2), ..Options::default() }
}

#[test]
fn a_trial_s_numbers_do_not_depend_on_what_ran_before() {
    let a = params(WITH_DROPOUT);
    let b = params(r#"{"max_steps": 7, "learning_rate": 5e-3, "seed": 9, "per_device_train_batch_size": 4}"#);
    let (alone, alone_trained, alone_output) = train(&mut trainer(noisy()), &a);
    let mut shared = trainer(noisy());
    train(&mut shared, &b);
    let (after, after_trained, after_output) = train(&mut shared, &a);
    assert_eq!(alone.steps, after.steps);
    assert_eq!(alone.evaluations, after.evaluations);
    assert_eq!(alone_trained.best, after_trained.best);
    let weights = |output: &TempDir| fs::read(output.path().join("model/model.safetensors")).unwrap();
    assert!(weights(&alone_output) == weights(&after_output), "the saved weights differ");
}

#[test]
fn the_seed_alone_decides_what_dropout_drops() {
    let of = |seed: u64| {
        let mut params = params(WITH_DROPOUT);
        params.insert("seed".to_owned(), distilsweep_proto::params::Value::Integer(seed as i64));
        params.insert("data_seed".to_owned(), distilsweep_proto::params::Value::Integer(1));
        train(&mut trainer(noisy()), &params).0.steps
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

/// The keys of dropout number examples within the optimizer step, so cutting the step into micro-batches of equal
/// size changes rounding at most.
#[test]
fn micro_batches_change_neither_dropout_nor_the_result() {
    let options = Options { precision: Some(Precision::Fp64), ..noisy() };
    let whole = params(r#"{"max_steps": 8, "learning_rate": 1e-3, "per_device_train_batch_size": 6}"#);
    let cut = params(
        r#"{"max_steps": 8, "learning_rate": 1e-3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}"#,
    );
    let (whole, _, _) = train(&mut trainer(options), &whole);
    let (cut, _, _) = train(&mut trainer(options), &cut);
    for (whole, cut) in whole.steps.iter().zip(&cut.steps) {
        assert_close("loss", cut.step, cut.loss, whole.loss, TOLERANCE);
        assert_close("gradient norm", cut.step, cut.grad_norm, whole.grad_norm, TOLERANCE);
    }
}

/// bfloat16 has eight bits of significand: single products are off by up to 0.4 %.
#[test]
fn bfloat16_stays_near_single_precision() {
    let params = params(WITH_DROPOUT);
    let (single, _, _) = train(&mut trainer(noisy()), &params);
    let (half, _, _) = train(&mut trainer(Options { precision: Some(Precision::Bf16), ..noisy() }), &params);
    assert_ne!(single.steps, half.steps);
    for (single, half) in single.steps.iter().zip(&half.steps) {
        assert_close("loss", half.step, half.loss, single.loss, 0.05);
    }
}

/// A saved model trained for no step is evaluated as it is: the same numbers, so the same weights and predictions.
#[test]
fn a_saved_model_loads_again_with_the_same_scores() {
    let (_, trained, output) = train(&mut trainer(noisy()), &params(WITH_DROPOUT));
    let again = TempDir::new().unwrap();
    let mut job = job(&params(r#"{"num_train_epochs": 0}"#), &again);
    job.model = output.path().join("model").to_str().unwrap().to_owned();
    let mut heard = Heard::default();
    trainer(Options::default()).train(&[job], &mut [&mut heard]);
    let loaded = heard.ended.unwrap().unwrap();
    assert_eq!(loaded.steps, 0);
    assert_eq!(loaded.best.scores, trained.best.scores);
}
