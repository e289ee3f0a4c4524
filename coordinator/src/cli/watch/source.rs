//! What is heard of a sweep: its statuses, its journal and the workers, each asked for again when it breaks off.

use std::time::Duration;

use distilsweep_proto::v1;
use tokio::{
    sync::{
        mpsc::{self, Sender},
        watch,
    },
    time::timeout,
};
use tonic::{Code, Response, Status, Streaming};

use crate::{cli::connect::Client, grpc::is_final};

/// Between a connection that broke and the next try.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at the workers.
const LOOK: Duration = Duration::from_secs(5);

/// Something that is heard of a sweep.
#[derive(Debug)]
pub(super) enum News {
    Status(Box<v1::SweepStatus>),
    Event(v1::Event),
    Workers(Vec<v1::WorkerStatus>),
    /// The sweep has ended, and the journal has said all of it.
    AllTold,
    /// The connection broke, and is tried again.
    Lost(String),
    /// What is asked for is refused, now and later.
    Refused(Status),
}

/// Listens until the sweep has ended.
///
/// # Errors
/// The first call's: what cannot be had at all is said at once.
pub(super) async fn open(client: Client, sweep: &str) -> Result<mpsc::Receiver<News>, Status> {
    let (news, heard) = mpsc::channel(64);
    let (over, is_over) = watch::channel(false);
    let request = v1::GetSweepRequest { sweep: sweep.to_owned() };
    let first = client.clone().watch_sweep(request.clone()).await?.into_inner();
    tokio::spawn(statuses(client.clone(), request, first, news.clone(), over));
    tokio::spawn(journal(client.clone(), sweep.to_owned(), news.clone(), is_over));
    tokio::spawn(workers(client, news));
    Ok(heard)
}

async fn statuses(
    mut client: Client,
    request: v1::GetSweepRequest,
    first: Streaming<v1::SweepStatus>,
    news: Sender<News>,
    over: watch::Sender<bool>,
) {
    let mut stream = Ok(first);
    loop {
        let said = match stream {
            Ok(stream) => {
                let status = |status: v1::SweepStatus| {
                    let last = is_final(&status);
                    over.send_if_modified(|over| std::mem::replace(over, last) != last);
                    Some(News::Status(Box::new(status)))
                };
                each(stream, &news, status).await
            }
            Err(why) => Err(why),
        };
        if *over.borrow() {
            return;
        }
        let why = said.err().unwrap_or_else(|| Status::unavailable("the coordinator stopped"));
        let passes = is_passing(&why);
        let told = if passes { News::Lost(why.message().to_owned()) } else { News::Refused(why) };
        if news.send(told).await.is_err() || !passes {
            return;
        }
        tokio::time::sleep(PAUSE).await;
        stream = client.watch_sweep(request.clone()).await.map(Response::into_inner);
    }
}

/// Tells the journal once, however often it is asked for: it only grows.
async fn journal(mut client: Client, sweep: String, news: Sender<News>, mut is_over: watch::Receiver<bool>) {
    let mut told = 0;
    while !news.is_closed() {
        let request = v1::ListEventsRequest { sweep: sweep.clone(), trial: None, follow: true };
        let mut place = 0;
        let new = |event| {
            place += 1;
            (place > told).then_some(News::Event(event))
        };
        let said = match client.list_events(request).await {
            Ok(events) => each(events.into_inner(), &news, new).await,
            Err(why) => Err(why),
        };
        told = told.max(place);
        // A coordinator that stops ends it too.
        let over = matches!(timeout(PAUSE, is_over.wait_for(|over| *over)).await, Ok(Ok(_)));
        if said.is_ok() && over {
            let _ = news.send(News::AllTold).await;
            return;
        }
    }
}

/// Passes on what a stream says, until it ends.
async fn each<T>(
    mut stream: Streaming<T>,
    news: &Sender<News>,
    mut told: impl FnMut(T) -> Option<News>,
) -> Result<(), Status> {
    while let Some(message) = stream.message().await? {
        if let Some(told) = told(message)
            && news.send(told).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

async fn workers(mut client: Client, news: Sender<News>) {
    loop {
        if let Ok(workers) = client.list_workers(v1::ListWorkersRequest {}).await
            && news.send(News::Workers(workers.into_inner().workers)).await.is_err()
        {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = news.closed() => return,
        }
    }
}

/// Whether asking again may help.
fn is_passing(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::NotFound
            | Code::InvalidArgument
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::Unimplemented
            | Code::FailedPrecondition
            | Code::DataLoss
    )
}
