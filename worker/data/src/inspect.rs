//! What a data set is like, in numbers: before anybody trains on it.

use serde::Serialize;

use crate::{DataError, Split, TextDataset, TextTokenizer};

/// Rows of each class that are shown.
const EXAMPLES: usize = 1;
/// Upper ends of the bins of token lengths.
const BINS: [usize; 9] = [8, 16, 32, 64, 128, 192, 256, 384, 512];
/// Lengths of which it is said what they cut, where nobody asks for others.
pub const CUTS: [usize; 5] = [32, 64, 128, 256, 512];

/// What a data set is like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Train, validation, test, as far as they are there.
    pub splits: Vec<SplitFacts>,
    /// Classes in class order.
    pub classes: Vec<ClassFacts>,
    /// A row of each class.
    pub examples: Vec<Example>,
    /// Lengths in tokens of the training rows; none without a tokenizer.
    pub tokens: Option<TokenFacts>,
}

/// What a split is like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitFacts {
    /// train, validation or test.
    pub name: &'static str,
    /// How many rows it has.
    pub rows: usize,
    /// Rows with the texts of an earlier row.
    pub repeated: usize,
    /// Rows with the texts of a training row; none for the training split.
    pub leaked: Option<usize>,
    /// Characters of the shortest, the median and the longest text.
    pub characters: [usize; 3],
    /// What guessing the training rows' commonest class reaches.
    pub baseline: Baseline,
}

/// Scores of guessing the commonest class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Baseline {
    /// Share of rows of that class.
    pub accuracy: f64,
    /// F1, weighted by class: `eval_f1_score`.
    pub f1_score: f64,
}

/// What a class is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassFacts {
    /// Its name.
    pub name: String,
    /// Its rows in each split, in their order.
    pub rows: Vec<usize>,
}

/// A training row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Name of its class.
    pub class: String,
    /// Its text.
    pub text: String,
    /// The second text of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
}

/// Lengths of rows in tokens, special ones counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenFacts {
    /// Shortest, median, 95th percentile, longest.
    pub quantiles: [usize; 4],
    /// Tokens of all rows.
    pub total: usize,
    /// Rows by length: up to how many tokens, how many rows. The last bin holds all longer ones.
    pub histogram: Vec<(usize, usize)>,
    /// What a `max_length` cuts: the length, how many rows, which share of all tokens.
    pub cut: Vec<(usize, usize, f64)>,
}

