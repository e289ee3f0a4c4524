//! Interrupted anywhere and resumed, a trial has the numbers that it has undisturbed, to the last bit.

use std::{
    fs,
    path::{Path, PathBuf},
};

use distilsweep_proto::params::{Params, Value};
use distilsweep_worker::{
    torch::{Options, TorchTrainer},
    trainer::{Ended, EvaluationRecord, Request, StepRecord, Trained, Trainer},
};
use tempfile::TempDir;

use crate::support::{Heard, job, params, train, trainer};

const STEPS: u64 = 26;

fn trial() -> Params {
    params(
        r#"{"max_steps": 26, "learning_rate": 1e-3, "per_device_train_batch_size": 6, "weight_decay": 0.1,
            "warmup_steps": 3, "dropout": 0.2, "attention_dropout": 0.1, "seed": 4, "early_stopping_patience": 9,
            "logging_steps": 4}"#,
    )
}

fn options() -> Options {
    Options { threads: Some(1), ..Options::default() }
}

/// What all attempts told together, as a coordinator keeps it: the first of each step.
#[derive(Default)]
struct Record {
    steps: Vec<StepRecord>,
    evaluations: Vec<EvaluationRecord>,
}

impl Record {
    fn add(&mut self, heard: &Heard) {
        for step in &heard.steps {
            if self.steps.iter().all(|kept| kept.step != step.step) {
                self.steps.push(*step);
            }
        }
        for evaluation in &heard.evaluations {
            if self.evaluations.iter().all(|kept| kept.step != evaluation.step) {
                self.evaluations.push(*evaluation);
            }
        }
    }
}

fn attempt(
    params: &Params,
    resume: Vec<PathBuf>,
    ask: Option<(u64, Request)>,
    checkpoints: &Path,
) -> (Heard, TempDir) {
    let output = TempDir::new().unwrap();
    let mut job = job(params, &output);
    job.checkpoints = true;
    job.resume = resume;
    let mut heard = Heard { ask, checkpoints: Some(checkpoints.to_owned()), ..Heard::default() };
    trainer(options()).train(&[job], &mut [&mut heard]);
    (heard, output)
}

fn weights(output: &TempDir) -> Vec<u8> {
    fs::read(output.path().join("model/model.safetensors")).unwrap()
}

fn measured(trained: &Trained) -> (EvaluationRecord, u64) {
    (trained.best, trained.steps)
}

#[test]
fn a_trial_handed_back_at_every_step_and_resumed_has_the_undisturbed_numbers_to_the_last_bit() {
    let (whole, whole_trained, whole_output) = train(&mut trainer(options()), &trial());
    for step in 1..STEPS {
        let checkpoints = TempDir::new().unwrap();
        let mut record = Record::default();
        let ask = Some((step, Request::HandBack));
        let (first, _) = attempt(&trial(), Vec::new(), ask, checkpoints.path());
        assert!(matches!(first.ended, Some(Err(Ended::Stopped))), "{:?}", first.ended);
        assert_eq!(first.kept.last(), Some(&step));
        record.add(&first);
        let from = vec![checkpoints.path().join(step.to_string())];
        let (second, output) = attempt(&trial(), from, None, checkpoints.path());
        assert_eq!(second.steps.first().map(|record| record.step), Some(step + 1), "no step is repeated");
        record.add(&second);
        assert_eq!(record.steps, whole.steps, "handed back at step {step}");
        assert_eq!(record.evaluations, whole.evaluations, "handed back at step {step}");
        let trained = second.ended.unwrap().unwrap();
        assert_eq!(measured(&trained), measured(&whole_trained));
        assert!(weights(&output) == weights(&whole_output), "the weights differ after step {step}");
    }
}

#[test]
fn a_trial_that_goes_on_right_behind_an_evaluation_says_so_and_no_other_does() {
    let checkpoints = TempDir::new().unwrap();
    let (whole, _) = attempt(&trial(), Vec::new(), Some((5, Request::Checkpoint)), checkpoints.path());
    assert_eq!((&whole.kept[..], whole.evaluated_before), (&[5, 13][..], None));
    let again = |step: u64| {
        let from = vec![checkpoints.path().join(step.to_string())];
        attempt(&trial(), from, None, checkpoints.path()).0.evaluated_before
    };
    assert_eq!((again(5), again(13)), (None, Some((13, 1.0))));
}

