//! Tables among the files of a repository, and their splits by the names of files and folders.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    rows::is_readable,
    split_choice::{Candidates, Origin},
    split_names::{Fit, Meaning, meaning, normalized, split_of_file, stem},
};

/// Whether a file can hold a table of rows: JSON files that describe data sets, models and programs do not.
pub(crate) fn is_table(file: &str) -> bool {
    const DESCRIPTIONS: [&str; 13] = [
        "dataset_info",
        "dataset_infos",
        "dataset_dict",
        "state",
        "trainer_state",
        "package",
        "package-lock",
        "tokenizer",
        "special_tokens_map",
        "added_tokens",
        "vocab",
        "model.safetensors.index",
        "croissant",
    ];
    let stem = stem(file).to_lowercase();
    let is_json = file.to_lowercase().contains(".json");
    let is_description =
        DESCRIPTIONS.contains(&stem.as_str()) || stem.ends_with("config") || stem.ends_with("_results");
    is_readable(file.as_ref()) && !(is_json && is_description)
}

/// The tables by the folder of their configuration.
pub(crate) fn splits_by_name(tables: &[&str]) -> BTreeMap<String, Candidates> {
    let mixed = mixed_folders(tables);
    let mut configs: BTreeMap<String, Candidates> = BTreeMap::new();
    for file in tables {
        let (folder, _) = file.rsplit_once('/').unwrap_or(("", file));
        let split = split_of_file(file);
        let of_file = meaning(&split);
        match folder_of_split(folder, &mixed) {
            Some((config, name, of_folder)) => {
                let candidates = configs.entry(config.to_owned()).or_default();
                candidates.add(&normalized(name), Origin::Names, file);
                let contradicts = |file: &Meaning| file.fit < Fit::Qualified && file.role != of_folder.role;
                if of_file.as_ref().is_some_and(contradicts) {
                    candidates.contradictions.insert((*file).to_owned());
                }
            }
            None => {
                let candidates = configs.entry(folder.to_owned()).or_default();
                match of_file {
                    Some(_) => candidates.add(&split, Origin::Names, file),
                    None => candidates.loose.push((*file).to_owned()),
                }
            }
        }
    }
    configs
}

/// The innermost folder that names a split: what it is in, its name and what that says.
fn folder_of_split<'a>(folder: &'a str, mixed: &BTreeSet<&str>) -> Option<(&'a str, &'a str, Meaning)> {
    let mut folder = folder;
    while !folder.is_empty() {
        let (above, name) = folder.rsplit_once('/').unwrap_or(("", folder));
        if mixed.contains(folder) {
            return None;
        }
        if let Some(meaning) = meaning(name) {
            return Some((above, name, meaning));
        }
        folder = above;
    }
    None
}

/// Folders that have the word of a split in a longer name but hold files of another split, such as "test_runs" with
/// "train.csv": configurations.
fn mixed_folders<'a>(tables: &[&'a str]) -> BTreeSet<&'a str> {
    let is_mixed = |file: &&'a str| {
        let (folder, _) = file.rsplit_once('/')?;
        let of_folder =
            meaning(folder.rsplit('/').next()?).filter(|meaning| meaning.fit == Fit::Qualified)?;
        let of_file = meaning(&split_of_file(file)).filter(|meaning| meaning.fit < Fit::Qualified)?;
        (of_file.role != of_folder.role).then_some(folder)
    };
    tables.iter().filter_map(is_mixed).collect()
}
