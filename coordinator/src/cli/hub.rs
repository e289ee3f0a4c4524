//! The Hugging Face Hub: `distilsweep hub`, and questions of other commands, asked beside the runtime and watched on a
//! terminal.

use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, Subcommand, ValueEnum};
use distilsweep_data::{DataError, Hub, Kind, Progress, RepoInfo};
use distilsweep_proto::{
    examples,
    exit::Exit,
    json::{self, Json},
    resource::split_revision,
};
use serde::Serialize;

use super::{
    CliError, results,
    terminal::{self, LiveLines},
};
use crate::{clock::Clock, look, results::labels::bytes};

/// Commands about the Hub.
#[derive(Debug, Subcommand)]
pub(super) enum HubCommand {
    /// Models, the most downloaded first
    #[command(after_help = examples![
        "distilsweep hub models --search distilbert --limit 5",
        "distilsweep hub models --task any --sort trending",
    ])]
    Models(List),
    /// Data sets, the most downloaded first
    #[command(after_help = examples![
        "distilsweep hub datasets --search emotion",
    ])]
    Datasets(List),
    /// One model or data set: its card's facts, its files, and whether it can be used
    Show(Show),
}

/// Arguments of `hub models` and `hub datasets`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// What it is for; `any` for everything
    #[arg(long, default_value = "text-classification")]
    task: String,

    /// Part of its name
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// What comes first
    #[arg(long, value_enum, default_value_t = Sort::Downloads)]
    sort: Sort,

    /// How many, at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,

    #[command(flatten)]
    json: Json,
}

/// Arguments of `hub show`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep hub show distilbert-base-uncased",
    "distilsweep hub show dair-ai/emotion --kind dataset",
])]
pub(super) struct Show {
    /// Id, as owner/name; id@revision for another branch, tag or commit
    id: String,

    /// Which of the two, where a model and a data set have the same id
    #[arg(long, value_enum)]
    kind: Option<Which>,

    #[command(flatten)]
    json: Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sort {
    Downloads,
    Likes,
    Trending,
    Modified,
    Created,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Model,
    Dataset,
}

impl HubCommand {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        match self {
            Self::Models(list) => list.run(Kind::Model).await,
            Self::Datasets(list) => list.run(Kind::Dataset).await,
            Self::Show(show) => show.run().await,
        }
    }
}

impl List {
    async fn run(self, kind: Kind) -> Result<Exit, CliError> {
        let (query, limit) = (self.query(kind), self.limit);
        let found = ask(move |hub| hub.list(kind, &query, limit)).await?;
        if self.json.json {
            let found: Vec<_> = found.iter().map(facts).collect();
            results::print(&json::document(serde_json::json!({ "repositories": found })));
        } else if found.is_empty() {
            terminal::note("nothing is called so; --task any looks further");
        } else {
            results::print(&look::listed(&found, terminal::width()));
        }
        Ok(Exit::Success)
    }

    fn query(&self, kind: Kind) -> Vec<(&'static str, String)> {
        let sort = match self.sort {
            Sort::Downloads => "downloads",
            Sort::Likes => "likes",
            Sort::Trending => "trendingScore",
            Sort::Modified => "lastModified",
            Sort::Created => "createdAt",
        };
        let mut query = vec![("sort", sort.to_owned()), ("direction", "-1".to_owned())];
        if self.task != "any" {
            query.push(match kind {
                Kind::Model => ("pipeline_tag", self.task.clone()),
                Kind::Dataset => ("filter", format!("task_categories:{}", self.task)),
            });
        }
        query.extend(self.search.iter().map(|text| ("search", text.clone())));
        let shown = ["downloads", "likes", "tags", "gated", "lastModified", "usedStorage"];
        query.extend(shown.map(|field| ("expand[]", field.to_owned())));
        query
    }
}

