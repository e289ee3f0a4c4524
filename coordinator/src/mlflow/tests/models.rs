//! Models of a sweep, logged in MLflow itself.

use std::{fs, path::Path, time::Duration};

use distilsweep_proto::{
    hex::hex,
    ids::{Lease, SweepId, Term, TrialId},
    manifest::{MANIFEST, Manifest, Part},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::time::Instant;
use url::Url;

use super::{
    client, create, finish,
    lossy::{Fault, lossy},
    memory::Memory,
    server::Server,
    steady, texts,
};
use crate::{
    mlflow::{
        drain::{Drained, drain_until_empty},
        models::{KeptModel, KeptModels},
        op::{Input, Op, Point, RunKey},
    },
    scheduler::StoredFiles,
};

/// Publishes a small model of the trial `index` as a worker does; that of trial 0 has a tokenizer without a vocabulary.
fn published(store: &Path, index: u64) -> StoredFiles {
    let directory = store.join(format!("s/{index}/1/30"));
    fs::create_dir_all(&directory).unwrap();
    let weights = format!("weights of {index}").repeat(20_000);
    let files = [
        ("config.json", "{}"),
        ("model.safetensors", weights.as_str()),
        ("special_tokens_map.json", "{}"),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "{}"),
        ("vocab.txt", "[PAD]\n"),
    ];
    let files = files.into_iter().filter(|(name, _)| index > 0 || *name != "vocab.txt");
    let parts = files.map(|(name, text)| {
        fs::write(directory.join(name), text).unwrap();
        Part { name: name.to_owned(), bytes: text.len() as u64, sha256: hex(&Sha256::digest(text)) }
    });
    let trial = TrialId { sweep: SweepId::new("s"), index };
    let lease = Lease { trial, attempt: 1, term: Term(1) };
    let manifest = serde_json::to_vec(&Manifest { lease, step: 30, parts: parts.collect() }).unwrap();
    fs::write(directory.join(MANIFEST), &manifest).unwrap();
    StoredFiles {
        url: Url::from_directory_path(&directory).unwrap().to_string(),
        step: 30,
        manifest_sha256: hex(&Sha256::digest(&manifest)),
    }
}

fn kept(outbox: &Memory, store: &Path, index: u64) -> KeptModel {
    let point =
        |key: &str, value| Point { key: key.into(), value, timestamp_ms: 1_795_500_100_000, step: 30 };
    KeptModel {
        sweep: "s".to_owned(),
        trial: index,
        run: outbox.ids(&format!("s/{index}")).unwrap(),
        files: published(store, index),
        base: "distilbert-base-uncased".to_owned(),
        params: texts(&[("learning_rate", "5e-05")]),
        metrics: vec![point("best_validation_f1", 0.5 + index as f64 / 10.0)],
        inputs: vec![Input {
            name: "d-validation".into(),
            digest: "ab12".into(),
            context: "validation".into(),
            source_type: "local".into(),
            source: r#"{"uri": "d"}"#.into(),
            schema: "{}".into(),
            profile: "{}".into(),
        }],
        finished_ms: 1_795_500_100_000,
    }
}

async fn told(address: &str, outbox: &Memory) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let drained = drain_until_empty(outbox, &client(address), steady, deadline).await.unwrap();
    assert_eq!(drained, Drained::Empty);
}

