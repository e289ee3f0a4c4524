//! What commands print for programs is what `proto/json.md` says.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use distilsweep_tests::{
    documented::assert_as_documented,
    fleet::{Coordinator, Scene, worker},
    hub::{Hub, Repo},
    sweep::{fixture, four_trials},
    wait::until,
};
use serde_json::Value;

fn printed(scene: &Scene, program: &str, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
    let ended = scene.run(program, arguments)?;
    anyhow::ensure!(ended.code == Some(0), "{arguments:?}: {ended:?}");
    let parsed: Result<Vec<Value>, _> =
        serde_json::Deserializer::from_str(&ended.out).into_iter::<Value>().collect();
    let parsed = parsed.with_context(|| ended.out.clone())?;
    anyhow::ensure!(!parsed.is_empty(), "{arguments:?} printed nothing");
    Ok(parsed)
}

#[test]
fn sweeps_workers_and_events_are_printed_as_documented() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let file = scene.write("grid.yaml", &four_trials("grid", 400))?;
    coordinator.submit(&scene, &file)?;
    let _worker = worker(&scene, &coordinator.url, &["--scripted", "400x50"])?;
    let ask = |words: &[&str]| {
        printed(&scene, "distilsweep", &[words, &["--json", "--coordinator", &coordinator.url]].concat())
    };
    let shown = until("a trial under way", Duration::from_secs(60), || {
        let shown = ask(&["sweep", "show", "gri"])?.remove(0);
        Ok((shown["running"][0]["step"].as_i64() > Some(0)).then_some(shown))
    })?;
    assert_as_documented("sweep show", &shown);
    let created = shown["created"].as_str().context("a time")?;
    assert!(created.ends_with('Z') && created.len() == "2026-11-24T18:59:50.123Z".len(), "{created}");
    let listed = ask(&["sweep", "list"])?.remove(0);
    let keys = |value: &Value| value.as_object().map(|keys| keys.keys().cloned().collect::<BTreeSet<_>>());
    let mut of_one = keys(&shown).context("keys")?;
    of_one.remove("version");
    assert_eq!((&listed["version"], keys(&listed["sweeps"][0])), (&1.into(), Some(of_one)));
    assert_as_documented("worker list", &ask(&["worker", "list"])?[0]);
    let events = ask(&["sweep", "events"])?;
    assert!(events.len() >= 2, "{events:?}");
    for event in &events {
        assert_as_documented("sweep events", event);
    }
    Ok(())
}

#[test]
fn models_and_data_are_printed_as_documented() -> anyhow::Result<()> {
    let facts = serde_json::json!({
        "cardData": {"license": "mit", "language": ["en"]}, "downloads": 7, "likes": 1, "tags": ["a"],
    });
    let repo = Repo { facts, ..Repo::new("models", "owner/tiny", [("config.json", b"{}".to_vec())]) };
    let hub = Hub::start([repo])?;
    let scene = Scene::new()?.with_hub(&hub.url);
    let ask =
        |program: &str, words: &[&str]| Ok::<_, anyhow::Error>(printed(&scene, program, words)?.remove(0));
    let file = |name: &str| fixture().join(name).to_string_lossy().into_owned();
    let (start, rows) = (file("start"), file("train.csv"));
    let show = ask("distilsweep", &["hub", "show", "owner/tiny", "--json"])?;
    assert_as_documented("hub show", &show);
    let list = ask("distilsweep", &["hub", "models", "--task", "any", "--json"])?;
    let keys: Vec<&String> = list["repositories"][0].as_object().context("a repository")?.keys().collect();
    let beyond = ["version", "page", "usable", "verdict", "card"];
    let of_one: Vec<&String> = show.as_object().context("keys")?.keys().collect();
    assert_eq!(keys, of_one.into_iter().filter(|key| !beyond.contains(&key.as_str())).collect::<Vec<_>>());
    let mut inspected = ask("distilsweep", &["data", "inspect", &rows, "--model", &start, "--json"])?;
    // Only where there are pairs.
    inspected["examples"][0]["pair"] = "second".into();
    assert_as_documented("data inspect", &inspected);
    let tokens = ask("distilsweep", &["data", "tokenize", "--model", &start, "a fine day", "--json"])?;
    assert_as_documented("data tokenize", &tokens);
    let worker = "distilsweep-worker";
    assert_as_documented("distilsweep-worker devices", &ask(worker, &["devices", "--json"])?);
    let evaluated = ask(worker, &["evaluate", "--model", &start, "--file", &rows, "--json"])?;
    assert_as_documented("distilsweep-worker evaluate", &evaluated);
    let predicted = ask(worker, &["predict", "--model", &start, "--json", "a fine day"])?;
    assert_as_documented("distilsweep-worker predict", &predicted);
    Ok(())
}

#[test]
fn quiet_is_results_alone() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    scene.write("grid.yaml", &four_trials("grid", 20))?;
    let run = ["run", "grid.yaml", "--scripted", "20x1", "--workers", "1"];
    let loud = scene.run("distilsweep", &run)?;
    assert!(loud.code == Some(0) && loud.err.contains("starting sweep"), "{loud:?}");
    let quiet = scene.run("distilsweep", &[&run[..], &["--new", "--quiet"]].concat())?;
    assert_eq!((quiet.code, quiet.err.as_str()), (Some(0), ""), "{quiet:?}");
    assert!(quiet.out.contains("ranked by best_validation_f1"), "{quiet:?}");
    let both = scene.run("distilsweep", &["sweep", "list", "-q", "-v"])?;
    assert_eq!(both.code, Some(2), "{both:?}");
    Ok(())
}
