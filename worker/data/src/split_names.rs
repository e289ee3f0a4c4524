//! Names of splits: which role a name has, and which split a file's name or folder names.
//!
//! A name is read as words: letters between digits and punctuation. The words of the `datasets` library count, except that
//! "eval" and "evaluation" are validation, as Trainer has them, not test.

use std::path::Path;

use crate::text;

/// What a split is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Train,
    Validation,
    Test,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Its key in `splits`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// How well a name is known as that of its role, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// The key of the role itself.
    Exact,
    /// Another usual word, or one beside words that say nothing: "dev", "train_data".
    Usual,
    /// A word that other programs use for other roles too.
    Loose,
    /// With further words: "validation_matched".
    Qualified,
}

/// What a name says of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) role: Role,
    pub(crate) fit: Fit,
    /// Whether a reader would guess the role without a note.
    pub(crate) is_obvious: bool,
}

/// Words that number the parts of a split.
const PART_WORDS: [&str; 7] = ["part", "parts", "chunk", "shard", "batch", "file", "of"];
/// Words that add nothing to the name of a split.
const FILLER_WORDS: [&str; 6] = ["data", "dataset", "set", "split", "rows", "samples"];

fn role_of(word: &str) -> Option<(Role, Fit)> {
    match word {
        "train" => Some((Role::Train, Fit::Exact)),
        "training" => Some((Role::Train, Fit::Usual)),
        "validation" => Some((Role::Validation, Fit::Exact)),
        "valid" | "val" | "dev" => Some((Role::Validation, Fit::Usual)),
        "eval" | "evaluation" | "holdout" => Some((Role::Validation, Fit::Loose)),
        "test" => Some((Role::Test, Fit::Exact)),
        "testing" => Some((Role::Test, Fit::Usual)),
        _ => None,
    }
}

/// The words of a name in lower case, without numbers and what numbers parts.
fn words(name: &str) -> Vec<String> {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    words.filter(|word| !PART_WORDS.contains(word)).map(str::to_owned).collect()
}

/// The role that a name says; none if it says none or several.
pub(crate) fn meaning(name: &str) -> Option<Meaning> {
    let words = words(name);
    let roles: Vec<(Role, Fit)> = words.iter().filter_map(|word| role_of(word)).collect();
    let &(role, fit) = roles.first()?;
    if roles.iter().any(|(other, _)| *other != role) {
        return None;
    }
    let others = words.len() - roles.len();
    let fillers = words.iter().filter(|word| FILLER_WORDS.contains(&word.as_str())).count();
    let is_plain = fillers == others && roles.len() == 1;
    let at_end = [words.first(), words.last()].into_iter().flatten().any(|word| role_of(word).is_some());
    Some(Meaning {
        role,
        fit: match fit {
            _ if !is_plain => Fit::Qualified,
            Fit::Exact if others > 0 => Fit::Usual,
            fit => fit,
        },
        // The words of training and test have no other meaning at either end of a name.
        is_obvious: at_end && (role != Role::Validation || fit == Fit::Exact),
    })
}

/// The name of the split whose folder is called so: its words, since numbers count parts.
pub(crate) fn normalized(name: &str) -> String {
    words(name).join("_")
}

/// A part of a split as the Hub numbers them: `NAME-00000-of-00002.parquet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part<'a> {
    pub(crate) split: &'a str,
    pub(crate) number: u32,
    pub(crate) of: u32,
}

/// Reads the Hub's numbering from a file's name without extension. Older versions append the start of a digest.
pub(crate) fn part(stem: &str) -> Option<Part<'_>> {
    let (before, of) = stem.rsplit_once("-of-")?;
    let (of, digest) = of.split_once('-').unwrap_or((of, ""));
    let (split, number) = before.rsplit_once('-')?;
    let five_digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let is_part = five_digits(number) && five_digits(of) && digest.bytes().all(|b| b.is_ascii_hexdigit());
    (is_part && !split.is_empty()).then_some(Part {
        split,
        number: number.parse().ok()?,
        of: of.parse().ok()?,
    })
}

/// A file's name without its extensions, those of packing too.
pub(crate) fn stem(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let packed = text::extension(Path::new(name)).1.is_some();
    let cut = |name: &str| name.rfind('.').filter(|dot| *dot > 0).unwrap_or(name.len());
    let name = if packed { &name[..cut(name)] } else { name };
    &name[..cut(name)]
}

/// The name of the split that a file's name gives: as it is before the Hub's numbering, otherwise its words.
pub(crate) fn split_of_file(path: &str) -> String {
    let stem = stem(path);
    part(stem).map_or_else(|| normalized(stem), |part| part.split.to_lowercase())
}

/// Whether a name numbers a part and says nothing else: "0000".
pub(crate) fn is_numbered_part(path: &str) -> bool {
    let stem = stem(path);
    part(stem).is_some() || stem.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str) -> String {
        let split = split_of_file(name);
        match meaning(&split) {
            Some(Meaning { role, fit, is_obvious }) => {
                format!("{name}: {split}, {role:?} {fit:?}{}", if is_obvious { "" } else { ", noted" })
            }
            None => format!("{name}: none"),
        }
    }

    #[test]
    fn roles_are_words_between_digits_and_punctuation() {
        let names = [
            "train.csv",
            "Train01.jsonl.gz",
            "test2019.tsv",
            "train-00000-of-00002-a1b2c3.parquet",
            "train_r1-00000-of-00001.parquet",
            "train_part_3.csv",
            "train-data.csv",
            "dev.csv",
            "eval.csv",
            "holdout_2.csv",
            "validation_matched-00000-of-00001.parquet",
            "sst2_train.csv",
            "unit_test_texts.csv",
            "training.json",
            "constraint.csv",
            "latest.csv",
            "train_test.csv",
            "évaluation.csv",
        ];
        insta::assert_snapshot!(names.map(shown).join("\n"), @"
        train.csv: train, Train Exact
        Train01.jsonl.gz: train, Train Exact
        test2019.tsv: test, Test Exact
        train-00000-of-00002-a1b2c3.parquet: train, Train Exact
        train_r1-00000-of-00001.parquet: train_r1, Train Qualified
        train_part_3.csv: train, Train Exact
        train-data.csv: train_data, Train Usual
        dev.csv: dev, Validation Usual, noted
        eval.csv: eval, Validation Loose, noted
        holdout_2.csv: holdout, Validation Loose, noted
        validation_matched-00000-of-00001.parquet: validation_matched, Validation Qualified
        sst2_train.csv: sst_train, Train Qualified
        unit_test_texts.csv: unit_test_texts, Test Qualified, noted
        training.json: training, Train Usual
        constraint.csv: none
        latest.csv: none
        train_test.csv: none
        évaluation.csv: none
        ");
    }

    #[test]
    fn the_hub_numbers_parts_with_five_digits() {
        assert_eq!(part("train-00001-of-00002"), Some(Part { split: "train", number: 1, of: 2 }));
        assert_eq!(part("a-b-00001-of-00002-0f").map(|part| part.split), Some("a-b"));
        for other in ["train-1-of-2", "train-00001", "-00001-of-00002", "train-00001-of-00002-xyz"] {
            assert_eq!(part(other), None, "{other}");
        }
        assert!(is_numbered_part("train/0003.parquet") && !is_numbered_part("train/a3.csv"));
    }
}
