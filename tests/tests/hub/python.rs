//! The cache that Python programs share, against `huggingface_hub` itself.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, ensure};
use distilsweep_tests::sweep::parity;

use crate::{MODEL, Scene, large, model};

/// What `hub_cache.py` finds or fetches, as the snapshot's directory.
fn python(scene: &Scene, command: &str) -> anyhow::Result<Option<PathBuf>> {
    let Some(python) = std::env::var_os("DISTILSWEEP_TEST_REFERENCE") else {
        println!("skipped: huggingface_hub's own client (`tests/run.sh --all` installs what it takes)");
        return Ok(None);
    };
    let output = Command::new(python)
        .arg(parity().join("hub_cache.py"))
        .args([command, MODEL])
        .env("HF_ENDPOINT", &scene.server.url)
        .env("HF_HUB_CACHE", scene.cache.path())
        .env_remove("HF_HUB_OFFLINE")
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let directory = String::from_utf8(output.stdout)?;
    Ok(Some(directory.lines().last().context("a directory")?.into()))
}

#[test]
fn python_finds_what_was_downloaded_here() -> anyhow::Result<()> {
    let scene = Scene::new([model()])?;
    let here = scene.hub()?.model(MODEL, None)?.directory;
    scene.server.asked();
    let Some(there) = python(&scene, "found")? else { return Ok(()) };
    assert_eq!(there.canonicalize()?, here.canonicalize()?);
    ensure!(scene.server.asked().is_empty(), "nobody was to be asked");
    Ok(())
}

#[test]
fn what_python_downloaded_is_found_here() -> anyhow::Result<()> {
    let scene = Scene::new([model()])?;
    let Some(there) = python(&scene, "fetch")? else { return Ok(()) };
    scene.server.asked();
    let found = scene.hub()?.model(MODEL, None)?;
    assert_eq!(found.directory.canonicalize()?, there.canonicalize()?);
    assert_eq!(fs::read(found.directory.join("model.safetensors"))?, large());
    let asked = scene.server.asked();
    ensure!(asked.len() == 1 && asked[0].path.starts_with("/api/"), "no file was to be asked for: {asked:?}");
    assert_eq!(scene.offline()?.model(MODEL, None)?.directory, found.directory);
    Ok(())
}
