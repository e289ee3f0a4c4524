//! `distilsweep results`, and the files that a sweep leaves.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use distilsweep_proto::{exit::Exit, v1};

use super::{
    CliError,
    connect::{Client, Target},
    convert, terminal,
};
use crate::{clock::Clock, results, results::Summary, scheduler::Time};

/// Arguments of `results`.
#[derive(Debug, Args)]
pub(super) struct Results {
    /// Id or name of the sweep [default: the latest]
    #[arg(default_value = "", hide_default_value = true)]
    sweep: String,

    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    #[command(flatten)]
    target: Target,
}

/// How a ranking is shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For a terminal, as wide as it is
    Table,
    /// For a document
    Markdown,
    /// For a spreadsheet
    Csv,
    /// For a program
    Json,
}

impl Results {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.target.connect().await?;
        let summary = fetch(&connection.client, &self.sweep).await;
        connection.close().await?;
        let summary = summary?;
        let text = match self.format {
            Format::Table => results::table(&summary, terminal::width(), terminal::color()),
            Format::Markdown => results::markdown(&summary),
            Format::Csv => results::csv(&summary),
            Format::Json => results::json(&summary),
        };
        print(&text);
        Ok(Exit::Success)
    }
}

/// Asks for a sweep's results.
pub(super) async fn fetch(client: &Client, sweep: &str) -> Result<Summary, CliError> {
    let request = v1::GetSweepRequest { sweep: sweep.to_owned() };
    let mut parts = client.clone().get_results(request).await?.into_inner();
    let mut results = parts.message().await?.unwrap_or_default();
    while let Some(part) = parts.message().await? {
        results.trials.extend(part.trials);
    }
    Ok(convert::summary(results, Clock::start_after(Time::default()).now().0))
}

/// Writes the ranking in its three written forms below the state directory; answers where the report is.
pub(super) fn write(state: &Path, summary: &Summary) -> Result<PathBuf, CliError> {
    let directory = state.join("results").join(&summary.sweep);
    let unwritable = |path: &Path, error: std::io::Error| {
        CliError::failure(format!("{} cannot be written: {error}", path.display()))
    };
    std::fs::create_dir_all(&directory).map_err(|error| unwritable(&directory, error))?;
    let forms = [
        ("ranking.md", results::markdown(summary)),
        ("ranking.csv", results::csv(summary)),
        ("ranking.json", results::json(summary)),
    ];
    for (name, text) in forms {
        // A reader sees the old file or the new one, never half of one.
        let path = directory.join(name);
        let temporary = directory.join(format!(".{name}.partial"));
        std::fs::write(&temporary, text)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|error| unwritable(&path, error))?;
    }
    Ok(directory.join("ranking.md"))
}

/// Prints to standard output; a pipe that was closed on purpose (`| head`) is no failure.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}
