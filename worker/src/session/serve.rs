//! The session's loop, and how it ends.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use distilsweep_proto::v1;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::Session;
use crate::{
    ledger::{Bounds, Ledger},
    link::{self, Connector, LinkEvent, Refusal},
    runtime::{Runtime, RuntimeEvent},
    vitals::{self, Sample},
    wire::FromCoordinator,
};

/// New points wait this long for others, to go up as one block.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// How long a worker that has handed everything back still removes files that nobody needs.
const TIDYING: Duration = Duration::from_secs(5);

/// What a session needs to know.
#[derive(Debug)]
pub struct SessionOptions {
    /// The way to the coordinator.
    pub connector: Connector,
    /// Who this worker is; the held leases are filled in at each connection.
    pub hello: v1::Hello,
    /// How long the first connection may take.
    pub patience: Duration,
    /// How long a drain may take before what is left is given up, whoever asked for it. What is not handed back with
    /// its last checkpoint after three quarters of it is handed back without.
    pub grace: Duration,
    /// Drains after so long without a trial while connected; never where it is left out.
    pub exit_when_idle: Option<Duration>,
    /// Directory for checkpoints on their way from and to the store, and for reports that wait.
    pub scratch: PathBuf,
    /// How many reports wait where.
    pub bounds: Bounds,
    /// How often the machine's load is recorded with each trial; not at all where there is none.
    pub vitals: Option<Duration>,
    /// Is told how the session stands.
    pub standing: watch::Sender<Standing>,
}

/// How a session stands with its coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// There is no stream, or one on which nobody has said a word.
    #[default]
    Connecting,
    /// Trials are taken.
    Ready,
    /// No more are taken, connected or not.
    Draining,
}

/// Why a session ended otherwise than by draining.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody was there.
    #[error("coordinator {url} cannot be reached: {why}: is `distilsweep serve` running there?")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the last attempt said.
        why: String,
    },
    /// Somebody is there, and one of the two turns the other away while this worker holds nothing.
    #[error("coordinator {url}: {why}")]
    Refused {
        /// Where it is.
        url: String,
        /// Whose fault it is, and what would be right.
        why: String,
        /// What kind of refusal it is.
        refusal: Refusal,
    },
    /// The grace time passed with reports that nobody acknowledged.
    #[error("drained for {} s and the coordinator has not acknowledged everything: it will give the trials to others", .0.as_secs())]
    GraceSpent(Duration),
    /// The grace time passed with a training that does not come to its next step. Only the end of the process ends it.
    #[error("the training of {trials} does not stop: no step of it ended within {} s", .grace.as_secs())]
    Stuck {
        /// What is trained.
        trials: String,
        /// How long it was waited for.
        grace: Duration,
    },
}

