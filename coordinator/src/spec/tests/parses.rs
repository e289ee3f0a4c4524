//! What parses, and what it then says.

use super::*;

#[test]
fn a_full_file_keeps_everything_it_says() {
    let spec = good(
        "\
name: full
description: >
  All the keys.
model: org/model@v1
dataset:
  id: org/data@main
  config: split
  text: sentence
  label: mood
  labels: [no, yes, 2]
  limit: {train: 10, test: 5}
method: grid
metric: {name: eval_loss}
max_retries: 0
experiment: another
keep_models: {top: 3}
register: mood
parameters:
  num_train_epochs: {value: 2}
  learning_rate: {values: [2e-5, 0.00005, 1E-4]}
  seed: {values: [1, 2.0]}
",
    );
    assert_eq!((spec.model.as_str(), spec.model_revision.as_deref()), ("org/model", Some("v1")));
    assert_eq!(spec.description.as_deref(), Some("All the keys.\n"));
    assert_eq!(
        spec.dataset.source,
        DatasetSource::Id {
            id: "org/data".into(),
            config: Some("split".into()),
            revision: Some("main".into())
        }
    );
    assert_eq!(
        (spec.dataset.text.as_deref(), spec.dataset.label.as_deref()),
        (Some("sentence"), Some("mood"))
    );
    assert_eq!(spec.dataset.labels.names(), ["no", "yes", "2"]);
    assert_eq!(spec.dataset.limit, RowLimits { train: Some(10), test: Some(5), ..RowLimits::default() });
    assert_eq!((spec.metric.selection.best, spec.metric.maximize), ("best_eval_loss", false));
    assert_eq!((spec.limits.max_retries, spec.experiment()), (0, "another"));
    assert_eq!((spec.keep_models, spec.register.as_deref()), (KeepModels::Top(3), Some("mood")));
    assert_eq!(spec.space.len(), 6);
    assert_eq!(spec.space.varied(), ["learning_rate", "seed"]);
    let last = spec.space.point(5);
    assert_eq!(last["learning_rate"], Value::Number(1e-4));
    assert_eq!(last["seed"], Value::Integer(2));
    assert_eq!(last["num_train_epochs"], Value::Number(2.0));
}

#[test]
fn what_is_left_out_has_its_default() {
    let spec = good(GOOD);
    assert_eq!((spec.metric.selection.best, spec.metric.maximize), ("best_validation_f1", true));
    assert_eq!((spec.limits.max_retries, spec.experiment()), (2, "demo"));
    assert_eq!(spec.dataset.limit, RowLimits::default());
    assert_eq!((spec.keep_models, spec.register), (KeepModels::Best, None));
}

#[test]
fn who_hands_a_sweep_in_may_name_its_experiment_and_leaves_its_identity() {
    let mut spec = good(&format!("{GOOD}experiment: of-the-file\n"));
    let digest = spec.digest();
    spec.origin = Origin { default_experiment: Some("of-the-environment".into()), ..Origin::default() };
    assert_eq!(spec.experiment(), "of-the-file");
    spec.origin.experiment = Some("of-the-flag".into());
    assert_eq!((spec.experiment(), spec.digest()), ("of-the-flag", digest));
    let stored = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<SweepSpec>(&stored).unwrap(), spec);
    let silent = SweepSpec { experiment: None, ..spec };
    let origin = Origin { experiment: None, ..silent.origin.clone() };
    assert_eq!(SweepSpec { origin, ..silent }.experiment(), "of-the-environment");
}

#[test]
fn which_models_are_kept_is_one_of_three_words_or_a_number() {
    let kept = |line: &str| good(&format!("{GOOD}{line}\n")).keep_models;
    let kept = ["best", "all", "none", "{top: 2}"].map(|which| kept(&format!("keep_models: {which}")));
    assert_eq!(kept.map(KeepModels::count), [1, u64::MAX, 0, 2]);
    assert_eq!(good(&format!("{GOOD}keep_models: best\n")).digest(), good(GOOD).digest());
}

