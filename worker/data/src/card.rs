//! The head of a data set's README: which files are which split of which configuration, and the names of classes.
//!
//! Source: "Data files Configuration" and "Manual Configuration" of the Hub's documentation, and what the `datasets`
//! library writes as `dataset_info`.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use crate::{DataError, excerpt};

/// Name of the card in a repository.
pub(crate) const CARD: &str = "README.md";

/// What a card says of a data set, as far as it is of use here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Card {
    /// Configurations, in the card's order.
    pub(crate) configs: Vec<Config>,
    /// Class names by configuration.
    classes: Vec<(String, ClassNames)>,
    /// Why the card cannot be read.
    pub(crate) problem: Option<String>,
}

/// Names of the classes of label columns, in class order.
pub(crate) type ClassNames = BTreeMap<String, Vec<String>>;

/// Which files a configuration has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) name: String,
    /// Whether it is the one where none is named.
    pub(crate) default: bool,
    pub(crate) files: Files,
    /// Character between the fields of its CSV files, as the card has it.
    pub(crate) separator: Option<String>,
}

/// The files of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Files {
    /// Patterns by the name of the split.
    Patterns(Vec<(String, Vec<String>)>),
    /// Those of a folder, by their names.
    Folder(String),
    /// The card does not say.
    #[default]
    Unsaid,
}

impl Card {
    /// The card in a directory; one that is not there says nothing.
    pub(crate) fn of_directory(directory: &Path) -> Result<Self, DataError> {
        let path = directory.join(CARD);
        match std::fs::read(&path) {
            Ok(readme) => Ok(Self::parse(&String::from_utf8_lossy(&readme))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(DataError::Io { path, source }),
        }
    }

    /// Reads a README. One without a head says nothing; one whose head is not YAML says why.
    pub(crate) fn parse(readme: &str) -> Self {
        let Some(head) = head(readme) else { return Self::default() };
        match serde_saphyr::from_str::<Value>(head) {
            Ok(card) => Self::of(&card),
            Err(error) => {
                let error = error.to_string();
                let cause = excerpt(error.lines().next().unwrap_or_default());
                let problem = format!("the head of {CARD} is ignored, it is not valid YAML ({cause})");
                Self { problem: Some(problem), ..Self::default() }
            }
        }
    }

    fn of(card: &Value) -> Self {
        let configs = list(card.get("configs")).into_iter().map(|config| Config {
            name: name(config),
            default: config.get("default").and_then(Value::as_bool).unwrap_or(false),
            files: files(config),
            separator: separator(config),
        });
        let classes = list(card.get("dataset_info")).into_iter().map(|info| (name(info), class_names(info)));
        Self { configs: configs.collect(), classes: classes.collect(), problem: None }
    }

    /// Names of the classes of every label column of a configuration that the card describes.
    pub(crate) fn class_names(&self, config: Option<&str>) -> ClassNames {
        let of_config = self.classes.iter().find(|(name, _)| Some(name.as_str()) == config);
        // One description without others describes all.
        let only = || if let [one] = &self.classes[..] { Some(one) } else { None };
        of_config.or_else(only).map(|(_, columns)| columns.clone()).unwrap_or_default()
    }
}

/// The text between the first two lines of three dashes.
fn head(readme: &str) -> Option<&str> {
    let rest = readme.trim_start_matches('\u{feff}').trim_start().strip_prefix("---")?;
    let rest = rest.strip_prefix('\r').unwrap_or(rest).strip_prefix('\n')?;
    rest.find("\n---").map(|end| &rest[..end])
}

/// One or several.
fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(several)) => several.iter().collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one],
    }
}

fn name(config: &Value) -> String {
    config.get("config_name").and_then(Value::as_str).unwrap_or("default").to_owned()
}

/// As pandas names it: `sep`, or `delimiter`.
fn separator(config: &Value) -> Option<String> {
    ["sep", "delimiter"].into_iter().find_map(|key| config.get(key)?.as_str()).map(str::to_owned)
}

