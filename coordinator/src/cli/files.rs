//! Reading a sweep file and looking at what it names, before anything is started for it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use distilsweep_data::{Hub, TakenIn};
use distilsweep_proto::{exit::Exit, limits::FILE_BYTES, resource::Resource, storage, v1};

use super::{
    CliError, hub,
    mlflow::environment,
    origin::{self, Experiment},
};
use crate::spec::{self, Local, Origin, Problem, Reading, SweepSpec};

/// A sweep file that was read and checked.
#[derive(Debug)]
pub(super) struct SweepFile {
    pub(super) spec: SweepSpec,
    /// What it says for `run`.
    pub(super) local: Local,
    pub(super) warnings: Vec<Problem>,
    /// Lines and columns of its parameters.
    pub(super) places: BTreeMap<String, (usize, usize)>,
    source: String,
    pub(super) name: String,
    base: PathBuf,
    home: Option<PathBuf>,
}

impl SweepFile {
    /// Reads and checks a file; every problem in it comes at once.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| {
            CliError::new(Exit::BadInput, format!("sweep file {name} cannot be read: {error}"))
        };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > FILE_BYTES as u64 {
            let message = format!("{name} has {size} bytes, a sweep file has {FILE_BYTES} at most");
            return Err(CliError::new(Exit::BadInput, message));
        }
        let source = std::fs::read_to_string(path).map_err(unreadable)?;
        let base = path.canonicalize().map_err(unreadable)?;
        let base = base.parent().unwrap_or(&base).to_owned();
        let home = std::env::home_dir();
        let Reading { spec, local, warnings, places } =
            spec::read(&source).map_err(|problems| CliError::new(Exit::BadInput, problems.in_file(&name)))?;
        let spec = spec.with_base(&base, home.as_deref());
        Ok(Self { spec, local, warnings, places, source, name, base, home })
    }

    /// Says what there is to say of a file that is right.
    pub(super) fn warn(&self) {
        self.tell(&self.warnings);
    }

    /// The same, and what of it does not count where others train it.
    pub(super) fn warn_of_others(&self) {
        self.warn();
        self.tell(&self.local.unheeded);
    }

    /// Where workers publish, by the file.
    pub(super) fn store(&self) -> Result<Option<String>, CliError> {
        let wrong = |why| CliError::new(Exit::BadInput, format!("`storage` of {}: {why}", self.name));
        self.local.storage.as_deref().map(|url| store(url).map_err(wrong)).transpose()
    }

    /// Says something of places in it.
    pub(super) fn tell(&self, warnings: &[Problem]) {
        for Problem { line, column, message } in warnings {
            eprintln!("{}:{line}:{column}: warning: {message}", self.name);
        }
    }

    /// Who hands it in, and from where.
    pub(super) fn origin(&self, experiment: &Experiment) -> Result<Origin, CliError> {
        origin::origin(experiment, &self.base, environment)
    }

    /// What to ask of a coordinator.
    pub(super) fn submission(&self, force_new: bool, origin: Origin) -> v1::SubmitSweepRequest {
        v1::SubmitSweepRequest {
            user: origin.user.unwrap_or_default(),
            experiment: origin.experiment.unwrap_or_default(),
            default_experiment: origin.default_experiment.unwrap_or_default(),
            run_tags: origin.tags.into_iter().collect(),
            resources: origin.resources.into_iter().map(Into::into).collect(),
            source: self.source.clone(),
            file_name: self.name.clone(),
            force_new,
            base_directory: self.base.to_string_lossy().into_owned(),
            home_directory: self.home.as_deref().map(Path::to_string_lossy).unwrap_or_default().into_owned(),
        }
    }

    /// Finds the model and reads the data set, so that a wrong one is told at once and not by a worker.
    pub(super) async fn take_in(&self) -> Result<TakenIn, CliError> {
        let SweepSpec { model, model_revision, dataset, metric, .. } = self.spec.clone();
        let take_in = move |hub: &Hub| {
            distilsweep_data::take_in(hub, (&model, model_revision.as_deref()), &dataset, metric.is_loss())
        };
        hub::ask(take_in).await
    }

    /// Where model and data set stand on the Hub, for workers that have their own way to it. A Hub that does not answer
    /// keeps no sweep from being handed in.
    pub(super) async fn pin(&self) -> Result<Vec<Resource>, CliError> {
        let SweepSpec { model, model_revision, dataset, .. } = self.spec.clone();
        hub::ask(move |hub| match distilsweep_data::pin(hub, (&model, model_revision.as_deref()), &dataset) {
            Err(error) if error.is_retryable() => {
                eprintln!("warning: {error}; trials take what the Hub has when they begin");
                Ok(Vec::new())
            }
            pinned => pinned,
        })
        .await
    }
}

/// Reads the URL of a store. What is behind it only workers need to reach.
pub(super) fn store(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|error| {
        format!("it is no URL ({error}); it looks like s3://bucket/prefix or file:///directory")
    })?;
    storage::open(&url).map(|_| text.to_owned()).map_err(|error| error.to_string())
}
