//! Models of a real sweep, registered in a real MLflow, as its own client loads them.

use std::{process::Command, time::Duration};

use anyhow::{Context, ensure};
use distilsweep_tests::{
    fleet::Scene,
    mlflow::Mlflow,
    process::Process,
    sweep::{Ranking, four_trials, parity},
};

const TEXTS: [&str; 3] = ["I love this.", "It is awful, really.", "The train leaves at nine."];

#[test]
fn the_best_models_are_versions_that_mlflow_s_own_client_loads() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let server = Mlflow::start(&scene.path("mlflow"))?;
    let text = format!("{}keep_models: {{top: 2}}\nregister: mood\n", four_trials("models", 40));
    let file = scene.write("sweep.yaml", &text)?.to_string_lossy().into_owned();
    let ran = scene.run("distilsweep", &["run", &file, "--workers", "2", "--mlflow", &server.url])?;
    ensure!(ran.code == Some(0), "{ran:?}");
    // That each of the two has its files, is ready and registered, and that the best is the champion.
    let verified = scene.run("distilsweep", &["mlflow", "verify", "--mlflow", &server.url])?;
    ensure!(verified.code == Some(0) && verified.out.contains("and 2 models"), "{verified:?}");

    let ranking = Ranking::parse(&scene.run("distilsweep", &["results", "--format", "json"])?.out)?;
    let best = ranking.trials().into_iter().next().context("a best trial")?;
    let mut arguments = vec!["predict", "--format", "json", "--model", best.text("checkpoint")];
    arguments.extend(TEXTS);
    let predicted = scene.run("distilsweep-worker", &arguments)?;
    ensure!(predicted.code == Some(0), "{predicted:?}");
    let predictions = scene.write("predictions.jsonl", &predicted.out)?;

    let Some(python) = std::env::var_os("DISTILSWEEP_TEST_REFERENCE") else {
        println!("skipped: loading through MLflow's client (`tests/run.sh --all` installs what it takes)");
        return server.stop();
    };
    let mut command = Command::new(python);
    command
        .arg(parity().join("load_models.py"))
        .args([&server.url, "mood", best.text("mlflow_run")])
        .arg(predictions);
    let loaded = Process::start("reference", command, &scene.path("logs"))?.wait(Duration::from_secs(300))?;
    ensure!(loaded.code == Some(0), "{loaded:?}");
    ensure!(loaded.out.matches("agrees on 3 texts").count() == 3, "{loaded:?}");
    server.stop()
}
