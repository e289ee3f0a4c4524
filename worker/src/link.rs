//! The connection to the coordinator, kept up by a task of its own: it connects, presents the leases that are held,
//! passes messages both ways, and begins again when the stream breaks, with growing pauses.

use std::{fmt, time::Duration};

use distilsweep_proto::{
    convert::root_cause,
    dial::{Bearer, Coordinator, DialError, Line},
    ids::Lease,
    limits::DOWN_BYTES,
    v1::{self, workers_client::WorkersClient},
};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Code, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Error},
};

use crate::wire::FromCoordinator;

/// The longest of the first pauses.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A pause is never longer: a coordinator that is back has its workers within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// For name, connection and TLS together. A resolver takes 5 s to turn from a name server that is gone to the next, and
/// the name is looked up for each connection, for the coordinator may have moved.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A coordinator that took the stream and says nothing for this long is as good as gone.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);

type Open = Box<dyn Fn() -> BoxFuture<'static, Result<Line, Down>> + Send + Sync>;

/// The way to the coordinator: over TCP, or whatever a simulation puts in its place.
pub struct Connector {
    url: String,
    open: Open,
    /// Whom to ask what is behind a stream that cannot be opened.
    dialled: Option<Coordinator>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Connector {
    /// A way of its own to a coordinator that is called `url`; `open` is asked for each connection.
    pub fn new(
        url: String,
        open: impl Fn() -> BoxFuture<'static, Result<Channel, Error>> + Send + Sync + 'static,
    ) -> Self {
        let open = move || {
            let opened = open();
            async move {
                let channel = opened.await.map_err(|error| Down::from(root_cause(&error)))?;
                Ok(InterceptedService::new(channel, Bearer::default()))
            }
            .boxed()
        };
        Self { url, open: Box::new(open), dialled: None }
    }

    /// Over the network.
    pub fn network(coordinator: Coordinator) -> Self {
        let dialled = Some(coordinator.clone());
        let url = coordinator.url();
        let open = move || {
            let coordinator = coordinator.clone();
            async move { coordinator.connect().await.map_err(Down::from) }.boxed()
        };
        Self { url, open: Box::new(open), dialled }
    }

    /// Why a stream was not opened.
    fn unopened(&self, status: Status) -> Down {
        match self.dialled.as_ref().and_then(|coordinator| coordinator.failed(&status)) {
            Some(error) => error.into(),
            None => status.into(),
        }
    }

    /// Where the coordinator is, for messages.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// What the session hears from the link.
#[derive(Debug)]
pub enum LinkEvent {
    /// A stream is open; what is sent here goes up.
    Up(mpsc::UnboundedSender<v1::WorkerMessage>),
    /// The coordinator said something.
    Message(FromCoordinator),
    /// The stream broke, or could not be opened; the link tries again.
    Down(Down),
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// In words.
    pub why: String,
    /// Whether the coordinator itself turned the worker away: trying again helps only once somebody has changed
    /// something.
    pub refused: Option<Refusal>,
}

/// What a coordinator turns a worker away for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// One of the two does not know who the other is, or does not let them in.
    NotAllowed,
    /// It is no coordinator, or one of another version.
    NotUnderstood,
}

impl From<String> for Down {
    fn from(why: String) -> Self {
        Self { why, refused: None }
    }
}

impl From<DialError> for Down {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Refused { why, .. } => Self { why, refused: Some(Refusal::NotAllowed) },
            DialError::Unreachable { why, .. } | DialError::Usage(why) => why.into(),
        }
    }
}

impl From<Status> for Down {
    fn from(status: Status) -> Self {
        let refused = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Some(Refusal::NotAllowed),
            Code::Unimplemented | Code::InvalidArgument => Some(Refusal::NotUnderstood),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => None,
        };
        Self { why: status.message().to_owned(), refused }
    }
}

/// The pauses between attempts: full jitter below a ceiling that doubles, so that ten thousand workers of a coordinator
/// that is back do not come at the same moment.
#[derive(Debug)]
struct Pauses {
    ceiling: Duration,
}

impl Pauses {
    const START: Self = Self { ceiling: FIRST_PAUSE };

