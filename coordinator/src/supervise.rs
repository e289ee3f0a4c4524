//! Background tasks that must not end: started again when they do, and reported if they keep failing.

use std::{fmt::Display, future::Future, time::Duration};

use futures::FutureExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::engine::Meters;

/// How patient a supervisor is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Pause after a first failure; each further one doubles it.
    first_pause: Duration,
    longest_pause: Duration,
    /// A task that ran for so long has recovered: failures before count no longer.
    recovered: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            recovered: Duration::from_secs(60),
        }
    }
}

/// From so many failures in a row on, the task is reported as down.
const FAILURES: u32 = 3;

/// Runs a task until it completes or `stopping` is set, and again after a pause whenever it fails or panics.
///
/// A failure is logged as a warning; from the third in a row on it is an error, and the metric `background_task_up` of the
/// task is 0 until it has recovered.
pub(crate) async fn supervise<T, E>(
    task: &'static str,
    patience: Patience,
    meters: Meters,
    mut stopping: watch::Receiver<bool>,
    mut start: impl FnMut() -> T + Send,
) where
    T: Future<Output = Result<(), E>> + Send,
    E: Display,
{
    meters.set_task_up(task, true);
    let mut failures = 0;
    while !*stopping.borrow() {
        let began = Instant::now();
        let run = std::panic::AssertUnwindSafe(start()).catch_unwind();
        tokio::pin!(run);
        let recovered = sleep(patience.recovered);
        tokio::pin!(recovered);
        let mut watching = failures > 0;
        let ended = loop {
            tokio::select! {
                ended = &mut run => break ended,
                () = &mut recovered, if watching => {
                    watching = false;
                    meters.set_task_up(task, true);
                }
            }
        };
        let error = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it panicked; please report this".to_owned(),
        };
        failures = if began.elapsed() >= patience.recovered { 1 } else { failures + 1 };
        let pause = patience
            .first_pause
            .saturating_mul(2u32.saturating_pow(failures - 1))
            .min(patience.longest_pause);
        if failures < FAILURES {
            tracing::warn!(task, %error, ?pause, "background task failed, restarting it");
        } else {
            meters.set_task_up(task, false);
            tracing::error!(task, %error, failures, ?pause, "background task keeps failing, restarting it");
        }
        tokio::select! {
            () = sleep(pause) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use prometheus_client::{encoding::prometheus_text::encode, registry::Registry};
    use tokio::task::JoinHandle;

    use super::*;

    fn is_up(meters: &Meters) -> bool {
        let mut registry = Registry::default();
        meters.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text.contains("background_task_up{task=\"relay\"} 1")
    }

    const QUICK: Patience = Patience {
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(4),
        recovered: Duration::from_millis(200),
    };

    /// Supervises a task that ends in these ways, one a run, and then keeps running.
    struct Supervised {
        meters: Meters,
        runs: Arc<AtomicU32>,
        shutdown: watch::Sender<bool>,
        supervisor: JoinHandle<()>,
    }

    impl Supervised {
        fn start(ends: &'static [&'static str], patience: Patience) -> Self {
            let (meters, runs) = (Meters::default(), Arc::new(AtomicU32::new(0)));
            let (shutdown, stopping) = watch::channel(false);
            let counted = Arc::clone(&runs);
            let task = move || {
                let run = counted.fetch_add(1, Ordering::SeqCst) as usize;
                async move {
                    match ends.get(run) {
                        Some(&"panic") => panic!("a fault of the task"),
                        Some(&"completed") => Ok(()),
                        Some(error) => Err(*error),
                        None => std::future::pending().await,
                    }
                }
            };
            let supervisor = tokio::spawn(supervise("relay", patience, meters.clone(), stopping, task));
            Self { meters, runs, shutdown, supervisor }
        }

        async fn wait_until(&self, is_so: impl Fn(u32, bool) -> bool) {
            let wait = async {
                while !is_so(self.runs.load(Ordering::SeqCst), is_up(&self.meters)) {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the supervisor gets there");
        }
    }

    #[tokio::test]
    async fn a_failed_task_is_restarted() {
        let supervised = Supervised::start(&["the database is locked", "panic"], QUICK);
        supervised.wait_until(|runs, up| runs == 3 && up).await;
        let completed = Supervised::start(&["the database is locked", "completed"], QUICK);
        completed.supervisor.await.unwrap();
        assert_eq!(completed.runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_task_that_keeps_failing_is_down_until_it_recovers() {
        let supervised = Supervised::start(&["no descriptors"; 5], QUICK);
        supervised.wait_until(|runs, up| runs >= 4 && !up).await;
        supervised.wait_until(|runs, up| runs == 6 && up).await;
    }

    #[tokio::test]
    async fn a_stopping_coordinator_restarts_nothing() {
        let patience = Patience { first_pause: Duration::from_secs(3600), ..Patience::default() };
        let supervised = Supervised::start(&["gone"; 9], patience);
        supervised.wait_until(|runs, _| runs == 1).await;
        supervised.shutdown.send_replace(true);
        supervised.supervisor.await.unwrap();
        assert_eq!(supervised.runs.load(Ordering::SeqCst), 1);
    }
}