#[test]
fn numbers_are_read_as_yaml_1_1_and_1_2_users_write_them() {
    let file = GOOD.replace("2e-5, 5e-5", "1e-5, 1.0e-4, 2E-5, +3e-05, .5, 1., 0, 7");
    let spec = good(&file);
    let expected = [1e-5, 1e-4, 2e-5, 3e-5, 0.5, 1.0, 0.0, 7.0].map(Value::Number);
    let Space::Grid(grid) = &spec.space else { panic!("a grid") };
    assert_eq!(grid.axes()[0].values, expected);
}

#[test]
fn anchors_and_aliases_stand_for_what_they_name() {
    let file = GOOD.replace(
        "  learning_rate: {values: [2e-5, 5e-5]}",
        "  adam_beta1: {values: &betas [0.9, 0.95]}\n  adam_beta2: {values: *betas}",
    );
    assert_eq!(good(&file).space.len(), 4);
}

#[test]
fn a_byte_order_mark_windows_lines_and_a_document_start_do_no_harm() {
    let file = format!("\u{feff}---\n{GOOD}").replace('\n', "\r\n");
    assert_eq!(good(&file), good(GOOD));
}

#[test]
fn the_examples_parse_as_they_are_delivered() {
    let sentiment = good(include_str!("../../../../deploy/examples/sentiment.yaml"));
    assert!((4..=6).contains(&sentiment.space.len()), "{} trials", sentiment.space.len());
    assert_eq!(sentiment.dataset.labels.names(), ["negative", "neutral", "positive"]);
    let here = std::path::Path::new("/repository/deploy/examples");
    let sentiment = sentiment.with_base(here, None);
    assert_eq!(sentiment.model, "/repository/.distilsweep/sample/model");

    let emotion = good(include_str!("../../../../deploy/examples/emotion.yaml"));
    assert_eq!(emotion.model, "distilbert-base-uncased");
    let DatasetSource::Id { id, .. } = emotion.dataset.source else {
        panic!("the example names a Hub dataset")
    };
    assert_eq!(id, "dair-ai/emotion");
}

/// Two parameters in an order.
pub(super) const TWO: &str = "\
name: base
model: distilbert-base-uncased
dataset: dair-ai/emotion
method: grid
parameters:
  learning_rate: {values: [2e-5, 5e-5]}
  seed: {value: 1}
";

#[test]
fn the_stored_form_reads_back_the_same() {
    let spec = parse(TWO).unwrap();
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<SweepSpec>(&json).unwrap(), spec);
}

#[test]
fn the_default_metric_is_the_one_of_the_contract() {
    assert_eq!(MetricSpec::default().selection.best, names::DEFAULT_METRIC);
    assert!(MetricSpec::default().maximize);
}

#[test]
fn layout_comments_and_description_do_not_change_the_digest_but_the_order_of_parameters_does() {
    let digest = |source: &str| parse(source).unwrap().digest();
    let plain = digest(TWO);
    assert_eq!(plain.len(), 64);
    assert_eq!(plain, digest(&format!("# a comment\n{TWO}description: words\n")));
    assert_eq!(
        plain,
        digest(&TWO.replace("{values: [2e-5, 5e-5]}", "\n    values:\n    - 0.00002\n    - 5.0e-05"))
    );
    assert_ne!(plain, digest(&TWO.replace("5e-5", "6e-5")));
    let swapped = "  seed: {value: 1}\n  learning_rate: {values: [2e-5, 5e-5]}\n";
    let reordered = format!("{}{swapped}", &TWO[..TWO.find("  learning_rate").unwrap()]);
    assert_ne!(plain, digest(&reordered));
}

#[test]
fn a_sweep_may_be_bounded_in_trials_failures_and_time() {
    let spec = good(&format!("{GOOD}max_concurrent_trials: 4\nmax_failed_trials: 0\ntime_budget: 2h 30m\n"));
    let limits = crate::spec::Limits {
        max_concurrent_trials: Some(4),
        max_failed_trials: Some(0),
        time_budget: Some(9_000),
        ..crate::spec::Limits::default()
    };
    assert_eq!(spec.limits, limits);
    assert_eq!(good(&format!("{GOOD}time_budget: 90\n")).limits.time_budget, Some(90));
    let sentence = and("time_budget: soon");
    assert!(sentence.contains("it must be a time: 90m, 2h 30m, or seconds"), "{sentence}");
}
