//! What users read when their data is wrong, and what becomes of data that is right.

#![expect(clippy::unwrap_used, reason = "a failing set-up fails the test")]

use std::{fs, io::Write, path::Path};

use distilsweep_data::{DataError, Hub, TextDataset};
use distilsweep_proto::dataset::{DatasetSource, DatasetSpec, Labels, LimitOrder, Limits};

fn files(train: &Path, validation: Option<&Path>) -> DatasetSpec {
    DatasetSpec::of(DatasetSource::Files {
        train: vec![train.to_owned()],
        validation: validation.map(Path::to_owned).into_iter().collect(),
        test: Vec::new(),
    })
}

fn repository(directory: impl AsRef<Path>, config: Option<&str>) -> DatasetSpec {
    let id = directory.as_ref().to_string_lossy().into_owned();
    DatasetSpec::of(DatasetSource::Id { id, config: config.map(str::to_owned), revision: None })
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Class names as a sweep file lists them; inferred if there is none.
fn listed(labels: &[&str]) -> Labels {
    if labels.is_empty() { Labels::Inferred } else { Labels::Names(names(labels)) }
}

fn load(spec: &DatasetSpec) -> Result<TextDataset, DataError> {
    distilsweep_data::load(&Hub::from_environment(), spec)
}

const GOOD: &str = "text,label\nfine,positive\nbad,negative\ngood,positive\n";

/// The message of loading `content` as `train.EXTENSION`, with one good row of validation beside it.
fn message(extension: &str, content: impl AsRef<[u8]>, change: impl FnOnce(&mut DatasetSpec)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let train = directory.path().join(format!("train.{extension}"));
    let validation = directory.path().join("validation.csv");
    std::fs::write(&train, content).unwrap();
    std::fs::write(&validation, GOOD).unwrap();
    let mut spec = files(&train, Some(&validation));
    change(&mut spec);
    let error = load(&spec).expect_err("the data is wrong");
    assert!(!error.is_retryable(), "{error}");
    error.to_string().replace(&format!("{}/", directory.path().display()), "")
}

fn csv(content: impl AsRef<[u8]>) -> String {
    message("csv", content, |_| {})
}

#[test]
fn wrong_files_are_named_with_what_would_be_right() {
    let missing = message("csv", GOOD, |spec| {
        if let DatasetSource::Files { validation, .. } = &mut spec.source {
            *validation = vec!["nowhere.csv".into()];
        }
    });
    insta::assert_snapshot!(
        [
            missing,
            message("xlsx", GOOD, |_| {}),
            csv(""),
            csv("text,label\n"),
            message("jsonl", "\n", |_| {}),
            message("parquet", "PAR", |_| {}),
        ]
        .join("\n"),
        @r"
        nowhere.csv does not exist: check the path (relative ones in a sweep file count from it)
        train.xlsx has an unknown extension, it must be .csv, .tsv, .jsonl, .json (these also with .gz or .zst) or .parquet
        train.csv is empty, its first line must name the columns
        train.csv: there are no rows, training needs some of every class
        train.jsonl is empty, it must hold one JSON object a line, or an array of them
        train.parquet is no readable Parquet file: EOF: Parquet file too small. Size is 3 but need 8
        "
    );
}

#[test]
fn wrong_columns_are_answered_with_those_that_are_there() {
    insta::assert_snapshot!(
        [
            csv("tweet,label\nfine,positive\n"),
            csv("text,sentiment\nfine,positive\n"),
            message("csv", GOOD, |spec| spec.text = Some("body".into())),
            message("csv", GOOD, |spec| spec.label = Some("Label".into())),
            message("jsonl", "{\"body\": \"fine\", \"label\": 1}\n", |_| {}),
        ]
        .join("\n"),
        @r#"
        train.csv has no column for the text (looked for "text", "sentence", "content", "review"; `text: NAME` in the data set or --text-column names it); its columns are "tweet", "label"
        train.csv has no column for the label (looked for "label", "labels", "target", "class"; `label: NAME` in the data set or --label-column names it); its columns are "text", "sentiment"
        train.csv has no column "body"; its columns are "text", "label"
        train.csv has no column "Label"; its columns are "text", "label"
        train.jsonl has no column for the text (looked for "text", "sentence", "content", "review"; `text: NAME` in the data set or --text-column names it); its columns are "body", "label"
        "#
    );
}

#[test]
fn wrong_rows_are_named_by_line() {
    insta::assert_snapshot!(
        [
            csv("text,label\nfine,positive\n\nnice, but long,negative\n"),
            csv("text,label\r\nfine,positive\r\n,negative\r\n"),
            csv("text,label\n\"two\nlines\",positive\n  ,negative\n"),
            csv("text,label\nfine,positive\n\"never closed,negative\nbad,negative\n"),
            csv("text,label\nfine,positive\nbad,\n"),
            csv(b"text,label\nfine,positive\ncaf\xe9,negative\n"),
            message("tsv", "text\tlabel\nfine\tpositive\nno label\n", |_| {}),
            message("jsonl", "{\"text\": \"fine\", \"label\": 1}\n{\"text\": \"bad\", \"label\"\n", |_| {}),
            message("jsonl", "{\"text\": \"fine\", \"label\": 1}\n[1, 2]\n", |_| {}),
            message("jsonl", "{\"text\": 5, \"label\": 1}\n", |_| {}),
            message("jsonl", "{\"text\": \"fine\", \"label\": 0.5}\n", |_| {}),
            message("jsonl", "{\"text\": \"fine\", \"label\": 1}\n\n{\"text\": \"bad\", \"label\": \"bad\"}\n", |_| {}),
            message("json", "[{\"text\": \"fine\", \"label\": 1}, 7]", |_| {}),
            message("json", "[{\"text\": \"fine\",\n \"label\": 1}", |_| {}),
            message("csv.gz", "text,label\n", |_| {}),
            message("csv.zst", "text,label\n", |_| {}),
        ]
        .join("\n"),
        @r#"
    train.csv line 4: 3 fields where there are 2 columns; a field that holds commas must be in double quotes
    train.csv line 3: the text (column "text") is empty; fill it or remove the row
    train.csv line 4: the text (column "text") is empty; fill it or remove the row
    train.csv line 3: a quote is opened here and never closed
    validation.csv line 3: unknown label "negative"; the classes are "positive"
    train.csv line 3: not UTF-8: save the file in that encoding, or set its own as `encoding: latin-1` or another (--encoding)
    train.tsv line 3: 1 fields where there are 2 columns; a field can hold no tab, and quotes do not change that
    train.jsonl line 2: no JSON object; every line must be one (EOF while parsing an object, column 23)
    train.jsonl line 2: no JSON object; every line must be one (invalid type: sequence, expected a map, column 0)
    train.jsonl line 1: "text" is 5, it must be a string
    train.jsonl line 1: label 0.5 is a score, not a class: regression is not supported yet; `labels:` in the data set can name values as classes
    train.jsonl line 3: labels are mixed: "bad" is a class name and 1 may be an index (the other is at line 1); all must be names, or all indices; `labels: {VALUE: CLASS, ..}` in the data set says what each means
    train.json element 2: 7 is no JSON object; every element must be one
    train.json line 2: the array of rows ends here (EOF while parsing a list, column 12)
    train.csv.gz is no whole gzip file: invalid gzip header
    train.csv.zst is no whole Zstandard file: Unknown frame descriptor
    "#
    );
}

#[test]
fn wrong_labels_are_answered_with_the_classes() {
    let named = |content: &str, labels: &[&str]| message("csv", content, |spec| spec.labels = listed(labels));
    let many: String = (0..2000).map(|i| format!("text {i},name{i}\n")).collect();
    insta::assert_snapshot!(
        [
            named("text,label\nfine,positive\nbad,negativ\n", &["negative", "neutral", "positive"]),
            named("text,label\nfine,3\nbad,0\n", &["negative", "neutral", "positive"]),
            named("text,label\nfine,2\nbad,-1\n", &["negative", "neutral", "positive"]),
            csv("text,label\nfine,positive\nbad,bad\n"),
            named(GOOD, &["positive"]),
            named(GOOD, &["positive", "positive"]),
            csv("text,label\nfine,1\nbad,5\n"),
            csv("text,label\nfine,positive\nbad,positive\n"),
            csv(format!("text,label\n{many}")),
        ]
        .join("\n"),
        @r#"
    train.csv line 3: unknown label "negativ", did you mean "negative"?; the classes are "negative", "neutral", "positive"
    train.csv line 2: unknown label "3"; the classes are "negative", "neutral", "positive"
    train.csv line 2: labels are mixed: "positive" is a class name and "2" may be an index (the other is at validation.csv line 2); all must be names, or all indices; `labels: {VALUE: CLASS, ..}` in the data set says what each means
    validation.csv line 3: unknown label "negative"; the classes are "bad", "positive"
    train.csv: "positive" is the only class named, at least two are needed
    train.csv: two classes are named "positive"
    train.csv: labels are numbers without names, which must run from 0 without a gap; 0 is absent from 1, 5: name the classes in the data set, as in `labels: {1: NAME, 5: NAME}`
    train.csv: every training row has the label "positive"; at least two classes are needed
    train.csv: the label column "label" has 2000 different values in 2000 rows: it holds texts, ids or scores, not classes; `label: NAME` in the data set (--label-column) names another column, `labels:` lists the classes
    "#
    );
}

fn loaded(name: &str, content: &str, labels: &[&str]) -> TextDataset {
    let directory = tempfile::tempdir().unwrap();
    let train = directory.path().join(name);
    std::fs::write(&train, content).unwrap();
    load(&DatasetSpec { labels: listed(labels), ..files(&train, Some(&train)) }).unwrap()
}

#[test]
fn every_format_reads_the_same() {
    let csv = loaded("train.csv", "\u{feff}id,text,label\n1,\"a \"\"b\"\", c\",good\n2,d,bad\n", &[]);
    assert_eq!(csv.train.texts, ["a \"b\", c", "d"]);
    assert_eq!(
        (csv.train.labels.as_slice(), csv.classes.as_slice()),
        (&[1, 0][..], &names(&["bad", "good"])[..])
    );
    let tsv = loaded("train.tsv", "label\tSentence\ngood\ta \"b\", c\nbad\td\n", &[]);
    let json = "{\"content\": \"a \\\"b\\\", c\", \"target\": \"good\"}\n\n{\"target\": \"bad\", \"content\": \"d\"}\n";
    let jsonl = loaded("train.jsonl", json, &[]);
    assert_eq!(tsv.train, csv.train);
    assert_eq!(jsonl.train, csv.train);
    assert_eq!(jsonl.classes, csv.classes);
    assert_eq!(csv.validation, csv.train);
    assert!(csv.test.is_none());
    let array = loaded("train.json", &format!("[{}]", json.trim().replace("\n\n", ",\n")), &[]);
    assert_eq!(array.train, csv.train);

    let directory = tempfile::tempdir().unwrap();
    let packed = |name: &str, pack: &dyn Fn(&Path)| {
        let path = directory.path().join(name);
        pack(&path);
        load(&files(&path, Some(&path))).unwrap()
    };
    let gzip = packed("train.jsonl.gz", &|path| {
        let mut packer =
            flate2::write::GzEncoder::new(fs::File::create(path).unwrap(), flate2::Compression::fast());
        packer.write_all(json.as_bytes()).unwrap();
        packer.finish().unwrap();
    });
    assert_eq!(gzip.train, csv.train);
    let zstd = packed("train.tsv.zst", &|path| {
        let tsv = "label\tSentence\ngood\ta \"b\", c\nbad\td\n";
        fs::write(path, zstd::encode_all(tsv.as_bytes(), 1).unwrap()).unwrap();
    });
    assert_eq!(zstd.train, csv.train);
}

#[test]
fn pairs_of_texts_are_rows_of_two_columns() {
    let pairs = "premise,hypothesis,label\nit rains,it is wet,yes\nit rains,,no\n";
    let detected = loaded("train.csv", pairs, &[]);
    assert_eq!(detected.train.texts, ["it rains", "it rains"]);
    assert_eq!(detected.train.pairs, ["it is wet", ""]);
    assert_eq!(detected.columns.pair.as_deref(), Some("hypothesis"));
    let directory = tempfile::tempdir().unwrap();
    let train = directory.path().join("train.jsonl");
    fs::write(
        &train,
        "{\"a\": \"x\", \"b\": \"y\", \"label\": 0}\n{\"a\": \"v\", \"b\": null, \"label\": 1}\n",
    )
    .unwrap();
    let spec =
        DatasetSpec { text: Some("a".into()), text_pair: Some("b".into()), ..files(&train, Some(&train)) };
    assert_eq!(load(&spec).unwrap().train.pairs, ["y", ""]);
    let one = DatasetSpec { text: Some("b".into()), ..files(&train, Some(&train)) };
    assert!(
        load(&one)
            .unwrap_err()
            .to_string()
            .ends_with("train.jsonl line 2: the text (column \"b\") is empty; fill it or remove the row")
    );
}

#[test]
fn what_looks_wrong_is_noted() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("train.csv"), "text,label\na,0\nb,1\nc,0\n").unwrap();
    fs::write(path("validation.csv"), "text,label\nb,1\nd,0\ne,1\n").unwrap();
    fs::write(path("test.jsonl"), "{\"text\": \"f\", \"label\": -1}\n{\"text\": \"g\", \"label\": -1}\n")
        .unwrap();
    let spec = DatasetSpec::of(DatasetSource::Files {
        train: vec![path("train.csv")],
        validation: vec![path("validation.csv")],
        test: vec![path("test.jsonl")],
    });
    let data = load(&spec).unwrap();
    assert_eq!(data.test, None);
    insta::assert_snapshot!(data.notes.join("\n"), @r#"
    no row of the test split has a label (all are missing or -1): it is left out
    fewer than 10 validation rows of "LABEL_0", "LABEL_1": their scores are uncertain
    1 of 3 validation rows have a text that is in the training split too: their scores say less
    "#);
}

