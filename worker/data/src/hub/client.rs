//! Questions to the Hub, and what its answers mean.

use std::time::Duration;

use distilsweep_proto::convert::root_cause;
use reqwest::{RequestBuilder, Response, StatusCode, header::HeaderMap, redirect};
use serde::de::DeserializeOwned;

use super::{Kind, RepoInfo, Settings};
use crate::DataError;

/// How long a connection may take, and how long an answer may say nothing.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);

/// Rests before a question is asked again that the Hub could not answer.
const RESTS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// Longest time that the Hub may ask us to wait; it counts requests in windows of five minutes.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Names that are offered where there is no such repository.
const NEAR: usize = 5;

/// Says what to ask, and to whom an error belongs.
#[derive(Clone, Debug)]
pub(super) struct Client {
    settings: Settings,
    follow: reqwest::Client,
    /// Stops where a file lies elsewhere: the answer that sends there says what the file is.
    stay: reqwest::Client,
}

/// Whose files are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) kind: Kind,
    pub(super) id: &'a str,
    pub(super) revision: &'a str,
}

impl Asked<'_> {
    pub(super) fn error(&self, problem: String, retryable: bool) -> DataError {
        DataError::Hub { repository: self.id.to_owned(), problem, retryable }
    }
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, DataError> {
        // An error says that the program has already chosen a provider, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("distilsweep/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT)
                .read_timeout(SILENCE)
        };
        let same_host = redirect::Policy::custom(|attempt| {
            let from = attempt.previous().last();
            let stays = from.is_some_and(|from| from.host_str() == attempt.url().host_str());
            if stays && attempt.previous().len() < 5 { attempt.follow() } else { attempt.stop() }
        });
        let failed = |error: reqwest::Error| DataError::Hub {
            repository: settings.endpoint.clone(),
            problem: format!("no connection can be set up: {}", root_cause(&error)),
            retryable: false,
        };
        Ok(Self {
            settings: settings.clone(),
            follow: builder().build().map_err(failed)?,
            stay: builder().redirect(same_host).build().map_err(failed)?,
        })
    }

    /// A repository at a revision: its commit, files with sizes, and card.
    pub(super) async fn info(&self, asked: Asked<'_>) -> Result<RepoInfo, DataError> {
        let (kind, id) = (asked.kind.plural(), asked.id);
        let revision = asked.revision.replace('/', "%2F");
        let url = format!("{}/api/{kind}/{id}/revision/{revision}", self.settings.endpoint);
        match self.json(asked, || self.follow.get(&url).query(&[("blobs", "true")])).await {
            Err(DataError::Hub { repository, problem, retryable }) if problem.starts_with(ABSENT) => {
                let problem = problem + &self.near(asked).await;
                Err(DataError::Hub { repository, problem, retryable })
            }
            answered => answered,
        }
    }

    /// Repositories that a query finds, at most `limit`, in the Hub's order.
    pub(super) async fn list(
        &self,
        kind: Kind,
        query: &[(&str, String)],
        limit: usize,
    ) -> Result<Vec<RepoInfo>, DataError> {
        let asked = Asked { kind, id: "the Hub", revision: "main" };
        let url = format!("{}/api/{}", self.settings.endpoint, kind.plural());
        let mut found: Vec<RepoInfo> = Vec::new();
        let mut next = Some(self.follow.get(url).query(query).query(&[("limit", limit.min(1000))]));
        while let Some(request) = next.take().filter(|_| found.len() < limit) {
            let again = || request.try_clone().unwrap_or_else(|| unreachable!("it has no body"));
            let response = self.answer(asked, again).await?;
            // A page's answer names the next one.
            next = next_page(response.headers()).map(|url| self.follow.get(url));
            let page: Vec<RepoInfo> = body(asked, response).await?;
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        found.truncate(limit);
        Ok(found)
    }

    /// What the Hub says of a file before it sends it.
    pub(super) async fn head(&self, asked: Asked<'_>, url: &str) -> Result<HeaderMap, DataError> {
        let request = || self.stay.head(url).header("accept-encoding", "identity");
        Ok(self.answer(asked, request).await?.headers().clone())
    }

    /// A file's bytes from `start` on. The answer's status says whether the Hub began there (206) or at 0.
    pub(super) async fn file(&self, asked: Asked<'_>, url: &str, start: u64) -> Result<Response, DataError> {
        let request = || {
            let request = self.follow.get(url).header("accept-encoding", "identity");
            match start {
                0 => request,
                start => request.header("range", format!("bytes={start}-")),
            }
        };
        self.answer(asked, request).await
    }

    async fn json<A: DeserializeOwned>(
        &self,
        asked: Asked<'_>,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<A, DataError> {
        body(asked, self.answer(asked, request).await?).await
    }

    /// Asks, again where the Hub is busy, and after as long as it says where it wants fewer questions.
    async fn answer(
        &self,
        asked: Asked<'_>,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, DataError> {
        let mut rests = RESTS.into_iter();
        loop {
            let mut request = request();
            if let Some(token) = &self.settings.token {
                // Not a default of the client: it must not follow a redirect to another host.
                request = request.bearer_auth(token);
            }
            let response = request.send().await.map_err(|error| no_answer(asked, &error))?;
            let status = response.status();
            if status.is_success() || status.is_redirection() {
                return Ok(response);
            }
            let rest = match status {
                StatusCode::TOO_MANY_REQUESTS => match wait(response.headers()) {
                    Some(told) => (told <= LONGEST_WAIT).then_some(told),
                    None => rests.next(),
                },
                _ if status.is_server_error() => rests.next(),
                _ => None,
            };
            match rest {
                Some(rest) => {
                    tracing::warn!(repository = asked.id, %status, ?rest, "the Hub wants us to wait");
                    tokio::time::sleep(rest).await;
                }
                None => return Err(refused(asked, status, response.headers())),
            }
        }
    }

    /// ", there are A and B" where the Hub has repositories with such names.
    async fn near(&self, asked: Asked<'_>) -> String {
        let name = asked.id.rsplit('/').next().unwrap_or(asked.id);
        let query = [("search", name.to_owned()), ("sort", "downloads".to_owned())];
        // Names are a courtesy: without them the sentence is as true.
        let found = Box::pin(self.list(asked.kind, &query, NEAR)).await.unwrap_or_default();
        let names: Vec<&str> = found.iter().map(|repo| repo.id.as_str()).collect();
        if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) }
    }
}

