//! Kustomizations to try: the manifests copied, and components put together beside them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;
use tempfile::TempDir;

use crate::kubectl::Tools;

/// Components in the order in which they go together.
pub(crate) const COMPONENTS: [&str; 12] = [
    "mlflow",
    "gpu",
    "gpu-mig",
    "gpu-shared",
    "cache-shared",
    "store-s3",
    "tls-static",
    "tls-cert-manager",
    "spot",
    "monitoring",
    "kueue",
    "keda",
];
/// Components that exclude each other.
const EITHER: [[&str; 2]; 2] = [["gpu-mig", "gpu-shared"], ["tls-static", "tls-cert-manager"]];
/// As many at once as go together; with `keda` at the end workers are jobs.
pub(crate) const EVERYTHING: [&str; 8] =
    ["mlflow", "gpu", "cache-shared", "store-s3", "tls-cert-manager", "spot", "monitoring", "kueue"];

pub(crate) fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes")
}

/// A copy of the manifests, to put kustomizations beside them: kustomize takes no path from outside.
pub(crate) struct Copy(TempDir);

impl Copy {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let copy = Self(tempfile::tempdir()?);
        copy_directory(&manifests(), copy.0.path())?;
        Ok(copy)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The base with these components.
    pub(crate) fn with(&self, tools: &Tools, components: &[&str]) -> anyhow::Result<Vec<Value>> {
        let directory = self.path("overlays/trial");
        std::fs::create_dir_all(&directory)?;
        let mut text = "namespace: distilsweep\nresources: [../../base]\ncomponents:\n".to_owned();
        for component in components {
            text += &format!("- ../../components/{component}\n");
        }
        std::fs::write(directory.join("kustomization.yaml"), text)?;
        tools.render(&directory).with_context(|| format!("{components:?}"))
    }
}

fn copy_directory(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Which components to try together: each alone, each two, and as many as go together.
pub(crate) fn combinations() -> Vec<Vec<&'static str>> {
    let mut chosen = vec![EVERYTHING.to_vec(), [&EVERYTHING[..], &["keda"]].concat(), Vec::new()];
    for (at, first) in COMPONENTS.iter().enumerate() {
        chosen.push(vec![*first]);
        chosen.extend(COMPONENTS[at + 1..].iter().map(|second| vec![*first, *second]));
    }
    chosen.retain(|all| !EITHER.iter().any(|either| either.iter().all(|one| all.contains(one))));
    for all in &mut chosen {
        if !all.contains(&"gpu")
            && let Some(at) = all.iter().position(|one| one.starts_with("gpu-"))
        {
            all.insert(at, "gpu");
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}
