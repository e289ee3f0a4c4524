//! Random tables: the classes, or the reason of a rejection, do not depend on the format.

use distilsweep_proto::dataset::{self, DatasetSpec};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    files, load,
    writer::{FORMATS, Labels, write},
};

/// Labels of one type, some of them missing.
fn labels(rows: usize) -> impl Strategy<Value = Labels> {
    let names = |names: Vec<&'static str>| {
        let name = prop::sample::select(names).prop_map(|name| Some(name.to_owned()));
        prop::collection::vec(name, rows).prop_map(Labels::Names)
    };
    let integers = |range: std::ops::Range<i64>| {
        prop::collection::vec(range.prop_map(Some), rows).prop_map(Labels::Integers)
    };
    let float = prop::sample::select(vec![0.0, 1.0, 2.0, -1.0, 1.5]).prop_map(Some);
    let column = prop_oneof![
        names(vec!["no", "yes", "maybe", " yes ", "NaN", "None", "1", "0", "a|b", "1.5", "01"]),
        names(vec!["no", "yes", "not sure"]),
        integers(0..3),
        integers(-1..6),
        prop::collection::vec(float, rows).prop_map(Labels::Floats),
    ];
    let share = prop::sample::select(vec![0, 0, 20]);
    let draws = prop::collection::vec(0..100, rows);
    (column, share, draws).prop_map(|(column, share, draws)| column.without(|row| draws[row] < share))
}

fn given() -> impl Strategy<Value = dataset::Labels> {
    let text = |text: &&str| (*text).to_owned();
    let list = move |names: &[&str]| dataset::Labels::Names(names.iter().map(text).collect());
    let mapping = move |pairs: &[(&str, &str)]| {
        dataset::Labels::Values(pairs.iter().map(|(value, name)| (text(value), text(name))).collect())
    };
    prop_oneof![
        3 => Just(dataset::Labels::Inferred),
        1 => Just(list(&["no", "yes", "not sure"])),
        1 => Just(list(&["0", "1", "2"])),
        1 => Just(mapping(&[("0", "bad"), ("1", "good"), ("2", "good"), ("yes", "good"), ("no", "bad")])),
        1 => Just(mapping(&[("-1", "down"), ("0", "even"), ("1", "up")])),
    ]
}

/// What becomes of a table: its classes, rows and notes, or the rejection with its row.
fn outcome(spec: &DatasetSpec, directory: &TempDir, format: &str) -> String {
    let text = match load(spec) {
        Ok(data) => format!(
            "{:?} {:?} {:?} {:?} {:?}",
            data.classes, data.train.texts, data.train.labels, data.validation.labels, data.notes
        ),
        Err(error) => error.to_string(),
    };
    let text =
        text.replace(&format!("{}/", directory.path().display()), "").replace(&format!(".{format}"), "");
    // Rows of text files are lines below a header, and values of typed files have no quotes.
    let header = u64::from(format == "csv" || format == "tsv");
    let unit = if format == "parquet" { " row " } else { " line " };
    let mut parts = text.split(unit);
    let mut normal = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        normal += &match part[..digits].parse::<u64>() {
            Ok(number) => format!(" row {}{}", number - header, &part[digits..]),
            Err(_) => format!("{unit}{part}"),
        };
    }
    // A text file has whole floats as they are written.
    normal.replace(['"', '\\'], "").replace(".0", "")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn classes_are_the_same_in_all_formats(
        (train, validation) in (labels(14), labels(5)),
        given in given(),
        drop_missing: bool,
    ) {
        let directory = TempDir::new().unwrap();
        let texts = |split: &str, labels: &Labels| -> Vec<String> {
            (0..labels.len()).map(|i| format!("{split} \"{i}\",\t'text'")).collect()
        };
        let outcomes = FORMATS.map(|format| {
            let path = |split: &str| directory.path().join(format!("{split}.{format}"));
            write(&path("train"), &texts("train", &train), &train);
            write(&path("validation"), &texts("validation", &validation), &validation);
            let spec = DatasetSpec {
                labels: given.clone(),
                drop_missing,
                ..files(&path("train"), &path("validation"))
            };
            outcome(&spec, &directory, format)
        });
        for (format, outcome) in FORMATS.iter().zip(&outcomes) {
            prop_assert_eq!(outcome, &outcomes[0], "{} differs from {}", format, FORMATS[0]);
        }
    }
}
