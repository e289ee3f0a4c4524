//! All workers at once: they come in the same moment, as when a cluster is given a thousand machines, and again when
//! the coordinator they were connected to is killed and another takes its place. Each is the programs' own link with
//! nothing behind it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use distilsweep_proto::{
    dial::{Coordinator as Dialled, Dial},
    v1::{self, sweeps_client::SweepsClient, worker_message::Body},
};
use distilsweep_worker::{
    link::{self, Connector, LinkEvent},
    wire::FromCoordinator,
};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use super::{
    Figures, Options,
    coordinator::Coordinator,
    hello, submission,
    tally::{Waits, round},
};

/// How long all of them may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at the coordinator's health.
const LOOK: Duration = Duration::from_millis(20);

/// What a worker tells.
enum Word {
    /// It is in, by this many attempts; leases of its have ended meanwhile.
    Welcomed { attempts: u32, ended: usize },
    /// It has a trial.
    Assigned,
}

/// Drives a coordinator with workers that come all at once, and answers with what was measured.
///
/// # Errors
/// The coordinator does not start, or not all of them come in.
pub(super) fn run(options: &Options) -> anyhow::Result<Figures> {
    let directory = Coordinator::directory()?;
    let (serve, dial) = if options.tls { certificate(&directory)? } else { (Vec::new(), Dial::default()) };
    let coordinator = Coordinator::start(directory, options.lease_timeout, &serve)?;
    let dialled = dial.coordinator(&coordinator.url, |_| None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut sweeps = SweepsClient::new(dialled.connect().await?);
        anyhow::Ok(sweeps.submit_sweep(submission(options.trials)).await?)
    })?;

    let (sender, mut words) = mpsc::unbounded_channel();
    let watcher = Watcher::start(&coordinator.http, &dialled)?;
    let start = Instant::now();
    for number in 0..options.workers {
        runtime.spawn(worker(Connector::network(dialled.clone()), number, sender.clone()));
    }
    let came = runtime.block_on(gather(
        &mut words,
        options.workers,
        options.workers.min(options.trials as usize),
        start,
    ))?;
    let first = came.figures(watcher.stop()?, &coordinator)?;

    let coordinator = coordinator.restart(Duration::from_secs_f64(options.away))?;
    let watcher = Watcher::start(&coordinator.http, &dialled)?;
    let start = Instant::now();
    let came = runtime.block_on(gather(&mut words, options.workers, 0, start))?;
    let again = came.figures(watcher.stop()?, &coordinator)?;
    runtime.shutdown_background();

    let mut faults = Vec::new();
    if came.ended > 0 {
        faults.push(format!("{} leases did not survive the restart", came.ended));
    }
    let figures = json!({
        "workers": options.workers,
        "tls": options.tls,
        "at_once": first,
        "away_seconds": options.away,
        "after_restart": again,
    });
    Ok(Figures { json: figures.to_string(), faults })
}

/// A certificate of its own, and how both sides are told of it.
fn certificate(directory: &TempDir) -> anyhow::Result<(Vec<String>, Dial)> {
    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        dial: Dial,
    }

    let pair = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&pair)?;
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (cert, key) = (file("server.pem"), file("server.key"));
    std::fs::write(&cert, certificate.pem())?;
    std::fs::write(&key, pair.serialize_pem())?;
    let dial = Arguments::try_parse_from(["worker", "--tls-ca", &cert])?.dial;
    Ok((vec!["--tls-cert".to_owned(), cert, "--tls-key".to_owned(), key], dial))
}

/// A worker that takes its trial and trains for ever.
async fn worker(connector: Connector, number: usize, words: mpsc::UnboundedSender<Word>) {
    let (held_sender, held) = watch::channel(Vec::new());
    let (sender, mut events) = mpsc::channel(16);
    tokio::spawn(link::keep(connector, hello(number), held, rand::random::<f64>, sender));
    let mut up = None;
    let (mut welcomed, mut failed) = (false, 0);
    let mut heartbeat = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(LinkEvent::Up(sender)) => up = Some(sender),
                Some(LinkEvent::Message(FromCoordinator::Welcome { heartbeat_interval_ms, ended })) => {
                    heartbeat = tokio::time::interval(Duration::from_millis(heartbeat_interval_ms.max(50)));
                    welcomed = true;
                    let word = Word::Welcomed { attempts: failed + 1, ended: ended.len() };
                    failed = 0;
                    let _ = words.send(word);
                }
                Some(LinkEvent::Message(FromCoordinator::Assign { lanes, unusable })) => {
                    let leases = lanes.into_iter().map(|lane| lane.lease);
                    held_sender.send_replace(leases.chain(unusable.into_iter().map(|(lease, _)| lease)).collect());
                    let _ = words.send(Word::Assigned);
                }
                Some(LinkEvent::Message(_)) => {}
                Some(LinkEvent::Down(_)) => {
                    up = None;
                    // That a stream breaks is no attempt.
                    failed += u32::from(!std::mem::take(&mut welcomed));
                }
                None => return,
            },
            _ = heartbeat.tick() => if let Some(up) = &up {
                let _ = up.send(v1::WorkerMessage { body: Some(Body::Heartbeat(v1::Heartbeat::default())) });
            },
        }
    }
}

