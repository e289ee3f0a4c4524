//! A sweep file that was looked through, as text: its points, what it takes in, and the bill.

use std::fmt::Write;

use distilsweep_data::TokenFacts;
use distilsweep_proto::params::Params;
use serde::Serialize;
use textwrap::{Options, wrap};

use super::{
    bill::Bill,
    columns::{Align::Right, columns, excerpts},
};
use crate::{
    results::labels::{bytes, counted, duration, short},
    text::escape_controls,
};

/// What is known of a sweep before it starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// The file.
    pub file: String,
    /// Its name for the sweep.
    pub name: String,
    /// How points are chosen, as the file has it.
    pub method: String,
    /// Points in its space.
    pub points: u64,
    /// Hyperparameters that differ between points.
    pub varied: Vec<String>,
    /// The first points and the last.
    pub shown: Vec<Shown>,
    /// What the trials start from.
    pub model: ModelFacts,
    /// What they train on; nothing where it could not be read now.
    pub data: Option<DataFacts>,
    /// What it will take.
    pub bill: Bill,
    /// What usually goes wrong.
    pub warnings: Vec<Warning>,
    /// What was chosen, and what could not be found out.
    pub notes: Vec<String>,
}

/// A point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// Its index.
    pub trial: u64,
    /// Its values.
    pub params: Params,
}

/// What is known of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelFacts {
    /// As the file names it.
    pub name: String,
    /// The commit of a repository of the Hub.
    pub commit: Option<String>,
    /// Bytes of its weights.
    pub bytes: Option<u64>,
    /// Tokens that it has positions for.
    pub positions: Option<u64>,
}

/// What is known of a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataFacts {
    /// Hub id, directory or file.
    pub name: String,
    /// The commit of a repository of the Hub.
    pub commit: Option<String>,
    /// Its splits with their rows.
    pub splits: Vec<SplitRows>,
    /// Its classes, in class order.
    pub classes: Vec<String>,
    /// Lengths of the training rows, and what the file's `max_length` cut.
    pub tokens: Option<TokenFacts>,
}

/// A split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitRows {
    /// train, validation or test.
    pub name: &'static str,
    /// How many rows it has.
    pub rows: usize,
}

/// A warning with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What it is about.
    pub message: String,
}

/// What was found, as text of this width.
pub fn checked(checked: &Checked, width: usize) -> String {
    let how = match checked.method.as_str() {
        "grid" => String::new(),
        method => format!(", drawn ({method})"),
    };
    let mut text = format!("{}: {}{how}\n", checked.name, counted(checked.points, "point"));
    if !checked.shown.is_empty() {
        text += &points(checked, width);
    }
    text.push('\n');
    let mut facts = vec![("model", model(&checked.model))];
    if let Some(data) = &checked.data {
        facts.push(("data", rows(data)));
        facts.extend(data.tokens.as_ref().map(|tokens| ("tokens", lengths(tokens))));
        // What cuts nothing once does not with more tokens.
        let cut = data.tokens.iter().flat_map(|tokens| &tokens.cut);
        let longest = cut.clone().position(|(_, rows, _)| *rows == 0).map_or(usize::MAX, |first| first + 1);
        facts.extend(cut.take(longest).map(|cut| ("", cuts(cut, data))));
    }
    facts.extend(charges(&checked.bill));
    for (title, fact) in facts {
        let first = format!("{title:<9}");
        for line in wrap(&fact, Options::new(width).initial_indent(&first).subsequent_indent("         ")) {
            text += line.trim_end();
            text.push('\n');
        }
    }
    for note in &checked.notes {
        text +=
            &wrap(&format!("note: {}", escape_controls(note)), Options::new(width).subsequent_indent("  "))
                .join("\n");
        text.push('\n');
    }
    text
}

/// The points that are shown, with as many of the values that vary as there is room for.
fn points(checked: &Checked, width: usize) -> String {
    let mut table: Vec<Vec<String>> = vec![vec!["trial".to_owned()]];
    let mut last = None;
    for Shown { trial, .. } in &checked.shown {
        if last.is_some_and(|last| last + 1 < *trial) {
            table.push(vec!["…".to_owned()]);
        }
        table.push(vec![trial.to_string()]);
        last = Some(*trial);
    }
    let mut used = table.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
    let mut left_out = Vec::new();
    for name in &checked.varied {
        let cell = |shown: &Shown| shown.params.get(name).map_or_else(|| "–".to_owned(), ToString::to_string);
        let mut cells = checked.shown.iter().map(cell);
        let column: Vec<String> = table
            .iter()
            .enumerate()
            .map(|(place, row)| match (place, row[0].as_str()) {
                (0, _) => short(name).to_owned(),
                (_, "…") => String::new(),
                _ => cells.next().unwrap_or_default(),
            })
            .collect();
        let wide = column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0) + 2;
        if used + wide > width || !left_out.is_empty() {
            left_out.push(short(name));
            continue;
        }
        used += wide;
        table.iter_mut().zip(column).for_each(|(row, cell)| row.push(cell));
    }
    let align = vec![Right; table[0].len()];
    let mut text = columns(&align, &table, width);
    if !left_out.is_empty() {
        let _ = writeln!(text, "left out at this width: {}", left_out.join(", "));
    }
    text
}

