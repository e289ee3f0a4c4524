//! `distilsweep export`: a trial's model as a directory that transformers loads, with a card that says what it is.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;
use distilsweep_proto::{examples, exit::Exit, manifest::Part, v1};
use futures::TryStreamExt;

use super::{
    CliError,
    connect::{Client, Target},
    results::{self, print},
    terminal, trial,
};
use crate::{
    card::Card,
    published::{self, Pieces, Published, PublishedError},
    results::{
        Summary, convert,
        labels::{bytes, counted},
        rank,
    },
    scheduler::StoredFiles,
};

/// The card beside the model's files.
const CARD: &str = "README.md";

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep export emotion-lr -o model",
    "distilsweep export emotion-lr --rank 2 -o second",
    "distilsweep export emotion-lr/3 -o model --coordinator https://sweeps.example.org:7070",
])]
pub(super) struct Export {
    /// Id or name of the sweep, or what it alone begins with; SWEEP/NUMBER for one trial of it [default: the latest]
    #[arg(default_value = "", hide_default_value = true)]
    sweep: String,

    /// Place in the ranking of the trial to take
    #[arg(long, value_name = "PLACE", default_value_t = 1, conflicts_with = "trial",
        value_parser = clap::value_parser!(u64).range(1..))]
    rank: u64,

    /// Number of the trial to take instead; SWEEP/NUMBER says the same
    #[arg(long, value_name = "N")]
    trial: Option<u64>,

    /// New or empty directory for the model
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    target: Target,
}

/// What is exported: the trial in full, and its sweep.
struct Chosen {
    summary: Summary,
    detail: v1::TrialDetail,
    place: Option<usize>,
}

impl Export {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        check_free(&self.output)?;
        let (sweep, trial) = match (trial::sweep_and_trial(&self.sweep)?, self.trial) {
            (None, trial) => (self.sweep.clone(), trial),
            (Some((sweep, trial)), None) => (sweep, Some(trial)),
            (Some(_), Some(_)) => return Err(trial::named_twice()),
        };
        let connection = self.target.connect().await?;
        let chosen = choose(&connection.client, &sweep, trial, self.rank).await;
        connection.close().await?;
        let Chosen { summary, detail, place } = chosen?;
        let result = detail.result.as_ref();
        let number = result.map(|result| result.trial).unwrap_or_default();
        let of = format!("trial {number} of sweep {}", summary.sweep);
        let files = result.and_then(|result| result.model.clone()).ok_or_else(|| {
            let message = format!(
                "{of} has no stored model: only a trial that completed publishes one, in the store of `serve --store` or \
                 below the state directory"
            );
            CliError::new(Exit::BadInput, message)
        })?;
        let files = StoredFiles { url: files.url, step: files.step, manifest_sha256: files.manifest_sha256 };
        let view = convert::trial(detail, &summary);
        let card = |positions| {
            let version = env!("CARGO_PKG_VERSION");
            Card { summary: &summary, trial: &view, place, positions, version }.text()
        };
        let published = Published::open(&files).await.map_err(|error| unusable(&of, &files.url, error))?;
        write(&self.output, card, &published).await.map_err(|failed| match failed {
            Failed::Store(error) => unusable(&of, &files.url, error),
            Failed::Disk(path, error) => {
                CliError::failure(format!("{} cannot be written: {error}", path.display()))
            }
        })?;
        terminal::note(format_args!(
            "{of}: {} and {CARD}, {}",
            counted(published.parts().len() as u64, "file"),
            bytes(published.bytes())
        ));
        print(&self.output.display().to_string());
        Ok(Exit::Success)
    }
}

