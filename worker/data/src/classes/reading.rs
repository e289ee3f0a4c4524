//! What the numbers and names among label values mean, decided over all files of a data set.

use std::collections::BTreeMap;

use super::{
    Classes,
    column::{Label, LabelColumn, OwnNames},
};
use crate::{
    DataError,
    cell::Cell,
    excerpt::{listed, quoted, quoted_list},
};

/// What numbers mean that their own file does not name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Nothing says which class a number is.
    Unexplained,
    /// They are names of classes.
    Names,
    /// They are indices of classes.
    Indices,
    /// They are indices of classes whose names (LABEL_0, ..) say no more than that.
    Placeholders,
    /// They are ids that the training files name: the class of each.
    Ids(BTreeMap<i64, u32>),
}

impl Classes {
    /// Decides whether the values that no file names are names of these classes or indices of them.
    ///
    /// # Errors
    /// [`DataError::Row`] if some are names and others indices, [`DataError::Label`] if one is neither.
    pub(super) fn read_plain(&mut self, columns: &[&LabelColumn<'_>]) -> Result<Numbers, DataError> {
        if self.names.iter().enumerate().all(|(class, name)| *name == format!("LABEL_{class}")) {
            return Ok(Numbers::Placeholders);
        }
        let (mut no_name, mut no_index, mut differs) = (None, None, None);
        for column in columns.iter().filter(|column| !column.has_named_ids()) {
            for cell in column.in_order() {
                let number = match column.label(cell, &self.listed)? {
                    Label::Missing => continue,
                    Label::Name(_) => None,
                    Label::Number(number) => Some(number),
                };
                let by_name = self.class_named(cell, number);
                let by_index = number.and_then(|number| self.class_of_number(number));
                match (by_name, by_index) {
                    (None, None) => return Err(self.unknown(column, cell)),
                    (None, Some(_)) => _ = no_name.get_or_insert((*column, cell)),
                    (Some(_), None) => _ = no_index.get_or_insert((*column, cell)),
                    (Some(name), Some(index)) if name != index => _ = differs.get_or_insert(cell),
                    (Some(_), Some(_)) => {}
                }
            }
        }
        match (no_name, no_index) {
            (Some(index), Some(name)) => Err(mixed(name, index)),
            (Some(_), None) => Ok(Numbers::Indices),
            (None, _) => {
                if let (Some(cell), None) = (differs, no_index) {
                    self.notes.push(format!(
                        "labels such as {} are class names and could be indices of classes too: they are read as names",
                        cell.shown()
                    ));
                }
                Ok(Numbers::Names)
            }
        }
    }

    /// The class that a value names, as it is written or as a whole number.
    pub(super) fn class_named(&self, cell: &Cell, number: Option<i64>) -> Option<u32> {
        let written = cell.name().and_then(|name| self.by_name.get(&name));
        written.or_else(|| self.by_name.get(&number?.to_string())).copied()
    }
}

/// That some labels are names and others numbers.
pub(super) fn mixed(
    (names, name): (&LabelColumn<'_>, &Cell),
    (numbers, number): (&LabelColumn<'_>, &Cell),
) -> DataError {
    let (first, second) = (names.place(name), numbers.place(number));
    let same_file = first.path == second.path;
    let (place, other) =
        if same_file && first.number > second.number { (first, second) } else { (second, first) };
    let file = if same_file { String::new() } else { format!("{} ", other.path.display()) };
    let problem = format!(
        "labels are mixed: {} is a class name and {} may be an index (the other is at {file}{} {}); all must be names, or all \
         indices; `labels: {{VALUE: CLASS, ..}}` in the data set says what each means",
        name.shown(),
        number.shown(),
        other.unit,
        other.number
    );
    DataError::Row { place, problem }
}

/// Rejects class names of the sweep file that contradict those of a training file.
pub(super) fn check_against_file(names: &[String], column: &LabelColumn<'_>) -> Result<(), DataError> {
    match column.own_names()? {
        Some(own) if own != names => Err(DataError::Classes {
            path: column.rows.path.clone(),
            problem: format!(
                "the file names its classes {}, and `labels` of the data set {}: remove `labels`, or map them as \
                 `labels: {{{}}}`",
                quoted_list(&own),
                quoted_list(names),
                listed(own.iter().map(|name| format!("{}: CLASS", quoted(name))))
            ),
        }),
        _ => Ok(()),
    }
}

/// The names of ids over all training files, if a column beside the labels gives them.
pub(super) fn named_ids(train: &[LabelColumn<'_>]) -> Result<Option<BTreeMap<i64, String>>, DataError> {
    let mut ids: BTreeMap<i64, String> = BTreeMap::new();
    for column in train {
        let own = match &column.own {
            Some(OwnNames::List(_)) => return Ok(None),
            Some(OwnNames::ById(own)) if column.has_named_ids() => own,
            Some(OwnNames::ById(_)) | None => continue,
        };
        column.own_names()?;
        for (id, name) in own {
            let known = ids.entry(*id).or_insert_with(|| name.clone());
            if known != name {
                return Err(DataError::Classes {
                    path: column.rows.path.clone(),
                    problem: format!(
                        "label {id} is named {} here and {} in another training file: `labels:` in the data set names the \
                         classes",
                        quoted(name),
                        quoted(known)
                    ),
                });
            }
        }
    }
    Ok(Some(ids))
}

/// Rejects numbers that do not run from 0 without a gap: an index that is never used, or numbers that are names.
pub(super) fn check_gapless(ids: &[i64]) -> Result<(), String> {
    let Some(absent) = (0..ids.len() as i64).find(|id| ids.binary_search(id).is_err()) else { return Ok(()) };
    Err(format!(
        "labels are numbers without names, which must run from 0 without a gap; {absent} is absent from {}: name the classes \
         in the data set, as in `labels: {{{}}}`",
        listed(ids.iter().map(ToString::to_string)),
        listed(ids.iter().map(|id| format!("{id}: NAME")))
    ))
}
