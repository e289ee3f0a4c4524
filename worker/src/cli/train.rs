//! `train`: one trial without a coordinator.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use distilsweep_proto::{
    dataset::{Columns, DatasetSource, DatasetSpec, FormatOptions, Labels},
    examples,
    names::{DEFAULT_METRIC, Selection},
    params::{Params, TrainingArguments, Value},
    terminal,
};

use super::{
    checkpoints::Keeper,
    output::{Output, unwritable},
    progress,
    record::{Recorder, Report},
};
use crate::{
    torch::{DeviceChoice, Options, Precision, TorchTrainer},
    trainer::{Ended, Job, Observer, Trainer},
};

/// Arguments of `train`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep-worker train --model distilbert-base-uncased --train train.csv \\",
    "    --validation validation.csv --params '{\"learning_rate\": 5e-5}' --output out",
])]
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
    /// Hyperparameters as a JSON object, under Hugging Face's names; several make a pack of trials that train in
    /// lockstep, each with an output lane-N of its own
    #[arg(long, default_value = "{}")]
    params: Vec<String>,
    /// How a pack is computed: its lanes in turn, or batched in one pass; the faster one of the device when left out
    #[arg(long)]
    lanes: Option<Form>,
    /// Class names in class order, separated by commas
    #[arg(long, value_delimiter = ',')]
    labels: Vec<String>,
    #[command(flatten)]
    columns: Columns,
    #[command(flatten)]
    format: FormatOptions,
    /// Tokens a text is truncated to; the same as `max_length` in --params
    #[arg(long)]
    max_length: Option<i64>,
    /// Dropout rate of all sites; the checkpoint's configuration when left out
    #[arg(long, value_parser = rate)]
    dropout: Option<f64>,
    /// Where to train: auto (a GPU where libtorch has one), cpu, cuda or cuda:NUMBER
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
    /// fp32, bf16 or fp64; when left out `bf16` of the hyperparameters decides, else bf16 on a GPU, fp32 elsewhere
    #[arg(long)]
    precision: Option<Precision>,
    /// Threads of libtorch's operators; libtorch's choice when left out
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Metric that selects the best evaluation
    #[arg(long, default_value = DEFAULT_METRIC, value_parser = selection)]
    metric: Selection,
    /// Whether more of the metric is better; its habit when left out
    #[arg(long)]
    goal: Option<Goal>,
    /// Go on from the last checkpoint in --output, where there is one
    #[arg(long)]
    resume: bool,
    /// Seconds between two checkpoints; each epoch makes one too, and so do SIGTERM and Ctrl-C
    #[arg(long, default_value = "300", value_name = "SECONDS", value_parser = super::seconds)]
    checkpoint_interval: Duration,
    /// Keep no checkpoints
    #[arg(long, conflicts_with = "resume")]
    no_checkpoints: bool,
    /// New or empty directory for steps.jsonl, evals.jsonl, result.json and model/; with --resume one that has them
    #[arg(long)]
    output: PathBuf,
}

/// How a pack is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One lane after the other, through the plain kernels.
    InTurn,
    /// All lanes in one pass.
    Batched,
}

/// Which values of a metric are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Goal {
    /// More is better.
    Maximize,
    /// Less is better.
    Minimize,
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
        let mut jobs = self.jobs()?;
        let mut trainer = TorchTrainer::new(Options {
            device: self.device,
            precision: self.precision,
            batched: self.lanes.map(|form| form == Form::Batched),
            threads: self.threads.map(usize::from),
            dropout: self.dropout,
            log_every_step: true,
        })?;
        let output = if self.resume { Output::reopen(&self.output)? } else { Output::create(&self.output)? };
        let mut keeper = Keeper::new(&self.output)?;
        let every = jobs.first().map_or(1, |job| job.arguments.logging_steps as u64);
        let (mut recorders, mut fetched) = (Vec::new(), Vec::new());
        for (lane, progress) in (0..jobs.len()).zip(progress::lanes(jobs.len(), every)) {
            let job = &mut jobs[lane];
            std::fs::create_dir_all(&job.output).map_err(|error| unwritable(&job.output, &error))?;
            if self.resume {
                let newest = keeper.newest(lane)?;
                job.resume.clone_from(&newest.directories);
                fetched.push(newest);
            }
            let checkpoints = job.checkpoints.then(|| keeper.writer(lane)).transpose()?;
            let recorder =
                Recorder::new(&job.output, progress, checkpoints, self.checkpoint_interval, keeper.stop());
            recorders.push(recorder.map_err(|error| unwritable(&job.output, &error))?);
        }
        let mut observers: Vec<&mut dyn Observer> =
            recorders.iter_mut().map(|recorder| recorder as &mut dyn Observer).collect();
        trainer.train(&jobs, &mut observers);
        drop(fetched);
        let (mut finished, mut first) = (Vec::new(), None);
        for ((lane, job), recorder) in jobs.iter().enumerate().zip(recorders) {
            match recorder.finish(&job.output).and_then(|trained| Report::new(job, &trained).write(job)) {
                Ok(()) => finished.push(lane),
                Err(why) => {
                    if jobs.len() > 1 {
                        eprintln!("{}: {why}", job.output.display());
                    }
                    first.get_or_insert(why);
                }
            }
        }
        keeper.finish(&finished)?;
        match first {
            None => output.keep(),
            Some(Ended::Stopped) if self.no_checkpoints => return Err(Ended::Stopped),
            Some(Ended::Stopped) => {
                terminal::note("stopped: the same command with --resume goes on from here");
                output.keep();
                return Err(Ended::Stopped);
            }
            Some(why) => {
                if jobs.len() > 1 {
                    // What the other lanes reached is worth keeping.
                    output.keep();
                }
                return Err(why);
            }
        }
        Ok(())
    }

    /// The trials of the pack.
    fn jobs(&self) -> Result<Vec<Job>, Ended> {
        let directory = |number: usize| match self.params.len() {
            1 => self.output.clone(),
            _ => self.output.join(format!("lane-{number}")),
        };
        self.params.iter().enumerate().map(|(number, params)| self.job(params, directory(number))).collect()
    }

    fn job(&self, params: &str, output: PathBuf) -> Result<Job, Ended> {
        let mut params: Params = serde_json::from_str(params).map_err(|error| {
            Ended::BadInput(format!("--params must be a JSON object of hyperparameters: {error}"))
        })?;
        if let Some(length) = self.max_length {
            params.insert("max_length".to_owned(), Value::Integer(length));
        }
        let typed =
            TrainingArguments::from_params(&params).map_err(|error| Ended::BadPoint(error.to_string()))?;
        let files = DatasetSource::Files {
            train: vec![self.train.clone()],
            validation: vec![self.validation.clone()],
            test: self.test.iter().cloned().collect(),
        };
        let labels = match &self.labels[..] {
            [] => Labels::Inferred,
            names => Labels::Names(names.to_vec()),
        };
        let dataset = DatasetSpec { labels, format: self.format.clone().into(), ..DatasetSpec::of(files) };
        Ok(Job {
            model: self.model.clone(),
            model_revision: None,
            dataset: dataset.with_columns(self.columns.clone()),
            params,
            arguments: typed,
            selection: self.metric,
            maximize: self.goal.map_or(self.metric.maximize, |goal| goal == Goal::Maximize),
            output,
            checkpoints: !self.no_checkpoints,
            resume: Vec::new(),
        })
    }
}
