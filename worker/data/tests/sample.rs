//! The sample assets, where `tests/run.sh` or `deploy/assets.py` has prepared them.

use std::path::PathBuf;

use distilsweep_data::{DataError, Hub, TextDataset, TextTokenizer};
use distilsweep_proto::dataset::{DatasetSource, DatasetSpec, Labels};
use sha2::{Digest, Sha256};

fn assets() -> Option<PathBuf> {
    let assets = std::env::var_os("DISTILSWEEP_TEST_ASSETS").map(PathBuf::from);
    if assets.is_none() {
        eprintln!(
            "skipped: DISTILSWEEP_TEST_ASSETS does not name the sample assets; tests/run.sh prepares them"
        );
    }
    assets
}

fn sample(assets: &std::path::Path, suffix: &str) -> DatasetSpec {
    let file = |split: &str| assets.join(format!("{split}.{suffix}"));
    DatasetSpec {
        labels: Labels::Names(["negative", "neutral", "positive"].map(str::to_owned).to_vec()),
        ..DatasetSpec::of(DatasetSource::Files {
            train: vec![file("train")],
            validation: vec![file("validation")],
            test: vec![file("test")],
        })
    }
}

fn load(spec: &DatasetSpec) -> Result<TextDataset, DataError> {
    distilsweep_data::load(&Hub::from_environment(), spec)
}

#[test]
fn names_and_numbers_are_the_same_sentences() {
    let Some(assets) = assets() else { return };
    let named = load(&sample(&assets, "csv")).unwrap();
    let numbered = load(&sample(&assets, "numbers.csv")).unwrap();
    assert_eq!(named, TextDataset { path: named.path.clone(), ..numbered });
    let test = named.test.unwrap();
    assert_eq!((named.train.len(), named.validation.len(), test.len()), (18_899, 2380, 2340));
    assert!(named.train.class_counts(3).iter().all(|count| *count > 3000));
}

/// Recorded with transformers 4.57.6: `tokenizer(texts, truncation=True, max_length=LENGTH)` over all three splits, the
/// ids one after another as little-endian 32-bit numbers.
#[test]
fn all_sentences_become_the_token_ids_of_transformers() {
    let Some(assets) = assets() else { return };
    let data = load(&sample(&assets, "csv")).unwrap();
    let texts = [data.train.texts, data.validation.texts, data.test.unwrap().texts].concat();
    let tokenizer = TextTokenizer::from_directory(&assets.join("model")).unwrap();
    for (length, tokens, recorded) in [
        (64, 590_600, "486a41c4ec7fab3d54b89b020f3b054b37fb4b0063d79a9d1c66f7b5199e043f"),
        (16, 353_210, "69a1bf1b1d8bb51438e1c4d528b9ce3f4b31574d44b5dee3f0f0fb5219a6a9fb"),
    ] {
        let encoded = tokenizer.encode_texts(&texts, length).unwrap();
        assert_eq!(encoded.ids().len(), tokens);
        let bytes: Vec<u8> = encoded.ids().iter().flat_map(|id| id.to_le_bytes()).collect();
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, recorded, "cut to {length}");
    }
}
