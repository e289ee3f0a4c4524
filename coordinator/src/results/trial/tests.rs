//! What is shown of a trial.

use super::*;
use crate::results::tests::summary;

fn view() -> TrialView {
    let row =
        TrialRow { errors: [("best_validation_f1".to_owned(), 0.0163)].into(), ..summary().trials.remove(2) };
    let split = |name: &str, confusion: [[u64; 2]; 2]| Split {
        name: name.to_owned(),
        rows: 100,
        sha256: "ab".repeat(32),
        confusion: confusion.map(|row| row.to_vec()).to_vec(),
    };
    let mistake =
        |text: &str, probability| Mistake { text: text.to_owned(), truth: 0, taken: 1, probability };
    let curve = |metric: &str, points: &[(i64, f64)]| Curve {
        trial: 2,
        metric: metric.to_owned(),
        points: points.to_vec(),
    };
    TrialView {
        sweep: "sentiment-1f3a".to_owned(),
        metric: "best_validation_f1".to_owned(),
        rank: Some((1, 3)),
        varied: vec!["learning_rate".to_owned()],
        classes: vec!["negative".to_owned(), "positive".to_owned()],
        splits: vec![split("validation", [[40, 10], [12, 38]]), split("test", [[50, 0], [0, 50]])],
        mistakes: vec![
            mistake("this may be\n burns's strongest film since the brothers mcmullen, they said", 0.98765),
            mistake("short", 0.5),
        ],
        attempts: vec![
            Attempt {
                attempt: 1,
                worker: "box-1".to_owned(),
                granted_ms: 1_000,
                ended_ms: Some(31_000),
                failure: Some("worker_lost: worker box-1 was not heard of for 30 s".to_owned()),
            },
            Attempt {
                attempt: 2,
                worker: "box-2".to_owned(),
                granted_ms: 31_000,
                ended_ms: Some(75_000),
                failure: None,
            },
        ],
        curves: vec![
            curve("eval_f1_score", &[(50, 0.61), (100, 0.7021)]),
            curve("learning_rate", &[(10, 5e-5), (100, 0.0)]),
            curve("loss", &[(10, 1.1), (20, 0.9), (30, 0.8), (40, 0.85), (100, 0.4)]),
        ],
        tags: [("device".to_owned(), "cpu".to_owned())].into(),
        steps: 100,
        steps_per_second: 2.3125,
        row,
    }
}

#[test]
fn a_trial_is_shown_with_all_that_is_known_of_it() {
    insta::assert_snapshot!(table(&view(), 80, false, 100_000), @"
    trial 2 of sentiment-1f3a (completed): rank 1 of 3, val F1 0.7021 ±0.0163

    hyperparameters
      learning_rate  5e-05
      max_steps      100  (in all trials)
      weight_decay   0.0  (in all trials)

    metrics
      best_validation_f1  0.7021 ±0.0163
      test_accuracy       0.6921
      test_f1_score       0.6896

    curves
      eval_f1_score  ▁█     0.6100 to 0.7021 (steps 50 to 100)
      learning_rate  █▁     5.00e-5 to 0.0000 (steps 10 to 100)
      loss           █▆▅▅▁  1.1000 to 0.4000 (steps 10 to 100)

    validation rows: truth by row, prediction by column
                negative  positive  found
      ────────  ────────  ────────  ─────
      negative        40        10   80 %
      positive        12        38   76 %

    test rows: truth by row, prediction by column
                negative  positive  found
      ────────  ────────  ────────  ─────
      negative        50         0  100 %
      positive         0        50  100 %

    most confident mistakes on the test split
      0.988  negative taken for positive: this may be burns's strongest film since…
      0.500  negative taken for positive: short

    tries
       1  box-1  30s  worker_lost: worker box-1 was not heard of for 30 s
       2  box-2  44s  completed
      100 steps in 43s, 2.31 a second; device cpu

    files
      model       file:///data/.distilsweep/store/sentiment-1f3a/2/7/100/
      MLflow run  http://127.0.0.1:5000/#/experiments/1/runs/22222222222222222222222222222222
    ");
}

#[test]
fn no_line_but_those_of_addresses_is_wider_than_the_terminal() {
    for width in [60, 80, 120] {
        let text = table(&view(), width, false, 100_000);
        let wide = text.lines().skip(1).filter(|line| {
            line.chars().count() > width && !line.contains("file:") && !line.contains("http:")
        });
        assert_eq!(wide.collect::<Vec<_>>(), Vec::<&str>::new(), "{width}");
    }
}

#[test]
fn long_class_names_and_escape_codes_are_shortened() {
    let classes = vec![format!("a\u{1b}{}", "x".repeat(1_500)), "b".repeat(1_500)];
    let mut odd = TrialView { classes, ..view() };
    odd.mistakes[0].text = format!("\u{1b}[2J{}", "x".repeat(1_500));
    odd.attempts[0].failure = Some("invalid_input: \u{1b}[2J".to_owned());
    odd.row.failure = odd.attempts[0].failure.clone();
    let text = table(&odd, 80, false, 100_000);
    assert!(text.contains("a\\u{1b}xxxx") && text.contains("80 %"), "{text}");
    assert!(!text.contains(&"x".repeat(61)) && !text.contains(&"b".repeat(61)), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

#[test]
fn of_many_classes_the_commonest_confusions_are_named() {
    let mut confusion = vec![vec![0; 20]; 20];
    (confusion[3][4], confusion[4][3], confusion[19][0]) = (7, 9, 1);
    let classes = (0..20).map(|class| format!("class {class}")).collect();
    let split = Split { name: "test".to_owned(), confusion, ..Split::default() };
    let text = table(&TrialView { splits: vec![split], classes, ..view() }, 80, false, 0);
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with("       ")).map(str::trim).collect();
    let wanted =
        ["9  class 4 taken for class 3", "7  class 3 taken for class 4", "1  class 19 taken for class 0"];
    assert_eq!(found, wanted, "{text}");
}

#[test]
fn a_trial_that_runs_has_no_rank_and_its_try_goes_on() {
    let mut running = view();
    running.row.state = crate::results::TrialState::Running;
    (running.rank, running.steps, running.attempts[1].ended_ms) = (None, 0, None);
    let text = table(&running, 80, false, 41_000);
    assert!(text.starts_with("trial 2 of sentiment-1f3a (running)\n"), "{text}");
    assert!(text.contains(" 2  box-2  10s  goes on\n"), "{text}");
}

#[test]
fn programs_read_classes_by_name_and_curves_by_metric() {
    let document: serde_json::Value = serde_json::from_str(&json(&view())).unwrap();
    assert_eq!(document["version"], VERSION);
    assert_eq!(document["mistakes"][0]["taken"], "positive");
    assert_eq!(document["curves"]["loss"][4], serde_json::json!([100, 0.4]));
    assert_eq!(document["splits"][0]["confusion"], serde_json::json!([[40, 10], [12, 38]]));
    assert_eq!((&document["rank"], &document["trial"]), (&1.into(), &2.into()));
}
