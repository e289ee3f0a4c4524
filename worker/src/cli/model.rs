//! The model that `predict` and `evaluate` use: the options that say which and how.

use std::path::Path;

use clap::Args;
use distilsweep_data::{ColumnNames, FileRows, excerpt, quoted};
use distilsweep_proto::terminal::note;

use crate::{
    classifier::{Classifier, Options},
    torch::{DeviceChoice, Precision},
    trainer::Ended,
};

#[derive(Debug, Args)]
pub(super) struct Model {
    /// Directory or Hub id of a trained model
    #[arg(long)]
    model: String,
    /// Tokens that a text is truncated to [default: as many as the model has positions]
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,
    /// Texts at a time
    #[arg(long, default_value = "64", value_name = "TEXTS", value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Where to compute: auto (a GPU where libtorch has one), cpu, cuda or cuda:NUMBER
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
    /// fp32, bf16 or fp64
    #[arg(long, default_value = "fp32")]
    precision: Precision,
    /// Threads of libtorch's operators; libtorch's choice when left out
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Model {
    /// Loads it.
    pub(super) fn open(&self) -> Result<Classifier, Ended> {
        Classifier::open(
            &self.model,
            Options {
                device: self.device,
                precision: self.precision,
                threads: self.threads.map(usize::from),
                batch: usize::from(self.batch),
                max_length: self.max_length,
            },
        )
    }
}

/// Notes which columns of a file were read, and compares them with those that the model was trained on.
///
/// # Errors
/// The model was trained on pairs of texts and the file has no second text.
pub(super) fn check_columns(classifier: &Classifier, path: &Path, rows: &FileRows) -> Result<(), Ended> {
    note(columns_read(&rows.columns));
    for line in &rows.notes {
        note(line);
    }
    match (classifier.text_columns(), &rows.columns.pair) {
        (Some(2), None) => Err(Ended::BadInput(format!(
            "{}: only the text column {} was read, the model was trained on pairs of texts: --text-pair-column names the \
             second one",
            path.display(),
            quoted(&rows.columns.text)
        ))),
        (Some(1), Some(pair)) => {
            note(format!(
                "the model was trained on single texts, pairs are read: --text-column {} leaves out {}",
                quoted(&rows.columns.text),
                quoted(pair)
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Notes how many texts were truncated.
pub(super) fn note_truncated(classifier: &Classifier, truncated: u64, texts: usize) {
    if truncated > 0 {
        note(truncation(truncated, texts, classifier.max_length()));
    }
}

fn columns_read(columns: &ColumnNames) -> String {
    let ColumnNames { text, pair, label } = columns;
    let named = [("text", Some(text)), ("second text", pair.as_ref()), ("label", label.as_ref())];
    let read = named.into_iter().filter_map(|(role, name)| Some(format!("{role} = {}", excerpt(name?))));
    format!("reading {}", read.collect::<Vec<_>>().join(", "))
}

fn truncation(truncated: u64, texts: usize, max_length: usize) -> String {
    match truncated {
        1 => format!("1 of {texts} texts is longer than {max_length} tokens and was truncated"),
        _ => format!("{truncated} of {texts} texts are longer than {max_length} tokens and were truncated"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_name_columns_and_count_truncated_texts() {
        let name = |name: &str| Some(name.to_owned());
        let question =
            ColumnNames { text: "question".to_owned(), pair: name("sentence"), label: name("label") };
        let odd = ColumnNames { text: "a\u{1b}b".repeat(40), pair: None, label: None };
        let notes =
            [columns_read(&question), columns_read(&odd), truncation(1, 7, 512), truncation(3, 200, 40)];
        insta::assert_snapshot!(notes.join("\n"), @r"
        reading text = question, second text = sentence, label = label
        reading text = a\u{1b}ba\u{1b}ba\u{1b}ba\u{1b}ba\u{1b}ba\u{1b}ba\u{1b}ba…
        1 of 7 texts is longer than 512 tokens and was truncated
        3 of 200 texts are longer than 40 tokens and were truncated
        ");
    }
}
