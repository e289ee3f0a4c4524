//! A data set: its splits, its classes, and what was chosen for its user.

use std::path::{Path, PathBuf};

use distilsweep_proto::dataset::{Columns, DatasetSpec, FileFormat};

use crate::{
    ColumnNames, DataError, Files, Hub, Split, classes, locate, order,
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

/// Reads a data set; one of the Hub is downloaded into the Hub's cache first. Blocks.
///
/// # Errors
/// What is wrong with the data, and where; see [`DataError::is_retryable`] for what may pass.
pub fn load(hub: &Hub, spec: &DatasetSpec) -> Result<TextDataset, DataError> {
    read(locate(hub, spec)?, spec)
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

/// The rows of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileRows {
    /// The rows, in the order of the file.
    pub split: Split,
    /// The columns that were read.
    pub columns: ColumnNames,
    /// What was chosen for the user, and what looks wrong, in sentences.
    pub notes: Vec<String>,
}

/// The texts of one file. Empty ones are kept; there are no labels.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn read_texts(path: &Path, columns: &Columns, _format: &FileFormat) -> Result<FileRows, DataError> {
    let Columns { text_column: text, text_pair_column: pair, .. } = columns;
    let wanted = Wanted { text: text.as_deref(), pair: pair.as_deref(), label: Label::Unread };
    let Rows { texts, pairs, columns, .. } = rows::read(path, wanted)?;
    Ok(FileRows { split: Split { texts, pairs, labels: Vec::new() }, columns, notes: Vec::new() })
}

/// The rows of one file, whose labels must be among `classes`, by name or number.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn read_labelled(
    path: &Path,
    columns: &Columns,
    _format: &FileFormat,
    classes: &[String],
) -> Result<FileRows, DataError> {
    let Columns { text_column: text, text_pair_column: pair, label_column: label } = columns;
    let wanted = Wanted::labelled(text.as_deref(), pair.as_deref(), label.as_deref());
    let rows = rows::read(path, wanted)?;
    let columns = rows.columns.clone();
    Ok(FileRows { split: join(vec![rows], classes)?, columns, notes: Vec::new() })
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