/// How the workers came in.
struct Came {
    welcomed: f64,
    assigned: f64,
    attempts: u32,
    most_attempts: u32,
    ended: usize,
}

/// Waits for so many workers and first trials.
async fn gather(
    words: &mut mpsc::UnboundedReceiver<Word>,
    workers: usize,
    trials: usize,
    start: Instant,
) -> anyhow::Result<Came> {
    let mut came = Came { welcomed: 0.0, assigned: 0.0, attempts: 0, most_attempts: 0, ended: 0 };
    let (mut welcomes, mut assignments) = (0, 0);
    let all = async {
        while welcomes < workers || assignments < trials {
            let word = words.recv().await.context("workers never end")?;
            let seconds = start.elapsed().as_secs_f64();
            match word {
                Word::Welcomed { attempts, ended } => {
                    welcomes += 1;
                    came.welcomed = seconds;
                    came.attempts += attempts;
                    came.most_attempts = came.most_attempts.max(attempts);
                    came.ended += ended;
                }
                Word::Assigned => {
                    assignments += 1;
                    came.assigned = seconds;
                }
            }
        }
        anyhow::Ok(())
    };
    let outcome = timeout(PATIENCE, all).await;
    outcome.with_context(|| format!("{welcomes} of {workers} workers came in within {PATIENCE:?}"))??;
    Ok(came)
}

impl Came {
    fn figures(&self, health: Health, coordinator: &Coordinator) -> anyhow::Result<Value> {
        let (ready, call) = (health.ready.percentiles(), health.call.percentiles());
        Ok(json!({
            "seconds_until_all_in": round(self.welcomed),
            "seconds_until_all_have_a_trial": (self.assigned > 0.0).then(|| round(self.assigned)),
            "attempts": self.attempts,
            "attempts_of_a_worker_at_most": self.most_attempts,
            "readyz_p50_ms": ready.0,
            "readyz_p99_ms": ready.1,
            "connect_and_call_p50_ms": call.0,
            "connect_and_call_p99_ms": call.1,
            "unanswered": health.unanswered,
            "coordinator_cpu_seconds": round(coordinator.cpu_seconds()?),
            "coordinator_rss_mb": round(coordinator.peak_mb()?),
        }))
    }
}

/// What somebody else saw of the coordinator meanwhile, on a new connection each time.
#[derive(Debug, Default)]
struct Health {
    /// `/readyz`.
    ready: Waits,
    /// A connection for a client's call, and its answer.
    call: Waits,
    /// What brought no answer.
    unanswered: u32,
}

struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Health>>,
}

impl Watcher {
    fn start(http: &str, dialled: &Dialled) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, page, dialled) = (Arc::clone(&stop), format!("{http}/readyz"), dialled.clone());
        let watch = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let mut health = Health::default();
            while !ended.load(Ordering::Relaxed) {
                let before = Instant::now();
                match ureq::get(&page).call() {
                    Ok(_) => health.ready.add(before.elapsed()),
                    Err(_) => health.unanswered += 1,
                }
                let before = Instant::now();
                match runtime.block_on(call(&dialled)) {
                    Ok(()) => health.call.add(before.elapsed()),
                    Err(_) => health.unanswered += 1,
                }
                thread::sleep(LOOK);
            }
            Ok(health)
        };
        Ok(Self { stop, thread: thread::Builder::new().name("watcher".to_owned()).spawn(watch)? })
    }

    fn stop(self) -> anyhow::Result<Health> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))?
    }
}

async fn call(dialled: &Dialled) -> anyhow::Result<()> {
    let mut sweeps = SweepsClient::new(dialled.connect().await?);
    sweeps.get_sweep(v1::GetSweepRequest { sweep: String::new() }).await?;
    Ok(())
}
