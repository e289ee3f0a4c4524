//! Containers against the programs in them: arguments, paths, time to end, probes.

use std::net::IpAddr;

use serde_json::Value;

use crate::{
    document::{Container, Pods, items, text},
    program::Program,
};

/// Seconds that a worker may take beyond its `--grace`, and a coordinator from SIGTERM to its last commit.
const MARGIN: u64 = 20;
/// The shortest notice that a cloud gives of a spot node, in seconds.
const NOTICE: u64 = 30;

fn containers(objects: &[Value]) -> Vec<Container<'_>> {
    Pods::of(objects).iter().flat_map(Pods::containers).collect()
}

/// Ours with their programs, where these can be read at all.
fn ours(objects: &[Value]) -> impl Iterator<Item = (Container<'_>, Program)> {
    containers(objects).into_iter().filter_map(|container| {
        let program = Program::read(&container, objects).ok().flatten()?;
        Some((container, program))
    })
}

/// Arguments are understood, and the ports that they open are the container's.
pub(crate) fn arguments(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for container in containers(objects) {
        match Program::read(&container, objects) {
            Err(why) => problems.push(format!("{container}: {why}")),
            Ok(Some(program)) => {
                if container.spec.get("command").is_some() {
                    problems.push(format!("{container}: the image knows its command"));
                }
                let mut open: Vec<u64> = Vec::new();
                for (flag, address) in program.listens() {
                    open.push(address.port().into());
                    if !matches!(address.ip(), IpAddr::V4(ip) if ip.is_unspecified()) {
                        problems
                            .push(format!("{container}: --{flag} {address} cannot be reached from outside"));
                    }
                }
                let mut said: Vec<u64> = container.ports().map(|(_, number)| number).collect();
                open.sort_unstable();
                said.sort_unstable();
                if open != said {
                    problems.push(format!("{container} opens {open:?} and says {said:?}"));
                }
            }
            Ok(None) => {
                let port = items(container.spec, "/args")
                    .iter()
                    .find_map(|word| word.as_str()?.strip_prefix("--port="));
                let said = container.ports().next().map(|(_, number)| number.to_string());
                if port != said.as_deref() {
                    problems.push(format!("{container} opens {port:?} and says {said:?}"));
                }
            }
        }
    }
    problems
}

/// Files that arguments name are mounted, and what is written is not read-only. The images send caches and temporary
/// files to /scratch and /cache.
pub(crate) fn paths(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for (container, program) in ours(objects) {
        let own = ["/scratch", "/cache"].into_iter().take(if container.is_worker() { 2 } else { 1 });
        let named = program.paths().map(|(path, writes)| (path.display().to_string(), writes));
        let store = program.argument::<String>("store");
        let directory = store.as_deref().and_then(|url| url.strip_prefix("file://"));
        let written = own.chain(directory).map(|path| (path.to_owned(), true));
        for (path, writes) in named.chain(written) {
            let Some(mount) = container.mount(&path) else {
                problems.push(format!("{container}: {path} is on no volume"));
                continue;
            };
            if writes == (mount["readOnly"] == true) {
                problems.push(format!(
                    "{container}: {path} is {}",
                    if writes { "read-only" } else { "writable" }
                ));
            }
            let secret = container.volume(&path).and_then(|volume| volume.get("secret"));
            let file = path.rsplit('/').next().unwrap_or_default();
            let mut kept = secret.into_iter().flat_map(|secret| items(secret, "/items")).peekable();
            if kept.peek().is_some() && !kept.any(|item| text(item, "/path") == file) {
                problems.push(format!("{container}: {path} is no file of its Secret"));
            }
        }
    }
    problems
}

/// A pod is given longer to end than its program takes; on a spot node, no longer than the node has.
pub(crate) fn grace(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for (container, program) in ours(objects) {
        let asleep = container
            .spec
            .pointer("/lifecycle/preStop/sleep/seconds")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let needs = program.argument::<u64>("grace").unwrap_or_default() + asleep + MARGIN;
        let has = container.pods.seconds_to_end();
        if has < needs {
            problems.push(format!("{container} is killed after {has} s and may need {needs}"));
        }
        let spot = program.arguments.try_get_raw("spot_notice").is_ok_and(|notice| notice.is_some());
        if spot && program.argument::<u64>("grace").is_none_or(|grace| grace > NOTICE) {
            problems.push(format!("{container} takes longer to hand back than a spot node stays"));
        }
    }
    problems
}

/// Probes ask by plain HTTP where the program answers, and whether a pod lives does not depend on others.
pub(crate) fn probes(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for container in containers(objects) {
        let http = Program::read(&container, objects).ok().flatten().map(|program| {
            program.listens().find(|(flag, _)| *flag == "http").map(|(_, address)| u64::from(address.port()))
        });
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            let path = if container.program() == "mlflow" { "/health" } else { path };
            let asked = &container.spec[probe]["httpGet"];
            if text(asked, "/path") != path || asked.get("scheme").is_some() {
                problems.push(format!("{container}: {probe} does not ask for {path}"));
            }
            match container.port(&asked["port"]) {
                None => problems.push(format!("{container}: {probe} asks at a port that is not there")),
                Some(port) if http.is_some_and(|http| http != Some(port)) => {
                    problems.push(format!("{container}: {probe} asks where no plain HTTP is"));
                }
                Some(_) => {}
            }
        }
    }
    problems
}
