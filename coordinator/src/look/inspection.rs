//! A data set as text.

use std::fmt::Write;

use distilsweep_data::{ColumnNames, Inspection, TokenFacts, excerpt, listed};
use serde::Serialize;

use crate::{results::labels::counted, text::escape_controls};

use super::columns::{
    Align::{Left, Right},
    class_cell, columns, cut,
};

/// Characters of the longest bar.
const BAR: usize = 24;

/// An inspection, and of what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspected {
    /// Hub id, directory or file, as given.
    pub dataset: String,
    /// The commit of a repository of the Hub.
    pub commit: Option<String>,
    /// The configuration that was read.
    pub config: Option<String>,
    /// All columns with their types.
    pub schema: Vec<(String, String)>,
    /// The column of the text, of the second text of a pair, of the label.
    pub columns: [Option<String>; 3],
    /// Whose tokens were counted.
    pub model: Option<String>,
    /// What was found.
    #[serde(flatten)]
    pub inspection: Inspection,
    /// What was chosen, and what looks wrong.
    pub notes: Vec<String>,
}

impl Inspected {
    /// The columns that were read, as fields.
    pub fn read(columns: ColumnNames) -> [Option<String>; 3] {
        [Some(columns.text), columns.pair, columns.label]
    }
}

/// An inspection as text of this width.
pub fn inspection(seen: &Inspected, width: usize) -> String {
    let mut text = seen.dataset.clone();
    for (name, value) in [("config", &seen.config), ("commit", &seen.commit)] {
        if let Some(value) = value {
            let _ = write!(text, ", {name} {value}");
        }
    }
    let schema =
        listed(seen.schema.iter().map(|(name, kind)| format!("{} ({})", excerpt(name), excerpt(kind))));
    let roles = ["text", "second text", "label"].into_iter().zip(&seen.columns);
    let read: Vec<String> =
        roles.filter_map(|(role, column)| Some(format!("{role} = {}", excerpt(column.as_ref()?)))).collect();
    let _ = writeln!(text, "\ncolumns: {schema}; read: {}\n", read.join(", "));
    text += &splits(&seen.inspection, width);
    text.push('\n');
    text += &classes(&seen.inspection, width);
    text.push_str("\nfirst rows\n");
    for example in &seen.inspection.examples {
        let pair = example.pair.as_ref().map_or_else(String::new, |pair| format!(" | {pair}"));
        let _ = writeln!(
            text,
            "  {}",
            cut(
                &format!("{}: {}{pair}", class_cell(&example.class, width), example.text),
                width.saturating_sub(2)
            )
        );
    }
    if let (Some(tokens), Some(model)) = (&seen.inspection.tokens, &seen.model) {
        text.push('\n');
        text += &lengths(tokens, model, width);
    }
    if !seen.notes.is_empty() {
        text.push('\n');
    }
    for note in &seen.notes {
        let _ = writeln!(text, "note: {}", escape_controls(note));
    }
    text
}

