//! Exit codes, the same for both programs.

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is done.
    Success = 0,
    /// A fault of this program or its surroundings; trying again may help.
    Failure = 1,
    /// The command line makes no sense (clap's code).
    Usage = 2,
    /// A sweep file, data set or model is at fault: what it says names the file, line or key.
    BadInput = 3,
    /// Nobody answers where the coordinator should be.
    Unreachable = 4,
    /// A port or state directory is in use.
    InUse = 5,
    /// The sweep ended, and not all its trials have a result.
    Incomplete = 6,
    /// The coordinator does not let it in, or is not to be trusted: token or certificate.
    Refused = 7,
    /// Ended by Ctrl-C or SIGTERM, after putting things in order.
    Interrupted = 130,
}

/// The same as both programs' help tells it.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    a fault of this program or its surroundings, lack of memory among them
  2    the command line makes no sense
  3    a sweep file, data set, model or hyperparameter is at fault
  4    nobody answers where the coordinator should be
  5    a port or state directory is in use
  6    ended with trials that have no result, or a training diverged
  7    the coordinator refuses it, or is not to be trusted (token, certificate)
  130  ended by Ctrl-C or SIGTERM, in order: the same command goes on";

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_tells_of_every_code() {
        let told: Vec<u8> =
            HELP.lines().skip(1).filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        let all = [
            Exit::Success,
            Exit::Failure,
            Exit::Usage,
            Exit::BadInput,
            Exit::Unreachable,
            Exit::InUse,
            Exit::Incomplete,
            Exit::Refused,
            Exit::Interrupted,
        ];
        assert_eq!(told, all.map(|exit| exit as u8));
    }
}
