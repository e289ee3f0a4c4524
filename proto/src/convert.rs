//! Messages that both sides turn into the same types, and back: leases, hyperparameters, data sets.

use std::path::{Path, PathBuf};

use crate::{
    dataset::{
        DatasetSource, DatasetSpec, FileFormat, Labels, LimitOrder, Limits, SplitChoice, SplitSelection,
    },
    ids::{Lease, SweepId, Term, TrialId},
    params::{Params, Value},
    resource::{Resource, ResourceFile, ResourceKind},
    v1,
};

impl From<v1::Lease> for Lease {
    fn from(message: v1::Lease) -> Self {
        Self {
            trial: TrialId { sweep: SweepId::new(message.sweep), index: message.trial },
            attempt: message.attempt,
            term: Term(message.term),
        }
    }
}

impl From<Lease> for v1::Lease {
    fn from(lease: Lease) -> Self {
        Self {
            sweep: lease.trial.sweep.as_str().to_owned(),
            trial: lease.trial.index,
            attempt: lease.attempt,
            term: lease.term.0,
        }
    }
}

/// Hyperparameters for the wire.
pub fn parameters(params: Params) -> Vec<v1::Parameter> {
    use v1::value::Kind;
    params
        .into_iter()
        .map(|(name, value)| {
            let kind = match value {
                Value::Flag(flag) => Kind::Flag(flag),
                Value::Integer(i) => Kind::Integer(i),
                Value::Number(x) => Kind::Number(x),
                Value::Text(text) => Kind::Text(text),
            };
            v1::Parameter { name, value: Some(v1::Value { kind: Some(kind) }) }
        })
        .collect()
}

/// Hyperparameters off the wire; one whose value is of a kind that this version does not know is left out.
pub fn params(parameters: Vec<v1::Parameter>) -> Params {
    use v1::value::Kind;
    parameters
        .into_iter()
        .filter_map(|parameter| {
            let value = match parameter.value?.kind? {
                Kind::Flag(flag) => Value::Flag(flag),
                Kind::Integer(i) => Value::Integer(i),
                Kind::Number(x) => Value::Number(x),
                Kind::Text(text) => Value::Text(text),
            };
            Some((parameter.name, value))
        })
        .collect()
}

impl From<&DatasetSpec> for v1::Dataset {
    fn from(spec: &DatasetSpec) -> Self {
        let FileFormat { separator, encoding, columns, field } = spec.format.clone();
        let (label_values, labels) = match &spec.labels {
            Labels::Inferred => (Vec::new(), Vec::new()),
            Labels::Names(names) => (Vec::new(), names.clone()),
            Labels::Values(values) => values.iter().cloned().unzip(),
        };
        let mut message = Self {
            text_column: spec.text.clone().unwrap_or_default(),
            text_pair_column: spec.text_pair.clone().unwrap_or_default(),
            label_column: spec.label.clone().unwrap_or_default(),
            labels,
            label_values,
            drop_missing: spec.drop_missing,
            train_limit: spec.limit.train.unwrap_or_default(),
            validation_limit: spec.limit.validation.unwrap_or_default(),
            test_limit: spec.limit.test.unwrap_or_default(),
            limit_first: spec.limit.order == LimitOrder::First,
            train_split: split_choice(&spec.splits.train),
            validation_split: split_choice(&spec.splits.validation),
            test_split: split_choice(&spec.splits.test),
            separator: separator.map(String::from).unwrap_or_default(),
            encoding: encoding.unwrap_or_default(),
            columns,
            field: field.unwrap_or_default(),
            ..Self::default()
        };
        match &spec.source {
            DatasetSource::Id { id, config, revision } => {
                message.id = id.clone();
                message.config = config.clone().unwrap_or_default();
                message.revision = revision.clone().unwrap_or_default();
            }
            DatasetSource::Files { train, validation, test } => {
                let texts = |paths: &[PathBuf]| paths.iter().map(|path| path_text(path)).collect();
                message.train = texts(train);
                message.validation = texts(validation);
                message.test = texts(test);
            }
        }
        message
    }
}

impl From<v1::Dataset> for DatasetSpec {
    fn from(message: v1::Dataset) -> Self {
        let limit = |rows: u64| (rows > 0).then_some(rows);
        let source = match present(message.id) {
            Some(id) => {
                DatasetSource::Id { id, config: present(message.config), revision: present(message.revision) }
            }
            None => {
                let paths = |texts: Vec<String>| texts.into_iter().map(PathBuf::from).collect();
                DatasetSource::Files {
                    train: paths(message.train),
                    validation: paths(message.validation),
                    test: paths(message.test),
                }
            }
        };
        Self {
            source,
            splits: SplitSelection {
                train: message.train_split.into(),
                validation: message.validation_split.into(),
                test: message.test_split.into(),
            },
            format: FileFormat {
                separator: message.separator.chars().next(),
                encoding: present(message.encoding),
                columns: message.columns,
                field: present(message.field),
            },
            text: present(message.text_column),
            text_pair: present(message.text_pair_column),
            label: present(message.label_column),
            labels: match (message.labels, message.label_values) {
                (names, _) if names.is_empty() => Labels::Inferred,
                (names, values) if values.is_empty() => Labels::Names(names),
                (names, values) => Labels::Values(values.into_iter().zip(names).collect()),
            },
            drop_missing: message.drop_missing,
            limit: Limits {
                train: limit(message.train_limit),
                validation: limit(message.validation_limit),
                test: limit(message.test_limit),
                order: if message.limit_first { LimitOrder::First } else { LimitOrder::Stratified },
            },
        }
    }
}

