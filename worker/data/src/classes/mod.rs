//! From label values to classes: names and ids are distinguished once per data set, never row by row.
//!
//! Names that come with a file (a `ClassLabel` column, the card, a column `label_text`) say what the ids of that file
//! mean. All other values of a data set are class names, or all are indices. What fits neither is rejected.

mod column;
mod reading;
mod tasks;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use distilsweep_proto::dataset::Labels;

pub(crate) use self::column::{LabelColumn, missing_label};
use self::{column::Label, reading::Numbers};
use crate::{
    DataError,
    cell::Cell,
    excerpt::{listed, quoted, quoted_list},
};

/// The classes of a data set, and which label values belong to each.
#[derive(Debug)]
pub(crate) struct Classes {
    /// Class names, in class order.
    pub(crate) names: Vec<String>,
    /// What was chosen for the user, and what looks wrong, in sentences.
    pub(crate) notes: Vec<String>,
    by_name: HashMap<String, u32>,
    /// Classes of values that the sweep file maps.
    by_value: HashMap<String, u32>,
    numbers: Numbers,
    /// Values that are labels although they could mark missing ones.
    listed: Vec<String>,
}

impl Classes {
    /// Decides the classes of a data set by its training files; `others` are files of its other splits.
    ///
    /// # Errors
    /// [`DataError::Classes`], [`DataError::Row`] or [`DataError::Label`] if the labels make no classes, or may be read
    /// in several ways.
    pub(crate) fn decide(
        labels: &Labels,
        train: &[LabelColumn<'_>],
        others: &[&LabelColumn<'_>],
    ) -> Result<Self, DataError> {
        match labels {
            Labels::Inferred => Self::infer(train),
            Labels::Values(values) => {
                let listed = values.iter().flat_map(|(value, name)| [value.clone(), name.clone()]).collect();
                let mut classes = Self::new(labels.names(), Numbers::Unexplained, listed).checked(train)?;
                classes.by_value =
                    values.iter().map(|(value, name)| (canonical(value), classes.by_name[name])).collect();
                Ok(classes)
            }
            Labels::Names(names) => {
                let mut classes =
                    Self::new(names.clone(), Numbers::Unexplained, names.clone()).checked(train)?;
                for column in train.iter().filter(|column| column.has_named_ids()) {
                    reading::check_against_file(names, column)?;
                }
                let all: Vec<&LabelColumn<'_>> = train.iter().chain(others.iter().copied()).collect();
                classes.numbers = classes.read_plain(&all)?;
                Ok(classes)
            }
        }
    }

    /// The classes of a trained model, and how the labels of a file map to them.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub(crate) fn of_model(names: &[String], file: &LabelColumn<'_>) -> Result<Self, DataError> {
        let mut classes = Self::new(names.to_vec(), Numbers::Unexplained, names.to_vec());
        classes.numbers = classes.read_plain(&[file])?;
        Ok(classes)
    }

    /// Classes by what the training files say themselves.
    fn infer(train: &[LabelColumn<'_>]) -> Result<Self, DataError> {
        let named = train.iter().find_map(|column| column.own_names().transpose()).transpose()?;
        let Some(names) = named else {
            tasks::check(train)?;
            let mut classes = Self::of_values(train)?;
            classes.notes.extend(twins(&classes.names));
            return Ok(classes);
        };
        let ids = reading::named_ids(train)?;
        let names = match &ids {
            // Ids that a column names are in the order of the ids, over all files.
            Some(ids) => ids.values().cloned().collect(),
            None => names,
        };
        let numbers = match ids {
            Some(ids) => Numbers::Ids((0..).zip(ids.keys()).map(|(class, id)| (*id, class)).collect()),
            None => Numbers::Indices,
        };
        Self::new(names.clone(), numbers, names).checked(train)
    }

    fn new(names: Vec<String>, numbers: Numbers, listed: Vec<String>) -> Self {
        let by_name = (0..).zip(&names).map(|(class, name)| (name.clone(), class)).collect();
        Self { names, notes: Vec::new(), by_name, by_value: HashMap::new(), numbers, listed }
    }

    /// These classes, if there are at least two of different names.
    fn checked(mut self, train: &[LabelColumn<'_>]) -> Result<Self, DataError> {
        let path = train.first().map(|column| column.rows.path.clone()).unwrap_or_default();
        let wrong = |problem| Err(DataError::Classes { path, problem });
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.names.iter().find(|name| !seen.insert(name.as_str())) {
            return wrong(format!("two classes are named {}", quoted(twice)));
        }
        if let [only] = &self.names[..] {
            return wrong(format!("{} is the only class named, at least two are needed", quoted(only)));
        }
        self.notes.extend(twins(&self.names));
        Ok(self)
    }

    /// Classes of values that nothing names.
    fn of_values(train: &[LabelColumn<'_>]) -> Result<Self, DataError> {
        let path = train.first().map(|column| column.rows.path.clone()).unwrap_or_default();
        let wrong = |problem| DataError::Classes { path: path.clone(), problem };
        let (mut names, mut numbers, mut missing) = (BTreeMap::new(), BTreeMap::new(), 0);
        for column in train {
            for cell in column.in_order() {
                match column.label(cell, &[])? {
                    Label::Missing => missing += column.values[cell].rows,
                    Label::Name(name) => _ = names.entry(name).or_insert((column, cell)),
                    Label::Number(number) => _ = numbers.entry(number).or_insert((column, cell)),
                }
                if let (Some((_, (one, name))), Some((_, (other, number)))) =
                    (names.first_key_value(), numbers.first_key_value())
                {
                    return Err(reading::mixed((one, name), (other, number)));
                }
            }
        }
        let all: Vec<String> = names.into_keys().chain(numbers.keys().map(ToString::to_string)).collect();
        match &all[..] {
            [] if train.iter().all(|column| column.rows.labels.is_empty()) => {
                Err(wrong("there are no rows, training needs some of every class".to_owned()))
            }
            [] => Err(wrong("no training row has a label".to_owned())),
            // Missing labels are reported first: they may be those of the other classes.
            [class] if missing == 0 => Err(DataError::OneClass { path, class: class.clone() }),
            _ if numbers.is_empty() => Ok(Self::new(all, Numbers::Unexplained, Vec::new())),
            _ => {
                let ids: Vec<i64> = numbers.into_keys().collect();
                reading::check_gapless(&ids).map_err(wrong)?;
                let names = ids.iter().map(|id| format!("LABEL_{id}")).collect();
                Ok(Self::new(names, Numbers::Indices, Vec::new()))
            }
        }
    }

    /// The class of every row of a file; none for rows without a label.
    ///
    /// # Errors
    /// [`DataError::Label`] or [`DataError::Row`] at the first row whose label is no class.
    pub(crate) fn assign(&self, column: &LabelColumn<'_>) -> Result<Vec<Option<u32>>, DataError> {
        let is_mapped = |cell: &&Cell| self.mapped(cell).is_some();
        let present = || column.in_order().into_iter().filter(|cell| !column.is_missing(cell, &self.listed));
        // The sweep file maps the values as the file has them, or their names in the file: one for all rows.
        let maps_values = !column.has_named_ids() || present().all(|cell| is_mapped(&cell));
        let mut classes: HashMap<&Cell, Option<u32>> = HashMap::new();
        for cell in column.in_order() {
            let class = match self.mapped(cell).filter(|_| maps_values) {
                Some(class) => Some(class),
                None => self.class_of(column, cell)?,
            };
            classes.insert(cell, class);
        }
        Ok(column.rows.labels.iter().map(|cell| classes[cell]).collect())
    }

    /// The class that the sweep file maps a value to.
    fn mapped(&self, cell: &Cell) -> Option<u32> {
        self.by_value.get(&canonical(&cell.name()?)).copied()
    }

    fn class_of(&self, column: &LabelColumn<'_>, cell: &Cell) -> Result<Option<u32>, DataError> {
        let class = match column.label(cell, &self.listed)? {
            Label::Missing => return Ok(None),
            Label::Name(name) if !self.by_value.is_empty() => {
                self.by_value.get(&canonical(&name)).or_else(|| self.by_name.get(&name)).copied()
            }
            Label::Number(_) if !self.by_value.is_empty() => None,
            Label::Name(name) => {
                // Classes without names of their own are those of the ids.
                let by_id = || cell.integer().filter(|_| self.numbers == Numbers::Placeholders);
                self.by_name.get(&name).copied().or_else(|| self.class_of_number(by_id()?))
            }
            Label::Number(number) => match &self.numbers {
                Numbers::Names => self.class_named(cell, Some(number)),
                Numbers::Unexplained => return Err(self.unexplained(column, cell)),
                Numbers::Indices | Numbers::Placeholders | Numbers::Ids(_) => self.class_of_number(number),
            },
        };
        class.map(Some).ok_or_else(|| self.unknown(column, cell))
    }

    fn class_of_number(&self, number: i64) -> Option<u32> {
        match &self.numbers {
            Numbers::Ids(ids) => ids.get(&number).copied(),
            _ => u32::try_from(number).ok().filter(|class| (*class as usize) < self.names.len()),
        }
    }

    /// That a number stands where classes are names.
    fn unexplained(&self, column: &LabelColumn<'_>, cell: &Cell) -> DataError {
        let example = |(id, name): (usize, &String)| format!("{id}: {}", quoted(name));
        column.row_error(
            cell,
            format!(
                "label {} is a number, and the classes are names ({}): no file says which number is which class; \
                 `labels: {{{}}}` in the data set maps them",
                cell.shown(),
                quoted_list(&self.names),
                listed(self.names.iter().enumerate().map(example))
            ),
        )
    }

    /// That a label is none of the classes.
    fn unknown(&self, column: &LabelColumn<'_>, cell: &Cell) -> DataError {
        if let Some(problem) = tasks::no_class(cell) {
            return column.row_error(cell, problem);
        }
        if !self.by_value.is_empty() {
            let mut values: Vec<(&String, &u32)> = self.by_value.iter().collect();
            values.sort_by_key(|(value, class)| (*class, *value));
            let mapped = quoted_list(values.into_iter().map(|(value, _)| value));
            return column.row_error(cell, format!("unknown label {}; `labels` maps {mapped}", cell.shown()));
        }
        let value = match (column.label(cell, &self.listed), cell) {
            (Ok(Label::Name(name)), Cell::Integer(id)) => format!("{id} ({})", quoted(&name)),
            _ => cell.shown(),
        };
        let near = match cell {
            Cell::Text(name) => nearest(name, &self.names),
            _ => None,
        };
        DataError::Label { place: column.place(cell), value, near, classes: self.names.clone() }
    }
}

/// A value as the sweep file and the data may write it: whole numbers in one form.
fn canonical(value: &str) -> String {
    let cell = Cell::text(value);
    cell.integer().map_or_else(|| value.trim().to_owned(), |number| number.to_string())
}

/// Notes about classes whose names differ in case or spacing alone.
fn twins(names: &[String]) -> Option<String> {
    let mut by_fold: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for name in names {
        let fold: String = name.to_lowercase().split_whitespace().collect();
        by_fold.entry(fold).or_default().push(name);
    }
    let twins: Vec<String> = by_fold
        .into_values()
        .filter(|names| names.len() > 1)
        .map(|names| quoted_list(names).replace(", ", " and "))
        .collect();
    (!twins.is_empty()).then(|| {
        format!(
            "classes differ only in case or spacing ({}): if they are one class, correct the file or map both in `labels:`",
            listed(twins)
        )
    })
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
