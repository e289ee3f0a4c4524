//! `predict`: which class a trained model takes texts for.

use std::{
    io::{self, IsTerminal, Read},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use distilsweep_data::{FileRows, Split};
use distilsweep_proto::{
    dataset::{Columns, FormatOptions},
    examples,
    json::{self, Json},
    terminal::note,
};
use serde::Serialize;

use super::{
    model::{Model, check_columns, note_truncated},
    terminal::{fitted, padded, print, width},
};
use crate::trainer::Ended;

/// Texts are classified and written in groups of this many, so that long inputs come out while they are worked on.
const GROUP: usize = 4096;

/// Columns of a text that a table leaves it, however narrow the terminal.
const LEAST_TEXT: usize = 16;

/// Texts come from the command line, from a file, or a line each from standard input.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep-worker predict --model out/model 'a fine day'",
    "distilsweep-worker predict --model out/model --file texts.csv --format csv",
])]
pub(super) struct Predict {
    #[command(flatten)]
    model: Model,
    /// Texts to classify; left out, each line of standard input is one
    #[arg(value_name = "TEXT", conflicts_with = "file")]
    texts: Vec<String>,
    /// File with the texts (CSV, TSV, JSON lines or Parquet)
    #[arg(long)]
    file: Option<PathBuf>,
    /// Column with the text [default: text, sentence, content or review]
    #[arg(long, requires = "file", conflicts_with = "texts")]
    text_column: Option<String>,
    /// Column with the second text of a pair [default: sentence2 beside sentence1, and the like]
    #[arg(long, requires = "file", conflicts_with = "texts")]
    text_pair_column: Option<String>,
    #[command(flatten)]
    file_format: FormatOptions,
    /// table for people; csv and json (a line each) for programs
    #[arg(long, default_value = "table", conflicts_with = "json")]
    format: Format,
    #[command(flatten)]
    json: Json,
    /// Classes told of each text, the likeliest first [default: all; 1 in a table]
    #[arg(long, value_name = "CLASSES", value_parser = clap::value_parser!(u16).range(1..))]
    top: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

impl Predict {
    /// Runs the command.
    ///
    /// # Errors
    /// What is wrong with the texts or the model.
    pub(super) fn run(&self) -> Result<(), Ended> {
        let rows = self.rows()?;
        let classifier = self.model.open()?;
        match &self.file {
            Some(path) => check_columns(&classifier, path, &rows)?,
            None if classifier.text_columns() == Some(2) => {
                return Err(Ended::BadInput(
                    "the model was trained on pairs of texts: give a --file with two text columns".to_owned(),
                ));
            }
            None => {}
        }
        let texts = rows.split;
        let classes = classifier.classes();
        let format = if self.json.json { Format::Json } else { self.format };
        let all = if format == Format::Table { 1 } else { classes.len() };
        let top = self.top.map_or(all, usize::from).min(classes.len());
        let view = View { classes, top, width: width() };
        let mut out = match format {
            Format::Table => view.table_head(),
            Format::Csv => view.csv_head()?,
            Format::Json => String::new(),
        };
        let mut truncated = 0;
        for from in (0..texts.len()).step_by(GROUP) {
            let group = texts.texts_of(from, from + GROUP);
            let probabilities = classifier.probabilities(&group)?;
            truncated += probabilities.truncated;
            for (text, row) in group.texts.iter().zip(probabilities.values.chunks_exact(classes.len())) {
                out += &match format {
                    Format::Table => view.table_rows(text, row),
                    Format::Csv => view.csv_row(text, row)?,
                    Format::Json => view.json_line(text, row),
                };
            }
            print(&out)?;
            out.clear();
        }
        note_truncated(&classifier, truncated, texts.len());
        Ok(())
    }

