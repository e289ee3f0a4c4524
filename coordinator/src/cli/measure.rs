//! A few steps of the largest trial of a sweep, to tell how long all of it takes.

use std::{fs, io, io::Write, path::Path, process::Stdio, thread};

use distilsweep_data::{Split, TextDataset};
use distilsweep_proto::{
    exit::Exit,
    params::{Params, Steps, TrainingArguments, Value},
};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

use super::{CliError, files::SweepFile, fleet, terminal};
use crate::{
    look::{self, Known, Pace, Timed},
    results::labels::counted,
};

/// Steps that are trained: the first ones are slower, for memory is asked for.
const STEPS: usize = 12;
/// Validation rows that are evaluated.
const ROWS: usize = 256;

/// Of the worker's `result.json`.
#[derive(Deserialize)]
struct Report {
    steps: u64,
    seconds: f64,
    steps_per_second: f64,
}

/// Trains a few steps of the trial with the most tokens a step, on rows from all over the data.
pub(super) async fn measure(
    file: &SweepFile,
    data: &TextDataset,
    known: &Known,
    workers: u16,
) -> Result<Pace, CliError> {
    let (mut params, arguments) = largest(file, known)
        .ok_or_else(|| CliError::new(Exit::BadInput, "no trial of this sweep has a step to measure"))?;
    let window = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps;
    params.insert("max_steps".to_owned(), Value::Integer(STEPS as i64));
    params.insert("eval_strategy".to_owned(), Value::Text("no".to_owned()));
    let failed = |error: io::Error| CliError::failure(format!("nothing can be measured: {error}"));
    let directory = tempfile::tempdir().map_err(failed)?;
    let (train, validation) =
        (directory.path().join("train.jsonl"), directory.path().join("validation.jsonl"));
    let trained = write(&data.train, STEPS.saturating_mul(window), &train).map_err(failed)?;
    let evaluated = write(&data.validation, ROWS, &validation).map_err(failed)?;
    let output = directory.path().join("out");

    terminal::note(format_args!("measuring {STEPS} steps of the largest trial"));
    let threads = file.local.threads.map_or_else(
        || (thread::available_parallelism().map_or(1, usize::from) / usize::from(workers)).max(1),
        usize::from,
    );
    let device = file.local.device.as_deref().unwrap_or("auto");
    let revision =
        file.spec.model_revision.as_ref().map_or_else(String::new, |revision| format!("@{revision}"));
    let ended = Command::new(fleet::program())
        .args(["train", "--no-checkpoints", "--model", &format!("{}{revision}", file.spec.model)])
        .args(["--device", device, "--threads", &threads.to_string(), "--params", &json!(params).to_string()])
        .arg("--train")
        .arg(&train)
        .arg("--validation")
        .arg(&validation)
        .arg("--output")
        .arg(&output)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| {
            CliError::failure(format!("{} cannot be started: {error}", fleet::program().display()))
        })?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        let why = said.lines().last().unwrap_or("it said nothing").trim_start_matches("error: ");
        return Err(CliError::failure(format!("nothing was measured: {why}")));
    }
    let text = fs::read(output.join("result.json")).map_err(failed)?;
    let report: Report = serde_json::from_slice(&text)
        .map_err(|error| CliError::failure(format!("the worker's result cannot be read: {error}")))?;

    let known = Known { rows: Some([trained, evaluated, 0]), ..known.clone() };
    let arguments = TrainingArguments { max_steps: STEPS as i64, ..arguments };
    let mut timed = Timed::default();
    if let Some(steps) = arguments.steps(trained) {
        let steps = Steps { total: report.steps, ..steps };
        timed.add(&known, &arguments, steps, report.steps_per_second, report.seconds);
    }
    let source = format!(
        "{STEPS} steps with batches of {window} and max_length {} on this machine, {} a worker",
        arguments.max_length,
        counted(threads as u64, "thread")
    );
    timed.pace(source).ok_or_else(|| CliError::failure("the steps were too quick to be measured"))
}

/// The point with the most tokens a step.
fn largest(file: &SweepFile, known: &Known) -> Option<(Params, TrainingArguments)> {
    let points = look::looked_at(&file.spec.space).filter_map(|index| {
        let params = file.spec.space.point(index);
        let work = known.work(&params)?;
        let arguments = TrainingArguments::from_params(&params).ok()?;
        Some((work.trained / work.steps.total.max(1) as f64, params, arguments))
    });
    points.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, params, arguments)| (params, arguments))
}

/// Writes so many rows from all over a split, and answers how many there are.
fn write(split: &Split, most: usize, path: &Path) -> io::Result<usize> {
    let count = split.len().min(most);
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    for number in 0..count {
        let row = number * split.len() / count;
        let label = split.labels[row];
        let line = match split.pairs.get(row) {
            Some(pair) => json!({"sentence1": split.texts[row], "sentence2": pair, "label": label}),
            None => json!({"text": split.texts[row], "label": label}),
        };
        writeln!(file, "{line}")?;
    }
    file.flush()?;
    Ok(count)
}
