//! What changed, as server-sent events: names of sections, which the page then asks for.
//!
//! ```text
//!   event: changed   data: progress workers events trials curves …
//!   event: ended     the sweep has; nothing more comes
//! ```

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, RawQuery, State},
    response::sse::{Event, KeepAlive, Sse},
};
use distilsweep_proto::{ids::SweepId, v1};
use futures::{Stream, stream};
use tokio::time::{Instant, sleep};

use super::{Pages, asked::Refused};
use crate::grpc::{convert::ended, is_final};

/// Between two events.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two events about what takes long to draw.
const LONG_PAUSE: Duration = Duration::from_secs(3);
/// Between two signs of life, where nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After which a browser comes back.
const RETRY: Duration = Duration::from_secs(2);

/// What changes with every step of a trial.
const ALWAYS: &str = "progress workers events trial";
/// What changes with every result.
const RESULTS: &str = "answer trials curves parallel mattered scores";

/// What the sections of results depend on, as an address has it.
pub(super) fn results(status: &v1::SweepStatus) -> String {
    let ended = ended(status);
    format!("{ended}-{}-{}-{}", status.state, status.total, status.running.len())
}

struct Watch {
    pages: Arc<Pages>,
    sweep: SweepId,
    /// What the page was told of, and what of it takes long to draw.
    seen: Option<v1::SweepStatus>,
    drawn: Option<(String, Instant)>,
    over: bool,
}

impl Watch {
    /// The next event; nothing once the sweep has ended, the coordinator stops, or the sweep cannot be read.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if self.over {
            return None;
        }
        let mut changes = self.pages.engine.changes();
        let mut stopping = self.pages.stopping.clone();
        loop {
            changes.mark_unchanged();
            let now = self.pages.status(&self.sweep).await.ok()?;
            let results = results(&now);
            if is_final(&now) && self.seen.is_some() {
                self.over = true;
                return Some((Ok(Event::default().event("ended").data(format!("{ALWAYS} {RESULTS}"))), self));
            }
            let mut told = Vec::new();
            if self.seen.as_ref() != Some(&now) {
                told.push(ALWAYS);
            }
            let other = self.drawn.as_ref().is_none_or(|(drawn, _)| *drawn != results);
            let due = self.drawn.as_ref().is_none_or(|(_, at)| at.elapsed() >= LONG_PAUSE);
            if other && due {
                told.push(RESULTS);
                self.drawn = Some((results, Instant::now()));
            }
            let waiting = other && !due;
            let ended = is_final(&now);
            let first = self.seen.replace(now).is_none();
            if !told.is_empty() {
                if !first {
                    sleep(PAUSE).await;
                }
                let event = Event::default().event("changed").retry(RETRY).data(told.join(" "));
                return Some((Ok(event), self));
            }
            if ended {
                continue;
            }
            tokio::select! {
                changed = changes.changed() => changed.ok()?,
                () = sleep(LONG_PAUSE), if waiting => {}
                _ = stopping.wait_for(|stopping| *stopping) => return None,
            }
            sleep(PAUSE).await;
        }
    }
}

/// What changes of a sweep.
pub(super) async fn one(
    State(pages): State<Arc<Pages>>,
    Path(sweep): Path<String>,
    RawQuery(since): RawQuery,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let sweep = pages.find(sweep).await?;
    // What the page was made with: a browser that comes back after a while gets what it missed.
    let drawn = since.map(|since| (since, Instant::now()));
    let watch = Watch { pages, sweep, seen: None, drawn, over: false };
    Ok(kept(stream::unfold(watch, Watch::next)))
}

/// What changes of the list of sweeps.
pub(super) async fn all(
    State(pages): State<Arc<Pages>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (changes, stopping) = (pages.engine.changes(), pages.stopping.clone());
    kept(stream::unfold((changes, stopping), |(mut changes, mut stopping)| async move {
        tokio::select! {
            changed = changes.changed() => changed.ok()?,
            _ = stopping.wait_for(|stopping| *stopping) => return None,
        }
        sleep(2 * PAUSE).await;
        changes.mark_unchanged();
        Some((Ok(Event::default().event("changed").retry(RETRY).data("sweeps")), (changes, stopping)))
    }))
}

fn kept<S: Stream<Item = Result<Event, Infallible>> + Send + 'static>(
    events: S,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT))
}