/// Serves the coordinator until `drain` has a reason, or it asks for the same or has had nothing for long enough, and
/// everything is handed back. `random` gives numbers from 0 to 1.
///
/// # Errors
/// Where the coordinator cannot be reached at the start or turns the worker away, or where the grace time of a drain
/// does not suffice.
pub async fn serve(
    options: SessionOptions,
    random: impl FnMut() -> f64 + Send + 'static,
    runtime: Runtime,
    mut runtime_events: mpsc::UnboundedReceiver<RuntimeEvent>,
    mut drain: watch::Receiver<Option<String>>,
) -> Result<(), SessionError> {
    let (held_sender, held) = watch::channel(Vec::new());
    let (link_sender, mut link_events) = mpsc::channel(256);
    let url = options.connector.url().to_owned();
    let keep = link::keep(options.connector, options.hello, held, random, link_sender);
    let link = AbortOnDrop(tokio::spawn(keep));

    let (done_sender, mut done) = mpsc::channel(16);
    let mut session = Session {
        runtime,
        ledger: Ledger::new(options.scratch.clone(), options.bounds),
        live: BTreeMap::new(),
        stores: BTreeMap::new(),
        up: None,
        welcomed: false,
        held: held_sender,
        scratch: options.scratch,
        done: done_sender,
        tidying: JoinSet::new(),
        draining: None,
    };
    let mut patience = Some(Instant::now() + options.patience);
    let mut last_words = String::new();
    let mut hurried = false;
    let mut idle_since: Option<Instant> = None;
    let mut vitals = options.vitals.map(|period| vitals::watch(period, &session.scratch));
    let mut heartbeat = ticker(Duration::from_secs(1));
    let mut flush = ticker(FLUSH_INTERVAL);
    loop {
        // In this order, and not by chance: a simulation's seed then says all. The timers are first and rarely ready,
        // so that nothing starves.
        tokio::select! {
            biased;
            _ = heartbeat.tick() => session.heartbeat(),
            _ = flush.tick() => session.flush_all(),
            changed = drain.changed(), if session.draining.is_none() => {
                let reason = drain.borrow().clone();
                let nobody = || changed.is_err().then(|| "nobody is left who could tell it to".to_owned());
                if let Some(reason) = reason.or_else(nobody) {
                    session.drain(reason);
                }
            }
            Some(sample) = next(&mut vitals) => session.sampled(&sample),
            Some(event) = runtime_events.recv() => session.runtime_said(event),
            Some(done) = done.recv() => session.done(done),
            Some(_) = session.tidying.join_next() => {}
            event = link_events.recv() => match event {
                Some(LinkEvent::Up(up)) => {
                    patience = None;
                    session.connected(up);
                    tracing::info!(coordinator = url, "connected");
                }
                Some(LinkEvent::Message(FromCoordinator::Welcome { heartbeat_interval_ms, ended })) => {
                    heartbeat = ticker(Duration::from_millis(heartbeat_interval_ms.max(50)));
                    session.welcomed(&ended);
                }
                Some(LinkEvent::Message(message)) => session.told(message),
                Some(LinkEvent::Down(down)) => {
                    let why = down.why;
                    match down.refused {
                        Some(refusal) if session.ledger.is_empty() => {
                            return Err(SessionError::Refused { url, why, refusal });
                        }
                        Some(_) | None => {}
                    }
                    if session.disconnected() || last_words != why {
                        tracing::warn!(coordinator = url, why, "no connection, trying again");
                    }
                    last_words = why;
                }
                // The link ends only with the session.
                None => return Ok(()),
            },
        }
        options.standing.send_replace(session.standing());
        let now = Instant::now();
        idle_since = session.is_idle().then(|| idle_since.unwrap_or(now));
        if let (Some(since), Some(limit), None) = (idle_since, options.exit_when_idle, &session.draining)
            && now >= since + limit
        {
            session.drain(format!("no trial for {} s", limit.as_secs()));
        }
        if let Some((since, _)) = session.draining {
            if !hurried && now >= since + options.grace.mul_f64(0.75) {
                hurried = true;
                session.wait_no_longer();
            }
            if session.is_drained() {
                break;
            }
            if now >= since + options.grace {
                return Err(session.is_late(options.grace));
            }
        }
        if patience.is_some_and(|patience| now >= patience) {
            return Err(SessionError::Unreachable { url, why: last_words });
        }
    }
    // What was just sent has to leave the process: the stream closes when its sender goes.
    if session.disconnected() {
        let _ = timeout(Duration::from_millis(500), async {
            while let Some(event) = link_events.recv().await {
                if matches!(event, LinkEvent::Down(_)) {
                    break;
                }
            }
        })
        .await;
    }
    drop(link);
    let tidying = async { while session.tidying.join_next().await.is_some() {} };
    let _ = timeout(TIDYING, tidying).await;
    Ok(())
}

impl Session {
    /// Why a drain is not through after its grace time.
    fn is_late(&self, grace: Duration) -> SessionError {
        let trials: Vec<String> = self.runtime.under_way().map(ToString::to_string).collect();
        if trials.is_empty() {
            SessionError::GraceSpent(grace)
        } else {
            SessionError::Stuck { trials: trials.join(", "), grace }
        }
    }
}

/// The next sample; where none are taken it never comes.
async fn next(vitals: &mut Option<mpsc::Receiver<Sample>>) -> Option<Sample> {
    match vitals {
        Some(vitals) => vitals.recv().await,
        None => std::future::pending().await,
    }
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
