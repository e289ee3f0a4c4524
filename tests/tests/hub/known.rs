//! Known data sets, as they lie on the Hub.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use distilsweep_data::load;
use distilsweep_proto::dataset::{DatasetSource, DatasetSpec};
use distilsweep_tests::hub::Repo;

use crate::Scene;

/// The layouts of known data sets, with rows of our own.
#[test]
fn known_data_sets_are_read_as_they_lie_on_the_hub() -> anyhow::Result<()> {
    let fixture = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/data/tests/fixtures").join(name);
        fs::read(&path).with_context(|| path.display().to_string())
    };
    let rows = |count: usize| -> Vec<u8> {
        let row = |i: usize| {
            format!(
                "{{\"text\": \"row {i} of {count}\", \"label\": {}, \"label_text\": \"{}\"}}\n",
                i % 2,
                ["negative", "positive"][i % 2]
            )
        };
        (0..count).map(row).collect::<String>().into_bytes()
    };
    let emotion = "---\nlicense: other\nconfigs:\n- config_name: split\n  data_files:\n  - split: train\n    path: split/train-*\n  - split: validation\n    path: split/validation-*\n  - split: test\n    path: split/test-*\n  default: true\n- config_name: unsplit\n  data_files:\n  - split: train\n    path: unsplit/train-*\n---\n";
    let parquet = |name: &str| fixture(&format!("emotion/{name}-00000-of-00001.parquet"));
    let repos = [
        Repo::new("datasets", "dair-ai/emotion", [
            ("README.md", emotion.as_bytes().to_vec()),
            ("split/train-00000-of-00001.parquet", parquet("split/train")?),
            ("split/validation-00000-of-00001.parquet", parquet("split/validation")?),
            ("split/test-00000-of-00001.parquet", parquet("split/test")?),
            ("unsplit/train-00000-of-00001.parquet", parquet("unsplit/train")?),
        ]),
        Repo::new("datasets", "stanfordnlp/imdb", [
            ("README.md", b"---\nconfigs:\n- config_name: plain_text\n  data_files:\n  - split: train\n    path: plain_text/train-*\n  - split: test\n    path: plain_text/test-*\n  - split: unsupervised\n    path: plain_text/unsupervised-*\n  default: true\n---\n".to_vec()),
            ("plain_text/train-00000-of-00001.jsonl", rows(40)),
            ("plain_text/test-00000-of-00001.jsonl", rows(4)),
            ("plain_text/unsupervised-00000-of-00001.jsonl", b"{}\n".to_vec()),
        ]),
        Repo::new("datasets", "SetFit/sst2", [
            ("README.md", b"# Stanford Sentiment Treebank\n".to_vec()),
            ("train.jsonl", rows(20)),
            ("dev.jsonl", rows(4)),
            ("test.jsonl", rows(6)),
        ]),
        Repo::new("datasets", "fancyzhx/ag_news", [
            ("README.md", b"---\ndataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: label\n    dtype:\n      class_label:\n        names:\n          '0': World\n          '1': Sports\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n  - split: test\n    path: data/test-*\n---\n".to_vec()),
            ("data/train-00000-of-00001.csv", b"text,label\n".iter().copied().chain((0..20).flat_map(|i| format!("news {i},{}\n", i % 2).into_bytes())).collect()),
            ("data/test-00000-of-00001.csv", b"text,label\nold news,1\n".to_vec()),
        ]),
    ];
    let scene = Scene::new(repos)?;
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
                data.test.as_ref().map_or(0, distilsweep_data::Split::len),
                data.classes.join(" "),
                if data.notes.is_empty() { "nothing to say".to_owned() } else { data.notes.join("; ") }
            ),
            Err(error) => format!("{id}: {error}\n"),
        };
    }
    insta::assert_snapshot!(shown, @r#"
    dair-ai/emotion (split): 7 + 2 + 2 rows, sadness joy love anger fear surprise; nothing to say
    dair-ai/emotion: dair-ai/emotion: there is no configuration "parts"; there are split, unsplit
    stanfordnlp/imdb (plain_text): 36 + 4 + 4 rows, negative positive; there is no validation split: 4 of 40 training rows were taken for it, the same share of every class
    SetFit/sst2 (-): 20 + 4 + 6 rows, negative positive; nothing to say
    fancyzhx/ag_news (default): 18 + 2 + 1 rows, World Sports; there is no validation split: 2 of 20 training rows were taken for it, the same share of every class
    "#);
    ensure!(!scene.cached()?.iter().any(|name| name.contains("unsupervised")), "only what is needed");
    Ok(())
}
