//! Sweeps and commands with ids of the Hub, by real processes.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use distilsweep_tests::{
    fleet,
    hub::{self, Repo},
    sweep::fixture,
};

use crate::MODEL;

/// The tiny checkpoint of the parity tests, and its sentences, as repositories of these commits.
fn trainable(model: &str, data: &str) -> anyhow::Result<[Repo; 2]> {
    let files = |folder: &Path, names: &[&'static str]| -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
        names.iter().map(|name| Ok((*name, fs::read(folder.join(name))?))).collect()
    };
    let checkpoint =
        ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json", "tokenizer.json"];
    let model = Repo {
        commit: model.to_owned(),
        facts: serde_json::json!({"cardData": {"license": "apache-2.0"}}),
        ..Repo::new("models", MODEL, files(&fixture().join("start"), &checkpoint)?)
    };
    let rows = Repo::new("datasets", "owner/rows", files(&fixture(), &["train.csv", "validation.csv"])?);
    Ok([model, Repo { commit: data.to_owned(), ..rows }])
}

const SWEEP: &str = "name: pinned
model: owner/tiny
dataset: owner/rows
method: grid
parameters:
  learning_rate: {value: 1e-3}
  max_steps: {value: 4}
  per_device_train_batch_size: {value: 4}
";

#[test]
fn a_sweep_of_hub_ids_runs_and_says_what_it_was_made_of() -> anyhow::Result<()> {
    let (model, data) = ("a".repeat(40), "b".repeat(40));
    let server = hub::Hub::start(trainable(&model, &data)?)?;
    let scene = fleet::Scene::new()?.with_hub(&server.url);
    let file = scene.write("sweep.yaml", SWEEP)?.to_string_lossy().into_owned();
    let ran = scene.run("distilsweep", &["run", &file, "--workers", "1"])?;
    ensure!(ran.code == Some(0), "{ran:?}");
    ensure!(ran.out.contains("model owner/tiny@aaaaaaa, data owner/rows@bbbbbbb"), "{ran:?}");
    let made_of = scene.path(".distilsweep/results");
    let sweep = fs::read_dir(&made_of)?.next().context("results")??.path();
    let shown = fs::read_to_string(sweep.join("resources.txt"))?.replace(&server.url, "HUB");
    let name = sweep.file_name().context("a name")?.to_string_lossy().into_owned();
    insta::assert_snapshot!(shown.replace(&name, "SWEEP"), @"
    What sweep SWEEP was made of

    model     owner/tiny
    revision  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    license   apache-2.0
    size      99 kB in 5 files
    address   HUB/owner/tiny
      3cb14853343ae27a2483536b3fdd0f0a70d17d3bf481742abc9191e4c540a8e1           623  config.json
      0d55f7d24a985dfec243a8ca2e2dcd32fff8839a3cf3f41f9182a41c812e7bec         92564  model.safetensors
      c66afb103f888bac3e821e7cea94341106a3bab59c2cee6e0cdde1355f69d48f          4057  tokenizer.json
      c8a8ca6b9377f305bd853c05820448f0d6e044d3e57c3627c65db444040a5720          1269  tokenizer_config.json
      9ae64b842c81da40e727f6a8399b3af99e3266579496ab1683947fbe21ae7ace           436  vocab.txt

    data      owner/rows
    revision  bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
    license   not known
    size      5.6 kB in 2 files
    address   HUB/datasets/owner/rows
      04b7f79adaf4f0376a2d9fb08a19a7d7ff5f667492e79e6e29b2f4a202af2278          3894  train.csv
      7f5826fd14dccc3ae8958bf30420507cba6de765547f31cd554c1affe6a852af          1663  validation.csv

    Tokens and classes of the data
      98e3579cd41fecc7e8f9174b8895d06e9339c3a96cbc00e3a0845538395f3fc6  train (1 trial)
      5477c1ef3e1efcac647b3bc0f9597a3bbfc6e323c52bec723f1d79311bceec33  validation (1 trial)

    In a sweep file, for exactly these:
      model: owner/tiny@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      dataset: owner/rows@bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
    ");

    // From the cache alone, with the pins in the file: the same data to the last bit.
    let pinned = SWEEP
        .replace("owner/tiny", &format!("owner/tiny@{model}"))
        .replace("owner/rows", &format!("owner/rows@{data}"));
    let file = scene.write("pinned.yaml", &pinned)?.to_string_lossy().into_owned();
    let away = scene.with_hub("http://127.0.0.1:9");
    let again = away.run("distilsweep", &["run", &file, "--workers", "1"])?;
    ensure!(again.code == Some(0), "{again:?}");
    let trial = |sweep: &str| -> anyhow::Result<serde_json::Value> {
        let shown = away.run("distilsweep", &["results", sweep, "--format", "json"])?;
        let results: serde_json::Value =
            serde_json::from_str(&shown.out).with_context(|| format!("{shown:?}"))?;
        Ok(results["trials"][0].clone())
    };
    let (first, second) = (trial(&name)?, trial("")?);
    ensure!(first["checkpoint"] != second["checkpoint"], "two sweeps: {first} {second}");
    ensure!(first["data"]["train"].as_str().is_some_and(|digest| digest.len() == 64), "{first}");
    assert_eq!(first["data"], second["data"]);
    assert_eq!(first["metrics"], second["metrics"]);
    Ok(())
}

#[test]
fn trials_take_the_commit_of_the_day_their_sweep_was_handed_in() -> anyhow::Result<()> {
    let server = hub::Hub::start(trainable(&"a".repeat(40), &"b".repeat(40))?)?;
    let scene = fleet::Scene::new()?.with_hub(&server.url);
    let file = scene.write("sweep.yaml", SWEEP)?;
    let coordinator = fleet::Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    coordinator.submit(&scene, &file)?;
    for repo in trainable(&"c".repeat(40), &"d".repeat(40))? {
        server.push(repo);
    }
    server.asked();
    let worker = fleet::worker(&scene, &coordinator.url, &[])?;
    let ranking =
        coordinator.ranking_when(&scene, "the sweep's end", |ranking| ranking.state() == "completed")?;
    assert_eq!(ranking.trials().len(), 1);
    let files = fetched(&server);
    ensure!(files.iter().any(|path| path.contains(&"a".repeat(40))), "{files:?}");
    ensure!(
        !files.iter().any(|path| path.contains(&"c".repeat(40)) || path.contains(&"d".repeat(40))),
        "{files:?}"
    );
    drop(worker);
    Ok(())
}

/// Paths of the files that were asked for since the last time.
fn fetched(server: &hub::Hub) -> Vec<String> {
    server.asked().into_iter().map(|asked| asked.path).filter(|path| path.contains("/resolve/")).collect()
}

#[test]
fn the_tokens_of_a_sweep_file_are_those_of_the_model_that_it_pins() -> anyhow::Result<()> {
    let server = hub::Hub::start(trainable(&"a".repeat(40), &"b".repeat(40))?)?;
    for repo in trainable(&"c".repeat(40), &"b".repeat(40))? {
        server.push(repo);
    }
    let scene = fleet::Scene::new()?.with_hub(&server.url);
    let pinned = format!("owner/tiny@{}", "a".repeat(40));
    let file = scene.write("sweep.yaml", &SWEEP.replace("owner/tiny", &pinned))?;
    let ended = scene.run("distilsweep", &["data", "inspect", &file.to_string_lossy()])?;
    ensure!(ended.code == Some(0) && ended.out.contains(&format!("tokens of {pinned}")), "{ended:?}");
    let files = fetched(&server);
    ensure!(files.iter().any(|path| path.contains(&"a".repeat(40))), "{files:?}");
    ensure!(!files.iter().any(|path| path.contains(&"c".repeat(40))), "{files:?}");
    Ok(())
}

#[test]
fn a_repository_that_is_not_there_is_said_before_anything_starts() -> anyhow::Result<()> {
    let server = hub::Hub::start(trainable(&"a".repeat(40), &"b".repeat(40))?)?;
    let scene = fleet::Scene::new()?.with_hub(&server.url);
    let file =
        scene.write("sweep.yaml", &SWEEP.replace("owner/tiny", "other/tiny"))?.to_string_lossy().into_owned();
    let mut shown = String::new();
    for arguments in [&["run", &file][..], &["sweep", "submit", &file]] {
        let ended = scene.run("distilsweep", arguments)?;
        shown += &format!("{:?}: {}", ended.code, ended.err);
    }
    insta::assert_snapshot!(shown, @"
    Some(3): error: other/tiny: the Hub has no such model, or HF_TOKEN must hold a token that may read it; there are owner/tiny
    Some(3): error: other/tiny: the Hub has no such model, or HF_TOKEN must hold a token that may read it; there are owner/tiny
    ");
    ensure!(!scene.path(".distilsweep").exists(), "nothing was started");
    Ok(())
}

#[test]
fn the_hub_and_data_commands_show_what_is_there() -> anyhow::Result<()> {
    let server = hub::Hub::start(trainable(&"a".repeat(40), &"b".repeat(40))?)?;
    let scene = fleet::Scene::new()?.with_hub(&server.url);
    let mut shown = String::new();
    for arguments in [
        &["hub", "models", "--search", "tiny"][..],
        &["hub", "show", MODEL],
        &["hub", "show", "owner/rows"],
        &["hub", "show", "owner/none"],
        &["data", "inspect", "owner/rows", "--model", MODEL],
        &["data", "tokenize", "--model", MODEL, "so happy", "sad"],
    ] {
        let ended = scene.run("distilsweep", arguments)?;
        shown += &format!("$ distilsweep {}\n{}{}", arguments.join(" "), ended.out, ended.err);
    }
    insta::assert_snapshot!(shown.replace(&server.url, "HUB"), @r#"
    $ distilsweep hub models --search tiny
    ID          DOWNLOADS  LIKES  LICENSE     SIZE  TAGS
    owner/tiny          -      -  apache-2.0     -
    $ distilsweep hub show owner/tiny
    owner/tiny
      kind        model
      page        HUB/owner/tiny
      commit      aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      license     apache-2.0
      files       5 files, 99 kB
                    623 B  config.json
                    93 kB  model.safetensors
                   4.1 kB  tokenizer.json
                   1.3 kB  tokenizer_config.json
                    436 B  vocab.txt
      usable      workers train it: `model:` of a sweep file
    $ distilsweep hub show owner/rows
    owner/rows
      kind        data set
      page        HUB/datasets/owner/rows
      commit      bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
      license     not said
      files       2 files, 5.6 kB
                   3.9 kB  train.csv
                   1.7 kB  validation.csv
      usable      train train.csv, validation validation.csv
    $ distilsweep hub show owner/none
    error: owner/none: the Hub has no such model, or HF_TOKEN must hold a token that may read it
    $ distilsweep data inspect owner/rows --model owner/tiny
    owner/rows, commit bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
    columns: text (string), label (string); read: text = text, label = label

    SPLIT       ROWS  REPEATED  IN TRAIN  CHARACTERS     GUESS ACC  GUESS F1
    train         77         0         -  44 (24 to 66)     0.5455    0.3850
    validation    31         0         0  48 (29 to 62)     0.4516    0.2810

    CLASS   TRAIN  VALIDATION  SHARE OF TRAIN
    blame      18           7   23.4 % ██████████▎
    fact       17          10   22.1 % █████████▊
    praise     42          14   54.5 % ████████████████████████

    first rows
      blame: my neighbour was rude to us!
      fact: her garden was painted green today
      praise: our train shines all night!

    tokens of owner/tiny, special ones counted: 7 to 15, 11 in the middle, 95 % have at most 14
    UP TO  ROWS
        8    16  ██████▎
       16    61  ████████████████████████
    a max_length of 15 cuts nothing

    note: fewer than 10 validation rows of "blame": their scores are uncertain
    $ distilsweep data tokenize --model owner/tiny so happy sad
    ID  TOKEN  CHARACTERS  TEXT
     2  [CLS]           -
     1  [UNK]         0-2  so
    25  happy         3-8  happy
     3  [SEP]           -
     1  [UNK]         0-3  sad
     3  [SEP]           -
    6 tokens; decoded: happy
    "#);
    for format in ["json", "html"] {
        let ended = scene.run("distilsweep", &["data", "inspect", "owner/rows", "--format", format])?;
        ensure!(ended.code == Some(0), "{ended:?}");
        if format == "json" {
            let seen: serde_json::Value = serde_json::from_str(&ended.out)?;
            assert_eq!(seen["splits"][0]["name"], "train");
        }
    }
    Ok(())
}
