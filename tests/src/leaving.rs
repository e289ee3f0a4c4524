//! How long a worker needs to go, from SIGTERM on: until its trial's state is published, and until its process has ended.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use distilsweep_proto::v1::{self, sweeps_client::SweepsClient};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    fleet::{Coordinator, Scene},
    wait::{now, until},
};

/// A worker loads, tokenizes and trains some steps in it.
const PATIENCE: Duration = Duration::from_secs(600);
/// Steps of a worker before it is told to go.
const STEPS: i64 = 3;

/// What is measured.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "drain",
    about = "Measures how soon a worker that is told to go has its trial's state published"
)]
pub struct Leaving {
    /// Workers that are told to go, one after the other, each with a trial of its own
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// What the worker is doing when it is told
    #[arg(long, value_enum, default_value_t = Doing::Training)]
    doing: Doing,

    /// Threads of libtorch
    #[arg(long, default_value_t = 2)]
    threads: usize,

    /// The sample's directory: `deploy/assets.py --link DIR` makes it
    #[arg(long, env = "DISTILSWEEP_TEST_ASSETS", value_name = "DIR")]
    assets: PathBuf,
}

/// What a worker may be doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Doing {
    /// Steps of 16 texts.
    Training,
    /// On as many texts as the training has, which takes minutes.
    Evaluating,
}

impl Doing {
    /// How workers call it.
    fn phase(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Evaluating => "evaluating",
        }
    }

    /// A trial that is long at it.
    fn sweep(self, model: &Path, assets: &Path) -> String {
        let (validation, parameters) = match self {
            Self::Training => ("validation.csv", ""),
            Self::Evaluating => ("train.csv", "  eval_strategy: {value: steps}\n  eval_steps: {value: 4}\n"),
        };
        format!(
            "name: leaving
model: {model}
dataset: {{train: {assets}/train.csv, validation: {assets}/{validation}}}
method: grid
metric: {{name: best_validation_f1, goal: maximize}}
parameters:
  learning_rate: {{values: [5e-5]}}
  per_device_train_batch_size: {{value: 16}}
  max_steps: {{value: 100000}}
{parameters}",
            model = model.display(),
            assets = assets.display(),
        )
    }
}

/// One worker that went.
#[derive(Clone, Copy, Debug)]
struct Gone {
    /// Size of its state.
    megabytes: f64,
    published: Duration,
    ended: Duration,
}

/// Has workers leave trials of a model of DistilBERT's shape with random weights, and answers with one line of JSON.
///
/// # Errors
/// A program is not built, or a worker does not go as it should.
pub fn leaving(options: &Leaving) -> anyhow::Result<String> {
    let assets = options.assets.canonicalize().with_context(|| options.assets.display().to_string())?;
    let scene = Scene::new()?;
    let model = base_model(&scene, &assets)?;
    let sweep = options.doing.sweep(&model, &assets);
    let mut gone: Vec<Gone> = Vec::new();
    for round in 1..=options.rounds {
        let one = leave(&sweep, options).with_context(|| format!("round {round}"))?;
        eprintln!("round {round}: {one:?}");
        gone.push(one);
    }
    let figures = json!({
        "doing": options.doing.phase(),
        "threads": options.threads,
        "model_mb": megabytes(&model)?,
        "checkpoint_mb": gone.last().map(|gone| gone.megabytes),
        "seconds_to_publish": spread(gone.iter().map(|gone| gone.published)),
        "seconds_to_end": spread(gone.iter().map(|gone| gone.ended)),
    });
    Ok(figures.to_string())
}

/// A worker takes a trial, and is told to go.
fn leave(sweep: &str, options: &Leaving) -> anyhow::Result<Gone> {
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    coordinator.submit(&scene, &scene.write("sweep.yaml", sweep)?)?;
    let threads = options.threads.to_string();
    let arguments = ["join", &coordinator.url, "--device", "cpu", "--threads", &threads];
    let mut worker = scene.start("distilsweep-worker", &arguments)?;
    until("the moment to go", PATIENCE, || {
        anyhow::ensure!(worker.is_running()?, "the worker ended by itself");
        let trial = under_way(&coordinator)?;
        let there = |trial: &v1::RunningTrial| trial.phase == options.doing.phase() && trial.step >= STEPS;
        Ok(trial.filter(there).map(drop))
    })?;
    worker.signal(Signal::TERM)?;
    let told = now();
    // Before it is told to go it publishes none.
    until("a published state", PATIENCE, || Ok(worker.err().contains("checkpoint published").then_some(())))?;
    let published = now() - told;
    let finished = worker.wait(PATIENCE)?;
    anyhow::ensure!(finished.code == Some(0), "{finished:?}");
    let ended = now() - told;
    Ok(Gone { megabytes: megabytes(&checkpoint(&scene)?)?, published, ended })
}

/// The trial, while a worker has it.
fn under_way(coordinator: &Coordinator) -> anyhow::Result<Option<v1::RunningTrial>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sweeps = SweepsClient::connect(coordinator.url.clone()).await?;
        let status = sweeps.get_sweep(v1::GetSweepRequest::default()).await?.into_inner();
        Ok(status.running.into_iter().next())
    })
}

/// A checkpoint of DistilBERT's shape with random weights and the sample's tokenizer.
fn base_model(scene: &Scene, assets: &Path) -> anyhow::Result<PathBuf> {
    let sample = assets.join("model");
    let known: Value = serde_json::from_slice(&fs::read(sample.join("config.json"))?)?;
    let config = json!({
        "model_type": "distilbert", "vocab_size": known["vocab_size"], "max_position_embeddings": 512, "dim": 768,
        "hidden_dim": 3072, "n_layers": 6, "n_heads": 12, "activation": "gelu", "dropout": 0.1,
        "attention_dropout": 0.1, "seq_classif_dropout": 0.2, "pad_token_id": 0,
    });
    let shape = scene.write("shape/config.json", &config.to_string())?.with_file_name("");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(sample.join(name), shape.join(name))
            .with_context(|| sample.join(name).display().to_string())?;
    }
    // A checkpoint has weights. Of random ones nobody reads them.
    scene.write("shape/model.safetensors", "")?;
    let made = scene
        .run("distilsweep-worker", &["convert", "--model", "./shape", "--random", "--output", "base"])?;
    anyhow::ensure!(made.code == Some(0), "{made:?}");
    Ok(scene.path("base"))
}

/// SWEEP/TRIAL/TERM/checkpoint-STEP below the state directory: the only one of each.
fn checkpoint(scene: &Scene) -> anyhow::Result<PathBuf> {
    let mut place = scene.path("state/trials");
    for _ in 0..4 {
        place = fs::read_dir(&place)?.next().context("a checkpoint")??.path();
    }
    Ok(place)
}

fn megabytes(directory: &Path) -> anyhow::Result<f64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok((bytes as f64 / 1e6).round())
}

/// Median, lowest and highest.
fn spread(times: impl Iterator<Item = Duration>) -> Value {
    let mut seconds: Vec<f64> = times.map(|time| (time.as_secs_f64() * 100.0).round() / 100.0).collect();
    seconds.sort_by(f64::total_cmp);
    json!({"median": seconds.get(seconds.len() / 2), "lowest": seconds.first(), "highest": seconds.last()})
}
