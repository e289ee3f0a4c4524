//! `early_terminate` and what a metric says besides its name.

use super::*;
use crate::{
    search::{Bands, EarlyTerminate, Resource},
    spec::Impute,
};

fn rule(text: &str) -> EarlyTerminate {
    good(&format!("{GOOD}early_terminate: {text}\n")).early_terminate.expect("it is there")
}

#[test]
fn hyperband_is_read_as_wandb_reads_it() {
    let bands = Bands::From(3);
    assert_eq!(
        rule("{type: hyperband, min_iter: 3}"),
        EarlyTerminate::Hyperband { bands, eta: 3.0, strict: false }
    );
    assert_eq!(
        rule("{type: hyperband, max_iter: 27, s: 2, eta: 2, strict: true}"),
        EarlyTerminate::Hyperband { bands: Bands::Below(27, 2), eta: 2.0, strict: true }
    );
}

#[test]
fn asha_and_median_have_keys_of_their_own() {
    assert_eq!(
        rule("{type: asha, min_epochs: 0.5}"),
        EarlyTerminate::Asha { first: Resource::Epochs(0.5), eta: 3.0, brackets: 1 }
    );
    assert_eq!(
        rule("{type: asha, min_steps: 100, eta: 4, brackets: 2}"),
        EarlyTerminate::Asha { first: Resource::Steps(100), eta: 4.0, brackets: 2 }
    );
    assert_eq!(rule("{type: median}"), EarlyTerminate::Median { min_iter: 1, min_trials: 3 });
}

#[test]
fn a_metric_may_have_a_target_and_what_stands_for_a_missing_value() {
    let spec = good(&format!("{GOOD}metric: {{name: eval_loss, target: 0.1, impute: latest}}\n"));
    assert_eq!((spec.metric.target, spec.metric.impute), (Some(0.1), Impute::Latest));
    let stored = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<SweepSpec>(&stored).unwrap(), spec);
    assert!(
        !serde_json::to_string(&good(GOOD)).unwrap().contains("target"),
        "files without keep their digest"
    );
}

#[test]
fn what_is_wrong_with_it_is_said_with_its_place() {
    let early = |text: &str| and(&format!("early_terminate: {text}"));
    let cases = [
        early("hyperband"),
        early("{min_iter: 3}"),
        early("{type: hyperbnd}"),
        early("{type: hyperband}"),
        early("{type: hyperband, min_iter: 0}"),
        early("{type: hyperband, min_iter: 3, s: 2}"),
        early("{type: hyperband, max_iter: 27}"),
        early("{type: hyperband, max_iter: 2, s: 2}"),
        early("{type: hyperband, min_iter: 3, strict: 1}"),
        early("{type: asha, min_iter: 3}"),
        early("{type: asha}"),
        early("{type: asha, min_epochs: 0}"),
        early("{type: asha, min_epochs: 1, min_steps: 5}"),
        early("{type: asha, min_epochs: .nan, eta: 3}"),
        early("{type: asha, min_epochs: 1, eta: 1}"),
        early("{type: median, min_trials: none}"),
        and("metric: {name: eval_loss, target: low}"),
        and("metric: {name: eval_loss, impute: mean}"),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r#"
    sweep.yaml:7:18: `early_terminate` is "hyperband", it must be a mapping: {type: asha, min_epochs: 1, eta: 3}
    sweep.yaml:7:1: missing key `type` in `early_terminate`: hyperband, asha or median
    sweep.yaml:7:25: `type` is "hyperbnd", did you mean `hyperband`?
    sweep.yaml:7:1: hyperband needs `min_iter`, the evaluations up to its first band, or `max_iter` and `s`
    sweep.yaml:7:46: `min_iter` is 0, it must be a whole number from 1 to 2147483648
    sweep.yaml:7:49: `s` counts bands below `max_iter`, with `min_iter` there is none: remove it
    sweep.yaml:7:36: `max_iter` needs `s`: how many bands there are below it
    sweep.yaml:7:46: `max_iter` has no band below it: with an eta of 3 it must be at least 3
    sweep.yaml:7:57: `strict` is 1, it must be true or false
    sweep.yaml:7:31: unknown key `min_iter` in `early_terminate`, did you mean `min_steps`?
    sweep.yaml:7:1: asha needs `min_epochs` or `min_steps`: how far every trial is trained
    sweep.yaml:7:43: `min_epochs` is 0, it must be a number above 0
    sweep.yaml:7:46: `early_terminate` has `min_epochs` and `min_steps`, keep one
    sweep.yaml:7:43: `min_epochs` is .nan, it must be a number above 0
    sweep.yaml:7:51: `eta` is 1, it must be a number from 1.1 to 1000
    sweep.yaml:7:45: `min_trials` is "none", it must be a whole number from 1 to 2147483648
    sweep.yaml:7:35: `target` is "low", it must be a number
    sweep.yaml:7:35: `impute` is "mean", it must be best, worst or latest
    "#);
}
