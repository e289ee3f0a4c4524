//! `distilsweep check`: what a sweep file means and what it will take, before anything is started for it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::Args;
use distilsweep_data::{
    DataError, Hub, Inspection, Snapshot, TextDataset, TextTokenizer, check_metric, check_pairs, inspect,
    locate, read, unknown_token_note,
};
use distilsweep_proto::{
    examples,
    exit::Exit,
    json::{self, Json},
    params::{Steps, TrainingArguments},
};

use super::{CliError, files::SweepFile, hub, measure, results, terminal};
use crate::{
    look::{self, Checked, DataFacts, Known, ModelFacts, Pace, Shown, SplitRows, Warning},
    results::labels::counted,
    spec::{Method, Problem, SweepSpec},
    store::{Reader, StoreError},
};

/// Points that are shown from the start and from the end.
const SHOWN: u64 = 3;
/// Lengths of which it is said what they cut.
const CUTS: usize = 6;
/// Trials of an earlier sweep that tell how fast they were.
const ASKED: u32 = 500;

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep check sweep.yaml",
    "distilsweep check sweep.yaml --measure --workers 4",
])]
pub(super) struct Check {
    /// The sweep file
    file: PathBuf,

    /// Workers of the bill [default: `resources` of the file, else 1]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,

    /// Train a few steps of the largest trial to tell the time
    #[arg(long)]
    measure: bool,

    /// The state directory whose earlier sweeps tell the time otherwise
    #[arg(long, value_name = "DIR", default_value = ".distilsweep")]
    state: PathBuf,

    #[command(flatten)]
    json: Json,
}

/// Model and data as far as they can be had now.
struct Found {
    model: Option<Snapshot>,
    data: Option<(TextDataset, Inspection)>,
    /// Why not.
    notes: Vec<String>,
}

impl Check {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let mut file = SweepFile::read(&self.file)?;
        file.warn();
        let workers = self.workers.or(file.local.workers).unwrap_or(1);
        let learns = file.spec.method == Method::Bayes;
        if learns {
            file.spec.space.guess();
        }
        let lengths = lengths(&file.spec);
        let (spec, cuts) = (file.spec.clone(), lengths.clone());
        let found = hub::ask(move |hub| found(hub, &spec, &cuts)).await?;
        let (model, data) = (model(&file.spec, found.model.as_ref()), data(&file.spec, found.data.as_ref()));
        let mut notes = found.notes;
        notes.extend(found.data.iter().flat_map(|(data, _)| data.notes.clone()));
        notes.extend(seeds(&file.spec));
        notes.extend(learns.then(|| {
            "bayes proposes points as trials end: the bill is that of as many random ones".to_owned()
        }));

        let mut known = known(&model, data.as_ref());
        if self.measure {
            let (data, _) = found.data.as_ref().ok_or_else(|| {
                CliError::failure("there is nothing to measure with: the data cannot be read now")
            })?;
            known.pace = Some(measure::measure(&file, data, &known, workers).await?);
        } else {
            match earlier(&self.state, &file.spec, &known) {
                Ok(pace) => known.pace = pace,
                Err(error) => notes.push(format!("earlier sweeps were not asked: {error}")),
            }
        }
        let doubts = look::doubts(&file.spec, &model, data.as_ref());
        let doubts: Vec<Problem> = doubts
            .into_iter()
            .map(|(name, message)| {
                let (line, column) = file.places.get(name).copied().unwrap_or((1, 1));
                Problem { line, column, message }
            })
            .collect();
        file.tell(&doubts);
        let warnings = file.warnings.iter().chain(&doubts).cloned();
        let warnings = warnings.map(|Problem { line, column, message }| Warning { line, column, message });
        let bill = look::bill(&file.spec, &known, u64::from(workers));
        if file.spec.early_terminate.is_some() {
            notes.push(if bill.evaluations == Some(bill.trials as f64) {
                "`early_terminate` ends no trial: each is evaluated once, at its end".to_owned()
            } else {
                "the bill is that of whole trials: those that end early take less".to_owned()
            });
        }
        let checked = Checked {
            file: file.name.clone(),
            name: file.spec.name.clone(),
            method: method(file.spec.method).to_owned(),
            points: file.spec.space.len(),
            varied: file.spec.space.varied().into_iter().map(str::to_owned).collect(),
            shown: if learns { Vec::new() } else { shown(&file.spec) },
            warnings: warnings.collect(),
            model,
            data,
            bill,
            notes,
        };
        results::print(&match self.json.json {
            true => json::document(&checked),
            false => look::checked(&checked, terminal::width()),
        });
        Ok(Exit::Success)
    }
}

/// Looks for model and data as `run` does before it starts; a Hub that does not answer keeps nobody from the rest.
fn found(hub: &Hub, spec: &SweepSpec, cuts: &[usize]) -> Result<Found, DataError> {
    let mut notes = Vec::new();
    let model = or_note(hub.model(&spec.model, spec.model_revision.as_deref()), &mut notes)?;
    let files = or_note(locate(hub, &spec.dataset), &mut notes)?;
    let data = match files {
        Some(files) => {
            let data = read(files, &spec.dataset)?;
            check_metric(&data.classes, &data.validation.labels, spec.metric.is_loss())?;
            if let Some(model) = &model {
                check_pairs(&model.directory, data.columns.pair.is_some())?;
            }
            let tokenizer =
                model.as_ref().map(|model| TextTokenizer::from_directory(&model.directory)).transpose()?;
            if let Some(tokenizer) = &tokenizer {
                notes.extend(unknown_token_note(&data, tokenizer)?);
            }
            let inspection = inspect(&data, tokenizer.as_ref(), cuts)?;
            Some((data, inspection))
        }
        None => None,
    };
    Ok(Found { model, data, notes })
}

