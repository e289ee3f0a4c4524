//! What a search finds, and what its proposals depend on.

use distilsweep_proto::params::Params;

use super::*;
use crate::spec::{self, Space};

/// A metric of which less is better.
fn lowest() -> MetricSpec {
    MetricSpec { maximize: false, ..MetricSpec::default() }
}

const SEARCH: &str = "\
name: demo
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: bayes
run_cap: 200
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-6, max: 1e-2}
  weight_decay: {min: 0.0, max: 0.3}
  lr_scheduler_type: {values: [linear, cosine, constant]}
  per_device_train_batch_size: {values: [8, 16, 32, 64], probabilities: [0.4, 0.3, 0.3, 0.0]}
  max_length: {value: 64}
";

fn drawn(source: &str) -> Drawn {
    let spec = spec::parse(source).unwrap_or_else(|problems| panic!("{}", problems.in_file("sweep.yaml")));
    let Space::Drawn(drawn) = spec.space else { panic!("points are drawn") };
    drawn
}

fn number(point: &Params, name: &str) -> f64 {
    point[name].as_number().unwrap()
}

/// A valley in the logarithm of the learning rate, whose place goes by the batch size; less is better.
fn loss(point: &Params) -> f64 {
    let batch = number(point, "per_device_train_batch_size").log2();
    let off = number(point, "learning_rate").log10() + 4.0 - 0.15 * (batch - 4.0);
    let schedule = if point["lr_scheduler_type"].to_string() == "cosine" { 0.0 } else { 0.1 };
    0.3 * off * off + (number(point, "weight_decay") - 0.1).powi(2) + schedule
}

/// Lets a search run on its own for so many draws; the losses, in order.
fn search(drawn: &mut Drawn, draws: u64) -> Vec<f64> {
    let mut history = History::default();
    let one = |draw| {
        let shares = propose(drawn, draw, &history, &lowest());
        drawn.proposed.insert(draw, shares);
        let loss = loss(&drawn.point(draw));
        history.note(draw, Outcome::Value(loss));
        loss
    };
    (0..draws).map(one).collect()
}

#[test]
fn a_search_that_learns_is_where_it_is_good_long_before_a_random_one() {
    let reached = |losses: Vec<f64>| losses.iter().position(|loss| *loss < 0.035).unwrap_or(losses.len()) + 1;
    let (mut learnt, mut random) = (0, 0);
    for seed in 0..10 {
        let source = format!("{SEARCH}seed: {seed}\n");
        learnt += reached(search(&mut drawn(&source), 60));
        let blind = drawn(&source.replace("bayes", "random"));
        random += reached((0..200).map(|draw| loss(&blind.point(draw))).collect());
    }
    assert!(learnt * 2 < random, "trials of ten searches: {learnt} against {random}");
}

#[test]
fn the_same_outcomes_propose_the_same_points_whatever_else_a_search_was_asked() {
    let mut one = drawn(SEARCH);
    search(&mut one, 30);
    let mut other = drawn(SEARCH);
    search(&mut other, 20);
    propose(&other, 77, &History::default(), &lowest());
    assert!(one.proposed.iter().take(20).eq(other.proposed.iter()));
    let mut seeded = drawn(&format!("{SEARCH}seed: 1\n"));
    search(&mut seeded, 20);
    assert_ne!(other.proposed, seeded.proposed);
}

