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

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
