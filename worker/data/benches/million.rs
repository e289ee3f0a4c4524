//! How long a million short texts take to become token ids, and to be read from the cache then.
//!
//! `DISTILSWEEP_TEST_ASSETS` names the sample assets (`deploy/assets.py`), whose sentences and tokenizer are taken, over and
//! over. Prints one line of JSON.

use std::{fs, io::Write, path::Path, time::Instant};

use distilsweep_data::{Hub, tokenized};
use distilsweep_proto::dataset::{DatasetSource, DatasetSpec};

/// Texts, of which a hundredth validates.
const TEXTS: usize = 1_000_000;
/// Most of the sentences are shorter.
const MAX_LENGTH: usize = 64;

#[expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a program to measure with, at the edge")]
fn main() {
    let Some(assets) = std::env::var_os("DISTILSWEEP_TEST_ASSETS") else {
        println!("skipped: DISTILSWEEP_TEST_ASSETS does not name the sample assets");
        return;
    };
    let assets = Path::new(&assets);
    let directory = tempfile::tempdir().unwrap();
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("DISTILSWEEP_CACHE", directory.path().join("cache")) };
    let (train, validation) =
        (directory.path().join("train.jsonl"), directory.path().join("validation.jsonl"));
    let bytes = write(assets, &train, TEXTS - TEXTS / 100) + write(assets, &validation, TEXTS / 100);
    let spec = DatasetSpec::of(DatasetSource::Files {
        train: vec![train],
        validation: vec![validation],
        test: Vec::new(),
    });
    let hub = Hub::from_environment();
    let take = || {
        let start = Instant::now();
        let data = tokenized(&hub, &assets.join("model"), &spec, MAX_LENGTH).unwrap();
        (start.elapsed().as_secs_f64(), data)
    };
    let (first, data) = take();
    let tokens = data.train.texts.ids().len() + data.validation.texts.ids().len();
    drop(data);
    let (second, data) = take();
    assert!(data.cached);
    println!(
        "{}",
        serde_json::json!({
            "texts": TEXTS,
            "megabytes": bytes / 1_000_000,
            "tokens": tokens,
            "seconds": first,
            "seconds_from_cache": second,
            "peak_megabytes": peak() / 1000,
        })
    );
}

/// Writes so many of the sample's sentences, each with a number of its own, as short as tweets are.
#[expect(clippy::unwrap_used, reason = "a program to measure with")]
fn write(assets: &Path, path: &Path, count: usize) -> usize {
    let text = fs::read_to_string(assets.join("train.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let sentences: Vec<String> = reader.records().map(|row| row.unwrap()[0].to_owned()).collect();
    let mut out = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let mut bytes = 0;
    for i in 0..count {
        let sentence = &sentences[i % sentences.len()];
        let line = serde_json::json!({"text": format!("{sentence} {i}"), "label": i % 3}).to_string() + "\n";
        bytes += line.len();
        out.write_all(line.as_bytes()).unwrap();
    }
    bytes
}

/// The most memory that this process had, in kilobytes.
#[expect(clippy::unwrap_used, reason = "a program to measure with")]
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
