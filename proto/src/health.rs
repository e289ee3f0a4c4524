//! `health`, a command of both programs: asks a process on this machine for its health, for containers that have no shell
//! and no curl to do it with.

use std::time::Duration;

use reqwest::StatusCode;
use url::Url;

use crate::{convert::root_cause, exit::Exit, plain};

/// A process that lives answers sooner.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `health`.
#[derive(Debug, clap::Args)]
pub struct Health {
    /// Where the process answers for its health: what its --http says
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7071", value_parser = address)]
    http: Url,

    /// Ask whether it is ready to work, not only whether it lives
    #[arg(long)]
    ready: bool,
}

/// Why a process is not as it should be, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// It said so.
    #[error("{page} answers {status}: {said}")]
    Unwell {
        /// What was asked.
        page: Url,
        /// The status.
        status: StatusCode,
        /// The body.
        said: String,
    },
    /// Nobody said anything.
    #[error("nobody answers at {page}: {why}: is it the HOST:PORT of the process's --http?")]
    Silent {
        /// What was asked.
        page: Url,
        /// What was met instead.
        why: String,
    },
}

impl HealthError {
    /// How a program ends with it.
    pub fn exit(&self) -> Exit {
        match self {
            HealthError::Unwell { .. } => Exit::Failure,
            HealthError::Silent { .. } => Exit::Unreachable,
        }
    }
}

impl Health {
    /// What the process says where all is well.
    ///
    /// # Errors
    /// What it says otherwise, or that it says nothing.
    pub async fn ask(self) -> Result<String, HealthError> {
        self.ask_within(PATIENCE).await
    }

    async fn ask_within(self, patience: Duration) -> Result<String, HealthError> {
        let mut page = self.http;
        page.set_path(if self.ready { "readyz" } else { "healthz" });
        let answer = async {
            let answer = plain::client(patience)?.get(page.clone()).send().await?;
            Ok((answer.status(), answer.text().await?))
        };
        match answer.await {
            Ok((StatusCode::OK, said)) => Ok(said.trim().to_owned()),
            Ok((status, said)) => Err(HealthError::Unwell { page, status, said: said.trim().to_owned() }),
            Err::<_, reqwest::Error>(error) => Err(HealthError::Silent { page, why: root_cause(&error) }),
        }
    }
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(&format!("http://{text}")).ok();
    url.filter(|url| url.host().is_some() && url.path() == "/" && !text.ends_with('/'))
        .ok_or_else(|| format!("{text} is no address, it must be HOST:PORT"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for right in ["127.0.0.1:7071", "localhost:1", "[::1]:7071"] {
            assert_eq!(address(right).unwrap().as_str(), format!("http://{right}/"));
        }
        for wrong in ["", "http://127.0.0.1:7071", "127.0.0.1:port", "127.0.0.1:7071/readyz"] {
            assert!(address(wrong).unwrap_err().ends_with("it must be HOST:PORT"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn one_that_takes_the_question_and_says_nothing_counts_as_nobody() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = address(&silent.local_addr().unwrap().to_string()).unwrap();
        let asked = Health { http, ready: true }.ask_within(Duration::from_millis(50)).await;
        let error = asked.unwrap_err();
        assert_eq!(error.exit(), Exit::Unreachable, "{error}");
        assert!(silent.accept().is_ok(), "it was asked");
    }
}
