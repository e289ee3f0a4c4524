//! `distilsweep-worker predict` and `evaluate` as their users meet them.
#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and their helpers")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A tiny DistilBERT and its data; see its README.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixture").join(name)
}

/// What transformers made of it; see `predict/record.py`.
fn recorded() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/predict/recorded.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Runs the worker in `directory`, where `start` is the fixture's model.
fn worker(directory: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_distilsweep-worker"))
        .args(arguments)
        .args(["--threads", "1"])
        .current_dir(directory)
        .env_remove("RUST_LOG")
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments does not read.
    let _ = process.stdin.take().unwrap().write_all(input);
    process.wait_with_output().unwrap()
}

fn scene() -> TempDir {
    let directory = TempDir::new().unwrap();
    std::os::unix::fs::symlink(fixture("start"), directory.path().join("start")).unwrap();
    directory
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn error(output: &Output) -> String {
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.trim_end().rsplit("error: ").next().unwrap_or_default();
    format!("{} {}", output.status.code().unwrap_or(-1), last.lines().next().unwrap_or_default())
}

#[test]
fn predictions_are_those_of_transformers_pipeline() {
    let directory = scene();
    let cases = recorded()["predictions"].as_array().unwrap().clone();
    let rows: String =
        cases.iter().map(|case| serde_json::json!({"text": case["text"]}).to_string() + "\n").collect();
    fs::write(directory.path().join("texts.jsonl"), rows).unwrap();
    // Two at a time, so that texts of several lengths share a batch.
    for batch in ["1", "2", "64"] {
        let arguments =
            ["predict", "--model", "start", "--file", "texts.jsonl", "--format", "json", "--batch", batch];
        let predicted = json_lines(&worker(directory.path(), &arguments, b""));
        assert_eq!(predicted.len(), cases.len());
        for (predicted, case) in predicted.iter().zip(&cases) {
            assert_eq!(predicted["text"], case["text"], "the order is that of the file");
            let (ours, theirs) = (&predicted["probabilities"], &case["scores"]);
            assert_eq!(ours.as_array().unwrap().len(), 3);
            assert_eq!(predicted["label"], theirs[0]["label"]);
            for place in 0..3 {
                assert_eq!(ours[place]["label"], theirs[place]["label"], "{predicted}");
                let gap =
                    ours[place]["probability"].as_f64().unwrap() - theirs[place]["score"].as_f64().unwrap();
                assert!(gap.abs() < 1e-5, "{gap} in {predicted}");
            }
        }
    }
}

#[test]
fn texts_come_from_arguments_lines_and_files_and_are_told_alike() {
    let directory = scene();
    let texts = ["the baker sings beautifully", "our train, \"late\" again", "a lamp"];
    let path = directory.path();
    let csv: String = texts.iter().map(|text| format!("1,\"{}\"\n", text.replace('"', "\"\""))).collect();
    fs::write(path.join("texts.csv"), "number,said\n".to_owned() + &csv).unwrap();
    fs::write(path.join("texts.tsv"), format!("text\n{}\n", texts.join("\n"))).unwrap();
    for format in ["table", "csv", "json"] {
        let run = |more: &[&str], input: &str| {
            let arguments = [&["predict", "--model", "start", "--format", format], more].concat();
            text(&worker(path, &arguments, input.as_bytes()))
        };
        let given = run(&texts, "");
        assert_eq!(given, run(&[], &texts.join("\n")), "{format}");
        assert_eq!(given, run(&["--file", "texts.csv", "--text-column", "said"], ""), "{format}");
        assert_eq!(given, run(&["--file", "texts.tsv"], ""), "{format}");
        let heads = if format == "json" { 0 } else { 1 };
        assert_eq!(given.lines().count(), texts.len() + heads, "{given}");
    }
}

#[test]
fn evaluate_measures_what_transformers_does() {
    let directory = scene();
    let file = fixture("validation.csv");
    let file = file.to_str().unwrap();
    let arguments = ["evaluate", "--model", "start", "--file", file, "--json"];
    let report: Value = serde_json::from_str(&text(&worker(directory.path(), &arguments, b""))).unwrap();
    let recorded = &recorded()["validation"];
    for score in ["loss", "accuracy"] {
        let gap = report[score].as_f64().unwrap() - recorded[score].as_f64().unwrap();
        assert!(gap.abs() < 1e-5, "{score}: {gap}");
    }
    assert_eq!(report["confusion"], recorded["confusion"]);
    assert_eq!(report["classes"], serde_json::json!(["praise", "blame", "fact"]));
    assert_eq!(report["rows"], 31);
    let table = text(&worker(directory.path(), &["evaluate", "--model", "start", "--file", file], b""));
    insta::assert_snapshot!(table, @"
    rows      31
    loss      1.0554
    accuracy  0.4516
    Matthews  0.0000

    class     precision  recall      F1  support
    ────────────────────────────────────────────
    praise       0.4516  1.0000  0.6222       14
    blame        0.0000  0.0000  0.0000        7
    fact         0.0000  0.0000  0.0000       10
    ────────────────────────────────────────────
    weighted     0.2040  0.4516  0.2810       31
    macro        0.1505  0.3333  0.2074       31

    confusion matrix (row: truth, column: prediction)
            praise  blame  fact
    praise      14      ·     ·
    blame        7      ·     ·
    fact        10      ·     ·

    commonest confusions
    10  fact taken for praise
     7  blame taken for praise
    ");
}

#[test]
fn wrong_input_gets_one_sentence_and_an_exit_code() {
    let directory = scene();
    let path = directory.path();
    fs::write(path.join("empty.csv"), "text,label\n").unwrap();
    fs::write(path.join("other.csv"), "said,mood\na lamp,praise\n").unwrap();
    fs::write(path.join("mislabelled.csv"), "text,label\na lamp,praise\n\"a\nboat\",parise\na,7\n").unwrap();
    fs::write(path.join("blank.csv"), "text,label\na lamp,praise\n ,praise\n").unwrap();
    let copy = |name: &str, change: &dyn Fn(&mut Value)| {
        fs::create_dir(path.join(name)).unwrap();
        for entry in fs::read_dir(fixture("start")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), path.join(name).join(entry.file_name())).unwrap();
        }
        let config = path.join(name).join("config.json");
        let mut json = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
        change(&mut json);
        fs::write(&config, json.to_string()).unwrap();
    };
    copy("more", &|json| json["id2label"]["3"] = "rumour".into());
    copy("gap", &|json| json["id2label"] = serde_json::json!({"0": "a", "2": "b"}));
    copy("several", &|json| json["problem_type"] = "multi_label_classification".into());
    copy("bert", &|json| json["model_type"] = "bert".into());
    let texts = ["a lamp"];
    let predict = |more: &[&'static str]| [&["predict", "--model"], more].concat();
    let evaluate = |more: &[&'static str]| [&["evaluate", "--model", "start", "--file"], more].concat();
    let cases = [
        predict(&["start"]),
        predict(&["start", "--file", "empty.csv"]),
        predict(&["start", "--file", "other.csv"]),
        predict(&["start", "--file", "other.csv", "--text-column", "says"]),
        predict(&["start", "--file", "gone.csv"]),
        predict(&["start", "--file", "other.csv", "a lamp"]),
        predict(&["start", "--text-column", "said", "a lamp"]),
        predict(&["start", "--top", "0", "a lamp"]),
        predict(&["start", "--max-length", "41", "a lamp"]),
        predict(&["start", "--max-length", "2", "a lamp"]),
        predict(&[&["nowhere/at/all"], &texts[..]].concat()),
        predict(&[&["more"], &texts[..]].concat()),
        predict(&[&["gap"], &texts[..]].concat()),
        predict(&[&["several"], &texts[..]].concat()),
        predict(&[&["bert"], &texts[..]].concat()),
        evaluate(&["empty.csv"]),
        evaluate(&["other.csv"]),
        evaluate(&["other.csv", "--text-column", "said"]),
        evaluate(&["mislabelled.csv"]),
        evaluate(&["blank.csv"]),
    ];
    let said: Vec<String> = cases.iter().map(|case| error(&worker(path, case, b"\n"))).collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    3 there is nothing to classify: give texts, --file, or a text a line on standard input
    3 empty.csv has no rows to classify
    3 other.csv has no column for the text (looked for "text", "sentence", "content", "review"; `text: NAME` in the data set or --text-column names it); its columns are "said", "mood"
    3 other.csv has no column "says"; its columns are "said", "mood"
    3 gone.csv does not exist: check the path (relative ones in a sweep file count from it)
    2 the argument '--file <FILE>' cannot be used with '[TEXT]...'
    2 the argument '--text-column <TEXT_COLUMN>' cannot be used with '[TEXT]...'
    2 invalid value '0' for '--top <CLASSES>': 0 is not in 1..=65535
    3 `max_length` is 41, it must be at most 40, the positions of start
    3 max_length is 2, it must be at least 3 for start/tokenizer.json
    3 nowhere/at/all does not exist: it must be a directory or an id of the Hub (owner/name)
    3 more/model.safetensors: tensor `classifier.weight` has the shape [3, 32], config.json makes it [4, 32]
    3 gap/config.json: `id2label` is {"0":"a","2":"b"}, it must be an object of at least two class names by their numbers, from "0" on
    3 several/config.json: `problem_type` is "multi_label_classification", it must be single_label_classification
    3 bert/config.json: `model_type` is "bert", it must be distilbert to classify: training makes one of it
    3 empty.csv has no rows to evaluate
    3 other.csv has no column for the text (looked for "text", "sentence", "content", "review"; `text: NAME` in the data set or --text-column names it); its columns are "said", "mood"
    3 other.csv has no column for the label (looked for "label", "labels", "target", "class"; `label: NAME` in the data set or --label-column names it); its columns are "said", "mood"
    3 mislabelled.csv line 3: unknown label "parise", did you mean "praise"?; the classes are "praise", "blame", "fact"
    3 blank.csv line 3: the text (column "text") is empty; fill it or remove the row
    "#);
}

/// A copy of the fixture's model in `directory`, with another `config.json`.
fn copy_model(directory: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    fs::create_dir(directory.join(name)).unwrap();
    for entry in fs::read_dir(fixture("start")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), directory.join(name).join(entry.file_name())).unwrap();
    }
    let config = directory.join(name).join("config.json");
    let mut json = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
    change(&mut json);
    fs::write(&config, json.to_string()).unwrap();
}

