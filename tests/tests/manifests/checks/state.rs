//! What must be there once, and what may not go all at once.

use serde_json::{Value, json};

use crate::document::{Pods, id, items, named, of_kind, text};

/// One coordinator on a volume of one pod, by a StatefulSet; one MLflow on its file; workers a few at a time.
pub(crate) fn state(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let Some(coordinator) = named(objects, "StatefulSet", "coordinator") else {
        return vec!["the coordinator must be a StatefulSet".to_owned()];
    };
    let mut must = |object: &Value, at: &str, right: Value| {
        if object.pointer(at) != Some(&right) {
            problems.push(format!("{}: {at} is not {right}", id(object)));
        }
    };
    must(coordinator, "/spec/replicas", json!(1));
    must(coordinator, "/spec/volumeClaimTemplates/0/spec/accessModes", json!(["ReadWriteOncePod"]));
    must(coordinator, "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted", json!("Retain"));
    if let Some(service) = named(objects, "Service", text(coordinator, "/spec/serviceName")) {
        must(service, "/spec/clusterIP", json!("None"));
        must(service, "/spec/publishNotReadyAddresses", json!(true));
    }
    if let Some(mlflow) = named(objects, "Deployment", "mlflow") {
        must(mlflow, "/spec/replicas", json!(1));
        must(mlflow, "/spec/strategy/type", json!("Recreate"));
    }
    if let Some(worker) = named(objects, "Deployment", "worker") {
        must(worker, "/spec/strategy/rollingUpdate/maxSurge", json!(0));
    }
    for budget in of_kind(objects, "PodDisruptionBudget") {
        must(budget, "/spec/maxUnavailable", json!(1));
        must(budget, "/spec/unhealthyPodEvictionPolicy", json!("AlwaysAllow"));
    }
    let budgets = of_kind(objects, "PodDisruptionBudget").map(|budget| text(budget, "/metadata/name"));
    let deployed = named(objects, "Deployment", "worker").map(|worker| text(worker, "/metadata/name"));
    if !budgets.eq(deployed) {
        problems.push("a budget belongs to a Deployment of workers, and to nothing else".to_owned());
    }
    for workers in Pods::of(objects).iter().filter(|pods| pods.role() == "worker") {
        let keys =
            items(workers.spec(), "/topologySpreadConstraints").iter().map(|one| text(one, "/topologyKey"));
        if !keys.eq(["kubernetes.io/hostname", "topology.kubernetes.io/zone"]) {
            problems.push(format!("{workers} is not spread over nodes and zones"));
        }
    }
    problems
}
