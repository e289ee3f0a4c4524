use super::*;

fn candidates(splits: &[(&str, &[&str])], origin: Origin) -> Candidates {
    let mut candidates = Candidates::default();
    for (name, files) in splits {
        files.iter().for_each(|file| candidates.add(name, origin, file));
    }
    candidates
}

fn shown(candidates: &Candidates, selection: &SplitSelection) -> String {
    match select(candidates, selection) {
        Ok(Selected { splits: Splits { train, validation, test }, notes, unused }) => format!(
            "{} | {} | {} | unused: {}{}",
            train.join(" "),
            validation.join(" "),
            test.join(" "),
            if unused.is_empty() { "none".to_owned() } else { unused.join(" ") },
            notes.iter().map(|note| format!("\n  {note}")).collect::<String>()
        ),
        Err(problem) => problem,
    }
}

fn choices(train: &str, validation: &str, test: &str) -> SplitSelection {
    let choice = |name: &str| match name {
        "" => SplitChoice::Detected,
        "-" => SplitChoice::LeftOut,
        name => SplitChoice::Named(name.to_owned()),
    };
    SplitSelection { train: choice(train), validation: choice(validation), test: choice(test) }
}

const MNLI: [(&str, &[&str]); 5] = [
    ("train", &["a.csv"]),
    ("validation_matched", &["b.csv"]),
    ("validation_mismatched", &["c.csv"]),
    ("test_matched", &["d.csv"]),
    ("test_mismatched", &["e.csv"]),
];

#[test]
fn splits_that_are_named_are_taken_and_others_left_out() {
    let mnli = candidates(&MNLI, Origin::Card);
    let imdb = [("train", &["a.csv"][..]), ("test", &["b.csv"]), ("unsupervised", &["c.csv"])];
    let imdb = candidates(&imdb, Origin::Card);
    insta::assert_snapshot!(
        [
            shown(&mnli, &choices("", "validation_matched", "-")),
            shown(&mnli, &choices("", "validation_matched", "validation_mismatched")),
            shown(&imdb, &choices("", "test", "")),
            shown(&imdb, &choices("unsupervised", "train", "")),
            shown(&imdb, &choices("", "", "-")),
        ]
        .join("\n"),
        @"
    a.csv | b.csv |  | unused: none
    a.csv | b.csv | c.csv | unused: none
    a.csv | b.csv |  | unused: unsupervised
    c.csv | a.csv | b.csv | unused: none
    a.csv |  |  | unused: unsupervised
    "
    );
}

#[test]
fn splits_that_cannot_be_chosen_are_named() {
    let mnli = candidates(&MNLI, Origin::Card);
    let overlap = [("train", &["a.csv", "b.csv"][..]), ("dev", &["b.csv"])];
    insta::assert_snapshot!(
        [
            shown(&mnli, &choices("", "", "-")),
            shown(&mnli, &choices("", "matched", "-")),
            shown(&mnli, &choices("", "test_matched", "test_matched")),
            shown(&candidates(&overlap, Origin::Card), &choices("", "", "")),
        ]
        .join("\n"),
        @r#"
    any of "validation_matched", "validation_mismatched" could be the validation split: choose one with `splits: {validation: validation_matched}`, or leave the role out with null
    there is no split "matched"; there are "test_matched", "test_mismatched", "train", "validation_matched", "validation_mismatched"
    `splits` uses "test_matched" for two roles: name two splits, or leave one out with null
    "b.csv" is in both the train and the validation split: name two splits with `splits:`, or leave one out with null
    "#
    );
}

