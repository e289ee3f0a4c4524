//! Takes rows out of the outbox and tells MLflow, run by run in order, until each is held or refused for good.
//!
//! The drainer owns nothing that must survive: after a crash it starts again from the outbox. It decides nothing about
//! sweeps either; the engine commits rows, and learns which are done.
//!
//! ```text
//!   row ──plan──> call ──200──────────────────────> done
//!                  ├──── no answer, 5xx, locked ──> its run rests, longer each time, 30 s at most; others go on
//!                  ├──── login, rights, bin ──────> the same, and draining until empty ends early and says why
//!                  └──── refused ──> its run's rows go one by one ──> the one refused is set aside
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::time::{self, Instant};

use super::{
    client::Client,
    error::{MlflowError, Verdict},
    models,
    op::{NewRun, RunIds, RunKey},
    outbox::Outbox,
    plan::{Call, Delivery, Request, plan},
};

/// Rows taken at a time.
const ROWS: usize = 1000;
/// Runs told of at once: beyond a few MLflow's database only queues them.
const RUNS_AT_ONCE: usize = 4;
/// Rest after a first failure; each further one doubles it.
const FIRST_REST: Duration = Duration::from_millis(250);
/// Longest rest.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// After news, time for more of it to share its calls.
const GATHERING: Duration = Duration::from_millis(500);

/// How draining until empty ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drained {
    /// MLflow holds every row that is not set aside.
    Empty,
    /// Rows are left, for this reason; none where only the time was too short.
    Waiting(Option<MlflowError>),
}

/// Tells MLflow whatever comes into the outbox, until `shutdown` completes. What was under way then is sent again by
/// the next drainer. `jitter` yields numbers from 0 to 1, evenly spread, so that many coordinators do not return to a
/// server all at once.
///
/// # Errors
/// That of the outbox, if it is gone.
pub async fn drain<O: Outbox>(
    outbox: &O,
    client: &Client,
    jitter: impl FnMut() -> f64 + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), O::Error> {
    let mut drainer = Drainer::new(outbox, client, jitter);
    let work = async {
        loop {
            if drainer.round().await? {
                continue;
            }
            match drainer.next_try() {
                Some(at) => tokio::select! {
                    () = time::sleep_until(at) => continue,
                    woken = outbox.wait_for_rows() => woken?,
                },
                None => outbox.wait_for_rows().await?,
            }
            time::sleep(GATHERING).await;
        }
    };
    tokio::select! {
        () = shutdown => Ok(()),
        ended = work => ended,
    }
}

/// Tells MLflow what is in the outbox, until it is empty, nothing but somebody's help would go on, or `deadline` is
/// reached. For `jitter` see [`drain`].
///
/// # Errors
/// That of the outbox, if it is gone.
pub async fn drain_until_empty<O: Outbox>(
    outbox: &O,
    client: &Client,
    jitter: impl FnMut() -> f64 + Send,
    deadline: Instant,
) -> Result<Drained, O::Error> {
    let mut drainer = Drainer::new(outbox, client, jitter);
    loop {
        match time::timeout_at(deadline, drainer.round()).await {
            Ok(moved) => {
                if moved? {
                    continue;
                }
            }
            Err(_) => return Ok(Drained::Waiting(drainer.any_error())),
        }
        let Some(at) = drainer.next_try() else { return Ok(Drained::Empty) };
        if at >= deadline || drainer.all_blocked() {
            return Ok(Drained::Waiting(drainer.any_error()));
        }
        time::sleep_until(at).await;
    }
}

/// A run that failed, and when it is tried again.
struct Rest {
    tries: u32,
    until: Instant,
    why: MlflowError,
}

struct Drainer<'a, O, J> {
    outbox: &'a O,
    client: &'a Client,
    jitter: J,
    resting: BTreeMap<RunKey, Rest>,
    /// Runs of which a call with several rows was refused.
    single: BTreeSet<RunKey>,
}

/// How far a run's delivery came.
enum Outcome {
    Delivered,
    /// This run, in which it is nested, comes first.
    Held(RunKey),
    /// Rows were refused: some were set aside, or the next round sends them singly.
    Refused {
        singly: bool,
    },
    Failed {
        /// Whether calls before had succeeded.
        moved: bool,
        why: MlflowError,
    },
}

impl<'a, O: Outbox, J: FnMut() -> f64 + Send> Drainer<'a, O, J> {
    fn new(outbox: &'a O, client: &'a Client, jitter: J) -> Self {
        Self { outbox, client, jitter, resting: BTreeMap::new(), single: BTreeSet::new() }
    }

