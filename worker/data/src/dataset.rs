//! A data set: its splits, its classes, and what was chosen for its user.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use distilsweep_proto::dataset::{Columns, DatasetSource, DatasetSpec};

use crate::{
    ColumnNames, DataError, Hub, Snapshot,
    card::{Card, ClassNames},
    classes,
    layout::{self, Chosen},
    order,
    rows::{self, Label, Rows, Wanted},
};

/// One in this many training rows validates when the data has no validation split.
const CUT: usize = 10;
/// Seed of that cut: the same rows for every trial of every sweep.
const CUT_SEED: u64 = 0;

/// Labelled texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextDataset {
    /// Rows to train on.
    pub train: Split,
    /// Rows that select the best epoch.
    pub validation: Split,
    /// Rows that only the chosen epoch sees.
    pub test: Option<Split>,
    /// Names of the classes, in class order.
    pub classes: Vec<String>,
    /// The columns that were read.
    pub columns: ColumnNames,
    /// The configuration that was read; none where there is but one, without a name.
    pub config: Option<String>,
    /// The commit of a repository of the Hub.
    pub commit: Option<String>,
    /// What was chosen where the data set does not say, and what looks wrong, in sentences for its user.
    pub notes: Vec<String>,
}

/// The rows of one split, in the order of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The texts.
    pub texts: Vec<String>,
    /// The second text of each row; empty where rows have one text.
    pub pairs: Vec<String>,
    /// Their classes, as indices into [`TextDataset::classes`].
    pub labels: Vec<u32>,
}

impl Split {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Rows of each of `classes` classes.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        class_counts(&self.labels, classes)
    }

    /// The commonest of `classes` classes, the first of equals: what guessing without reading would say.
    pub fn majority_class(&self, classes: usize) -> u32 {
        majority_class(&self.labels, classes)
    }

    /// The texts of row `i`, the second one of a pair.
    fn row(&self, i: usize) -> (&str, Option<&str>) {
        (&self.texts[i], self.pairs.get(i).map(String::as_str))
    }

    /// Of how many rows the texts are those of a row of `other`.
    pub fn shared_with(&self, other: &Self) -> usize {
        let seen: HashSet<_> = (0..other.len()).map(|i| other.row(i)).collect();
        (0..self.len()).filter(|i| seen.contains(&self.row(*i))).count()
    }

    /// How many rows repeat the texts of an earlier one.
    pub fn repeats(&self) -> usize {
        let different: HashSet<_> = (0..self.len()).map(|i| self.row(i)).collect();
        self.len() - different.len()
    }

    /// Rows `from` up to `to`, fewer where there are no more, without their labels.
    pub fn texts_of(&self, from: usize, to: usize) -> Self {
        let part = |texts: &[String]| texts[from.min(texts.len())..to.min(texts.len())].to_vec();
        Self { texts: part(&self.texts), pairs: part(&self.pairs), labels: Vec::new() }
    }

    fn select(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.len()).filter(|i| keep(*i)).collect();
        Self {
            texts: kept.iter().map(|i| self.texts[*i].clone()).collect(),
            pairs: kept.iter().filter_map(|i| self.pairs.get(*i).cloned()).collect(),
            labels: kept.iter().map(|i| self.labels[*i]).collect(),
        }
    }

    fn limit(&mut self, limit: Option<u64>) {
        let kept = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        self.texts.truncate(kept);
        self.pairs.truncate(kept);
        self.labels.truncate(kept);
    }
}

fn class_counts(labels: &[u32], classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for label in labels {
        counts[*label as usize] += 1;
    }
    counts
}

/// See [`Split::majority_class`].
pub(crate) fn majority_class(labels: &[u32], classes: usize) -> u32 {
    let counts = class_counts(labels, classes);
    let most = counts.iter().copied().max().unwrap_or(0);
    counts.iter().position(|count| *count == most).unwrap_or(0) as u32
}

