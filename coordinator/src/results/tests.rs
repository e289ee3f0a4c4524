//! What the renderers make of a sweep with all kinds of trials.

mod baseline;

use std::collections::BTreeMap;

use distilsweep_proto::params::{Params, Value};

use super::{MlflowNote, Summary, TrialRow, TrialState, csv, json, markdown, rank, table};

fn params(learning_rate: f64, weight_decay: f64) -> Params {
    Params::from([
        ("learning_rate".to_owned(), Value::Number(learning_rate)),
        ("max_steps".to_owned(), Value::Integer(100)),
        ("weight_decay".to_owned(), Value::Number(weight_decay)),
    ])
}

fn completed(trial: u64, learning_rate: f64, weight_decay: f64, f1: f64) -> TrialRow {
    let metrics = [("best_validation_f1", f1), ("test_accuracy", f1 - 0.01), ("test_f1_score", f1 - 0.0125)]
        .map(|(name, value)| (name.to_owned(), value));
    let run = format!("{trial:x}").repeat(32);
    TrialRow {
        trial,
        state: TrialState::Completed,
        params: params(learning_rate, weight_decay),
        metrics: BTreeMap::from(metrics),
        seconds: Some(41.25 + trial as f64),
        attempts: 1,
        worker: Some("box-1".to_owned()),
        mlflow_url: Some(format!("http://127.0.0.1:5000/#/experiments/1/runs/{run}")),
        mlflow_run: Some(run),
        checkpoint: Some(format!("file:///data/.distilsweep/store/sentiment-1f3a/{trial}/7/100/")),
        data: BTreeMap::new(),
        errors: BTreeMap::new(),
        failure: None,
    }
}

pub(super) fn summary() -> Summary {
    Summary {
        ranks_early_stopped: false,
        sweep: "sentiment-1f3a".to_owned(),
        name: "sentiment".to_owned(),
        state: "completed".to_owned(),
        metric: "best_validation_f1".to_owned(),
        maximize: true,
        baseline: BTreeMap::from(
            [
                ("eval_f1_score", 0.2471),
                ("eval_accuracy", 0.4123),
                ("test_f1_score", 0.2502),
                ("test_accuracy", 0.4155),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        ),
        varied: vec!["learning_rate".to_owned(), "weight_decay".to_owned()],
        constant: Params::from([("max_steps".to_owned(), Value::Integer(100))]),
        trials: vec![
            completed(0, 2e-5, 0.0, 0.61),
            completed(1, 2e-5, 0.1, 0.625),
            completed(2, 5e-5, 0.0, 0.7021),
            TrialRow {
                state: TrialState::Diverged,
                metrics: BTreeMap::new(),
                checkpoint: None,
                failure: Some("diverged: the loss is nan at step 12".to_owned()),
                ..completed(3, 1.0, 0.1, 0.0)
            },
        ],
        total: 4,
        mlflow: MlflowNote {
            url: Some("http://127.0.0.1:5000/#/experiments/1".to_owned()),
            ..MlflowNote::default()
        },
        seconds: Some(192.4),
        curves: Vec::new(),
        file: String::new(),
        resources: Vec::new(),
        classes: Vec::new(),
        splits: Vec::new(),
        tags: BTreeMap::new(),
    }
}

fn ranks(summary: &Summary) -> Vec<(Option<u64>, u64)> {
    rank(summary).into_iter().map(|ranked| (ranked.rank, ranked.row.trial)).collect()
}

#[test]
fn the_best_trial_comes_first_and_trials_without_a_result_last() {
    assert_eq!(ranks(&summary()), [(Some(1), 2), (Some(2), 1), (Some(3), 0), (None, 3)]);
    let lowest = Summary { maximize: false, ..summary() };
    assert_eq!(ranks(&lowest), [(Some(1), 0), (Some(2), 1), (Some(3), 2), (None, 3)]);
}

#[test]
fn equal_values_share_a_rank_and_go_by_index() {
    let trials =
        [(2, 0.5), (0, 0.7), (1, 0.7), (3, 0.4)].map(|(trial, f1)| completed(trial, trial as f64, 0.0, f1));
    let tied = Summary { trials: trials.to_vec(), ..summary() };
    assert_eq!(ranks(&tied), [(Some(1), 0), (Some(1), 1), (Some(3), 2), (Some(4), 3)]);
}

#[test]
fn a_metric_that_is_not_finite_never_ranks() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for maximize in [true, false] {
            let trials = vec![completed(0, 1e-5, 0.0, value), completed(1, 1e-5, 0.0, 0.1)];
            let summary = Summary { trials, maximize, ..summary() };
            assert_eq!(ranks(&summary), [(Some(1), 1), (None, 0)], "{value} {maximize}");
        }
    }
}