fn files(config: &Value) -> Files {
    let texts = |value: &Value| -> Vec<String> {
        list(Some(value)).into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    match config.get("data_files") {
        Some(Value::Object(by_split)) => {
            Files::Patterns(by_split.iter().map(|(split, paths)| (split.clone(), texts(paths))).collect())
        }
        Some(Value::Array(entries)) if entries.iter().any(Value::is_object) => {
            let entry = |entry: &Value| {
                let split = entry.get("split").and_then(Value::as_str).unwrap_or("train").to_owned();
                entry.get("path").map(|path| (split, texts(path)))
            };
            Files::Patterns(entries.iter().filter_map(entry).collect())
        }
        Some(paths @ (Value::String(_) | Value::Array(_))) => {
            Files::Patterns(vec![("train".to_owned(), texts(paths))])
        }
        _ => match config.get("data_dir").and_then(Value::as_str) {
            Some(folder) => Files::Folder(folder.trim_matches('/').to_owned()),
            None => Files::Unsaid,
        },
    }
}

/// Names of the classes of every label column that is described.
fn class_names(info: &Value) -> ClassNames {
    let described = |feature: &Value| {
        let column = feature.get("name")?.as_str()?.to_owned();
        let names = match feature.pointer("/dtype/class_label/names")? {
            Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::Object(by_number) => {
                let mut names: Vec<(u64, String)> = by_number
                    .iter()
                    .filter_map(|(number, name)| Some((number.parse().ok()?, text(name))))
                    .collect();
                names.sort();
                names.into_iter().map(|(_, name)| name).collect()
            }
            _ => return None,
        };
        Some((column, names))
    };
    list(info.get("features")).into_iter().filter_map(described).collect()
}

/// A name as it is written: YAML reads some (no, 1) as other things.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMOTION: &str = "---\nlicense: other\nconfigs:\n- config_name: split\n  data_files:\n  - split: train\n    path: split/train-*\n  - split: test\n    path: [split/test-*]\n  default: true\n- config_name: unsplit\n  data_files: unsplit/*.parquet\ndataset_info:\n- config_name: split\n  features:\n  - name: text\n    dtype: string\n  - name: label\n    dtype:\n      class_label:\n        names:\n          '0': sadness\n          '10': surprise\n          '1': joy\n---\n# Emotion\n";

    #[test]
    fn a_card_names_files_and_classes() {
        let card = Card::parse(EMOTION);
        let patterns = |pairs: &[(&str, &str)]| {
            Files::Patterns(
                pairs.iter().map(|(split, path)| ((*split).to_owned(), vec![(*path).to_owned()])).collect(),
            )
        };
        let split = patterns(&[("train", "split/train-*"), ("test", "split/test-*")]);
        let unsplit = patterns(&[("train", "unsplit/*.parquet")]);
        assert_eq!(
            card.configs,
            [
                Config { name: "split".into(), default: true, files: split, separator: None },
                Config { name: "unsplit".into(), default: false, files: unsplit, separator: None },
            ]
        );
        assert_eq!(card.class_names(Some("split"))["label"], ["sadness", "joy", "surprise"]);
        assert_eq!(card.class_names(None)["label"], ["sadness", "joy", "surprise"]);
        assert!(!card.class_names(None).contains_key("other"));
    }

    #[test]
    fn a_card_may_say_little_or_nothing() {
        let one = Card::parse("---\nconfigs:\n  data_dir: data/\n---\n");
        assert_eq!(one.configs[0].files, Files::Folder("data".into()));
        let unsaid = Card::parse("---\r\nconfigs:\r\n- config_name: a\r\n---\r\n");
        assert_eq!((unsaid.configs[0].name.as_str(), &unsaid.configs[0].files), ("a", &Files::Unsaid));
        for nothing in ["", "# Rows", "---\nnever: closed\n", "---\nconfigs: []\n---\n"] {
            assert_eq!(Card::parse(nothing), Card::default(), "{nothing:?}");
        }
    }

    #[test]
    fn a_card_names_the_separator_of_a_configuration() {
        let card = Card::parse(
            "---\nconfigs:\n- config_name: a\n  sep: \"\\t\"\n- config_name: b\n  delimiter: ;\n---\n",
        );
        assert_eq!(card.configs[0].separator.as_deref(), Some("\t"));
        assert_eq!(card.configs[1].separator.as_deref(), Some(";"));
    }

    #[test]
    fn a_card_that_is_not_yaml_says_so() {
        let card = Card::parse("---\n: : [\n---\n");
        assert!(card.configs.is_empty());
        insta::assert_snapshot!(card.problem.unwrap_or_default(), @"the head of README.md is ignored, it is not valid YAML (error: line 1 column 1: cannot deserialize null into string…)");
    }
}
