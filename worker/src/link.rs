//! The connection to the coordinator, kept up by a task of its own: it connects, presents the leases that are held,
//! passes messages both ways, and begins again when the stream breaks, with growing pauses.

use std::time::Duration;

use distilsweep_proto::{
    dial::{Coordinator, DialError},
    ids::Lease,
    limits,
    v1::{self, workers_client::WorkersClient},
};
use futures::StreamExt;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;

use crate::wire::FromCoordinator;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the session hears from the link.
#[derive(Debug)]
pub enum LinkEvent {
    /// A stream is open; what is sent here goes up.
    Up(mpsc::UnboundedSender<v1::WorkerMessage>),
    /// The coordinator said something.
    Message(FromCoordinator),
    /// The stream broke, or could not be opened; the link tries again.
    Down(String),
    /// The two sides do not trust each other. The link tries again, for tokens and certificates are changed while
    /// workers run.
    Refused(String),
}

/// Connects for ever. `held` are the leases at the moment of each connection; `random` gives numbers from 0 to 1 that
/// spread the attempts of many workers.
pub async fn keep(
    coordinator: Coordinator,
    hello: v1::Hello,
    held: watch::Receiver<Vec<Lease>>,
    mut random: impl FnMut() -> f64 + Send,
    events: mpsc::Sender<LinkEvent>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let ended = match open(&coordinator, &hello, &held, &events).await {
            Ok(mut inbound) => {
                pause = FIRST_PAUSE;
                LinkEvent::Down(listen(&mut inbound, &events).await)
            }
            Err(event) => event,
        };
        if events.send(ended).await.is_err() {
            return;
        }
        tokio::time::sleep(pause.mul_f64(0.5 + random() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn open(
    coordinator: &Coordinator,
    hello: &v1::Hello,
    held: &watch::Receiver<Vec<Lease>>,
    events: &mpsc::Sender<LinkEvent>,
) -> Result<tonic::Streaming<v1::CoordinatorMessage>, LinkEvent> {
    let line = timeout(CONNECT_TIMEOUT, coordinator.connect())
        .await
        .map_err(|_| LinkEvent::Down("it does not answer".to_owned()))?
        .map_err(unconnected)?;
    let (up, outbound) = mpsc::unbounded_channel();
    let held = held.borrow().iter().cloned().map(Into::into).collect();
    let hello = v1::Hello { held, ..hello.clone() };
    let first = v1::WorkerMessage { body: Some(v1::worker_message::Body::Hello(hello)) };
    // The receiver lives in this function.
    let _ = up.send(first);
    let response = WorkersClient::new(line)
        .max_decoding_message_size(limits::DOWN_BYTES)
        .session(UnboundedReceiverStream::new(outbound))
        .await
        .map_err(|status: Status| match coordinator.failed(&status) {
            Some(error) => unconnected(error),
            None => LinkEvent::Down(status.message().to_owned()),
        })?;
    let _ = events.send(LinkEvent::Up(up)).await;
    Ok(response.into_inner())
}

fn unconnected(error: DialError) -> LinkEvent {
    match error {
        DialError::Refused { why, .. } => LinkEvent::Refused(why),
        DialError::Unreachable { why, .. } | DialError::Usage(why) => LinkEvent::Down(why),
    }
}

async fn listen(
    inbound: &mut tonic::Streaming<v1::CoordinatorMessage>,
    events: &mpsc::Sender<LinkEvent>,
) -> String {
    loop {
        match inbound.next().await {
            Some(Ok(message)) => match FromCoordinator::try_from(message) {
                Ok(message) => {
                    if events.send(LinkEvent::Message(message)).await.is_err() {
                        return "the session is over".to_owned();
                    }
                }
                Err(error) => return error.to_string(),
            },
            Some(Err(status)) => return status.message().to_owned(),
            None => return "it closed the stream".to_owned(),
        }
    }
}
