//! Which files of a directory or repository are which split.
//!
//! Laid out as the Hub's data sets are: the split's name in the file's name or that of its folder, a configuration's
//! files in a folder of its name.

use std::{collections::BTreeMap, path::Path};

use crate::{DataError, rows::is_readable};

/// The files of each split, by their paths relative to the repository, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Splits {
    pub(crate) train: Vec<String>,
    pub(crate) validation: Vec<String>,
    pub(crate) test: Vec<String>,
}

/// Sorts files to splits. Says what was chosen where nobody said.
pub(crate) fn choose(files: &[String], config: Option<&str>) -> Result<(Splits, Vec<String>), String> {
    let mut folders: BTreeMap<&str, Splits> = BTreeMap::new();
    for file in files.iter().filter(|file| is_readable(file.as_ref())) {
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        let by_folder = || {
            let (parent, last) = folder.rsplit_once('/').unwrap_or(("", folder));
            split_of(last).map(|kind| (parent, kind))
        };
        let Some((folder, kind)) = split_of(name).map(|kind| (folder, kind)).or_else(by_folder) else {
            continue;
        };
        let splits = folders.entry(folder).or_default();
        match kind {
            Kind::Train => splits.train.push(file.clone()),
            Kind::Validation => splits.validation.push(file.clone()),
            Kind::Test => splits.test.push(file.clone()),
        }
    }
    folders.retain(|_, splits| !splits.train.is_empty());
    for splits in folders.values_mut() {
        splits.train.sort();
        splits.validation.sort();
        splits.test.sort();
    }
    let names = folders.keys().filter(|name| !name.is_empty()).copied().collect::<Vec<_>>().join(", ");
    if let Some(config) = config {
        return match folders.remove(config) {
            Some(splits) => Ok((splits, Vec::new())),
            None if names.is_empty() => Err(format!("there is no configuration \"{config}\", and no other")),
            None => Err(format!("there is no configuration \"{config}\"; there are {names}")),
        };
    }
    for usual in ["", "data", "default"] {
        if let Some(splits) = folders.remove(usual) {
            return Ok((splits, Vec::new()));
        }
    }
    let complete = |splits: &Splits| !splits.validation.is_empty() && !splits.test.is_empty();
    let with_all = folders.iter().filter(|(_, splits)| complete(splits)).count();
    match folders.len() {
        0 => Err("there is no file of training rows; its name must contain \"train\" and end in .parquet, .csv, .tsv \
                  or .jsonl"
            .to_owned()),
        1 => Ok((folders.into_values().next().unwrap_or_default(), Vec::new())),
        _ if with_all == 1 => {
            let chosen = folders.into_iter().find(|(_, splits)| complete(splits));
            let (name, splits) = chosen.unwrap_or_default();
            Ok((splits, vec![format!("configuration \"{name}\" was chosen out of {names}: it has all three splits")]))
        }
        _ => Err(format!("there are several configurations; `config:` must name one of {names}")),
    }
}

enum Kind {
    Train,
    Validation,
    Test,
}

/// The split that a file's name tells, by its words: "train-00000-of-00001.parquet", "dev.csv".
fn split_of(name: &str) -> Option<Kind> {
    name.to_ascii_lowercase().split(|c: char| !c.is_ascii_alphanumeric()).find_map(|word| match word {
        "train" | "training" => Some(Kind::Train),
        "validation" | "valid" | "val" | "dev" => Some(Kind::Validation),
        "test" | "testing" => Some(Kind::Test),
        _ => None,
    })
}

/// All files below a directory, relative to it, with `/` between folders, sorted.
pub(crate) fn list(directory: &Path) -> Result<Vec<String>, DataError> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        let unreadable = |source| DataError::Io { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(relative) = path.strip_prefix(directory) {
                let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
                found.push(parts.join("/"));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str], config: Option<&str>) -> String {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        match choose(&files, config) {
            Ok((splits, notes)) => format!(
                "{} | {} | {} | {}.",
                splits.train.join(" "),
                splits.validation.join(" "),
                splits.test.join(" "),
                notes.join(" ")
            ),
            Err(problem) => problem,
        }
    }

    const EMOTION: [&str; 6] = [
        ".gitattributes",
        "README.md",
        "split/test-00000-of-00001.parquet",
        "split/train-00000-of-00001.parquet",
        "split/validation-00000-of-00001.parquet",
        "unsplit/train-00000-of-00001.parquet",
    ];

    #[test]
    fn files_are_sorted_to_splits_by_name_and_folder() {
        insta::assert_snapshot!(
            [
                chosen(&EMOTION, None),
                chosen(&EMOTION, Some("unsplit")),
                chosen(&["test.csv", "train.csv", "dev.csv", "train_notes.txt"], None),
                chosen(&["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet"], None),
                chosen(&["en/train.jsonl", "en/valid.jsonl"], None),
                chosen(&["default/train/0000.parquet", "default/test/0000.parquet"], None),
                chosen(&["train/a.csv", "train/b.csv", "dev/a.csv"], None),
            ]
            .join("\n"),
            @r#"
        split/train-00000-of-00001.parquet | split/validation-00000-of-00001.parquet | split/test-00000-of-00001.parquet | configuration "split" was chosen out of split, unsplit: it has all three splits.
        unsplit/train-00000-of-00001.parquet |  |  | .
        train.csv | dev.csv | test.csv | .
        data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet |  |  | .
        en/train.jsonl | en/valid.jsonl |  | .
        default/train/0000.parquet |  | default/test/0000.parquet | .
        train/a.csv train/b.csv | dev/a.csv |  | .
        "#
        );
    }

    #[test]
    fn what_cannot_be_chosen_is_asked_for() {
        insta::assert_snapshot!(
            [
                chosen(&EMOTION, Some("splitt")),
                chosen(&["de/train.csv", "en/train.csv"], None),
                chosen(&["README.md", "rows.csv"], None),
                chosen(&["train.csv"], Some("en")),
            ]
            .join("\n"),
            @r#"
        there is no configuration "splitt"; there are split, unsplit
        there are several configurations; `config:` must name one of de, en
        there is no file of training rows; its name must contain "train" and end in .parquet, .csv, .tsv or .jsonl
        there is no configuration "en", and no other
        "#
        );
    }
}
