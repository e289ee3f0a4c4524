//! Trials that are no better than always answering the majority class.

use std::collections::BTreeMap;

use super::{Summary, completed, summary};
use crate::results::{html, json, markdown, table};

#[test]
fn trials_at_the_majority_baseline_are_marked_in_every_form() {
    let better = summary();
    for text in [table(&better, 120, false), markdown(&better), html(&better)] {
        assert!(!text.contains("≤ majority class") && !text.contains("no better than"), "{text}");
    }
    let flat = |value| vec![completed(0, 2e-5, 0.0, value), completed(1, 1.0, 0.1, 0.2)];
    let none_learned = Summary { trials: flat(0.2471), total: 2, ..summary() };
    for text in [table(&none_learned, 120, false), markdown(&none_learned), html(&none_learned)] {
        assert_eq!(text.matches("≤ majority class").count(), 2, "{text}");
        assert!(text.contains("no better than always answering the majority class"), "{text}");
    }
    let narrow = table(&none_learned, 60, false);
    assert_eq!(narrow.matches("≤ majority class").count(), 2, "{narrow}");
    let one_learned = Summary { trials: flat(0.61), total: 2, ..summary() };
    let text = table(&one_learned, 120, false);
    assert_eq!(text.matches("≤ majority class").count(), 1, "{text}");
    assert!(!text.contains("no better than"), "the best one has learned: {text}");

    let document: serde_json::Value = serde_json::from_str(&json(&one_learned)).unwrap();
    let marks = |document: &serde_json::Value| {
        let trials = document["trials"].as_array().unwrap().iter();
        trials.map(|trial| trial["at_baseline"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(marks(&document), [false, true]);
    let unknown = Summary { baseline: BTreeMap::new(), ..one_learned };
    let document: serde_json::Value = serde_json::from_str(&json(&unknown)).unwrap();
    assert!(marks(&document).iter().all(serde_json::Value::is_null));
    assert!(!table(&unknown, 120, false).contains("majority"));
}
