//! A data set: its splits, its classes, and what was chosen for its user.

use std::path::{Path, PathBuf};

use distilsweep_proto::dataset::{Columns, DatasetSpec, FileFormat};

use crate::{
    ColumnNames, DataError, Files, Hub, Split, class_folders,
    classes::{Classes, LabelColumn, missing_label},
    columns::{Label, Wanted},
    excerpt::quoted,
    locate, quality,
    rows::{self, Rows},
    sampling,
};

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
    /// The first training file, for messages.
    pub path: PathBuf,
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
    let format = files.format(&spec.format);
    let Files { train, validation, test, class_names, class_folders, config, commit, mut notes, .. } = files;
    let wanted = Wanted {
        drop_missing: spec.drop_missing,
        ..Wanted::labelled(spec.text.as_deref(), spec.text_pair.as_deref(), spec.label.as_deref())
    };
    let rows = |paths: &[PathBuf]| match paths {
        [_, ..] if class_folders => Ok(vec![class_folders::read(paths, wanted, &format)?]),
        _ => paths.iter().map(|path| rows::read(path, wanted, &format)).collect::<Result<Vec<_>, _>>(),
    };
    let (train, validation) = (rows(&train)?, rows(&validation)?);
    let mut test = rows(&test).map_err(explain_unlabelled_test)?;
    check_pairs(train.iter().chain(&validation).chain(&test))?;
    let path = train.first().map(|rows| rows.path.clone()).unwrap_or_default();
    let columns = train.first().map(|rows| rows.columns.clone()).unwrap_or_default();
    let card = columns.label.as_ref().and_then(|column| class_names.get(column)).cloned().unwrap_or_default();
    notes.extend([&train, &validation, &test].into_iter().flatten().flat_map(|rows| rows.notes.clone()));
    let listed = spec.labels.names();
    if hides_labels(&test, &listed, &card)? {
        notes.push("no row of the test split has a label (all are missing or -1): it is left out".to_owned());
        test.clear();
    }

    let (classes, labels) = {
        let (train, validation, test) =
            (label_columns(&train, &card)?, label_columns(&validation, &card)?, label_columns(&test, &card)?);
        let others: Vec<&LabelColumn<'_>> = validation.iter().chain(&test).collect();
        let classes = Classes::decide(&spec.labels, &train, &others)?;
        let labels: [Vec<RowClasses>; 3] =
            [assign(&classes, &train)?, assign(&classes, &validation)?, assign(&classes, &test)?];
        (classes, labels)
    };
    let mut dropped = Dropped::new(spec.drop_missing);
    let [of_train, of_validation, of_test] = labels;
    let mut train = join(train, of_train, &mut dropped)?;
    let mut validation = join(validation, of_validation, &mut dropped)?;
    let mut test = Some(join(test, of_test, &mut dropped)?).filter(|test| !test.is_empty());
    notes.extend(dropped.notes());
    let Classes { names: classes, notes: of_classes, .. } = classes;
    notes.extend(of_classes);
    if validation.is_empty() {
        let note;
        (train, validation, note) = sampling::cut_validation(&train, &classes);
        notes.push(note);
    }
    let order = spec.limit.order;
    for (split, limit) in [
        (Some(&mut train), spec.limit.train),
        (Some(&mut validation), spec.limit.validation),
        (test.as_mut(), spec.limit.test),
    ] {
        if let Some(split) = split {
            sampling::limit(split, limit, order, classes.len());
        }
    }
    check(&path, &train, &validation, &classes, spec.limit.train)?;
    let mut data = TextDataset { train, validation, test, classes, columns, path, config, commit, notes };
    data.notes.extend(quality::notes(&data));
    Ok(data)
}

/// What to do about a test split without a label column.
fn explain_unlabelled_test(error: DataError) -> DataError {
    match &error {
        DataError::Column { path, role: "label", .. } => {
            let text = error.to_string();
            let problem = text.strip_prefix(&format!("{} ", path.display())).unwrap_or(&text);
            DataError::Malformed {
                path: path.clone(),
                problem: format!(
                    "{problem}; a test split without labels is left out by `test: null` for files and \
                     `splits: {{test: null}}` for a directory or Hub id"
                ),
            }
        }
        _ => error,
    }
}

/// Rejects files of which some have pairs of texts and others single ones.
fn check_pairs<'a>(files: impl Iterator<Item = &'a Rows>) -> Result<(), DataError> {
    let mut files = files.peekable();
    let Some(first) = files.peek().map(|rows| (rows.path.clone(), rows.columns.clone())) else {
        return Ok(());
    };
    match files.find(|rows| rows.columns.pair.is_some() != first.1.pair.is_some()) {
        None => Ok(()),
        Some(rows) => {
            let read = |columns: &ColumnNames| match &columns.pair {
                Some(pair) => format!("pairs of {} and {}", quoted(&columns.text), quoted(pair)),
                None => format!("single texts of {}", quoted(&columns.text)),
            };
            Err(DataError::Malformed {
                path: rows.path.clone(),
                problem: format!(
                    "has {}, and {} has {}: `text:` and `text_pair:` in the data set name the columns",
                    read(&rows.columns),
                    first.0.display(),
                    read(&first.1)
                ),
            })
        }
    }
}