fn model(model: &ModelFacts) -> String {
    let commit = model.commit.as_ref().map(|commit| format!("commit {}", commit.get(..7).unwrap_or(commit)));
    let size = model.bytes.map(bytes);
    let positions = model.positions.map(|positions| format!("positions for {positions} tokens"));
    let known: Vec<String> = [commit, size, positions].into_iter().flatten().collect();
    match known.is_empty() {
        true => format!("{}, which could not be looked at", model.name),
        false => format!("{}: {}", model.name, known.join(", ")),
    }
}

fn rows(data: &DataFacts) -> String {
    let commit = data
        .commit
        .as_ref()
        .map_or_else(String::new, |commit| format!("commit {}, ", commit.get(..7).unwrap_or(commit)));
    let splits: Vec<String> =
        data.splits.iter().map(|split| format!("{} {}", split.name, split.rows)).collect();
    let count = data.classes.len();
    let classes = excerpts(&data.classes);
    format!("{}: {commit}{} rows; {count} classes: {classes}", data.name, splits.join(", "))
}

fn lengths(tokens: &TokenFacts) -> String {
    let [least, median, nearly_all, most] = tokens.quantiles;
    format!("{least} to {most} a row, {median} in the middle, 95 % have at most {nearly_all}")
}

fn cuts((length, rows, share): &(usize, usize, f64), data: &DataFacts) -> String {
    if *rows == 0 {
        return format!("max_length {length} cuts nothing");
    }
    let all = data.splits.first().map_or(1, |split| split.rows.max(1));
    format!(
        "max_length {length} cuts {} ({:.1} %), {:.1} % of all tokens",
        counted(*rows as u64, "row"),
        *rows as f64 * 100.0 / all as f64,
        share * 100.0
    )
}

fn charges(bill: &Bill) -> Vec<(&'static str, String)> {
    let about = if bill.sampled { "about " } else { "" };
    let mut work = counted(bill.trials, "trial");
    if let (Some(epochs), Some(steps), Some(evaluations)) = (bill.epochs, bill.steps, bill.evaluations) {
        let _ = write!(
            work,
            ", {about}{} optimizer steps in {} epochs, {} evaluations",
            whole(steps),
            decimal(epochs),
            whole(evaluations)
        );
    }
    let time = match (bill.trial_seconds, bill.seconds, &bill.pace) {
        (Some(all), Some(seconds), Some(pace)) => format!(
            "{about}{} of training, {} with {}; by {}",
            duration(all),
            duration(seconds),
            counted(bill.workers, "worker"),
            pace.source
        ),
        _ => "not known: --measure times a few steps, an earlier sweep of this model and data in the state \
              directory tells it too"
            .to_owned(),
    };
    let mut charges = vec![("work", work), ("time", time)];
    if let (Some(checkpoints), Some(models), Some(kept)) =
        (bill.checkpoint_bytes, bill.model_bytes, bill.mlflow_model_bytes)
    {
        let kept = if kept == 0 { String::new() } else { format!(", in MLflow {}", bytes(kept)) };
        let storage =
            format!("models {}{kept}; checkpoints of what runs up to {}", bytes(models), bytes(checkpoints));
        charges.push(("storage", storage));
    }
    let mut rows = counted(bill.mlflow_runs, "run");
    if let Some(points) = bill.mlflow_points {
        let _ = write!(rows, ", {about}{} metric points", whole(points));
    }
    charges.push(("MLflow", rows));
    charges
}

/// A count that may be of a sample: its digits as far as they are few.
fn whole(count: f64) -> String {
    if count < 1e15 { format!("{count:.0}") } else { format!("{count:.1e}") }
}