/// The files of each split, and what is known of them before they are read.
#[derive(Debug, Default)]
pub struct Files {
    /// With rows to train on.
    pub train: Vec<PathBuf>,
    /// With rows that select the best epoch; none where they are cut from those to train on.
    pub validation: Vec<PathBuf>,
    /// With rows that only the chosen epoch sees.
    pub test: Vec<PathBuf>,
    /// The commit of a repository of the Hub.
    pub commit: Option<String>,
    /// Its licence, where that is known.
    pub license: Option<String>,
    /// What the files lie in; none where each is named.
    pub directory: Option<PathBuf>,
    /// Where class names are, if the files carry none.
    pub(crate) class_names: ClassNames,
    config: Option<String>,
    notes: Vec<String>,
}

impl Files {
    /// Bytes of all files; one that is not there has none.
    pub(crate) fn bytes(&self) -> u64 {
        let all = [&self.train, &self.validation, &self.test].into_iter().flatten();
        all.filter_map(|path| std::fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
    }
}

/// Reads a data set; one of the Hub is downloaded into the Hub's cache first. Blocks.
///
/// # Errors
/// What is wrong with the data, and where; see [`DataError::is_retryable`] for what may pass.
pub fn load(hub: &Hub, spec: &DatasetSpec) -> Result<TextDataset, DataError> {
    read(locate(hub, &spec.source)?, spec)
}

/// Reads the files of a data set.
///
/// # Errors
/// What is wrong with them, and where.
pub fn read(files: Files, spec: &DatasetSpec) -> Result<TextDataset, DataError> {
    let Files { train, validation, test, class_names, config, commit, mut notes, .. } = files;
    let wanted = Wanted::labelled(spec.text.as_deref(), spec.text_pair.as_deref(), spec.label.as_deref());
    let rows =
        |paths: &[PathBuf]| paths.iter().map(|path| rows::read(path, wanted)).collect::<Result<Vec<_>, _>>();
    let (train, validation, mut test) = (rows(&train)?, rows(&validation)?, rows(&test)?);
    let first = train.first().map(|rows| rows.path.clone()).unwrap_or_default();
    let columns = train.first().map(|rows| rows.columns.clone()).unwrap_or_default();
    if hides_labels(&test) {
        notes.push("the labels of the test split are hidden (all are -1): it is left out".to_owned());
        test.clear();
    }

    let of_card =
        columns.label.as_ref().and_then(|column| class_names.get(column)).cloned().unwrap_or_default();
    let classes = classes::resolve(&spec.labels.names(), &train, of_card)?;
    let mut train = join(train, &classes)?;
    let mut validation = join(validation, &classes)?;
    let mut test = Some(join(test, &classes)?).filter(|test| !test.is_empty());
    if validation.is_empty() {
        (train, validation) = cut(&train, classes.len());
        notes.push(format!(
            "there is no validation split: {} of {} training rows were taken for it, the same share of every class",
            validation.len(),
            train.len() + validation.len()
        ));
    }
    train.limit(spec.limit.train);
    validation.limit(spec.limit.validation);
    if let Some(test) = &mut test {
        test.limit(spec.limit.test);
    }
    check(&first, &train, &validation, &classes)?;
    let evaluated = [("validation", Some(&validation)), ("test", test.as_ref())];
    for (name, split) in evaluated.into_iter().filter_map(|(name, split)| split.map(|split| (name, split))) {
        let leaked = split.shared_with(&train);
        if leaked > 0 {
            notes.push(format!(
                "{leaked} of {} {name} rows have a text that is a training row's too: their scores say less",
                split.len()
            ));
        }
    }
    Ok(TextDataset { train, validation, test, classes, columns, config, commit, notes })
}

/// Whether rows have labels for form's sake, as GLUE's test splits do.
fn hides_labels(files: &[Rows]) -> bool {
    let mut labels = files.iter().flat_map(|rows| &rows.labels).peekable();
    labels.peek().is_some() && labels.all(|label| label.integer() == Some(-1))
}

/// The texts of one file, in its order, by the column of this name or the first usual one, and the second ones of pairs
/// where their column is named. Empty ones are kept; there are no labels.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn read_texts(path: &Path, text: Option<&str>, pair: Option<&str>) -> Result<Split, DataError> {
    let Rows { texts, pairs, .. } = rows::read(path, Wanted { text, pair, label: Label::Unread })?;
    Ok(Split { texts, pairs, labels: Vec::new() })
}