fn label_columns<'a>(files: &'a [Rows], card: &[String]) -> Result<Vec<LabelColumn<'a>>, DataError> {
    files.iter().map(|rows| LabelColumn::new(rows, card)).collect()
}

/// Whether rows have labels for form's sake, as GLUE's test splits do.
fn hides_labels(files: &[Rows], listed: &[String], card: &[String]) -> Result<bool, DataError> {
    for rows in files {
        // Files of a mixture are rejected when their labels are read.
        let Ok(column) = LabelColumn::new(rows, card) else { return Ok(false) };
        if !column.is_unlabelled(listed) {
            return Ok(false);
        }
    }
    Ok(files.iter().any(|rows| !rows.labels.is_empty()))
}

/// Rows that are left out because they lack a label or a text.
struct Dropped {
    allowed: bool,
    labels: usize,
    texts: usize,
}

impl Dropped {
    fn new(allowed: bool) -> Self {
        Self { allowed, labels: 0, texts: 0 }
    }

    fn notes(&self) -> Option<String> {
        let parts = [(self.labels, "without a label"), (self.texts, "without a text")];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(rows, _)| *rows > 0)
            .map(|(rows, what)| format!("{rows} {} {what}", if rows == 1 { "row" } else { "rows" }))
            .collect();
        (!parts.is_empty()).then(|| format!("dropped {}", parts.join(" and ")))
    }
}

/// The classes of the rows of a file; none for a row without a label.
type RowClasses = Vec<Option<u32>>;

fn assign(classes: &Classes, columns: &[LabelColumn<'_>]) -> Result<Vec<RowClasses>, DataError> {
    columns.iter().map(|column| classes.assign(column)).collect()
}

/// The rows of all files of a split with their classes.
fn join(files: Vec<Rows>, labels: Vec<RowClasses>, dropped: &mut Dropped) -> Result<Split, DataError> {
    let mut split = Split::default();
    for (rows, labels) in files.into_iter().zip(labels) {
        let missing = labels.iter().filter(|label| label.is_none()).count();
        if let Some(first) = labels.iter().position(Option::is_none).filter(|_| !dropped.allowed) {
            return Err(missing_label(&rows, first, missing));
        }
        dropped.labels += missing;
        dropped.texts += rows.dropped;
        split
            .pairs
            .extend(rows.pairs.into_iter().zip(&labels).filter_map(|(pair, label)| label.map(|_| pair)));
        split
            .texts
            .extend(rows.texts.into_iter().zip(&labels).filter_map(|(text, label)| label.map(|_| text)));
        split.labels.extend(labels.into_iter().flatten());
    }
    Ok(split)
}

fn check(
    path: &Path,
    train: &Split,
    validation: &Split,
    classes: &[String],
    limit: Option<u64>,
) -> Result<(), DataError> {
    let problem = |problem: String| Err(DataError::Classes { path: path.to_owned(), problem });
    if train.is_empty() {
        return problem("there are no training rows".to_owned());
    }
    if validation.is_empty() {
        return problem(format!(
            "a validation split cannot be cut from {} training rows: no class has two rows",
            train.len()
        ));
    }
    let present = train.class_counts(classes.len()).iter().filter(|count| **count > 0).count();
    if present < 2 {
        let class = classes.get(train.labels[0] as usize).cloned().unwrap_or_default();
        if limit.is_some_and(|limit| limit <= train.len() as u64) {
            return problem(format!(
                "`limit` keeps only training rows of the class {}: raise it, or leave out `order: first`",
                quoted(&class)
            ));
        }
        return Err(DataError::OneClass { path: path.to_owned(), class });
    }
    Ok(())
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

/// The texts of one file. Empty ones are read too; there are no labels.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn read_texts(path: &Path, columns: &Columns, format: &FileFormat) -> Result<FileRows, DataError> {
    let Columns { text_column: text, text_pair_column: pair, .. } = columns;
    let named = Wanted::labelled(text.as_deref(), pair.as_deref(), None);
    let Rows { texts, pairs, columns, notes, .. } =
        rows::read(path, Wanted { label: Label::Unread, ..named }, format)?;
    Ok(FileRows { split: Split { texts, pairs, labels: Vec::new() }, columns, notes })
}

/// The rows of one file with labels, for a model of these classes. Names that come with the file say what its ids mean;
/// otherwise labels are names of the model's classes, or indices of them.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn read_labelled(
    path: &Path,
    columns: &Columns,
    format: &FileFormat,
    classes: &[String],
) -> Result<FileRows, DataError> {
    let Columns { text_column: text, text_pair_column: pair, label_column: label } = columns;
    let wanted = Wanted::labelled(text.as_deref(), pair.as_deref(), label.as_deref());
    let rows = rows::read(path, wanted, format)?;
    let column = LabelColumn::new(&rows, &[])?;
    let classes = Classes::of_model(classes, &column)?;
    let labels = classes.assign(&column)?;
    let (columns, notes) =
        (rows.columns.clone(), classes.notes.into_iter().chain(rows.notes.clone()).collect());
    let split = join(vec![rows], vec![labels], &mut Dropped::new(false))?;
    Ok(FileRows { split, columns, notes })
}
