//! How much both programs say beside their results, and in which colours: the options for it, and the one place where
//! notes go through.
//!
//! Results go to standard output; everything else is for people and goes to standard error.

use std::{
    fmt::Display,
    io::IsTerminal,
    sync::atomic::{AtomicBool, Ordering},
};

use anstream::{AutoStream, ColorChoice, stream::RawStream};

/// What this process was asked to keep to itself. Of the process, as standard error is.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Our own crates in detail; what they stand on, as it goes.
const DETAIL: &str =
    "info,distilsweep=debug,distilsweep_data=debug,distilsweep_proto=debug,distilsweep_worker=debug";

/// Below a command's own options in its help.
const LAST: usize = 500;

/// Options of every command of both programs.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Manner {
    /// Print results, warnings and errors alone: no progress and no notes
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = LAST)]
    quiet: bool,

    /// Log what happens; twice (-vv) in detail. RUST_LOG says it more finely
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = LAST)]
    verbose: u8,
}

impl Manner {
    /// Behaves so from now on. Answers the filter of logs, `default` being that of the command.
    pub fn begin(self, default: &'static str) -> &'static str {
        QUIET.store(self.quiet, Ordering::Relaxed);
        self.filter(default)
    }

    fn filter(self, default: &'static str) -> &'static str {
        match (self.quiet, self.verbose) {
            (true, _) => "warn",
            (false, 0) => default,
            (false, 1) => "info",
            (false, _) => DETAIL,
        }
    }
}

/// Tells people something beside the results, unless they asked for quiet.
pub fn note(line: impl Display) {
    if !is_quiet() {
        eprintln!("{line}");
    }
}

/// Whether results alone are wanted.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Whether progress may be drawn over what was drawn: on a terminal that can, for people who want to see it.
pub fn draws() -> bool {
    !is_quiet()
        && std::io::stderr().is_terminal()
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Whether a stream takes colours: a terminal that has them does, and `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE` say
/// otherwise.
pub fn colors(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_as_loud_as_asked_for() {
        let filters = |quiet, verbose| Manner { quiet, verbose }.filter("warn");
        assert_eq!([filters(true, 0), filters(false, 0), filters(false, 1)], ["warn", "warn", "info"]);
        assert!(filters(false, 2).contains("distilsweep=debug"));
        assert_eq!(Manner { quiet: true, verbose: 0 }.filter("info"), "warn");
    }
}
