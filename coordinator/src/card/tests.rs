//! A card of a trial of which much is known, and of one of which little is.

use std::collections::BTreeMap;

use distilsweep_proto::{params::Value, resource::ResourceFile};

use super::*;
use crate::results::TrialRow;

fn resource(kind: ResourceKind, id: &str, license: &str) -> Resource {
    Resource {
        kind,
        id: id.to_owned(),
        commit: Some("12040accade4e8a0f71eabdb258fecc2e7e948be".to_owned()),
        license: Some(license.to_owned()),
        page: Some(format!("https://huggingface.co/{id}")),
        files: vec![ResourceFile { path: "data/a.csv".to_owned(), bytes: 7, sha256: "ab".repeat(32) }],
    }
}

fn split(name: &str, digest: &str, confusion: &[&[u64]]) -> Split {
    Split {
        name: name.to_owned(),
        rows: confusion.iter().copied().flatten().sum::<u64>().max(40),
        sha256: digest.repeat(32),
        confusion: confusion.iter().map(|row| row.to_vec()).collect(),
    }
}

fn named(values: &[(&str, f64)]) -> BTreeMap<String, f64> {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

fn known() -> (Summary, TrialView) {
    let row = TrialRow {
        trial: 3,
        state: TrialState::Completed,
        params: [("learning_rate", Value::Number(5e-5)), ("max_length", Value::Integer(64))]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        metrics: named(&[("best_validation_f1", 0.75), ("test_f1_score", 0.7), ("test_accuracy", 0.625)]),
        errors: named(&[("best_validation_f1", 0.05), ("test_accuracy", 0.076)]),
        data: [("validation", "cd"), ("test", "ef")]
            .map(|(split, digest)| (split.to_owned(), digest.repeat(32)))
            .into(),
        ..TrialRow::default()
    };
    let summary = Summary {
        sweep: "mood-1f2e3d".to_owned(),
        name: "mood".to_owned(),
        metric: "best_validation_f1".to_owned(),
        maximize: true,
        total: 4,
        baseline: named(&[("eval_f1_score", 0.25), ("eval_accuracy", 0.5), ("test_accuracy", 0.5)]),
        trials: vec![row.clone()],
        resources: vec![
            resource(ResourceKind::Model, "distilbert-base-uncased", "apache-2.0"),
            resource(ResourceKind::Dataset, "dair-ai/emotion", "other"),
        ],
        ..Summary::default()
    };
    let trial = TrialView {
        sweep: "mood-1f2e3d".to_owned(),
        metric: "best_validation_f1".to_owned(),
        row,
        rank: Some((1, 4)),
        classes: vec!["sad | blue".to_owned(), "joy".to_owned()],
        splits: vec![
            split("train", "12", &[]),
            split("validation", "cd", &[&[10, 10], &[0, 20]]),
            split("test", "ef", &[&[5, 15], &[0, 20]]),
        ],
        tags: BTreeMap::from([("libtorch".to_owned(), "2.11.0".to_owned())]),
        steps: 100,
        ..TrialView::default()
    };
    (summary, trial)
}

fn card(summary: &Summary, trial: &TrialView) -> String {
    Card { summary, trial, place: Some(1), positions: Some(512), version: "0.1.0" }.text()
}

/// The front matter as what a reader of YAML makes of it.
fn matter(card: &str) -> serde_json::Value {
    let front = card.strip_prefix("---\n").and_then(|rest| rest.split_once("---\n")).unwrap().0;
    serde_saphyr::from_str(front).unwrap()
}

#[test]
fn the_hub_reads_what_is_known_and_the_true_numbers() {
    let (summary, trial) = known();
    let matter = matter(&card(&summary, &trial));
    assert_eq!(matter["license"], "apache-2.0");
    assert_eq!(
        (&matter["base_model"], &matter["datasets"]),
        (&"distilbert-base-uncased".into(), &["dair-ai/emotion"].into())
    );
    assert_eq!(matter["metrics"], serde_json::json!(["accuracy", "f1"]));
    let results = &matter["model-index"][0]["results"];
    let [validation, test] = [&results[0], &results[1]];
    assert_eq!(validation["dataset"]["type"], "dair-ai/emotion");
    assert_eq!(
        validation["metrics"],
        serde_json::json!([
            {"type": "f1", "name": "F1, weighted", "value": 0.75},
            {"type": "accuracy", "name": "accuracy", "value": 0.75},
        ])
    );
    assert_eq!(test["dataset"]["split"], "test");
    assert_eq!(
        test["metrics"][1],
        serde_json::json!({"type": "accuracy", "name": "accuracy", "value": 0.625})
    );
}

#[test]
fn people_read_what_it_is_how_good_how_chosen_and_what_nobody_knows() {
    let (summary, trial) = known();
    let card = card(&summary, &trial);
    let text = card.split_once("---\n\n").unwrap().1;
    insta::assert_snapshot!(text);
}

#[test]
fn of_a_model_of_local_files_no_path_is_told_and_nothing_is_made_up() {
    let (mut summary, mut trial) = known();
    for resource in &mut summary.resources {
        resource.id = format!("/elsewhere/secret/{}", resource.id.replace('/', "-"));
        (resource.commit, resource.license, resource.page) = (None, None, None);
    }
    trial.row.params.remove("max_length");
    trial.row.data.insert("test".to_owned(), "cd".repeat(32));
    let told = Card {
        place: None,
        positions: Some(40),
        ..Card { summary: &summary, trial: &trial, place: None, positions: None, version: "0.1.0" }
    }
    .text();
    assert!(!told.contains("secret"), "{told}");
    assert!(told.contains("max_length=40") && told.contains("this one has no place"), "{told}");
    assert!(told.contains("the test scores are no second opinion"), "{told}");
    let matter = matter(&told);
    for absent in ["license", "base_model", "base_model_relation", "datasets", "language"] {
        assert!(matter[absent].is_null(), "{absent} is not known");
    }
    assert_eq!(matter["model-index"][0]["results"][0]["dataset"]["type"], "local");
    summary.resources.clear();
    assert!(card(&summary, &trial).contains("a checkpoint that was not recorded"));
}
