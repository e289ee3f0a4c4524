//! `distilsweep check` against what then happens, and the language of sweep files through the real programs.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use distilsweep_tests::{
    documented::assert_as_documented,
    fleet::Scene,
    process::Finished,
    sweep::{fixture, four_trials},
};
use serde_json::Value;

fn check(scene: &Scene, more: &[&str]) -> anyhow::Result<(Value, Finished)> {
    let ended = scene.run("distilsweep", &[&["check", "sweep.yaml", "--json"], more].concat())?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let found = serde_json::from_str(&ended.out).with_context(|| ended.out.clone())?;
    Ok((found, ended))
}

#[test]
fn the_bill_is_what_the_sweep_then_takes() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    // Steps enough that an epoch ends among them.
    let file = four_trials("bill", 20);
    scene.write("sweep.yaml", &file)?;
    let (before, _) = check(&scene, &[])?;
    assert_eq!((&before["points"], &before["bill"]["pace"]), (&4.into(), &Value::Null));
    assert_eq!(scene.files()?, ["sweep.yaml"], "it leaves nothing behind");

    let (measured, ended) = check(&scene, &["--measure", "--workers", "2"])?;
    assert!(measured["bill"]["seconds"].as_f64() > Some(0.0), "{measured}");
    assert!(ended.err.contains("measuring 12 steps"), "{ended:?}");
    // What is null elsewhere is there with these.
    let mut whole = measured.clone();
    whole["model"]["commit"] = "c".into();
    whole["data"]["commit"] = "c".into();
    whole["warnings"] = serde_json::json!([{"line": 1, "column": 1, "message": "m"}]);
    assert_as_documented("check", &whole);

    let ran = scene.run("distilsweep", &["run", "sweep.yaml", "--workers", "1", "--threads", "1"])?;
    ensure!(ran.code == Some(0), "{ran:?}");
    let (after, _) = check(&scene, &[])?;
    let source = after["bill"]["pace"]["source"].as_str().context("a pace")?;
    assert!(source.starts_with("4 trials of bill-"), "{source}");
    let bill = &after["bill"];
    assert_eq!((&bill["steps"], &bill["mlflow_runs"]), (&80.0.into(), &5.into()));
    let kept = scene.run("distilsweep", &["results", "--format", "csv"])?.out;
    let models = kept.lines().flat_map(|row| row.split(',')).filter(|cell| cell.contains("/trials/"));
    let size = |directory: &str| Ok(fs::metadata(Path::new(directory).join("model.safetensors"))?.len());
    let sizes = models.map(size).collect::<anyhow::Result<Vec<u64>>>()?;
    assert_eq!((sizes.len(), bill["model_bytes"].as_u64()), (4, Some(sizes.iter().sum())));
    Ok(())
}

#[test]
fn a_hub_that_is_away_keeps_nobody_from_the_rest() -> anyhow::Result<()> {
    let scene = Scene::new()?.with_hub("http://127.0.0.1:9");
    let away = four_trials("away", 20).replace(&format!("{}/start", fixture().display()), "owner/model");
    scene.write("sweep.yaml", &away)?;
    let (found, _) = check(&scene, &[])?;
    assert_eq!((&found["points"], &found["model"]["bytes"]), (&4.into(), &Value::Null));
    assert_eq!(found["bill"]["steps"], 80.0);
    let notes = found["notes"].to_string();
    assert!(notes.contains("owner/model"), "{notes}");

    scene.write("sweep.yaml", &away.replace("owner/model", "./nowhere"))?;
    let wrong = scene.run("distilsweep", &["check", "sweep.yaml"])?;
    assert!(wrong.code == Some(3) && wrong.out.is_empty() && wrong.err.contains("nowhere"), "{wrong:?}");
    Ok(())
}

#[test]
fn a_file_that_is_no_sweep_file_by_its_size_is_not_read() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    scene.write("sweep.yaml", &"#".repeat((1 << 20) + 1))?;
    let ended = scene.run("distilsweep", &["check", "sweep.yaml"])?;
    let sentence = "error: sweep.yaml has 1048577 bytes, a sweep file has 1048576 at most";
    assert_eq!((ended.code, ended.err.trim()), (Some(3), sentence), "{ended:?}");
    Ok(())
}

#[test]
fn a_file_of_another_program_runs_and_says_what_means_nothing_here() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let own = four_trials("wandb", 20);
    let (head, parameters) = own.split_once("parameters:\n").context("parameters")?;
    let nested: String = parameters.lines().map(|line| format!("    {line}\n")).collect();
    let file = format!(
        "program: train.py\n{head}exclude: [learning_rate>1e-4 and seed=2]\nresources: {{workers: 1}}\nparameters:\n  \
         optimizer:\n    parameters:\n{nested}  lr_scheduler_type: {{values: [linear, constant_with_warmup]}}\n  \
         warmup_steps: {{values: [2, 4], when: lr_scheduler_type = constant_with_warmup}}\n"
    );
    scene.write("sweep.yaml", &file)?;
    let (found, ended) = check(&scene, &[])?;
    assert!(ended.err.contains("sweep.yaml:1:1: warning: `program` means nothing here"), "{ended:?}");
    assert_eq!(found["points"], 3 * 3, "three of four pairs, three schedules");

    let ran = scene.run("distilsweep", &["run", "sweep.yaml", "--scripted", "20x1"])?;
    ensure!(ran.code == Some(0) && ran.out.contains("9 of 9 trials completed"), "{ran:?}");
    assert!(ran.err.contains("sweep.yaml:1:1: warning: `program` means nothing here"), "{ran:?}");
    let csv = scene.run("distilsweep", &["results", "--format", "csv"])?;
    let mut rows = csv.out.lines();
    let head: Vec<&str> = rows.next().context("a head")?.split(',').collect();
    let place = |name: &str| head.iter().position(|one| *one == name).context("a column");
    let (schedule, warmup) = (place("params.lr_scheduler_type")?, place("params.warmup_steps")?);
    let cells: Vec<Vec<&str>> = rows.map(|row| row.split(',').collect()).collect();
    assert_eq!(cells.len(), 9);
    assert!(cells.iter().all(|row| row[warmup].is_empty() == (row[schedule] == "linear")), "{}", csv.out);

    let extended = scene.run("distilsweep", &["sweep", "extend", "wandb", "seed=3"])?;
    assert!(extended.code != Some(0) && extended.err.contains("some of a grid's"), "{extended:?}");
    let other = scene.run("distilsweep", &["sweep", "submit", "sweep.yaml"])?;
    assert!(other.err.contains("warning: `resources` is for `distilsweep run`"), "{other:?}");
    Ok(())
}
