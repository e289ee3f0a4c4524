//! The tools that know Kubernetes: kustomize within kubectl, and schemas of its objects.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, ensure};
use serde_json::Value;

/// kubectl, and a Python that has kubernetes-validate.
#[derive(Debug)]
pub(crate) struct Tools(PathBuf);

impl Tools {
    /// None where nobody installed them.
    pub(crate) fn find() -> Option<Self> {
        let Some(directory) = std::env::var_os("DISTILSWEEP_TEST_MANIFESTS") else {
            println!(
                "skipped: DISTILSWEEP_TEST_MANIFESTS does not name the directory of `kubectl`; tests/run.sh installs one"
            );
            return None;
        };
        Some(Self(directory.into()))
    }

    /// What a kustomization comes to.
    pub(crate) fn render(&self, directory: &Path) -> anyhow::Result<Vec<Value>> {
        let output = self.command("kubectl").arg("kustomize").arg(directory).output().context("kubectl")?;
        let printed = succeeded(&output).with_context(|| directory.display().to_string())?;
        // Where it is unsure of a kustomization it says so and goes on.
        ensure!(output.stderr.is_empty(), "{}: {}", directory.display(), text(&output.stderr));
        read(&printed)
    }

    /// What schemas have to say against objects, with the index of each.
    pub(crate) fn invalid(&self, objects: &[Value]) -> anyhow::Result<Vec<(usize, String)>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests/validate.py");
        let mut process = self
            .command("python")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("python")?;
        // It reads all of it before it prints anything.
        process.stdin.take().context("a pipe")?.write_all(&serde_json::to_vec(objects)?)?;
        Ok(serde_json::from_str(&succeeded(&process.wait_with_output()?)?)?)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.0.join(program));
        // Neither reads anything of the person who runs the tests.
        command.env("HOME", "/nonexistent").env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
        command
    }
}

/// Documents of a YAML text; empty ones are none.
pub(crate) fn read(yaml: &str) -> anyhow::Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

fn succeeded(output: &Output) -> anyhow::Result<String> {
    ensure!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    Ok(text(&output.stdout))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