/// The rows of one file, whose labels must be among `classes`, by name or number.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn read_labelled(path: &Path, columns: &Columns, classes: &[String]) -> Result<Split, DataError> {
    let Columns { text_column: text, text_pair_column: pair, label_column: label } = columns;
    let wanted = Wanted::labelled(text.as_deref(), pair.as_deref(), label.as_deref());
    join(vec![rows::read(path, wanted)?], classes)
}

fn join(files: Vec<Rows>, classes: &[String]) -> Result<Split, DataError> {
    let mut split = Split::default();
    for rows in files {
        split.labels.extend(classes::assign(&rows, classes)?);
        split.texts.extend(rows.texts);
        split.pairs.extend(rows.pairs);
    }
    Ok(split)
}

/// Parts a tenth of every class from the training rows; both keep their order.
fn cut(train: &Split, classes: usize) -> (Split, Split) {
    let mut validates = vec![false; train.len()];
    for class in 0..classes as u32 {
        let of_class: Vec<usize> = (0..train.len()).filter(|i| train.labels[*i] == class).collect();
        let share = (of_class.len() + CUT / 2) / CUT;
        for chosen in order::shuffled(of_class.len(), CUT_SEED).into_iter().take(share) {
            validates[of_class[chosen as usize]] = true;
        }
    }
    (train.select(|i| !validates[i]), train.select(|i| validates[i]))
}

fn check(path: &Path, train: &Split, validation: &Split, classes: &[String]) -> Result<(), DataError> {
    let problem = |problem: String| Err(DataError::Classes { path: path.to_owned(), problem });
    if train.is_empty() {
        return problem("there are no training rows".to_owned());
    }
    if validation.is_empty() {
        return problem(format!("{} training rows are too few to take a validation split from", train.len()));
    }
    let present = train.class_counts(classes.len()).iter().filter(|count| **count > 0).count();
    if present < 2 {
        let class = classes.get(train.labels[0] as usize).cloned().unwrap_or_default();
        return Err(DataError::OneClass { path: path.to_owned(), class });
    }
    Ok(())
}

/// Finds the files of a data set; those of the Hub are downloaded. Blocks.
///
/// # Errors
/// There is no such data set, or the Hub cannot be reached.
pub fn locate(hub: &Hub, source: &DatasetSource) -> Result<Files, DataError> {
    let (id, config, revision) = match source {
        DatasetSource::Files { train, validation, test } => {
            return Ok(Files {
                train: train.clone(),
                validation: validation.clone(),
                test: test.clone(),
                ..Files::default()
            });
        }
        DatasetSource::Id { id, config, revision } => (id, config.as_deref(), revision.as_deref()),
    };
    let directory = Path::new(id);
    if directory.is_dir() {
        let files = layout::list(directory)?;
        let card = Card::of_directory(directory)?;
        let chosen = layout::choose(&files, &card, config).map_err(|problem| DataError::Malformed {
            path: directory.to_owned(),
            problem: format!("is no data set: {problem}"),
        })?;
        return Ok(Files::new(directory.to_owned(), chosen));
    }
    if directory.is_file() {
        return Err(DataError::Malformed {
            path: directory.to_owned(),
            problem: "is a file; a data set of files is `dataset: {train: FILE, validation: FILE}`"
                .to_owned(),
        });
    }
    let (Snapshot { directory, commit, license, .. }, chosen) = hub.dataset(id, revision, config)?;
    Ok(Files { commit, license, ..Files::new(directory, chosen) })
}

impl Files {
    fn new(directory: PathBuf, chosen: Chosen) -> Self {
        let Chosen { splits, config, class_names, notes } = chosen;
        let place = |files: Vec<String>| files.into_iter().map(|file| directory.join(file)).collect();
        Self {
            train: place(splits.train),
            validation: place(splits.validation),
            test: place(splits.test),
            directory: Some(directory),
            class_names,
            config,
            notes,
            ..Self::default()
        }
    }
}