#[test]
fn a_point_is_what_its_shares_say_and_before_that_only_what_does_not_vary() {
    let mut drawn = drawn(SEARCH);
    let before: Vec<String> = drawn.point(3).into_keys().collect();
    assert_eq!(before, ["max_length"]);
    drawn.proposed.insert(3, vec![0.5, 0.5, 0.5, 0.2, 0.5]);
    let point = drawn.point(3);
    insta::assert_snapshot!(serde_json::to_string(&point).unwrap(), @r#"{"learning_rate":0.0001,"lr_scheduler_type":"cosine","max_length":64,"per_device_train_batch_size":8,"weight_decay":0.15}"#);
    assert_eq!((drawn.unproposed(3), drawn.unproposed(4)), (None, Some(4)));
}

#[test]
fn points_under_way_send_other_workers_elsewhere() {
    let mut drawn = drawn(SEARCH);
    search(&mut drawn, 12);
    let mut history = History::default();
    for draw in 0..12 {
        history.note(draw, Outcome::Value(loss(&drawn.point(draw))));
    }
    let distances = |drawn: &mut Drawn, wait: bool| -> f64 {
        let mut shares: Vec<Vec<f64>> = Vec::new();
        for draw in 12..20 {
            shares.push(propose(drawn, draw, &history, &lowest()));
            if wait {
                drawn.proposed.insert(draw, shares.last().unwrap().clone());
            }
        }
        let apart = |one: &[f64], other: &[f64]| (one[0] - other[0]).hypot(one[1] - other[1]);
        let nearest = |(place, one): (usize, &Vec<f64>)| {
            let others = shares.iter().enumerate().filter(|(other, _)| *other != place);
            others.map(|(_, other)| apart(one, other)).fold(f64::INFINITY, f64::min)
        };
        shares.iter().enumerate().map(nearest).sum()
    };
    let unknown = distances(&mut drawn.clone(), false);
    let known = distances(&mut drawn, true);
    assert!(
        known > unknown,
        "eight points at once are {known} apart, {unknown} without a word of each other"
    );
}

#[test]
fn a_draw_is_judged_by_the_mean_of_its_seeds_and_a_failure_by_the_worst() {
    let mut history = History::default();
    history.note(0, Outcome::Value(0.5));
    history.note(1, Outcome::Value(0.7));
    history.note(2, Outcome::Missing);
    history.note(4, Outcome::Unknown);
    history.note(5, Outcome::Unknown);
    history.note(6, Outcome::Unknown);
    assert_eq!(history.range(), Some((0.5, 0.7)));
    let draws = [0, 1, 2, 3, 4].map(|draw| history.draw(draw, 2, Some(0.5)));
    let mean = 0.6;
    assert_eq!(
        draws,
        [Known::Mean(mean), Known::Mean(0.5), Known::Nothing, Known::UnderWay, Known::UnderWay]
    );
    history.forget(1);
    assert_eq!(history.draw(0, 2, Some(0.5)), Known::Mean(0.5), "one of two has ended");
    assert_eq!(History::default().range(), None);
}

#[test]
fn a_search_goes_on_where_every_trial_failed() {
    let mut drawn = drawn(SEARCH);
    let mut history = History::default();
    for draw in 0..20 {
        let shares = propose(&drawn, draw, &history, &MetricSpec::default());
        assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
        drawn.proposed.insert(draw, shares);
        history.note(draw, Outcome::Missing);
    }
}

#[test]
fn of_few_listed_points_each_is_tried_before_one_comes_again() {
    let source = SEARCH
        .replace("{distribution: log_uniform_values, min: 1e-6, max: 1e-2}", "{values: [1e-5, 1e-4, 1e-3]}")
        .replace("{min: 0.0, max: 0.3}", "{values: [0.0, 0.1]}");
    let mut drawn = drawn(&source);
    search(&mut drawn, 54);
    let point = |draw| serde_json::to_string(&drawn.point(draw)).unwrap();
    let different: std::collections::BTreeSet<String> = (0..54).map(point).collect();
    // The first come from a sequence that does not look back, and the last of a space are hard to hit.
    assert!(different.len() >= 50, "{} of 54 points", different.len());
}

#[test]
fn the_longest_search_still_learns() {
    let mut drawn = drawn(SEARCH);
    let mut history = History::default();
    for draw in 0..9_999 {
        let shares = [0, 1, 2, 3, 4].map(|place| (draw as f64 * (place as f64 + 2.0).sqrt()).fract());
        drawn.proposed.insert(draw, shares.to_vec());
        history.note(draw, Outcome::Value(loss(&drawn.point(draw))));
    }
    let shares = propose(&drawn, 9_999, &history, &lowest());
    drawn.proposed.insert(9_999, shares);
    assert!(loss(&drawn.point(9_999)) < 0.1, "it is where it was good");
}
