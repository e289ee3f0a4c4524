//! What the report shows, and what it lets nobody slip in.

use distilsweep_proto::params::Value;

use super::{super::tests::summary, *};
use crate::results::Curve;

#[test]
fn a_report_has_the_ranking_the_plots_and_the_settings_and_needs_no_other_host() {
    let mut summary = summary();
    summary.file = "name: sentiment\n".to_owned();
    summary.curves = [("loss", [(10, 1.1), (20, 0.8)]), ("eval_f1_score", [(10, 0.5), (20, 0.7)])]
        .map(|(metric, points)| Curve { trial: 2, metric: metric.to_owned(), points: points.to_vec() })
        .into();
    let page = html(&summary);
    for there in [
        "<h1>sentiment</h1>",
        "val F1 by place",
        "val F1 by learning_rate",
        "training loss by step",
        "val F1 by step",
    ] {
        assert!(page.contains(there), "{there} is missing");
    }
    assert!(page.contains("name: sentiment\n</pre>") && page.contains("learning_rate: {value: 5.0e-05}"));
    assert!(page.matches("<script").count() == 1 && !page.contains("@import") && !page.contains(" src="));
    let first = page.find("<tbody>").map(|at| &page[at..]).unwrap();
    assert!(
        first.starts_with("<tbody>\n<tr class=\"best\"><td class=\"n\">1<td class=\"n\">2<td><span"),
        "{}",
        &first[..200]
    );
}

#[test]
fn no_text_becomes_markup() {
    let mut summary = summary();
    let evil = "<script>alert('&\"')</script>".to_owned();
    (summary.name, summary.file) = (evil.clone(), evil.clone());
    summary.varied[0] = evil.clone();
    summary.trials[3].failure = Some(evil.clone());
    for row in &mut summary.trials {
        row.params.insert(evil.clone(), Value::Text(evil.clone()));
        row.checkpoint = Some(evil.clone());
    }
    assert!(!html(&summary).contains("<script>"));
}

#[test]
fn ten_thousand_trials_make_a_page_that_opens() {
    let mut summary = summary();
    let row = summary.trials[0].clone();
    summary.trials = (0..10_000).map(|trial| super::super::TrialRow { trial, ..row.clone() }).collect();
    let page = html(&summary);
    assert!(page.len() < 4_000_000, "{} bytes", page.len());
    assert!(page.contains("The first 1000 of 10000 trials"));
}

#[test]
fn a_sweep_without_a_result_says_so() {
    let mut summary = summary();
    summary.trials.clear();
    assert!(html(&summary).contains("No trial has a result yet."));
}
