//! What a command knows of a sweep that it hands in, besides its file.

use std::{collections::BTreeMap, path::Path, process::Command};

use clap::Args;
use distilsweep_proto::exit::Exit;
use url::Url;

use super::CliError;
use crate::{mlflow::settings, spec::Origin};

const RUN_CONTEXT: &str = "MLFLOW_RUN_CONTEXT";

/// Under which name to record.
#[derive(Clone, Debug, Args)]
pub(super) struct Experiment {
    /// MLflow experiment [default: `experiment` of the file, else MLFLOW_EXPERIMENT_NAME, else the sweep's name]
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
}

/// The origin of a sweep whose file is in `directory`; `lookup` reads the environment.
///
/// # Errors
/// Where a variable cannot be used.
pub(super) fn origin(
    experiment: &Experiment,
    directory: &Path,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Origin, CliError> {
    let mut tags = commit(directory);
    if let Some(text) = lookup(RUN_CONTEXT).filter(|text| !text.is_empty()) {
        tags.extend(context(&text)?);
    }
    Ok(Origin {
        user: Some(settings::user(&lookup)),
        experiment: experiment.experiment.clone(),
        default_experiment: lookup("MLFLOW_EXPERIMENT_NAME").filter(|name| !name.is_empty()),
        tags,
        resources: Vec::new(),
    })
}

/// Reads tags from JSON; a value that is no text is taken as it is written, as MLflow's client does.
fn context(text: &str) -> Result<BTreeMap<String, String>, CliError> {
    let read: Result<BTreeMap<String, serde_json::Value>, _> = serde_json::from_str(text);
    let tags = read.map_err(|error| {
        let message = format!("{RUN_CONTEXT} is no JSON object of tags, {{\"team\": \"nlp\"}} say: {error}");
        CliError::new(Exit::Usage, message)
    })?;
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(tags.into_iter().map(|(key, value)| (key, text(value))).collect())
}

/// The commit that a directory is at, under MLflow's tags; none where it is in no repository.
fn commit(directory: &Path) -> BTreeMap<String, String> {
    let ask = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(directory).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    let Some(commit) = ask(&["rev-parse", "HEAD"]) else { return BTreeMap::new() };
    let mut tags = BTreeMap::from([("mlflow.source.git.commit".to_owned(), commit)]);
    // A commit that is checked out by itself is on no branch.
    if let Some(branch) = ask(&["symbolic-ref", "--short", "--quiet", "HEAD"]) {
        tags.insert("mlflow.source.git.branch".to_owned(), branch);
    }
    if let Some(address) = ask(&["remote", "get-url", "origin"]) {
        tags.insert("mlflow.source.git.repoURL".to_owned(), without_secret(&address));
    }
    tags
}

/// An address of a repository without the token that may be in it.
fn without_secret(address: &str) -> String {
    match Url::parse(address) {
        Ok(mut url) if url.password().is_some() || url.scheme().starts_with("http") => {
            // Refused only where there is no host, which has no secret.
            let _ = url.set_username("").and_then(|()| url.set_password(None));
            url.to_string()
        }
        Ok(_) | Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Origin, CliError> {
        let lookup =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        origin(&Experiment { experiment: None }, Path::new("/"), lookup)
    }

    #[test]
    fn the_run_context_becomes_tags() {
        let origin = with(&[(RUN_CONTEXT, r#"{"team": "nlp", "ticket": 7}"#), ("USER", "ada")]).unwrap();
        assert_eq!(origin.user.as_deref(), Some("ada"));
        assert_eq!(
            origin.tags,
            BTreeMap::from([("team".into(), "nlp".into()), ("ticket".into(), "7".into())])
        );
        let named = with(&[("MLFLOW_EXPERIMENT_NAME", "mood")]).unwrap();
        assert_eq!((named.experiment, named.default_experiment.as_deref()), (None, Some("mood")));
    }

    #[test]
    fn a_run_context_that_is_none_says_what_would_be_right() {
        let error = with(&[(RUN_CONTEXT, "team=nlp")]).unwrap_err().to_string();
        assert!(
            error.starts_with("MLFLOW_RUN_CONTEXT is no JSON object of tags, {\"team\": \"nlp\"} say: "),
            "{error}"
        );
    }

    #[test]
    fn a_repository_is_named_without_its_token() {
        assert_eq!(without_secret("https://me:token@host/a.git"), "https://host/a.git");
        assert_eq!(without_secret("https://token@host/a.git"), "https://host/a.git");
        assert_eq!(without_secret("git@host:a.git"), "git@host:a.git");
    }

    #[test]
    fn a_directory_in_a_repository_has_a_commit() {
        let directory = tempfile::tempdir().unwrap();
        assert!(commit(directory.path()).is_empty());
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(directory.path()).args(["-c", "user.name=a", "-c", "user.email=a@b"]);
            assert!(command.args(arguments).output().unwrap().status.success(), "{arguments:?}");
        };
        git(&["init", "--quiet", "--initial-branch", "trunk"]);
        git(&["commit", "--quiet", "--allow-empty", "-m", "first"]);
        let tags = commit(directory.path());
        assert_eq!(tags["mlflow.source.git.commit"].len(), 40);
        assert_eq!(tags["mlflow.source.git.branch"], "trunk");
    }
}