fn split_choice(choice: &SplitChoice) -> Option<v1::SplitChoice> {
    match choice {
        SplitChoice::Detected => None,
        SplitChoice::Named(name) => Some(v1::SplitChoice { name: name.clone() }),
        SplitChoice::LeftOut => Some(v1::SplitChoice::default()),
    }
}

impl From<Option<v1::SplitChoice>> for SplitChoice {
    fn from(choice: Option<v1::SplitChoice>) -> Self {
        match choice {
            None => Self::Detected,
            Some(choice) => present(choice.name).map_or(Self::LeftOut, Self::Named),
        }
    }
}

impl From<Resource> for v1::Resource {
    fn from(resource: Resource) -> Self {
        let kind = match resource.kind {
            ResourceKind::Model => v1::ResourceKind::Model,
            ResourceKind::Dataset => v1::ResourceKind::Dataset,
        };
        let file =
            |file: ResourceFile| v1::ResourceFile { path: file.path, bytes: file.bytes, sha256: file.sha256 };
        Self {
            kind: kind.into(),
            id: resource.id,
            commit: resource.commit.unwrap_or_default(),
            license: resource.license.unwrap_or_default(),
            page: resource.page.unwrap_or_default(),
            files: resource.files.into_iter().map(file).collect(),
        }
    }
}

/// Resources off the wire; one of a kind that this version does not know is left out.
pub fn resources(messages: Vec<v1::Resource>) -> Vec<Resource> {
    let file =
        |file: v1::ResourceFile| ResourceFile { path: file.path, bytes: file.bytes, sha256: file.sha256 };
    messages
        .into_iter()
        .filter_map(|message| {
            let kind = match message.kind() {
                v1::ResourceKind::Model => ResourceKind::Model,
                v1::ResourceKind::Dataset => ResourceKind::Dataset,
                v1::ResourceKind::Unspecified => return None,
            };
            Some(Resource {
                kind,
                id: message.id,
                commit: present(message.commit),
                license: present(message.license),
                page: present(message.page),
                files: message.files.into_iter().map(file).collect(),
            })
        })
        .collect()
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// proto3 has no absent text: an empty one says so.
pub fn present(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The innermost error: tonic's outer ones say "transport error" and no more.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_survive_the_wire() {
        let lease = Lease {
            trial: TrialId { sweep: SweepId::new("s-1"), index: u64::MAX },
            attempt: 3,
            term: Term(9),
        };
        assert_eq!(Lease::from(v1::Lease::from(lease.clone())), lease);
    }

    #[test]
    fn hyperparameters_survive_the_wire() {
        let given = Params::from([
            ("learning_rate".to_owned(), Value::Number(5e-5)),
            ("lr_scheduler_type".to_owned(), Value::Text("cosine".into())),
            ("seed".to_owned(), Value::Integer(1)),
            ("some_flag".to_owned(), Value::Flag(true)),
        ]);
        assert_eq!(params(parameters(given.clone())), given);
    }

    #[test]
    fn resources_survive_the_wire() {
        let given = Resource {
            kind: ResourceKind::Dataset,
            id: "dair-ai/emotion".into(),
            commit: Some("c0ffee".into()),
            license: None,
            page: Some("https://h/d".into()),
            files: vec![ResourceFile { path: "train.parquet".into(), bytes: 7, sha256: "ab".into() }],
        };
        assert_eq!(given.pinned(), "dair-ai/emotion@c0ffee");
        let unknown = v1::Resource { kind: 99, ..v1::Resource::default() };
        assert_eq!(resources(vec![given.clone().into(), unknown]), [given]);
    }

    #[test]
    fn data_sets_survive_the_wire() {
        let files = DatasetSpec {
            source: DatasetSource::Files {
                train: vec!["a.csv".into(), "b.csv".into()],
                validation: Vec::new(),
                test: vec!["c.csv".into()],
            },
            splits: SplitSelection {
                train: SplitChoice::Detected,
                validation: SplitChoice::Named("matched".into()),
                test: SplitChoice::LeftOut,
            },
            format: FileFormat {
                separator: Some(';'),
                encoding: Some("windows-1252".into()),
                columns: vec!["stars".into(), "body".into()],
                field: Some("data".into()),
            },
            text: Some("body".into()),
            text_pair: Some("reply".into()),
            label: None,
            labels: Labels::Names(vec!["no".into(), "yes".into()]),
            drop_missing: true,
            limit: Limits { train: Some(7), order: LimitOrder::First, ..Limits::default() },
        };
        let mapped = DatasetSpec {
            labels: Labels::Values(vec![("1".into(), "bad".into()), ("2".into(), "bad".into())]),
            ..files.clone()
        };
        let hub = DatasetSpec::of(DatasetSource::Id {
            id: "dair-ai/emotion".into(),
            config: Some("split".into()),
            revision: None,
        });
        for spec in [files, mapped, hub] {
            assert_eq!(DatasetSpec::from(v1::Dataset::from(&spec)), spec);
        }
    }
}