fn decimal(count: f64) -> String {
    if count < 100.0 && count.fract() != 0.0 { format!("{count:.2}") } else { whole(count) }
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::params::Value;

    use super::*;
    use crate::look::bill::Pace;

    fn found() -> Checked {
        let shown = |trial: u64, rate: f64, warmup: Option<i64>| {
            let mut params = Params::from([("learning_rate".to_owned(), Value::Number(rate))]);
            params.extend(warmup.map(|steps| ("warmup_steps".to_owned(), Value::Integer(steps))));
            Shown { trial, params }
        };
        Checked {
            file: "sweep.yaml".into(),
            name: "mood".into(),
            method: "grid".into(),
            points: 24,
            varied: vec!["learning_rate".into(), "warmup_steps".into()],
            shown: vec![
                shown(0, 1e-5, None),
                shown(1, 1e-5, Some(100)),
                shown(22, 1.25e-4, None),
                shown(23, 1.25e-4, Some(100)),
            ],
            model: ModelFacts {
                name: "distilbert-base-uncased".into(),
                commit: Some("12040accade4e8a0f71eabdb258fecc2e7e948be".into()),
                bytes: Some(267_954_768),
                positions: Some(512),
            },
            data: Some(DataFacts {
                name: "dair-ai/emotion".into(),
                commit: Some("cab853a".into()),
                splits: vec![
                    SplitRows { name: "train", rows: 16_000 },
                    SplitRows { name: "validation", rows: 2_000 },
                ],
                classes: ["sadness", "joy"].map(str::to_owned).to_vec(),
                tokens: Some(TokenFacts {
                    quantiles: [4, 20, 43, 87],
                    total: 352_000,
                    histogram: Vec::new(),
                    cut: vec![(64, 87, 0.002), (128, 0, 0.0)],
                }),
            }),
            bill: Bill {
                trials: 24,
                epochs: Some(48.0),
                steps: Some(48_000.0),
                evaluations: Some(48.0),
                sampled: false,
                trial_seconds: Some(30_000.0),
                workers: 2,
                seconds: Some(15_000.0),
                pace: Some(Pace { trained: 1e-3, evaluated: 1e-4, source: "4 trials of mood-caacf7".into() }),
                checkpoint_bytes: Some(4_287_000_000),
                model_bytes: Some(6_430_000_000),
                mlflow_model_bytes: Some(267_954_768),
                mlflow_runs: 25,
                mlflow_points: Some(14_860.0),
            },
            warnings: Vec::new(),
            notes: vec!["there is no test split".into()],
        }
    }

    #[test]
    fn what_was_found_reads_from_the_points_to_the_bill() {
        insta::assert_snapshot!(checked(&found(), 100), @"
        mood: 24 points
        trial        lr  warmup steps
            0     1e-05             –
            1     1e-05           100
            …
           22  0.000125             –
           23  0.000125           100

        model    distilbert-base-uncased: commit 12040ac, 268 MB, positions for 512 tokens
        data     dair-ai/emotion: commit cab853a, train 16000, validation 2000 rows; 2 classes: sadness, joy
        tokens   4 to 87 a row, 20 in the middle, 95 % have at most 43
                 max_length 64 cuts 87 rows (0.5 %), 0.2 % of all tokens
                 max_length 128 cuts nothing
        work     24 trials, 48000 optimizer steps in 48 epochs, 48 evaluations
        time     8h 20m of training, 4h 10m with 2 workers; by 4 trials of mood-caacf7
        storage  models 6.4 GB, in MLflow 268 MB; checkpoints of what runs up to 4.3 GB
        MLflow   25 runs, 14860 metric points
        note: there is no test split
        ");
    }

    #[test]
    fn five_classes_are_named_in_short() {
        let mut found = found();
        let data = found.data.as_mut().unwrap();
        data.classes = (0..7).map(|class| format!("{class}\u{1b}{}", "x".repeat(900))).collect();
        found.notes = vec!["\u{1b}[2Jnote".to_owned()];
        let text = checked(&found, 400);
        assert!(text.contains("7 classes: 0\\u{1b}xxx") && text.contains("… and 2 more\n"), "{text}");
        assert!(text.contains("note: \\u{1b}[2Jnote"), "{text}");
        assert!(!text.contains(&"x".repeat(61)), "{text}");
    }

    #[test]
    fn what_is_not_known_is_said_and_what_has_no_room_is_named() {
        let mut found = found();
        found.data = None;
        found.model = ModelFacts { name: "m".into(), commit: None, bytes: None, positions: None };
        found.bill = Bill {
            epochs: None,
            steps: None,
            evaluations: None,
            trial_seconds: None,
            seconds: None,
            pace: None,
            checkpoint_bytes: None,
            model_bytes: None,
            mlflow_model_bytes: None,
            mlflow_points: None,
            ..found.bill
        };
        insta::assert_snapshot!(checked(&found, 24), @"
        mood: 24 points
        trial        lr
            0     1e-05
            1     1e-05
            …
           22  0.000125
           23  0.000125
        left out at this width: warmup steps

        model    m, which could
                 not be looked
                 at
        work     24 trials
        time     not known:
                 --measure times
                 a few steps, an
                 earlier sweep
                 of this model
                 and data in the
                 state directory
                 tells it too
        MLflow   25 runs
        note: there is no test
          split
        ");
    }
}
