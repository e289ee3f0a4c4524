//! `distilsweep report`: a sweep's outcome as one file for a browser, and its plots as pictures.

use std::path::{Path, PathBuf};

use clap::Args;
use distilsweep_proto::exit::Exit;

use super::{CliError, connect::Target, results::fetch, terminal};
use crate::results::{self, Summary};

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// Id or name of the sweep [default: the latest]
    #[arg(value_name = "SWEEP", default_value = "", hide_default_value = true)]
    sweep: String,

    /// Where to write the report: one file that needs no other and no network
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,

    /// Also write each plot as an SVG file into this directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,

    #[command(flatten)]
    target: Target,
}

impl Report {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.target.connect().await?;
        let summary = fetch(&connection.client, &self.sweep).await;
        connection.close().await?;
        let summary = summary?;
        write(&self.output, &results::html(&summary))?;
        terminal::note(format_args!("report   {}", self.output.display()));
        if let Some(directory) = &self.svg {
            let count = plots(directory, &summary)?;
            terminal::note(format_args!("plots    {count} in {}", directory.display()));
        }
        Ok(Exit::Success)
    }
}

fn plots(directory: &Path, summary: &Summary) -> Result<usize, CliError> {
    std::fs::create_dir_all(directory).map_err(|error| unwritable(directory, &error))?;
    let figures = results::figures(summary, &results::rank(summary), results::insight(summary).as_ref());
    for figure in &figures {
        write(&directory.join(format!("{}.svg", figure.name)), &results::svg(figure))?;
    }
    Ok(figures.len())
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::failure(format!("{} cannot be written: {error}", path.display()))
}
