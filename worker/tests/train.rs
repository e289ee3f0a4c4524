//! `distilsweep-worker train` and `convert` as their users meet them.
#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and their helpers")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// A tiny DistilBERT and its data; see its README.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixture")
}

/// Runs the worker in `directory`, which holds a copy of the fixture.
fn worker(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_distilsweep-worker"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("RUST_LOG")
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap()
}

fn copied() -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("start")).unwrap();
    for entry in fs::read_dir(fixture().join("start")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), directory.path().join("start").join(entry.file_name())).unwrap();
    }
    for name in ["train.csv", "validation.csv"] {
        fs::copy(fixture().join(name), directory.path().join(name)).unwrap();
    }
    directory
}

const TRAIN: [&str; 9] = [
    "train",
    "--model",
    "start",
    "--train",
    "train.csv",
    "--validation",
    "validation.csv",
    "--labels",
    "praise,blame,fact",
];

fn train(directory: &Path, more: &[&str]) -> Output {
    let arguments: Vec<&str> = TRAIN.iter().chain(more).copied().collect();
    worker(directory, &arguments)
}

fn error(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.trim_end().rsplit("error: ").next().unwrap_or_default();
    format!("{} {}", output.status.code().unwrap_or(-1), last.lines().next().unwrap_or_default())
}

