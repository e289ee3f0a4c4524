//! A trained model taken out of a sweep: what is in the directory, what is refused, and that others load it.

use std::{path::Path, process::Command, time::Duration};

use anyhow::Context;
use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    process::{Finished, Process},
    sweep::{Ranking, four_trials, parity},
};

/// A sweep that was really trained, on the state directory `.distilsweep` of a scene.
fn trained() -> anyhow::Result<(Scene, Ranking)> {
    let scene = Scene::new()?;
    scene.write("grid.yaml", &four_trials("grid", 60))?;
    let ran =
        scene.run("distilsweep", &["run", "grid.yaml", "--workers", "1", "--device", "cpu", "--quiet"])?;
    anyhow::ensure!(ran.code == Some(0), "{ran:?}");
    let ranking = scene.run("distilsweep", &["results", "--json"])?;
    Ok((scene, Ranking::parse(&ranking.out)?))
}

fn export(scene: &Scene, words: &[&str]) -> anyhow::Result<Finished> {
    scene.run("distilsweep", &[&["export"], words].concat())
}

fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The front matter of a card.
fn matter(directory: &Path) -> anyhow::Result<serde_json::Value> {
    let card = std::fs::read_to_string(directory.join("README.md"))?;
    let front =
        card.strip_prefix("---\n").and_then(|rest| rest.split_once("---\n")).context("front matter")?.0;
    Ok(serde_saphyr::from_str(front)?)
}

fn predicted(scene: &Scene, model: &str) -> anyhow::Result<String> {
    let arguments = ["predict", "--model", model, "--json", "a fine day", "her garden broke again"];
    let predicted = scene.run("distilsweep-worker", &arguments)?;
    anyhow::ensure!(predicted.code == Some(0), "{predicted:?}");
    Ok(predicted.out)
}

#[test]
fn the_best_trial_becomes_a_directory_with_a_card_that_tells_its_true_numbers() -> anyhow::Result<()> {
    let (scene, ranking) = trained()?;
    let exported = export(&scene, &["grid", "-o", "model"])?;
    assert_eq!((exported.code, exported.out.trim()), (Some(0), "model"), "{exported:?}");
    let files = [
        "README.md",
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ];
    assert_eq!(names(&scene.path("model"))?, files);
    let best = &ranking.trials()[0];
    let results = matter(&scene.path("model"))?["model-index"][0]["results"].clone();
    for (split, place, metric) in
        [(0, 0, "best_validation_f1"), (1, 0, "test_f1_score"), (1, 2, "test_accuracy")]
    {
        let told = results[split]["metrics"][place]["value"].as_f64();
        assert_eq!(told, best.metric(metric), "{metric}: {results:#}");
    }
    assert_eq!(predicted(&scene, "model")?, predicted(&scene, best.text("checkpoint"))?);

    let third = ranking.trials()[2].number();
    let by_place = export(&scene, &["--rank", "3", "-o", "there/by-place"])?;
    let by_number = export(&scene, &[&format!("gri/{third}"), "-o", "there/by-number"])?;
    assert_eq!((by_place.code, by_number.code), (Some(0), Some(0)), "{by_place:?} {by_number:?}");
    for file in files {
        let read = |way: &str| std::fs::read(scene.path(&format!("there/{way}/{file}")));
        assert!(read("by-place")? == read("by-number")?, "{file}");
    }
    assert_eq!(names(&scene.path("there"))?, ["by-number", "by-place"], "nothing else is left");
    Ok(())
}

#[test]
fn what_is_not_as_recorded_or_not_there_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    let (scene, ranking) = trained()?;
    let refused = |words: &[&str], code: i32, said: &str| -> anyhow::Result<()> {
        let ended = export(&scene, words)?;
        assert_eq!(ended.code, Some(code), "{words:?}: {ended:?}");
        assert!(ended.err.contains(said), "{words:?} must say `{said}`: {ended:?}");
        Ok(())
    };
    scene.write("full/notes.txt", "mine")?;
    refused(&["-o", "full"], 2, "full is not empty: -o must name a new or an empty directory")?;
    refused(&["-o", "out", "--rank", "5"], 3, "has 4 trials in its ranking, none in place 5")?;
    refused(&["grid/0", "--trial", "1", "-o", "out"], 2, "named twice")?;
    refused(&["mood", "-o", "out"], 3, "there is no sweep `mood`")?;

    let checkpoint = |place: usize| Path::new(ranking.trials()[place].text("checkpoint")).to_owned();
    let weights = checkpoint(0).join("model.safetensors");
    let mut bytes = std::fs::read(&weights)?;
    *bytes.last_mut().context("weights")? ^= 1;
    std::fs::write(&weights, bytes)?;
    refused(&["-o", "out"], 1, "its model.safetensors is not the file that was recorded")?;
    std::fs::remove_dir_all(checkpoint(1))?;
    refused(&["-o", "out", "--rank", "2"], 1, "its manifest.json is gone")?;
    let left: Vec<String> =
        scene.files()?.into_iter().filter(|name| name.contains("out") || name.contains("export")).collect();
    assert_eq!(left, [""; 0]);
    assert_eq!(names(&scene.path("full"))?, ["notes.txt"]);
    Ok(())
}

#[test]
fn a_model_is_taken_from_a_store_that_both_reach_by_a_coordinator_elsewhere() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let store = format!("file://{}", scene.path("shared").display());
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &["--store", &store])?;
    let file = scene.write("grid.yaml", &four_trials("grid", 20))?;
    coordinator.submit(&scene, &file)?;
    let words = ["grid/0", "-o", "early", "--coordinator", &coordinator.url];
    let early = export(&scene, &words)?;
    assert_eq!(early.code, Some(3), "{early:?}");
    assert!(early.err.contains("trial 0 of sweep grid") && early.err.contains("has not begun"), "{early:?}");
    let stop = ["trial", "stop", "grid/3", "--coordinator", &coordinator.url];
    assert_eq!(scene.run("distilsweep", &stop)?.code, Some(0));
    let stopped = export(&scene, &["grid/3", "-o", "none", "--coordinator", &coordinator.url])?;
    assert_eq!(stopped.code, Some(3), "{stopped:?}");
    assert!(
        stopped.err.contains("has no stored model: only a trial that completed publishes one"),
        "{stopped:?}"
    );
    let _worker = worker(&scene, &coordinator.url, &[])?;
    coordinator.ranking_when(&scene, "a complete sweep", |ranking| ranking.state() == "completed")?;
    let exported = export(&scene, &["grid/0", "-o", "model", "--coordinator", &coordinator.url])?;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    assert!(predicted(&scene, "model")?.contains("\"label\""));
    Ok(())
}

#[test]
#[ignore = "needs torch and transformers, some gigabytes: `tests/run.sh --all` installs them and runs it"]
fn transformers_and_the_hubs_own_client_read_an_exported_model() -> anyhow::Result<()> {
    let Some(python) = std::env::var_os("DISTILSWEEP_TEST_REFERENCE") else {
        eprintln!("skipped: DISTILSWEEP_TEST_REFERENCE does not name a Python with torch and transformers");
        return Ok(());
    };
    let (scene, _) = trained()?;
    let exported = export(&scene, &["-o", "model"])?;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let predictions = scene.write("predictions.jsonl", &predicted(&scene, "model")?)?;
    let mut command = Command::new(python);
    command.arg(parity().join("read_exported.py")).arg(scene.path("model")).arg(predictions);
    let read = Process::start("reference", command, &scene.path("logs"))?.wait(Duration::from_secs(300))?;
    assert_eq!(read.code, Some(0), "{read:?}");
    Ok(())
}
