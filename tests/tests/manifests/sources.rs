//! The kustomizations themselves. What kustomize passes over in silence is found here: a patch whose target is nowhere, and
//! one that names a container or volume that nothing has, which it adds.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::Value;

use crate::{
    document::{id, items, text},
    kubectl,
};

/// Everything below a directory: what its files hold, and what is wrong with its kustomizations.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn problems(root: &Path) -> anyhow::Result<Vec<String>> {
    let kustomizations = kustomizations(root)?;
    let mut problems = Vec::new();
    let mut sources = Vec::new();
    for (directory, kustomization) in &kustomizations {
        let mut listed = BTreeSet::from(["kustomization.yaml".to_owned()]);
        for resource in strings(kustomization, "/resources") {
            let path = directory.join(resource);
            if path.is_file() {
                sources.extend(read(&path)?);
            }
        }
        let patched = items(kustomization, "/patches").iter().map(|patch| text(patch, "/path"));
        let files = ["/resources", "/components", "/configurations"]
            .iter()
            .flat_map(|list| strings(kustomization, list));
        listed.extend(files.chain(patched).map(str::to_owned));
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !listed.contains(&name) && name.ends_with(".yaml") {
                problems.push(format!("{} is used by nothing", directory.join(name).display()));
            }
        }
    }
    for (directory, kustomization) in &kustomizations {
        for patch in items(kustomization, "/patches") {
            let found = of_patch(directory, patch, &sources)?;
            problems.extend(found.into_iter().map(|wrong| format!("{}: {wrong}", directory.display())));
        }
    }
    Ok(problems)
}

/// Kustomizations below a directory, each with its own.
fn kustomizations(root: &Path) -> anyhow::Result<Vec<(PathBuf, Value)>> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.ends_with("kustomization.yaml") {
                let [kustomization] = <[Value; 1]>::try_from(read(&path)?).ok().context("one document")?;
                found.push((directory.clone(), kustomization));
            }
        }
    }
    Ok(found)
}

fn of_patch(directory: &Path, patch: &Value, sources: &[Value]) -> anyhow::Result<Vec<String>> {
    if let Some(target) = patch.get("target") {
        let (kinds, name) = (text(target, "/kind"), text(target, "/name"));
        let is_one = |object: &Value| kinds.split('|').any(|kind| id(object) == format!("{kind}/{name}"));
        let found = sources.iter().any(is_one);
        return Ok(if found {
            Vec::new()
        } else {
            vec![format!("a patch is for {kinds}/{name}, which is nowhere")]
        });
    }
    let documents = match patch.get("path").and_then(Value::as_str) {
        Some(path) => read(&directory.join(path))?,
        None => kubectl::read(text(patch, "/patch"))?,
    };
    let mut problems = Vec::new();
    for document in documents {
        let Some(source) = sources.iter().find(|object| id(object) == id(&document)) else {
            problems.push(format!("a patch is for {}, which is nowhere", id(&document)));
            continue;
        };
        let known = names(source, "/spec/template/spec/containers");
        let strange = names(&document, "/spec/template/spec/containers")
            .into_iter()
            .filter(|name| !known.contains(name));
        problems.extend(
            strange.map(|name| format!("a patch is for container {name}, which {} has not", id(source))),
        );
        let known = names(source, "/spec/template/spec/volumes");
        let replaced = items(&document, "/spec/template/spec/volumes")
            .iter()
            .filter(|volume| volume.get("$patch").is_some());
        let strange = replaced.map(|volume| text(volume, "/name")).filter(|name| !known.contains(name));
        problems.extend(
            strange.map(|name| format!("a patch is for volume {name}, which {} has not", id(source))),
        );
    }
    Ok(problems)
}

fn names<'a>(object: &'a Value, list: &str) -> BTreeSet<&'a str> {
    items(object, list).iter().map(|item| text(item, "/name")).collect()
}

fn strings<'a>(object: &'a Value, list: &str) -> impl Iterator<Item = &'a str> {
    items(object, list).iter().filter_map(Value::as_str)
}

fn read(path: &Path) -> anyhow::Result<Vec<Value>> {
    let yaml = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    kubectl::read(&yaml).with_context(|| path.display().to_string())
}
