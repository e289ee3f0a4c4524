//! `train`: one trial without a coordinator.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use distilsweep_proto::{
    dataset::{DatasetSource, DatasetSpec, Limits},
    names::{DEFAULT_METRIC, Selection},
    params::{Params, TrainingArguments, Value},
};
use serde::Serialize;

use super::output::{Output, unwritable};
use crate::{
    torch::{DeviceChoice, Options, Precision, TorchTrainer},
    trainer::{
        Checkpoint, Ended, EvaluationRecord, Job, Observer, Phase, Request, StepRecord, Trained, Trainer,
    },
};

/// Arguments of `train`.
#[derive(Debug, Args)]
pub(super) struct Train {
    /// Directory or Hub id of the checkpoint to start from
    #[arg(long)]
    model: String,
    /// File with the rows to train on (CSV, TSV, JSON lines or Parquet)
    #[arg(long)]
    train: PathBuf,
    /// File with the rows that select the best epoch
    #[arg(long)]
    validation: PathBuf,
    /// File with the rows that only the best epoch sees
    #[arg(long)]
    test: Option<PathBuf>,
    /// Hyperparameters as a JSON object, under Hugging Face's names
    #[arg(long, default_value = "{}")]
    params: String,
    /// Class names in class order, separated by commas
    #[arg(long, value_delimiter = ',')]
    labels: Vec<String>,
    /// Column with the text
    #[arg(long)]
    text_column: Option<String>,
    /// Column with the label
    #[arg(long)]
    label_column: Option<String>,
    /// Tokens a text is cut to; the same as `max_length` in --params
    #[arg(long)]
    max_length: Option<i64>,
    /// Dropout rate of all sites; the checkpoint's configuration when left out
    #[arg(long, value_parser = rate)]
    dropout: Option<f64>,
    /// Where to train: auto (a GPU where libtorch has one), cpu, cuda or cuda:NUMBER
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
    /// fp32, bf16 or fp64
    #[arg(long, default_value = "fp32")]
    precision: Precision,
    /// Threads of libtorch's operators; libtorch's choice when left out
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Metric that selects the best epoch
    #[arg(long, default_value = DEFAULT_METRIC, value_parser = selection)]
    metric: Selection,
    /// New or empty directory for steps.jsonl, evals.jsonl, result.json and model/
    #[arg(long)]
    output: PathBuf,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..1.0).contains(&rate) => Ok(rate),
        _ => Err("it must be a number of at least 0 and below 1".to_owned()),
    }
}

fn selection(text: &str) -> Result<Selection, String> {
    Selection::named(text).ok_or_else(|| {
        let names: Vec<&str> = distilsweep_proto::names::SELECTIONS.iter().map(|s| s.best).collect();
        format!("it must be one of {}", names.join(", "))
    })
}

impl Train {
    /// Runs the command.
    ///
    /// # Errors
    /// Why there is no result.
    pub(super) fn run(&self) -> Result<(), Ended> {
        let job = self.job()?;
        let mut trainer = TorchTrainer::new(Options {
            device: self.device,
            precision: self.precision,
            threads: self.threads.map(usize::from),
            dropout: self.dropout,
            log_every_step: true,
        })?;
        let output = Output::create(&self.output)?;
        let mut recorder = Recorder::new(&self.output, job.arguments.logging_steps as u64)
            .map_err(|error| unwritable(&self.output, &error))?;
        trainer.train(std::slice::from_ref(&job), &mut [&mut recorder]);
        let trained = recorder.finish(&self.output)?;
        let report = Report::new(&job, &trained);
        let path = self.output.join("result.json");
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| Ended::Internal(format!("the result is no JSON: {error}")))?;
        fs::write(&path, text + "\n").map_err(|error| unwritable(&path, &error))?;
        output.keep();
        let best = report.metrics.get(job.selection.best).copied().unwrap_or(f64::NAN);
        eprintln!(
            "{} {best:.4} at step {}; {:.2} steps/s; {}",
            job.selection.best,
            trained.best.step,
            trained.steps_per_second,
            self.output.display()
        );
        Ok(())
    }

    fn job(&self) -> Result<Job, Ended> {
        let mut params: Params = serde_json::from_str(&self.params).map_err(|error| {
            Ended::BadInput(format!("--params must be a JSON object of hyperparameters: {error}"))
        })?;
        if let Some(length) = self.max_length {
            params.insert("max_length".to_owned(), Value::Integer(length));
        }
        let typed =
            TrainingArguments::from_params(&params).map_err(|error| Ended::BadPoint(error.to_string()))?;
        Ok(Job {
            model: self.model.clone(),
            model_revision: None,
            dataset: DatasetSpec {
                source: DatasetSource::Files {
                    train: self.train.clone(),
                    validation: Some(self.validation.clone()),
                    test: self.test.clone(),
                },
                text: self.text_column.clone(),
                label: self.label_column.clone(),
                labels: self.labels.clone(),
                limit: Limits::default(),
            },
            params,
            arguments: typed,
            selection: self.metric,
            maximize: self.metric.maximize,
            output: self.output.clone(),
            checkpoints: false,
            resume: Vec::new(),
        })
    }
}

