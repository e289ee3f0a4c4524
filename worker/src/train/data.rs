//! A data set as the training loop reads it: tokens of a compact vocabulary, row after row.

use std::collections::BTreeMap;

use distilsweep_proto::hex::hex;
use sha2::{Digest, Sha256};

use super::metrics;
use crate::{model::Example, trainer::Split};

/// One split, tokenized.
#[derive(Clone, Debug, Default)]
pub struct Tokenized {
    tokens: Vec<u32>,
    ends: Vec<usize>,
    labels: Vec<u32>,
}

impl Tokenized {
    /// Adds a text's tokens, special ones included, and its class.
    pub fn push(&mut self, tokens: &[u32], label: u32) {
        self.tokens.extend_from_slice(tokens);
        self.ends.push(self.tokens.len());
        self.labels.push(label);
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    pub(super) fn example(&self, i: usize) -> Example<'_> {
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        Example { tokens: &self.tokens[start..self.ends[i]], label: self.labels[i] }
    }

    /// The class of each text.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Texts from the shortest to the longest, those of one length in their order.
    pub(super) fn by_length(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|i| self.example(*i).tokens.len());
        order
    }
}

/// The splits of a data set. Their tokens are numbered by place in `vocabulary`, so that training touches only the
/// word embeddings that the texts use.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Class names in class order.
    pub classes: Vec<String>,
    /// What is trained on.
    pub train: Tokenized,
    /// What selects the best evaluation.
    pub validation: Tokenized,
    /// What only the best evaluation's weights see.
    pub test: Option<Tokenized>,
    /// Rows of the checkpoint's word embeddings that the texts use, in ascending order.
    pub vocabulary: Vec<u32>,
    /// The training split's commonest class.
    pub majority: u32,
}

impl Prepared {
    /// Renumbers the tokens of splits that hold the checkpoint's numbers.
    pub fn new(
        classes: Vec<String>,
        majority: u32,
        mut train: Tokenized,
        mut validation: Tokenized,
        mut test: Option<Tokenized>,
    ) -> Self {
        let mut splits: Vec<&mut Tokenized> = vec![&mut train, &mut validation];
        splits.extend(test.as_mut());
        let mut vocabulary: Vec<u32> = splits.iter().flat_map(|split| &split.tokens).copied().collect();
        vocabulary.sort_unstable();
        vocabulary.dedup();
        let mut places = vec![0; vocabulary.last().map_or(0, |last| *last as usize + 1)];
        for (place, token) in vocabulary.iter().enumerate() {
            places[*token as usize] = place as u32;
        }
        for split in splits {
            for token in &mut split.tokens {
                *token = places[*token as usize];
            }
        }
        Self { classes, train, validation, test, vocabulary, majority }
    }

    /// Where the checkpoint's `token` stands in the vocabulary.
    pub fn place(&self, token: i64) -> Option<i64> {
        let place = self.vocabulary.iter().position(|used| i64::from(*used) == token)?;
        i64::try_from(place).ok()
    }

    /// A row of the test split as the checkpoint numbers its tokens; empty where there is none.
    pub fn test_row(&self, row: usize) -> Vec<u32> {
        let split = self.test.as_ref().filter(|split| row < split.len());
        let tokens = split.map(|split| split.example(row).tokens).unwrap_or_default();
        tokens.iter().map(|place| self.vocabulary[*place as usize]).collect()
    }

    /// The splits by name, none of them evaluated yet.
    pub fn splits(&self) -> Vec<Split> {
        let splits = [
            ("train", Some(&self.train)),
            ("validation", Some(&self.validation)),
            ("test", self.test.as_ref()),
        ];
        let described = |(name, split): (&str, Option<&Tokenized>)| {
            let split = split?;
            let sha256 = self.digest_of(split);
            Some(Split { name: name.to_owned(), rows: split.len() as u64, sha256, confusion: Vec::new() })
        };
        splits.into_iter().filter_map(described).collect()
    }

    /// SHA-256 over the rows of a split, in hexadecimal; of tokens as the checkpoint numbers them, so that it does not
    /// depend on the other splits.
    fn digest_of(&self, split: &Tokenized) -> String {
        let mut hash = Sha256::new();
        for i in 0..split.len() {
            let Example { tokens, label } = split.example(i);
            let numbers = tokens.iter().map(|token| self.vocabulary[*token as usize]);
            let row: Vec<u8> =
                [tokens.len() as u32, label].into_iter().chain(numbers).flat_map(u32::to_le_bytes).collect();
            hash.update(row);
        }
        hex(&hash.finalize())
    }

