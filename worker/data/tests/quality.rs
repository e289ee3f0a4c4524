//! Notes on splits that measure little, and limits that keep what they can measure.

#![expect(clippy::unwrap_used, reason = "a failing set-up fails the test")]

use std::{fs, path::Path};

use distilsweep_data::{DataError, Hub, TextDataset, TextTokenizer, check_metric, unknown_token_note};
use distilsweep_proto::dataset::{DatasetSource, DatasetSpec, LimitOrder, Limits};
use tempfile::TempDir;

type Row<'a> = (&'a str, &'a str);

/// A data set of a training, a validation and a test file.
fn spec(directory: &TempDir, splits: [&[Row<'_>]; 3]) -> DatasetSpec {
    let [train, validation, test] = [0, 1, 2].map(|i| {
        let path = directory.path().join(format!("{i}.csv"));
        let rows: String = splits[i].iter().map(|(text, label)| format!("{text},{label}\n")).collect();
        fs::write(&path, format!("text,label\n{rows}")).unwrap();
        path
    });
    DatasetSpec::of(DatasetSource::Files {
        train: vec![train],
        validation: vec![validation],
        test: vec![test],
    })
}

fn load(spec: &DatasetSpec) -> Result<TextDataset, DataError> {
    distilsweep_data::load(&Hub::from_environment(), spec)
}

/// Rows with texts of their own.
fn rows(split: &str, counts: &[(&'static str, usize)]) -> Vec<(String, &'static str)> {
    let of_class = |(label, count): &(&'static str, usize)| {
        let label = *label;
        (0..*count).map(move |i| (format!("{label} {i} of {split}"), label)).collect::<Vec<_>>()
    };
    // The splits differ in their texts.
    counts.iter().flat_map(of_class).collect()
}

fn borrowed<'a>(rows: &'a [(String, &'static str)]) -> Vec<Row<'a>> {
    rows.iter().map(|(text, label)| (text.as_str(), *label)).collect()
}

fn notes(
    train: &[(&'static str, usize)],
    validation: &[(&'static str, usize)],
    test: &[(&'static str, usize)],
) -> String {
    let directory = TempDir::new().unwrap();
    let [train, validation, test] =
        [rows("train", train), rows("validation", validation), rows("test", test)];
    let splits = [&borrowed(&train)[..], &borrowed(&validation), &borrowed(&test)];
    load(&spec(&directory, splits)).unwrap().notes.join("\n")
}

#[test]
fn splits_that_measure_every_class_have_no_notes() {
    let counts = [("day", 20), ("night", 15)];
    assert_eq!(notes(&counts, &counts, &counts), "");
}

#[test]
fn classes_that_a_split_cannot_measure_are_noted() {
    let train = [("day", 40), ("dusk", 40), ("night", 40)];
    insta::assert_snapshot!(
        [
            notes(&train, &[("day", 20), ("night", 20)], &[("night", 12)]),
            notes(&train, &[("day", 20), ("dusk", 9), ("night", 1)], &train),
            notes(&train, &[("day", 20)], &train),
            notes(&[("day", 400), ("dusk", 5)], &[("day", 400), ("dusk", 10)], &train[..2]),
        ]
        .join("\n\n"),
        @r#"
    class "dusk" has no rows in the validation split
    classes "day", "dusk" have no rows in the test split

    fewer than 10 validation rows of "dusk", "night": their scores are uncertain

    classes "dusk", "night" have no rows in the validation split
    every validation row has the class "day": no score measures anything

    always answering "day" is right in 97.6 % of the validation rows: compare accuracies with that baseline
    "#
    );
}

#[test]
fn repeated_and_contradictory_texts_are_noted() {
    let directory = TempDir::new().unwrap();
    let mut train = rows("train", &[("day", 20), ("night", 20)]);
    let mut validation = rows("validation", &[("day", 20), ("night", 20)]);
    let mut test = rows("test", &[("day", 20), ("night", 20)]);
    train.push(("the moon".into(), "night"));
    train.push(("the moon".into(), "day"));
    validation.push(("the moon".into(), "night"));
    validation.push(("the sun".into(), "night"));
    test.push(("the sun".into(), "day"));
    let splits = [&borrowed(&train)[..], &borrowed(&validation), &borrowed(&test)];
    insta::assert_snapshot!(load(&spec(&directory, splits)).unwrap().notes.join("\n"), @r#"
    1 of 42 validation rows have a text that is in the training split too: their scores say less
    1 of 41 test rows have a text that is in the validation split too: their scores say less
    2 texts with more than one label, such as "the moon" with "night" and "day"
    "#);
}

#[test]
fn a_score_needs_two_validation_classes() {
    let classes = ["day", "night"].map(str::to_owned);
    assert!(check_metric(&classes, &[0, 1, 0], false).is_ok());
    assert!(check_metric(&classes, &[1, 1], true).is_ok(), "a loss measures one class too");
    let error = check_metric(&classes, &[1, 1], false).unwrap_err();
    assert!(!error.is_retryable());
    insta::assert_snapshot!(error, @r#"every validation row has the class "night", so that no score can tell models apart: add rows of other classes, or select by `eval_loss`"#);
}

#[test]
fn a_limit_of_sorted_rows_keeps_all_classes() {
    let directory = TempDir::new().unwrap();
    let sorted = rows("any", &[("day", 60), ("dusk", 2), ("night", 30)]);
    let sorted = borrowed(&sorted);
    let limit =
        Limits { train: Some(12), validation: Some(46), test: Some(3), order: LimitOrder::Stratified };
    let limited = DatasetSpec { limit, ..spec(&directory, [&sorted, &sorted, &sorted]) };
    let data = load(&limited).unwrap();
    assert_eq!(data.train.class_counts(3), [7, 1, 4]);
    assert_eq!(data.validation.class_counts(3), [30, 1, 15]);
    assert_eq!(data.test.as_ref().unwrap().class_counts(3), [1, 1, 1]);
    assert_eq!(load(&limited).unwrap(), data, "the sample is the same each time");
    let first =
        DatasetSpec { limit: Limits { order: LimitOrder::First, train: Some(61), ..limit }, ..limited };
    assert_eq!(load(&first).unwrap().train.class_counts(3), [60, 1, 0]);
}

#[test]
fn texts_of_another_language_are_noted() {
    let tokenizer = TextTokenizer::from_directory(Path::new("tests/fixtures/vocabulary")).unwrap();
    let directory = TempDir::new().unwrap();
    let note = |text: &str| {
        let texts: Vec<(String, &str)> =
            (0..40).map(|i| (text.to_owned(), if i % 2 == 0 { "a" } else { "b" })).collect();
        let rows = borrowed(&texts);
        let data = load(&spec(&directory, [&rows, &rows, &rows])).unwrap();
        unknown_token_note(&data, &tokenizer).unwrap()
    };
    assert_eq!(note("so happy"), None);
    insta::assert_snapshot!(note("очень рад so happy").unwrap(), @"33 % of the tokens are unknown to the model's tokenizer: its vocabulary may be of another language or casing than the texts");
}
