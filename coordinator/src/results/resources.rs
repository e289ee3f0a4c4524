//! Which model and data a sweep was made of, to find them again.

use std::{collections::BTreeMap, fmt::Write};

use distilsweep_proto::resource::{Resource, ResourceKind};

use super::{
    Summary,
    labels::{bytes, counted},
};

/// Digits of a commit where there is little room, as the Hub shows it.
const SHORT: usize = 7;

/// The resources as text: what each is, and how to name it in a sweep file.
pub fn resources(summary: &Summary) -> String {
    let mut out = format!("What sweep {} was made of\n", summary.sweep);
    for resource in &summary.resources {
        let unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".to_owned());
        let revision = match (&resource.commit, &resource.page) {
            (Some(commit), _) => commit.clone(),
            (None, _) => "none: it is no repository of the Hub".to_owned(),
        };
        let facts = [
            (kind(resource), resource.id.clone()),
            ("revision", revision),
            ("license", unknown(&resource.license)),
            ("size", size(resource)),
            ("address", resource.page.clone().unwrap_or_else(|| "this machine".to_owned())),
        ];
        out.push('\n');
        for (name, value) in facts {
            let _ = writeln!(out, "{name:<9} {value}");
        }
        for file in &resource.files {
            let _ = writeln!(out, "  {}  {:>12}  {}", file.sha256, file.bytes, file.path);
        }
    }
    if summary.resources.is_empty() {
        out.push_str("\nNobody looked at them when it was handed in.\n");
    }
    tokens(summary, &mut out);
    let pinned: Vec<String> = summary.resources.iter().filter_map(line).collect();
    if !pinned.is_empty() {
        out.push_str("\nIn a sweep file, for exactly these:\n");
        for line in pinned {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

/// What the texts became, which depends on `max_length` besides: of how many trials each.
fn tokens(summary: &Summary, out: &mut String) {
    let mut seen: BTreeMap<(&String, &String), u64> = BTreeMap::new();
    for (split, digest) in summary.trials.iter().flat_map(|trial| &trial.data) {
        *seen.entry((split, digest)).or_default() += 1;
    }
    if !seen.is_empty() {
        out.push_str("\nTokens and classes of the data\n");
    }
    for ((split, digest), trials) in seen {
        let _ = writeln!(out, "  {digest}  {split} ({})", counted(trials, "trial"));
    }
}

/// `model distilbert-base-uncased@12040ac, data dair-ai/emotion@cab853a`: those of the Hub; nothing without any.
pub(super) fn short(summary: &Summary) -> Option<String> {
    let one = |resource: &Resource| {
        let commit: String = resource.commit.as_ref()?.chars().take(SHORT).collect();
        Some(format!("{} {}@{commit}", kind(resource), resource.id))
    };
    let all: Vec<String> = summary.resources.iter().filter_map(one).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// `model: distilbert-base-uncased@12040ac…`: how a sweep file names exactly this; nothing of what is no repository.
pub(super) fn line(resource: &Resource) -> Option<String> {
    let key = match resource.kind {
        ResourceKind::Model => "model",
        ResourceKind::Dataset => "dataset",
    };
    resource.commit.as_ref().map(|_| format!("{key}: {}", resource.pinned()))
}

fn kind(resource: &Resource) -> &'static str {
    match resource.kind {
        ResourceKind::Model => "model",
        ResourceKind::Dataset => "data",
    }
}

fn size(resource: &Resource) -> String {
    match resource.files.len() as u64 {
        0 => "not looked at".to_owned(),
        count => format!("{} in {}", bytes(resource.bytes()), counted(count, "file")),
    }
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::resource::ResourceFile;

    use super::*;

    fn summary(resources: Vec<Resource>) -> Summary {
        Summary { sweep: "mood-1f3a".into(), resources, ..super::super::tests::summary() }
    }

    #[test]
    fn resources_say_how_to_name_exactly_them() {
        let model = Resource {
            kind: ResourceKind::Model,
            id: "distilbert-base-uncased".into(),
            commit: Some("12040accade4e8a0f71eabdb258fecc2e7e948be".into()),
            license: Some("apache-2.0".into()),
            page: Some("https://h/distilbert-base-uncased".into()),
            files: vec![ResourceFile {
                path: "model.safetensors".into(),
                bytes: 268_000_000,
                sha256: "ab".into(),
            }],
        };
        let data = Resource {
            kind: ResourceKind::Dataset,
            id: "data/train.csv".into(),
            commit: None,
            license: None,
            page: None,
            files: Vec::new(),
        };
        let both = summary(vec![model, data]);
        insta::assert_snapshot!(resources(&both), @"
        What sweep mood-1f3a was made of

        model     distilbert-base-uncased
        revision  12040accade4e8a0f71eabdb258fecc2e7e948be
        license   apache-2.0
        size      268 MB in 1 file
        address   https://h/distilbert-base-uncased
          ab     268000000  model.safetensors

        data      data/train.csv
        revision  none: it is no repository of the Hub
        license   not known
        size      not looked at
        address   this machine

        In a sweep file, for exactly these:
          model: distilbert-base-uncased@12040accade4e8a0f71eabdb258fecc2e7e948be
        ");
        assert_eq!(short(&both).as_deref(), Some("model distilbert-base-uncased@12040ac"));
        let none = summary(Vec::new());
        assert_eq!(short(&none), None);
        assert!(resources(&none).contains("Nobody looked at them"));
    }
}