/// Looks at a data set; lengths are those of `tokenizer`, and it is said what `cuts` cut.
///
/// # Errors
/// The tokenizer refuses a text.
pub fn inspect(
    data: &TextDataset,
    tokenizer: Option<&TextTokenizer>,
    cuts: &[usize],
) -> Result<Inspection, DataError> {
    let splits: Vec<(&'static str, &Split)> =
        [("train", Some(&data.train)), ("validation", Some(&data.validation)), ("test", data.test.as_ref())]
            .into_iter()
            .filter_map(|(name, split)| Some((name, split?)))
            .collect();
    let count = data.classes.len();
    let guess = data.train.majority_class(count) as usize;
    let counts: Vec<Vec<usize>> = splits.iter().map(|(_, split)| split.class_counts(count)).collect();
    let facts = splits.iter().zip(&counts).map(|((name, split), counts)| SplitFacts {
        name,
        rows: split.len(),
        repeated: split.repeats(),
        leaked: (*name != "train").then(|| split.shared_with(&data.train)),
        characters: quantiles(split.texts.iter().map(|text| text.chars().count()).collect(), [0.0, 0.5, 1.0]),
        baseline: Baseline::of(counts[guess], split.len()),
    });
    let classes = data.classes.iter().enumerate().map(|(class, name)| ClassFacts {
        name: name.clone(),
        rows: counts.iter().map(|counts| counts[class]).collect(),
    });
    Ok(Inspection {
        splits: facts.collect(),
        classes: classes.collect(),
        examples: examples(data),
        tokens: tokenizer.map(|tokenizer| TokenFacts::of(&data.train, tokenizer, cuts)).transpose()?,
    })
}

impl Baseline {
    /// Of guessing a class that `of_class` of `rows` rows have.
    fn of(of_class: usize, rows: usize) -> Self {
        let accuracy = of_class as f64 / rows.max(1) as f64;
        // Recall 1 and precision `accuracy` for this class, 0 for all others, weighted by their shares.
        Self { accuracy, f1_score: accuracy * 2.0 * accuracy / (1.0 + accuracy) }
    }
}

fn examples(data: &TextDataset) -> Vec<Example> {
    let train = &data.train;
    let of_class = |class: usize| {
        let rows = (0..train.len()).filter(move |i| train.labels[*i] as usize == class).take(EXAMPLES);
        rows.map(move |i| Example {
            class: data.classes[class].clone(),
            text: train.texts[i].clone(),
            pair: train.pairs.get(i).cloned(),
        })
    };
    (0..data.classes.len()).flat_map(of_class).collect()
}

impl TokenFacts {
    fn of(split: &Split, tokenizer: &TextTokenizer, cuts: &[usize]) -> Result<Self, DataError> {
        let encoded = tokenizer.encode(split, usize::MAX)?;
        let lengths: Vec<usize> = (0..encoded.len()).map(|i| encoded.example(i).len()).collect();
        let all: usize = lengths.iter().sum();
        let mut histogram: Vec<(usize, usize)> = BINS.map(|bin| (bin, 0)).into();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        if longest > BINS[BINS.len() - 1] {
            histogram.push((longest, 0));
        }
        for length in &lengths {
            if let Some((_, rows)) = histogram.iter_mut().find(|(bin, _)| length <= bin) {
                *rows += 1;
            }
        }
        let cut = cuts.iter().map(|&cut| {
            let longer = lengths.iter().filter(|length| **length > cut);
            let lost: usize = longer.clone().map(|length| length - cut).sum();
            (cut, longer.count(), lost as f64 / all.max(1) as f64)
        });
        let cut = cut.collect();
        Ok(Self { quantiles: quantiles(lengths, [0.0, 0.5, 0.95, 1.0]), total: all, histogram, cut })
    }
}

/// The values at these shares of a sorted list; zeros where there are none.
fn quantiles<const N: usize>(mut values: Vec<usize>, at: [f64; N]) -> [usize; N] {
    values.sort_unstable();
    let last = values.len().saturating_sub(1) as f64;
    at.map(|share| values.get((share * last).round() as usize).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn split(rows: &[(&str, u32)]) -> Split {
        Split {
            texts: rows.iter().map(|(text, _)| (*text).to_owned()).collect(),
            pairs: Vec::new(),
            labels: rows.iter().map(|(_, label)| *label).collect(),
        }
    }

    #[test]
    fn a_data_set_is_counted_and_its_commonest_class_scored() {
        let data = TextDataset {
            train: split(&[("so happy", 1), ("so happy", 1), ("sad", 0), ("very happy movie", 1)]),
            validation: split(&[("sad", 0), ("i am", 1), ("so", 0), ("great", 0)]),
            test: None,
            classes: vec!["no".into(), "yes".into()],
            columns: crate::ColumnNames::default(),
            path: "train.csv".into(),
            config: None,
            commit: None,
            notes: Vec::new(),
        };
        let tokenizer = TextTokenizer::from_directory(Path::new("tests/fixtures/tokenizer")).unwrap();
        let seen = inspect(&data, Some(&tokenizer), &CUTS).unwrap();
        let [train, validation] = &seen.splits[..] else { panic!("two splits") };
        assert_eq!((train.rows, train.repeated, train.leaked, train.characters), (4, 1, None, [3, 8, 16]));
        assert_eq!((validation.rows, validation.leaked), (4, Some(1)));
        assert_eq!(validation.baseline, Baseline { accuracy: 0.25, f1_score: 0.25 * 2.0 * 0.25 / 1.25 });
        assert_eq!(seen.classes[1].rows, [3, 1]);
        assert_eq!(
            seen.examples.iter().map(|example| example.text.as_str()).collect::<Vec<_>>(),
            ["sad", "so happy"]
        );
        let tokens = seen.tokens.unwrap();
        assert_eq!((tokens.quantiles, tokens.histogram[0]), ([3, 4, 5, 5], (8, 4)));
        assert_eq!(tokens.cut[0], (32, 0, 0.0));
        assert!(inspect(&data, None, &CUTS).unwrap().tokens.is_none());
    }
}