impl Show {
    async fn run(self) -> Result<Exit, CliError> {
        let Self { id, kind, json } = self;
        let (kind, info, page, verdict) = ask(move |hub| {
            let (id, revision) = split_revision(&id);
            let (kind, info) = match kind {
                Some(Which::Model) => (Kind::Model, hub.info(Kind::Model, id, revision)?),
                Some(Which::Dataset) => (Kind::Dataset, hub.info(Kind::Dataset, id, revision)?),
                None => match hub.info(Kind::Model, id, revision) {
                    Ok(info) => (Kind::Model, info),
                    // Most ids are one of the two.
                    Err(error) if error.is_retryable() => return Err(error),
                    Err(error) => (Kind::Dataset, hub.info(Kind::Dataset, id, revision).map_err(|_| error)?),
                },
            };
            let verdict = match kind {
                Kind::Model => look::unfit(&info)
                    .map_or_else(|| Ok("workers train it: `model:` of a sweep file".to_owned()), Err),
                Kind::Dataset => hub.splits(id, revision, None),
            };
            Ok((kind, info, hub.page(kind, id), verdict))
        })
        .await?;
        if !json.json {
            let now = Clock::wall().0;
            results::print(&look::described(kind, &info, &page, &verdict, now, terminal::width()));
            return Ok(Exit::Success);
        }
        let (usable, why) = match verdict {
            Ok(sentence) => (true, sentence),
            Err(sentence) => (false, sentence),
        };
        let shown = Shown { facts: facts(&info), page, usable, verdict: why, card: info.card_data };
        results::print(&json::document(shown));
        Ok(Exit::Success)
    }
}

/// One repository, for programs.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    facts: serde_json::Value,
    page: String,
    usable: bool,
    verdict: String,
    card: Option<serde_json::Value>,
}

/// What is known of a repository, under stable names.
fn facts(info: &RepoInfo) -> serde_json::Value {
    let files = info.siblings.iter().map(|file| serde_json::json!({"path": file.path, "bytes": file.size}));
    serde_json::json!({
        "id": info.id,
        "commit": info.sha,
        "last_modified": info.last_modified,
        "downloads": info.downloads,
        "likes": info.likes,
        "license": info.license(),
        "gated": info.is_gated(),
        "bytes": info.bytes().or(info.used_storage),
        "task": info.pipeline_tag,
        "library": info.library_name,
        "model_type": info.model_type(),
        "parameters": info.safetensors.as_ref().map(|weights| weights.total),
        "tags": info.tags,
        "files": files.collect::<Vec<_>>(),
    })
}

/// Asks the Hub that the environment names, and the data and models behind it.
///
/// # Errors
/// What is wrong with them, whose fault it is in the exit code.
pub(super) async fn ask<A: Send + 'static>(
    question: impl FnOnce(&Hub) -> Result<A, DataError> + Send + 'static,
) -> Result<A, CliError> {
    let asked = tokio::task::spawn_blocking(move || {
        let hub = Hub::from_environment();
        if !terminal::draws() {
            return question(&hub);
        }
        let drawn = Arc::new(Mutex::new((LiveLines::default(), String::new())));
        let seen = Arc::clone(&drawn);
        let answer = question(&hub.watched(move |progress| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let (lines, last) = &mut *seen;
            // Three digits change far more rarely than bytes come.
            let now = line(progress);
            if *last != now {
                lines.draw(std::slice::from_ref(&now));
                *last = now;
            }
        }));
        drawn.lock().unwrap_or_else(PoisonError::into_inner).0.clear();
        answer
    });
    match asked.await {
        Ok(answered) => answered.map_err(CliError::from),
        Err(error) => Err(CliError::failure(format!("the Hub could not be asked: {error}"))),
    }
}

fn line(progress: Progress<'_>) -> String {
    let of = progress.bytes.map_or_else(String::new, |all| format!(" of {}", bytes(all)));
    format!("{} {}: {}{of}", progress.repository, progress.file, bytes(progress.done))
}

impl From<DataError> for CliError {
    fn from(error: DataError) -> Self {
        let exit = if error.is_retryable() { Exit::Failure } else { Exit::BadInput };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ask_for_what_their_table_shows() {
        let list = List {
            task: "text-classification".into(),
            search: Some("distil".into()),
            sort: Sort::Trending,
            limit: 3,
            json: Json::default(),
        };
        let asked = |kind| {
            let query = list.query(kind);
            query.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
        };
        assert_eq!(
            asked(Kind::Model),
            "sort=trendingScore&direction=-1&pipeline_tag=text-classification&search=distil&expand[]=downloads&\
             expand[]=likes&expand[]=tags&expand[]=gated&expand[]=lastModified&expand[]=usedStorage"
        );
        assert!(asked(Kind::Dataset).contains("filter=task_categories:text-classification"));
    }

    #[test]
    fn a_download_is_one_line() {
        let progress =
            |bytes| Progress { repository: "a/b", file: "model.safetensors", done: 1_200_000, bytes };
        assert_eq!(line(progress(Some(268_000_000))), "a/b model.safetensors: 1.2 MB of 268 MB");
        assert_eq!(line(progress(None)), "a/b model.safetensors: 1.2 MB");
    }
}