    fn rows(&self) -> Result<FileRows, Ended> {
        let single = |texts| FileRows { split: Split { texts, ..Split::default() }, ..FileRows::default() };
        if let Some(path) = &self.file {
            let columns = Columns {
                text_column: self.text_column.clone(),
                text_pair_column: self.text_pair_column.clone(),
                label_column: None,
            };
            let rows = distilsweep_data::read_texts(path, &columns, &self.file_format.clone().into())?;
            return match rows.split.is_empty() {
                true => Err(Ended::BadInput(format!("{} has no rows to classify", path.display()))),
                false => Ok(rows),
            };
        }
        let FormatOptions { separator, encoding, columns, field } = &self.file_format;
        if separator.is_some() || encoding.is_some() || !columns.is_empty() || field.is_some() {
            return Err(Ended::BadInput(
                "--separator, --encoding, --columns and --field say how a --file is read, and there is none"
                    .to_owned(),
            ));
        }
        if !self.texts.is_empty() {
            return Ok(single(self.texts.clone()));
        }
        if io::stdin().is_terminal() {
            note("reading texts, one a line; Ctrl-D ends them");
        }
        let mut bytes = Vec::new();
        io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(|error| Ended::Internal(format!("cannot read standard input: {error}")))?;
        lines(&bytes).map(single)
    }
}

/// The lines of standard input.
fn lines(bytes: &[u8]) -> Result<Vec<String>, Ended> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Ended::BadInput(format!("standard input line {line}: not UTF-8; convert it to that encoding"))
    })?;
    let lines: Vec<String> = text.trim_start_matches('\u{feff}').lines().map(str::to_owned).collect();
    match lines.iter().all(|line| line.trim().is_empty()) {
        true => Err(Ended::BadInput(
            "there is nothing to classify: give texts, --file, or a text a line on standard input".to_owned(),
        )),
        false => Ok(lines),
    }
}

/// How predictions look.
struct View<'a> {
    classes: &'a [String],
    /// Classes told of each text.
    top: usize,
    /// Columns of the terminal; none where lines may have any length.
    width: Option<usize>,
}

#[derive(Serialize)]
struct Prediction<'a> {
    text: &'a str,
    label: &'a str,
    probability: f64,
    probabilities: Vec<Class<'a>>,
}

#[derive(Serialize)]
struct Class<'a> {
    label: &'a str,
    probability: f64,
}

const PROBABILITY: &str = "probability";

impl View<'_> {
    /// The told classes of a row of probabilities, the likeliest first.
    fn ranked(&self, row: &[f64]) -> Vec<(usize, f64)> {
        let mut ranked: Vec<(usize, f64)> = row.iter().copied().enumerate().collect();
        // Stable: of equals the first class comes first, as in training.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(self.top);
        ranked
    }

    fn label_columns(&self) -> usize {
        self.classes
            .iter()
            .map(|class| unicode_width::UnicodeWidthStr::width(class.as_str()))
            .fold("label".len(), usize::max)
    }

    fn table_head(&self) -> String {
        format!("{}  {PROBABILITY}  text\n", padded("label", self.label_columns()))
    }

    fn table_rows(&self, text: &str, row: &[f64]) -> String {
        let labels = self.label_columns();
        let before = labels + PROBABILITY.len() + 4;
        let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(before).max(LEAST_TEXT));
        let mut out = String::new();
        for (place, (class, probability)) in self.ranked(row).into_iter().enumerate() {
            let label = padded(&self.classes[class], labels);
            let text = if place == 0 { fitted(text, room) } else { String::new() };
            let line = format!("{label}  {probability:>width$.4}  {text}", width = PROBABILITY.len());
            out += line.trim_end();
            out.push('\n');
        }
        out
    }

    fn csv_head(&self) -> Result<String, Ended> {
        let names = self.classes.iter().map(String::as_str);
        csv_line(["text", "label", PROBABILITY].into_iter().chain(names))
    }

    /// A column a class; empty are those that are not among the told ones.
    fn csv_row(&self, text: &str, row: &[f64]) -> Result<String, Ended> {
        let ranked = self.ranked(row);
        let mut cells = vec![String::new(); self.classes.len()];
        for (class, probability) in &ranked {
            cells[*class] = probability.to_string();
        }
        let (label, probability) = self.likeliest(&ranked);
        let first = [text.to_owned(), label.to_owned(), probability.to_string()];
        csv_line(first.iter().chain(&cells).map(String::as_str))
    }

    fn json_line(&self, text: &str, row: &[f64]) -> String {
        let ranked = self.ranked(row);
        let (label, probability) = self.likeliest(&ranked);
        let probabilities = ranked
            .iter()
            .map(|(class, probability)| Class { label: &self.classes[*class], probability: *probability })
            .collect();
        json::line(Prediction { text, label, probability, probabilities }) + "\n"
    }

    fn likeliest(&self, ranked: &[(usize, f64)]) -> (&str, f64) {
        ranked.first().map_or(("", f64::NAN), |(class, probability)| (&self.classes[*class], *probability))
    }
}

