//! `completions` and `man`, commands of both programs: what a shell and a reader get out of the definitions that the
//! command line is parsed by.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use clap::Command;
use clap_complete::Shell;
use roff::{Roff, roman};

/// What the help of a command ends with: command lines as they are typed, one a literal.
#[macro_export]
macro_rules! examples {
    ($($line:literal),+ $(,)?) => {
        concat!("Examples:", $("\n  ", $line),+)
    };
}

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell that reads it
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Directory for the pages, one a command: ~/.local/share/man/man1, say
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

impl Completions {
    /// The script, for standard output.
    pub fn script(&self, mut command: Command) -> String {
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}

impl Man {
    /// Writes the pages.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, command: Command) -> Result<(), String> {
        let mut command = command.disable_help_subcommand(true);
        command.build();
        fs::create_dir_all(&self.output)
            .and_then(|()| pages(&command, &self.output))
            .map_err(|error| format!("man pages cannot be written to {}: {error}", self.output.display()))
    }
}

/// A page for a command and for each below it.
fn pages(command: &Command, directory: &Path) -> io::Result<()> {
    // The page's own way with what comes last would fill its lines: examples are not prose.
    let page = clap_mangen::Man::new(command.clone().after_help(None::<&str>));
    let mut file = File::create(directory.join(page.get_filename()))?;
    page.render(&mut file)?;
    if let Some(last) = command.get_after_help() {
        verbatim(&last.to_string()).to_writer(&mut file)?;
    }
    command.get_subcommands().try_for_each(|below| pages(below, directory))
}

/// A section of lines as they are, under the first of them.
fn verbatim(text: &str) -> Roff {
    let (title, lines) = text.split_once('\n').unwrap_or((text, ""));
    let mut section = Roff::new();
    section.control("SH", [title.trim_end_matches(':').to_uppercase().as_str()]).control("nf", []);
    for line in lines.lines() {
        section.text([roman(line)]);
    }
    section.control("fi", []);
    section
}