/// The sweep, and of it the trial of this number, else the one in this place of the ranking.
async fn choose(client: &Client, sweep: &str, trial: Option<u64>, place: u64) -> Result<Chosen, CliError> {
    let summary = results::fetch(client, sweep).await?;
    let ranked: Vec<u64> = rank(&summary)
        .into_iter()
        .filter(|ranked| ranked.rank.is_some())
        .map(|ranked| ranked.row.trial)
        .collect();
    let trial = match trial {
        Some(trial) => trial,
        None => *usize::try_from(place - 1).ok().and_then(|place| ranked.get(place)).ok_or_else(|| {
            let message = match ranked.len() {
                0 => format!("no trial of sweep {} has a result yet", summary.sweep),
                ranked => format!(
                    "sweep {} has {} in its ranking, none in place {place}",
                    summary.sweep,
                    counted(ranked as u64, "trial")
                ),
            };
            CliError::new(Exit::BadInput, message)
        })?,
    };
    let request = v1::GetTrialRequest { sweep: summary.sweep.clone(), trial };
    let detail = client.clone().get_trial(request).await?.into_inner();
    let place = ranked.iter().position(|ranked| *ranked == trial).map(|place| place + 1);
    Ok(Chosen { summary, detail, place })
}

/// What keeps a model from being written.
enum Failed {
    Store(PublishedError),
    Disk(PathBuf, std::io::Error),
}

/// Writes a model and its card. The directory is there as a whole or not at all: everything is written beside it first.
async fn write(
    output: &Path,
    card: impl FnOnce(Option<u64>) -> String,
    published: &Published,
) -> Result<(), Failed> {
    let disk = |path: &Path| {
        let path = path.to_owned();
        move |error| Failed::Disk(path, error)
    };
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(disk(parent))?;
    let beside =
        tempfile::Builder::new().prefix(".distilsweep-export-").tempdir_in(parent).map_err(disk(parent))?;
    // Made by itself, it has the permissions that a directory of its owner has; a temporary one is private.
    let directory = beside.path().join("model");
    fs::create_dir(&directory).map_err(disk(&directory))?;
    for part in published.parts() {
        let path = directory.join(&part.name);
        let mut file = File::create(&path).map_err(disk(output))?;
        copy(published, part, &mut file, output).await?;
    }
    fs::write(directory.join(CARD), card(positions(&directory))).map_err(disk(output))?;
    fs::rename(&directory, output).map_err(disk(output))
}

/// How many positions the model in a directory has; none where its configuration does not say.
fn positions(directory: &Path) -> Option<u64> {
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(directory.join("config.json")).ok()?).ok()?;
    config["max_position_embeddings"].as_u64()
}

/// Copies a file, and looks that it is the one that was recorded.
async fn copy(published: &Published, part: &Part, file: &mut File, output: &Path) -> Result<(), Failed> {
    let Pieces { mut stream, wrong } = published.pieces(part).await.map_err(Failed::Store)?;
    loop {
        match stream.try_next().await {
            Ok(Some(piece)) => {
                file.write_all(&piece).map_err(|error| Failed::Disk(output.to_owned(), error))?
            }
            Ok(None) => return file.sync_all().map_err(|error| Failed::Disk(output.to_owned(), error)),
            Err(_) if wrong.load(std::sync::atomic::Ordering::Relaxed) => {
                return Err(Failed::Store(published::other(&part.name)));
            }
            Err(error) => {
                let (name, cause) = (part.name.clone(), error.to_string());
                return Err(Failed::Store(PublishedError::Unreadable { name, cause }));
            }
        }
    }
}

/// A directory that has nothing in it, or none yet.
fn check_free(output: &Path) -> Result<(), CliError> {
    match fs::read_dir(output).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let message =
                format!("{} is not empty: -o must name a new or an empty directory", output.display());
            Err(CliError::new(Exit::Usage, message))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(CliError::new(Exit::Usage, format!("{} is no directory for it: {error}", output.display())))
        }
    }
}

/// A model that cannot be taken from where it was published.
fn unusable(of: &str, url: &str, error: PublishedError) -> CliError {
    let remedy = match error {
        PublishedError::Gone { .. } if url.starts_with("file:") => {
            "if another machine has that directory, export there, or have workers publish where both reach \
             (`serve --store`)"
        }
        PublishedError::Gone { .. } | PublishedError::Other(_) => {
            "put its files back, or train the trial again"
        }
        PublishedError::Unreadable { .. } => {
            "is the store reachable from here, with the variables of its own programs?"
        }
    };
    CliError::failure(format!("the model of {of} cannot be taken from {url}, {error}: {remedy}"))
}
