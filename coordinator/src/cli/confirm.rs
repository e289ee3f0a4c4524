//! Asking before what cannot be taken back.
//!
//! That is `sweep cancel` alone: a stopped trial is tried again by `trial retry`, a drained worker hands back what it has,
//! a paused sweep goes on. A question before each of them would only teach to answer without reading.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use distilsweep_proto::exit::Exit;

use super::CliError;

/// The answer that was given beforehand.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Sure {
    /// Do not ask; needed where nobody can be asked
    #[arg(short, long)]
    yes: bool,
}

impl Sure {
    /// Asks on a terminal; `what` is what will happen for good.
    ///
    /// # Errors
    /// Where somebody says no, or nobody is there to ask and did not say yes beforehand.
    pub(super) fn ask(self, what: &str) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            let message = format!("{what}: say --yes where nobody can be asked");
            return Err(CliError::new(Exit::Usage, message));
        }
        eprint!("{what}. Go on? [y/N] ");
        let _ = std::io::stderr().flush();
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        match read.is_ok() && agrees(&line) {
            true => Ok(()),
            false => Err(CliError::failure("nothing was done")),
        }
    }
}

/// Whether an answer is a yes. An empty one, or the end of the input, is none.
fn agrees(line: &str) -> bool {
    ["y", "yes"].contains(&line.trim().to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        assert!(["y\n", "Yes\n", " YES "].into_iter().all(agrees));
        assert!(!["", "\n", "n\n", "yep\n", "no\n"].into_iter().any(agrees));
    }
}
