//! Label columns that are no classes: scores, several labels a row, texts and ids.

use std::collections::{BTreeMap, BTreeSet};

use super::column::LabelColumn;
use crate::{DataError, cell::Cell, excerpt::quoted};

/// More classes than this are a label column that was chosen wrongly.
const MOST_CLASSES: usize = 1000;
/// From this many rows on, values that differ in more than half of them are no classes.
const FEW_ROWS: usize = 100;

/// Why a value cannot be a class.
pub(super) fn no_class(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Other(_) => Some(format!("label {} is neither a name nor a whole number", cell.shown())),
        _ if is_list(cell) => Some(several_labels(cell)),
        _ if cell.is_score() => Some(score(cell)),
        _ => None,
    }
}

fn is_list(cell: &Cell) -> bool {
    match cell {
        Cell::List(_) => true,
        Cell::Text(text) => is_written_list(text),
        Cell::Missing | Cell::Integer(_) | Cell::Score(_) | Cell::Other(_) => false,
    }
}

fn several_labels(cell: &Cell) -> String {
    format!(
        "label {} is a list: several labels a row (multi-label classification) are not supported yet, only one class a row",
        cell.shown()
    )
}

fn score(cell: &Cell) -> String {
    format!(
        "label {} is a score, not a class: regression is not supported yet; `labels:` in the data set can name values as \
         classes",
        cell.shown()
    )
}

/// Rejects training labels that nothing names and that are plainly no classes.
///
/// # Errors
/// [`DataError::Row`] or [`DataError::Classes`] with the task that the labels belong to.
pub(super) fn check(columns: &[LabelColumn<'_>]) -> Result<(), DataError> {
    let present = || {
        columns.iter().flat_map(|column| {
            column
                .values
                .keys()
                .copied()
                .filter(|cell| !column.is_missing(cell, &[]))
                .map(move |cell| (column, cell))
        })
    };
    for (column, cell) in present() {
        if is_list(cell) {
            return Err(column.row_error(cell, several_labels(cell)));
        }
    }
    let is_number = |cell: &Cell| cell.is_score() || cell.integer().is_some();
    if present().all(|(_, cell)| is_number(cell))
        && let Some((column, cell)) = present().find(|(_, cell)| cell.is_score())
    {
        return Err(column.row_error(cell, score(cell)));
    }
    check_joined(&present().collect::<Vec<_>>())?;
    check_count(columns, present().map(|(_, cell)| cell).collect::<BTreeSet<_>>().len())
}

/// Whether a text is a list as Python or JSON writes it.
fn is_written_list(text: &str) -> bool {
    let enclosed = |open, close| text.starts_with(open) && text.ends_with(close);
    enclosed('[', ']')
        || (enclosed('{', '}') && text.contains([',', '\'']))
        || (enclosed('(', ')') && text.contains(','))
}

/// Rejects values such as `joy|anger` whose parts are values of their own, or parts of others.
fn check_joined(values: &[(&LabelColumn<'_>, &Cell)]) -> Result<(), DataError> {
    let names: BTreeSet<&str> = values.iter().filter_map(|(_, cell)| as_text(cell)).collect();
    for separator in ['|', ';', ','] {
        let mut joined_by: BTreeMap<&str, usize> = BTreeMap::new();
        for part in names.iter().flat_map(|name| parts(name, separator)) {
            *joined_by.entry(part).or_default() += 1;
        }
        let is_label =
            |part: &str| names.contains(part) || joined_by.get(part).is_some_and(|count| *count > 1);
        for (column, cell) in values {
            let Some(text) = as_text(cell) else { continue };
            let parts = parts(text, separator);
            // Commas and semicolons are part of ordinary names too.
            let is_joined = match separator {
                '|' => parts.iter().any(|part| is_label(part)),
                _ => !parts.is_empty() && parts.iter().all(|part| names.contains(part)),
            };
            if is_joined {
                let part = parts.iter().find(|part| is_label(part)).copied().unwrap_or_default();
                return Err(column.row_error(
                    cell,
                    format!(
                        "label {} joins several labels, such as {}: several labels a row (multi-label classification) \
                         are not supported yet; `labels:` in the data set can name it as one class",
                        quoted(text),
                        quoted(part)
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// The parts of a text that a separator joins; none if it joins nothing.
fn parts(text: &str, separator: char) -> Vec<&str> {
    let parts: Vec<&str> = text.split(separator).map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.len() > 1 { parts } else { Vec::new() }
}

fn as_text(cell: &Cell) -> Option<&str> {
    match cell {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}

/// Rejects a column of so many different values that it is a text, an id or a score.
fn check_count(columns: &[LabelColumn<'_>], different: usize) -> Result<(), DataError> {
    let Some(first) = columns.first() else { return Ok(()) };
    let rows: usize = columns.iter().map(|column| column.rows.labels.len()).sum();
    let share_exceeded = rows >= FEW_ROWS && different > rows / 2;
    if different <= MOST_CLASSES && !share_exceeded {
        return Ok(());
    }
    let name = first.rows.columns.label.as_deref().unwrap_or_default();
    Err(DataError::Classes {
        path: first.rows.path.clone(),
        problem: format!(
            "the label column {} has {different} different values in {rows} rows: it holds texts, ids or scores, not \
             classes; `label: NAME` in the data set (--label-column) names another column, `labels:` lists the classes",
            quoted(name)
        ),
    })
}
