//! A trial's numbers are its own, whatever else is in its pack.

use distilsweep_proto::params::{Params, Value};
use distilsweep_worker::{
    torch::{Options, Precision},
    trainer::{Ended, Observer, Request, Trainer},
};
use tempfile::TempDir;

use crate::support::{Heard, job, params, train, trainer};

/// The trial that is compared: dropout on, an odd last batch, two epochs.
fn watched() -> Params {
    params(
        r#"{"max_steps": 26, "learning_rate": 1e-3, "per_device_train_batch_size": 6, "weight_decay": 0.1,
            "warmup_steps": 3, "label_smoothing_factor": 0.05, "dropout": 0.2, "attention_dropout": 0.1, "seed": 4}"#,
    )
}

/// Its neighbours: some end early, one diverges, and they differ in all that lanes may differ in.
fn neighbours() -> Vec<Params> {
    let mut others = vec![
        r#"{"max_steps": 4, "learning_rate": 5e-3, "seed": 9}"#,
        r#"{"max_steps": 40, "learning_rate": 1000, "seed": 5, "max_grad_norm": 0, "weight_decay": 1000}"#,
        r#"{"max_steps": 30, "learning_rate": 2e-3, "lr_scheduler_type": "cosine", "seed": 1, "dropout": 0.0}"#,
        r#"{"max_steps": 9, "learning_rate": 1e-4, "weight_decay": 0.3, "seed": 2, "seq_classif_dropout": 0.5}"#,
        r#"{"max_steps": 26, "learning_rate": 1e-3, "label_smoothing_factor": 0.2, "seed": 3}"#,
        r#"{"num_train_epochs": 3, "learning_rate": 1e-3, "early_stopping_patience": 1, "seed": 4}"#,
    ]
    .into_iter()
    .map(params)
    .collect::<Vec<_>>();
    for other in &mut others {
        other.insert("per_device_train_batch_size".to_owned(), Value::Integer(6));
    }
    others
}

/// Trains a pack, and asks the neighbour at place 3, where there is one, to stop after 5 steps.
fn pack(options: Options, trials: &[Params], place: usize) -> Vec<Heard> {
    let outputs: Vec<TempDir> = trials.iter().map(|_| TempDir::new().unwrap()).collect();
    let jobs: Vec<_> = trials.iter().zip(&outputs).map(|(params, output)| job(params, output)).collect();
    let mut heard: Vec<Heard> = trials.iter().map(|_| Heard::default()).collect();
    if place != 3 && trials.len() > 3 {
        heard[3].ask = Some((5, Request::Stop));
    }
    let mut observers: Vec<&mut dyn Observer> = heard.iter_mut().map(|h| h as &mut dyn Observer).collect();
    trainer(options).train(&jobs, &mut observers);
    heard
}

fn packed(size: usize, place: usize) -> Vec<Params> {
    let mut trials = neighbours();
    trials.truncate(size - 1);
    trials.insert(place, watched());
    trials
}

#[test]
fn a_trial_in_turn_with_others_has_the_losses_that_it_has_alone_to_the_last_bit() {
    let (alone, alone_trained, _) = train(&mut trainer(Options::default()), &watched());
    assert_eq!(alone.steps.len(), 26);
    for (size, place) in [(2, 0), (2, 1), (4, 2), (7, 0), (7, 3), (7, 6)] {
        let heard = pack(Options::default(), &packed(size, place), place);
        let watched = &heard[place];
        assert_eq!(watched.steps, alone.steps, "at place {place} of {size}");
        assert_eq!(watched.evaluations, alone.evaluations, "at place {place} of {size}");
        let trained = watched.ended.as_ref().unwrap().as_ref().unwrap();
        assert_eq!((trained.best, trained.steps), (alone_trained.best, alone_trained.steps));
    }
}

