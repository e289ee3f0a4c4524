//! Points that are drawn: which, and what is refused.

use std::collections::BTreeSet;

use super::*;
use crate::spec::Method;

pub(super) const RANDOM: &str = "\
name: demo
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: random
run_cap: 200
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-3}
  per_device_train_batch_size: {values: [16, 32], probabilities: [0.75, 0.25]}
  num_train_epochs: {min: 1, max: 4}
  weight_decay: {min: 0.0, max: 0.1}
  max_length: {value: 64}
";

fn instead(of: &str, line: &str) -> String {
    assert!(RANDOM.contains(of), "{of}");
    problems(&RANDOM.replace(of, line))
}

fn number(spec: &SweepSpec, index: u64, name: &str) -> f64 {
    match spec.space.point(index)[name] {
        Value::Number(number) => number,
        Value::Integer(integer) => integer as f64,
        ref other => panic!("{other} is no number"),
    }
}

#[test]
fn a_random_sweep_draws_as_many_points_as_it_is_capped_at() {
    let spec = good(RANDOM);
    assert_eq!((spec.method, spec.space.len()), (Method::Random, 200));
    assert_eq!(
        spec.space.varied(),
        ["learning_rate", "per_device_train_batch_size", "num_train_epochs", "weight_decay"]
    );
    let rates: Vec<f64> = (0..200).map(|index| number(&spec, index, "learning_rate")).collect();
    assert!(rates.iter().all(|rate| (1e-5..=1e-3).contains(rate)));
    let low = rates.iter().filter(|rate| **rate < 1e-4).count();
    assert!((75..=125).contains(&low), "half of the logarithms lie below the middle: {low}");
    let large = (0..200).filter(|i| number(&spec, *i, "per_device_train_batch_size") == 32.0).count();
    assert!((30..=70).contains(&large), "a quarter of 200: {large}");
    let epochs: BTreeSet<u64> = (0..200).map(|i| number(&spec, i, "num_train_epochs") as u64).collect();
    assert_eq!(epochs.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn points_depend_on_the_seed_and_their_number_alone() {
    let spec = good(RANDOM);
    let larger = good(&RANDOM.replace("run_cap: 200", "run_cap: 5000"));
    // One parameter more, before the others.
    let wider = good(&RANDOM.replace("parameters:\n", "parameters:\n  dropout: {min: 0.0, max: 0.3}\n"));
    let other = good(&format!("{RANDOM}seed: 1\n"));
    for index in [0, 1, 77, 199] {
        let point = spec.space.point(index);
        assert_eq!(larger.space.point(index), point);
        let mut without = wider.space.point(index);
        without.remove("dropout");
        assert_eq!(without, point);
        assert_ne!(other.space.point(index), point);
    }
    // What a stored sweep has drawn must never change.
    insta::assert_snapshot!(serde_json::to_string(&spec.space.point(7)).unwrap(), @r#"{"learning_rate":0.000141406,"max_length":64,"num_train_epochs":3.0,"per_device_train_batch_size":16,"weight_decay":0.0335389}"#);
    let read: SweepSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(read, spec);
}

#[test]
fn quasi_random_points_cover_the_space_more_evenly_than_random_ones() {
    let quasi = good(&RANDOM.replace("method: random", "method: quasi-random").replace("200", "64"));
    let random = good(&RANDOM.replace("200", "64"));
    // Cells of an 8 by 8 grid over learning rate and weight decay that have a point.
    let covered = |spec: &SweepSpec| {
        let cell = |index| {
            let rate = (number(spec, index, "learning_rate").log10() + 5.0) / 2.0;
            let decay = number(spec, index, "weight_decay") / 0.1;
            ((rate * 8.0).min(7.0) as u64, (decay * 8.0).min(7.0) as u64)
        };
        (0..64).map(cell).collect::<BTreeSet<_>>().len()
    };
    assert!(covered(&quasi) > covered(&random) + 5, "{} {}", covered(&quasi), covered(&random));
    assert_eq!(quasi.method, Method::QuasiRandom);
}

#[test]
fn a_search_that_learns_is_written_as_a_random_one_and_knows_no_point_beforehand() {
    let spec = good(&RANDOM.replace("method: random", "method: bayes"));
    assert_eq!((spec.method, spec.space.len()), (Method::Bayes, 200));
    assert_eq!(spec.space.varied(), good(RANDOM).space.varied());
    insta::assert_snapshot!(serde_json::to_string(&spec.space.point(7)).unwrap(), @r#"{"max_length":64}"#);
    let mut proposed = spec.clone();
    proposed.space.propose(7, vec![0.5; 5]);
    assert_eq!(proposed.space.point(7).len(), 5);
    assert_eq!(proposed.digest(), spec.digest(), "a proposal is no part of the file");
    let read: SweepSpec = serde_json::from_str(&serde_json::to_string(&proposed).unwrap()).unwrap();
    assert_eq!(read, spec);
    let repeated = good(&format!("{}repeats: 3\n", RANDOM.replace("method: random", "method: bayes")));
    assert_eq!(repeated.space.unproposed(7).map(|(_, draw)| draw), Some(2));
}

#[test]
fn repeats_are_seeds_of_the_same_setting() {
    let drawn = good(&format!("{RANDOM}repeats: 3\n"));
    assert_eq!(drawn.space.len(), 600);
    for index in 0..9 {
        let mut point = drawn.space.point(index);
        assert_eq!(point.remove("seed"), Some(Value::Integer((index % 3) as i64 + 1)));
        assert_eq!(point, good(RANDOM).space.point(index / 3));
    }
    assert_eq!(drawn.space.varied().last(), Some(&"seed"));
    let grid = good(&format!("{GOOD}repeats: 3\n"));
    assert_eq!((grid.space.len(), grid.space.varied()), (6, vec!["learning_rate", "seed"]));
    insta::assert_snapshot!(and("  seed: {values: [1, 2]}\nrepeats: 2"), @"
    sweep.yaml:5:1: `repeats` gives every setting seeds of its own: remove `seed` from `parameters`, or `repeats`
    sweep.yaml:5:1: `seed` is listed twice, once is enough
    ");
}

#[test]
fn points_that_differ_in_structure_share_no_pack_and_those_that_do_not_may() {
    let spec = good(RANDOM);
    let digits = spec.space.digits(&["max_length"]);
    assert_eq!(digits, [(0, Vec::new())]);
    let [(0, apart)] = &spec.space.digits(&["per_device_train_batch_size"])[..] else { panic!("one part") };
    assert_eq!((apart[0].stride, apart[0].base), (1, u64::MAX));
}

#[test]
fn what_cannot_be_drawn_is_refused_with_what_would_be_right() {
    let shown = [
        instead("run_cap: 200\n", ""),
        instead("run_cap: 200", "run_cap: 0"),
        instead("min: 1e-5, max: 1e-3", "min: 1e-3, max: 1e-5"),
        instead("min: 1e-5, max: 1e-3", "min: 0, max: 1e-3"),
        instead("min: 1e-5, max: 1e-3", "min: .nan, max: 1e-3"),
        instead("min: 1e-5, max: 1e-3", "min: 1e-5, max: .inf"),
        instead("min: 1e-5, max: 1e-3", "min: 1e-5"),
        instead("log_uniform_values", "log_uniform_value"),
        instead(
            "distribution: log_uniform_values, min: 1e-5, max: 1e-3",
            "distribution: log_uniform, min: 0, max: 9",
        ),
        instead("min: 1e-5, max: 1e-3", "mu: 1"),
        instead(
            "distribution: log_uniform_values, min: 1e-5, max: 1e-3",
            "distribution: normal, mu: 0, sigma: 0",
        ),
        instead("[0.75, 0.25]", "[0.75, 0.3]"),
        instead("[0.75, 0.25]", "[0.75]"),
        instead("[0.75, 0.25]", "[1.5, -0.5]"),
        instead("{min: 1, max: 4}", "{min: 4, max: 1}"),
        instead("{min: 1, max: 4}", "{}"),
        instead("{value: 64}", "{min: 32.5, max: 64.5}"),
        instead("{value: 64}", "{value: 64}\n  lr_scheduler_type: {min: 0.5, max: 1.5}"),
        instead("method: random\nrun_cap: 200", "method: bayes"),
        instead("method: random\nrun_cap: 200", "method: bayes\nrun_cap: 10001"),
        instead("method: random", "method: quasi-random\nseed: -1"),
        and("seed: 3"),
        with("  learning_rate", "  learning_rate: {min: 1e-5, max: 1e-3}"),
    ];
    insta::assert_snapshot!(shown.join("\n"), @"
    sweep.yaml:5:1: missing key `run_cap`: how many points are drawn, each of which is a trial, or `repeats` trials
    sweep.yaml:5:10: `run_cap` is 0, it must be a whole number from 1 to 9223372036854775808
    sweep.yaml:7:69: `max` must be above `min`, they are 0.00001 and 0.001
    sweep.yaml:7:66: `min` is 0, a logarithm needs it above 0
    sweep.yaml:7:58: `min` is .nan, it must be a finite number
    sweep.yaml:7:69: `max` is .inf, it must be a finite number
    sweep.yaml:7:18: missing key `max` in `learning_rate`
    sweep.yaml:7:33: unknown distribution `log_uniform_value`, did you mean `log_uniform_values`?
    sweep.yaml:7:59: `learning_rate` would lie between 1 and 8103.083927575384, it must be a number from 0 to 1000: the bounds of log_uniform are exponents of e, `distribution: log_uniform_values` takes the values
    sweep.yaml:7:53: `mu` has no part in log_uniform_values, it has `min`, `max`
    sweep.yaml:7:55: `sigma` is 0, it must be above 0
    sweep.yaml:8:66: `probabilities` adds up to 1.05, it must add up to 1
    sweep.yaml:8:66: `probabilities` has 1 entries for 2 values, it must have one for each
    sweep.yaml:8:66: `probabilities` must be a list of numbers from 0 to 1
    sweep.yaml:9:35: `max` is 1, it must be above `min`, which is 4
    sweep.yaml:9:21: `num_train_epochs` needs `value: V`, `values: [V, …]`, or `min` and `max`
    sweep.yaml:11:3: `max_length` is a whole number: write whole `min` and `max`, `values: […]`, or `distribution: q_uniform` with `q: 1`
    sweep.yaml:12:3: `lr_scheduler_type` is one of linear, cosine, polynomial, constant, constant_with_warmup, list them as `values: […]`
    sweep.yaml:5:1: missing key `run_cap`: how many points are drawn, each of which is a trial, or `repeats` trials
    sweep.yaml:5:10: `run_cap` is 10001, it must be a whole number from 1 to 10000
    sweep.yaml:5:7: `seed` is -1, it must be a whole number from 0 to 9223372036854775807
    sweep.yaml:7:1: `seed` seeds the drawing of points, which a grid has not: the seeds of trials are values of `seed` in `parameters`
    sweep.yaml:6:18: `learning_rate` is any number of a range, and `method: grid` needs them one by one: `values: [V, …]`, two whole numbers as `min` and `max`, or `distribution: q_uniform` with `q`; `method: random` draws
    ");
}

proptest! {
    #[test]
    fn every_point_is_one_that_a_trial_may_have(seed in 0..i64::MAX, cap in 1_u64..1 << 40, index in 0_u64..) {
        let spec = good(&RANDOM.replace("run_cap: 200", &format!("run_cap: {cap}\nseed: {seed}")));
        let point = spec.space.point(index % cap);
        prop_assert_eq!(point.len(), 5);
        for (name, value) in &point {
            let parameter = distilsweep_proto::params::Parameter::named(name).unwrap();
            prop_assert_eq!(&parameter.check(value).unwrap(), value);
        }
        prop_assert_eq!(spec.space.point(index % cap), point);
    }
}
