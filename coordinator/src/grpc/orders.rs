//! What people order, and the journal of what came of it.

use distilsweep_proto::{ids::SweepId, v1};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::{
    convert,
    gate::Caller,
    sweeps::{EVENTS, SweepsService, WATCH_INTERVAL},
};
use crate::{
    engine::{OrderError, Ordered},
    scheduler::{Answer, Refusal},
    store::Reader,
};

/// Who orders it, for the journal: by the name of his token where he needed one, else by his own word.
pub(super) fn by<T>(request: &Request<T>, claimed: impl Fn(&T) -> &String) -> String {
    let claimed = || Some(claimed(request.get_ref()).trim().to_owned()).filter(|name| !name.is_empty());
    Caller::of(request).or_else(claimed).unwrap_or_else(|| "somebody".to_owned())
}

impl SweepsService {
    /// Gives an order about a sweep, and answers with the sweep after it.
    pub(super) async fn order(
        &self,
        sweep: String,
        by: String,
        order: Ordered,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let sweep = self.find(sweep).await?;
        let changed = changed(self.engine.order(sweep.clone(), order, by).await)?;
        let status = Some(self.status(&sweep).await?);
        Ok(Response::new(v1::OrderResponse { changed, status, ..Default::default() }))
    }

    /// Sends the journal, and what is added to it while the sweep is open where that is asked for.
    pub(super) async fn tell_events(
        self,
        sweep: SweepId,
        trial: Option<u64>,
        follow: bool,
        sender: mpsc::Sender<Result<v1::Event, Status>>,
    ) {
        let mut changes = self.engine.changes();
        let mut after = 0;
        while !sender.is_closed() {
            changes.mark_unchanged();
            let id = sweep.clone();
            let read = move |reader: &Reader| {
                Ok((reader.sweep(&id)?.state.is_open(), reader.journal(&id, trial, after, EVENTS)?))
            };
            let (open, rows) = match self.engine.read(read).await {
                Ok(read) => read,
                Err(error) => {
                    let _ = sender.send(Err(error.into())).await;
                    return;
                }
            };
            let full = rows.len() == EVENTS as usize;
            for row in rows {
                after = row.id;
                if sender.send(Ok(convert::event(row))).await.is_err() {
                    return;
                }
            }
            if !full {
                if !(follow && open) || changes.changed().await.is_err() {
                    return;
                }
                tokio::time::sleep(WATCH_INTERVAL).await;
            }
        }
    }
}

/// What an order changed, or why it was not followed.
pub(crate) fn changed(answer: Result<Answer, OrderError>) -> Result<u64, Status> {
    match answer {
        Ok(Answer::Done(changed)) => Ok(changed),
        Ok(Answer::Refused(refusal)) => Err(match refusal {
            Refusal::Ended { .. } => Status::failed_precondition(refusal.to_string()),
            Refusal::NoSweep(_) | Refusal::NoTrial { .. } | Refusal::NoWorker(_) => {
                Status::not_found(refusal.to_string())
            }
        }),
        Err(OrderError::Extension(error)) => Err(Status::invalid_argument(error.to_string())),
        Err(OrderError::Store(error)) => Err(error.into()),
        Err(OrderError::Stopped(stopped)) => Err(stopped.into()),
    }
}