    /// The next pause; `random` is from 0 to 1.
    fn next(&mut self, down: &Down, random: f64) -> Duration {
        let ceiling = if down.refused.is_some() { LONGEST_PAUSE } else { self.ceiling };
        self.ceiling = (self.ceiling * 2).min(LONGEST_PAUSE);
        ceiling.mul_f64(random.clamp(0.0, 1.0)).max(FIRST_PAUSE / 10)
    }
}

/// Connects for ever. `held` are the leases at the moment of each connection; `random` gives numbers from 0 to 1 that
/// spread the attempts of many workers.
pub async fn keep(
    connector: Connector,
    hello: v1::Hello,
    held: watch::Receiver<Vec<Lease>>,
    mut random: impl FnMut() -> f64 + Send,
    events: mpsc::Sender<LinkEvent>,
) {
    let mut pauses = Pauses::START;
    loop {
        let down = match open(&connector, &hello, &held, &events).await {
            Ok(mut inbound) => listen(&mut inbound, &events, &mut pauses).await,
            Err(down) => down,
        };
        let pause = pauses.next(&down, random());
        if events.send(LinkEvent::Down(down)).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn open(
    connector: &Connector,
    hello: &v1::Hello,
    held: &watch::Receiver<Vec<Lease>>,
    events: &mpsc::Sender<LinkEvent>,
) -> Result<tonic::Streaming<v1::CoordinatorMessage>, Down> {
    let line =
        timeout(CONNECT_TIMEOUT, (connector.open)()).await.map_err(|_| "it does not answer".to_owned())??;
    let (up, outbound) = mpsc::unbounded_channel();
    let held = held.borrow().iter().cloned().map(Into::into).collect();
    let worker = hello.worker.as_str();
    let hello = v1::Hello { held, ..hello.clone() };
    let first = v1::WorkerMessage { body: Some(v1::worker_message::Body::Hello(hello)) };
    // The receiver lives in this function.
    let _ = up.send(first);
    let mut client = WorkersClient::new(line).max_decoding_message_size(DOWN_BYTES);
    let session = client.session(UnboundedReceiverStream::new(outbound));
    let response = timeout(WELCOME_TIMEOUT, session)
        .await
        .map_err(|_| "it opens no stream".to_owned())?
        .map_err(|status| connector.unopened(status))?;
    let request = response.metadata().get("x-request-id").and_then(|id| id.to_str().ok());
    tracing::info!(request, worker, "stream open");
    let _ = events.send(LinkEvent::Up(up)).await;
    Ok(response.into_inner())
}

async fn listen(
    inbound: &mut tonic::Streaming<v1::CoordinatorMessage>,
    events: &mpsc::Sender<LinkEvent>,
    pauses: &mut Pauses,
) -> Down {
    loop {
        match inbound.next().await {
            Some(Ok(message)) => match FromCoordinator::try_from(message) {
                Ok(message) => {
                    // Only now: one that lets everybody in and throws them out again must not be hammered.
                    *pauses = Pauses::START;
                    if events.send(LinkEvent::Message(message)).await.is_err() {
                        return "the session is over".to_owned().into();
                    }
                }
                Err(error) => return error.to_string().into(),
            },
            Some(Err(status)) => return status.into(),
            None => return "it closed the stream".to_owned().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone() -> Down {
        "gone".to_owned().into()
    }

    #[test]
    fn pauses_grow_to_a_ceiling_and_are_spread_from_nothing_to_it() {
        let mut pauses = Pauses::START;
        let longest: Vec<u128> = (0..8).map(|_| pauses.next(&gone(), 1.0).as_millis()).collect();
        assert_eq!(longest, [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert_eq!(pauses.next(&gone(), 0.5).as_millis(), 5_000);
        assert_eq!(pauses.next(&gone(), 0.0).as_millis(), 25, "never a loop without any pause");
    }

    #[test]
    fn a_worker_that_is_turned_away_waits_long_at_once() {
        let refused = Down::from(Status::permission_denied("no"));
        let mut pauses = Pauses::START;
        assert_eq!(pauses.next(&refused, 1.0), LONGEST_PAUSE);
    }

    #[test]
    fn what_a_status_says_is_told_apart() {
        let refused = |status: Status| Down::from(status).refused;
        assert_eq!(refused(Status::unauthenticated("no token")), Some(Refusal::NotAllowed));
        assert_eq!(refused(Status::unimplemented("what?")), Some(Refusal::NotUnderstood));
        assert_eq!(refused(Status::unavailable("stopping")), None);
    }
}
