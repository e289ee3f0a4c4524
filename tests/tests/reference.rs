//! The Python reference: transformers loads what the worker saves. Run by `tests/run.sh --all`, which installs it.

use std::process::Command;

use anyhow::Context;
use distilsweep_tests::{
    fleet::Scene,
    process::Process,
    sweep::{fixture, parity},
};

#[test]
#[ignore = "needs torch and transformers, some gigabytes: `tests/run.sh --all` installs them and runs it"]
fn transformers_loads_a_saved_model_and_comes_to_the_same_scores() -> anyhow::Result<()> {
    let Some(python) = std::env::var_os("DISTILSWEEP_TEST_REFERENCE") else {
        eprintln!("skipped: DISTILSWEEP_TEST_REFERENCE does not name a Python with torch and transformers");
        return Ok(());
    };
    let scene = Scene::new()?;
    let file = |name: &str| fixture().join(name).to_string_lossy().into_owned();
    let trained = scene.run(
        "distilsweep-worker",
        &[
            "train",
            "--model",
            &file("start"),
            "--train",
            &file("train.csv"),
            "--validation",
            &file("validation.csv"),
            "--params",
            r#"{"learning_rate": 1e-3, "max_steps": 100}"#,
            "--output",
            "trained",
        ],
    )?;
    assert_eq!(trained.code, Some(0), "{trained:?}");
    let mut command = Command::new(python);
    command
        .arg(parity().join("load_saved.py"))
        .arg(scene.path("trained/model"))
        .arg(fixture().join("validation.csv"))
        .arg(scene.path("trained/result.json"));
    let loaded = Process::start("reference", command, &scene.path("logs"))?
        .wait(std::time::Duration::from_secs(300))
        .context("transformers")?;
    assert_eq!(loaded.code, Some(0), "{loaded:?}");
    Ok(())
}
