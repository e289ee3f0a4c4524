//! Workers that KEDA starts.

use serde_json::{Value, json};

use crate::{
    document::{Pods, id, items, named, of_kind, text},
    program::Program,
};

/// Jobs that end by themselves, survive an edit, do not count a lost node as a failure, and are asked for at the scaler.
pub(crate) fn jobs(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut workers = Pods::of(objects).into_iter().filter(|pods| pods.role() == "worker");
    if let (Some(_), Some(_)) = (workers.next(), workers.next()) {
        problems.push("there are two kinds of workers".to_owned());
    }
    for job in of_kind(objects, "ScaledJob") {
        let must = [
            ("/spec/rollout/strategy", json!("gradual")),
            ("/spec/minReplicaCount", json!(0)),
            ("/spec/jobTargetRef/template/spec/restartPolicy", json!("Never")),
            (
                "/spec/jobTargetRef/podFailurePolicy/rules/0",
                json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}),
            ),
            ("/spec/triggers/0/type", json!("external")),
        ];
        let differs = must.iter().filter(|(at, right)| job.pointer(at) != Some(right));
        problems.extend(differs.map(|(at, right)| format!("{}: {at} is not {right}", id(job))));
        let queued = text(job, "/metadata/labels/kueue.x-k8s.io~1queue-name");
        if !queued.is_empty() && named(objects, "LocalQueue", queued).is_none() {
            problems.push(format!("{} waits in queue {queued}, which is not there", id(job)));
        }
        for trigger in items(job, "/spec/triggers") {
            problems.extend(unasked(&trigger["metadata"], objects).map(|why| format!("{}: {why}", id(job))));
        }
    }
    for pods in Pods::of(objects) {
        let ends = pods.containers().any(|container| {
            let program = Program::read(&container, objects).ok().flatten();
            program.is_some_and(|program| program.argument::<u64>("exit_when_idle").is_some())
        });
        if ends != (text(pods.owner, "/kind") == "ScaledJob") {
            problems.push(format!("{pods}: --exit-when-idle is for jobs, and jobs need it"));
        }
    }
    problems
}

/// Why KEDA, in a namespace of its own, does not get an answer.
fn unasked(metadata: &Value, objects: &[Value]) -> Option<String> {
    let address = text(metadata, "/scalerAddress");
    let found = address.split_once(':').and_then(|(host, port)| {
        let (service, rest) = host.split_once('.')?;
        let service = named(objects, "Service", service)?;
        let here = rest.split('.').next() == Some(text(service, "/metadata/namespace"));
        let ports = items(service, "/spec/ports");
        let scaler = ports.iter().find(|one| text(one, "/name") == "scaler")?;
        (here && scaler["port"].as_u64() == port.parse().ok()).then_some(())
    });
    if found.is_none() {
        return Some(format!("{address} is not SERVICE.NAMESPACE:PORT of the scaler"));
    }
    let unknown = crate::document::map(metadata, "")
        .keys()
        .find(|key| !["scalerAddress", "trialsPerWorker"].contains(&key.as_str()));
    if let Some(unknown) = unknown {
        return Some(format!("the scaler does not read {unknown}"));
    }
    let count = text(metadata, "/trialsPerWorker");
    count
        .parse()
        .is_ok_and(|count: i64| count >= 1)
        .then_some(())
        .is_none()
        .then(|| format!("{count} trials a worker"))
}
