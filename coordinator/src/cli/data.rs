//! `distilsweep data inspect|tokenize`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use distilsweep_data::{CUTS, DataError, Hub, TextTokenizer, inspect, locate, read, schema};
use distilsweep_proto::{
    dataset::{Columns, DatasetSource, DatasetSpec},
    examples,
    exit::Exit,
    json::{self, Json},
    resource::split_revision,
};

use super::{CliError, files::SweepFile, hub, results, terminal};
use crate::{
    look::{self, Inspected},
    spec::SweepSpec,
};

/// Commands about data.
#[derive(Debug, Subcommand)]
pub(super) enum Data {
    /// Splits, classes, lengths, repeated texts and leakage of a data set
    Inspect(Inspect),
    /// The tokens that a model makes of a text
    Tokenize(Tokenize),
}

/// Arguments of `data inspect`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep data inspect dair-ai/emotion --model distilbert-base-uncased",
    "distilsweep data inspect sweep.yaml",
    "distilsweep data inspect train.csv --text-column review --label-column stars",
])]
pub(super) struct Inspect {
    /// Hub id (id@revision), directory, file of training rows, or sweep file
    dataset: String,

    /// Hub id or directory of the model whose tokens are counted [default: that of the sweep file]
    #[arg(long)]
    model: Option<String>,

    /// Configuration of the data set
    #[arg(long)]
    config: Option<String>,

    #[command(flatten)]
    columns: Columns,

    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with = "json")]
    format: Format,

    #[command(flatten)]
    json: Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    /// For a program
    Json,
    /// For a browser
    Html,
}

/// Arguments of `data tokenize`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep data tokenize --model distilbert-base-uncased \"a fine day\"",
    "distilsweep data tokenize --model ./model 'a premise' 'a hypothesis'",
])]
pub(super) struct Tokenize {
    /// Hub id or directory of the model
    #[arg(long)]
    model: String,

    /// Tokens that the text is cut to
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,

    /// The text, and for a pair the second one
    #[arg(required = true, num_args = 1..=2)]
    text: Vec<String>,

    #[command(flatten)]
    json: Json,
}

impl Data {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        match self {
            Self::Inspect(inspect) => inspect.run().await,
            Self::Tokenize(tokenize) => tokenize.run().await,
        }
    }
}

impl Inspect {
    async fn run(self) -> Result<Exit, CliError> {
        let (spec, model) = self.wanted()?;
        let name = self.dataset.clone();
        let seen = hub::ask(move |hub| seen(hub, name, &spec, model)).await?;
        let format = if self.json.json { Format::Json } else { self.format };
        results::print(&match format {
            Format::Text => look::inspection(&seen, terminal::width()),
            Format::Html => look::page(&seen),
            Format::Json => json::document(&seen),
        });
        Ok(Exit::Success)
    }

    /// Which data set is meant, and whose tokens are counted.
    fn wanted(&self) -> Result<(DatasetSpec, Option<String>), CliError> {
        let path = Path::new(&self.dataset);
        let is_sweep = path.is_file()
            && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let (spec, model) = if is_sweep {
            let SweepSpec { model, model_revision, dataset, .. } = SweepFile::read(path)?.spec;
            let pinned = model_revision.map(|revision| format!("{model}@{revision}"));
            (dataset, Some(pinned.unwrap_or(model)))
        } else if path.is_file() {
            (DatasetSpec::of(DatasetSource::file(PathBuf::from(path))), None)
        } else {
            let (id, revision) = split_revision(&self.dataset);
            let (id, revision) = (id.to_owned(), revision.map(str::to_owned));
            let source = DatasetSource::Id { id, config: self.config.clone(), revision };
            (DatasetSpec::of(source), None)
        };
        Ok((spec.with_columns(self.columns.clone()), self.model.clone().or(model)))
    }
}

fn seen(
    hub: &Hub,
    dataset: String,
    spec: &DatasetSpec,
    model: Option<String>,
) -> Result<Inspected, DataError> {
    let tokenizer = model
        .as_ref()
        .map(|model| TextTokenizer::from_directory(&hub.tokenizer(model, None)?.directory))
        .transpose()?;
    let files = locate(hub, spec)?;
    let schema = files.train.first().map(|path| schema(path, &spec.format)).transpose();
    let data = read(files, spec)?;
    Ok(Inspected {
        dataset,
        schema: schema?.unwrap_or_default(),
        model,
        inspection: inspect(&data, tokenizer.as_ref(), &CUTS)?,
        columns: Inspected::read(data.columns),
        commit: data.commit,
        config: data.config,
        notes: data.notes,
    })
}

impl Tokenize {
    async fn run(self) -> Result<Exit, CliError> {
        let Self { model, max_length, text, json } = self;
        let (first, pair) = (text[0].clone(), text.get(1).cloned());
        let (tokens, decoded) = hub::ask(move |hub| {
            let tokenizer = TextTokenizer::from_directory(&hub.tokenizer(&model, None)?.directory)?;
            let tokens = tokenizer.tokens(&first, pair.as_deref(), max_length)?;
            let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
            let decoded = tokenizer.decode(&ids)?;
            Ok((tokens, decoded))
        })
        .await?;
        let pair = text.get(1).map(String::as_str);
        if !json.json {
            results::print(&look::tokens(&tokens, &text[0], pair, &decoded, terminal::width()));
            return Ok(Exit::Success);
        }
        let token = |token: &distilsweep_data::Token| {
            serde_json::json!({
                "id": token.id,
                "token": token.token,
                "characters": token.characters,
                "text": usize::from(token.second),
            })
        };
        let tokens: Vec<_> = tokens.iter().map(token).collect();
        results::print(&json::document(serde_json::json!({"tokens": tokens, "decoded": decoded})));
        Ok(Exit::Success)
    }
}