    /// SHA-256 over everything in it, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |numbers: &mut dyn Iterator<Item = u64>| {
            let bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for split in [Some(&self.train), Some(&self.validation), self.test.as_ref()].into_iter().flatten() {
            add(&mut split.tokens.iter().map(|token| u64::from(*token)));
            add(&mut split.ends.iter().map(|end| *end as u64));
            add(&mut split.labels.iter().map(|label| u64::from(*label)));
        }
        add(&mut self.vocabulary.iter().map(|token| u64::from(*token)));
        for class in &self.classes {
            add(&mut class.bytes().map(u64::from));
        }
        hex(&hash.finalize())
    }

    /// Accuracy and weighted F1 of always guessing the training split's commonest class.
    pub fn baseline(&self) -> BTreeMap<String, f64> {
        let splits = [("eval", Some(&self.validation)), ("test", self.test.as_ref())];
        let mut result = BTreeMap::new();
        for (prefix, split) in splits {
            let Some(split) = split else { continue };
            let guesses = vec![self.majority; split.len()];
            let scores = metrics::classification(&guesses, split.labels(), self.classes.len());
            result.insert(format!("{prefix}_accuracy"), scores.accuracy);
            result.insert(format!("{prefix}_f1_score"), scores.f1_score);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(rows: &[(&[u32], u32)]) -> Tokenized {
        let mut split = Tokenized::default();
        for (tokens, label) in rows {
            split.push(tokens, *label);
        }
        split
    }

    #[test]
    fn tokens_are_renumbered_by_their_place_among_those_used() {
        let prepared = Prepared::new(
            vec!["a".into(), "b".into()],
            1,
            split(&[(&[101, 9, 102], 0), (&[101, 102], 1)]),
            split(&[(&[101, 500, 102], 1)]),
            None,
        );
        assert_eq!(prepared.vocabulary, [9, 101, 102, 500]);
        assert_eq!(prepared.train.example(0).tokens, [1, 0, 2]);
        assert_eq!(prepared.train.example(1).tokens, [1, 2]);
        assert_eq!(prepared.validation.example(0).tokens, [1, 3, 2]);
        assert_eq!(prepared.train.by_length(), [1, 0]);
    }

    #[test]
    fn a_split_s_digest_depends_on_its_rows_alone() {
        let rows: &[(&[u32], u32)] = &[(&[101, 9, 102], 0), (&[101, 102], 1)];
        let with = |test| {
            let classes = vec!["a".into(), "b".into()];
            Prepared::new(classes, 1, split(rows), split(&[(&[101, 500, 102], 1)]), test).splits()
        };
        let (two, three) = (with(None), with(Some(split(&[(&[7], 0)]))));
        assert_eq!(two[..], three[..2]);
        assert_eq!((two.len(), &*three[2].name, two[0].rows), (2, "test", 2));
        // The same texts cut elsewhere, or of other classes, are other rows.
        let digests: Vec<&String> = three.iter().map(|split| &split.sha256).collect();
        assert!(digests[0] != digests[1] && digests[1] != digests[2]);
        let other = Prepared::new(
            vec!["a".into(), "b".into()],
            1,
            split(&[(&[101, 9], 0), (&[102, 101, 102], 1)]),
            split(rows),
            None,
        );
        assert_ne!(&other.splits()[0].sha256, digests[0]);
        assert_eq!(&other.splits()[1].sha256, digests[0]);
    }

    /// Class 1 is the commonest in training: right on 1 of 4, F1 of class 1 is 2/5 with a support of 1.
    #[test]
    fn the_baseline_guesses_the_training_split_s_commonest_class() {
        let prepared = Prepared::new(
            vec!["a".into(), "b".into()],
            1,
            split(&[(&[1], 0), (&[1], 1), (&[1], 1)]),
            split(&[(&[1], 0), (&[1], 0), (&[1], 0), (&[1], 1)]),
            None,
        );
        let baseline = prepared.baseline();
        assert_eq!(baseline["eval_accuracy"], 0.25);
        assert_eq!(baseline["eval_f1_score"], 0.1);
        assert!(!baseline.contains_key("test_accuracy"));
    }
}
