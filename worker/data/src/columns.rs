//! Which columns of a file hold the text, the second text of a pair and the label.

use std::path::Path;

use crate::{DataError, excerpt::quoted};

/// Columns that hold the text when the data set names none, best first.
const TEXT_COLUMNS: [&str; 4] = ["text", "sentence", "content", "review"];
/// Columns that hold a pair of texts where both are there and the data set names none.
const PAIRS: [(&str, &str); 6] = [
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text1", "text2"),
    ("text", "text_pair"),
];
/// Columns that hold the label when the data set names none, best first.
const LABEL_COLUMNS: [&str; 4] = ["label", "labels", "target", "class"];
/// In data sets with one of these columns, `target` is what a text is about, not its label.
const SUBJECT_COLUMNS: [&str; 2] = ["stance", "aspect"];
/// Column with the names of the numbers in the label column, as SetFit's data sets have it.
const NAME_COLUMN: &str = "label_text";

/// The columns to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Name of the text column; detected when left out.
    pub(crate) text: Option<&'a str>,
    /// Name of the column with the second text of a pair; detected when neither is named.
    pub(crate) pair: Option<&'a str>,
    pub(crate) label: Label<'a>,
    /// Leave out rows without a text instead of rejecting the file.
    pub(crate) drop_missing: bool,
}

/// The label column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label<'a> {
    /// The first of the usual ones that is there.
    Detected,
    /// The one of this name.
    Named(&'a str),
    /// None is read: the texts are to be classified, and one may be empty.
    Unread,
}

impl<'a> Wanted<'a> {
    /// Texts and label, by their names where they are given.
    pub(crate) fn labelled(text: Option<&'a str>, pair: Option<&'a str>, label: Option<&'a str>) -> Self {
        Self { text, pair, label: label.map_or(Label::Detected, Label::Named), drop_missing: false }
    }

    /// The columns that are named.
    pub(crate) fn named(self) -> impl Iterator<Item = &'a str> {
        let label = match self.label {
            Label::Named(name) => Some(name),
            Label::Detected | Label::Unread => None,
        };
        [self.text, self.pair, label].into_iter().flatten()
    }
}

/// Where the wanted columns are among those of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) text: usize,
    pub(crate) pair: Option<usize>,
    pub(crate) label: Option<usize>,
    /// Names beside the numbers of classes.
    pub(crate) name: Option<usize>,
}

