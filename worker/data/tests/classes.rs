//! Which class a label becomes: names and ids are distinguished once per data set.

#![expect(clippy::unwrap_used, reason = "a failing set-up fails the test")]

use std::{fs, path::PathBuf};

use distilsweep_data::{DataError, Hub, TextDataset};
use distilsweep_proto::dataset::{Columns, DatasetSource, DatasetSpec, FileFormat, Labels};
use tempfile::TempDir;

/// A directory of small files that make a data set.
struct Files {
    directory: TempDir,
    spec: DatasetSpec,
}

impl Files {
    /// The first file of each name is the training, validation and test split.
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let paths: Vec<PathBuf> = files
            .iter()
            .map(|(name, content)| {
                let path = directory.path().join(name);
                fs::write(&path, content).unwrap();
                path
            })
            .collect();
        let split = |name: &str| -> Vec<PathBuf> {
            let fits = |path: &&PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(name);
            paths.iter().filter(fits).cloned().collect()
        };
        let source = DatasetSource::Files {
            train: split("train"),
            validation: split("validation"),
            test: split("test"),
        };
        Self { directory, spec: DatasetSpec::of(source) }
    }

    fn labelled(files: &[(&str, &str)], labels: Labels) -> Self {
        let files = Self::new(files);
        Self { spec: DatasetSpec { labels, ..files.spec }, directory: files.directory }
    }

    fn load(&self) -> Result<TextDataset, DataError> {
        distilsweep_data::load(&Hub::from_environment(), &self.spec)
    }

    fn rejection(&self) -> String {
        let error = self.load().expect_err("the labels are ambiguous");
        assert!(!error.is_retryable(), "{error}");
        error.to_string().replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn names(names: &[&str]) -> Labels {
    Labels::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

fn values(values: &[(&str, &str)]) -> Labels {
    Labels::Values(values.iter().map(|(value, name)| ((*value).to_owned(), (*name).to_owned())).collect())
}

/// Rows of CSV with these labels, each with a text of its own.
fn csv(labels: &[&str]) -> String {
    let row = |(i, label): (usize, &&str)| format!("row {i} of {},{label}\n", labels.len());
    "text,label\n".to_owned() + &labels.iter().enumerate().map(row).collect::<String>()
}

fn classes(data: &TextDataset) -> Vec<&str> {
    data.classes.iter().map(String::as_str).collect()
}

/// The class names of the rows.
fn read(data: &TextDataset, labels: &[u32]) -> Vec<String> {
    labels.iter().map(|label| data.classes[*label as usize].clone()).collect()
}

#[test]
fn listed_labels_are_all_names_or_all_indices() {
    let grades = ["2", "3", "4"];
    let as_names = Files::labelled(
        &[("train.csv", &csv(&["3", "4", "2"])), ("validation.csv", &csv(&["2", "4"]))],
        names(&grades),
    );
    let data = as_names.load().unwrap();
    assert_eq!(read(&data, &data.train.labels), ["3", "4", "2"]);
    let as_indices = Files::labelled(
        &[("train.csv", &csv(&["0", "2", "1"])), ("validation.csv", &csv(&["2", "0"]))],
        names(&grades),
    );
    let data = as_indices.load().unwrap();
    assert_eq!(read(&data, &data.train.labels), ["2", "4", "3"]);
    assert_eq!(read(&data, &data.validation.labels), ["4", "2"]);

    let mixed = |train: &[&str], validation: &[&str], list: &[&str]| {
        Files::labelled(&[("train.csv", &csv(train)), ("validation.csv", &csv(validation))], names(list))
            .rejection()
    };
    insta::assert_snapshot!(
        [
            mixed(&["good", "0", "bad"], &["bad"], &["bad", "good"]),
            mixed(&["good", "bad"], &["1", "0"], &["bad", "good"]),
            mixed(&["0", "1", "2"], &["3", "4", "2"], &grades),
        ]
        .join("\n"),
        @r#"
    train.csv line 3: labels are mixed: "good" is a class name and "0" may be an index (the other is at line 2); all must be names, or all indices; `labels: {VALUE: CLASS, ..}` in the data set says what each means
    validation.csv line 2: labels are mixed: "good" is a class name and "1" may be an index (the other is at train.csv line 2); all must be names, or all indices; `labels: {VALUE: CLASS, ..}` in the data set says what each means
    train.csv line 2: labels are mixed: "3" is a class name and "0" may be an index (the other is at validation.csv line 2); all must be names, or all indices; `labels: {VALUE: CLASS, ..}` in the data set says what each means
    "#
    );
}

#[test]
fn labels_that_fit_as_names_and_indices_are_noted() {
    let both = Files::labelled(
        &[("train.csv", &csv(&["1", "0", "1"])), ("validation.csv", &csv(&["0", "1"]))],
        names(&["1", "0"]),
    );
    let data = both.load().unwrap();
    assert_eq!(data.train.labels, [0, 1, 0]);
    insta::assert_snapshot!(data.notes[0], @r#"labels such as "1" are class names and could be indices of classes too: they are read as names"#);
    let same = Files::labelled(
        &[("train.csv", &csv(&["1", "0", "1"])), ("validation.csv", &csv(&["0", "1"]))],
        names(&["0", "1"]),
    );
    assert!(!same.load().unwrap().notes[0].contains("indices"));
}

#[test]
fn a_mapping_gives_values_their_classes_in_its_order() {
    let stars = [("train.csv", &*csv(&["1", "5.0", "2", "5"])), ("validation.csv", &csv(&["2", "5", "1"]))];
    let data = Files::labelled(&stars, values(&[("5", "good"), ("2", "ok"), ("1", "bad")])).load().unwrap();
    assert_eq!(classes(&data), ["good", "ok", "bad"]);
    assert_eq!(data.train.labels, [2, 0, 1, 0]);
    let merged =
        Files::labelled(&stars, values(&[("1", "low"), ("2", "low"), ("5.0", "high")])).load().unwrap();
    assert_eq!(merged.validation.labels, [0, 1, 0]);
    let minus = [("train.csv", &*csv(&["-1", "1"])), ("validation.csv", &csv(&["1", "-1"]))];
    let data = Files::labelled(&minus, values(&[("-1", "down"), ("1", "up")])).load().unwrap();
    assert_eq!(data.validation.labels, [1, 0]);
    let beside = [("train.csv", &*csv(&["ham", "spam"])), ("validation.csv", &csv(&["0", "1"]))];
    let data =
        Files::labelled(&beside, values(&[("ham", "ham"), ("spam", "spam"), ("0", "ham"), ("1", "spam")]));
    assert_eq!(data.load().unwrap().validation.labels, [0, 1]);
    insta::assert_snapshot!(Files::labelled(&stars, values(&[("1", "bad"), ("2", "ok")])).rejection(), @r#"train.csv line 3: unknown label "5.0"; `labels` maps "1", "2""#);
}

#[test]
fn names_and_numbers_in_different_files_are_rejected() {
    let files = |train: &[&str], validation: &[&str]| {
        Files::new(&[("train.csv", &csv(train)), ("validation.csv", &csv(validation))]).rejection()
    };
    insta::assert_snapshot!(
        [
            files(&["tea", "coffee"], &["0", "1"]),
            files(&["0", "1"], &["tea", "coffee"]),
            files(&["tea", "1", "coffee"], &["tea"]),
            files(&["0", "1", "2"], &["3"]),
        ]
        .join("\n"),
        @r#"
    validation.csv line 2: label "0" is a number, and the classes are names ("coffee", "tea"): no file says which number is which class; `labels: {0: "coffee", 1: "tea"}` in the data set maps them
    validation.csv line 2: unknown label "tea"; the classes are "LABEL_0", "LABEL_1"
    train.csv line 3: labels are mixed: "tea" is a class name and "1" may be an index (the other is at line 2); all must be names, or all indices; `labels: {VALUE: CLASS, ..}` in the data set says what each means
    validation.csv line 2: unknown label "3"; the classes are "LABEL_0", "LABEL_1", "LABEL_2"
    "#
    );
    let typed = "{\"text\": \"a\", \"label\": \"tea\"}\n{\"text\": \"b\", \"label\": \"coffee\"}\n";
    let numbers = "{\"text\": \"c\", \"label\": 1}\n";
    let error = Files::new(&[("train.jsonl", typed), ("validation.jsonl", numbers)]).rejection();
    assert!(error.contains("label 1 is a number, and the classes are names"), "{error}");
}

#[test]
fn a_column_of_names_maps_any_ids() {
    let row = |text: &str, label: i64, name: &str| {
        format!("{{\"text\": \"{text}\", \"label\": {label}, \"label_text\": \"{name}\"}}\n")
    };
    let train = row("a", 20, "two") + &row("b", 10, "one") + &row("c", 30, "0");
    let validation = row("d", 30, "0") + &row("e", 20, "two");
    let data = Files::new(&[("train.jsonl", &train), ("validation.jsonl", &validation)]).load().unwrap();
    assert_eq!(classes(&data), ["one", "two", "0"]);
    assert_eq!((&data.train.labels[..], &data.validation.labels[..]), (&[1, 0, 2][..], &[2, 1][..]));

    // Ids of another file of the data set, which does not name them.
    let plain = "{\"text\": \"d\", \"label\": 30}\n{\"text\": \"e\", \"label\": 10}\n";
    let data = Files::new(&[("train.jsonl", &train), ("validation.jsonl", plain)]).load().unwrap();
    assert_eq!(data.validation.labels, [2, 0]);
    // A file that numbers the same names otherwise.
    let other = row("d", 1, "two") + &row("e", 2, "one");
    let data = Files::new(&[("train.jsonl", &train), ("validation.jsonl", &other)]).load().unwrap();
    assert_eq!(data.validation.labels, [1, 0]);

    let twice = train.clone() + &row("f", 10, "uno");
    let strange = row("d", 20, "two") + &row("e", 40, "four");
    let unnamed = train.clone() + "{\"text\": \"g\", \"label\": 50}\n";
    insta::assert_snapshot!(
        [
            Files::new(&[("train.jsonl", &twice), ("validation.jsonl", &validation)]).rejection(),
            Files::new(&[("train.jsonl", &train), ("validation.jsonl", &strange)]).rejection(),
            Files::new(&[("train.jsonl", &unnamed), ("validation.jsonl", &validation)]).rejection(),
            Files::labelled(&[("train.jsonl", &train), ("validation.jsonl", &validation)], names(&["two", "one", "0"])).rejection(),
        ]
        .join("\n"),
        @r#"
    train.jsonl: label 10 is "one" in one row and "uno" in another of the column "label_text": `labels:` in the data set names the classes
    validation.jsonl line 2: unknown label 40 ("four"); the classes are "one", "two", "0"
    train.jsonl line 4: label 50 has no name in the column "label_text" in any row
    train.jsonl: the file names its classes "one", "two", "0", and `labels` of the data set "two", "one", "0": remove `labels`, or map them as `labels: {"one": CLASS, "two": CLASS, "0": CLASS}`
    "#
    );
}

#[test]
fn whole_floats_are_the_integers() {
    let data =
        Files::new(&[("train.csv", &csv(&["0.0", "1.0", "2.0"])), ("validation.csv", &csv(&["2", "1"]))])
            .load()
            .unwrap();
    assert_eq!(classes(&data), ["LABEL_0", "LABEL_1", "LABEL_2"]);
    assert_eq!(data.validation.labels, [2, 1]);
    let json = "{\"text\": \"a\", \"label\": 0.0}\n{\"text\": \"b\", \"label\": 1}\n";
    assert_eq!(
        Files::new(&[("train.jsonl", json), ("validation.jsonl", json)]).load().unwrap().train.labels,
        [0, 1]
    );
    let versions = names(&["1.0", "2.0"]);
    let data = Files::labelled(
        &[("train.csv", &csv(&["1.0", "2.0"])), ("validation.csv", &csv(&["2.0"]))],
        versions,
    );
    assert_eq!(data.load().unwrap().train.labels, [0, 1]);
    let codes =
        |labels: &[&str]| Files::new(&[("train.csv", &csv(labels)), ("validation.csv", &csv(&["02"]))]);
    assert_eq!(classes(&codes(&["01", "02"]).load().unwrap()), ["01", "02"]);
    assert!(codes(&["01", "02", "10"]).rejection().contains("labels are mixed: \"01\" is a class name"));
}

#[test]
fn rows_without_a_label_are_rejected_or_dropped() {
    let missing = csv(&["yes", "NaN", "no", "", "None"]);
    let mut files = Files::new(&[("train.csv", &missing), ("validation.csv", &csv(&["no", "yes"]))]);
    let numbers =
        Files::new(&[("train.csv", &csv(&["0", "-1", "1", "-1"])), ("validation.csv", &csv(&["0"]))]);
    insta::assert_snapshot!([files.rejection(), numbers.rejection()].join("\n"), @r#"
    train.csv line 3: label "NaN" marks a row without a label; 3 rows have none: `drop_missing: true` in the data set drops them; if it is a class, list all classes in `labels:`
    train.csv line 3: label -1 marks a row without a label; 2 rows have none: `drop_missing: true` in the data set drops them; if -1 is a class, name it, as in `labels: {-1: NAME, ..}`
    "#);
    files.spec.drop_missing = true;
    let data = files.load().unwrap();
    assert_eq!((classes(&data), &data.train.labels[..]), (vec!["no", "yes"], &[1, 0][..]));
    assert_eq!(data.train.texts, ["row 0 of 5", "row 2 of 5"]);
    insta::assert_snapshot!(data.notes[0], @"dropped 3 rows without a label");

    let named = Files::labelled(
        &[("train.csv", &csv(&["None", "yes"])), ("validation.csv", &csv(&["yes"]))],
        names(&["None", "yes"]),
    );
    assert_eq!(named.load().unwrap().train.labels, [0, 1]);
    let empty = "text,label\na,yes\n,no\nb,no\n";
    let mut files = Files::new(&[("train.csv", empty), ("validation.csv", &csv(&["no", "yes"]))]);
    assert!(files.rejection().starts_with("train.csv line 3: the text (column \"text\") is empty"));
    files.spec.drop_missing = true;
    let data = files.load().unwrap();
    assert_eq!(data.train.texts, ["a", "b"]);
    assert_eq!(data.notes[0], "dropped 1 row without a text");
}

#[test]
fn classes_that_differ_in_case_or_spacing_are_noted() {
    let labels = ["Yes", "yes", "not sure", "Notsure", "no"];
    let data =
        Files::new(&[("train.csv", &csv(&labels)), ("validation.csv", &csv(&["yes", "no"]))]).load().unwrap();
    insta::assert_snapshot!(data.notes[0], @r#"classes differ only in case or spacing ("Notsure" and "not sure", "Yes" and "yes"): if they are one class, correct the file or map both in `labels:`"#);
    let spaced = "{\"text\": \"a\", \"label\": \" yes\"}\n{\"text\": \"b\", \"label\": \"yes \"}\n{\"text\": \"c\", \"label\": \"no\"}\n";
    let data = Files::new(&[("train.jsonl", spaced), ("validation.jsonl", spaced)]).load().unwrap();
    assert_eq!(classes(&data), ["no", "yes"]);
}

#[test]
fn scores_and_several_labels_are_other_tasks() {
    let rejection = |name: &str, train: &str| Files::new(&[(name, train)]).rejection();
    let json = |label: &str| format!("{{\"text\": \"a\", \"label\": {label}}}\n");
    insta::assert_snapshot!(
        [
            rejection("train.csv", &csv(&["1.5", "2", "4.25"])),
            rejection("train.jsonl", &(json("1") + &json("2.5"))),
            rejection("train.jsonl", &json("[1, 3]")),
            rejection("train.csv", &csv(&["\"[1, 3]\"", "[2]"])),
            rejection("train.csv", &csv(&["rain|wind", "wind", "sun"])),
            rejection("train.csv", &csv(&["rain|wind", "wind|sun"])),
            rejection("train.csv", &csv(&["rain; wind", "rain", "wind"])),
            rejection("train.jsonl", &json("{\"a\": 1}")),
        ]
        .join("\n"),
        @r#"
    train.csv line 2: label "1.5" is a score, not a class: regression is not supported yet; `labels:` in the data set can name values as classes
    train.jsonl line 2: label 2.5 is a score, not a class: regression is not supported yet; `labels:` in the data set can name values as classes
    train.jsonl line 1: label [1,3] is a list: several labels a row (multi-label classification) are not supported yet, only one class a row
    train.csv line 2: label "[1, 3]" is a list: several labels a row (multi-label classification) are not supported yet, only one class a row
    train.csv line 2: label "rain|wind" joins several labels, such as "wind": several labels a row (multi-label classification) are not supported yet; `labels:` in the data set can name it as one class
    train.csv line 2: label "rain|wind" joins several labels, such as "wind": several labels a row (multi-label classification) are not supported yet; `labels:` in the data set can name it as one class
    train.csv line 2: label "rain; wind" joins several labels, such as "rain": several labels a row (multi-label classification) are not supported yet; `labels:` in the data set can name it as one class
    train.jsonl line 1: label {"a":1} is neither a name nor a whole number
    "#
    );
    let ordinary = csv(&["GPT-3.5", "C|D", "a, b", "1.2.3", "a"]);
    let data =
        Files::new(&[("train.csv", &ordinary.replace("a, b", "\"a, b\"")), ("validation.csv", &csv(&["a"]))])
            .load()
            .unwrap();
    assert_eq!(data.classes.len(), 5);
    let listed = Files::labelled(
        &[("train.csv", &csv(&["1.5", "2.5"])), ("validation.csv", &csv(&["2.5"]))],
        names(&["1.5", "2.5"]),
    );
    assert_eq!(listed.load().unwrap().train.labels, [0, 1]);
}

#[test]
fn a_label_column_of_texts_or_ids_is_rejected() {
    let labels = |rows: usize, different: usize| -> String {
        let labels: Vec<String> = (0..rows).map(|i| format!("k{}", i % different)).collect();
        csv(&labels.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let rejected = |content: &str| Files::new(&[("train.csv", content)]).rejection();
    insta::assert_snapshot!([rejected(&labels(100, 51)), rejected(&labels(3000, 1001))].join("\n"), @r#"
    train.csv: the label column "label" has 51 different values in 100 rows: it holds texts, ids or scores, not classes; `label: NAME` in the data set (--label-column) names another column, `labels:` lists the classes
    train.csv: the label column "label" has 1001 different values in 3000 rows: it holds texts, ids or scores, not classes; `label: NAME` in the data set (--label-column) names another column, `labels:` lists the classes
    "#);
    for (rows, different) in [(100, 50), (99, 60), (3000, 1000)] {
        let files = Files::new(&[("train.csv", &labels(rows, different)), ("validation.csv", &csv(&["k1"]))]);
        assert_eq!(files.load().unwrap_or_else(|error| panic!("{error}")).classes.len(), different);
    }
    let all: Vec<String> = (0..60).map(|i| format!("k{i}")).collect();
    let listed = names(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let files =
        Files::labelled(&[("train.csv", &labels(100, 60)), ("validation.csv", &csv(&["k1"]))], listed);
    assert_eq!(files.load().unwrap().classes.len(), 60);
}

#[test]
fn a_file_is_read_by_the_classes_of_a_model() {
    let directory = TempDir::new().unwrap();
    let read = |content: &str, classes: &[&str]| {
        let path = directory.path().join("test.csv");
        fs::write(&path, content).unwrap();
        let classes: Vec<String> = classes.iter().map(|name| (*name).to_owned()).collect();
        distilsweep_data::read_labelled(&path, &Columns::default(), &FileFormat::default(), &classes)
            .map(|rows| rows.split.labels)
            .map_err(|error| error.to_string().replace(&format!("{}/", directory.path().display()), ""))
    };
    assert_eq!(read(&csv(&["b", "a"]), &["a", "b"]), Ok(vec![1, 0]));
    assert_eq!(read(&csv(&["1", "0"]), &["a", "b"]), Ok(vec![1, 0]));
    assert_eq!(read(&csv(&["1", "0"]), &["LABEL_0", "LABEL_1"]), Ok(vec![1, 0]));
    assert_eq!(read(&csv(&["2", "1"]), &["1", "2"]), Ok(vec![1, 0]));
    let rejected = [
        read(&csv(&["b", "0"]), &["a", "b"]),
        read(&csv(&["c"]), &["a", "b"]),
        read(&csv(&["2"]), &["LABEL_0", "LABEL_1"]),
    ];
    insta::assert_snapshot!(rejected.map(Result::unwrap_err).join("\n"), @r#"
    test.csv line 3: labels are mixed: "b" is a class name and "0" may be an index (the other is at line 2); all must be names, or all indices; `labels: {VALUE: CLASS, ..}` in the data set says what each means
    test.csv line 2: unknown label "c"; the classes are "a", "b"
    test.csv line 2: unknown label "2"; the classes are "LABEL_0", "LABEL_1"
    "#);
}
