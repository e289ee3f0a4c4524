//! Which files of a directory or repository are which split.
//!
//! The card says it; otherwise the files are laid out as the Hub's data sets are: the split's name in the name of a folder
//! or a file, a configuration's files in a folder of its name. Without tables, text files in a folder per class are read.

use std::collections::{BTreeMap, BTreeSet};

use distilsweep_proto::dataset::{self, DatasetSource, DatasetSpec, SplitChoice};
use globset::GlobBuilder;

use crate::{
    card::{self, Card, ClassNames},
    class_folders,
    excerpt::{quoted, quoted_list},
    listing::is_hidden,
    saved_dataset,
    split_choice::{Candidates, Origin, Splits, select, unknown_split},
    tables::{is_table, splits_by_name},
};

/// What was chosen of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) splits: Splits,
    /// Name of the configuration; none if there is but one, without a name.
    pub(crate) config: Option<String>,
    /// Class names, if the files carry none.
    pub(crate) class_names: ClassNames,
    /// Character between the fields of CSV files, if the card sets it.
    pub(crate) separator: Option<char>,
    /// Whether each file is one row, labelled by its folder.
    pub(crate) class_folders: bool,
    /// What was chosen that the data set does not say, and what was left out.
    pub(crate) notes: Vec<String>,
}

/// The configurations of a data set by their names.
type Configs = BTreeMap<String, Candidates>;

/// Chooses the files of each split.
///
/// # Errors
/// A sentence that says why there are none, or which names are ambiguous.
pub(crate) fn choose(files: &[String], card: &Card, spec: &DatasetSpec) -> Result<Chosen, String> {
    let mut files: Vec<String> = files.iter().filter(|file| !is_hidden(file)).cloned().collect();
    files.sort();
    let tables: Vec<&str> = files.iter().map(String::as_str).filter(|file| is_table(file)).collect();
    let mut notes: Vec<String> = card.problem.iter().cloned().collect();
    let by_name = splits_by_name(&tables);
    let can_train = |configs: &Configs| configs.values().any(|config| config.can_train(&spec.splits));

    let class_folders = class_folders::find(&files);
    let has_texts = can_train(&class_folders.configs);
    let mut configs = of_card(&tables, card, &by_name)?;
    if !can_train(&configs) {
        if !configs.is_empty() && can_train(&by_name) {
            let problem = "no configuration of the card has training files: file names decide instead";
            notes.push(problem.to_owned());
        }
        configs = by_name;
    }
    let mut unread: Vec<String> = Vec::new();
    let reads_texts = !can_train(&configs) && has_texts;
    let saved = saved_dataset::find(&files);
    if reads_texts {
        configs = class_folders.configs;
        unread.extend(class_folders.unused);
    } else if !can_train(&configs) {
        let known = configs.values().flat_map(Candidates::names);
        return Err(match (&spec.splits.train, saved) {
            (_, Some(saved)) => saved.problem(),
            (SplitChoice::Named(name), None) if !configs.is_empty() => unknown_split(name, known),
            _ => no_training_rows(&tables),
        });
    } else if has_texts {
        let classes = class_folders::classes(class_folders.configs.values().flat_map(Candidates::files));
        notes.push(format!(
            "text files in folders ({}) are not read, since there are tables: a directory without tables is read by class \
             folders",
            quoted_list(classes)
        ));
    }

    configs.retain(|_, config| config.can_train(&spec.splits));
    let of_configs: BTreeSet<String> = configs.values().flat_map(Candidates::files).cloned().collect();
    let ignored = tables.iter().filter(|file| !of_configs.contains(**file)).map(|file| (*file).to_owned());
    let Picked { name, mut candidates, note } = pick(configs, card, config_of(spec))?;
    if reads_texts {
        unread.extend(ignored);
    } else {
        candidates.loose.extend(ignored);
    }
    notes.extend(note);
    let selected = select(&candidates, &spec.splits)?;
    if reads_texts {
        let classes = class_folders::classes(selected.splits.train.iter());
        notes.push(format!("each text file is a row with its folder as label: {}", quoted_list(classes)));
    }
    notes.extend(selected.notes);
    notes.extend(unmatched(card, &name, &candidates));
    unread.extend(saved.map(|saved| format!("{}*.arrow", saved.prefix())));
    if !selected.unused.is_empty() {
        let unused = quoted_list(selected.unused);
        notes
            .push(format!("not used: {unused}; `splits: {{train: NAME, ..}}` chooses other splits or files"));
    }
    if !unread.is_empty() {
        notes.push(format!("not read: {}", quoted_list(unread)));
    }
    let config = Some(name).filter(|name| !name.is_empty());
    Ok(Chosen {
        splits: selected.splits,
        class_names: card.class_names(config.as_deref()),
        separator: if spec.format.separator.is_none() { separator(card, config.as_deref())? } else { None },
        config,
        class_folders: reads_texts,
        notes,
    })
}

fn config_of(spec: &DatasetSpec) -> Option<&str> {
    match &spec.source {
        DatasetSource::Id { config, .. } => config.as_deref(),
        DatasetSource::Files { .. } => None,
    }
}