#[test]
fn hidden_labels_are_seen_in_files_of_text_too() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("train.csv"), GOOD).unwrap();
    fs::write(directory.path().join("validation.csv"), GOOD).unwrap();
    fs::write(directory.path().join("test.csv"), "text,label\nf,-1\ng,-1\n").unwrap();
    assert_eq!(load(&repository(directory.path(), None)).unwrap().test, None);
    fs::write(directory.path().join("test.csv"), "text,label\nf,-1\ng,positive\n").unwrap();
    let error = load(&repository(directory.path(), None)).unwrap_err().to_string();
    let error = error.replace(&*directory.path().to_string_lossy(), "DIR");
    insta::assert_snapshot!(error, @"DIR/test.csv line 2: label -1 marks a row without a label; 1 row has none: `drop_missing: true` in the data set drops them; if -1 is a class, name it, as in `labels: {-1: NAME, ..}`");
}

#[test]
fn the_card_of_a_directory_names_the_classes_of_each_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let info = |config: &str, [no, yes]: [&str; 2]| {
        format!(
            "- config_name: {config}\n  features:\n  - name: label\n    dtype:\n      class_label:\n        \
             names:\n          '0': {no}\n          '1': {yes}\n"
        )
    };
    let card = format!(
        "---\nconfigs:\n- config_name: en\n  default: true\n- config_name: de\ndataset_info:\n{}{}---\n# Rows\n",
        info("en", ["bad", "good"]),
        info("de", ["schlecht", "gut"])
    );
    fs::write(directory.path().join("README.md"), card).unwrap();
    fs::write(directory.path().join("train.csv"), "text,label\na,0\nb,1\nc,1\n").unwrap();
    fs::write(directory.path().join("validation.csv"), "text,label\nd,1\ne,0\n").unwrap();
    let classes = |config| load(&repository(directory.path(), config)).unwrap().classes;
    assert_eq!(classes(None), ["bad", "good"]);
    assert_eq!(classes(Some("de")), ["schlecht", "gut"]);
}

