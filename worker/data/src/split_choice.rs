//! Which of the splits of a configuration is used for which role.
//!
//! A split that the data set names is taken. Otherwise names decide: `validation` before `dev` before `eval`, a plain name
//! before one with further words. Two names of the same rank are never joined: they may hold the same rows.

use std::collections::{BTreeMap, BTreeSet};

use distilsweep_proto::dataset::{SplitChoice, SplitSelection};

use crate::{
    excerpt::{excerpt, quoted, quoted_list},
    split_names::{Meaning, Role, is_numbered_part, meaning, part, stem},
    text::extension,
};

/// The files of each role, by their paths relative to the repository, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Splits {
    pub(crate) train: Vec<String>,
    pub(crate) validation: Vec<String>,
    pub(crate) test: Vec<String>,
}

impl Splits {
    fn get(&self, role: Role) -> &[String] {
        match role {
            Role::Train => &self.train,
            Role::Validation => &self.validation,
            Role::Test => &self.test,
        }
    }

    fn set(&mut self, role: Role, files: Vec<String>) {
        match role {
            Role::Train => self.train = files,
            Role::Validation => self.validation = files,
            Role::Test => self.test = files,
        }
    }

    /// All files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &String> {
        [&self.train, &self.validation, &self.test].into_iter().flatten()
    }
}

/// What defines the files of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The patterns of the card.
    Card,
    /// The names of files and folders.
    Names,
    /// A folder with a folder of text files per class.
    ClassFolders,
}

/// A split by its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) files: Vec<String>,
    pub(crate) origin: Origin,
}

impl Group {
    /// The file, or the split if it has several.
    fn label(&self) -> &str {
        match &self.files[..] {
            [one] if self.origin == Origin::Names && !is_numbered_part(one) => one,
            _ => &self.name,
        }
    }
}

/// The splits of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidates {
    /// By name.
    pub(crate) groups: BTreeMap<String, Group>,
    /// Files of no split, which the data set may name.
    pub(crate) loose: Vec<String>,
    /// Files of a split's folder whose own name is that of another split.
    pub(crate) contradictions: BTreeSet<String>,
}

impl Candidates {
    /// Adds a file to the split of this name.
    pub(crate) fn add(&mut self, name: &str, origin: Origin, file: &str) {
        let group = Group { name: name.to_owned(), files: Vec::new(), origin };
        self.groups.entry(name.to_owned()).or_insert(group).files.push(file.to_owned());
    }

    fn of_role(&self, role: Role) -> impl Iterator<Item = (&Group, Meaning)> {
        let meaning = move |group: &Group| meaning(&group.name).filter(|meaning| meaning.role == role);
        self.groups.values().filter_map(move |group| Some((group, meaning(group)?)))
    }

    /// Whether there are rows to train on.
    pub(crate) fn can_train(&self, selection: &SplitSelection) -> bool {
        match &selection.train {
            SplitChoice::Detected => self.of_role(Role::Train).next().is_some(),
            SplitChoice::Named(name) => self.find(name).is_some(),
            SplitChoice::LeftOut => false,
        }
    }

    /// Whether there is a split of every role.
    pub(crate) fn is_complete(&self) -> bool {
        Role::ALL.into_iter().all(|role| self.of_role(role).next().is_some())
    }

    /// All files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &String> {
        self.groups.values().flat_map(|group| &group.files).chain(&self.loose)
    }

    /// The names that [`Self::find`] knows.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str).chain(self.loose.iter().map(|file| stem(file)))
    }

    /// The files of a split by its name, or those called so, with or without folder and extension.
    fn find(&self, name: &str) -> Option<Vec<String>> {
        if let Some(group) = self.groups.get(name).or_else(|| self.groups.get(&name.to_lowercase())) {
            return Some(group.files.clone());
        }
        let groups = self.groups.values().filter(|group| group.origin != Origin::ClassFolders);
        let files: Vec<&String> = groups.flat_map(|group| &group.files).chain(&self.loose).collect();
        let is_named = [
            |file: &str, name: &str| file == name,
            |file: &str, name: &str| file.rsplit('/').next() == Some(name),
            |file: &str, name: &str| stem(file) == name,
        ];
        is_named.into_iter().find_map(|is_named| {
            let found: Vec<String> =
                files.iter().filter(|file| is_named(file, name)).map(|file| (*file).clone()).collect();
            (!found.is_empty()).then_some(found)
        })
    }
}

