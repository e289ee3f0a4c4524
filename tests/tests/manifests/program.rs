//! What a container runs: its environment and its arguments, put together as Kubernetes does and read by the programs'
//! own command lines.

use std::{
    any::Any,
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{LazyLock, Mutex},
};

use clap::{ArgMatches, Command, CommandFactory};
use serde_json::Value;

use crate::{
    document::{Container, items, map, named, text},
    quantity::quantity,
};

/// Stands for what only a cluster knows.
pub(crate) const SECRET: &str = "of-a-secret-0123456789";

static SERVE: LazyLock<Command> = LazyLock::new(|| part(distilsweep::cli::Cli::command(), "serve"));
static JOIN: LazyLock<Command> = LazyLock::new(|| part(distilsweep_worker::cli::Cli::command(), "join"));

/// The part of a command line that a container may run: the whole takes long to put together.
fn part(command: Command, name: &str) -> Command {
    command.find_subcommand(name).expect("a command of that name").clone()
}

/// One of our containers, as its program sees it.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) environment: BTreeMap<String, String>,
    /// Arguments of `serve` or `join`.
    pub(crate) arguments: ArgMatches,
}

impl Program {
    /// Reads a container; none where it is not of ours.
    ///
    /// # Errors
    /// What the container asks for and does not get, or what its program says to its arguments.
    pub(crate) fn read(container: &Container<'_>, objects: &[Value]) -> Result<Option<Self>, String> {
        let command = match container.program() {
            "distilsweep-coordinator" => &SERVE,
            _ if container.is_worker() => &JOIN,
            _ => return Ok(None),
        };
        let environment = environment(container, objects)?;
        let given = expanded(container, &environment)?;
        if given.first().map(String::as_str) != Some(command.get_name()) {
            return Err(format!("it must {}, it runs {:?}", command.get_name(), given.first()));
        }
        let arguments = parsed(command, given)?;
        Ok(Some(Self { environment, arguments }))
    }

    /// An argument by the name that the program's source has for it.
    pub(crate) fn argument<T: Any + Clone + Send + Sync>(&self, name: &str) -> Option<T> {
        self.arguments.try_get_one::<T>(name).ok().flatten().cloned()
    }

    pub(crate) fn is_set(&self, flag: &str) -> bool {
        self.argument::<bool>(flag).unwrap_or_default()
    }

    /// Where it listens.
    pub(crate) fn listens(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        ["listen", "http", "scaler"].into_iter().filter_map(|flag| Some((flag, self.argument(flag)?)))
    }

    /// Paths that it reads or writes, and whether it writes there.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (PathBuf, bool)> {
        let written = ["state", "scratch"].map(|name| (name, true));
        let read = [
            "client_token_file",
            "worker_token_file",
            "token_file",
            "tls_ca",
            "tls_cert",
            "tls_key",
            "tls_client_ca",
        ];
        let paths = written.into_iter().chain(read.map(|name| (name, false)));
        paths.filter_map(|(name, writes)| Some((self.argument::<PathBuf>(name)?, writes)))
    }
}

/// What a program makes of its arguments. The same are asked for again and again, and `serve` makes a client of its store
/// only to see that it can: the answer is kept.
fn parsed(command: &Command, given: Vec<String>) -> Result<ArgMatches, String> {
    static KNOWN: Mutex<BTreeMap<Vec<String>, Result<ArgMatches, String>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().expect("nobody panicked with it");
    let parse = || {
        command.clone().try_get_matches_from(&given).map_err(|error| {
            let words = error.to_string();
            format!("its program says: {}", words.lines().next().unwrap_or_default())
        })
    };
    known.entry(given.clone()).or_insert_with(parse).clone()
}

/// A container's variables.
///
/// # Errors
/// A ConfigMap or key that is not there.
pub(crate) fn environment(
    container: &Container<'_>,
    objects: &[Value],
) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for from in items(container.spec, "/envFrom") {
        let name = text(from, "/configMapRef/name");
        let settings =
            named(objects, "ConfigMap", name).ok_or_else(|| format!("there is no ConfigMap {name}"))?;
        let data = map(settings, "/data").iter();
        found.extend(data.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())));
    }
    for variable in items(container.spec, "/env") {
        let name = text(variable, "/name");
        let value = match (variable.get("value"), variable.get("valueFrom")) {
            (Some(value), _) => value.as_str().unwrap_or_default().to_owned(),
            (None, Some(from)) if from.get("secretKeyRef").is_some() => SECRET.to_owned(),
            (None, Some(from)) => {
                let resource = text(from, "/resourceFieldRef/resource").replace('.', "/");
                let amount = container.spec.pointer(&format!("/resources/{resource}")).and_then(quantity);
                amount
                    .map(|amount| amount.ceil().to_string())
                    .ok_or_else(|| format!("{name} has no value"))?
            }
            (None, None) => String::new(),
        };
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}

/// Arguments with their variables filled in. Kubernetes leaves what it does not know as it stands.
fn expanded(
    container: &Container<'_>,
    environment: &BTreeMap<String, String>,
) -> Result<Vec<String>, String> {
    let words = items(container.spec, "/args").iter().map(|word| word.as_str().unwrap_or_default());
    words
        .map(|word| {
            let mut word = word.to_owned();
            for (name, value) in environment {
                word = word.replace(&format!("$({name})"), value);
            }
            if word.contains("$(") { Err(format!("nothing sets the variable in {word}")) } else { Ok(word) }
        })
        .collect()
}
