//! The label column of one file: its different values, and what the file itself says of them.

use std::collections::BTreeMap;

use crate::{DataError, Place, cell::Cell, excerpt::quoted, rows::Rows};

/// The label column of one file.
pub(crate) struct LabelColumn<'a> {
    pub(super) rows: &'a Rows,
    /// What the file says its ids mean; none if it does not say.
    pub(super) own: Option<OwnNames>,
    /// The different values, each with where it occurs first and how often.
    pub(super) values: BTreeMap<&'a Cell, Occurrence>,
    reading: Reading,
}

/// Names that come with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnNames {
    /// Of a `ClassLabel` column or a card, in class order.
    List(Vec<String>),
    /// Of a column of names beside the ids.
    ById(BTreeMap<i64, String>),
}

/// Where a value is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occurrence {
    /// Index of the first row.
    pub(super) first: usize,
    /// How many rows have it.
    pub(super) rows: usize,
}

/// What the values of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Ids that the file itself names.
    NamedIds,
    /// Names, or numbers that only other files explain.
    Plain,
}

/// A label by what its own file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// The row has none.
    Missing,
    /// The name of a class.
    Name(String),
    /// A number that the file does not name.
    Number(i64),
}

impl<'a> LabelColumn<'a> {
    /// The labels of `rows`; `card` has the names of the classes if the file carries none.
    ///
    /// # Errors
    /// [`DataError::Row`] or [`DataError::Classes`] if the file contradicts itself.
    pub(crate) fn new(rows: &'a Rows, card: &[String]) -> Result<Self, DataError> {
        let mut values: BTreeMap<&Cell, Occurrence> = BTreeMap::new();
        for (i, cell) in rows.labels.iter().enumerate() {
            values.entry(cell).or_insert(Occurrence { first: i, rows: 0 }).rows += 1;
        }
        let list = if rows.names.is_empty() { card.to_vec() } else { rows.names.clone() };
        let own = match (&list[..], &rows.named) {
            ([], None) => None,
            ([], Some(named)) => Some(OwnNames::ById(named.by_number.clone())),
            (_, _) => Some(OwnNames::List(list)),
        };
        let mut column = Self { rows, own, values, reading: Reading::Plain };
        column.reading = column.read()?;
        Ok(column)
    }

    fn read(&self) -> Result<Reading, DataError> {
        let Some(own) = &self.own else { return Ok(Reading::Plain) };
        let present = || self.values.iter().filter(|(cell, _)| !self.is_missing(cell, &[]));
        let number = present().find(|(cell, _)| cell.integer().is_some());
        let name = present().find(|(cell, _)| cell.integer().is_none());
        match (number, name) {
            (None, _) => Ok(Reading::Plain),
            (Some(_), None) => Ok(Reading::NamedIds),
            (Some((number, at)), Some((name, other))) => {
                let source = match own {
                    OwnNames::List(_) => "class names",
                    OwnNames::ById(_) => "names in the column \"label_text\"",
                };
                Err(DataError::Row {
                    place: self.rows.place_of(at.first.max(other.first)),
                    problem: format!(
                        "the labels are mixed: {} is an id of the file's {source} and {} is a name; all must be ids, or \
                         all names",
                        number.shown(),
                        name.shown()
                    ),
                })
            }
        }
    }

    /// Whether a value marks a row without a label. Words for missing values are labels if `listed` has them, and -1 if
    /// anything names it.
    pub(super) fn is_missing(&self, cell: &Cell, listed: &[String]) -> bool {
        let is_listed = |name: &str| {
            listed.iter().any(|one| one == name)
                || matches!(&self.own, Some(OwnNames::List(names)) if names.iter().any(|one| one == name))
        };
        match cell {
            Cell::Missing => true,
            Cell::Text(text) if cell.is_missing_word() => !is_listed(text),
            _ if cell.integer() == Some(-1) => {
                let is_named = matches!(&self.own, Some(OwnNames::ById(names)) if names.contains_key(&-1));
                !is_named && !cell.name().is_some_and(|name| is_listed(&name)) && !is_listed("-1")
            }
            Cell::Text(_) | Cell::Integer(_) | Cell::Score(_) | Cell::List(_) | Cell::Other(_) => false,
        }
    }