    /// Sends what can be sent now; false where there was nothing.
    async fn round(&mut self) -> Result<bool, O::Error> {
        let now = Instant::now();
        let resting: BTreeSet<RunKey> =
            self.resting.iter().filter(|(_, rest)| rest.until > now).map(|(run, _)| run.clone()).collect();
        let rows = self.outbox.batch(ROWS, &resting).await?;
        if rows.is_empty() {
            // Whoever was due and has no row left is done with, set aside by somebody else say.
            self.resting.retain(|run, _| resting.contains(run));
            return Ok(false);
        }
        let expected: BTreeSet<RunKey> =
            rows.iter().map(|row| row.run.clone()).chain(resting.iter().cloned()).collect();
        // What did not come through in this round does not go on in a later wave.
        let mut stopped = resting;
        for wave in plan(rows, &self.single) {
            let ready = wave.into_iter().filter(|delivery| !stopped.contains(&delivery.run));
            let outcomes: Vec<_> = stream::iter(ready)
                .map(|delivery| {
                    let (outbox, client, expected) = (self.outbox, self.client, &expected);
                    async move {
                        let outcome = deliver(outbox, client, expected, &delivery).await;
                        (delivery.run, outcome)
                    }
                })
                .buffer_unordered(RUNS_AT_ONCE)
                .collect()
                .await;
            for (run, outcome) in outcomes {
                let outcome = outcome?;
                if !matches!(outcome, Outcome::Delivered) {
                    stopped.insert(run.clone());
                }
                self.learn(run, outcome);
            }
        }
        Ok(true)
    }

    fn learn(&mut self, run: RunKey, outcome: Outcome) {
        match outcome {
            Outcome::Delivered | Outcome::Refused { singly: false } => {
                self.single.remove(&run);
                self.rested(&run);
            }
            Outcome::Refused { singly: true } => {
                self.rested(&run);
                self.single.insert(run);
            }
            // Rests as long as its parent; where that one does not rest, this round has moved it.
            Outcome::Held(parent) => {
                if let Some(Rest { until, why, .. }) = self.resting.get(&parent) {
                    let (until, why) = (*until, why.clone());
                    self.resting.insert(run, Rest { tries: 0, until, why });
                }
            }
            Outcome::Failed { moved, why } => {
                let before = self.resting.get(&run);
                // Said once, not with every try.
                if before.is_none_or(|rest| rest.why != why) {
                    tracing::warn!(%run, error = %why, "MLflow has to wait");
                }
                let tries = before.filter(|_| !moved).map_or(0, |rest| rest.tries);
                let until = Instant::now() + rest(tries, (self.jitter)());
                self.resting.insert(run, Rest { tries: tries.saturating_add(1), until, why });
            }
        }
    }

    /// A run got an answer. If it had waited for one, so have others, and need not wait any longer.
    fn rested(&mut self, run: &RunKey) {
        if self.resting.remove(run).is_some_and(|rest| matches!(rest.why, MlflowError::Unreachable { .. })) {
            tracing::info!("MLflow answers again");
            let now = Instant::now();
            for rest in self.resting.values_mut() {
                if matches!(rest.why, MlflowError::Unreachable { .. }) {
                    rest.until = now;
                }
            }
        }
    }

    fn next_try(&self) -> Option<Instant> {
        self.resting.values().map(|rest| rest.until).min()
    }

    fn any_error(&self) -> Option<MlflowError> {
        self.resting.values().next().map(|rest| rest.why.clone())
    }

    fn all_blocked(&self) -> bool {
        self.resting.values().all(|rest| rest.why.verdict() == Verdict::Blocked)
    }
}

