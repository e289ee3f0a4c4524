//! What the Hub's API answers, as far as it is of use here.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A repository, in a list or by itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RepoInfo {
    /// owner/name.
    pub id: String,
    /// The commit; empty in lists.
    pub sha: String,
    /// Its files; empty in lists.
    pub siblings: Vec<RepoFile>,
    /// In the last 30 days.
    pub downloads: Option<u64>,
    /// How many people marked it.
    pub likes: Option<u64>,
    /// `task:…`, `license:…`, languages and whatever its owner wrote.
    pub tags: Vec<String>,
    /// `false`, or how access is granted ("auto", "manual").
    pub gated: Value,
    /// What a model is for.
    #[serde(rename = "pipeline_tag")]
    pub pipeline_tag: Option<String>,
    /// Which library loads it.
    #[serde(rename = "library_name")]
    pub library_name: Option<String>,
    /// The head of its README.
    pub card_data: Option<Value>,
    /// Part of a model's config.json.
    pub config: Option<Value>,
    /// Parameters of a model by their type.
    pub safetensors: Option<Safetensors>,
    /// When it was last changed, RFC 3339.
    pub last_modified: Option<String>,
    /// Bytes of all its files, older commits included.
    pub used_storage: Option<u64>,
}

/// A file of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RepoFile {
    /// Its path, with `/` between folders.
    #[serde(rename = "rfilename")]
    pub path: String,
    /// Its bytes, where the Hub says them.
    pub size: Option<u64>,
}

/// Parameters of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Safetensors {
    /// How many of each type ("F32").
    pub parameters: BTreeMap<String, u64>,
    /// How many in all.
    pub total: u64,
}

impl RepoInfo {
    /// Name of its licence ("apache-2.0"): what the card says, else the tag.
    pub fn license(&self) -> Option<String> {
        let card = self.card_data.as_ref().and_then(|card| card.get("license"));
        let named = |value: &Value| value.as_str().map(str::to_owned);
        let of_card = match card {
            Some(Value::Array(several)) => {
                let names: Vec<String> = several.iter().filter_map(named).collect();
                (!names.is_empty()).then(|| names.join(", "))
            }
            Some(one) => named(one),
            None => None,
        };
        of_card.or_else(|| self.tags.iter().find_map(|tag| tag.strip_prefix("license:")).map(str::to_owned))
    }

    /// `model_type` of a model's configuration ("distilbert").
    pub fn model_type(&self) -> Option<&str> {
        self.config.as_ref()?.get("model_type")?.as_str()
    }

    /// Whether the owner has to let people in.
    pub fn is_gated(&self) -> bool {
        !matches!(self.gated, Value::Null | Value::Bool(false))
    }

    /// Bytes of the files of this commit; none where the Hub does not say them.
    pub fn bytes(&self) -> Option<u64> {
        self.siblings.iter().map(|file| file.size).sum::<Option<u64>>().filter(|bytes| *bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_what_the_card_says_else_the_tag() {
        let info = |card: &str, tags: &[&str]| RepoInfo {
            card_data: serde_json::from_str(card).ok(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..RepoInfo::default()
        };
        let license = |card: &str, tags: &[&str]| info(card, tags).license();
        assert_eq!(license(r#"{"license": "mit"}"#, &["license:other"]).as_deref(), Some("mit"));
        assert_eq!(license(r#"{"license": ["mit", "cc-by-4.0"]}"#, &[]).as_deref(), Some("mit, cc-by-4.0"));
        assert_eq!(license("{}", &["en", "license:other"]).as_deref(), Some("other"));
        assert_eq!(license("null", &[]), None);
    }

    #[test]
    fn bytes_are_those_of_all_files_or_unknown() {
        let file = |size| RepoFile { path: "a".into(), size };
        let of = |siblings| RepoInfo { siblings, ..RepoInfo::default() }.bytes();
        assert_eq!(of(vec![file(Some(2)), file(Some(3))]), Some(5));
        assert_eq!(of(vec![file(Some(2)), file(None)]), None);
        assert_eq!(of(vec![]), None);
    }
}
