//! What names something else: selectors, volumes, claims, settings, ports.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::document::{Container, Pods, id, items, map, named, of_kind, selects, text};

/// Secrets that deploy/README.md has people make, and the keys in each.
const SECRETS: [(&str, &[&str]); 4] = [
    ("distilsweep-tokens", &["clients", "workers", "worker"]),
    ("distilsweep-store", &["access-key-id", "secret-access-key"]),
    ("coordinator-tls", TLS),
    ("worker-tls", TLS),
];
const TLS: &[&str] = &["tls.crt", "tls.key", "ca.crt"];

/// Selectors take the pods that they are for.
pub(crate) fn selectors(objects: &[Value]) -> Vec<String> {
    let pods = Pods::of(objects);
    let taken = |selector: &Value| pods.iter().any(|pods| selects(selector, pods.labels()));
    let mut problems = Vec::new();
    for one in &pods {
        let own = one.owner.pointer("/spec/selector");
        if own.is_some_and(|selector| {
            map(selector, "/matchLabels").is_empty() || !selects(selector, one.labels())
        }) {
            problems.push(format!("{one} does not select its own pods"));
        }
        let spread = items(one.spec(), "/topologySpreadConstraints");
        let apart = |constraint: &Value| !selects(&constraint["labelSelector"], one.labels());
        if spread.iter().any(apart) {
            problems.push(format!("{one} spreads other pods than its own"));
        }
    }
    for object in objects {
        let selector = match text(object, "/kind") {
            "Service" => serde_json::json!({"matchLabels": object["spec"]["selector"]}),
            "PodDisruptionBudget" | "PodMonitor" => object["spec"]["selector"].clone(),
            "NetworkPolicy" => object["spec"]["podSelector"].clone(),
            _ => continue,
        };
        if !taken(&selector) {
            problems.push(format!("{} selects no pod", id(object)));
        }
    }
    let sides = of_kind(objects, "NetworkPolicy").flat_map(|policy| {
        let rules = [("/spec/ingress", "/from"), ("/spec/egress", "/to")];
        let peers =
            rules.map(|(side, peers)| items(policy, side).iter().flat_map(move |rule| items(rule, peers)));
        peers.into_iter().flatten().map(move |peer| (policy, peer))
    });
    for (policy, peer) in sides {
        let here = peer.get("namespaceSelector").is_none();
        if here && peer.get("podSelector").is_some_and(|selector| !taken(selector)) {
            problems.push(format!("{} has a peer that is no pod here", id(policy)));
        }
    }
    problems
}

/// Mounts have volumes, volumes are mounted, no two at one place.
pub(crate) fn mounts(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for pods in Pods::of(objects) {
        let volumes: Vec<&str> = pods.volumes().map(|(name, _)| name).collect();
        let mut used = BTreeSet::new();
        for container in pods.containers() {
            let mut places = BTreeSet::new();
            for mount in items(container.spec, "/volumeMounts") {
                let (name, path) = (text(mount, "/name"), text(mount, "/mountPath"));
                used.insert(name);
                if !volumes.contains(&name) {
                    problems.push(format!("{container} mounts {name}, which is no volume"));
                }
                if !places.insert(path) {
                    problems.push(format!("{container} mounts two at {path}"));
                }
            }
        }
        let idle = volumes.iter().filter(|name| !used.contains(*name));
        problems.extend(idle.map(|name| format!("{pods} has volume {name}, which nothing mounts")));
    }
    problems
}

/// Claims, settings, accounts and Services that are named are there; Secrets are those that people are told to make.
pub(crate) fn references(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |owner: &dyn std::fmt::Display, kind: &str, name: &str| {
        if !name.is_empty() && named(objects, kind, name).is_none() {
            problems.push(format!("{owner} names {kind} {name}, which is not there"));
        }
    };
    for pods in Pods::of(objects) {
        check(&pods, "ServiceAccount", text(pods.spec(), "/serviceAccountName"));
        check(&pods, "Service", text(pods.owner, "/spec/serviceName"));
        for (_, volume) in pods.volumes() {
            check(&pods, "PersistentVolumeClaim", text(volume, "/persistentVolumeClaim/claimName"));
        }
        for from in pods.containers().flat_map(|container| items(container.spec, "/envFrom")) {
            check(&pods, "ConfigMap", text(from, "/configMapRef/name"));
        }
    }
    for pods in Pods::of(objects) {
        for (secret, key) in secrets(&pods) {
            let known = SECRETS.iter().find(|(name, _)| *name == secret);
            if !known.is_some_and(|(_, keys)| key.is_none_or(|key| keys.contains(&key))) {
                problems
                    .push(format!("{pods} takes {key:?} of Secret {secret}, which nobody is told to make"));
            }
        }
    }
    problems
}

fn secrets<'a>(pods: &Pods<'a>) -> Vec<(&'a str, Option<&'a str>)> {
    let mut found = Vec::new();
    for (_, volume) in pods.volumes() {
        let secret = text(volume, "/secret/secretName");
        if !secret.is_empty() {
            found.push((secret, None));
            found
                .extend(items(volume, "/secret/items").iter().map(|item| (secret, Some(text(item, "/key")))));
        }
    }
    for variable in pods.containers().flat_map(|container| items(container.spec, "/env")) {
        if let Some(from) = variable.pointer("/valueFrom/secretKeyRef") {
            found.push((text(from, "/name"), Some(text(from, "/key"))));
        }
    }
    found
}

/// Ports that Services, monitors and policies name are ports of the pods that they take.
pub(crate) fn ports(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let pods = Pods::of(objects);
    let taken = |selector: &Value| -> Vec<Container<'_>> {
        pods.iter().filter(|pods| selects(selector, pods.labels())).flat_map(Pods::containers).collect()
    };
    let mut check = |owner: &Value, containers: &[Container<'_>], port: &Value| {
        if !containers.iter().all(|container| container.port(port).is_some()) {
            problems.push(format!("{} names port {port}, which its pods do not have", id(owner)));
        }
    };
    for service in of_kind(objects, "Service") {
        let containers = taken(&serde_json::json!({"matchLabels": service["spec"]["selector"]}));
        for port in items(service, "/spec/ports") {
            check(service, &containers, &port["targetPort"]);
        }
    }
    for monitor in of_kind(objects, "PodMonitor") {
        let containers = taken(&monitor["spec"]["selector"]);
        for endpoint in items(monitor, "/spec/podMetricsEndpoints") {
            check(monitor, &containers, &endpoint["port"]);
        }
    }
    for policy in of_kind(objects, "NetworkPolicy") {
        let containers = taken(&policy["spec"]["podSelector"]);
        for port in items(policy, "/spec/ingress").iter().flat_map(|rule| items(rule, "/ports")) {
            check(policy, &containers, &port["port"]);
        }
        for rule in items(policy, "/spec/egress") {
            let peers = items(rule, "/to").iter().filter(|peer| peer.get("namespaceSelector").is_none());
            let containers: Vec<_> =
                peers.filter_map(|peer| peer.get("podSelector")).flat_map(taken).collect();
            for port in items(rule, "/ports") {
                check(policy, &containers, &port["port"]);
            }
        }
    }
    for container in pods.iter().flat_map(Pods::containers) {
        let numbers: BTreeSet<u64> = container.ports().map(|(_, number)| number).collect();
        let names: BTreeSet<&str> = container.ports().map(|(name, _)| name).collect();
        let count = container.ports().count();
        if numbers.len() != count || names.len() != count {
            problems.push(format!("{container} has a port twice"));
        }
    }
    problems
}
