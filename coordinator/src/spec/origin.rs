//! Where a sweep comes from, as the command that hands it in knows it. Its runs say so for ever after, whoever the
//! coordinator is then and whatever its environment.

use std::collections::BTreeMap;

use distilsweep_proto::resource::{Resource, ResourceKind};
use serde::{Deserialize, Serialize};

/// What comes with a sweep file, and no part of what is computed: but for the tags it is not in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// Whose runs they are; the coordinator's user where nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Name of the MLflow experiment, before what the file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// The same where the file says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_experiment: Option<String>,
    /// Tags of all runs: those of the file, `MLFLOW_RUN_CONTEXT`, and the commit of the file's directory.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Model and data set as they were found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Resource>,
}

impl Origin {
    /// The commit that a resource was at.
    pub fn commit(&self, kind: ResourceKind) -> Option<&String> {
        self.resources.iter().find(|resource| resource.kind == kind)?.commit.as_ref()
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
