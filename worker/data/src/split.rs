//! Labelled texts of one split.

use std::collections::HashSet;

/// The rows of one split, in the order of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The texts.
    pub texts: Vec<String>,
    /// The second text of each row; empty where rows have one text.
    pub pairs: Vec<String>,
    /// Their classes, as indices into [`crate::TextDataset::classes`].
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

    /// The most frequent of `classes` classes, the first of equals: the majority baseline.
    pub fn majority_class(&self, classes: usize) -> u32 {
        majority_class(&self.labels, classes)
    }

    /// The texts of row `i`, the second one of a pair.
    pub(crate) fn row(&self, i: usize) -> (&str, Option<&str>) {
        (&self.texts[i], self.pairs.get(i).map(String::as_str))
    }

    /// Of how many rows the texts are those of a row of `other`.
    pub fn shared_with(&self, other: &Self) -> usize {
        let seen: HashSet<_> = (0..other.len()).map(|i| other.row(i)).collect();
        (0..self.len()).filter(|i| seen.contains(&self.row(*i))).count()
    }

    /// How many rows repeat the texts of an earlier one.
    pub fn repeats(&self) -> usize {
        let different: HashSet<_> = (0..self.len()).map(|i| self.row(i)).collect();
        self.len() - different.len()
    }

    /// Rows `from` up to `to`, fewer where there are no more, without their labels.
    pub fn texts_of(&self, from: usize, to: usize) -> Self {
        let part = |texts: &[String]| texts[from.min(texts.len())..to.min(texts.len())].to_vec();
        Self { texts: part(&self.texts), pairs: part(&self.pairs), labels: Vec::new() }
    }

    pub(crate) fn select(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.len()).filter(|i| keep(*i)).collect();
        Self {
            texts: kept.iter().map(|i| self.texts[*i].clone()).collect(),
            pairs: kept.iter().filter_map(|i| self.pairs.get(*i).cloned()).collect(),
            labels: kept.iter().map(|i| self.labels[*i]).collect(),
        }
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