/// How long to rest after `tries` failures and one more: doubling to a ceiling, of which `jitter` (0 to 1) takes up to
/// half.
fn rest(tries: u32, jitter: f64) -> Duration {
    let full = FIRST_REST.saturating_mul(2u32.saturating_pow(tries)).min(LONGEST_REST);
    full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

/// Sends one run's calls in order, and stops at the first that does not succeed. `expected` are the runs that have
/// rows in the outbox, as far as is known.
async fn deliver<O: Outbox>(
    outbox: &O,
    client: &Client,
    expected: &BTreeSet<RunKey>,
    delivery: &Delivery,
) -> Result<Outcome, O::Error> {
    for (i, call) in delivery.calls.iter().enumerate() {
        match send(outbox, client, expected, &delivery.run, call).await? {
            Sent::Done => {}
            Sent::Held(parent) => return Ok(Outcome::Held(parent)),
            Sent::Failed(error) if error.verdict() == Verdict::Refused => {
                if call.rows.len() > 1 {
                    return Ok(Outcome::Refused { singly: true });
                }
                set_aside(outbox, &delivery.run, call, &error.to_string()).await?;
                return Ok(Outcome::Refused { singly: false });
            }
            Sent::Failed(why) => return Ok(Outcome::Failed { moved: i > 0, why }),
            Sent::Orphaned(reason) => {
                set_aside(outbox, &delivery.run, call, &reason).await?;
                return Ok(Outcome::Refused { singly: false });
            }
        }
    }
    Ok(Outcome::Delivered)
}

async fn set_aside<O: Outbox>(outbox: &O, run: &RunKey, call: &Call, reason: &str) -> Result<(), O::Error> {
    tracing::warn!(%run, rows = ?call.rows, reason, "set aside what MLflow does not take");
    outbox.set_aside(&call.rows, reason).await
}

enum Sent {
    Done,
    Held(RunKey),
    Failed(MlflowError),
    /// The run, or that which it is nested in, was refused before.
    Orphaned(String),
}

async fn send<O: Outbox>(
    outbox: &O,
    client: &Client,
    expected: &BTreeSet<RunKey>,
    run: &RunKey,
    call: &Call,
) -> Result<Sent, O::Error> {
    let known = outbox.run_ids(run).await?;
    let mut learned = Vec::new();
    let sent = match (&call.request, &known) {
        (Request::Create(new), known) => {
            let parent = match parent(outbox, expected, new).await? {
                Ok(parent) => parent,
                Err(sent) => return Ok(sent),
            };
            begin(client, new, known.as_ref(), parent.as_ref())
                .await
                .map(|ids| learned.push((run.clone(), ids)))
        }
        (Request::Batch(batch), Some(_)) if batch.is_empty() => Ok(()),
        (Request::Batch(batch), Some(ids)) => client.log_batch(ids, batch).await,
        (Request::Text { path, content }, Some(ids)) => client.put_text(ids, path, content).await,
        (Request::Inputs(inputs), Some(ids)) => client.log_inputs(ids, inputs).await,
        (Request::Ranking, Some(ids)) => {
            put_all(client, ids, &outbox.ranking(run, client.address()).await?).await
        }
        (Request::Models, Some(_)) => models::publish(client, &outbox.kept_models(run).await?).await,
        (Request::Finish { status, end_ms }, Some(ids)) => client.finish_run(ids, *status, *end_ms).await,
        (
            Request::Batch(_)
            | Request::Text { .. }
            | Request::Inputs(_)
            | Request::Ranking
            | Request::Models
            | Request::Finish { .. },
            None,
        ) => {
            return Ok(Sent::Orphaned(format!("MLflow did not take the creation of run `{run}`")));
        }
    };
    match sent {
        Ok(()) => {
            if !call.completes.is_empty() {
                outbox.done(&call.completes, &learned).await?;
            }
            Ok(Sent::Done)
        }
        Err(error) => Ok(Sent::Failed(error)),
    }
}

async fn put_all(client: &Client, run: &RunIds, files: &[(String, String)]) -> Result<(), MlflowError> {
    for (path, content) in files {
        client.put_text(run, path, content).await?;
    }
    Ok(())
}

/// Sets a known run running again, or makes it.
async fn begin(
    client: &Client,
    new: &NewRun,
    known: Option<&RunIds>,
    parent: Option<&RunIds>,
) -> Result<RunIds, MlflowError> {
    if let Some(ids) = known {
        match client.resume_run(ids).await {
            // Another server than before, or one that began anew: the sweep goes on there under new runs.
            Err(MlflowError::Refused { status: 404, .. }) => {}
            resumed => return resumed.map(|()| ids.clone()),
        }
    }
    client.create_run(new, parent).await
}

/// What MLflow calls the run that a new one is nested in, or why it cannot be made now.
async fn parent<O: Outbox>(
    outbox: &O,
    expected: &BTreeSet<RunKey>,
    new: &NewRun,
) -> Result<Result<Option<RunIds>, Sent>, O::Error> {
    let Some(parent) = &new.parent else { return Ok(Ok(None)) };
    Ok(match outbox.run_ids(parent).await? {
        Some(ids) => Ok(Some(ids)),
        None if expected.contains(parent) => Err(Sent::Held(parent.clone())),
        None => {
            Err(Sent::Orphaned(format!("MLflow did not take the creation of run `{parent}`, its parent")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_half_a_minute_and_jitter_takes_up_to_half() {
        let rests: Vec<u128> = [0, 1, 2, 5, 6, 7, 1000].map(|tries| rest(tries, 0.0).as_millis()).to_vec();
        assert_eq!(rests, [250, 500, 1000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(rest(0, 1.0), FIRST_REST / 2);
        assert_eq!(rest(100, 7.0), LONGEST_REST / 2);
    }
}
