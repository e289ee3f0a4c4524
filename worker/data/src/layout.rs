//! Which files of a directory or repository are which split.
//!
//! As its card says, else laid out as the Hub's data sets are: the split's name in the file's name or that of its
//! folder, a configuration's files in a folder of its name.

use std::{collections::BTreeMap, path::Path};

use globset::GlobBuilder;

use crate::{
    DataError,
    card::{self, Card, ClassNames},
    rows::is_readable,
};

/// The files of each split, by their paths relative to the repository, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Splits {
    pub(crate) train: Vec<String>,
    pub(crate) validation: Vec<String>,
    pub(crate) test: Vec<String>,
}

impl Splits {
    fn of(&mut self, kind: Kind) -> &mut Vec<String> {
        match kind {
            Kind::Train => &mut self.train,
            Kind::Validation => &mut self.validation,
            Kind::Test => &mut self.test,
        }
    }

    fn is_complete(&self) -> bool {
        !self.validation.is_empty() && !self.test.is_empty()
    }

    /// All of them.
    pub(crate) fn files(&self) -> impl Iterator<Item = &String> {
        [&self.train, &self.validation, &self.test].into_iter().flatten()
    }
}

/// What was chosen of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) splits: Splits,
    /// Name of the configuration; none where there is but one, without a name.
    pub(crate) config: Option<String>,
    /// Where class names are, if the files carry none.
    pub(crate) class_names: ClassNames,
    /// What was chosen where nobody said.
    pub(crate) notes: Vec<String>,
}

/// Sorts files to splits.
pub(crate) fn choose(files: &[String], card: &Card, config: Option<&str>) -> Result<Chosen, String> {
    let by_name = by_name(files);
    let mut configs: BTreeMap<String, Splits> = BTreeMap::new();
    for of_card in &card.configs {
        let splits = match &of_card.files {
            card::Files::Patterns(patterns) => matching(files, patterns)?,
            card::Files::Folder(folder) => by_name.get(folder.as_str()).cloned().unwrap_or_default(),
            card::Files::Unsaid => {
                by_name.get(of_card.name.as_str()).or_else(|| by_name.get("")).cloned().unwrap_or_default()
            }
        };
        if !splits.train.is_empty() {
            configs.insert(of_card.name.clone(), splits);
        }
    }
    let default = card.configs.iter().find(|config| config.default).map(|config| config.name.as_str());
    if configs.is_empty() {
        configs = by_name.into_iter().map(|(name, splits)| (name.to_owned(), splits)).collect();
    }
    let chosen = pick(configs, default, config)?;
    Ok(Chosen { class_names: card.class_names(chosen.config.as_deref()), ..chosen })
}

/// Picks a configuration: the one that is asked for, else the one that is meant where none is.
fn pick(
    mut configs: BTreeMap<String, Splits>,
    default: Option<&str>,
    config: Option<&str>,
) -> Result<Chosen, String> {
    let names = configs.keys().filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>().join(", ");
    let chosen = |name: String, splits: Splits, notes: Vec<String>| Chosen {
        splits,
        config: Some(name).filter(|name| !name.is_empty()),
        class_names: ClassNames::new(),
        notes,
    };
    if let Some(config) = config {
        return match configs.remove(config) {
            Some(splits) => Ok(chosen(config.to_owned(), splits, Vec::new())),
            None if names.is_empty() => Err(format!("there is no configuration \"{config}\", and no other")),
            None => Err(format!("there is no configuration \"{config}\"; there are {names}")),
        };
    }
    for usual in default.into_iter().chain(["", "data", "default"]) {
        if let Some(splits) = configs.remove(usual) {
            return Ok(chosen(usual.to_owned(), splits, Vec::new()));
        }
    }
    let with_all = configs.values().filter(|splits| splits.is_complete()).count();
    match configs.len() {
        0 => Err("there is no file of training rows; its name must contain \"train\" and end in .parquet, .csv, .tsv, \
                  .jsonl or .json"
            .to_owned()),
        1 => {
            let (name, splits) = configs.into_iter().next().unwrap_or_default();
            Ok(chosen(name, splits, Vec::new()))
        }
        _ if with_all == 1 => {
            let found = configs.into_iter().find(|(_, splits)| splits.is_complete());
            let (name, splits) = found.unwrap_or_default();
            let note = format!("configuration \"{name}\" was chosen out of {names}: it has all three splits");
            Ok(chosen(name, splits, vec![note]))
        }
        _ => Err(format!("there are several configurations; `config:` must name one of {names}")),
    }
}

