//! The `dataset` of a sweep file: what it may be, and the wording of every problem.

use std::path::PathBuf;

use distilsweep_proto::dataset::{
    DatasetSpec, FileFormat, Labels, LimitOrder, Limits, SplitChoice, SplitSelection,
};

use super::*;

/// A data set of each kind, with all keys among them.
pub(super) const GOOD_DATASETS: [&str; 9] = [
    "rows.csv",
    "{train: [a.csv, b.csv], validation: null, test: [c.csv]}",
    "{id: d, config: c, revision: r, splits: {train: train, validation: matched, test: null}}",
    "{train: t.csv, text: t, text_pair: u, label: l, labels: {1: bad, 2: bad, 3: good}, drop_missing: true}",
    "{train: t.csv, labels: [a, b], limit: {train: 5, validation: 6, test: 7, order: first}}",
    "{train: t.csv, separator: ';', encoding: latin-1, header: false, columns: [label, text]}",
    "{train: t.csv, header: true}",
    "{train: t.json, field: data}",
    "{train: t.csv, limit: {test: 7, order: stratified}}",
];

/// Data sets that the parser and the schema refuse.
pub(super) const WRONG_BY_SCHEMA: [&str; 17] = [
    "[a]",
    "{}",
    "{id: d, train: t.csv}",
    "{validation: v.csv}",
    "{train: null}",
    "{train: []}",
    "{train: t.csv, splits: {test: null}}",
    "{id: d, splits: {train: null}}",
    "{id: d, splits: {dev: x}}",
    "{train: t.csv, labels: {1: bad}}",
    "{train: t.csv, limit: {order: first}}",
    "{train: t.csv, limit: {train: 5, order: last}}",
    "{train: t.csv, drop_missing: 1}",
    "{train: t.csv, header: false}",
    "{train: t.csv, columns: [a, b]}",
    "{train: t.csv, header: true, columns: [a, b]}",
    "{train: t.csv, sep: ';'}",
];

fn dataset(value: &str) -> DatasetSpec {
    good(&GOOD.replace("{train: train.csv, validation: validation.csv}", value)).dataset
}

/// The problems of a data set, without the file's name.
fn wrong<const N: usize>(values: [&str; N]) -> String {
    values.map(|value| with("dataset", &format!("dataset: {value}"))).join("\n").replace("sweep.yaml:", "")
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(value, class)| ((*value).to_owned(), (*class).to_owned())).collect()
}

#[test]
fn file_is_a_data_set_by_its_extension() {
    for file in ["rows.csv", "./a/ROWS.CSV", "~/x.tsv.gz", "x.parquet", "y.jsonl", "z.json", "v1@2.csv"] {
        assert_eq!(dataset(file), DatasetSpec::of(DatasetSource::file(file.into())));
        assert_eq!(dataset(&format!("{{id: {file}}}")), dataset(file));
    }
    for id in ["dair-ai/emotion", "./rows.csv/", "org/data.v2", "../data"] {
        assert!(matches!(dataset(id).source, DatasetSource::Id { .. }), "{id}");
    }
    let rebased = good(&GOOD.replace("{train: train.csv, validation: validation.csv}", "rows.csv"))
        .with_base(std::path::Path::new("/base"), None);
    assert_eq!(rebased.dataset.source, DatasetSource::file("/base/rows.csv".into()));
}

