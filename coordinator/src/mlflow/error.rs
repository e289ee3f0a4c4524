//! What can go wrong with a call to MLflow, and what that means for the rows behind it.

use thiserror::Error;

use crate::published::PublishedError;

/// Why MLflow does not hold what it was told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MlflowError {
    /// No answer.
    #[error("cannot reach MLflow at {address} ({cause}); start it or give its address with --mlflow")]
    Unreachable {
        /// The server.
        address: String,
        /// The innermost reason.
        cause: String,
    },
    /// An answer that will be another one later.
    #[error("MLflow at {address} answered {status} to {call}: {message}")]
    Busy {
        /// The server.
        address: String,
        /// HTTP status.
        status: u16,
        /// Which call.
        call: &'static str,
        /// In its words.
        message: String,
    },
    /// Status 401.
    #[error(
        "MLflow at {address} wants a login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or \
         MLFLOW_TRACKING_TOKEN"
    )]
    Unauthorized {
        /// The server.
        address: String,
    },
    /// Status 403 for want of rights.
    #[error("MLflow at {address} refuses {call} to this user ({message}); give the user the right to edit")]
    Forbidden {
        /// The server.
        address: String,
        /// Which call.
        call: &'static str,
        /// In its words.
        message: String,
    },
    /// Status 403 because of the name by which the server was called.
    #[error(
        "MLflow at {address} does not accept to be called by this name; start it with --allowed-hosts naming the host \
         with any port, `--allowed-hosts 'NAME,NAME:*,localhost:*'` say"
    )]
    HostRefused {
        /// The server.
        address: String,
    },
    /// Something else is there.
    #[error(
        "{address} does not answer {call} as MLflow does ({message}); give MLflow's address, with its --static-prefix \
         if it has one"
    )]
    NotMlflow {
        /// The server.
        address: String,
        /// Which call.
        call: &'static str,
        /// What it answered.
        message: String,
    },
    /// The experiment is in MLflow's bin.
    #[error(
        "experiment `{name}` is deleted in MLflow at {address}; restore it (`mlflow experiments restore \
         --experiment-id {id}`) or record under another name"
    )]
    ExperimentDeleted {
        /// The server.
        address: String,
        /// Name of the experiment.
        name: String,
        /// Its id.
        id: String,
    },
    /// The server shows a certificate that nobody vouches for.
    #[error(
        "do not trust MLflow at {address} ({cause}); name the file of its authority in MLFLOW_TRACKING_SERVER_CERT_PATH"
    )]
    Untrusted {
        /// The server.
        address: String,
        /// What is wrong with the certificate.
        cause: String,
    },
    /// The client could not be set up.
    #[error("cannot set up TLS for MLflow at {address}: {cause}")]
    Tls {
        /// The server.
        address: String,
        /// Which file, and why.
        cause: String,
    },
    /// The server does not take artifacts.
    #[error(
        "MLflow at {address} does not take artifacts over HTTP (they go to {root}); start it with --serve-artifacts"
    )]
    ArtifactsNotServed {
        /// The server.
        address: String,
        /// Where the run's artifacts belong.
        root: String,
    },
    /// A model's files are not what was recorded.
    #[error(
        "the model at {url} cannot be logged, {why}: put its files back, or train the trial again, and tell MLflow with \
         `distilsweep mlflow sync`"
    )]
    Model {
        /// Where its files are.
        url: String,
        /// What is wrong with them.
        why: String,
    },
    /// The store of models does not answer.
    #[error("{name} of the model at {url} cannot be read: {cause}")]
    Store {
        /// Where its files are.
        url: String,
        /// Which file.
        name: String,
        /// Why.
        cause: String,
    },
    /// MLflow will never accept this.
    #[error("MLflow at {address} refused {call} ({status}): {message}")]
    Refused {
        /// The server.
        address: String,
        /// HTTP status.
        status: u16,
        /// Which call.
        call: &'static str,
        /// In its words.
        message: String,
    },
}

/// What an error means for the rows behind the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same call can succeed in a moment.
    Again,
    /// The same call can succeed once somebody has changed the server or the settings: keep the rows.
    Blocked,
    /// The same call can never succeed: set its rows aside.
    Refused,
}

impl MlflowError {
    /// A model at this URL that cannot be taken.
    pub(super) fn published(url: &str, error: PublishedError) -> Self {
        let url = url.to_owned();
        match error {
            PublishedError::Unreadable { name, cause } => Self::Store { url, name, cause },
            PublishedError::Gone { .. } | PublishedError::Other(_) => {
                Self::Model { url, why: error.to_string() }
            }
        }
    }

