//! Known data sets as they lie on the Hub, with rows of our own.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use distilsweep_data::{Split, load};
use distilsweep_proto::dataset::{DatasetSource, DatasetSpec};
use distilsweep_tests::hub::Repo;

use crate::Scene;

const EMOTION: &str = "---
license: other
configs:
- config_name: split
  data_files:
  - split: train
    path: split/train-*
  - split: validation
    path: split/validation-*
  - split: test
    path: split/test-*
  default: true
- config_name: unsplit
  data_files:
  - split: train
    path: unsplit/train-*
---
";

const IMDB: &str = "---
configs:
- config_name: plain_text
  data_files:
  - split: train
    path: plain_text/train-*
  - split: test
    path: plain_text/test-*
  - split: unsupervised
    path: plain_text/unsupervised-*
  default: true
---
";

const AG_NEWS: &str = "---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/test-*
---
";

/// A repository with this card and these Parquet files of the fixtures.
fn repository(id: &str, card: &str, folder: &str, files: &[&str]) -> anyhow::Result<Repo> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/data/tests/fixtures").join(folder);
    let mut repo = Repo::new("datasets", id, [("README.md", card.as_bytes().to_vec())]);
    for file in files {
        let name = format!("{file}-00000-of-00001.parquet");
        let path = fixtures.join(&name);
        repo.files.insert(name, fs::read(&path).with_context(|| path.display().to_string())?);
    }
    Ok(repo)
}

/// As SetFit's data sets: JSON lines beside each other, and the names of classes beside their numbers.
fn sst2() -> Repo {
    let rows = |count: usize| -> Vec<u8> {
        let row = |i: usize| {
            let (label, name) = (i % 2, ["negative", "positive"][i % 2]);
            format!("{{\"text\": \"row {i} of {count}\", \"label\": {label}, \"label_text\": \"{name}\"}}\n")
        };
        (0..count).map(row).collect::<String>().into_bytes()
    };
    let files = [("train.jsonl", rows(20)), ("dev.jsonl", rows(4)), ("test.jsonl", rows(6))];
    Repo::new("datasets", "SetFit/sst2", files)
}

#[test]
fn known_data_sets_are_read_as_they_lie_on_the_hub() -> anyhow::Result<()> {
    let emotion = ["split/train", "split/validation", "split/test", "unsplit/train"];
    let scene = Scene::new([
        repository("dair-ai/emotion", EMOTION, "emotion", &emotion)?,
        repository(
            "stanfordnlp/imdb",
            IMDB,
            "imdb",
            &["plain_text/train", "plain_text/test", "plain_text/unsupervised"],
        )?,
        repository("fancyzhx/ag_news", AG_NEWS, "ag_news", &["data/train", "data/test"])?,
        sst2(),
    ])?;
    let hub = scene.hub()?;
    let mut shown = String::new();
    for (id, config) in [
        ("dair-ai/emotion", None),
        ("dair-ai/emotion", Some("parts")),
        ("stanfordnlp/imdb", None),
        ("SetFit/sst2", None),
        ("fancyzhx/ag_news", None),
    ] {
        let source = DatasetSource::Id { id: id.into(), config: config.map(str::to_owned), revision: None };
        shown += &match load(&hub, &DatasetSpec::of(source)) {
            Ok(data) => format!(
                "{id} ({}): {} + {} + {} rows, {}; {}\n",
                data.config.as_deref().unwrap_or("-"),
                data.train.len(),
                data.validation.len(),
                data.test.as_ref().map_or(0, Split::len),
                data.classes.join(" "),
                if data.notes.is_empty() { "nothing to say".to_owned() } else { data.notes.join("; ") }
            ),
            Err(error) => format!("{error}\n"),
        };
    }
    insta::assert_snapshot!(shown, @r#"
    dair-ai/emotion (split): 7 + 2 + 2 rows, sadness joy love anger fear surprise; configuration "split" is used; `config:` chooses another: "unsplit"; classes "love", "anger", "fear", "surprise" have no rows in the validation split; classes "sadness", "joy", "fear", "surprise" have no rows in the test split; fewer than 10 validation rows of "sadness", "joy": their scores are uncertain
    dair-ai/emotion: there is no configuration "parts"; there are "split", "unsplit"
    stanfordnlp/imdb (plain_text): 18 + 2 + 2 rows, neg pos; not used: "unsupervised"; `splits: {train: NAME, ..}` chooses other splits or files; there is no validation split: 2 of 20 training rows were taken for it, a tenth of every class; of small classes 1 of 10 of "neg", 1 of 10 of "pos"; fewer than 10 validation rows of "neg", "pos": their scores are uncertain
    SetFit/sst2 (-): 20 + 4 + 6 rows, negative positive; "dev.jsonl" is used as the validation split; `splits:` chooses another; fewer than 10 validation rows of "negative", "positive": their scores are uncertain
    fancyzhx/ag_news (default): 36 + 4 + 2 rows, World Sports Business Sci/Tech; there is no validation split: 4 of 40 training rows were taken for it, a tenth of every class; of small classes 1 of 10 of "World", 1 of 10 of "Sports", 1 of 10 of "Business", 1 of 10 of "Sci/Tech"; classes "World", "Business" have no rows in the test split; fewer than 10 validation rows of "World", "Sports", "Business", "Sci/Tech": their scores are uncertain
    "#);
    ensure!(!scene.cached()?.iter().any(|name| name.contains("unsupervised")), "only what is needed");
    Ok(())
}
