//! From the labels of the rows to class numbers.

use std::collections::BTreeSet;

use crate::{
    DataError, Place,
    rows::{Cell, Rows},
};

/// More classes than this are taken for a label column that was chosen wrongly.
const MOST_CLASSES: usize = 1000;

/// The class names, in class order: those given, else those that the training files carry, else those of the card, else
/// what the labels, or the names beside them, say.
pub(crate) fn resolve(
    given: &[String],
    train: &[Rows],
    of_card: Vec<String>,
) -> Result<Vec<String>, DataError> {
    let path = train.first().map(|rows| rows.path.clone()).unwrap_or_default();
    let wrong = |problem| DataError::Classes { path: path.clone(), problem };
    let carried = train.first().map(|rows| rows.names.clone()).unwrap_or_default();
    let named = [given.to_vec(), carried, of_card].into_iter().find(|names| !names.is_empty());
    let named = named.unwrap_or_default();
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
    let mut first: Option<(&Cell, Place)> = None;
    for rows in train {
        for (cell, number) in rows.labels.iter().zip(&rows.numbers) {
            if let Some((other, place)) = &first {
                one_type(other, place, cell, || rows.place(*number))?;
            } else {
                first = Some((cell, rows.place(*number)));
            }
            match (cell.integer(), cell) {
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
        _ if names.is_empty() => return numbered(&numbers, train).map_err(wrong),
        _ => {}
    }
    names.extend(numbers.iter().map(ToString::to_string));
    Ok(names.into_iter().collect())
}

/// A column that holds numbers and texts was not meant as one or the other. Text files cannot tell, and hold texts alone.
fn one_type(
    first: &Cell,
    first_place: &Place,
    cell: &Cell,
    place: impl Fn() -> Place,
) -> Result<(), DataError> {
    let (number, text) = match (first, cell) {
        (Cell::Integer(number), Cell::Text(text)) | (Cell::Text(text), Cell::Integer(number)) => {
            (number, text)
        }
        _ => return Ok(()),
    };
    let problem = format!(
        "the labels are of different types, {number} and \"{text}\" (the first is at {} {}); all must be numbers, or \
         all names",
        first_place.unit, first_place.number
    );
    Err(DataError::Row { place: place(), problem })
}

/// Classes of labels that are all numbers, by the names beside them, else named as transformers names classes without
/// names.
fn numbered(numbers: &BTreeSet<i64>, train: &[Rows]) -> Result<Vec<String>, String> {
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
    let beside = |i: i64| train.iter().find_map(|rows| rows.named.as_ref()?.get(&i).cloned());
    let agreed = train.iter().all(|rows| rows.named.is_some());
    let names: Option<Vec<String>> = (0..count).map(beside).collect();
    let different = |names: &Vec<String>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    Ok(names
        .filter(|names| agreed && different(names))
        .unwrap_or_else(|| (0..count).map(|i| format!("LABEL_{i}")).collect()))
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
        let by_number =
            || cell.integer().and_then(|i| usize::try_from(i).ok()).filter(|i| *i < classes.len());
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

fn nearest(name: &str, classes: &[String]) -> Option<String> {
    let lower = name.to_lowercase();
    classes
        .iter()
        .map(|class| (strsim::jaro_winkler(&lower, &class.to_lowercase()), class))
        .filter(|(similarity, _)| *similarity >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, class)| class.clone())
}
