//! Whether the splits of a data set can measure a classifier: notes on what makes scores say less.

use std::collections::HashMap;

use crate::{
    DataError, Split, TextDataset, TextTokenizer,
    excerpt::{quoted, quoted_list},
};

/// Classes of fewer validation rows have uncertain scores.
const FEW_ROWS: usize = 10;
/// A majority class of a larger share is noted.
const HIGH_BASELINE: f64 = 0.95;
/// A larger share of unknown tokens is noted.
const UNKNOWN_SHARE: f64 = 0.05;
/// Training texts whose tokens are counted.
const TOKENIZED_TEXTS: usize = 1000;

impl TextDataset {
    /// The splits with their names, as far as they are there.
    pub fn splits(&self) -> impl Iterator<Item = (&'static str, &Split)> {
        [
            ("training", Some(&self.train)),
            ("validation", Some(&self.validation)),
            ("test", self.test.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, split)| Some((name, split?)))
    }
}

/// Checks that the validation labels can select epochs and rank trials by a metric: with one class every score is perfect.
///
/// # Errors
/// [`DataError::OneClassValidation`] if the metric is a score, not a loss, and all labels are one class.
pub fn check_metric(classes: &[String], validation: &[u32], is_loss: bool) -> Result<(), DataError> {
    match only_class(classes, validation) {
        Some(class) if !is_loss => Err(DataError::OneClassValidation { class: class.to_owned() }),
        _ => Ok(()),
    }
}

/// The class of all rows, if it is one.
fn only_class<'a>(classes: &'a [String], labels: &[u32]) -> Option<&'a str> {
    let (first, rest) = labels.split_first()?;
    let class = classes.get(*first as usize)?;
    rest.iter().all(|label| label == first).then_some(class.as_str())
}

/// What makes the scores of a data set say less, a sentence each.
pub(crate) fn notes(data: &TextDataset) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, split) in data.splits() {
        let absent = classes_with(data, split, |rows| rows == 0);
        if !absent.is_empty() {
            let (noun, verb) = if absent.len() == 1 { ("class", "has") } else { ("classes", "have") };
            notes.push(format!("{noun} {} {verb} no rows in the {name} split", quoted_list(absent)));
        }
    }
    match only_class(&data.classes, &data.validation.labels) {
        Some(class) => notes.push(format!(
            "every validation row has the class {}: no score measures anything",
            quoted(class)
        )),
        None => {
            let few = classes_with(data, &data.validation, |rows| (1..FEW_ROWS).contains(&rows));
            if !few.is_empty() {
                notes.push(format!(
                    "fewer than {FEW_ROWS} validation rows of {}: their scores are uncertain",
                    quoted_list(few)
                ));
            }
            let majority = data.train.majority_class(data.classes.len());
            let share = share(&data.validation, majority);
            if share > HIGH_BASELINE {
                notes.push(format!(
                    "always answering {} is right in {:.1} % of the validation rows: compare accuracies with that baseline",
                    quoted(&data.classes[majority as usize]),
                    share * 100.0
                ));
            }
        }
    }
    notes.extend(repetitions(data));
    notes
}

fn classes_with(data: &TextDataset, split: &Split, has: impl Fn(usize) -> bool) -> Vec<String> {
    let counts = split.class_counts(data.classes.len());
    data.classes.iter().zip(counts).filter(|(_, rows)| has(*rows)).map(|(name, _)| name.clone()).collect()
}

fn share(split: &Split, class: u32) -> f64 {
    split.labels.iter().filter(|label| **label == class).count() as f64 / split.len().max(1) as f64
}

/// Notes on texts that occur in several splits, and on texts with several labels.
fn repetitions(data: &TextDataset) -> Vec<String> {
    let splits: Vec<(&str, &Split)> = data.splits().collect();
    // Of each text: the split in which it occurs first, its label there, and whether it has others.
    let mut texts: HashMap<(&str, Option<&str>), (usize, u32, bool)> = HashMap::new();
    let mut shared = vec![vec![0; splits.len()]; splits.len()];
    let (mut contradictory, mut example) = (0, None);
    for (at, (_, split)) in splits.iter().enumerate() {
        for i in 0..split.len() {
            let (first, label, contradicted) =
                texts.entry(split.row(i)).or_insert((at, split.labels[i], false));
            if *first != at {
                shared[at][*first] += 1;
            }
            if *label != split.labels[i] && !*contradicted {
                *contradicted = true;
                contradictory += 1;
                example.get_or_insert_with(|| (split.row(i).0, *label, split.labels[i]));
            }
        }
    }
    let mut notes = Vec::new();
    for (at, (name, split)) in splits.iter().enumerate() {
        for (first, (other, _)) in splits.iter().enumerate().take(at) {
            let rows = shared[at][first];
            if rows > 0 {
                notes.push(format!(
                    "{rows} of {} {name} rows have a text that is in the {other} split too: their scores say less",
                    split.len()
                ));
            }
        }
    }
    if let Some((text, one, other)) = example {
        let class = |label: u32| quoted(&data.classes[label as usize]);
        notes.push(format!(
            "{} with more than one label, such as {} with {} and {}",
            if contradictory == 1 { "1 text".to_owned() } else { format!("{contradictory} texts") },
            quoted(text),
            class(one),
            class(other)
        ));
    }
    notes
}

/// A note if the tokenizer does not know many tokens of the training texts: another language, or another casing, than the
/// model's. At most 1,000 texts are tokenized.
///
/// # Errors
/// The tokenizer rejects a text.
pub fn unknown_token_note(
    data: &TextDataset,
    tokenizer: &TextTokenizer,
) -> Result<Option<String>, DataError> {
    let train = &data.train;
    let step = train.len().div_ceil(TOKENIZED_TEXTS).max(1);
    let sample = train.select(|i| i.is_multiple_of(step));
    let Some(unknown) = tokenizer.unknown_token() else { return Ok(None) };
    let encoded = tokenizer.encode(&sample, usize::MAX)?;
    let share =
        encoded.ids().iter().filter(|id| **id == unknown).count() as f64 / encoded.ids().len().max(1) as f64;
    Ok((share > UNKNOWN_SHARE).then(|| {
        format!(
            "{:.0} % of the tokens are unknown to the model's tokenizer: its vocabulary may be of another language or casing \
             than the texts",
            share * 100.0
        )
    }))
}
