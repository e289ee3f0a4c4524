//! From the labels of the rows to class numbers.

use std::collections::BTreeSet;

use crate::{
    DataError,
    rows::{Cell, Rows},
};

/// More classes than this are taken for a label column that was chosen wrongly.
const MOST_CLASSES: usize = 1000;

/// The class names, in class order: those given, else those that the training files carry, else what the labels say.
pub(crate) fn resolve(given: &[String], train: &[Rows]) -> Result<Vec<String>, DataError> {
    let path = train.first().map(|rows| rows.path.clone()).unwrap_or_default();
    let wrong = |problem| DataError::Classes { path: path.clone(), problem };
    let carried = train.first().map(|rows| rows.names.clone()).unwrap_or_default();
    let named = if given.is_empty() { carried } else { given.to_vec() };
    if !named.is_empty() {
        let different: BTreeSet<&String> = named.iter().collect();
        return match (different.len() == named.len(), named.len()) {
            (false, _) => Err(wrong(format!("a class is named twice in {}", named.join(", ")))),
            (true, 1) => {
                Err(wrong(format!("\"{}\" is the only class named, at least two are needed", named[0])))
            }
            (true, _) => Ok(named),
        };
    }
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for rows in train {
        for (cell, number) in rows.labels.iter().zip(&rows.numbers) {
            match (integer(cell), cell) {
                (Some(i), _) => _ = numbers.insert(i),
                (None, Cell::Text(name)) => _ = names.insert(name.clone()),
                (None, Cell::Missing) => return Err(missing(rows, *number)),
                (None, Cell::Odd(shown)) => {
                    return Err(DataError::Row {
                        place: rows.place(*number),
                        problem: format!("label {shown} is neither a name nor a whole number"),
                    });
                }
                (None, Cell::Integer(_)) => {}
            }
            if names.len() + numbers.len() > MOST_CLASSES {
                return Err(wrong(format!(
                    "the label column has more than {MOST_CLASSES} different values; is it the right one? \
                     (`label: NAME` in the data set or --label-column names it)"
                )));
            }
        }
    }
    match names.len() + numbers.len() {
        0 => return Err(wrong("there are no rows, training needs some of every class".to_owned())),
        1 => {
            let class = names.into_iter().chain(numbers.iter().map(ToString::to_string)).collect();
            return Err(DataError::OneClass { path, class });
        }
        _ if names.is_empty() => return numbered(&numbers).map_err(wrong),
        _ => {}
    }
    names.extend(numbers.iter().map(ToString::to_string));
    Ok(names.into_iter().collect())
}

/// Classes of labels that are all numbers, named as transformers names classes without names.
fn numbered(numbers: &BTreeSet<i64>) -> Result<Vec<String>, String> {
    let count = numbers.len() as i64;
    if let Some(absent) = (0..count).find(|i| !numbers.contains(i)) {
        let seen: Vec<String> = numbers.iter().take(12).map(ToString::to_string).collect();
        return Err(format!(
            "labels are numbers without names, so they must run from 0 without a gap; {absent} is absent from {}{}; \
             `labels: [..]` in the data set names the classes",
            seen.join(", "),
            if numbers.len() > seen.len() { ", .." } else { "" }
        ));
    }
    Ok((0..count).map(|i| format!("LABEL_{i}")).collect())
}

/// The class of every row: by its name, else by its number.
pub(crate) fn assign(rows: &Rows, classes: &[String]) -> Result<Vec<u32>, DataError> {
    let class_of = |cell: &Cell| {
        let shown = match cell {
            Cell::Text(name) => name.clone(),
            Cell::Integer(i) => i.to_string(),
            Cell::Missing | Cell::Odd(_) => return None,
        };
        let by_name = classes.iter().position(|class| *class == shown);
        let by_number = || integer(cell).and_then(|i| usize::try_from(i).ok()).filter(|i| *i < classes.len());
        by_name.or_else(by_number).map(|class| class as u32)
    };
    rows.labels
        .iter()
        .zip(&rows.numbers)
        .map(|(cell, number)| {
            class_of(cell).ok_or_else(|| {
                let (value, near) = match cell {
                    Cell::Missing => return missing(rows, *number),
                    Cell::Text(name) => (format!("\"{name}\""), nearest(name, classes)),
                    Cell::Integer(i) => (i.to_string(), None),
                    Cell::Odd(shown) => (shown.clone(), None),
                };
                DataError::Label { place: rows.place(*number), value, near, classes: classes.to_vec() }
            })
        })
        .collect()
}

fn missing(rows: &Rows, number: u64) -> DataError {
    DataError::Row { place: rows.place(number), problem: "the label is missing".to_owned() }
}

fn integer(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Integer(i) => Some(*i),
        Cell::Text(text) => text.parse().ok(),
        Cell::Missing | Cell::Odd(_) => None,
    }
}

fn nearest(name: &str, classes: &[String]) -> Option<String> {
    let lower = name.to_lowercase();
    classes
        .iter()
        .map(|class| (strsim::jaro_winkler(&lower, &class.to_lowercase()), class))
        .filter(|(similarity, _)| *similarity >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, class)| class.clone())
}
