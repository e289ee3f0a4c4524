//! Who speaks in the clear.

use serde_json::Value;

use crate::{
    document::{Pods, items, named, of_kind, text},
    program::Program,
};

/// Either all of it is encrypted and workers show certificates, or the coordinator says that it is not.
pub(crate) fn encryption(objects: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let programs: Vec<_> = Pods::of(objects)
        .iter()
        .flat_map(Pods::containers)
        .filter_map(|container| Some((container, Program::read(&container, objects).ok().flatten()?)))
        .collect();
    let is_set = |program: &Program, name: &str| program.argument::<std::path::PathBuf>(name).is_some();
    let encrypted =
        programs.iter().any(|(_, program)| is_set(program, "tls_cert") && !is_set(program, "tls_ca"));
    for (container, program) in &programs {
        let Some(url) = program.argument::<String>("url") else {
            if program.is_set("insecure") == encrypted {
                problems.push(format!("{container}: --insecure and certificates exclude each other"));
            }
            if encrypted && !is_set(program, "tls_client_ca") {
                problems.push(format!("{container} asks for no certificates"));
            }
            continue;
        };
        let shown = ["tls_ca", "tls_cert", "tls_key"].iter().all(|name| is_set(program, name));
        if url.starts_with("https:") != encrypted || shown != encrypted {
            problems.push(format!(
                "{container} speaks to {url}, where the coordinator is{} encrypted",
                if encrypted { "" } else { " not" }
            ));
        }
        let host = url.split("://").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or_default();
        if let Some(certificate) = named(objects, "Certificate", "coordinator")
            && !items(certificate, "/spec/dnsNames").iter().any(|name| name == host)
        {
            problems.push(format!("the coordinator's certificate is not for {host}"));
        }
    }
    for certificate in of_kind(objects, "Certificate") {
        let issuer = text(certificate, "/spec/issuerRef/name");
        if named(objects, "Issuer", issuer).is_none() {
            problems.push(format!("nobody issues the certificate for {issuer}"));
        }
    }
    problems
}