const ABSENT: &str = "the Hub has no such ";

/// What an answer without success means.
fn refused(asked: Asked<'_>, status: StatusCode, headers: &HeaderMap) -> DataError {
    let kind = asked.kind.word();
    let code = headers.get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
    let (problem, retryable) = match (status.as_u16(), code) {
        (_, "GatedRepo") => (
            "it is gated: ask for access on its page of the Hub, and set HF_TOKEN to a token of yours (`hf auth login` \
             keeps one)"
                .to_owned(),
            false,
        ),
        (_, "RevisionNotFound") => (format!("the Hub has no revision \"{}\" of it", asked.revision), false),
        (404, "EntryNotFound") => ("the Hub has not this file of it".to_owned(), false),
        (_, "RepoNotFound") | (404, _) => {
            (format!("{ABSENT}{kind}, or HF_TOKEN must hold a token that may read it"), false)
        }
        (401 | 403, _) => (
            format!(
                "the Hub refuses it ({}): it does not exist, or HF_TOKEN must hold a token that may read it",
                status.as_u16()
            ),
            false,
        ),
        (429, _) => {
            let later = wait(headers).map_or_else(String::new, |wait| format!(" in {} s", wait.as_secs()));
            (
                format!(
                    "the Hub wants fewer requests (429); try again{later}, or set HF_TOKEN: users may ask more"
                ),
                true,
            )
        }
        (status, _) => (format!("the Hub answers with status {status}"), status >= 500),
    };
    asked.error(problem, retryable)
}

/// How long to wait: `Retry-After` in seconds, else the `t` of `RateLimit: "api";r=0;t=55`.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let seconds = text("retry-after").and_then(|text| text.trim().parse().ok()).or_else(|| {
        let fields = text("ratelimit")?.split(';');
        fields.filter_map(|field| field.trim().strip_prefix("t=")).find_map(|seconds| seconds.parse().ok())
    });
    seconds.map(Duration::from_secs)
}

/// The address in `Link: <URL>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get("link")?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let (_, address) = next.split_once('<')?;
    address.split_once('>').map(|(address, _)| address.to_owned())
}

async fn body<A: DeserializeOwned>(asked: Asked<'_>, response: Response) -> Result<A, DataError> {
    let bytes = response.bytes().await.map_err(|error| no_answer(asked, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let problem = format!(
            "the answer is not the Hub's ({error}); HF_ENDPOINT must be its address, and a proxy may want a login"
        );
        asked.error(problem, false)
    })
}

pub(super) fn no_answer(asked: Asked<'_>, error: &reqwest::Error) -> DataError {
    let cause = if error.is_timeout() { "no answer in time".to_owned() } else { root_cause(error) };
    asked.error(format!("the Hub cannot be reached ({cause})"), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn waits_are_read_from_either_header() {
        let seconds = |pairs: &[_]| wait(&headers(pairs)).map(|wait| wait.as_secs());
        assert_eq!(seconds(&[("retry-after", "7")]), Some(7));
        assert_eq!(seconds(&[("ratelimit", "\"api\";r=0;t=55")]), Some(55));
        assert_eq!(seconds(&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]), None);
        assert_eq!(seconds(&[]), None);
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        let link =
            "<http://h/api/models?cursor=a>; rel=\"prev\", <http://h/api/models?cursor=b>; rel=\"next\"";
        assert_eq!(next_page(&headers(&[("link", link)])).as_deref(), Some("http://h/api/models?cursor=b"));
        assert_eq!(next_page(&headers(&[("link", "<http://h>; rel=\"prev\"")])), None);
    }
}