    /// A value by what this file says of it.
    ///
    /// # Errors
    /// [`DataError::Row`] for a value that is no class, and an id that the file does not name.
    pub(super) fn label(&self, cell: &Cell, listed: &[String]) -> Result<Label, DataError> {
        if self.is_missing(cell, listed) {
            return Ok(Label::Missing);
        }
        let integer = cell.integer();
        if let (Reading::NamedIds, Some(own), Some(id)) = (self.reading, &self.own, integer) {
            return own
                .name(id)
                .map(|name| Label::Name(name.to_owned()))
                .ok_or_else(|| self.unnamed(own, id, cell));
        }
        match (integer, cell) {
            (Some(number), Cell::Integer(_) | Cell::Text(_)) => Ok(Label::Number(number)),
            (_, Cell::Text(name) | Cell::Score(name)) => Ok(Label::Name(name.clone())),
            _ => Err(self.row_error(cell, super::tasks::no_class(cell).unwrap_or_default())),
        }
    }

    fn unnamed(&self, own: &OwnNames, id: i64, cell: &Cell) -> DataError {
        let problem = match own {
            OwnNames::List(names) => format!(
                "label {id} is no index into the {} class names of the file, 0 to {}{}",
                names.len(),
                names.len() - 1,
                if names.iter().any(|name| *name == id.to_string()) {
                    "; numbers beside class names are read as indices, not as names"
                } else {
                    ""
                }
            ),
            OwnNames::ById(_) => format!("label {id} has no name in the column \"label_text\" in any row"),
        };
        self.row_error(cell, problem)
    }

    /// An error at the first row with a value.
    pub(super) fn row_error(&self, cell: &Cell, problem: String) -> DataError {
        DataError::Row { place: self.place(cell), problem }
    }

    /// The first row with a value.
    pub(super) fn place(&self, cell: &Cell) -> Place {
        self.rows.place_of(self.values.get(cell).map_or(0, |at| at.first))
    }

    /// Whether no row has a label.
    pub(crate) fn is_unlabelled(&self, listed: &[String]) -> bool {
        self.values.keys().all(|cell| self.is_missing(cell, listed))
    }

    /// Whether the values are ids that the file names.
    pub(super) fn has_named_ids(&self) -> bool {
        self.reading == Reading::NamedIds
    }

    /// The file's own names in class order.
    ///
    /// # Errors
    /// [`DataError::Classes`] if a column of names contradicts itself.
    pub(super) fn own_names(&self) -> Result<Option<Vec<String>>, DataError> {
        let wrong = |problem| DataError::Classes { path: self.rows.path.clone(), problem };
        match &self.own {
            None => Ok(None),
            Some(OwnNames::List(names)) => Ok(Some(names.clone())),
            Some(OwnNames::ById(_)) if !self.has_named_ids() => Ok(None),
            Some(OwnNames::ById(names)) => {
                if let Some((id, [one, other])) =
                    self.rows.named.as_ref().and_then(|named| named.contradiction.clone())
                {
                    return Err(wrong(format!(
                        "label {id} is {} in one row and {} in another of the column \"label_text\": `labels:` in the \
                         data set names the classes",
                        quoted(&one),
                        quoted(&other)
                    )));
                }
                Ok(Some(names.values().cloned().collect()))
            }
        }
    }

    /// Values by where they occur first.
    pub(super) fn in_order(&self) -> Vec<&'a Cell> {
        let mut values: Vec<(&&Cell, &Occurrence)> = self.values.iter().collect();
        values.sort_by_key(|(_, at)| at.first);
        values.into_iter().map(|(cell, _)| *cell).collect()
    }
}

impl OwnNames {
    fn name(&self, id: i64) -> Option<&str> {
        match self {
            Self::List(names) => names.get(usize::try_from(id).ok()?).map(String::as_str),
            Self::ById(names) => names.get(&id).map(String::as_str),
        }
    }
}

/// The error that row `i` has no label, as `count` rows of the file.
pub(crate) fn missing_label(rows: &Rows, i: usize, count: usize) -> DataError {
    let cell = &rows.labels[i];
    let without = if count == 1 { "1 row has".to_owned() } else { format!("{count} rows have") };
    let problem = match cell {
        Cell::Missing => {
            format!("the label is missing; {without} none: `drop_missing: true` in the data set drops them")
        }
        _ if cell.integer() == Some(-1) => format!(
            "label -1 marks a row without a label; {without} none: `drop_missing: true` in the data set drops them; if -1 \
             is a class, name it, as in `labels: {{-1: NAME, ..}}`"
        ),
        _ => format!(
            "label {} marks a row without a label; {without} none: `drop_missing: true` in the data set drops them; if it \
             is a class, list all classes in `labels:`",
            cell.shown()
        ),
    };
    DataError::Row { place: rows.place_of(i), problem }
}
