//! Processors, memory, GPUs and disks.

use serde_json::Value;

use crate::{
    document::{Container, Pods, id, items, map, of_kind, text},
    quantity::quantity,
};

const GPU: &str = "nvidia.com/";

/// Quantities are some, requests are there and within limits, memory is bounded.
pub(crate) fn quantities(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for container in Pods::of(objects).iter().flat_map(Pods::containers) {
        let requests = map(container.spec, "/resources/requests");
        let limits = map(container.spec, "/resources/limits");
        for (name, value) in requests.iter().chain(limits) {
            if quantity(value).is_none_or(|amount| amount <= 0.0) {
                problems.push(format!("{container}: {name} is {value}, which is no quantity"));
            }
        }
        for (name, asked) in requests {
            let within = limits.get(name).is_none_or(|limit| quantity(asked) <= quantity(limit));
            if !within {
                problems.push(format!("{container}: {name} is requested beyond its limit"));
            }
        }
        let missing =
            ["cpu", "memory", "ephemeral-storage"].into_iter().filter(|name| !requests.contains_key(*name));
        problems.extend(missing.map(|name| format!("{container} requests no {name}")));
        if !limits.contains_key("memory") {
            problems.push(format!("{container} has no limit of memory"));
        }
    }
    let claims = of_kind(objects, "PersistentVolumeClaim");
    let templates = objects.iter().flat_map(|object| items(object, "/spec/volumeClaimTemplates"));
    for claim in claims.chain(templates) {
        if claim.pointer("/spec/resources/requests/storage").and_then(quantity).is_none() {
            problems.push(format!("{} has no size", id(claim)));
        }
    }
    problems
}

/// Whole GPUs, requests equal to limits, the nodes' taint borne, shared memory that counts.
pub(crate) fn gpu(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for pods in Pods::of(objects) {
        for container in pods.containers() {
            let mut wrong = |what: &str| problems.push(format!("{container}: {what}"));
            let requests = gpus(&container, "/resources/requests");
            let limits = gpus(&container, "/resources/limits");
            if requests != limits {
                wrong("GPUs are requested in another number than the limit's");
            }
            for (_, amount) in &limits {
                if quantity(amount).is_none_or(|amount| amount < 1.0 || amount.fract() != 0.0) {
                    wrong(&format!("{amount} GPUs: it must be a whole number"));
                }
            }
            if items(container.spec, "/env")
                .iter()
                .any(|variable| text(variable, "/name").starts_with("NVIDIA_"))
            {
                wrong("NVIDIA_ variables are the runtime's to set");
            }
            if (container.program() == "distilsweep-worker-cuda") == limits.is_empty() {
                wrong("the CUDA image and a GPU go together");
            }
            if limits.is_empty() {
                continue;
            }
            let borne = items(pods.spec(), "/tolerations").iter().any(|toleration| {
                text(toleration, "/key") == "nvidia.com/gpu" && text(toleration, "/operator") == "Exists"
            });
            if !borne {
                wrong("the taint of GPU nodes is not borne");
            }
            let limit =
                container.spec.pointer("/resources/limits/memory").and_then(quantity).unwrap_or_default();
            let shared = container.volume("/dev/shm").map(|volume| &volume["emptyDir"]);
            let sized = shared
                .filter(|shared| text(shared, "/medium") == "Memory")
                .map(|shared| quantity(&shared["sizeLimit"]));
            match sized {
                None => wrong("/dev/shm is no memory of its own"),
                Some(None) => wrong("/dev/shm has no bound"),
                Some(Some(size)) if size > limit / 2.0 => wrong("/dev/shm takes most of the memory"),
                Some(Some(_)) => {}
            }
        }
    }
    problems
}

fn gpus<'a>(container: &Container<'a>, at: &str) -> Vec<(&'a String, &'a Value)> {
    map(container.spec, at).iter().filter(|(name, _)| name.starts_with(GPU)).collect()
}

/// Directories on a node's disk are bounded, within the limit, and do not keep the node from going.
pub(crate) fn local_disks(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for pods in Pods::of(objects) {
        let annotation =
            "/metadata/annotations/cluster-autoscaler.kubernetes.io~1safe-to-evict-local-volumes";
        let mut listed: Vec<&str> = text(pods.template, annotation).split(',').collect();
        let local: Vec<_> = pods.volumes().filter(|(_, volume)| volume.get("emptyDir").is_some()).collect();
        let mut names: Vec<&str> = local.iter().map(|(name, _)| *name).collect();
        listed.sort_unstable();
        names.sort_unstable();
        // A name too many is harmless to a node: a component has put a claim in the volume's place.
        if names.iter().any(|name| !listed.contains(name)) {
            problems.push(format!(
                "{pods} keeps its node: safe-to-evict-local-volumes is {listed:?}, not {names:?}"
            ));
        }
        let disks = local.iter().filter(|(_, volume)| text(volume, "/emptyDir/medium") != "Memory");
        let sizes: Vec<_> =
            disks.map(|(name, volume)| (name, quantity(&volume["emptyDir"]["sizeLimit"]))).collect();
        let unbounded = sizes.iter().filter(|(_, size)| size.is_none());
        problems.extend(unbounded.map(|(name, _)| format!("{pods}: {name} has no bound")));
        let sum: f64 = sizes.iter().filter_map(|(_, size)| *size).sum();
        let limits = pods
            .containers()
            .filter_map(|one| one.spec.pointer("/resources/limits/ephemeral-storage").and_then(quantity));
        if sum > limits.sum() {
            problems
                .push(format!("{pods}: its directories may hold more than the limit of ephemeral-storage"));
        }
    }
    problems
}
