//! A batch that the memory does not hold is computed in pieces.
#![cfg(all(feature = "torch", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "tests and their helpers")]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

const ROWS: usize = 6000;

fn train(directory: &Path, output: &str, batch: usize, limit_kib: Option<u64>) -> Output {
    let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixture");
    let limit = limit_kib.map_or_else(|| "unlimited".to_owned(), |kib| kib.to_string());
    let params =
        format!(r#"{{"max_steps": 2, "per_device_train_batch_size": {batch}, "learning_rate": 0.001}}"#);
    Command::new("bash")
        .args(["-c", r#"ulimit -v "$0" && exec "$@""#, &limit, env!("CARGO_BIN_EXE_distilsweep-worker")])
        .args(["train", "--train", "train.csv", "--labels", "praise,blame,fact", "--threads", "1"])
        .args(["--dropout", "0.1", "--no-checkpoints", "--output", output, "--params", &params])
        .arg("--model")
        .arg(fixture.join("start"))
        .arg("--validation")
        .arg(fixture.join("validation.csv"))
        .current_dir(directory)
        .env("RUST_LOG", "info")
        // One arena, and large pieces given back at once: address space is what the limit counts, freed or not.
        .env("MALLOC_ARENA_MAX", "1")
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .output()
        .unwrap()
}

fn result(directory: &Path, output: &str) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(directory.join(output).join("result.json")).unwrap()).unwrap()
}

fn losses(directory: &Path, output: &str) -> Vec<f64> {
    let text = fs::read_to_string(directory.join(output).join("steps.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap())
        .collect()
}

/// Address space in KiB that a training of small batches asks for at most.
fn least(directory: &Path) -> u64 {
    let fits = |kib: u64| {
        let name = format!("small-{kib}");
        train(directory, &name, 8, Some(kib)).status.success()
    };
    let mut kib = 1 << 20;
    while !fits(kib) {
        kib += 256 << 10;
        assert!(kib < 64 << 20, "a small batch does not fit into 64 GiB of address space");
    }
    kib
}

#[test]
fn a_batch_that_does_not_fit_is_cut_and_its_losses_stay() {
    let directory = TempDir::new().unwrap();
    let mut rows = "text,label\n".to_owned();
    for i in 0..ROWS {
        let label = ["praise", "blame", "fact"][i % 3];
        writeln!(rows, "{},{label}", "the old bridge stands near the river today ".repeat(5)).unwrap();
    }
    fs::write(directory.path().join("train.csv"), rows).unwrap();

    let free = train(directory.path(), "free", ROWS, None);
    assert!(free.status.success(), "{free:?}");
    assert!(!String::from_utf8_lossy(&free.stderr).contains("out of memory"));
    let needed = result(directory.path(), "free")["peak_rss_mib"].as_f64().unwrap();
    assert!(needed > 900.0, "the whole batch takes only {needed} MiB, too little to tell");

    // Half of what the whole batch asks for: closer to the least, oneDNN finds no room for the code of an evaluation.
    let limit = least(directory.path()) + (500 << 10);
    let short = train(directory.path(), "short", ROWS, Some(limit));
    let told = String::from_utf8_lossy(&short.stderr).into_owned();
    assert!(short.status.success(), "{told}");
    assert!(told.contains("out of memory, goes on with less at once"), "it fitted: {told}");
    for (free, short) in losses(directory.path(), "free").iter().zip(losses(directory.path(), "short")) {
        assert!((free - short).abs() < 2e-4 * free, "{free} and {short}");
    }
}