/// The faults beside it fired: one diverged, one was stopped, one stopped early.
#[test]
fn lanes_end_each_in_its_own_way() {
    let heard = pack(Options::default(), &packed(7, 0), 0);
    let ended: Vec<_> = heard.iter().map(|h| h.ended.as_ref().unwrap()).collect();
    assert_eq!(ended[0].as_ref().unwrap().steps, 26);
    assert_eq!(ended[1].as_ref().unwrap().steps, 4);
    assert!(matches!(ended[2], Err(Ended::Diverged(_))), "{:?}", ended[2]);
    assert!(matches!(ended[3], Err(Ended::Stopped)), "{:?}", ended[3]);
    assert_eq!(heard[3].steps.len(), 5);
    let early = ended[6].as_ref().unwrap();
    assert!(early.steps < 39 && early.steps.is_multiple_of(13), "{}", early.steps);
}

fn batched(precision: Precision) -> Options {
    Options { batched: Some(true), precision: Some(precision), ..Options::default() }
}

fn follows_alone(precision: Precision, tolerance: f64) {
    let mut long = watched();
    long.insert("max_steps".to_owned(), Value::Integer(100));
    let alone_options = Options { precision: Some(precision), ..Options::default() };
    let (alone, ..) = train(&mut trainer(alone_options), &long);
    for (size, place) in [(2, 1), (4, 0), (7, 5)] {
        let mut trials = packed(size, place);
        trials[place] = long.clone();
        let heard = pack(batched(precision), &trials, place);
        assert_eq!(heard[place].steps.len(), 100);
        for (got, alone) in heard[place].steps.iter().zip(&alone.steps) {
            let difference = (got.loss - alone.loss).abs() / alone.loss;
            assert!(difference < tolerance, "step {} at {place} of {size}: off by {difference:e}", got.step);
        }
    }
}

#[test]
fn a_trial_batched_with_others_follows_itself_alone_in_double_precision() {
    follows_alone(Precision::Fp64, 1e-8);
}

#[test]
fn a_trial_batched_with_others_follows_itself_alone_in_single_precision() {
    follows_alone(Precision::Fp32, 2e-4);
}

/// Three micro-batches of 2 are the batch of 6, in turn and batched.
#[test]
fn micro_batches_of_a_pack_add_up_to_its_batch() {
    let mut cut = watched();
    cut.insert("per_device_train_batch_size".to_owned(), Value::Integer(2));
    cut.insert("gradient_accumulation_steps".to_owned(), Value::Integer(3));
    // An epoch's last window differs: Trainer gives each of its micro-batches the same weight.
    let whole_steps = 12;
    for in_one_pass in [false, true] {
        let options = |batched| Options {
            batched: Some(batched),
            precision: Some(Precision::Fp64),
            ..Options::default()
        };
        let (alone, ..) = train(&mut trainer(options(false)), &watched());
        let mut other = cut.clone();
        other.insert("seed".to_owned(), Value::Integer(8));
        let heard = pack(options(in_one_pass), &[cut.clone(), other], 0);
        assert_eq!(heard[0].steps.len(), 26);
        for (got, alone) in heard[0].steps.iter().zip(&alone.steps).take(whole_steps) {
            let difference = (got.loss - alone.loss).abs() / alone.loss;
            assert!(difference < 1e-8, "step {}, batched {in_one_pass}: {difference:e}", got.step);
        }
    }
}

#[test]
fn a_pack_whose_structural_parameters_differ_is_refused_by_name() {
    let mut other = watched();
    other.insert("per_device_train_batch_size".to_owned(), Value::Integer(8));
    let heard = pack(Options::default(), &[watched(), other], 0);
    for heard in &heard {
        let Some(Err(Ended::BadPoint(why))) = &heard.ended else { panic!("{:?}", heard.ended) };
        assert_eq!(
            why,
            "trials of one pack must agree in `per_device_train_batch_size`: one has 6, another 8"
        );
    }
}

/// A point that cannot be trained ends its own lane alone.
#[test]
fn a_bad_point_does_not_touch_its_pack() {
    let mut bad = watched();
    bad.insert("lr_scheduler_type".to_owned(), Value::Text("polynomial".to_owned()));
    bad.insert("learning_rate".to_owned(), Value::Number(1e-8));
    let (alone, ..) = train(&mut trainer(Options::default()), &watched());
    let heard = pack(Options::default(), &[bad, watched()], 1);
    assert!(matches!(heard[0].ended, Some(Err(Ended::BadPoint(_)))));
    assert_eq!(heard[1].steps, alone.steps);
}