/// Where the wanted columns are among `columns`.
///
/// # Errors
/// [`DataError::Column`] if one is not there, [`DataError::Malformed`] if there are two of its name.
pub(crate) fn find_columns(
    path: &Path,
    columns: &[String],
    wanted: Wanted<'_>,
) -> Result<Columns, DataError> {
    let exact = |name: &str| columns.iter().position(|column| column == name);
    let close = |name: &str| columns.iter().position(|column| column.eq_ignore_ascii_case(name));
    let find = |role: &'static str, named: Option<&str>, usual: &[&str]| {
        let names = named.map_or_else(|| usual.to_vec(), |name| vec![name]);
        let found = names.iter().find_map(|name| exact(name));
        let found = found.or_else(|| names.iter().filter(|_| named.is_none()).find_map(|name| close(name)));
        found.ok_or_else(|| DataError::Column {
            path: path.to_owned(),
            role,
            wanted: names.iter().map(|name| (*name).to_owned()).collect(),
            columns: columns.to_vec(),
        })
    };
    let usual_pair = || PAIRS.iter().find_map(|(text, pair)| exact(text).zip(exact(pair)));
    let (text, pair) = match (wanted.text, wanted.pair) {
        (None, None) if usual_pair().is_some() => {
            usual_pair().map(|(text, pair)| (text, Some(pair))).unwrap_or_default()
        }
        (text, pair) => {
            let pair = pair.map(|name| find("text_pair", Some(name), &[])).transpose()?;
            (find("text", text, &TEXT_COLUMNS)?, pair)
        }
    };
    let has_subject = SUBJECT_COLUMNS.iter().any(|name| close(name).is_some());
    let usual_labels: Vec<&str> =
        LABEL_COLUMNS.into_iter().filter(|name| *name != "target" || !has_subject).collect();
    let label = match wanted.label {
        Label::Detected => Some(find("label", None, &usual_labels)?),
        Label::Named(name) => Some(find("label", Some(name), &[])?),
        Label::Unread => None,
    };
    let name = label.filter(|label| columns[*label] == LABEL_COLUMNS[0]).and_then(|_| exact(NAME_COLUMN));
    let found = Columns { text, pair, label, name };
    for at in [Some(text), pair, label, name].into_iter().flatten() {
        if columns.iter().filter(|column| **column == columns[at]).count() > 1 {
            return Err(DataError::Malformed {
                path: path.to_owned(),
                problem: format!("has two columns named {}: rename one", quoted(&columns[at])),
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(columns: &[&str], wanted: Wanted<'_>) -> String {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        match find_columns(Path::new("f"), &columns, wanted) {
            Ok(Columns { text, pair, label, name }) => {
                let shown = [Some(text), pair, label, name];
                shown.map(|at| at.map_or("-", |at| columns[at].as_str())).join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    fn labelled(columns: &[&str], text: Option<&str>, pair: Option<&str>) -> String {
        found(columns, Wanted::labelled(text, pair, None))
    }

    #[test]
    fn usual_columns_are_found_pairs_before_single_ones() {
        insta::assert_snapshot!(
            [
                labelled(&["label", "text", "label_text"], None, None),
                labelled(&["Sentence", "Label"], None, None),
                labelled(&["idx", "sentence1", "sentence2", "label"], None, None),
                labelled(&["question", "sentence", "label"], None, None),
                labelled(&["sentence1", "sentence2", "label"], Some("sentence2"), None),
                labelled(&["a", "b", "label"], Some("a"), Some("b")),
                labelled(&["premise", "label"], None, None),
                labelled(&["text", "label"], None, Some("other")),
            ]
            .join("\n"),
            @r#"
        text - label label_text
        Sentence - Label -
        sentence1 sentence2 label -
        question sentence label -
        sentence2 - label -
        a b label -
        f has no column for the text (looked for "text", "sentence", "content", "review"; `text: NAME` in the data set or --text-column names it); its columns are "premise", "label"
        f has no column "other"; its columns are "text", "label"
        "#
        );
    }

    #[test]
    fn pairs_are_found_whether_labels_are_read_or_not() {
        let unread = Wanted { label: Label::Unread, ..Wanted::labelled(None, None, None) };
        assert_eq!(found(&["question", "sentence", "label"], unread), "question sentence - -");
        assert_eq!(found(&["text", "text_pair"], unread), "text text_pair - -");
        assert_eq!(found(&["text"], unread), "text - - -");
    }

    #[test]
    fn a_target_beside_a_stance_is_no_label() {
        assert_eq!(labelled(&["text", "target"], None, None), "text - target -");
        assert_eq!(labelled(&["text", "target", "class", "aspect"], None, None), "text - class -");
        let stance = labelled(&["Text", "Target", "Stance"], None, None);
        assert!(
            stance.starts_with("f has no column for the label (looked for \"label\", \"labels\", \"class\";"),
            "{stance}"
        );
        let named = Wanted::labelled(None, None, Some("Target"));
        assert_eq!(found(&["Text", "Target", "Stance"], named), "Text - Target -");
    }

    #[test]
    fn a_column_that_occurs_twice_is_rejected_if_it_is_read() {
        assert_eq!(labelled(&["id", "id", "text", "label"], None, None), "text - label -");
        assert_eq!(
            labelled(&["text", "label", "text"], None, None),
            "f has two columns named \"text\": rename one"
        );
    }
}