fn csv_line<'a>(cells: impl Iterator<Item = &'a str>) -> Result<String, Ended> {
    let failed = |error: String| Ended::Internal(format!("a prediction is no CSV: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells).map_err(|error| failed(error.to_string()))?;
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(view: &View<'_>) -> String {
        let rows = [
            ("a, \"quoted\" text", [0.25, 0.5, 0.25]),
            ("a text that is longer than the room", [0.7, 0.1, 0.2]),
        ];
        let table: String = rows.iter().map(|(text, row)| view.table_rows(text, row)).collect();
        let csv: String = rows.iter().map(|(text, row)| view.csv_row(text, row).unwrap()).collect();
        let json: String = rows.iter().map(|(text, row)| view.json_line(text, row)).collect();
        [view.table_head(), table, view.csv_head().unwrap(), csv, json].concat()
    }

    #[test]
    fn predictions_are_aligned_for_people_and_complete_for_programs() {
        let classes = ["joy", "电影", "sad"].map(str::to_owned);
        insta::assert_snapshot!(shown(&View { classes: &classes, top: 3, width: Some(40) }), @r#"
        label  probability  text
        电影        0.5000  a, "quoted" text
        joy         0.2500
        sad         0.2500
        joy         0.7000  a text that is long…
        sad         0.2000
        电影        0.1000
        text,label,probability,joy,电影,sad
        "a, ""quoted"" text",电影,0.5,0.25,0.5,0.25
        a text that is longer than the room,joy,0.7,0.7,0.1,0.2
        {"version":1,"text":"a, \"quoted\" text","label":"电影","probability":0.5,"probabilities":[{"label":"电影","probability":0.5},{"label":"joy","probability":0.25},{"label":"sad","probability":0.25}]}
        {"version":1,"text":"a text that is longer than the room","label":"joy","probability":0.7,"probabilities":[{"label":"joy","probability":0.7},{"label":"sad","probability":0.2},{"label":"电影","probability":0.1}]}
        "#);
        insta::assert_snapshot!(shown(&View { classes: &classes, top: 1, width: None }), @r#"
        label  probability  text
        电影        0.5000  a, "quoted" text
        joy         0.7000  a text that is longer than the room
        text,label,probability,joy,电影,sad
        "a, ""quoted"" text",电影,0.5,,0.5,
        a text that is longer than the room,joy,0.7,0.7,,
        {"version":1,"text":"a, \"quoted\" text","label":"电影","probability":0.5,"probabilities":[{"label":"电影","probability":0.5}]}
        {"version":1,"text":"a text that is longer than the room","label":"joy","probability":0.7,"probabilities":[{"label":"joy","probability":0.7}]}
        "#);
    }

    #[test]
    fn lines_are_texts_and_nothing_is_an_error() {
        let said = |bytes: &[u8]| match lines(bytes) {
            Ok(lines) => format!("{lines:?}"),
            Err(error) => error.to_string(),
        };
        let cases: [&[u8]; 5] = [b"one\r\n\ntwo", "\u{feff}one\n".as_bytes(), b"", b" \n\n", b"one\n\xff"];
        insta::assert_snapshot!(cases.map(said).join("\n"), @r#"
        ["one", "", "two"]
        ["one"]
        there is nothing to classify: give texts, --file, or a text a line on standard input
        there is nothing to classify: give texts, --file, or a text a line on standard input
        standard input line 2: not UTF-8; convert it to that encoding
        "#);
    }
}