#[test]
fn a_trial_leaves_its_curve_evaluations_result_and_model() {
    let directory = copied();
    let output = train(
        directory.path(),
        &[
            "--test",
            "validation.csv",
            "--params",
            r#"{"max_steps": 15, "per_device_train_batch_size": 6, "learning_rate": 0.001, "weight_decay": 0.01}"#,
            "--threads",
            "1",
            "--output",
            "out/put",
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let out = directory.path().join("out/put");
    let lines = |name: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(out.join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let steps = lines("steps.jsonl");
    assert_eq!(
        steps.iter().map(|s| s["step"].as_u64().unwrap()).collect::<Vec<_>>(),
        (1..=15).collect::<Vec<_>>()
    );
    assert!(
        steps.iter().all(|s| s["loss"].is_f64() && s["grad_norm"].is_f64() && s["learning_rate"].is_f64())
    );
    let evaluations = lines("evals.jsonl");
    assert_eq!(evaluations.iter().map(|e| e["step"].as_u64().unwrap()).collect::<Vec<_>>(), [13, 15]);
    let result: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(out.join("result.json")).unwrap()).unwrap();
    let metrics = &result["metrics"];
    assert_eq!(metrics["best_validation_f1"], metrics["eval_f1_score"]);
    // Validation stands in for the test split here.
    assert_eq!(metrics["test_f1_score"], metrics["eval_f1_score"]);
    for key in ["seconds", "steps_per_second", "samples_per_second", "peak_rss_mib"] {
        assert!(result[key].as_f64().unwrap() > 0.0, "{key}");
    }
    let mut files: Vec<String> = fs::read_dir(out.join("model"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let expected = [
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ];
    assert_eq!(files, expected);
}

#[test]
fn wrong_input_gets_one_sentence_an_exit_code_and_leaves_nothing() {
    let directory = copied();
    let path = directory.path();
    fs::create_dir(path.join("pickle")).unwrap();
    fs::copy(path.join("start/config.json"), path.join("pickle/config.json")).unwrap();
    fs::write(path.join("pickle/pytorch_model.bin"), b"\x80").unwrap();
    fs::create_dir(path.join("roberta")).unwrap();
    for name in ["model.safetensors", "tokenizer.json"] {
        fs::copy(path.join("start").join(name), path.join("roberta").join(name)).unwrap();
    }
    fs::write(path.join("roberta/config.json"), r#"{"model_type": "roberta"}"#).unwrap();
    fs::write(path.join("unlabelled.csv"), "text,mood\na lamp,praise\n").unwrap();
    fs::write(path.join("mislabelled.csv"), "text,label\na lamp,praise\na boat,parise\n").unwrap();
    let cases: &[&[&str]] = &[
        &["--model", "nowhere/at/all"],
        &["--model", "pickle"],
        &["--model", "roberta"],
        &["--train", "absent.csv"],
        &["--train", "unlabelled.csv"],
        &["--train", "mislabelled.csv"],
        &["--params", "{"],
        &["--params", r#"{"learning_rte": 1}"#],
        &["--params", r#"{"learning_rate": "fast"}"#],
        &["--params", r#"{"learning_rate": 1e-8, "lr_scheduler_type": "polynomial"}"#],
        &["--max-length", "41"],
        &["--dropout", "1"],
        &["--precision", "fp8"],
        &["--device", "tpu"],
        &["--metric", "f1"],
    ];
    let mut said = Vec::new();
    for case in cases {
        // An option given twice would be the error: leave out the one that the case replaces.
        let mut arguments = vec![TRAIN[0]];
        for pair in TRAIN[1..].chunks(2) {
            if pair[0] != case[0] {
                arguments.extend(pair);
            }
        }
        arguments.extend(*case);
        arguments.extend(["--output", "out"]);
        said.push(error(&worker(path, &arguments)));
        assert!(!path.join("out").exists(), "{case:?} left something behind");
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    3 nowhere/at/all does not exist: it must be a directory or an id of the Hub (owner/name)
    3 pickle/model.safetensors does not exist: its weights are a pickle (pytorch_model.bin): save it again with save_pretrained(.., safe_serialization=True)
    3 roberta/config.json: `model_type` is "roberta", it must be distilbert or bert
    3 absent.csv does not exist: check the path (relative ones in a sweep file count from it)
    3 unlabelled.csv has no column for the label (looked for "label", "labels", "target", "class"; `label: NAME` in the data set or --label-column names it); its columns are "text", "mood"
    3 mislabelled.csv line 3: unknown label "parise", did you mean "praise"?; the classes are "praise", "blame", "fact"
    3 --params must be a JSON object of hyperparameters: EOF while parsing an object at line 1 column 1
    3 unknown parameter `learning_rte`, did you mean `learning_rate`?
    3 `learning_rate` is "fast", it must be a number from 0 to 1000
    3 `learning_rate` is 1e-8, it must be above 1e-7, where the polynomial schedule ends
    3 `max_length` is 41, it must be at most 40, the positions of start
    2 invalid value '1' for '--dropout <DROPOUT>': it must be a number of at least 0 and below 1
    2 invalid value 'fp8' for '--precision <PRECISION>': it must be fp32, bf16 or fp64
    2 invalid value 'tpu' for '--device <DEVICE>': it must be auto, cpu, cuda or cuda:NUMBER
    2 invalid value 'f1' for '--metric <METRIC>': it must be one of best_validation_f1, best_eval_f1_macro, best_eval_accuracy, best_eval_precision, best_eval_recall, best_eval_matthews_correlation, best_eval_loss
    "#);
}

#[test]
fn pairs_of_texts_are_trained_on_and_evaluated_as_pairs() {
    let directory = copied();
    let path = |name: &str| directory.path().join(name);
    for name in ["train.csv", "validation.csv"] {
        let paired = |line: &str| {
            let (text, label) = line.rsplit_once(',').unwrap();
            format!("{text},it was said,{label}\n")
        };
        let rows = fs::read_to_string(path(name)).unwrap();
        let rows: String = rows.lines().skip(1).map(paired).collect();
        fs::write(path(name), format!("premise,hypothesis,label\n{rows}")).unwrap();
    }
    let params = r#"{"max_steps": 20, "per_device_train_batch_size": 6, "learning_rate": 0.001}"#;
    let output = train(directory.path(), &["--params", params, "--threads", "1", "--output", "out"]);
    assert!(output.status.success(), "{}", error(&output));
    let result: Value = serde_json::from_slice(&fs::read(path("out/result.json")).unwrap()).unwrap();
    let evaluated = |more: &[&str]| -> Value {
        let arguments =
            [&["evaluate", "--model", "out/model", "--file", "validation.csv", "--json"], more].concat();
        let output = worker(directory.path(), &arguments);
        assert!(output.status.success(), "{}", error(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let reached = |seen: &Value| seen["weighted"]["f1"].as_f64().unwrap_or_else(|| panic!("{seen}"));
    let best = result["metrics"]["best_validation_f1"].as_f64().unwrap();
    assert!((reached(&evaluated(&[])) - best).abs() < 1e-6, "{result}");
    // The second text is read: in the other order other numbers come out.
    let swapped = evaluated(&["--text-column", "hypothesis", "--text-pair-column", "premise"]);
    assert_ne!(swapped["loss"], evaluated(&[])["loss"]);
    let single = ["evaluate", "--model", "out/model", "--file", "validation.csv", "--text-column", "premise"];
    insta::assert_snapshot!(
        error(&worker(directory.path(), &single)),
        @r#"3 validation.csv: only the text column "premise" was read, the model was trained on pairs of texts: --text-pair-column names the second one"#
    );

    let config = r#"{"model_type": "bert", "vocab_size": 99, "max_position_embeddings": 64, "hidden_size": 8,
        "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_act": "gelu"}"#;
    fs::write(path("start/config.json"), config).unwrap();
    let output = train(directory.path(), &["--params", params, "--output", "bert"]);
    insta::assert_snapshot!(
        error(&output),
        @"3 start/config.json is a BERT's, which tells the texts of a pair apart by segments: pairs need a DistilBERT checkpoint, which does without (distilbert-base-uncased, say)"
    );
}

#[test]
fn a_full_output_directory_is_refused_and_left_as_it_was() {
    let directory = copied();
    fs::create_dir(directory.path().join("out")).unwrap();
    fs::write(directory.path().join("out/mine"), "mine").unwrap();
    let output = train(directory.path(), &["--output", "out"]);
    insta::assert_snapshot!(error(&output), @"3 out is not empty: --output must name a new or an empty directory");
    assert_eq!(fs::read_to_string(directory.path().join("out/mine")).unwrap(), "mine");
}

#[test]
fn a_training_that_diverges_says_so() {
    let directory = copied();
    let params = r#"{"max_steps": 30, "learning_rate": 1000, "max_grad_norm": 0, "weight_decay": 1000}"#;
    let output = train(directory.path(), &["--params", params, "--output", "out"]);
    let error = error(&output);
    assert!(error.starts_with("6 diverged: the loss is "), "{error}");
    assert!(!directory.path().join("out").exists());
}

/// The dropout is the CPU's to the last bit, so that only the rounding of sums parts the two.
#[test]
fn a_gpu_trains_as_the_cpu_does() {
    if std::env::var_os("DISTILSWEEP_TEST_GPU").is_none() {
        eprintln!("skipped: DISTILSWEEP_TEST_GPU is not set; tests/run.sh --all sets it where a GPU is");
        return;
    }
    let directory = copied();
    let losses = |device: &str, precision: &str| -> Option<Vec<f64>> {
        let params = r#"{"max_steps": 10, "per_device_train_batch_size": 6}"#;
        let out = format!("{device}-{precision}");
        let more = ["--params", params, "--device", device, "--precision", precision, "--output", &out];
        let output = train(directory.path(), &[&more[..], &["--dropout", "0.1"]].concat());
        if error(&output).contains("libtorch_cuda.so") {
            return None;
        }
        assert!(output.status.success(), "{output:?}");
        let steps = fs::read_to_string(directory.path().join(out).join("steps.jsonl")).unwrap();
        let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64();
        Some(steps.lines().map(|line| loss(line).unwrap()).collect())
    };
    for (precision, tolerance) in [("fp64", 1e-9), ("fp32", 1e-3), ("bf16", 5e-2)] {
        let Some(there) = losses("cuda", precision) else {
            eprintln!("skipped: `deploy/libtorch.sh cuda` fetches libtorch with its CUDA half");
            return;
        };
        let here = losses("cpu", precision).unwrap();
        assert_eq!(there.len(), 10);
        for (step, (there, here)) in there.iter().zip(here).enumerate() {
            let gap = (there - here).abs() / here;
            assert!(gap < tolerance, "{precision}, step {}: {there} on the GPU, {here} on the CPU", step + 1);
        }
    }
}

#[test]
fn convert_writes_an_encoder_that_trains() {
    let directory = copied();
    for (output, more) in [("same", &[][..]), ("fresh", &["--random", "--seed", "3"][..])] {
        let arguments = [&["convert", "--model", "start", "--output", output], more].concat();
        let converted = worker(directory.path(), &arguments);
        assert!(converted.status.success(), "{converted:?}");
    }
    let read = |name: &str| fs::read(directory.path().join(name).join("model.safetensors")).unwrap();
    assert_ne!(read("same"), read("fresh"));
    let again = worker(directory.path(), &["convert", "--model", "same", "--output", "again"]);
    assert!(again.status.success(), "{again:?}");
    assert!(read("same") == read("again"), "converting a converted checkpoint changes it");
    let trained = worker(
        directory.path(),
        &[
            "train",
            "--model",
            "fresh",
            "--train",
            "train.csv",
            "--validation",
            "validation.csv",
            "--params",
            r#"{"max_steps": 2}"#,
            "--output",
            "out",
        ],
    );
    assert!(trained.status.success(), "{trained:?}");
}

#[test]
fn new_head_is_noted_and_pairs_are_recorded() {
    let directory = copied();
    let path = directory.path();
    let convert = worker(path, &["convert", "--model", "start", "--output", "encoder"]);
    assert!(convert.status.success(), "{convert:?}");
    let rows = "sentence1,sentence2,label\na lamp,the old bridge,praise\na train,our garden,fact\n\
                a boat,the river,blame\n";
    fs::write(path.join("pairs.csv"), rows).unwrap();
    let train = |model: &str, file: &str, output: &str| {
        let files = ["--train", file, "--validation", file, "--labels", "praise,blame,fact"];
        let rest = ["--params", r#"{"max_steps": 1}"#, "--no-checkpoints", "--threads", "1"];
        let arguments = [&["train", "--model", model, "--output", output], &files[..], &rest].concat();
        let trained = worker(path, &arguments);
        assert!(trained.status.success(), "{trained:?}");
        let config = fs::read_to_string(path.join(output).join("model/config.json")).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        (String::from_utf8(trained.stderr).unwrap(), config["distilsweep"]["text_columns"].clone())
    };
    let (notes, columns) = train("start", "validation.csv", "single");
    assert!(!notes.contains("no classification head"), "{notes}");
    assert_eq!(columns, 1);
    let (notes, columns) = train("encoder", "pairs.csv", "pairs");
    assert!(notes.contains("no classification head for these classes, a new one was initialised"), "{notes}");
    assert_eq!(columns, 2);
    let predict = |file: &[&str]| worker(path, &[&["predict", "--model", "pairs/model"], file].concat());
    assert!(predict(&["--file", "pairs.csv"]).status.success());
    assert!(error(&predict(&["a lamp"])).starts_with("3 the model was trained on pairs of texts"));
}

#[test]
fn weights_that_are_not_finite_are_rejected() {
    let directory = copied();
    let path = directory.path();
    let commands: [&[&str]; 4] = [
        &["predict", "--model", "start", "a lamp"],
        &["evaluate", "--model", "start", "--file", "validation.csv"],
        &["convert", "--model", "start", "--output", "out"],
        &[&TRAIN[..], &["--params", r#"{"max_steps": 1}"#, "--output", "out"]].concat(),
    ];
    for command in commands {
        let ran = worker(path, command);
        assert!(ran.status.success(), "{command:?} {ran:?}");
        let _ = fs::remove_dir_all(path.join("out"));
    }
    let weights = path.join("start/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let stored = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let bias = stored.tensor("distilbert.transformer.layer.0.ffn.lin2.bias").unwrap();
    let offset = bias.data().as_ptr() as usize - bytes.as_ptr() as usize;
    bytes[offset..offset + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, bytes).unwrap();
    let said: Vec<String> = commands.iter().map(|command| error(&worker(path, command))).collect();
    assert!(!path.join("out").exists(), "something is left behind");
    insta::assert_snapshot!(said.join("\n"), @"
    3 start/model.safetensors: tensor `distilbert.transformer.layer.0.ffn.lin2.bias` holds NaN or an infinite number, every weight must be finite
    3 start/model.safetensors: tensor `distilbert.transformer.layer.0.ffn.lin2.bias` holds NaN or an infinite number, every weight must be finite
    3 start/model.safetensors: tensor `distilbert.transformer.layer.0.ffn.lin2.bias` holds NaN or an infinite number, every weight must be finite
    3 start/model.safetensors: tensor `distilbert.transformer.layer.0.ffn.lin2.bias` holds NaN or an infinite number, every weight must be finite
    ");
}