/// The end of the first epoch, and that of the trial.
#[test]
fn a_trial_handed_back_in_the_middle_of_an_evaluation_evaluates_first_where_it_goes_on() {
    let (whole, whole_trained, whole_output) = train(&mut trainer(options()), &trial());
    for step in [13, STEPS] {
        let checkpoints = TempDir::new().unwrap();
        let ask = Some((step, Request::HandBack));
        let (first, _) = attempt(&trial(), Vec::new(), ask, checkpoints.path());
        assert!(matches!(first.ended, Some(Err(Ended::Stopped))), "{:?}", first.ended);
        assert_eq!((first.steps.last().unwrap().step, first.kept.last()), (step, Some(&step)));
        let before = whole.evaluations.iter().filter(|evaluation| evaluation.step < step);
        assert!(first.evaluations.iter().eq(before), "the evaluation was broken off");

        let from = vec![checkpoints.path().join(step.to_string())];
        let (second, output) = attempt(&trial(), from, None, checkpoints.path());
        assert_eq!([first.evaluations, second.evaluations].concat(), whole.evaluations);
        assert_eq!([first.steps, second.steps].concat(), whole.steps);
        assert_eq!(measured(&second.ended.unwrap().unwrap()), measured(&whole_trained));
        assert!(weights(&output) == weights(&whole_output), "the weights differ after step {step}");
    }
}

#[test]
fn an_epoch_leaves_a_checkpoint_and_the_end_none() {
    let checkpoints = TempDir::new().unwrap();
    let (heard, _) = attempt(&trial(), Vec::new(), Some((5, Request::Checkpoint)), checkpoints.path());
    assert_eq!(heard.kept, [5, 13]);
    assert!(heard.ended.unwrap().is_ok());
}

/// The losses since the last record of the curve are part of the state.
#[test]
fn a_record_of_the_curve_spans_an_interruption() {
    let sparse = || TorchTrainer::new(options()).unwrap();
    let output = TempDir::new().unwrap();
    let mut whole = Heard::default();
    sparse().train(&[job(&trial(), &output)], &mut [&mut whole]);
    assert_eq!(whole.steps.iter().map(|record| record.step).collect::<Vec<_>>(), [4, 8, 12, 16, 20, 24, 26]);

    let checkpoints = TempDir::new().unwrap();
    let mut job = job(&trial(), &output);
    job.checkpoints = true;
    let ask = Some((10, Request::HandBack));
    let mut first = Heard { ask, checkpoints: Some(checkpoints.path().to_owned()), ..Heard::default() };
    sparse().train(&[job.clone()], &mut [&mut first]);
    assert_eq!(first.kept, [10]);
    job.resume = vec![checkpoints.path().join("10")];
    let mut second = Heard::default();
    sparse().train(&[job], &mut [&mut second]);
    first.steps.extend(second.steps);
    assert_eq!(first.steps, whole.steps);
}

#[test]
fn a_torn_or_foreign_checkpoint_is_refused_and_the_one_before_it_used() {
    let (whole, ..) = train(&mut trainer(options()), &trial());
    let checkpoints = TempDir::new().unwrap();
    let ask = Some((9, Request::HandBack));
    attempt(&trial(), Vec::new(), ask, checkpoints.path());
    let sound = checkpoints.path().join("9");

    let torn = checkpoints.path().join("torn");
    fs::create_dir(&torn).unwrap();
    for name in ["training.json", "training.safetensors"] {
        let bytes = fs::read(sound.join(name)).unwrap();
        let kept = if name == "training.json" { bytes.len() } else { bytes.len() / 2 };
        fs::write(torn.join(name), &bytes[..kept]).unwrap();
    }
    let elsewhere = TempDir::new().unwrap();
    let mut other = trial();
    other.insert("seed".to_owned(), Value::Integer(5));
    attempt(&other, Vec::new(), Some((11, Request::HandBack)), elsewhere.path());
    let foreign = elsewhere.path().join("11");
    assert!(foreign.is_dir());

    let from = |paths: &[&Path]| {
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        attempt(&trial(), paths, None, checkpoints.path()).0
    };
    let resumed = from(&[&torn, &foreign, &sound]);
    assert_eq!(resumed.steps, whole.steps[9..]);
    // Without a sound one it starts from its beginning, and ends the same.
    let fresh = from(&[&torn, &foreign, &checkpoints.path().join("missing")]);
    assert_eq!(fresh.steps, whole.steps);
}
