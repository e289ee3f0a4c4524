//! A data set: its splits, its classes, and what was chosen for its user.

use std::path::{Path, PathBuf};

use distilsweep_proto::dataset::{DatasetSource, DatasetSpec};

use crate::{
    DataError, classes, hub, layout, order,
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
    /// What was chosen where the data set does not say, in sentences for its user.
    pub notes: Vec<String>,
}

/// The rows of one split, in the order of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The texts.
    pub texts: Vec<String>,
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

    fn select(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.len()).filter(|i| keep(*i)).collect();
        Self {
            texts: kept.iter().map(|i| self.texts[*i].clone()).collect(),
            labels: kept.iter().map(|i| self.labels[*i]).collect(),
        }
    }

    fn limit(&mut self, limit: Option<u64>) {
        let kept = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        self.texts.truncate(kept);
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

/// The files of each split.
pub(crate) struct Files {
    pub(crate) train: Vec<PathBuf>,
    pub(crate) validation: Vec<PathBuf>,
    pub(crate) test: Vec<PathBuf>,
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
pub fn load(spec: &DatasetSpec) -> Result<TextDataset, DataError> {
    read(locate(&spec.source)?, spec)
}

/// Reads the files of a data set.
pub(crate) fn read(files: Files, spec: &DatasetSpec) -> Result<TextDataset, DataError> {
    let Files { train, validation, test, mut notes } = files;
    let wanted = Wanted::labelled(spec.text.as_deref(), spec.label.as_deref());
    let rows =
        |paths: &[PathBuf]| paths.iter().map(|path| rows::read(path, wanted)).collect::<Result<Vec<_>, _>>();
    let (train, validation, test) = (rows(&train)?, rows(&validation)?, rows(&test)?);
    let first = train.first().map(|rows| rows.path.clone()).unwrap_or_default();

    let classes = classes::resolve(&spec.labels, &train)?;
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
    Ok(TextDataset { train, validation, test, classes, notes })
}

/// The texts of one file, in its order, by the column of this name or the first usual one. Empty ones are kept.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn read_texts(path: &Path, text: Option<&str>) -> Result<Vec<String>, DataError> {
    Ok(rows::read(path, Wanted { text, label: Label::Unread })?.texts)
}

/// The rows of one file, whose labels must be among `classes`, by name or number.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn read_labelled(
    path: &Path,
    text: Option<&str>,
    label: Option<&str>,
    classes: &[String],
) -> Result<Split, DataError> {
    join(vec![rows::read(path, Wanted::labelled(text, label))?], classes)
}

fn join(files: Vec<Rows>, classes: &[String]) -> Result<Split, DataError> {
    let mut split = Split::default();
    for rows in files {
        split.labels.extend(classes::assign(&rows, classes)?);
        split.texts.extend(rows.texts);
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

/// Finds the files of a data set; those of the Hub are downloaded.
pub(crate) fn locate(source: &DatasetSource) -> Result<Files, DataError> {
    match source {
        DatasetSource::Files { train, validation, test } => Ok(Files {
            train: vec![train.clone()],
            validation: validation.iter().cloned().collect(),
            test: test.iter().cloned().collect(),
            notes: Vec::new(),
        }),
        DatasetSource::Id { id, config, revision } => {
            let directory = Path::new(id);
            if directory.is_dir() {
                let files = layout::list(directory)?;
                let (splits, notes) =
                    layout::choose(&files, config.as_deref()).map_err(|problem| DataError::Malformed {
                        path: directory.to_owned(),
                        problem: format!("is no data set: {problem}"),
                    })?;
                let place = |files: Vec<String>| files.into_iter().map(|file| directory.join(file)).collect();
                Ok(Files {
                    train: place(splits.train),
                    validation: place(splits.validation),
                    test: place(splits.test),
                    notes,
                })
            } else if directory.is_file() {
                Err(DataError::Malformed {
                    path: directory.to_owned(),
                    problem: "is a file; a data set of files is `dataset: {train: FILE, validation: FILE}`"
                        .to_owned(),
                })
            } else {
                let (splits, notes) = hub::dataset_files(id, config.as_deref(), revision.as_deref())?;
                let [train, validation, test] = splits;
                Ok(Files { train, validation, test, notes })
            }
        }
    }
}
