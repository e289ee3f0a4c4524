//! Which files of a directory are read as which split, from the files on disk to the rows.

#![expect(clippy::unwrap_used, reason = "a failing set-up fails the test")]

use std::{fs, os::unix::fs::symlink};

use distilsweep_data::{DataError, Hub, TextDataset, take_in};
use distilsweep_proto::dataset::{DatasetSource, DatasetSpec, SplitChoice};
use tempfile::TempDir;

/// A directory with files of these names. A table has `rows` rows of two classes, and no text is in two files.
fn directory(files: &[&str], rows: usize) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in files {
        let row = |i: usize| (format!("row {i} of {file}"), ["bad", "good"][i % 2]);
        let rows = (0..rows).map(row);
        let content = match file.rsplit('.').next().unwrap() {
            "csv" => {
                rows.fold("text,label\n".to_owned(), |all, (text, label)| format!("{all}{text},{label}\n"))
            }
            "jsonl" => rows.fold(String::new(), |all, (text, label)| {
                format!("{all}{{\"text\": \"{text}\", \"label\": \"{label}\"}}\n")
            }),
            _ => format!("text of {file}\n"),
        };
        write(&directory, file, &content);
    }
    directory
}

fn write(directory: &TempDir, file: &str, content: &str) {
    let path = directory.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn spec(directory: &TempDir) -> DatasetSpec {
    of_id(&directory.path().to_string_lossy())
}

fn of_id(id: &str) -> DatasetSpec {
    DatasetSpec::of(DatasetSource::Id { id: id.to_owned(), config: None, revision: None })
}

fn load(spec: &DatasetSpec) -> Result<TextDataset, DataError> {
    distilsweep_data::load(&Hub::from_environment(), spec)
}

/// Rows of the splits with the notes on layout, or the error.
fn shown(directory: &TempDir, spec: &DatasetSpec) -> String {
    let shown = match load(spec) {
        Ok(data) => {
            let test = data.test.as_ref().map_or(0, |test| test.len());
            // How rows are cut, and how many a class has, is another matter.
            let is_of_rows = |note: &str| {
                note.starts_with("there is no validation split") || note.starts_with("fewer than")
            };
            let notes = data.notes.iter().filter(|note| !is_of_rows(note));
            let notes: String = notes.map(|note| format!("\n  {note}")).collect();
            format!("{} + {} rows{notes}", data.train.len() + data.validation.len(), test)
        }
        Err(error) => error.to_string(),
    };
    shown.replace(&*directory.path().to_string_lossy(), "DIR")
}

fn layout(files: &[&str]) -> String {
    let directory = directory(files, 20);
    shown(&directory, &spec(&directory))
}

#[test]
fn plain_names_are_read_without_a_note() {
    assert_eq!(layout(&["train.csv", "validation.csv", "test.csv"]), "40 + 20 rows");
    assert_eq!(
        layout(&["training/a.csv", "val_1.jsonl", "testing.jsonl"]).lines().next(),
        Some("40 + 20 rows")
    );
}

#[test]
fn numbered_files_and_other_names_are_noted() {
    insta::assert_snapshot!(
        [
            layout(&["train_a1.csv", "train_a02.csv", "dev.csv"]),
            layout(&["train.csv", "holdout.csv", "rest.csv"]),
            layout(&["train.csv", "dev.csv", "eval.csv", "en/train.csv"]),
        ]
        .join("\n"),
        @r#"
    60 + 0 rows
      "dev.csv" is used as the validation split; `splits:` chooses another
      2 files are read as the train split: "train_a02.csv", "train_a1.csv"; `splits: {train: NAME}` or `train: [..]` chooses
    40 + 0 rows
      "holdout.csv" is used as the validation split; `splits:` chooses another
      not used: "rest.csv"; `splits: {train: NAME, ..}` chooses other splits or files
    40 + 0 rows
      the files at the top are used; `config:` chooses another: "en"
      "dev.csv" is used as the validation split; `splits:` chooses another
      not used: "eval.csv"; `splits: {train: NAME, ..}` chooses other splits or files
    "#
    );
}

#[test]
fn rows_in_two_formats_are_rejected_with_a_choice() {
    let directory = directory(&["train.csv", "train.jsonl", "dev.csv"], 20);
    let mut chosen = spec(&directory);
    let rejected = shown(&directory, &chosen);
    chosen.splits.train = SplitChoice::Named("train.jsonl".to_owned());
    insta::assert_snapshot!([rejected, shown(&directory, &chosen)].join("\n"), @r#"
    DIR cannot be used as a data set: the train split may have the same rows twice, in "train.csv" and "train.jsonl": keep one file or format, or choose one with `splits: {train: train.csv}`
    40 + 0 rows
      "dev.csv" is used as the validation split; `splits:` chooses another
    "#);
}

#[test]
fn splits_of_a_card_are_chosen_by_name() {
    let directory = directory(&["a.csv", "b.csv", "c.csv", "d.csv"], 20);
    let split = |name: &str, file: &str| format!("  - split: {name}\n    path: {file}.csv\n");
    let splits = [("train", "a"), ("validation_near", "b"), ("validation_far", "c"), ("test", "d")];
    let splits: String = splits.iter().map(|(name, file)| split(name, file)).collect();
    write(&directory, "README.md", &format!("---\nconfigs:\n- data_files:\n{splits}---\n"));
    let mut chosen = spec(&directory);
    let ambiguous = shown(&directory, &chosen);
    chosen.splits.validation = SplitChoice::Named("validation_far".to_owned());
    chosen.splits.test = SplitChoice::LeftOut;
    let far = load(&chosen).unwrap();
    assert_eq!(far.validation.texts[0], "row 0 of c.csv");
    let named = shown(&directory, &chosen);
    chosen.splits.validation = SplitChoice::Named("far".to_owned());
    insta::assert_snapshot!([ambiguous, named, shown(&directory, &chosen)].join("\n"), @r#"
    DIR cannot be used as a data set: any of "validation_far", "validation_near" could be the validation split: choose one with `splits: {validation: validation_far}`, or leave the role out with null
    40 + 0 rows
    DIR cannot be used as a data set: there is no split "far"; there are "test", "train", "validation_far", "validation_near"
    "#);
}

#[test]
fn hidden_copies_and_links_are_read_once() {
    let directory = directory(&["en/train.csv", "en/.cache/train.csv"], 20);
    symlink("..", directory.path().join("en/up")).unwrap();
    symlink(".", directory.path().join("again")).unwrap();
    assert_eq!(shown(&directory, &spec(&directory)), "20 + 0 rows");
}

#[test]
fn a_folder_of_texts_per_class_is_read() {
    let names = |split: &str| -> Vec<String> {
        let of = |class: &str| (0..12).map(move |i| format!("{split}{class}/{i}_7.txt")).collect::<Vec<_>>();
        [of("like"), of("dislike")].concat()
    };
    let files =
        [names("train/"), names("test/"), vec!["train/unsup/1.txt".into(), "train/urls.txt".into()]].concat();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let split = directory(&files, 0);
    let whole = names("");
    let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
    let data = load(&spec(&split)).unwrap();
    assert_eq!(data.classes, ["dislike", "like"]);
    assert!(data.train.texts.contains(&"text of train/like/3_7.txt".to_owned()));
    insta::assert_snapshot!([shown(&split, &spec(&split)), layout(&whole)].join("\n"), @r#"
    24 + 24 rows
      each text file is a row with its folder as label: "dislike", "like"
      not read: "train/urls.txt", "train/unsup/"
    24 + 0 rows
      each text file is a row with its folder as label: "dislike", "like"
    "#);

    fs::write(split.path().join("test/like/4_7.txt"), " ").unwrap();
    insta::assert_snapshot!(shown(&split, &spec(&split)), @r#"DIR/test/like/4_7.txt line 1: the text (column "text") is empty; fill it or remove the row"#);
}

#[test]
fn texts_of_a_split_have_one_fingerprint() {
    let files: Vec<String> = (0..40).map(|i| format!("train/{}/{i}.txt", ["no", "yes"][i % 2])).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let directory = directory(&files, 0);
    let model = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        write(&model, file, "{}");
    }
    fs::copy("tests/fixtures/tokenizer/tokenizer.json", model.path().join("tokenizer.json")).unwrap();
    let fingerprint = || {
        let model = model.path().to_string_lossy().into_owned();
        let taken = take_in(&Hub::from_environment(), (&model, None), &spec(&directory), false).unwrap();
        let [one] = &taken.resources[1].files[..] else { panic!("one split") };
        (one.path.clone(), one.bytes, one.sha256.clone())
    };
    let first = fingerprint();
    assert_eq!((first.0.as_str(), first.1), ("train/**.txt", 970));
    assert_eq!(fingerprint(), first);
    fs::rename(directory.path().join("train/no/0.txt"), directory.path().join("train/yes/0.txt")).unwrap();
    let moved = fingerprint();
    assert_eq!((moved.1, moved.2 == first.2), (first.1, false));
}

#[test]
fn directories_of_save_to_disk_are_rejected_with_instructions() {
    let saved = ["train", "dev"].map(|split| {
        ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"].map(|file| format!("{split}/{file}"))
    });
    let files: Vec<&str> = saved.iter().flatten().map(String::as_str).chain(["dataset_dict.json"]).collect();
    insta::assert_snapshot!(layout(&files), @r#"DIR cannot be used as a data set: it holds Arrow files, as save_to_disk of the datasets library writes them: they are not read; write Parquet files with ds = datasets.load_from_disk(..) and ds["dev"].to_parquet("dev.parquet"), ds["train"].to_parquet("train.parquet")"#);
}

#[test]
fn a_file_is_a_data_set_and_its_splits_are_cut() {
    let directory = directory(&["rows.csv"], 40);
    let file = directory.path().join("rows.csv");
    let mut of_file = of_id(&file.to_string_lossy());
    assert_eq!(shown(&directory, &of_file), "40 + 0 rows");
    of_file.splits.test = SplitChoice::LeftOut;
    insta::assert_snapshot!(
        [
            shown(&directory, &of_file),
            shown(&directory, &of_id("./rows.csv")),
            shown(&directory, &of_id("rows.csv")),
            shown(&directory, &of_id("a/b/c.csv")),
        ]
        .join("\n"),
        @"
    DIR/rows.csv is one file, it has neither configurations nor splits: remove `config:` and `splits:`, or name files with `train:`, `validation:` and `test:`
    ./rows.csv does not exist: it must be a file, a directory or an id of the Hub (owner/name)
    rows.csv does not exist: it must be a file, a directory or an id of the Hub (owner/name)
    a/b/c.csv does not exist: it must be a file, a directory or an id of the Hub (owner/name)
    "
    );
}