/// The configurations of the card.
fn of_card(tables: &[&str], card: &Card, by_name: &Configs) -> Result<Configs, String> {
    let mut configs = Configs::new();
    for config in &card.configs {
        let named = |name: &str| by_name.get(name).cloned();
        let candidates = match &config.files {
            card::Files::Patterns(patterns) => matching(tables, patterns)?,
            card::Files::Folder(folder) => named(folder).unwrap_or_default(),
            card::Files::Unsaid => named(&config.name).or_else(|| named("")).unwrap_or_default(),
        };
        configs.insert(config.name.clone(), candidates);
    }
    Ok(configs)
}

/// The tables that a card's patterns name, by split. `*` stays within a folder, `**` does not.
fn matching(tables: &[&str], patterns: &[(String, Vec<String>)]) -> Result<Candidates, String> {
    let mut candidates = Candidates::default();
    for (split, patterns) in patterns {
        let mut files = BTreeSet::new();
        for pattern in patterns {
            let glob = GlobBuilder::new(pattern.trim_start_matches("./")).literal_separator(true).build();
            let glob = glob
                .map_err(|error| format!("its card names files by {}: {}", quoted(pattern), error.kind()))?;
            let glob = glob.compile_matcher();
            files.extend(tables.iter().filter(|file| glob.is_match(file)));
        }
        files.into_iter().for_each(|file| candidates.add(split, Origin::Card, file));
    }
    Ok(candidates)
}

/// A note on the splits of the card that have no file.
fn unmatched(card: &Card, config: &str, candidates: &Candidates) -> Option<String> {
    let config = card.configs.iter().find(|other| other.name == config)?;
    let card::Files::Patterns(patterns) = &config.files else { return None };
    let absent =
        patterns.iter().map(|(split, _)| split).filter(|split| !candidates.groups.contains_key(*split));
    let absent: Vec<&String> = absent.collect();
    let note = || format!("the card lists splits without a readable file: {}", quoted_list(&absent));
    (!absent.is_empty() && !candidates.groups.is_empty()).then(note)
}

/// The separator that the card sets for a configuration.
fn separator(card: &Card, config: Option<&str>) -> Result<Option<char>, String> {
    let of_config = card.configs.iter().find(|other| Some(other.name.as_str()) == config);
    let only = || if let [one] = &card.configs[..] { Some(one) } else { None };
    let Some(text) = of_config.or_else(only).and_then(|config| config.separator.as_deref()) else {
        return Ok(None);
    };
    let problem = |problem| {
        format!("its card sets the separator {}: {problem}; `separator:` overrides it", quoted(text))
    };
    dataset::separator(text).map(Some).map_err(problem)
}

/// A configuration that was picked.
struct Picked {
    name: String,
    candidates: Candidates,
    /// Why, if the data set does not say which.
    note: Option<String>,
}

/// Picks a configuration: the one that is asked for, else the default, else the only one that is complete.
fn pick(mut configs: Configs, card: &Card, config: Option<&str>) -> Result<Picked, String> {
    let named = |configs: &Configs| {
        let names: Vec<String> = configs.keys().filter(|name| !name.is_empty()).cloned().collect();
        (!names.is_empty()).then(|| quoted_list(names))
    };
    if let Some(config) = config {
        let unknown = match named(&configs) {
            Some(names) => format!("there is no configuration {}; there are {names}", quoted(config)),
            None => format!("there is no configuration {}, and no other", quoted(config)),
        };
        let candidates = configs.remove(config).ok_or(unknown)?;
        return Ok(Picked { name: config.to_owned(), candidates, note: None });
    }
    let default = card.configs.iter().find(|config| config.default).map(|config| config.name.as_str());
    let usual = default.into_iter().chain(["", "data", "default"]).find(|name| configs.contains_key(*name));
    let mut complete =
        configs.iter().filter(|(_, config)| config.is_complete()).map(|(name, _)| name.as_str());
    let only_complete = complete.next().filter(|_| complete.next().is_none());
    let (name, reason) = match (usual, configs.keys().next(), only_complete) {
        (Some(usual), ..) => (usual.to_owned(), ""),
        (None, Some(only), _) if configs.len() == 1 => (only.clone(), ""),
        (None, _, Some(complete)) => (complete.to_owned(), ", which has all three splits"),
        (None, ..) => {
            let names = named(&configs).unwrap_or_default();
            return Err(format!("there are several configurations; `config:` must name one of {names}"));
        }
    };
    let candidates = configs.remove(&name).unwrap_or_default();
    let used = if name.is_empty() {
        "the files at the top are".to_owned()
    } else {
        format!("configuration {} is", quoted(&name))
    };
    let note =
        named(&configs).map(|others| format!("{used} used{reason}; `config:` chooses another: {others}"));
    Ok(Picked { name, candidates, note })
}

fn no_training_rows(tables: &[&str]) -> String {
    let found = match tables {
        [] => String::new(),
        tables => {
            format!("; `train: [..]` or `splits: {{train: NAME}}` chooses among {}", quoted_list(tables))
        }
    };
    format!(
        "there is no file of training rows: its name or folder must contain \"train\", and it must end in .parquet, .csv, \
         .tsv, .jsonl or .json{found}"
    )
}

#[cfg(test)]
mod tests;