#[test]
fn split_may_have_several_files_or_none() {
    let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
    let several = dataset("{train: [a.csv, b.csv], validation: null, test: [c.csv]}");
    let expected = DatasetSource::Files {
        train: paths(&["a.csv", "b.csv"]),
        validation: Vec::new(),
        test: paths(&["c.csv"]),
    };
    assert_eq!(several.source, expected);
    insta::assert_snapshot!(wrong([
        "[a, b]",
        "{}",
        "{validation: v.csv}",
        "{train: null}",
        "{train: []}",
        "{train: {a: b}}",
        "{train: [a.csv, a.csv]}",
        "{train: [[a.csv]]}",
        "{id: d, train: t.csv}",
        "{id: d, test: null}",
        "{train: t.csv, config: c, revision: r}",
        "{id: d.csv, config: c}",
        "{id: d@v1, revision: v2}",
    ]), @r#"
    3:10: `dataset` is a list, it must be a Hub id, a directory, a file, or a mapping with `id` or `train`
    3:1: `dataset` needs `id` (a Hub id or directory) or `train` (files)
    3:1: missing key `train` in `dataset`: the files with the rows to train on
    3:18: `train` is empty, it must be the path of a file, or a list of paths
    3:18: `train` is an empty list, name at least one file
    3:18: `train` is a mapping, it must be the path of a file, or a list of paths
    3:26: `train` lists "a.csv" twice, keep one
    3:19: `train` is a list, it must be a list of paths
    3:11: `dataset` has `id` and `train`, keep the id or the files; `splits: {train: NAME}` chooses a split of an id
    3:11: `dataset` has `id` and `test`, keep the id or the files; `splits: {test: NAME}` chooses a split of an id
    3:25: `config` belongs to a dataset with `id`, files have none: remove it
    3:36: `revision` belongs to a dataset with `id`, files have none: remove it
    3:22: `config` belongs to a dataset with `id`, files have none: remove it
    3:21: the revision is also part of `id: d@v1`, keep one
    "#);
}

#[test]
fn splits_of_an_id_are_chosen_by_name_or_left_out() {
    let chosen = dataset("{id: glue, config: mnli, splits: {validation: validation_matched, test: null}}");
    let expected = SplitSelection {
        train: SplitChoice::Detected,
        validation: SplitChoice::Named("validation_matched".to_owned()),
        test: SplitChoice::LeftOut,
    };
    assert_eq!(chosen.splits, expected);
    assert_eq!(dataset("dair-ai/emotion").splits, SplitSelection::default());
    insta::assert_snapshot!(wrong([
        "{train: t.csv, splits: {test: null}}",
        "{id: t.csv, splits: {test: null}}",
        "{id: d, splits: validation}",
        "{id: d, splits: {train: null}}",
        "{id: d, splits: {dev: matched, validation: [a]}}",
        "{id: d, splits: {train: all, validation: all}}",
    ]), @r#"
    3:25: `splits` chooses among the splits of a dataset with `id`: remove it, files are named by `train`, `validation` and `test`
    3:22: `splits` chooses among the splits of a dataset with `id`: remove it, files are named by `train`, `validation` and `test`
    3:26: `splits` is "validation", it must be a mapping of roles to split names: {train: NAME, validation: NAME, test: null}
    3:34: `train` is empty, it must be the name of a split
    3:27: unknown key `dev` in `splits`, known are train, validation, test
    3:53: `validation` is a list, it must be the name of a split, or null to leave it out
    3:51: `validation` and `train` of `splits` are both "all", name two splits
    "#);
}

#[test]
fn labels_map_values_as_written_to_classes_in_order() {
    let labels = |labels: &str| dataset(&format!("{{train: t.csv, labels: {labels}}}")).labels;
    let stars = labels("{1: bad, 2: bad, 5: good}");
    assert_eq!(stars, Labels::Values(pairs(&[("1", "bad"), ("2", "bad"), ("5", "good")])));
    assert_eq!(stars.names(), ["bad", "good"]);
    let odd = labels("{-1: no, 1.0: yes, true: on, null: none, ' x ': ' y ', '007': bond}");
    let expected =
        [("-1", "no"), ("1.0", "yes"), ("true", "on"), ("null", "none"), ("x", "y"), ("007", "bond")];
    assert_eq!(odd, Labels::Values(pairs(&expected)));
    assert_eq!(labels("[b, a, 2, None]").names(), ["b", "a", "2", "None"]);
    insta::assert_snapshot!(wrong([
        "{train: t.csv, labels: negative}",
        "{train: t.csv, labels: [a]}",
        "{train: t.csv, labels: [a, ' a', [b], null]}",
        "{train: t.csv, labels: {1: bad}}",
        "{train: t.csv, labels: {1: bad, 2: bad}}",
        "{train: t.csv, labels: {1: bad, 1.0: good, 2: good}}",
        "{train: t.csv, labels: {1: bad, 1: good, 2: good}}",
        "{train: t.csv, labels: {'': bad, 1: [good], 2: a, 3: b}}",
    ]), @r#"
    3:33: `labels` is "negative", it must be a list of class names in class order, or a mapping of label values to class names: {1: bad, 2: good}
    3:33: `labels` must name at least 2 classes, it names 1
    3:37: `labels` names "a" twice, classes differ in name
    3:43: `labels` is a list, it must be a list of class names
    3:48: `labels` is empty, it must be a list of class names
    3:33: `labels` must name at least 2 classes, it names 1
    3:33: `labels` must name at least 2 classes, it names 1
    3:42: `labels` maps "1" and "1.0", which are one value
    3:42: `1` stands here again, it is set at line 3: keep one
    3:34: `labels` has an empty key: rows without a label are dropped by `drop_missing: true`
    3:46: `1` is a list, it must be a class name, so that `labels` maps values to classes
    "#);
}

#[test]
fn rows_are_dropped_and_limited_on_request() {
    let given = dataset("{train: t.csv, drop_missing: true, limit: {train: 9, validation: 5, order: first}}");
    let limit = Limits { train: Some(9), validation: Some(5), test: None, order: LimitOrder::First };
    assert_eq!((given.drop_missing, given.limit), (true, limit));
    let limit = dataset("{train: t.csv, limit: {test: 7}}").limit;
    assert_eq!((limit.test, limit.order), (Some(7), LimitOrder::Stratified));
    assert!(!dataset("{train: t.csv, drop_missing: false}").drop_missing);
    insta::assert_snapshot!(wrong([
        "{train: t.csv, drop_missing: 1}",
        "{train: t.csv, limit: 100}",
        "{train: t.csv, limit: {train: 0, valid: 5}}",
        "{train: t.csv, limit: {train: 5, order: last}}",
        "{train: t.csv, limit: {train: 5, order: [first]}}",
        "{train: t.csv, limit: {order: first}}",
    ]), @r#"
    3:39: `drop_missing` is 1, it must be true or false
    3:32: `limit` is 100, it must be a mapping of splits to rows used: {train: N, validation: N, test: N, order: stratified}
    3:40: `train` is 0, it must be a whole number of at least 1
    3:43: unknown key `valid` in `limit`, did you mean `validation`?
    3:50: `order` is "last", it must be stratified (every class keeps its share) or first (the first rows)
    3:50: `order` is a list, it must be stratified (every class keeps its share) or first (the first rows)
    3:33: `order` of `limit` has nothing to order, name a number of rows: {validation: 800, order: first}
    "#);
}

#[test]
fn text_files_are_read_by_separator_encoding_and_columns() {
    let format = |keys: &str| dataset(&format!("{{train: t.csv, {keys}}}")).format;
    for (written, separator) in
        [("';'", ';'), ("'|'", '|'), ("\"\\t\"", '\t'), ("'\\t'", '\t'), ("tab", '\t'), ("' '", ' ')]
    {
        assert_eq!(format(&format!("separator: {written}")).separator, Some(separator), "{written}");
    }
    assert_eq!(format("encoding: cp1252").encoding.as_deref(), Some("windows-1252"));
    assert_eq!(format("field: data").field.as_deref(), Some("data"));
    let columns = vec!["label".to_owned(), "text".to_owned()];
    let headless = FileFormat { columns, ..FileFormat::default() };
    assert_eq!(format("header: false, columns: [label, text]"), headless);
    assert_eq!(format("header: true"), FileFormat::default());
    insta::assert_snapshot!(wrong([
        "{train: t.csv, separator: }",
        "{train: t.csv, separator: ''}",
        "{train: t.csv, separator: '::'}",
        "{train: t.csv, separator: [a]}",
        "{train: t.csv, encoding: utf-9}",
        "{train: t.csv, encoding: }",
        "{train: t.csv, header: 0, columns: [a]}",
        "{train: t.csv, header: false}",
        "{train: t.csv, columns: [a, b]}",
        "{train: t.csv, header: true, columns: [a, b]}",
        "{train: t.csv, header: false, columns: a}",
        "{train: t.csv, header: false, columns: []}",
        "{train: t.csv, header: false, columns: [a, a, [b]]}",
        "{train: t.csv, field: [a]}",
    ]), @r#"
    3:34: `separator` is empty, it must be one character such as `;`, `|` or a tab, in quotes
    3:36: `separator` is "", it must be one character such as `;`, `|` or a tab
    3:36: `separator` is "::", it must be one character such as `;`, `|` or a tab
    3:36: `separator` is a list, it must be one character such as `;`, `|` or a tab
    3:35: `encoding` is "utf-9", it must be an encoding such as utf-8, utf-16, latin-1 or cp1252
    3:33: `encoding` is empty, it must be a text
    3:33: `header` is 0, it must be true or false
    3:25: `header: false` needs `columns`, the column names in order: `columns: [label, text]`
    3:25: `columns` names the columns of files without a header line, add `header: false`; `text` and `label` choose columns of a header
    3:39: `columns` contradicts `header: true`, remove one of them
    3:49: `columns` is "a", it must be a list of column names in their order: [label, text]
    3:49: `columns` is an empty list, it must be a list of column names in their order: [label, text]
    3:53: `columns` names "a" twice, keep one
    3:56: `columns` is a list, it must be a list of column names in their order: [label, text]
    3:32: `field` is a list, it must be a text
    "#);
}

#[test]
fn keys_of_datasets_and_pandas_name_the_key_here() {
    insta::assert_snapshot!(wrong([
        "{path: d}",
        "{id: d, name: c, data_dir: x, split: test}",
        "{train: t.csv, sep: ';', names: [a], dropna: true}",
        "{train: t.csv, delimiter: ';', skip_missing: true}",
        "{train: t.csv, colour: blue, lables: [a, b]}",
    ]), @"
    3:11: `path` is written `id` (a Hub id or directory) or `train`, `validation`, `test` (files) here
    3:18: `name` is written `config` here
    3:27: `data_dir` is no key here: name the directory with `id`, and its splits with `splits`
    3:40: `split` is written `splits` here: `splits: {validation: NAME, test: null}`
    3:25: `sep` is written `separator` here
    3:35: `names` is written `columns` here, with `header: false`
    3:47: `dropna` is written `drop_missing: true` here
    3:25: `delimiter` is written `separator` here
    3:41: `skip_missing` is written `drop_missing: true` here
    3:25: unknown key `colour` in `dataset`, known are id, train, validation, test, config, revision, splits, text, text_pair, label, labels, drop_missing, limit, separator, encoding, header, columns, field
    3:39: unknown key `lables` in `dataset`, did you mean `labels`?
    ");
}

#[test]
fn every_key_of_a_data_set_is_part_of_the_digest() {
    let digest = |dataset: &str| {
        good(&GOOD.replace("{train: train.csv, validation: validation.csv}", dataset)).digest()
    };
    let files = [
        "{train: a.csv}",
        "{train: [a.csv, b.csv]}",
        "{train: a.csv, labels: [x, y]}",
        "{train: a.csv, labels: {x: x, y: y}}",
        "{train: a.csv, drop_missing: true}",
        "{train: a.csv, limit: {train: 5}}",
        "{train: a.csv, limit: {train: 5, order: first}}",
        "{train: a.csv, separator: ';'}",
        "{train: a.csv, encoding: latin-1}",
        "{train: a.csv, header: false, columns: [a, b]}",
        "{train: a.csv, field: data}",
        "{id: a, splits: {test: null}}",
        "{id: a, splits: {test: b}}",
        "{id: a}",
    ];
    let different: std::collections::BTreeSet<String> = files.iter().map(|file| digest(file)).collect();
    assert_eq!(different.len(), files.len());
    assert_eq!(
        digest("a.csv"),
        digest("{train: a.csv, validation: null, drop_missing: false, header: true}")
    );
}