fn or_note<F>(found: Result<F, DataError>, notes: &mut Vec<String>) -> Result<Option<F>, DataError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_retryable() => {
            notes.push(error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Values of `max_length` among the points, as many as are worth telling apart.
fn lengths(spec: &SweepSpec) -> Vec<usize> {
    let length = |index| Some(TrainingArguments::from_params(&spec.space.point(index)).ok()?.max_length);
    let all: BTreeSet<usize> = look::looked_at(&spec.space).filter_map(length).collect();
    let all: Vec<usize> = all.into_iter().collect();
    let step = all.len().saturating_sub(1) as f64 / (CUTS - 1) as f64;
    match all.len() <= CUTS {
        true => all,
        false => (0..CUTS).map(|number| all[(number as f64 * step).round() as usize]).collect(),
    }
}

fn model(spec: &SweepSpec, found: Option<&Snapshot>) -> ModelFacts {
    let bytes = |found: &Snapshot| {
        let weights = found.used().filter(|name| name.ends_with(".safetensors"));
        weights.filter_map(|name| Some(std::fs::metadata(found.directory.join(name)).ok()?.len())).sum()
    };
    let positions = |found: &Snapshot| {
        let text = std::fs::read(found.directory.join("config.json")).ok()?;
        let config: serde_json::Value = serde_json::from_slice(&text).ok()?;
        config.get("max_position_embeddings")?.as_u64()
    };
    ModelFacts {
        name: spec.model.clone(),
        commit: found.and_then(|found| found.commit.clone()),
        bytes: found.map(bytes),
        positions: found.and_then(positions),
    }
}

fn data(spec: &SweepSpec, found: Option<&(TextDataset, Inspection)>) -> Option<DataFacts> {
    let (data, inspection) = found?;
    Some(DataFacts {
        name: spec.dataset.source.name(),
        commit: data.commit.clone(),
        splits: inspection
            .splits
            .iter()
            .map(|split| SplitRows { name: split.name, rows: split.rows })
            .collect(),
        classes: data.classes.clone(),
        tokens: inspection.tokens.clone(),
    })
}

fn known(model: &ModelFacts, data: Option<&DataFacts>) -> Known {
    let rows = |data: &DataFacts| {
        ["train", "validation", "test"]
            .map(|name| data.splits.iter().find(|split| split.name == name).map_or(0, |split| split.rows))
    };
    let tokens = data.and_then(|data| {
        let facts = data.tokens.as_ref()?;
        let mean = facts.total as f64 / rows(data)[0].max(1) as f64;
        Some(facts.cut.iter().map(|(length, _, lost)| (*length, mean * (1.0 - lost))).collect())
    });
    Known { rows: data.map(rows), tokens: tokens.unwrap_or_default(), model_bytes: model.bytes, pace: None }
}

/// How fast the trials of the latest sweep of this model and data were.
fn earlier(state: &Path, spec: &SweepSpec, known: &Known) -> Result<Option<Pace>, StoreError> {
    if !state.is_dir() {
        return Ok(None);
    }
    let reader = match Reader::open(state) {
        Ok(reader) => reader,
        Err(StoreError::Absent(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    for row in reader.sweeps()?.into_iter().rev() {
        let Ok(other) = reader.spec(&row.id) else { continue };
        if other.model != spec.model || other.dataset.source != spec.dataset.source {
            continue;
        }
        let mut timed = look::Timed::default();
        let mut device = None;
        for trial in reader.trials(&row.id, 0, ASKED)? {
            let Some(result) = trial.result.filter(|_| trial.state == "completed") else { continue };
            let Ok(arguments) = TrainingArguments::from_params(&other.space.point(trial.trial)) else {
                continue;
            };
            let rows = known.rows.map_or(0, |[train, ..]| train);
            let Some(planned) = arguments.steps(rows) else { continue };
            let steps = Steps { total: result.steps.max(0).cast_unsigned(), ..planned };
            timed.add(known, &arguments, steps, result.steps_per_second, result.train_seconds);
            device = result.tags.get("device").cloned().or(device);
        }
        let on = device.map_or_else(String::new, |device| format!(" on {device}"));
        let source = format!("{} of {}{on}", counted(timed.trials, "trial"), row.id);
        if let Some(pace) = timed.pace(source) {
            return Ok(Some(pace));
        }
    }
    Ok(None)
}

/// The first points and the last, each once.
fn shown(spec: &SweepSpec) -> Vec<Shown> {
    let points = spec.space.len();
    let last = points.saturating_sub(SHOWN).max(SHOWN.min(points));
    let shown = (0..SHOWN.min(points)).chain(last..points);
    shown.map(|trial| Shown { trial, params: spec.space.point(trial) }).collect()
}

/// That differences between settings may be chance.
fn seeds(spec: &SweepSpec) -> Option<String> {
    let varied = spec.space.varied();
    (!varied.is_empty() && !varied.contains(&"seed")).then(|| {
        "every setting has one seed, so that a difference may be chance: `repeats: 3` trains each three times".to_owned()
    })
}

/// As the file has it.
fn method(method: Method) -> &'static str {
    match method {
        Method::Grid => "grid",
        Method::Random => "random",
        Method::QuasiRandom => "quasi-random",
        Method::Bayes => "bayes",
    }
}
