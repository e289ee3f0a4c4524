//! The notice that a spot machine is about to be taken away: a file or a page says so, or the cloud's own metadata
//! service. Who asks is at the edge, [`noticed`]; what an answer means is decided without it.
//!
//! Sources: "Spot Instance interruption notices" and "Use the Instance Metadata Service" of Amazon EC2, "Spot VMs" of
//! Google Compute Engine, "Scheduled Events" of Azure's virtual machines.

use std::{io, path::PathBuf, str::FromStr, time::Duration};

use distilsweep_proto::{convert::root_cause, plain};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};
use url::Url;

/// The shortest notice is half a minute.
const PERIOD: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);
/// Characters of an answer that are shown.
const SHOWN: usize = 200;

/// Where a notice comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, by being there.
    File(PathBuf),
    /// A page, by having something to say.
    Page(Url),
    /// The metadata service at this address, of an instance of Amazon EC2.
    Aws(Url),
    /// The same of an instance of Google Compute Engine.
    Google(Url),
    /// The same of a virtual machine of Azure.
    Azure(Url),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = |url| Url::parse(url).map_err(|error| format!("{url} is no URL: {error}"));
        match text {
            "aws" => url("http://169.254.169.254").map(Self::Aws),
            "gcp" => url("http://metadata.google.internal").map(Self::Google),
            "azure" => url("http://169.254.169.254").map(Self::Azure),
            page if page.starts_with("http://") => url(page).map(Self::Page),
            // One without a slash is rather a cloud's name with a typing error, and would never be there.
            path if path.contains('/') && !path.contains("://") => Ok(Self::File(path.into())),
            _ => Err(format!("{text} must be aws, gcp, azure, a path with a / in it or an http:// URL")),
        }
    }
}

/// Why nobody knows whether there is a notice.
#[derive(Debug, thiserror::Error)]
enum Unclear {
    #[error("{} cannot be looked for: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("no answer: {}", root_cause(.0))]
    Silent(#[from] reqwest::Error),
    #[error("{url} answers {status}")]
    Status { url: Url, status: StatusCode },
    #[error("{url} answers no list of events: {source}")]
    Events { url: Url, source: serde_json::Error },
}

/// What a page answered.
#[derive(Debug)]
struct Answer {
    url: Url,
    status: StatusCode,
    body: String,
}

impl Answer {
    async fn to(request: RequestBuilder) -> Result<Self, Unclear> {
        let response = request.send().await?;
        let (url, status) = (response.url().clone(), response.status());
        Ok(Self { url, status, body: response.text().await?.trim().to_owned() })
    }

    fn body(self) -> Result<String, Unclear> {
        match self.status {
            StatusCode::OK => Ok(self.body),
            status => Err(Unclear::Status { url: self.url, status }),
        }
    }

    /// The notice of a page that has one. Services that always answer say FALSE or NONE where there is none.
    fn notice(self) -> Result<Option<String>, Unclear> {
        if self.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let url = self.url.clone();
        let body = self.body()?;
        let none = ["", "false", "none"].iter().any(|nothing| body.eq_ignore_ascii_case(nothing));
        Ok((!none).then(|| format!("{url} says {}", body.chars().take(SHOWN).collect::<String>())))
    }

    /// The notice of Azure's list of events for the machine of this name: neighbours are told of each other's.
    fn preempts(self, machine: &str) -> Result<Option<String>, Unclear> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Schedule {
            events: Vec<Event>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Event {
            event_type: String,
            #[serde(default)]
            resources: Vec<String>,
            #[serde(default)]
            not_before: String,
        }
        let url = self.url.clone();
        let schedule: Schedule =
            serde_json::from_str(&self.body()?).map_err(|source| Unclear::Events { url, source })?;
        let hit = schedule.events.into_iter().find(|event| {
            event.event_type == "Preempt"
                && event.resources.iter().any(|name| name.eq_ignore_ascii_case(machine))
        });
        Ok(hit.map(|event| format!("{machine} is preempted, not before {}", event.not_before)))
    }
}

impl Source {
    /// The notice, if there is one by now.
    async fn ask(&self, client: &Client) -> Result<Option<String>, Unclear> {
        match self {
            Self::File(path) => match path.try_exists() {
                Ok(there) => Ok(there.then(|| format!("{} is there", path.display()))),
                Err(source) => Err(Unclear::File { path: path.clone(), source }),
            },
            Self::Page(url) => Answer::to(client.get(url.clone())).await?.notice(),
            Self::Aws(base) => {
                // A token a question: nothing to keep, and nothing that expires.
                let token = client
                    .put(format!("{base}latest/api/token"))
                    .header("X-aws-ec2-metadata-token-ttl-seconds", "60");
                let token = Answer::to(token).await?.body()?;
                let action = client
                    .get(format!("{base}latest/meta-data/spot/instance-action"))
                    .header("X-aws-ec2-metadata-token", token);
                Answer::to(action).await?.notice()
            }
            Self::Google(base) => {
                let preempted = client
                    .get(format!("{base}computeMetadata/v1/instance/preempted"))
                    .header("Metadata-Flavor", "Google");
                Answer::to(preempted).await?.notice()
            }
            Self::Azure(base) => {
                let get = |page| {
                    Answer::to(client.get(format!("{base}metadata/{page}")).header("Metadata", "true"))
                };
                let machine =
                    get("instance/compute/name?api-version=2021-02-01&format=text").await?.body()?;
                get("scheduledevents?api-version=2020-07-01").await?.preempts(&machine)
            }
        }
    }
}

/// Waits for the notice, and answers what it says. Where nobody knows there is none; why is said once.
///
/// # Errors
/// Nobody can be asked.
pub async fn noticed(source: &Source) -> Result<String, reqwest::Error> {
    let client = plain::client(PATIENCE)?;
    let mut interval = interval(PERIOD);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = false;
    loop {
        interval.tick().await;
        match source.ask(&client).await {
            Ok(Some(notice)) => return Ok(notice),
            Ok(None) => {}
            Err(why) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(%why, "no spot notice can be had, asking on");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