/// The files of each role, and what its user should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selected {
    pub(crate) splits: Splits,
    pub(crate) notes: Vec<String>,
    /// Splits and files that are not used, though the data set leaves them out by no word.
    pub(crate) unused: Vec<String>,
}

/// Chooses the files of each role.
///
/// # Errors
/// A split that the data set names is not there, or names are ambiguous.
pub(crate) fn select(candidates: &Candidates, selection: &SplitSelection) -> Result<Selected, String> {
    let mut splits = named(candidates, selection)?;
    let taken: BTreeSet<String> = splits.files().cloned().collect();
    let is_free = |file: &&String| !taken.contains(*file);
    let rest = |(name, group): (&String, &Group)| {
        let files: Vec<String> = group.files.iter().filter(is_free).cloned().collect();
        (!files.is_empty()).then(|| (name.clone(), Group { files, ..group.clone() }))
    };
    let free = Candidates {
        groups: candidates.groups.iter().filter_map(rest).collect(),
        loose: candidates.loose.iter().filter(is_free).cloned().collect(),
        contradictions: BTreeSet::new(),
    };
    let mut used_as = Vec::new();
    let mut detected = BTreeSet::new();
    for role in Role::ALL.into_iter().filter(|role| *choice(selection, *role) == SplitChoice::Detected) {
        let Some((group, meaning)) = best(&free, role)? else { continue };
        if !meaning.is_obvious {
            used_as.push(format!("{} is used as the {} split", quoted(group.label()), role.key()));
        }
        if let Some(file) = group.files.iter().find(|file| candidates.contradictions.contains(*file)) {
            return Err(format!(
                "{} names two splits, by its folder and by its own name: rename one of them, or name files with `train: \
                 [..]`",
                quoted(file)
            ));
        }
        detected.insert(group.name.as_str());
        splits.set(role, group.files.clone());
    }
    let mut notes = Vec::new();
    if !used_as.is_empty() {
        notes.push(format!("{}; `splits:` chooses another", used_as.join(", ")));
    }
    let class_folders = candidates.groups.values().any(|group| group.origin == Origin::ClassFolders);
    if !class_folders {
        let of_card = candidates.groups.values().any(|group| group.origin == Origin::Card);
        for role in Role::ALL {
            reject_repeated(role, splits.get(role))?;
            notes.extend(merged(role, splits.get(role)).filter(|_| !of_card));
            notes.extend(incomplete(role, splits.get(role)));
        }
        reject_shared(&splits)?;
    }
    let may_use = |role: Option<Role>| {
        let mut roles = Role::ALL.into_iter().filter(|other| role.is_none_or(|role| role == *other));
        roles.any(|role| *choice(selection, role) == SplitChoice::Detected)
    };
    let unused = free.groups.values().filter(|group| !detected.contains(group.name.as_str()));
    let unused = unused.filter(|group| may_use(meaning(&group.name).map(|meaning| meaning.role)));
    let loose = free.loose.iter().map(String::as_str).filter(|_| may_use(None));
    let unused = unused.map(Group::label).chain(loose).map(str::to_owned).collect();
    Ok(Selected { splits, notes, unused })
}

fn choice(selection: &SplitSelection, role: Role) -> &SplitChoice {
    match role {
        Role::Train => &selection.train,
        Role::Validation => &selection.validation,
        Role::Test => &selection.test,
    }
}

/// The files of the roles for which the data set names a split.
fn named(candidates: &Candidates, selection: &SplitSelection) -> Result<Splits, String> {
    let mut splits = Splits::default();
    for role in Role::ALL {
        let SplitChoice::Named(name) = choice(selection, role) else { continue };
        let files = candidates.find(name).ok_or_else(|| unknown_split(name, candidates.names()))?;
        let taken: BTreeSet<&String> = splits.files().collect();
        if files.iter().any(|file| taken.contains(file)) {
            return Err(format!(
                "`splits` uses {} for two roles: name two splits, or leave one out with null",
                quoted(name)
            ));
        }
        splits.set(role, files);
    }
    Ok(splits)
}