/// Writes records as they come, and a line now and then for people.
struct Recorder {
    steps: File,
    evaluations: File,
    every: u64,
    total: u64,
    failed: Option<io::Error>,
    ended: Option<Result<Trained, Ended>>,
}

impl Recorder {
    fn new(output: &Path, every: u64) -> io::Result<Self> {
        Ok(Self {
            steps: File::create(output.join("steps.jsonl"))?,
            evaluations: File::create(output.join("evals.jsonl"))?,
            every,
            total: 0,
            failed: None,
            ended: None,
        })
    }

    fn finish(self, output: &Path) -> Result<Trained, Ended> {
        if let Some(error) = self.failed {
            return Err(unwritable(output, &error));
        }
        self.ended.unwrap_or_else(|| Err(Ended::Internal("the trainer gave no result".to_owned())))
    }

    fn keep_first(&mut self, written: io::Result<()>) {
        if let (Err(error), None) = (written, &self.failed) {
            self.failed = Some(error);
        }
    }
}

fn line(file: &mut File, record: &impl Serialize) -> io::Result<()> {
    file.write_all((serde_json::to_string(record)? + "\n").as_bytes())
}

impl Observer for Recorder {
    fn progress(&mut self, phase: Phase, _step: u64, total: u64) {
        self.total = total;
        match phase {
            Phase::Loading => eprintln!("loading"),
            Phase::Training => {}
            Phase::Evaluating => eprintln!("evaluating"),
            Phase::Finishing => eprintln!("finishing"),
        }
    }

    fn logged(&mut self, record: &StepRecord) {
        let written = line(&mut self.steps, record);
        self.keep_first(written);
        if record.step.is_multiple_of(self.every) || record.step == self.total {
            eprintln!("step {}/{} loss {:.4}", record.step, self.total, record.loss);
        }
    }

    fn evaluated(&mut self, record: &EvaluationRecord) {
        let written = line(&mut self.evaluations, record);
        self.keep_first(written);
        eprintln!(
            "epoch {:.2} eval_loss {:.4} eval_f1_score {:.4}",
            record.epoch, record.scores.loss, record.scores.f1_score
        );
    }

    fn request(&mut self) -> Request {
        if self.failed.is_some() { Request::Stop } else { Request::GoOn }
    }

    fn checkpointed(&mut self, _checkpoint: Checkpoint) {}

    fn measured(&mut self, _lane_bytes: u64) {}

    fn ended(&mut self, ended: Result<Trained, Ended>) {
        self.ended = Some(ended);
    }
}

/// `result.json`.
#[derive(Debug, Serialize)]
struct Report {
    /// The best evaluation's under the names of a run's final metrics.
    metrics: std::collections::BTreeMap<String, f64>,
    baseline: std::collections::BTreeMap<String, f64>,
    best_step: u64,
    best_epoch: f64,
    steps: u64,
    seconds: f64,
    steps_per_second: f64,
    samples_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss_mib: Option<f64>,
    tags: std::collections::BTreeMap<String, String>,
}

impl Report {
    fn new(job: &Job, trained: &Trained) -> Self {
        let mut metrics = trained.best.scores.named("eval");
        if let Some(best) = metrics.get(job.selection.evaluation).copied() {
            metrics.insert(job.selection.best.to_owned(), best);
        }
        if let Some(test) = &trained.test {
            metrics.extend(test.named("test"));
        }
        Self {
            metrics,
            baseline: trained.baseline.clone(),
            best_step: trained.best.step,
            best_epoch: trained.best.epoch,
            steps: trained.steps,
            seconds: trained.seconds,
            steps_per_second: trained.steps_per_second,
            samples_per_second: trained.samples_per_second,
            peak_rss_mib: peak_rss_mib(),
            tags: trained.tags.clone(),
        }
    }
}

/// The most memory that this process had resident, where the system tells (Linux does).
fn peak_rss_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}
