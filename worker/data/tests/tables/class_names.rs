//! Class names that each file carries.

use tempfile::TempDir;

use super::{
    files, load, shown, write,
    writer::{self, Labels},
};
use distilsweep_proto::dataset::{Columns, DatasetSpec, FileFormat};

/// A Parquet file with these ids and the names of its classes.
fn named(directory: &TempDir, file: &str, names: &[&str], ids: &[i64]) -> std::path::PathBuf {
    let path = directory.path().join(file);
    let texts: Vec<String> = (0..ids.len()).map(|i| format!("{file} row {i}")).collect();
    writer::parquet(&path, &texts, &Labels::Integers(ids.iter().map(|id| Some(*id)).collect()), Some(names));
    path
}

#[test]
fn ids_beside_class_names_are_indices_even_of_digits() {
    let directory = TempDir::new().unwrap();
    let train = named(&directory, "train.parquet", &["10", "1", "0"], &[0, 1, 2, 2]);
    let validation = named(&directory, "validation.parquet", &["10", "1", "0"], &[1, 0]);
    let data = load(&files(&train, &validation)).unwrap();
    assert_eq!(data.classes, ["10", "1", "0"]);
    assert_eq!((&data.train.labels[..], &data.validation.labels[..]), (&[0, 1, 2, 2][..], &[1, 0][..]));
    let beyond = named(&directory, "beyond.parquet", &["10", "1", "0"], &[1, 10]);
    let error = load(&files(&beyond, &validation)).unwrap_err();
    insta::assert_snapshot!(shown(&error, directory.path()), @"beyond.parquet row 2: label 10 is no index into the 3 class names of the file, 0 to 2; numbers beside class names are read as indices, not as names");
}

#[test]
fn each_file_s_class_names_count() {
    let directory = TempDir::new().unwrap();
    let train = named(&directory, "train.parquet", &["sun", "rain", "snow"], &[0, 1, 2]);
    let fewer = named(&directory, "fewer.parquet", &["snow", "sun"], &[0, 0, 1]);
    assert_eq!(load(&files(&train, &fewer)).unwrap().validation.labels, [2, 2, 0]);
    let unused = named(&directory, "unused.parquet", &["hail", "rain"], &[1, 1]);
    assert_eq!(load(&files(&train, &unused)).unwrap().validation.labels, [1, 1]);
    let foreign = named(&directory, "foreign.parquet", &["hail", "rain"], &[1, 0]);
    let error = load(&files(&train, &foreign)).unwrap_err();
    insta::assert_snapshot!(shown(&error, directory.path()), @r#"foreign.parquet row 2: unknown label 0 ("hail"); the classes are "sun", "rain", "snow""#);

    let evaluate = |classes: &[&str]| {
        let classes: Vec<String> = classes.iter().map(|name| (*name).to_owned()).collect();
        let rows =
            distilsweep_data::read_labelled(&fewer, &Columns::default(), &FileFormat::default(), &classes);
        rows.map(|rows| rows.split.labels).map_err(|error| shown(&error, directory.path()))
    };
    assert_eq!(evaluate(&["rain", "snow", "sun"]), Ok(vec![1, 1, 2]));
    assert_eq!(evaluate(&["LABEL_0", "LABEL_1"]), Ok(vec![0, 0, 1]));
    insta::assert_snapshot!(evaluate(&["rain", "sun"]).unwrap_err(), @r#"fewer.parquet row 1: unknown label 0 ("snow"); the classes are "rain", "sun""#);
}

#[test]
fn a_second_training_file_is_read_by_its_own_names() {
    let directory = TempDir::new().unwrap();
    let first = named(&directory, "a.parquet", &["sun", "rain"], &[0, 1]);
    let second = named(&directory, "b.parquet", &["rain", "sun"], &[0, 1]);
    let spec = files(&first, &first);
    let distilsweep_proto::dataset::DatasetSource::Files { validation, .. } = spec.source else {
        panic!("files stay files")
    };
    let source = distilsweep_proto::dataset::DatasetSource::Files {
        train: vec![first, second],
        validation,
        test: Vec::new(),
    };
    let data = load(&DatasetSpec::of(source)).unwrap();
    assert_eq!(data.train.labels, [0, 1, 1, 0]);
}

#[test]
fn card_names_describe_ids_of_plain_files() {
    let directory = TempDir::new().unwrap();
    let card = "---\ndataset_info:\n  features:\n  - name: label\n    dtype:\n      class_label:\n        names:\n          \
                '0': '3'\n          '1': '0'\n---\n";
    write(directory.path(), "README.md", card);
    write(directory.path(), "train.csv", "text,label\na,0\nb,1\nc,1\n");
    write(directory.path(), "validation.csv", "text,label\nd,1\ne,0\n");
    let id = directory.path().to_string_lossy().into_owned();
    let source = distilsweep_proto::dataset::DatasetSource::Id { id, config: None, revision: None };
    let data = load(&DatasetSpec::of(source.clone())).unwrap();
    assert_eq!(
        (&data.classes[..], &data.train.labels[..]),
        (&["3".to_owned(), "0".to_owned()][..], &[0, 1, 1][..])
    );
    write(directory.path(), "validation.csv", "text,label\nd,1\ne,3\n");
    let error = load(&DatasetSpec::of(source)).unwrap_err();
    insta::assert_snapshot!(shown(&error, directory.path()), @"validation.csv line 3: label 3 is no index into the 2 class names of the file, 0 to 1; numbers beside class names are read as indices, not as names");
}