#[test]
fn labels_may_be_names_or_numbers() {
    let rows = "text,label\na,0\nb,2\nc,1\n";
    assert_eq!(loaded("train.csv", rows, &[]).classes, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    let named = loaded("train.csv", rows, &["bad", "so", "good"]);
    assert_eq!(named.train.labels, [0, 2, 1]);
    assert_eq!(named.classes, ["bad", "so", "good"]);
    let stars = loaded("train.csv", "text,label\na,1\nb,5\n", &["1", "2", "3", "4", "5"]);
    assert_eq!(stars.train.labels, [0, 4]);
}

#[test]
fn limits_keep_the_first_rows() {
    let directory = tempfile::tempdir().unwrap();
    let train = directory.path().join("train.csv");
    std::fs::write(&train, GOOD).unwrap();
    let mut spec = files(&train, Some(&train));
    spec.limit = Limits { train: Some(2), validation: Some(1), test: Some(7), order: LimitOrder::First };
    let data = load(&spec).unwrap();
    assert_eq!(data.train.texts, ["fine", "bad"]);
    assert_eq!(data.validation.texts, ["fine"]);
    spec.limit.train = Some(1);
    let error = load(&spec).unwrap_err().to_string().replace(&*directory.path().to_string_lossy(), "DIR");
    insta::assert_snapshot!(error, @r#"DIR/train.csv: `limit` keeps only training rows of the class "positive": raise it, or leave out `order: first`"#);
}

#[test]
fn a_missing_validation_split_is_cut_from_every_class_alike_and_said() {
    let directory = tempfile::tempdir().unwrap();
    let train = directory.path().join("train.csv");
    let row = |i: usize| format!("text {i},{}\n", if i.is_multiple_of(4) { "rare" } else { "common" });
    std::fs::write(&train, format!("text,label\n{}", (0..400).map(row).collect::<String>())).unwrap();
    let spec = files(&train, None);
    let data = load(&spec).unwrap();
    assert_eq!(data.train.class_counts(2), [270, 90]);
    assert_eq!(data.validation.class_counts(2), [30, 10]);
    assert_eq!(data.train.majority_class(2), 0);
    assert!(data.validation.texts.iter().all(|text| !data.train.texts.contains(text)));
    assert_eq!(load(&spec).unwrap(), data);
    insta::assert_snapshot!(data.notes.join("\n"), @"there is no validation split: 40 of 400 training rows were taken for it, a tenth of every class");

    std::fs::write(&train, "text,label\nfine,positive\nbad,negative\n").unwrap();
    let error = load(&spec).unwrap_err().to_string().replace(&*directory.path().to_string_lossy(), "DIR");
    insta::assert_snapshot!(error, @"DIR/train.csv: a validation split cannot be cut from 2 training rows: no class has two rows");
}

#[test]
fn a_damaged_page_is_named_by_the_row_that_it_begins() {
    let directory = tempfile::tempdir().unwrap();
    let train = directory.path().join("train.parquet");
    let mut bytes = fs::read("tests/fixtures/imdb/plain_text/train-00000-of-00001.parquet").unwrap();
    // Between the magic number and the description at the end lie the pages.
    bytes[4..64].fill(0xff);
    fs::write(&train, bytes).unwrap();
    let error = load(&files(&train, None)).unwrap_err().to_string();
    assert!(error.contains("train.parquet row 1: cannot be read: "), "{error}");
    assert!(error.ends_with("; the file is damaged, fetch it again"), "{error}");
}

#[test]
fn parquet_files_of_the_hub_s_layout_carry_their_class_names() {
    let data = load(&repository("tests/fixtures/emotion", None)).unwrap();
    assert_eq!(data.classes, ["sadness", "joy", "love", "anger", "fear", "surprise"]);
    assert_eq!(data.train.labels, [0, 1, 2, 3, 4, 5, 1]);
    assert_eq!(data.train.texts[4], "i feel nervous, “really” nervous");
    assert_eq!(data.validation.labels, [0, 1]);
    assert_eq!(data.test.unwrap().labels, [3, 2]);
    insta::assert_snapshot!(data.notes.join("\n"), @r#"
    configuration "split" is used, which has all three splits; `config:` chooses another: "unsplit"
    classes "love", "anger", "fear", "surprise" have no rows in the validation split
    classes "sadness", "joy", "fear", "surprise" have no rows in the test split
    fewer than 10 validation rows of "sadness", "joy": their scores are uncertain
    "#);

    let renamed = DatasetSpec {
        labels: listed(&["a", "b", "c", "d", "e", "f"]),
        ..repository("tests/fixtures/emotion", Some("split"))
    };
    insta::assert_snapshot!(load(&renamed).unwrap_err(), @r#"tests/fixtures/emotion/split/train-00000-of-00001.parquet: the file names its classes "sadness", "joy", "love", "anger", "fear" and 1 more, and `labels` of the data set "a", "b", "c", "d", "e" and 1 more: remove `labels`, or map them as `labels: {"sadness": CLASS, "joy": CLASS, "love": CLASS, "anger": CLASS, "fear": CLASS and 1 more}`"#);
    let values = |pairs: &[(&str, &str)]| {
        Labels::Values(pairs.iter().map(|(value, name)| ((*value).to_owned(), (*name).to_owned())).collect())
    };
    let mapped = DatasetSpec {
        labels: values(&[
            ("joy", "good"),
            ("love", "good"),
            ("surprise", "good"),
            ("sadness", "bad"),
            ("anger", "bad"),
            ("fear", "bad"),
        ]),
        ..repository("tests/fixtures/emotion", Some("split"))
    };
    let data = load(&mapped).unwrap();
    assert_eq!(data.classes, ["good", "bad"]);
    assert_eq!(data.train.labels, [1, 0, 0, 1, 1, 0, 0]);
    let ids = DatasetSpec { labels: values(&[("0", "bad"), ("1", "good")]), ..mapped };
    insta::assert_snapshot!(load(&ids).unwrap_err(), @r#"tests/fixtures/emotion/split/train-00000-of-00001.parquet row 1: unknown label 0; `labels` maps "0", "1""#);
}

#[test]
fn a_directory_that_is_no_data_set_is_said_to_be_none() {
    let wrong = |id: &str, config| load(&repository(id, config)).unwrap_err().to_string();
    insta::assert_snapshot!(
        [
            wrong("tests/fixtures/emotion", Some("splits")),
            wrong("tests/fixtures/tokenizer", None),
            wrong("tests/fixtures/make_parquet.py", None),
            wrong("./nowhere", None),
        ]
        .join("\n"),
        @r#"
    tests/fixtures/emotion cannot be used as a data set: there is no configuration "splits"; there are "split", "unsplit"
    tests/fixtures/tokenizer cannot be used as a data set: there is no file of training rows: its name or folder must contain "train", and it must end in .parquet, .csv, .tsv, .jsonl or .json
    tests/fixtures/make_parquet.py has an unknown extension, it must be .csv, .tsv, .jsonl, .json (these also with .gz or .zst) or .parquet
    ./nowhere does not exist: it must be a file, a directory or an id of the Hub (owner/name)
    "#
    );
}
