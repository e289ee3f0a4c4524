//! Who may reach whom: NetworkPolicies, evaluated as the cluster does.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use crate::document::{Pods, id, items, map, of_kind, selects, text};

/// Something that a pod of ours talks to, or that talks to it.
#[derive(Clone, Copy, Debug)]
enum Peer<'a> {
    /// Pods of ours.
    Ours(Pods<'a>),
    /// A pod elsewhere, by the labels of its namespace and its own.
    Other(&'a Value),
    /// An address outside.
    Address(Ipv4Addr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    In,
    Out,
}

/// What has to get through does, and nothing of the rest.
pub(crate) fn flows(objects: &[Value]) -> Vec<String> {
    let pods = Pods::of(objects);
    let role = |name: &str| pods.iter().copied().find(|pods| pods.role() == name);
    let (Some(coordinator), Some(worker)) = (role("coordinator"), role("worker")) else {
        return vec!["there must be a coordinator and workers".to_owned()];
    };
    let mlflow = role("mlflow");
    let elastic = of_kind(objects, "ScaledJob").next().is_some();
    let watched = of_kind(objects, "PodMonitor").next().is_some();
    let spot = worker.containers().any(|one| {
        items(one.spec, "/args")
            .iter()
            .any(|word| word.as_str().is_some_and(|word| word.starts_with("--spot-notice")))
    });

    let space = |name: &str| json!({"namespace": {"kubernetes.io/metadata.name": name}, "labels": {}});
    let clients = json!({"namespace": {"distilsweep/clients": "allowed"}, "labels": {}});
    let dns = json!({"namespace": {"kubernetes.io/metadata.name": "kube-system"}, "labels": {"k8s-app": "kube-dns"}});
    let (keda, monitoring, strangers) = (space("keda"), space("monitoring"), space("default"));
    let (hub, inside, metadata) = ([1, 1, 1, 1], [10, 0, 0, 1], [169, 254, 169, 254]);
    let mut checked = Flows { objects, problems: Vec::new() };

    checked.between(worker, coordinator, 7070, true);
    checked.between(worker, coordinator, 7071, false);
    checked.between(worker, worker, 7071, false);
    checked.between(coordinator, worker, 7071, false);
    for (peer, port, open) in [
        (&clients, 7070, true),
        (&clients, 7071, false),
        (&strangers, 7070, false),
        (&strangers, 7072, false),
        (&keda, 7072, elastic),
        (&keda, 7070, false),
        (&clients, 7072, false),
        (&monitoring, 7071, watched),
        (&monitoring, 7070, false),
        (&monitoring, 7072, false),
    ] {
        checked.one(Side::In, coordinator, Peer::Other(peer), port, open);
    }
    checked.one(Side::In, coordinator, Peer::Ours(worker), 7072, false);
    checked.one(Side::In, worker, Peer::Other(&monitoring), 7071, false);
    checked.one(Side::In, worker, Peer::Other(&strangers), 7071, false);
    for one in &pods {
        checked.one(Side::Out, *one, Peer::Other(&dns), 53, true);
        checked.one(Side::Out, *one, Peer::Other(&strangers), 443, false);
        checked.one(Side::Out, *one, Peer::Address(inside.into()), 443, false);
        let ours = ["coordinator", "worker"].contains(&one.role());
        checked.one(Side::Out, *one, Peer::Address(hub.into()), 443, ours);
        checked.one(Side::Out, *one, Peer::Address(hub.into()), 80, false);
        checked.one(Side::Out, *one, Peer::Address(metadata.into()), 80, spot && one.role() == "worker");
    }
    if let Some(mlflow) = mlflow {
        checked.between(coordinator, mlflow, 5000, true);
        checked.between(worker, mlflow, 5000, false);
        checked.one(Side::In, mlflow, Peer::Ours(worker), 5000, false);
        for peer in [&clients, &strangers, &monitoring] {
            checked.one(Side::In, mlflow, Peer::Other(peer), 5000, false);
        }
    }
    checked.problems
}

struct Flows<'a> {
    objects: &'a [Value],
    problems: Vec<String>,
}

impl<'a> Flows<'a> {
    /// From one of our pods to another: both sides have to let it through.
    fn between(&mut self, from: Pods<'a>, to: Pods<'a>, port: u64, open: bool) {
        let found = self.passes(Side::Out, from, Peer::Ours(to), port)
            && self.passes(Side::In, to, Peer::Ours(from), port);
        if found != open {
            self.problems.push(format!("{from} to {to} port {port} is {}", word(found)));
        }
    }

    fn one(&mut self, side: Side, pods: Pods<'a>, peer: Peer<'_>, port: u64, open: bool) {
        let found = self.passes(side, pods, peer, port);
        if found != open {
            self.problems.push(format!("{pods} {side:?} {peer} port {port} is {}", word(found)));
        }
    }

    /// Whether pods may receive from a peer, or send to it. A pod that no policy takes may do everything.
    fn passes(&self, side: Side, pods: Pods<'_>, peer: Peer<'_>, port: u64) -> bool {
        let (kind, rules, peers) = match side {
            Side::In => ("Ingress", "/spec/ingress", "/from"),
            Side::Out => ("Egress", "/spec/egress", "/to"),
        };
        let mut policies = of_kind(self.objects, "NetworkPolicy")
            .filter(|policy| items(policy, "/spec/policyTypes").contains(&json!(kind)))
            .filter(|policy| selects(&policy["spec"]["podSelector"], pods.labels()))
            .peekable();
        if policies.peek().is_none() {
            return true;
        }
        let receiver = match (side, peer) {
            (Side::In, _) => Some(pods),
            (Side::Out, Peer::Ours(peer)) => Some(peer),
            (Side::Out, Peer::Other(_) | Peer::Address(_)) => None,
        };
        policies.flat_map(|policy| items(policy, rules)).any(|rule| {
            let (from, ports) = (items(rule, peers), items(rule, "/ports"));
            (from.is_empty() || from.iter().any(|one| is_peer(one, peer)))
                && (ports.is_empty() || ports.iter().any(|one| is_port(&one["port"], port, receiver)))
        })
    }
}

fn is_peer(rule: &Value, peer: Peer<'_>) -> bool {
    let takes = |selector: Option<&Value>, labels: &Map<String, Value>, missing: bool| {
        selector.map_or(missing, |selector| selects(selector, labels))
    };
    let (spaces, pods) = (rule.get("namespaceSelector"), rule.get("podSelector"));
    match peer {
        Peer::Address(address) => rule.get("ipBlock").is_some_and(|block| {
            within(text(block, "/cidr"), address)
                && !items(block, "/except")
                    .iter()
                    .any(|except| within(except.as_str().unwrap_or_default(), address))
        }),
        _ if rule.get("ipBlock").is_some() => false,
        Peer::Ours(peer) => {
            let here = json!({"kubernetes.io/metadata.name": text(peer.owner, "/metadata/namespace")});
            takes(spaces, map(&here, ""), true) && takes(pods, peer.labels(), true)
        }
        Peer::Other(peer) => {
            takes(spaces, map(peer, "/namespace"), false) && takes(pods, map(peer, "/labels"), true)
        }
    }
}

fn is_port(port: &Value, number: u64, receiver: Option<Pods<'_>>) -> bool {
    let named = || receiver?.containers().find_map(|container| container.port(port));
    port.as_u64().or_else(named) == Some(number)
}

fn within(cidr: &str, address: Ipv4Addr) -> bool {
    let Some((network, bits)) = cidr.split_once('/') else { return false };
    let (Ok(network), Ok(bits)) = (network.parse::<Ipv4Addr>(), bits.parse::<u32>()) else { return false };
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or_default();
    u32::from(network) & mask == u32::from(address) & mask
}

fn word(open: bool) -> &'static str {
    if open { "open" } else { "closed" }
}

impl std::fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Ours(pods) => f.write_str(&id(pods.owner)),
            Peer::Other(peer) => write!(f, "{}", peer["namespace"]),
            Peer::Address(address) => write!(f, "{address}"),
        }
    }
}
