//! Objects, their containers and images by name.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::document::{Pods, id, text};

/// Everything that deploy/kubernetes may hold. What is not here was not thought about.
const KINDS: [(&str, &str); 15] = [
    ("v1", "Namespace"),
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("v1", "PersistentVolumeClaim"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "Job"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("keda.sh/v1alpha1", "ScaledJob"),
    ("kueue.x-k8s.io/v1beta2", "LocalQueue"),
    ("cert-manager.io/v1", "Issuer"),
    ("cert-manager.io/v1", "Certificate"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
];
const NAMESPACE: &str = "distilsweep";

/// Known kinds, each name once, all in the namespace.
pub(crate) fn names(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for object in objects {
        let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        if !KINDS.contains(&(version, kind)) {
            problems.push(format!("{} is of {version}, which is not on the list", id(object)));
        }
        if !seen.insert(id(object)) {
            problems.push(format!("{} is there twice", id(object)));
        }
        let at = if kind == "Namespace" { "/metadata/name" } else { "/metadata/namespace" };
        if text(object, at) != NAMESPACE {
            problems.push(format!("{} is not in namespace {NAMESPACE}", id(object)));
        }
    }
    problems
}

/// One container in each pod, named as its pods are: a patch with a misspelt name adds another.
pub(crate) fn containers(objects: &[Value]) -> Vec<String> {
    let found = Pods::of(objects).into_iter().filter_map(|pods| {
        let names: Vec<&str> = pods.containers().map(|container| text(container.spec, "/name")).collect();
        (names != [pods.role()])
            .then(|| format!("{pods} has containers {names:?}, it must have {}", pods.role()))
    });
    found.collect()
}

/// Images of this release, or of a version that is named.
pub(crate) fn images(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for container in Pods::of(objects).iter().flat_map(Pods::containers) {
        let ours = ["distilsweep-coordinator", "distilsweep-worker-cpu", "distilsweep-worker-cuda"];
        let tag = container.image().rsplit_once(':').map(|(_, tag)| tag);
        let right = match container.program() {
            program if ours.contains(&program) => tag == Some(env!("CARGO_PKG_VERSION")),
            "mlflow" => tag.is_some_and(|tag| tag.starts_with('v')),
            _ => false,
        };
        if !right {
            problems.push(format!("{container} has image {}", container.image()));
        }
    }
    problems
}