#[test]
fn a_trial_that_still_runs_does_not_rank() {
    let running = TrialRow { state: TrialState::Running, ..completed(0, 1e-5, 0.0, 0.9) };
    let summary = Summary { trials: vec![running, completed(1, 1e-5, 0.0, 0.1)], ..summary() };
    assert_eq!(ranks(&summary), [(Some(1), 1), (None, 0)]);
}

#[test]
fn wide_terminals_show_everything() {
    insta::assert_snapshot!(table(&summary(), 200, false), @r"
    sentiment-1f3a (completed): 3 of 4 trials completed, 1 diverged, in 3m 12s
    ranked by best_validation_f1, highest first
    all trials: steps 100
    majority class: val F1 0.2471, val acc 0.4123, test F1 0.2502, test acc 0.4155

    rank  trial  state      learning_rate  weight_decay  val F1  test F1  test acc  time  MLflow run                        checkpoint
    ────  ─────  ─────────  ─────────────  ────────────  ──────  ───────  ────────  ────  ────────────────────────────────  ───────────────────────────────────────────────────────
       1      2  completed          5e-05           0.0  0.7021   0.6896    0.6921   43s  22222222222222222222222222222222  file:///data/.distilsweep/store/sentiment-1f3a/2/7/100/
       2      1  completed          2e-05           0.1  0.6250   0.6125    0.6150   42s  11111111111111111111111111111111  file:///data/.distilsweep/store/sentiment-1f3a/1/7/100/
       3      0  completed          2e-05           0.0  0.6100   0.5975    0.6000   41s  00000000000000000000000000000000  file:///data/.distilsweep/store/sentiment-1f3a/0/7/100/
       –      3  diverged             1.0           0.1       –        –         –   44s  33333333333333333333333333333333  –

    trial 3 diverged: the loss is nan at step 12
    best: trial 2, val F1 0.7021, +0.4550 against the majority class
      checkpoint file:///data/.distilsweep/store/sentiment-1f3a/2/7/100/
      MLflow run http://127.0.0.1:5000/#/experiments/1/runs/22222222222222222222222222222222
    MLflow: http://127.0.0.1:5000/#/experiments/1
    ");
}

/// Three settings with two seeds each, measured on rows that leave an error.
pub(super) fn seeded() -> Summary {
    let scores = [
        (2e-5, 1, 0.61),
        (2e-5, 2, 0.63),
        (5e-5, 1, 0.69),
        (5e-5, 2, 0.71),
        (1e-4, 1, 0.68),
        (1e-4, 2, 0.69),
    ];
    let trial = |(trial, (rate, seed, f1)): (usize, (f64, i64, f64))| {
        let mut row = completed(trial as u64, rate, 0.0, f1);
        row.params.insert("seed".to_owned(), Value::Integer(seed));
        row.errors =
            [("best_validation_f1", 0.016), ("test_f1_score", 0.017)].map(|(n, e)| (n.to_owned(), e)).into();
        row
    };
    let trials = scores.into_iter().enumerate().map(trial).collect();
    Summary { varied: vec!["learning_rate".to_owned(), "seed".to_owned()], trials, total: 6, ..summary() }
}

#[test]
fn repeats_of_a_setting_are_one_row_with_their_spread() {
    insta::assert_snapshot!(table(&seeded(), 100, false), @"
    sentiment-1f3a (completed): 6 of 6 trials completed, in 3m 12s
    ranked by best_validation_f1, highest first
    all trials: steps 100
    majority class: val F1 0.2471, val acc 0.4123, test F1 0.2502, test acc 0.4155

    rank  learning_rate  val F1  over seeds     95 % interval  seeds  test F1  test acc  time  trials
    ────  ─────────────  ──────  ──────────  ────────────────  ─────  ───────  ────────  ────  ──────
       1          5e-05  0.7000     ±0.0141  0.6626 to 0.7353      2   0.6875    0.6900   44s  3, 2
       1         0.0001  0.6850     ±0.0071  0.6510 to 0.7178      2   0.6725    0.6750   46s  5, 4
       3          2e-05  0.6200     ±0.0141  0.5854 to 0.6580      2   0.6075    0.6100   42s  1, 0

    ± over seeds is a standard deviation, the interval is for other seeds and rows; a rank is shared
      where the difference may be chance
    best: lr 5e-05, mean val F1 0.7000, +0.4529 against the majority class; its best seed: trial 3
      not to be told apart from it: 1 setting
      checkpoint file:///data/.distilsweep/store/sentiment-1f3a/3/7/100/
      MLflow run http://127.0.0.1:5000/#/experiments/1/runs/33333333333333333333333333333333
    MLflow: http://127.0.0.1:5000/#/experiments/1
    ");
    insta::assert_snapshot!(markdown(&seeded()).split("## Trials").next().unwrap(), @"
    # Sweep sentiment

    `sentiment-1f3a` is completed: 6 of 6 trials completed, in 3m 12s.
    Ranked by `best_validation_f1`, highest first: settings are chosen on the validation split alone.

    The same in all trials: `max_steps` 100.

    Always guessing the commonest class of the training split reaches val F1 0.2471, val acc 0.4123, test F1 0.2502, test acc 0.4155.

    ## Best settings

    Trials 3, 2 reach a mean `best_validation_f1` of 0.7000 ± 0.0191 (+0.4529 against the majority class); not to be told apart from it: 1 setting. To train it again (trial 3):

    ```yaml
    parameters:
      learning_rate: {value: 5.0e-05}
      max_steps: {value: 100}
      seed: {value: 2}
      weight_decay: {value: 0.0}
    ```

    Its model, for `from_pretrained`: `file:///data/.distilsweep/store/sentiment-1f3a/3/7/100/`

    ## Ranking

    | rank | learning_rate | val F1 | over seeds | 95 % interval | trials |
    | ---: | ---: | ---: | ---: | ---: | ---: |
    | 1 | 5e-05 | 0.7000 | ± 0.0141 | 0.6626 to 0.7353 | 3, 2 |
    | 1 | 0.0001 | 0.6850 | ± 0.0071 | 0.6510 to 0.7178 | 5, 4 |
    | 3 | 2e-05 | 0.6200 | ± 0.0141 | 0.5854 to 0.6580 | 1, 0 |
    ");
}

#[test]
fn scores_have_their_standard_errors_beside_them_where_there_is_room() {
    let alone = Summary {
        trials: seeded().trials.into_iter().step_by(2).collect(),
        varied: vec!["learning_rate".to_owned()],
        ..seeded()
    };
    let wide = table(&alone, 200, false);
    assert!(wide.contains("0.6900 ±0.0160  0.6775 ±0.0170"), "{wide}");
    let narrow = table(&alone, 80, false);
    assert!(!narrow.contains("0.6900 ±"), "{narrow}");
    let ranks: Vec<&str> = narrow.lines().skip(7).take(3).map(|line| line[..6].trim()).collect();
    assert_eq!(ranks, ["1", "1", "3"], "{narrow}");
    assert!(narrow.contains("val F1 has a standard error of 0.016"), "{narrow}");
    assert!(narrow.contains("not to be told apart from it: 1 trial: 4"), "{narrow}");
}

#[test]
fn narrow_terminals_shorten_names_and_drop_what_is_least_asked_for() {
    insta::assert_snapshot!(table(&summary(), 80, false), @r"
    sentiment-1f3a (completed): 3 of 4 trials completed, 1 diverged, in 3m 12s
    ranked by best_validation_f1, highest first
    all trials: steps 100
    majority class: val F1 0.2471, val acc 0.4123, test F1 0.2502, test acc 0.4155

    rank  trial  state         lr  decay  val F1  test F1  test acc  time
    ────  ─────  ─────────  ─────  ─────  ──────  ───────  ────────  ────
       1      2  completed  5e-05    0.0  0.7021   0.6896    0.6921   43s
       2      1  completed  2e-05    0.1  0.6250   0.6125    0.6150   42s
       3      0  completed  2e-05    0.0  0.6100   0.5975    0.6000   41s
       –      3  diverged     1.0    0.1       –        –         –   44s

    left out at this width: MLflow run, checkpoint (--format csv has all)
    trial 3 diverged: the loss is nan at step 12
    best: trial 2, val F1 0.7021, +0.4550 against the majority class
      checkpoint file:///data/.distilsweep/store/sentiment-1f3a/2/7/100/
      MLflow run http://127.0.0.1:5000/#/experiments/1/runs/22222222222222222222222222222222
    MLflow: http://127.0.0.1:5000/#/experiments/1
    ");
}

#[test]
fn no_line_of_the_ranking_is_wider_than_the_terminal_while_columns_can_go() {
    for width in 40..220 {
        let text = table(&summary(), width, false);
        let ranking: Vec<&str> = text.split("\n\n").nth(1).unwrap().lines().collect();
        assert_eq!(ranking.len(), 6, "header, rule and four trials");
        assert!(ranking.iter().all(|line| line.chars().count() <= width), "{width}:\n{text}");
    }
}

#[test]
fn colours_mark_the_best_and_the_failed_and_change_nothing_else() {
    let painted = table(&summary(), 120, true);
    let best = painted.lines().find(|line| line.contains("0.7021") && line.contains("5e-05")).unwrap();
    assert!(best.starts_with("\x1b[32m") && best.ends_with("\x1b[0m"), "{best:?}");
    let failed = painted.lines().find(|line| line.contains("diverged  ")).unwrap();
    assert!(failed.starts_with("\x1b[31m"), "{failed:?}");
    let plain = ["\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"]
        .iter()
        .fold(painted, |text, code| text.replace(code, ""));
    assert_eq!(plain, table(&summary(), 120, false));
}

#[test]
fn without_mlflow_the_summary_says_what_waits_and_how_to_send_it() {
    let mut summary = summary();
    summary.mlflow = MlflowNote { url: None, runs_waiting: 5, messages_waiting: 61 };
    summary.trials.iter_mut().for_each(|row| (row.mlflow_run, row.mlflow_url) = (None, None));
    let text = table(&summary, 80, false);
    insta::assert_snapshot!(text.lines().last().unwrap(), @r"5 runs (61 messages) wait to be told to MLflow: start a server and send them with `distilsweep mlflow sync --mlflow URI`");
    assert!(markdown(&summary).contains("5 runs (61 messages) wait"));
}

#[test]
fn a_sweep_without_trials_still_renders() {
    let empty =
        Summary { trials: Vec::new(), baseline: BTreeMap::new(), state: "running".into(), ..summary() };
    insta::assert_snapshot!(table(&empty, 80, false), @r"
    sentiment-1f3a (running): 0 of 4 trials completed, in 3m 12s
    ranked by best_validation_f1, highest first
    all trials: steps 100

    rank  trial  learning_rate  weight_decay  val F1  time
    ────  ─────  ─────────────  ────────────  ──────  ────

    4 trials not begun
    MLflow: http://127.0.0.1:5000/#/experiments/1
    ");
    assert!(markdown(&empty).contains("No trial has a result yet."));
}

#[test]
fn the_report_holds_settings_to_copy_the_ranking_and_the_failures() {
    insta::assert_snapshot!(markdown(&summary()), @r"
    # Sweep sentiment

    `sentiment-1f3a` is completed: 3 of 4 trials completed, 1 diverged, in 3m 12s.
    Ranked by `best_validation_f1`, highest first: settings are chosen on the validation split alone.

    The same in all trials: `max_steps` 100.

    Always guessing the commonest class of the training split reaches val F1 0.2471, val acc 0.4123, test F1 0.2502, test acc 0.4155.

    ## Best settings

    Trial 2 reaches a `best_validation_f1` of 0.7021 (+0.4550 against the majority class). To train it again:

    ```yaml
    parameters:
      learning_rate: {value: 5.0e-05}
      max_steps: {value: 100}
      weight_decay: {value: 0.0}
    ```

    Its model, for `from_pretrained`: `file:///data/.distilsweep/store/sentiment-1f3a/2/7/100/`

    ## Ranking

    | rank | trial | state | learning_rate | weight_decay | val F1 | test F1 | test acc | time | MLflow run | checkpoint |
    | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |
    | 1 | 2 | completed | 5e-05 | 0.0 | 0.7021 | 0.6896 | 0.6921 | 43s | [22222222](http://127.0.0.1:5000/#/experiments/1/runs/22222222222222222222222222222222) | `file:///data/.distilsweep/store/sentiment-1f3a/2/7/100/` |
    | 2 | 1 | completed | 2e-05 | 0.1 | 0.6250 | 0.6125 | 0.6150 | 42s | [11111111](http://127.0.0.1:5000/#/experiments/1/runs/11111111111111111111111111111111) | `file:///data/.distilsweep/store/sentiment-1f3a/1/7/100/` |
    | 3 | 0 | completed | 2e-05 | 0.0 | 0.6100 | 0.5975 | 0.6000 | 41s | [00000000](http://127.0.0.1:5000/#/experiments/1/runs/00000000000000000000000000000000) | `file:///data/.distilsweep/store/sentiment-1f3a/0/7/100/` |
    | – | 3 | diverged | 1.0 | 0.1 | – | – | – | 44s | [33333333](http://127.0.0.1:5000/#/experiments/1/runs/33333333333333333333333333333333) | – |

    ## Without a result

    - Trial 3 diverged after 1 attempt: the loss is nan at step 12

    ## MLflow

    <http://127.0.0.1:5000/#/experiments/1>
    ");
}

#[test]
fn the_report_s_settings_are_a_sweep_file_s_parameters() {
    let report = markdown(&summary());
    let block = report.split("```").nth(1).and_then(|block| block.strip_prefix("yaml\n")).unwrap();
    let source = format!("name: again\nmodel: m\ndataset: d\nmethod: grid\n{block}");
    let spec = crate::spec::parse(&source).unwrap();
    assert_eq!(spec.space.point(0), params(5e-5, 0.0));
}

#[test]
fn csv_has_a_row_a_trial_under_stable_columns() {
    insta::assert_snapshot!(csv(&summary()), @"
    rank,trial,state,params.learning_rate,params.weight_decay,params.max_steps,metrics.best_validation_f1,metrics.test_loss,metrics.test_accuracy,metrics.test_f1_score,metrics.test_f1_macro,seconds,attempts,worker,mlflow_run,mlflow_url,checkpoint,failure,setting.mean,setting.spread,setting.error,setting.low,setting.high,setting.at_baseline
    1,2,completed,5e-05,0.0,100,0.7021,,0.6920999999999999,0.6896,,43.25,1,box-1,22222222222222222222222222222222,http://127.0.0.1:5000/#/experiments/1/runs/22222222222222222222222222222222,file:///data/.distilsweep/store/sentiment-1f3a/2/7/100/,,0.7021,,,,,false
    2,1,completed,2e-05,0.1,100,0.625,,0.615,0.6125,,42.25,1,box-1,11111111111111111111111111111111,http://127.0.0.1:5000/#/experiments/1/runs/11111111111111111111111111111111,file:///data/.distilsweep/store/sentiment-1f3a/1/7/100/,,0.625,,,,,false
    3,0,completed,2e-05,0.0,100,0.61,,0.6,0.5975,,41.25,1,box-1,00000000000000000000000000000000,http://127.0.0.1:5000/#/experiments/1/runs/00000000000000000000000000000000,file:///data/.distilsweep/store/sentiment-1f3a/0/7/100/,,0.61,,,,,false
    ,3,diverged,1.0,0.1,100,,,,,,44.25,1,box-1,33333333333333333333333333333333,http://127.0.0.1:5000/#/experiments/1/runs/33333333333333333333333333333333,,diverged: the loss is nan at step 12,,,,,,
    ");
}

#[test]
fn csv_quotes_what_holds_commas_and_newlines() {
    let mut summary = summary();
    summary.trials[3].failure = Some("a, \"b\"\nc".to_owned());
    let text = csv(&summary);
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let place = reader.headers().unwrap().iter().position(|name| name == "failure").unwrap();
    let last = reader.records().last().unwrap().unwrap();
    assert_eq!(last.get(place), Some("a, \"b\"\nc"));
}

#[test]
fn json_is_best_first_with_its_version() {
    let mut summary = summary();
    summary.trials.drain(..2);
    insta::assert_snapshot!(json(&summary), @r#"
    {
      "version": 2,
      "sweep": "sentiment-1f3a",
      "name": "sentiment",
      "state": "completed",
      "metric": {
        "name": "best_validation_f1",
        "goal": "maximize"
      },
      "total": 4,
      "seconds": 192.4,
      "baseline": {
        "eval_accuracy": 0.4123,
        "eval_f1_score": 0.2471,
        "test_accuracy": 0.4155,
        "test_f1_score": 0.2502
      },
      "varied": [
        "learning_rate",
        "weight_decay"
      ],
      "constant": {
        "max_steps": 100
      },
      "mlflow": {
        "url": "http://127.0.0.1:5000/#/experiments/1",
        "runs_waiting": 0,
        "messages_waiting": 0
      },
      "resources": [],
      "classes": [],
      "splits": [],
      "settings": [
        {
          "rank": 1,
          "params": {
            "learning_rate": 0.00005,
            "weight_decay": 0.0
          },
          "trials": [
            2
          ],
          "without": [],
          "mean": 0.7021,
          "spread": null,
          "error": null,
          "interval": null
        }
      ],
      "insight": null,
      "trials": [
        {
          "rank": 1,
          "at_baseline": false,
          "trial": 2,
          "state": "completed",
          "params": {
            "learning_rate": 0.00005,
            "max_steps": 100,
            "weight_decay": 0.0
          },
          "metrics": {
            "best_validation_f1": 0.7021,
            "test_accuracy": 0.6920999999999999,
            "test_f1_score": 0.6896
          },
          "errors": {},
          "seconds": 43.25,
          "attempts": 1,
          "worker": "box-1",
          "mlflow_run": "22222222222222222222222222222222",
          "mlflow_url": "http://127.0.0.1:5000/#/experiments/1/runs/22222222222222222222222222222222",
          "checkpoint": "file:///data/.distilsweep/store/sentiment-1f3a/2/7/100/",
          "data": {},
          "failure": null
        },
        {
          "rank": null,
          "at_baseline": null,
          "trial": 3,
          "state": "diverged",
          "params": {
            "learning_rate": 1.0,
            "max_steps": 100,
            "weight_decay": 0.1
          },
          "metrics": {},
          "errors": {},
          "seconds": 44.25,
          "attempts": 1,
          "worker": "box-1",
          "mlflow_run": "33333333333333333333333333333333",
          "mlflow_url": "http://127.0.0.1:5000/#/experiments/1/runs/33333333333333333333333333333333",
          "checkpoint": null,
          "data": {},
          "failure": "diverged: the loss is nan at step 12"
        }
      ]
    }
    "#);
}