fn splits(seen: &Inspection, width: usize) -> String {
    let head = ["SPLIT", "ROWS", "REPEATED", "IN TRAIN", "CHARACTERS", "GUESS ACC", "GUESS F1"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(seen.splits.iter().map(|split| {
        let [least, median, most] = split.characters;
        vec![
            split.name.to_owned(),
            split.rows.to_string(),
            split.repeated.to_string(),
            split.leaked.map_or_else(|| "-".to_owned(), |leaked| leaked.to_string()),
            format!("{median} ({least} to {most})"),
            format!("{:.4}", split.baseline.accuracy),
            format!("{:.4}", split.baseline.f1_score),
        ]
    }));
    columns(&[Left, Right, Right, Right, Left, Right, Right], &rows, width)
}

fn classes(seen: &Inspection, width: usize) -> String {
    let mut head = vec!["CLASS".to_owned()];
    head.extend(seen.splits.iter().map(|split| split.name.to_uppercase()));
    head.push("SHARE OF TRAIN".to_owned());
    let of_train = |class: &distilsweep_data::ClassFacts| class.rows.first().copied().unwrap_or(0);
    let all: usize = seen.classes.iter().map(of_train).sum();
    let most = seen.classes.iter().map(of_train).max().unwrap_or(0);
    let mut rows = vec![head];
    rows.extend(seen.classes.iter().map(|class| {
        let share = of_train(class) as f64 / all.max(1) as f64;
        let mut row = vec![class_cell(&class.name, width)];
        row.extend(class.rows.iter().map(ToString::to_string));
        row.push(format!("{:>5.1} % {}", share * 100.0, bar(of_train(class), most)));
        row
    }));
    let mut align = vec![Left];
    align.extend(seen.splits.iter().map(|_| Right));
    align.push(Left);
    columns(&align, &rows, width)
}

fn lengths(tokens: &TokenFacts, model: &str, width: usize) -> String {
    let [least, median, nearly_all, most] = tokens.quantiles;
    let mut text = format!(
        "tokens of {model}, special ones counted: {least} to {most}, {median} in the middle, 95 % have at most {nearly_all}\n"
    );
    let highest = tokens.histogram.iter().map(|(_, rows)| *rows).max().unwrap_or(0);
    let last = tokens.histogram.iter().rposition(|(_, rows)| *rows > 0).map_or(0, |last| last + 1);
    let mut rows = vec![["UP TO", "ROWS", ""].map(str::to_owned).to_vec()];
    rows.extend(
        tokens.histogram[..last]
            .iter()
            .map(|(bin, count)| vec![bin.to_string(), count.to_string(), bar(*count, highest)]),
    );
    text += &columns(&[Right, Right, Left], &rows, width);
    for (length, rows, share) in tokens.cut.iter().filter(|(_, rows, _)| *rows > 0) {
        let _ = writeln!(
            text,
            "max_length {length} cuts {}, {:.1} % of all tokens",
            counted(*rows as u64, "row"),
            share * 100.0
        );
    }
    if tokens.cut.iter().all(|(_, rows, _)| *rows == 0) {
        let _ = writeln!(text, "a max_length of {most} cuts nothing");
    }
    text
}

/// A bar of blocks, as long as `part` is of `whole`; of anything at all at least an eighth of a block.
fn bar(part: usize, whole: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    if part == 0 {
        return String::new();
    }
    let eighths = ((part * BAR * 8) as f64 / whole.max(1) as f64).round().max(1.0) as usize;
    let full = "█".repeat(eighths / 8);
    match eighths % 8 {
        0 => full,
        rest => full + &EIGHTHS[rest].to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use distilsweep_data::{Baseline, ClassFacts, Example, SplitFacts};

    use super::*;

    pub(in crate::look) fn seen() -> Inspected {
        let split = |name, rows, leaked| SplitFacts {
            name,
            rows,
            repeated: 2,
            leaked,
            characters: [3, 40, 280],
            baseline: Baseline { accuracy: 0.6, f1_score: 0.45 },
        };
        let class = |name: &str, rows: [usize; 2]| ClassFacts { name: name.into(), rows: rows.into() };
        let example =
            |class: &str, text: &str| Example { class: class.into(), text: text.into(), pair: None };
        Inspected {
            dataset: "owner/rows".into(),
            commit: Some("c0ffee".into()),
            config: None,
            schema: vec![("text".into(), "string".into()), ("label".into(), "int64".into())],
            columns: [Some("text".into()), None, Some("label".into())],
            model: Some("distilbert-base-uncased".into()),
            inspection: Inspection {
                splits: vec![split("train", 1000, None), split("validation", 100, Some(1))],
                classes: vec![class("negative", [100, 40]), class("<positive>", [900, 60])],
                examples: vec![
                    example(
                        "negative",
                        "never\nagain, and it goes on and on until the line is full and a little longer",
                    ),
                    example("<positive>", "fine"),
                ],
                tokens: Some(TokenFacts {
                    quantiles: [3, 12, 40, 70],
                    total: 14_000,
                    histogram: vec![(8, 200), (16, 700), (32, 95), (64, 4), (128, 1), (192, 0)],
                    cut: vec![(32, 5, 0.012), (64, 1, 0.001), (128, 0, 0.0)],
                }),
            },
            notes: vec!["there is no test split".into()],
        }
    }

    #[test]
    fn an_inspection_reads_from_top_to_bottom() {
        insta::assert_snapshot!(inspection(&seen(), 100), @"
        owner/rows, commit c0ffee
        columns: text (string), label (int64); read: text = text, label = label

        SPLIT       ROWS  REPEATED  IN TRAIN  CHARACTERS     GUESS ACC  GUESS F1
        train       1000         2         -  40 (3 to 280)     0.6000    0.4500
        validation   100         2         1  40 (3 to 280)     0.6000    0.4500

        CLASS       TRAIN  VALIDATION  SHARE OF TRAIN
        negative      100          40   10.0 % ██▋
        <positive>    900          60   90.0 % ████████████████████████

        first rows
          negative: never again, and it goes on and on until the line is full and a little longer
          <positive>: fine

        tokens of distilbert-base-uncased, special ones counted: 3 to 70, 12 in the middle, 95 % have at most 40
        UP TO  ROWS
            8   200  ██████▉
           16   700  ████████████████████████
           32    95  ███▎
           64     4  ▏
          128     1  ▏
        max_length 32 cuts 5 rows, 1.2 % of all tokens
        max_length 64 cuts 1 row, 0.1 % of all tokens

        note: there is no test split
        ");
    }

    #[test]
    fn long_names_and_control_characters_are_shortened() {
        let name = |of: &str| format!("{}\u{1b}[31m{of}", "x".repeat(1_500));
        let mut seen = seen();
        seen.schema = (0..700).map(|column| (format!("c{column}\u{1b}"), name("list"))).collect();
        seen.columns = [Some(name("text")), None, Some("c1".to_owned())];
        for class in &mut seen.inspection.classes {
            class.name = name(&class.name);
        }
        seen.inspection.examples[0].class = name("class");
        seen.inspection.examples[0].text = "\u{1b}[2Jtext\r\n".to_owned();
        seen.notes = vec!["\u{1b}[2J is escaped".to_owned()];
        let text = inspection(&seen, 80);
        assert!(text.contains(" and 695 more; read: text = x"), "{text}");
        assert!(text.contains("note: \\u{1b}[2J is escaped"), "{text}");
        let class = format!("{}…    100          40   10.0 % ██▋", "x".repeat(25));
        assert!(text.lines().any(|line| line == class), "{text}");
        assert!(!text.contains(&"x".repeat(61)), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }

    #[test]
    fn bars_are_as_long_as_shares() {
        assert_eq!(
            [bar(0, 10), bar(1, 1000), bar(5, 10), bar(10, 10)].map(|bar| bar.chars().count()),
            [0, 1, 12, 24]
        );
    }
}