/// Why there is no split of this name.
pub(crate) fn unknown_split<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: BTreeSet<&str> = known.collect();
    format!("there is no split {}; there are {}", quoted(name), quoted_list(known))
}

/// The split whose name is best known for the role.
fn best(candidates: &Candidates, role: Role) -> Result<Option<(&Group, Meaning)>, String> {
    let Some(fit) = candidates.of_role(role).map(|(_, meaning)| meaning.fit).min() else { return Ok(None) };
    let mut groups = candidates.of_role(role).filter(|(_, meaning)| meaning.fit == fit);
    let (first, others) = (groups.next(), groups.map(|(group, _)| group.label()));
    let Some((group, meaning)) = first else { return Ok(None) };
    let labels: Vec<&str> = [group.label()].into_iter().chain(others).collect();
    if labels.len() == 1 {
        return Ok(Some((group, meaning)));
    }
    let key = role.key();
    let remedy = match role {
        Role::Train => "name the files with `train: [..]`",
        Role::Validation | Role::Test => "leave the role out with null",
    };
    Err(format!(
        "any of {} could be the {key} split: choose one with `splits: {{{key}: {}}}`, or {remedy}",
        quoted_list(labels),
        excerpt(&group.name)
    ))
}

/// Rejects files that hold the same rows, or look as if they did: those of one name or one part, of two formats, or of two
/// numberings.
fn reject_repeated(role: Role, files: &[String]) -> Result<(), String> {
    let mut names = BTreeMap::new();
    let mut numberings = BTreeMap::new();
    for file in files {
        let (folder, stem) = (file.rsplit_once('/').map(|(folder, _)| folder), stem(file));
        let part = part(stem);
        let name = part.map_or((stem, 0), |part| (part.split, part.number));
        let same_name = names.insert((folder, name, part.is_some()), file);
        let numbering = part.map(|part| *numberings.entry((folder, part.split)).or_insert((part.of, file)));
        let other_numbering =
            numbering.filter(|(of, _)| part.is_some_and(|part| part.of != *of)).map(|(_, file)| file);
        let other_format = files.first().filter(|first| format_of(first) != format_of(file));
        if let Some(other) = same_name.or(other_numbering).or(other_format) {
            let key = role.key();
            return Err(format!(
                "the {key} split may have the same rows twice, in {} and {}: keep one file or format, or choose one \
                 with `splits: {{{key}: {}}}`",
                quoted(other),
                quoted(file),
                excerpt(other)
            ));
        }
    }
    Ok(())
}

fn format_of(file: &str) -> String {
    match extension(file.as_ref()).0.as_str() {
        "jsonl" | "ndjson" => "json".to_owned(),
        other => other.to_owned(),
    }
}

fn reject_shared(splits: &Splits) -> Result<(), String> {
    for (a, b) in [(Role::Train, Role::Validation), (Role::Train, Role::Test), (Role::Validation, Role::Test)]
    {
        let files: BTreeSet<&String> = splits.get(b).iter().collect();
        if let Some(file) = splits.get(a).iter().find(|file| files.contains(file)) {
            return Err(format!(
                "{} is in both the {} and the {} split: name two splits with `splits:`, or leave one out with null",
                quoted(file),
                a.key(),
                b.key()
            ));
        }
    }
    Ok(())
}

/// A note if a split is put together from files that are not numbered as the Hub numbers them.
fn merged(role: Role, files: &[String]) -> Option<String> {
    if files.len() < 2 || files.iter().all(|file| is_numbered_part(file)) {
        return None;
    }
    let key = role.key();
    Some(format!(
        "{} files are read as the {key} split: {}; `splits: {{{key}: NAME}}` or `{key}: [..]` chooses",
        files.len(),
        quoted_list(files)
    ))
}

/// A note if parts are missing from a split.
fn incomplete(role: Role, files: &[String]) -> Option<String> {
    let mut found: BTreeMap<(&str, u32), usize> = BTreeMap::new();
    for part in files.iter().filter_map(|file| part(stem(file))) {
        *found.entry((part.split, part.of)).or_default() += 1;
    }
    let ((split, of), count) = found.into_iter().find(|((_, of), count)| *count < *of as usize)?;
    Some(format!(
        "only {count} of the {of} files of {} are there for the {} split",
        quoted(split),
        role.key()
    ))
}

#[cfg(test)]
mod tests;