    /// Whether MLflow's database has what was to be put into it.
    pub(super) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Refused { status: 400, message, .. } if is_duplicate(message))
    }

    /// What the error means for the rows behind the call.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } | Self::Store { .. } => Verdict::Again,
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::HostRefused { .. }
            | Self::NotMlflow { .. }
            | Self::ExperimentDeleted { .. }
            | Self::Untrusted { .. }
            | Self::Tls { .. } => Verdict::Blocked,
            Self::ArtifactsNotServed { .. } | Self::Model { .. } | Self::Refused { .. } => Verdict::Refused,
        }
    }

    /// Reads an answer other than success. The status decides, since not every answer is JSON.
    pub(super) fn of_answer(address: &str, call: &'static str, status: u16, body: &str) -> Self {
        let address = address.to_owned();
        let spoken = spoken(body);
        let is_json = spoken.is_some();
        let message = spoken.unwrap_or_else(|| shortened(body));
        match status {
            401 => Self::Unauthorized { address },
            403 if body.contains("Invalid Host header") => Self::HostRefused { address },
            403 => Self::Forbidden { address, call, message },
            503 if body.contains("Artifact serving is disabled") => {
                Self::ArtifactsNotServed { address, root: "the client's own storage".to_owned() }
            }
            408 | 429 | 500.. if status != 501 => Self::Busy { address, status, call, message },
            // The server's own 404 is JSON; one in HTML comes from a wrong prefix or another program. Redirects are
            // not followed, since they would turn a POST into a GET.
            300..=399 | 404 | 405 if !is_json => Self::NotMlflow { address, call, message },
            _ => Self::Refused { address, status, call, message },
        }
    }
}

/// Whether the words are those of a database (SQLite, PostgreSQL, MySQL) about a row that is there already.
pub(super) fn is_duplicate(message: &str) -> bool {
    ["UNIQUE constraint", "duplicate key", "Duplicate entry"].iter().any(|words| message.contains(words))
}

/// What MLflow says in an error body, where that is JSON.
fn spoken(body: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(body).ok()?;
    let text = |key: &str| json.get(key).and_then(serde_json::Value::as_str);
    let said = text("message").or_else(|| text("detail"))?;
    Some(match text("error_code") {
        Some(code) => format!("{code}: {}", shortened(said)),
        None => shortened(said),
    })
}

/// The first line, without markup, at most 300 characters.
fn shortened(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("an empty answer");
    let mut short: String = line.chars().take(300).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_status_and_words() {
        let answers = [
            (503, r#"{"error_code":"TEMPORARILY_UNAVAILABLE","message":"database is locked"}"#),
            (429, "slow down"),
            (500, "<!doctype html>\n<title>500</title>"),
            (401, "You are not authenticated."),
            (403, "Permission denied"),
            (403, "Invalid Host header - possible DNS rebinding attack detected"),
            (404, "<!doctype html>"),
            (302, ""),
            (404, r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"Run 'x' not found"}"#),
            (
                400,
                r#"{"error_code":"INVALID_PARAMETER_VALUE","message":"Changing param values is not allowed"}"#,
            ),
            (503, r#"{"detail":"Artifact serving is disabled."}"#),
            (501, r#"{"error_code":"NOT_IMPLEMENTED","message":"no"}"#),
        ];
        let texts: Vec<String> = answers
            .into_iter()
            .map(|(status, body)| MlflowError::of_answer("http://h", "runs/log-batch", status, body))
            .map(|error| format!("{:?}: {error}", error.verdict()))
            .collect();
        insta::assert_snapshot!(texts.join("\n"), @r"
        Again: MLflow at http://h answered 503 to runs/log-batch: TEMPORARILY_UNAVAILABLE: database is locked
        Again: MLflow at http://h answered 429 to runs/log-batch: slow down
        Again: MLflow at http://h answered 500 to runs/log-batch: <!doctype html>
        Blocked: MLflow at http://h wants a login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN
        Blocked: MLflow at http://h refuses runs/log-batch to this user (Permission denied); give the user the right to edit
        Blocked: MLflow at http://h does not accept to be called by this name; start it with --allowed-hosts naming the host with any port, `--allowed-hosts 'NAME,NAME:*,localhost:*'` say
        Blocked: http://h does not answer runs/log-batch as MLflow does (<!doctype html>); give MLflow's address, with its --static-prefix if it has one
        Blocked: http://h does not answer runs/log-batch as MLflow does (an empty answer); give MLflow's address, with its --static-prefix if it has one
        Refused: MLflow at http://h refused runs/log-batch (404): RESOURCE_DOES_NOT_EXIST: Run 'x' not found
        Refused: MLflow at http://h refused runs/log-batch (400): INVALID_PARAMETER_VALUE: Changing param values is not allowed
        Refused: MLflow at http://h does not take artifacts over HTTP (they go to the client's own storage); start it with --serve-artifacts
        Refused: MLflow at http://h refused runs/log-batch (501): NOT_IMPLEMENTED: no
        ");
    }
}