/// The readable files that a card's patterns name, by split. `*` stays within a folder, `**` does not.
fn matching(files: &[String], patterns: &[(String, Vec<String>)]) -> Result<Splits, String> {
    let mut splits = Splits::default();
    for (split, patterns) in patterns {
        let Some(kind) = split_of(split) else { continue };
        for pattern in patterns {
            let glob = GlobBuilder::new(pattern.trim_start_matches("./")).literal_separator(true).build();
            let glob = glob.map_err(|error| format!("its card names files by \"{pattern}\": {error}"))?;
            let glob = glob.compile_matcher();
            let fits = |file: &&String| is_readable(file.as_ref()) && glob.is_match(file);
            splits.of(kind).extend(files.iter().filter(fits).cloned());
        }
        splits.of(kind).sort();
        splits.of(kind).dedup();
    }
    Ok(splits)
}

/// The readable files by the folder of their configuration, where it has training rows.
fn by_name(files: &[String]) -> BTreeMap<&str, Splits> {
    let mut folders: BTreeMap<&str, Splits> = BTreeMap::new();
    for file in files.iter().filter(|file| is_readable(file.as_ref())) {
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        let by_folder = || {
            let (parent, last) = folder.rsplit_once('/').unwrap_or(("", folder));
            split_of(last).map(|kind| (parent, kind))
        };
        if let Some((folder, kind)) = split_of(name).map(|kind| (folder, kind)).or_else(by_folder) {
            folders.entry(folder).or_default().of(kind).push(file.clone());
        }
    }
    folders.retain(|_, splits| !splits.train.is_empty());
    for splits in folders.values_mut() {
        for kind in [Kind::Train, Kind::Validation, Kind::Test] {
            splits.of(kind).sort();
        }
    }
    folders
}

#[derive(Clone, Copy)]
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
        with_card("", files, config)
    }

    fn with_card(card: &str, files: &[&str], config: Option<&str>) -> String {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        match choose(&files, &Card::parse(card), config) {
            Ok(Chosen { splits, notes, .. }) => format!(
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
    fn a_card_goes_before_names() {
        let card = "---\nconfigs:\n- config_name: all\n  data_files:\n  - split: train\n    path: unsplit/*\n\
                    - config_name: parts\n  default: true\n  data_files:\n  - split: train\n    path: '**/train-*'\n  \
                    - split: validation\n    path: [split/validation-*, split/none-*]\n  - split: extra\n    path: '*'\n---\n";
        let folder = "---\nconfigs:\n- config_name: x\n  data_dir: split\n---\n";
        insta::assert_snapshot!(
            [
                with_card(card, &EMOTION, None),
                with_card(card, &EMOTION, Some("all")),
                with_card(card, &EMOTION, Some("split")),
                with_card(folder, &EMOTION, None),
                with_card("---\nlicense: mit\n---\n", &EMOTION, Some("unsplit")),
                with_card("---\nconfigs:\n- data_files: a[\n---\n", &EMOTION, None),
            ]
            .join("\n"),
            @r#"
        split/train-00000-of-00001.parquet unsplit/train-00000-of-00001.parquet | split/validation-00000-of-00001.parquet |  | .
        unsplit/train-00000-of-00001.parquet |  |  | .
        there is no configuration "split"; there are all, parts
        split/train-00000-of-00001.parquet | split/validation-00000-of-00001.parquet | split/test-00000-of-00001.parquet | .
        unsplit/train-00000-of-00001.parquet |  |  | .
        its card names files by "a[": error parsing glob 'a[': unclosed character class; missing ']'
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
        there is no file of training rows; its name must contain "train" and end in .parquet, .csv, .tsv, .jsonl or .json
        there is no configuration "en", and no other
        "#
        );
    }
}