async fn get(address: &str, call: &str) -> Value {
    let url = format!("{address}/api/2.0/mlflow/{call}");
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

/// Starts a sweep of two trials, of which trial 1 is the better.
async fn begun(address: &str, experiment: &str, store: &Path) -> Memory {
    let outbox = Memory::holding([
        create(experiment, "s"),
        create(experiment, "s/0"),
        create(experiment, "s/1"),
        finish("s/0"),
        finish("s/1"),
    ]);
    told(address, &outbox).await;
    let models = [1, 0].map(|index| kept(&outbox, store, index)).into();
    outbox.keep(KeptModels { register: Some(format!("{experiment}-model")), models });
    outbox
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_models_are_logged_and_registered_once_over_a_network_that_loses_every_first_try() {
    let Some(server) = Server::start().await else { return };
    let store = TempDir::new().unwrap();
    let (address, fired) = lossy(&server.address).await;
    let outbox = begun(&address, "models", store.path()).await;
    // As after an extension: all of it again.
    for _ in 0..2 {
        outbox.add([(RunKey::new("s"), Op::Models)]);
        told(&address, &outbox).await;
    }
    assert!(outbox.aside().is_empty(), "{:?}", outbox.aside());

    let versions = get(&server.address, "model-versions/search?filter=name%3D%27models-model%27").await;
    let versions = versions["model_versions"].as_array().unwrap();
    assert_eq!(versions.len(), 2, "{versions:?}");
    let champion = get(&server.address, "registered-models/alias?name=models-model&alias=champion").await;
    let champion = &champion["model_version"];
    let best = outbox.ids("s/1").unwrap();
    assert_eq!((&champion["version"], &champion["run_id"]), (&json!("2"), &json!(best.run_id)));

    let model_id = champion["source"].as_str().unwrap().strip_prefix("models:/").unwrap();
    let model = get(&server.address, &format!("logged-models/{model_id}")).await;
    let (info, data) = (&model["model"]["info"], &model["model"]["data"]);
    assert_eq!((&info["status"], &info["name"]), (&json!("LOGGED_MODEL_READY"), &json!("model")));
    assert_eq!(data["params"], json!([{"key": "learning_rate", "value": "5e-05"}]));
    let metrics = data["metrics"].as_array().unwrap();
    assert_eq!((metrics.len(), &metrics[0]["key"]), (1, &json!("best_validation_f1")));
    assert_eq!(
        (&metrics[0]["dataset_name"], &metrics[0]["dataset_digest"]),
        (&json!("d-validation"), &json!("ab12"))
    );
    let run = get(&server.address, &format!("runs/get?run_id={}", best.run_id)).await;
    let outputs = run["run"]["outputs"]["model_outputs"].as_array().unwrap();
    assert_eq!((outputs.len(), &outputs[0]["model_id"]), (1, &json!(model_id)));

    let files = client(&server.address).model_files(model_id).await.unwrap();
    let paths: Vec<&str> = files.keys().map(String::as_str).collect();
    insta::assert_snapshot!(paths.join(" "), @"MLmodel components/tokenizer/special_tokens_map.json components/tokenizer/tokenizer.json components/tokenizer/tokenizer_config.json components/tokenizer/vocab.txt conda.yaml input_example.json model/config.json model/model.safetensors python_env.yaml requirements.txt serving_input_example.json");
    let fired = fired.lock().unwrap();
    for call in ["POST logged-models", "POST runs/outputs", "POST model-versions/create"] {
        for fault in [Fault::AnswerReplaced, Fault::AnswerLost, Fault::RequestLost] {
            let first = fired.iter().any(|((what, which), _)| what == call && *which == fault);
            // Two models make two first tries of each call.
            assert!(first || fault != Fault::AnswerReplaced, "{call} {fault:?} never happened: {fired:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_files_are_others_is_set_aside_and_keeps_none_from_being_logged() {
    let Some(server) = Server::start().await else { return };
    let store = TempDir::new().unwrap();
    let outbox = begun(&server.address, "broken", store.path()).await;
    let weights = store.path().join("s/1/1/30/model.safetensors");
    let length = fs::metadata(&weights).unwrap().len();
    fs::write(&weights, "x".repeat(length.try_into().unwrap())).unwrap();
    outbox.add([(RunKey::new("s"), Op::Models), finish("s")]);
    told(&server.address, &outbox).await;
    let aside = outbox.aside();
    assert!(
        matches!(&aside[..], [(_, why)] if why.contains("its model.safetensors is not the file that was recorded")),
        "{aside:?}"
    );

    let client = client(&server.address);
    let ready = async |run: &str| {
        let models = client.logged_models(&outbox.ids(run).unwrap()).await.unwrap();
        (models.len(), models.iter().filter(|model| model.is_ready()).count())
    };
    assert_eq!((ready("s/0").await, ready("s/1").await), ((1, 1), (1, 0)));
    let alias = reqwest::get(format!(
        "{}/api/2.0/mlflow/registered-models/alias?name=broken-model&alias=champion",
        server.address
    ));
    assert_eq!(alias.await.unwrap().status(), 400, "no version of the broken model");
    // With its files back it is logged.
    published(store.path(), 1);
    outbox.add([(RunKey::new("s"), Op::Models)]);
    told(&server.address, &outbox).await;
    assert_eq!(ready("s/1").await, (1, 1));
}
