//! ConfigMaps, read by whoever will read them.

use std::{collections::BTreeMap, path::Path};

use distilsweep::{mlflow::settings::Settings, spec};
use distilsweep_proto::{dial::Dial, storage};
use serde_json::Value;
use url::Url;

use crate::{
    document::{Container, Pods, id, items, map, named, of_kind, text},
    program::{Program, environment},
};

/// Variables that programs of ours, or libraries in them, read by themselves.
const READ: [&str; 7] = ["AWS_", "AZURE_", "DISTILSWEEP_", "GOOGLE_", "HF_", "MLFLOW_", "RUST_LOG"];

/// Everything is read by somebody, means something to him, and leads to something that is there.
pub(crate) fn settings(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let containers: Vec<Container<'_>> = Pods::of(objects).iter().flat_map(Pods::containers).collect();
    for settings in of_kind(objects, "ConfigMap") {
        for (key, value) in map(settings, "/data") {
            let wrong = if Path::new(key).extension().is_some_and(|end| end == "yaml") {
                spec::parse(value.as_str().unwrap_or_default()).err().map(|found| found.in_file(key))
            } else {
                unread(settings, key, &containers)
            };
            problems.extend(wrong.map(|wrong| format!("{}: {wrong}", id(settings))));
        }
    }
    for container in &containers {
        let Ok(Some(program)) = Program::read(container, objects) else { continue };
        problems
            .extend(of_program(&program, objects).into_iter().map(|wrong| format!("{container}: {wrong}")));
    }
    problems
}

/// A key that no container which gets it makes use of.
fn unread(settings: &Value, key: &str, containers: &[Container<'_>]) -> Option<String> {
    if READ.iter().any(|prefix| key.starts_with(prefix)) {
        return None;
    }
    let name = text(settings, "/metadata/name");
    let word = format!("$({key})");
    let used = containers
        .iter()
        .filter(|container| {
            items(container.spec, "/envFrom").iter().any(|from| text(from, "/configMapRef/name") == name)
        })
        .flat_map(|container| items(container.spec, "/args"))
        .any(|argument| argument.as_str().is_some_and(|argument| argument.contains(&word)));
    (!used).then(|| format!("nobody reads {key}"))
}

fn of_program(program: &Program, objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let lookup = |name: &str| program.environment.get(name).cloned();
    match Settings::from_env(lookup) {
        Err(error) => problems.push(error.to_string()),
        Ok(Some(settings)) => problems.extend(unreachable(&settings.address, objects)),
        Ok(None) => {}
    }
    if let Some(store) = program.argument::<String>("store") {
        let opened = Url::parse(&store).map_err(|error| error.to_string()).and_then(|url| {
            storage::open_with(&url, program.environment.clone()).map_err(|error| error.to_string())
        });
        problems.extend(opened.err());
        problems.extend(workers_reach(&store, objects));
    }
    if let Some(url) = program.argument::<String>("url") {
        // Encrypted, it would first read all authorities that this machine trusts.
        let plain = url.replacen("https://", "http://", 1);
        problems.extend(Dial::default().coordinator(&plain, |_| None).err().map(|error| error.to_string()));
        problems.extend(unreachable(&url, objects));
    }
    problems
}

/// Why nothing answers at a URL of this namespace: no such Service or port, or an MLflow that refuses the name.
fn unreachable(url: &str, objects: &[Value]) -> Option<String> {
    let Ok(url) = Url::parse(url) else { return Some(format!("{url} is no URL")) };
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default()?);
    let Some(service) = named(objects, "Service", host) else {
        // Elsewhere.
        return (!host.contains('.')).then(|| format!("{url} leads to no Service"));
    };
    if !items(service, "/spec/ports").iter().any(|one| one["port"] == u64::from(port)) {
        return Some(format!("{url} leads to no port of its Service"));
    }
    let selector = serde_json::json!({"matchLabels": service["spec"]["selector"]});
    let allowed = Pods::of(objects)
        .into_iter()
        .filter(|pods| crate::document::selects(&selector, pods.labels()))
        .flat_map(|pods| pods.containers())
        .flat_map(|container| items(container.spec, "/args"))
        .find_map(|word| word.as_str()?.strip_prefix("--allowed-hosts="));
    let asked = format!("{host}:{port}");
    let refused = match allowed {
        Some(allowed) => !allowed.split(',').any(|pattern| matches(pattern, &asked)),
        // Its own list has addresses alone.
        None => host == "mlflow",
    };
    refused.then(|| format!("MLflow does not answer to {asked}: its --allowed-hosts are {allowed:?}"))
}

/// Whether a text is of a pattern in which `*` stands for anything, as MLflow compares.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| matches(rest, text)))
        }),
    }
}

/// Why what workers publish is not found again: each has the same directory, or the means to reach the bucket.
fn workers_reach(store: &str, objects: &[Value]) -> Option<String> {
    let pods = Pods::of(objects);
    let of = |role: &str| pods.iter().filter(|pods| pods.role() == role).flat_map(Pods::containers).next();
    let (coordinator, worker) = (of("coordinator")?, of("worker")?);
    if let Some(path) = store.strip_prefix("file://") {
        let claim = |container: &Container<'_>| {
            Some(text(container.volume(path)?, "/persistentVolumeClaim/claimName").to_owned())
        };
        let shared =
            claim(&coordinator).filter(|name| !name.is_empty() && claim(&worker).as_ref() == Some(name));
        let modes = shared
            .and_then(|name| named(objects, "PersistentVolumeClaim", &name))
            .map(|claim| items(claim, "/spec/accessModes"));
        let right = modes.is_some_and(|modes| modes == ["ReadWriteMany"]);
        return (!right).then(|| format!("{store} is no volume that coordinator and workers share"));
    }
    let keys = |container: &Container<'_>| -> BTreeMap<String, String> {
        let all = environment(container, objects).unwrap_or_default();
        all.into_iter()
            .filter(|(name, _)| ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| name.starts_with(prefix)))
            .collect()
    };
    (keys(&coordinator) != keys(&worker))
        .then(|| format!("{store}: workers have other variables for it than the coordinator"))
}
