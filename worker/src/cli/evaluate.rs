//! `evaluate`: how well a trained model does on a labelled file.

use std::path::PathBuf;

use clap::Args;
use distilsweep_proto::{
    dataset::{Columns, FormatOptions},
    examples,
    json::{self, Json},
};
use serde::Serialize;

use super::{
    model::{Model, check_columns, note_truncated},
    report,
    terminal::{print, width},
};
use crate::{train::metrics::Report, trainer::Ended};

/// The classes are those of the model's `config.json`; a label is a class's name or its number.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep-worker evaluate --model out/model --file test.csv",
])]
pub(super) struct Evaluate {
    #[command(flatten)]
    model: Model,
    /// File with the labelled texts (CSV, TSV, JSON lines or Parquet)
    #[arg(long)]
    file: PathBuf,
    #[command(flatten)]
    columns: Columns,
    #[command(flatten)]
    format: FormatOptions,
    #[command(flatten)]
    json: Json,
}

#[derive(Serialize)]
struct Outcome<'a> {
    rows: usize,
    classes: &'a [String],
    #[serde(flatten)]
    report: &'a Report,
}

impl Evaluate {
    /// Runs the command.
    ///
    /// # Errors
    /// What is wrong with the file or the model.
    pub(super) fn run(&self) -> Result<(), Ended> {
        let classifier = self.model.open()?;
        let classes = classifier.classes();
        let format = self.format.clone().into();
        let rows = distilsweep_data::read_labelled(&self.file, &self.columns, &format, classes)?;
        if rows.split.is_empty() {
            return Err(Ended::BadInput(format!("{} has no rows to evaluate", self.file.display())));
        }
        check_columns(&classifier, &self.file, &rows)?;
        let split = rows.split;
        let logits = classifier.logits(&split)?;
        note_truncated(&classifier, logits.truncated, split.len());
        let report = Report::new(&logits.values, &split.labels, classes.len(), 0.0);
        print(&match self.json.json {
            false => report::table(&report, classes, width().unwrap_or(report::WIDTH)),
            true => json::document(Outcome { rows: split.len(), classes, report: &report }) + "\n",
        })
    }
}
