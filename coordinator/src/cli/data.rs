//! `distilsweep data inspect|tokenize`.

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use distilsweep_data::{
    CUTS, DataError, Hub, TextTokenizer, inspect, locate, read, schema, unknown_token_note,
};
use distilsweep_proto::{
    dataset::{Columns, DatasetSource, DatasetSpec, FileFormat, FormatOptions},
    examples,
    exit::Exit,
    json::{self, Json},
};

use super::{CliError, files::SweepFile, hub, results, terminal};
use crate::{
    look::{self, Inspected},
    spec::{self, SweepSpec},
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
    "distilsweep data inspect reviews.csv --separator '|' --encoding cp1252 --columns stars,review",
])]
pub(super) struct Inspect {
    /// Hub id (id@revision), directory, file of training rows (CSV, TSV, JSON or Parquet), or sweep file
    dataset: String,

    /// Hub id or directory of the model whose tokens are counted [default: that of the sweep file]
    #[arg(long)]
    model: Option<String>,

    /// Configuration of a Hub id or directory
    #[arg(long)]
    config: Option<String>,

    #[command(flatten)]
    columns: Columns,

    #[command(flatten)]
    file_format: FormatOptions,

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
            (DatasetSpec::of(DatasetSource::file(path.to_owned())), None)
        } else if path.is_dir() {
            let source = DatasetSource::Id { id: self.dataset.clone(), config: None, revision: None };
            (DatasetSpec::of(source), None)
        } else {
            (DatasetSpec::of(spec::source_named(&self.dataset)), None)
        };
        let mut spec = with_format(spec, self.file_format.clone()).with_columns(self.columns.clone());
        if let Some(wanted) = &self.config {
            let DatasetSource::Id { config, .. } = &mut spec.source else {
                let message = "--config chooses a configuration of a Hub id or directory, files have none";
                return Err(CliError::new(Exit::Usage, message));
            };
            *config = Some(wanted.clone());
        }
        Ok((spec, self.model.clone().or(model)))
    }
}

/// The same data set, with its files read as the options say.
fn with_format(spec: DatasetSpec, options: FormatOptions) -> DatasetSpec {
    let FileFormat { separator, encoding, columns, field } = options.into();
    let given = spec.format;
    let format = FileFormat {
        separator: separator.or(given.separator),
        encoding: encoding.or(given.encoding),
        columns: if columns.is_empty() { given.columns } else { columns },
        field: field.or(given.field),
    };
    DatasetSpec { format, ..spec }
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
    let schema = files.train.first().map(|path| schema(path, &files.format(&spec.format))).transpose();
    let data = read(files, spec)?;
    let unknown = match &tokenizer {
        Some(tokenizer) => unknown_token_note(&data, tokenizer)?,
        None => None,
    };
    Ok(Inspected {
        dataset,
        schema: schema?.unwrap_or_default(),
        model,
        inspection: inspect(&data, tokenizer.as_ref(), &CUTS)?,
        columns: Inspected::read(data.columns),
        commit: data.commit,
        config: data.config,
        notes: data.notes.into_iter().chain(unknown).collect(),
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        inspect: Inspect,
    }

    fn wanted(arguments: &[&str]) -> Result<DatasetSpec, CliError> {
        let line = [&["inspect"], arguments].concat();
        Line::try_parse_from(line).unwrap().inspect.wanted().map(|(spec, _)| spec)
    }

    #[test]
    fn file_and_sweep_file_that_names_it_are_read_alike() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let (rows, sweep) = (base.join("rows.csv"), base.join("sweep.yaml"));
        std::fs::write(&rows, "stars,review\n1,bad\n").unwrap();
        let of_sweep = |dataset: &str| {
            let file = format!(
                "name: n\nmodel: m\ndataset: {dataset}\nmethod: grid\nparameters: {{seed: {{value: 1}}}}\n"
            );
            std::fs::write(&sweep, file).unwrap();
            wanted(&[&sweep.to_string_lossy()]).unwrap()
        };
        let rows = rows.to_string_lossy();
        assert_eq!(wanted(&[&rows]).unwrap(), of_sweep("rows.csv"));
        let options = ["--separator", ";", "--encoding", "latin-1", "--columns", "stars,review"];
        let more = ["--text-column", "review", "--field", "data"];
        let same = "{train: rows.csv, separator: ';', encoding: cp1252, header: false, columns: [stars, review], \
                    text: review, field: data}";
        assert_eq!(wanted(&[&[&*rows], &options[..], &more].concat()).unwrap(), of_sweep(same));
        // A file that is absent is a file all the same, not an id of the Hub.
        assert_eq!(
            wanted(&["absent.csv"]).unwrap(),
            DatasetSpec::of(DatasetSource::file("absent.csv".into()))
        );
        let error = wanted(&[&rows, "--config", "en"]).unwrap_err();
        assert_eq!((error.exit, error.message.contains("--config")), (Exit::Usage, true));
    }
}
