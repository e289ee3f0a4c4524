//! Pod security `restricted` and more: no rights, no secrets in manifests.

use serde_json::{Value, json};

use crate::document::{Pods, id, items, of_kind, text};

/// Who programs are in all images.
const USER: u64 = 65532;

/// What `restricted` asks for, written out in each pod, and a file system that nothing writes to.
pub(crate) fn pods(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for pods in Pods::of(objects) {
        let must = [
            ("/securityContext/runAsNonRoot", json!(true)),
            ("/securityContext/runAsUser", json!(USER)),
            ("/securityContext/runAsGroup", json!(USER)),
            ("/securityContext/fsGroup", json!(USER)),
            ("/securityContext/seccompProfile/type", json!("RuntimeDefault")),
            ("/enableServiceLinks", json!(false)),
        ];
        let differs = must.iter().filter(|(at, right)| pods.spec().pointer(at) != Some(right));
        problems.extend(differs.map(|(at, right)| format!("{pods}: {at} is not {right}")));
        let shared =
            ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|key| pods.spec().get(*key).is_some());
        problems.extend(shared.map(|key| format!("{pods} has {key}")));
        let kinds = ["configMap", "emptyDir", "persistentVolumeClaim", "secret", "spec"];
        let open = pods.volumes().filter(|(_, volume)| !kinds.iter().any(|kind| volume.get(*kind).is_some()));
        problems.extend(
            open.map(|(name, _)| format!("{pods}: {name} is no volume that restricted pods may have")),
        );
        for container in pods.containers() {
            let must = [
                ("/securityContext/allowPrivilegeEscalation", json!(false)),
                ("/securityContext/readOnlyRootFilesystem", json!(true)),
                ("/securityContext/capabilities", json!({"drop": ["ALL"]})),
            ];
            let differs = must.iter().filter(|(at, right)| container.spec.pointer(at) != Some(right));
            problems.extend(differs.map(|(at, right)| format!("{container}: {at} is not {right}")));
            let loosens = ["privileged", "runAsUser", "runAsNonRoot", "seccompProfile", "procMount"];
            let found =
                loosens.into_iter().filter(|key| container.spec["securityContext"].get(*key).is_some());
            problems.extend(found.map(|key| format!("{container} sets {key} beside its pod")));
            if items(container.spec, "/ports").iter().any(|port| port.get("hostPort").is_some()) {
                problems.push(format!("{container} has a port of the node"));
            }
        }
    }
    for namespace in of_kind(objects, "Namespace") {
        for mode in ["enforce", "audit", "warn"] {
            if text(namespace, &format!("/metadata/labels/pod-security.kubernetes.io~1{mode}"))
                != "restricted"
            {
                problems.push(format!("{} does not {mode} restricted pods", id(namespace)));
            }
        }
    }
    if of_kind(objects, "Namespace").count() != 1 {
        problems.push("there must be one Namespace, with the labels of pod security".to_owned());
    }
    problems
}

/// No token of the cluster and no rights in it.
pub(crate) fn rights(objects: &[Value]) -> Vec<String> {
    let roles = objects.iter().filter(|object| text(object, "/apiVersion").starts_with("rbac."));
    let mut problems: Vec<String> =
        roles.map(|role| format!("{}: nothing here needs rights", id(role))).collect();
    let specs = Pods::of(objects).into_iter().map(|pods| (pods.to_string(), pods.spec()));
    let accounts = of_kind(objects, "ServiceAccount").map(|account| (id(account), account));
    for (name, holder) in specs.chain(accounts) {
        if holder["automountServiceAccountToken"] != json!(false) {
            problems.push(format!("{name} gets a token of the cluster"));
        }
    }
    problems
}

/// Secrets by reference alone, and each pod only those that it needs.
pub(crate) fn secrets(objects: &[Value]) -> Vec<String> {
    let given = of_kind(objects, "Secret").map(|secret| format!("{} is in the manifests", id(secret)));
    let mut problems: Vec<String> = given.collect();
    let secret =
        |name: &str| ["TOKEN", "PASSWORD", "SECRET", "ACCESS_KEY"].iter().any(|word| name.contains(word));
    for container in Pods::of(objects).iter().flat_map(Pods::containers) {
        for variable in items(container.spec, "/env") {
            if secret(text(variable, "/name")) && variable.get("value").is_some() {
                problems.push(format!("{container}: {} is in the manifests", text(variable, "/name")));
            }
        }
        let tokens =
            container.volume("/tokens").map(|volume| items(volume, "/secret/items")).unwrap_or_default();
        let keys: Vec<&str> = tokens.iter().map(|item| text(item, "/key")).collect();
        let right: &[&str] = match container.pods.role() {
            "worker" => &["worker"],
            "coordinator" => &["clients", "workers"],
            _ => &[],
        };
        if keys != right {
            problems.push(format!("{container} holds the tokens {keys:?}, it must be {right:?}"));
        }
    }
    for settings in of_kind(objects, "ConfigMap") {
        for name in crate::document::map(settings, "/data").keys().filter(|name| secret(name)) {
            problems.push(format!("{}: {name} is in the manifests", id(settings)));
        }
    }
    problems
}
