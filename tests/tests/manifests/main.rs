//! deploy/kubernetes, held offline: every overlay and component is rendered, held against schemas and against what
//! `checks` asks for; copies that are broken on purpose prove that each check looks.

mod broken;
mod checks;
mod document;
mod kubectl;
mod kustomization;
mod program;
mod quantity;
mod sources;

use std::{process::Command, time::Duration};

use anyhow::{Context, ensure};
use distilsweep_tests::{mlflow::free_port, process::Process, wait::until};
use kubectl::Tools;
use kustomization::{COMPONENTS, Copy, EVERYTHING, combinations, manifests};
use serde_json::Value;

const OVERLAYS: [&str; 3] = ["cpu", "gpu", "gpu-elastic"];
/// What somebody writes for his own cluster.
const OWN: &str = "\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../cpu]
patches:
- patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: worker
      namespace: distilsweep
    spec:
      template:
        spec:
          containers:
          - name: worker
            resources:
              limits: {cpu: 6}
";

/// Everything that checks find, a line each.
fn found(objects: &[Value]) -> String {
    checks::problems(objects).iter().map(|problem| format!("  {problem}\n")).collect()
}

#[test]
fn overlays_hold() -> anyhow::Result<()> {
    let Some(tools) = Tools::find() else { return Ok(()) };
    for overlay in OVERLAYS {
        let objects = tools.render(&manifests().join("overlays").join(overlay))?;
        let problems = found(&objects);
        ensure!(problems.is_empty(), "{overlay}:\n{problems}");
        let invalid = tools.invalid(&objects)?;
        ensure!(invalid.is_empty(), "{overlay}: {invalid:?}");
    }
    Ok(())
}

#[test]
fn components_hold_alone_in_pairs_and_all_together() -> anyhow::Result<()> {
    let Some(tools) = Tools::find() else { return Ok(()) };
    let copy = Copy::new()?;
    let mut all: Vec<Value> = Vec::new();
    for components in combinations() {
        let objects = copy.with(&tools, &components)?;
        let problems = found(&objects);
        ensure!(problems.is_empty(), "{components:?}:\n{problems}");
        all.extend(objects);
    }
    // Most objects are the same in most of them.
    all.sort_unstable_by_key(Value::to_string);
    all.dedup();
    let invalid = tools.invalid(&all)?;
    let named: Vec<String> = invalid.iter().map(|(at, why)| format!("{}: {why}", all[*at])).collect();
    ensure!(named.is_empty(), "{}", named.join("\n"));
    Ok(())
}

#[test]
fn each_broken_copy_is_found_by_the_check_that_is_for_it() -> anyhow::Result<()> {
    let Some(tools) = Tools::find() else { return Ok(()) };
    let copy = Copy::new()?;
    let mut missed = Vec::new();
    for jobs in [false, true] {
        let components = [&EVERYTHING[..], if jobs { &["keda"] } else { &[] }].concat();
        let whole = copy.with(&tools, &components)?;
        ensure!(
            found(&whole).is_empty() && tools.invalid(&whole)?.is_empty(),
            "unbroken:\n{}",
            found(&whole)
        );
        let breaks = broken::breaks(jobs);
        let (of_schemas, of_checks): (Vec<_>, Vec<_>) = breaks.iter().partition(|one| one.check == "schemas");
        // One call for all: the schemas take longer to be read than to be used.
        let changed = of_schemas.iter().map(|one| {
            let broken = one.apply(&whole);
            broken.into_iter().find(|object| !whole.contains(object)).context(one.what)
        });
        let invalid = tools.invalid(&changed.collect::<anyhow::Result<Vec<_>>>()?)?;
        let unseen =
            of_schemas.iter().enumerate().filter(|(at, _)| !invalid.iter().any(|(found, _)| found == at));
        missed.extend(unseen.map(|(_, one)| format!("schemas: {}", one.what)));
        for one in of_checks {
            let broken = one.apply(&whole);
            if !checks::problems(&broken).iter().any(|problem| problem.check == one.check) {
                missed.push(format!("{}: {}", one.check, one.what));
            }
        }
    }
    ensure!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
    Ok(())
}

#[test]
fn each_check_finds_some_broken_copy() {
    let breaks: Vec<&str> = [false, true].into_iter().flat_map(broken::breaks).map(|one| one.check).collect();
    for name in checks::names().chain(["schemas"]) {
        assert!(breaks.contains(&name), "nothing is broken for {name}");
    }
    for name in breaks {
        assert!(checks::names().chain(["schemas"]).any(|check| check == name), "{name} is no check");
    }
}

#[test]
fn kustomizations_patch_what_is_there_and_leave_no_file_out() -> anyhow::Result<()> {
    let problems = sources::problems(&manifests())?;
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    let directories = std::fs::read_dir(manifests().join("components"))?;
    let mut there: Vec<String> = directories
        .map(|one| Ok(one?.file_name().to_string_lossy().into_owned()))
        .collect::<anyhow::Result<_>>()?;
    there.sort_unstable();
    let mut tried = COMPONENTS.to_vec();
    tried.sort_unstable();
    assert_eq!(there, tried, "components that are there, and those that are tried");
    Ok(())
}

