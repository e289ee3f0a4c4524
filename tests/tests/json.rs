//! What commands print for programs is what `proto/json.md` says.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context;
use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    hub::{Hub, Repo},
    sweep::{fixture, four_trials},
    wait::until,
};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../proto/json.md");

/// The keys that the document gives a command, by its heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let section = DOCUMENT
        .split("\n## ")
        .find(|section| section.lines().next().is_some_and(|line| line.split(", ").any(|one| one == heading)))
        .unwrap_or_else(|| panic!("`{heading}` is not documented"));
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|line| line.split(" | ").next());
    cells.flat_map(|cell| cell.trim_start_matches("| ").split(", ")).map(|key| key.replace('`', "")).collect()
}

/// The paths of a value, each with whether there is something at it.
fn paths(at: &str, value: &Value, found: &mut BTreeMap<String, bool>) {
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match value {
        Value::Object(keys) => keys.iter().for_each(|(key, value)| paths(&below(key), value, found)),
        Value::Array(all) if all.iter().any(Value::is_object) => {
            all.iter().for_each(|value| paths(&format!("{at}[]"), value, found));
        }
        value => {
            let there = !value.is_null() && value.as_array().is_none_or(|all| !all.is_empty());
            *found.entry(at.to_owned()).or_default() |= there;
        }
    }
}

/// What is printed and not documented, or documented and never printed.
fn problems(documented: &BTreeSet<String>, printed: &Value) -> Vec<String> {
    let mut found = BTreeMap::new();
    paths("", printed, &mut found);
    let open = |path: &str| {
        documented.iter().any(|key| key.strip_suffix('*').is_some_and(|start| path.starts_with(start)))
    };
    // Null, or an empty list, where there are keys below.
    let nothing = |path: &str, there: bool| {
        !there
            && documented
                .iter()
                .any(|key| key.starts_with(&format!("{path}.")) || key.starts_with(&format!("{path}[].")))
    };
    let unsaid = found
        .iter()
        .filter(|(path, there)| !documented.contains(*path) && !open(path) && !nothing(path, **there));
    let unsaid = unsaid.map(|(path, _)| format!("`{path}` is printed and not documented"));
    let missing = documented.iter().filter(|key| {
        let above = |(path, there): (&String, &bool)| {
            !there && (key.starts_with(&format!("{path}.")) || key.starts_with(&format!("{path}[].")))
        };
        !key.ends_with(".*") && !found.contains_key(*key) && !found.iter().any(above)
    });
    unsaid.chain(missing.map(|key| format!("`{key}` is documented and not printed"))).collect()
}

fn assert_as_documented(heading: &str, printed: &Value) {
    assert_eq!(printed["version"], 1, "{heading}: {printed}");
    let problems = problems(&documented(heading), printed);
    assert!(problems.is_empty(), "{heading}: {problems:#?}\n{printed:#}");
}

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
fn a_key_that_is_printed_and_not_documented_is_found_and_so_is_the_reverse() {
    let documented = BTreeSet::from(["a", "b[].c", "d.*", "e.f"].map(str::to_owned));
    let right = serde_json::json!({"a": 1, "b": [], "d": {"any": 1}, "e": null});
    assert_eq!(problems(&documented, &right), [""; 0]);
    let wrong = serde_json::json!({"b": [{"x": 1}], "d": {}, "e": {"f": 2}});
    assert_eq!(
        problems(&documented, &wrong),
        [
            "`b[].x` is printed and not documented",
            "`a` is documented and not printed",
            "`b[].c` is documented and not printed",
        ]
    );
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
