//! What a sweep takes from elsewhere, as it was when the sweep was handed in: its pins.

use serde::{Deserialize, Serialize};

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// The checkpoint that trials start from.
    Model,
    /// What they train and are judged on.
    Dataset,
}

/// A model or data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Which of the two.
    pub kind: ResourceKind,
    /// Hub id, directory or file.
    pub id: String,
    /// The commit of a repository of the Hub: what trials take, however its branches move.
    pub commit: Option<String>,
    /// Name of its licence, where it is known.
    pub license: Option<String>,
    /// Its page on the Hub.
    pub page: Option<String>,
    /// The files that are used; empty where nobody looked into them.
    pub files: Vec<ResourceFile>,
}

/// A file of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceFile {
    /// Its path, in the repository where it is of one.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// Whether a model or data set is a path rather than an id of the Hub: it starts with `.`, `/` or `~`.
pub fn is_path(text: &str) -> bool {
    matches!(text.split(['/', '\\']).next(), Some("" | "." | ".." | "~"))
}

/// Splits `id@revision`. A path keeps its `@`: only ids of the Hub have revisions.
pub fn split_revision(text: &str) -> (&str, Option<&str>) {
    match text.split_once('@') {
        Some((id, revision)) if !is_path(text) && !id.is_empty() && !revision.is_empty() => {
            (id, Some(revision))
        }
        Some(_) | None => (text, None),
    }
}

impl Resource {
    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// As a sweep file names exactly this: `id@commit`.
    pub fn pinned(&self) -> String {
        match &self.commit {
            Some(commit) => format!("{}@{commit}", self.id),
            None => self.id.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_hub_are_no_paths() {
        assert!(["./m", "../m", "/m", "~/m", ".", "~"].into_iter().all(is_path));
        assert!(!["m", "org/m", ".hidden", "~ada/m", "org/../m"].into_iter().any(is_path));
    }

    #[test]
    fn ids_have_revisions_and_paths_keep_their_at_signs() {
        assert_eq!(split_revision("owner/name@v1"), ("owner/name", Some("v1")));
        assert_eq!(split_revision("owner/name"), ("owner/name", None));
        for path in ["./a@b", "/a@b/c", "~/a@b", "@b", "a@"] {
            assert_eq!(split_revision(path), (path, None));
        }
    }
}
