//! What a file that is right has to say all the same.

use super::*;
use crate::spec::{Reading, read};

/// What there is to say of a source, as the command line prints it.
fn said(source: &str) -> String {
    let reading = read(source).unwrap_or_else(|problems| panic!("{}", problems.in_file("sweep.yaml")));
    let lines = reading.warnings.iter().map(|warning| warning.in_file("sweep.yaml"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_file_without_anything_unusual_says_nothing() {
    assert_eq!(said(GOOD), "");
    assert_eq!(said(include_str!("../../../../deploy/examples/sentiment.yaml")), "");
    assert_eq!(said(include_str!("../../../../deploy/examples/emotion.yaml")), "");
}

#[test]
fn keys_of_wandb_without_a_meaning_here_are_read_over_and_said() {
    let wandb = format!(
        "program: train.py\nentity: e\nproject: p\n{GOOD}command: [python, train.py]\njob: j\nimage_uri: i\n"
    );
    assert_eq!(good(&wandb).digest(), good(GOOD).digest());
    insta::assert_snapshot!(said(&wandb), @"
    sweep.yaml:1:1: `program` means nothing here: W&B starts a training script by it, the workers here train `model` themselves
    sweep.yaml:2:1: `entity` means nothing here: it names an account of W&B
    sweep.yaml:3:1: `project` means nothing here: it names a project of W&B, the experiment of MLflow is named by `experiment`
    sweep.yaml:10:1: `command` means nothing here: W&B starts a training script by it, the workers here train `model` themselves
    sweep.yaml:11:1: `job` means nothing here: it is for W&B Launch, workers here join the coordinator
    sweep.yaml:12:1: `image_uri` means nothing here: it is for W&B Launch, workers here join the coordinator
    ");
}

#[test]
fn where_a_sweep_is_trained_and_tagged_is_no_part_of_it() {
    let file = format!(
        "{GOOD}tags: [smoke, night]\nresources: {{workers: 2, threads: 4, lanes: 8, device: cpu}}\n\
         tracking: http://127.0.0.1:5000\nstorage: file:///trials\n"
    );
    let Reading { spec, local, .. } = read(&file).unwrap();
    assert_eq!(spec.digest(), good(GOOD).digest());
    assert_eq!((local.workers, local.threads, local.lanes), (Some(2), Some(4), Some(8)));
    assert_eq!(local.device.as_deref(), Some("cpu"));
    assert_eq!(local.tracking.as_deref(), Some("http://127.0.0.1:5000"));
    assert_eq!(local.storage.as_deref(), Some("file:///trials"));
    let tags = [("night", "true"), ("smoke", "true")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(spec.origin.tags, tags.into());
    let tagged = good(&format!("{GOOD}tags: {{team: nlp, round: 2}}\n"));
    assert_eq!(tagged.origin.tags["round"], "2");
    let unheeded: Vec<String> = local.unheeded.iter().map(|one| one.in_file("sweep.yaml")).collect();
    insta::assert_snapshot!(unheeded.join("\n"), @"
    sweep.yaml:8:1: `resources` is for `distilsweep run`, here a worker is told when it joins
    sweep.yaml:9:1: `tracking` is for `distilsweep run`, here the coordinator records where it was told to
    sweep.yaml:10:1: `storage` is for `distilsweep run`, here the coordinator says where workers publish
    ");
    let wrong = [
        "tags: smoke",
        "tags: ['a=b', [c]]",
        "tags: {team: [nlp], '': 1, ../a: 2}",
        "resources: 2",
        "resources: {workers: 0, thread: 3, lanes: 2000}",
        "tracking: [a]",
    ];
    insta::assert_snapshot!(wrong.map(and).join("\n"), @r#"
    sweep.yaml:7:7: `tags` is "smoke", it must be a list of names, or a mapping: {team: nlp}
    sweep.yaml:7:8: tag "a=b" holds '=', MLflow takes letters, digits, spaces and any of _ - . : /
    sweep.yaml:7:15: `tags` is a list, it must be a list of names, or a mapping: {team: nlp}
    sweep.yaml:7:14: `team` is a list, it must be a text
    sweep.yaml:7:21: tag "" is no name for MLflow: 1 to 250 bytes, and no path out of its place
    sweep.yaml:7:28: tag "../a" is no name for MLflow: 1 to 250 bytes, and no path out of its place
    sweep.yaml:7:12: `resources` is 2, it must be a mapping for `distilsweep run`: {workers: 2, threads: 4, lanes: 8, device: auto}
    sweep.yaml:7:22: `workers` is 0, it must be a whole number from 1 to 1024
    sweep.yaml:7:25: unknown key `thread` in `resources`, did you mean `threads`?
    sweep.yaml:7:43: `lanes` is 2000, it must be a whole number from 1 to 1024
    sweep.yaml:7:11: `tracking` is a list, it must be a text
    "#);
}

#[test]
fn exponents_of_e_are_said_with_what_they_come_to() {
    let rate = |range: &str| {
        let line = format!("method: random\nrun_cap: 3\nparameters:\n  learning_rate: {range}\n");
        GOOD.split("method").next().unwrap().to_owned() + &line
    };
    insta::assert_snapshot!(said(&rate("{distribution: log_uniform, min: -11.5, max: -7}")), @"sweep.yaml:7:33: the bounds of log_uniform are exponents of e: `learning_rate` lies between 1.013e-5 and 9.119e-4; log_uniform_values takes the values themselves");
    insta::assert_snapshot!(said(&rate("{distribution: log_uniform_values, min: 1e-5, max: 1e-3}")), @"");
}

#[test]
fn a_metric_that_is_reported_at_the_end_alone_ends_no_trial_early() {
    let file = format!("{GOOD}  eval_strategy: {{values: [epoch, no]}}\nearly_terminate: {{type: median}}\n");
    insta::assert_snapshot!(said(&file), @"sweep.yaml:8:1: `early_terminate` never ends a trial with `eval_strategy` no: that one is judged at its end");
}

#[test]
fn values_that_usually_go_wrong_are_said() {
    let file = GOOD.replace("2e-5, 5e-5", "2e-5, 5e-3")
        + "  max_length: {value: 1024}\n  warmup_ratio: {value: 0.1}\n  warmup_steps: {value: 10}\n\
           \x20 num_train_epochs: {value: 2}\n  max_steps: {value: 10}\n";
    insta::assert_snapshot!(said(&file), @"
    sweep.yaml:6:3: `learning_rate` goes up to 0.005; above 0.001 a pretrained model usually diverges
    sweep.yaml:7:3: `max_length` goes up to 1024; DistilBERT and BERT have positions for 512 tokens
    sweep.yaml:8:3: `warmup_ratio` has no effect where `warmup_steps` is above 0
    sweep.yaml:10:3: `num_train_epochs` has no effect where `max_steps` is above 0
    ");
}