#[test]
fn the_better_known_name_is_used_and_others_noted() {
    let of = |names: &[&str]| {
        let files: Vec<String> = names.iter().map(|name| format!("{name}.csv")).collect();
        let mut candidates = candidates(&[], Origin::Names);
        names.iter().zip(&files).for_each(|(name, file)| candidates.add(name, Origin::Names, file));
        shown(&candidates, &SplitSelection::default())
    };
    insta::assert_snapshot!(
        [
            of(&["train", "validation", "test"]),
            of(&["train", "dev", "eval", "holdout"]),
            of(&["train", "eval", "validation_small", "testing"]),
            of(&["train", "train_full", "full"]),
            of(&["train", "dev", "val"]),
            of(&["train_en", "train_de"]),
        ]
        .join("\n"),
        @r#"
    train.csv | validation.csv | test.csv | unused: none
    train.csv | dev.csv |  | unused: eval.csv holdout.csv
      "dev.csv" is used as the validation split; `splits:` chooses another
    train.csv | eval.csv | testing.csv | unused: validation_small.csv
      "eval.csv" is used as the validation split; `splits:` chooses another
    train.csv |  |  | unused: full.csv train_full.csv
    any of "dev.csv", "val.csv" could be the validation split: choose one with `splits: {validation: dev}`, or leave the role out with null
    any of "train_de.csv", "train_en.csv" could be the train split: choose one with `splits: {train: train_de}`, or name the files with `train: [..]`
    "#
    );
}

#[test]
fn files_of_a_split_are_counted_and_their_formats_compared() {
    let train =
        |files: &[&str]| shown(&candidates(&[("train", files)], Origin::Names), &SplitSelection::default());
    let choose =
        |files: &[&str], name| shown(&candidates(&[("train", files)], Origin::Names), &choices(name, "", ""));
    insta::assert_snapshot!(
        [
            train(&["train1.csv", "train2.csv"]),
            train(&["train/0000.parquet", "train/0001.parquet"]),
            train(&["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"]),
            train(&["x/train.csv", "x/train.jsonl"]),
            train(&["train.csv", "train.csv.gz"]),
            train(&["train.csv", "train-00000-of-00001.parquet"]),
            train(&["train1.json", "train2.jsonl"]),
            train(&["train-00000-of-00001-ab.csv", "train-00000-of-00001-cd.csv"]),
            train(&["train-00000-of-00001.csv", "train-00000-of-00002.csv", "train-00001-of-00002.csv"]),
            choose(&["x/train.csv", "x/train.jsonl"], "train.csv"),
            choose(&["train.csv", "train2.csv"], "train2"),
        ]
        .join("\n"),
        @r#"
    train1.csv train2.csv |  |  | unused: none
      2 files are read as the train split: "train1.csv", "train2.csv"; `splits: {train: NAME}` or `train: [..]` chooses
    train/0000.parquet train/0001.parquet |  |  | unused: none
    train-00000-of-00003.parquet train-00002-of-00003.parquet |  |  | unused: none
      only 2 of the 3 files of "train" are there for the train split
    the train split may have the same rows twice, in "x/train.csv" and "x/train.jsonl": keep one file or format, or choose one with `splits: {train: x/train.csv}`
    the train split may have the same rows twice, in "train.csv" and "train.csv.gz": keep one file or format, or choose one with `splits: {train: train.csv}`
    the train split may have the same rows twice, in "train.csv" and "train-00000-of-00001.parquet": keep one file or format, or choose one with `splits: {train: train.csv}`
    train1.json train2.jsonl |  |  | unused: none
      2 files are read as the train split: "train1.json", "train2.jsonl"; `splits: {train: NAME}` or `train: [..]` chooses
    the train split may have the same rows twice, in "train-00000-of-00001-ab.csv" and "train-00000-of-00001-cd.csv": keep one file or format, or choose one with `splits: {train: train-00000-of-00001-ab.csv}`
    the train split may have the same rows twice, in "train-00000-of-00001.csv" and "train-00000-of-00002.csv": keep one file or format, or choose one with `splits: {train: train-00000-of-00001.csv}`
    x/train.csv |  |  | unused: none
    train2.csv |  |  | unused: none
    "#
    );
}