#[test]
fn a_patch_that_kustomize_lets_pass_and_that_does_nothing_good_is_found() -> anyhow::Result<()> {
    let Some(tools) = Tools::find() else { return Ok(()) };
    let copy = Copy::new()?;
    std::fs::create_dir(copy.path("overlays/trial"))?;
    std::fs::write(copy.path("overlays/trial/kustomization.yaml"), OWN)?;
    ensure!(found(&tools.render(&copy.path("overlays/trial"))?).is_empty(), "the ordinary case");
    let own = "overlays/trial";
    let (gpu, keda) = ("components/gpu/kustomization.yaml", "components/keda/kustomization.yaml");
    for (what, overlay, path, (right, wrong), expected) in [
        (
            "a misspelt container",
            own,
            "overlays/trial/kustomization.yaml",
            ("- name: worker", "- name: wroker"),
            "wroker",
        ),
        (
            "a target of another name",
            "overlays/gpu",
            gpu,
            ("name: worker", "name: workers"),
            "Deployment/workers",
        ),
        (
            "a target of another kind",
            "overlays/gpu-elastic",
            keda,
            ("StatefulSet", "Deployment"),
            "Deployment/coordinator",
        ),
        (
            "no such volume",
            "overlays/gpu-elastic",
            "components/store-s3/worker.yaml",
            ("name: store", "name: stor"),
            "volume stor",
        ),
    ] {
        let file = copy.path(path);
        let text = std::fs::read_to_string(&file)?;
        ensure!(text.contains(right), "{path} holds {right}");
        std::fs::write(&file, text.replace(right, wrong))?;
        let problems = sources::problems(&copy.path(""))?.join("\n");
        ensure!(problems.contains(expected), "{what}: {problems}");
        // kustomize has nothing against it, and what comes out is found too.
        let objects = tools.render(&copy.path(overlay)).context(what)?;
        ensure!(!checks::problems(&objects).is_empty(), "{what}: the checks find nothing");
        std::fs::write(&file, text)?;
    }
    let problems = sources::problems(&copy.path(""))?;
    ensure!(problems.is_empty(), "put right again: {problems:?}");
    Ok(())
}

#[test]
fn mlflow_starts_with_its_arguments_and_answers_to_its_services_name_and_to_no_strangers()
-> anyhow::Result<()> {
    let Some(tools) = Tools::find() else { return Ok(()) };
    let Ok(program) = std::env::var("DISTILSWEEP_TEST_MLFLOW") else {
        println!(
            "skipped: DISTILSWEEP_TEST_MLFLOW does not name MLflow's program; tests/run.sh installs one"
        );
        return Ok(());
    };
    let objects = tools.render(&manifests().join("overlays/cpu"))?;
    let pods = document::Pods::of(&objects);
    let server = pods.iter().find(|pods| pods.role() == "mlflow").context("an MLflow")?;
    let container = server.containers().next().context("its container")?;
    let directory = tempfile::tempdir()?;
    let port = free_port()?;
    let mut command = Command::new(program);
    command.arg("server").current_dir(directory.path());
    for word in document::items(container.spec, "/args").iter().filter_map(Value::as_str) {
        let word = word.replace("/mlflow/", &format!("{}/", directory.path().display()));
        let word = word.replace("--port=5000", &format!("--port={port}"));
        command.arg(word.replace("--host=0.0.0.0", "--host=127.0.0.1"));
    }
    for variable in document::items(container.spec, "/env") {
        command.env(document::text(variable, "/name"), document::text(variable, "/value"));
    }
    let mut process = Process::start("mlflow", command, directory.path())?;
    let url = format!("http://127.0.0.1:{port}");
    until("MLflow", Duration::from_secs(300), || {
        ensure!(process.is_running()?, "it ended: {}", process.err());
        Ok(ureq::get(format!("{url}/health")).call().is_ok().then_some(()))
    })?;
    let status = |host: &str| {
        let request = ureq::get(format!("{url}/api/3.0/mlflow/server-info")).header("host", host);
        Ok::<u16, ureq::Error>(request.config().http_status_as_error(false).build().call()?.status().as_u16())
    };
    for host in ["mlflow:5000", "mlflow.distilsweep.svc.cluster.local:5000", "localhost:5000"] {
        assert_eq!(status(host)?, 200, "{host}");
    }
    assert_eq!(status("evil.example.org")?, 403);
    Ok(())
}

#[test]
fn what_the_guide_shows_is_valid() -> anyhow::Result<()> {
    let Some(tools) = Tools::find() else { return Ok(()) };
    let guide = std::fs::read_to_string(manifests().join("../README.md"))?;
    let blocks = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let mut objects = Vec::new();
    // Those in a list are of people's own kustomizations.
    for (block, _) in blocks.filter(|(block, _)| !block.starts_with(' ')) {
        objects.extend(kubectl::read(block)?);
    }
    let kinds: Vec<&str> = objects.iter().map(|object| document::text(object, "/kind")).collect();
    assert_eq!(kinds, ["Ingress", "VolumeSnapshot", "ResourceFlavor", "ClusterQueue"]);
    let invalid = tools.invalid(&objects)?;
    ensure!(invalid.is_empty(), "{invalid:?}");
    let ingress = document::text(&objects[0], "/spec/rules/0/http/paths/0/backend/service/name");
    assert_eq!(ingress, "coordinator");
    Ok(())
}

#[test]
fn the_schemas_know_no_kind_that_is_on_no_list() -> anyhow::Result<()> {
    let Some(tools) = Tools::find() else { return Ok(()) };
    let strange =
        serde_json::json!({"apiVersion": "example.org/v1", "kind": "Strange", "metadata": {"name": "x"}});
    let invalid = tools.invalid(&[strange])?;
    ensure!(!invalid.is_empty() && invalid.iter().all(|(_, why)| why.contains("knows no")), "{invalid:?}");
    Ok(())
}