/// Standard error of a command that succeeds.
fn notes(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

const PAIRS: &str = "premise,hypothesis,label\na lamp,the old bridge,praise\na train,our garden,fact\n";

#[test]
fn predict_and_evaluate_read_the_same_columns() {
    let directory = scene();
    let path = directory.path();
    fs::write(path.join("pairs.csv"), PAIRS).unwrap();
    let run = |command: &str, more: &[&str]| {
        worker(path, &[&[command, "--model", "start", "--file", "pairs.csv"], more].concat(), b"")
    };
    let pairs = run("predict", &["--json"]);
    let first = run("predict", &["--json", "--text-column", "premise"]);
    assert_ne!(json_lines(&pairs), json_lines(&first), "the second text counts");
    let all = [
        notes(&pairs),
        notes(&run("evaluate", &[])),
        notes(&first),
        notes(&run("predict", &["--text-column", "label", "--text-pair-column", "premise"])),
        notes(&run("evaluate", &["--text-column", "hypothesis"])),
        notes(&run("predict", &["--quiet"])),
    ];
    insta::assert_snapshot!(all.join("\n"), @"
    reading text = premise, second text = hypothesis
    reading text = premise, second text = hypothesis, label = label
    reading text = premise
    reading text = label, second text = premise
    reading text = hypothesis, label = label
    ");
}

#[test]
fn model_of_pairs_rejects_single_texts() {
    let directory = scene();
    let path = directory.path();
    copy_model(path, "paired", |json| json["distilsweep"] = serde_json::json!({"text_columns": 2}));
    copy_model(path, "single", |json| json["distilsweep"] = serde_json::json!({"text_columns": 1}));
    fs::write(path.join("pairs.csv"), PAIRS).unwrap();
    fs::write(path.join("texts.csv"), "text,label\na lamp,praise\n").unwrap();
    let run = |arguments: &[&str]| worker(path, arguments, b"a lamp\n");
    let read = [
        notes(&run(&["predict", "--model", "paired", "--file", "pairs.csv"])),
        notes(&run(&["evaluate", "--model", "single", "--file", "pairs.csv"])),
        error(&run(&["predict", "--model", "paired", "a lamp"])),
        error(&run(&["predict", "--model", "paired"])),
        error(&run(&["predict", "--model", "paired", "--file", "texts.csv"])),
        error(&run(&["evaluate", "--model", "paired", "--file", "pairs.csv", "--text-column", "premise"])),
        error(&run(&["predict", "--model", "single", "--separator", ";", "a lamp"])),
    ];
    insta::assert_snapshot!(read.join("\n"), @r#"
    reading text = premise, second text = hypothesis
    reading text = premise, second text = hypothesis, label = label
    the model was trained on single texts, pairs are read: --text-column "premise" leaves out "hypothesis"
    3 the model was trained on pairs of texts: give a --file with two text columns
    3 the model was trained on pairs of texts: give a --file with two text columns
    3 texts.csv: only the text column "text" was read, the model was trained on pairs of texts: --text-pair-column names the second one
    3 pairs.csv: only the text column "premise" was read, the model was trained on pairs of texts: --text-pair-column names the second one
    3 --separator, --encoding, --columns and --field say how a --file is read, and there is none
    "#);
}

#[test]
fn truncated_texts_are_counted_in_a_note() {
    let directory = scene();
    let path = directory.path();
    let long = "the old bridge is never on time ".repeat(2);
    fs::write(path.join("texts.csv"), format!("text,label\na lamp,praise\n{long},fact\n{long},blame\n"))
        .unwrap();
    let run = |arguments: &[&str]| notes(&worker(path, arguments, b""));
    let file = ["--model", "start", "--file", "texts.csv"];
    let read = [
        run(&[&["predict"], &file[..], &["--max-length", "8"]].concat()),
        run(&[&["evaluate"], &file[..], &["--max-length", "8"]].concat()),
        run(&[&["predict"], &file[..]].concat()),
        run(&["predict", "--model", "start", "--max-length", "4", &long]),
    ];
    insta::assert_snapshot!(read.join("\n"), @"
    reading text = text
    2 of 3 texts are longer than 8 tokens and were truncated
    reading text = text, label = label
    2 of 3 texts are longer than 8 tokens and were truncated
    reading text = text
    1 of 1 texts is longer than 4 tokens and was truncated
    ");
}

#[test]
fn class_names_may_be_numbers_or_missing() {
    let directory = scene();
    let path = directory.path();
    copy_model(path, "numbers", |json| json["id2label"] = serde_json::json!({"0": 0, "1": 1, "2": 5}));
    copy_model(path, "counted", |json| {
        json.as_object_mut().unwrap().remove("id2label");
        json["num_labels"] = 3.into();
    });
    copy_model(path, "twice", |json| json["id2label"]["2"] = json["id2label"]["0"].clone());
    let csv = |model: &str| {
        let output = worker(path, &["predict", "--model", model, "--format", "csv", "a lamp"], b"");
        text(&output).lines().next().unwrap().to_owned()
    };
    assert_eq!(csv("numbers"), "text,label,probability,0,1,5");
    assert_eq!(csv("counted"), "text,label,probability,LABEL_0,LABEL_1,LABEL_2");
    insta::assert_snapshot!(error(&worker(path, &["predict", "--model", "twice", "a lamp"], b"")), @r#"3 twice/config.json: `id2label` is {"0":"praise","1":"blame","2":"praise"}, it must be names that differ: classes 0 and 2 are both `praise`"#);
}
