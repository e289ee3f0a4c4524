//! `/metrics`: what the engine counts as it goes, and a census of what is alive at the moment of asking.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, prometheus_text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::time::timeout;

use super::{PATIENCE, process};
use crate::{
    clock::Clock,
    engine::EngineHandle,
    scheduler::{Census, SweepCensus, Time},
    store::OutboxState,
};

/// Sweeps that have ended and are still shown, the latest: a coordinator of years must not fill a dashboard.
const ENDED_SHOWN: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSweep {
    sweep: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// Everything, in Prometheus's text format. What the engine or the database does not tell in time is left out.
pub(super) async fn text(engine: &EngineHandle) -> String {
    let census = timeout(PATIENCE, engine.census()).await.ok().and_then(Result::ok);
    let outbox = timeout(PATIENCE, engine.read(|reader| reader.outbox_state())).await;
    let outbox = outbox.ok().and_then(Result::ok);
    let mut registry = Registry::with_prefix("distilsweep");
    engine.meters().register(&mut registry);
    gauge(&mut registry, "engine_queue", "Commands that wait for the engine", engine.waiting() as u64);
    if let Some(census) = census {
        alive(&mut registry, census);
    }
    if let Some(outbox) = outbox {
        waiting(&mut registry, outbox, Clock::wall());
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry).and_then(|()| encode(&mut text, &own()));
    text
}

fn alive(registry: &mut Registry, census: Census) {
    let trials = Family::<OfSweep, Gauge>::default();
    registry.register("trials", "Trials of a sweep, by state", trials.clone());
    let queue = census.sweeps.iter().fold(0u64, |sum, sweep| sum.saturating_add(sweep.pending));
    gauge(registry, "queue", "Trials that wait for a worker, over all sweeps", queue);
    gauge(registry, "leases", "Live leases", census.leases);
    let sweeps = Family::<InState, Gauge>::default();
    registry.register("sweeps", "Sweeps, by state", sweeps.clone());
    for sweep in &census.sweeps {
        sweeps.get_or_create(&InState { state: sweep.state.name() }).inc();
    }
    for sweep in shown(&census.sweeps) {
        let counts = sweep.counts;
        for (state, count) in [
            ("pending", sweep.pending),
            ("running", sweep.running),
            ("completed", counts.completed),
            ("diverged", counts.diverged),
            ("failed", counts.failed),
            ("early_stopped", counts.early_stopped),
            ("cancelled", counts.cancelled),
        ] {
            let label = OfSweep { sweep: sweep.id.to_string(), state };
            trials.get_or_create(&label).set(clamped(count));
        }
    }
    let workers = Family::<InState, Gauge>::default();
    registry.register("workers", "Workers, by state", workers.clone());
    let states = census.workers;
    for (state, count) in [
        ("idle", states.idle),
        ("busy", states.busy),
        ("draining", states.draining),
        ("quarantined", states.quarantined),
        ("away", states.away),
    ] {
        workers.get_or_create(&InState { state }).set(clamped(count));
    }
}

fn waiting(registry: &mut Registry, outbox: OutboxState, now: Time) {
    gauge(registry, "outbox_rows", "Messages that MLflow has still to be told", outbox.rows);
    let age = outbox.oldest_ms.map_or(0.0, |oldest| now.0.saturating_sub(oldest).max(0) as f64 / 1000.0);
    let seconds = Gauge::<f64, AtomicU64>::default();
    seconds.set(age);
    registry.register("outbox_age_seconds", "Age of the oldest of them", seconds);
}

/// The process, under the names that every program uses.
fn own() -> Registry {
    let mut registry = Registry::default();
    if let Some(bytes) = process::resident_bytes() {
        let resident = Gauge::<i64>::default();
        resident.set(bytes);
        registry.register("process_resident_memory_bytes", "Resident memory", resident);
    }
    if let Some(seconds) = process::cpu_seconds() {
        let spent = Counter::<f64, AtomicU64>::default();
        spent.inc_by(seconds);
        registry.register("process_cpu_seconds", "Processor time", spent);
    }
    registry
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(clamped(value));
    registry.register(name, help, gauge);
}

/// The largest space has one point more than a gauge can show.
fn clamped(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn shown(sweeps: &[SweepCensus]) -> impl Iterator<Item = &SweepCensus> {
    let ended = sweeps.iter().filter(|sweep| !sweep.state.is_open()).count();
    let mut passed_over = ended.saturating_sub(ENDED_SHOWN);
    sweeps.iter().filter(move |sweep| {
        let pass_over = !sweep.state.is_open() && passed_over > 0;
        passed_over -= usize::from(pass_over);
        !pass_over
    })
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::ids::SweepId;

    use super::*;
    use crate::scheduler::{Counts, SweepState, WorkerCensus};

    fn sweep(id: &str, state: SweepState, pending: u64) -> SweepCensus {
        let counts = Counts { completed: 3, failed: 1, ..Counts::default() };
        SweepCensus { id: SweepId::new(id), state, running: 2, pending, assignable: pending, counts }
    }

    #[test]
    fn a_census_is_told_in_prometheus_words() {
        let census = Census {
            sweeps: vec![sweep("a-1", SweepState::Completed, 0), sweep("b-2", SweepState::Running, 1 << 63)],
            leases: 4,
            workers: WorkerCensus { idle: 1, busy: 2, draining: 0, quarantined: 0, away: 3 },
        };
        let mut registry = Registry::with_prefix("distilsweep");
        alive(&mut registry, census);
        waiting(&mut registry, OutboxState { rows: 7, oldest_ms: Some(1_000) }, Time(3_500));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        lines.sort_unstable();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        # TYPE distilsweep_leases gauge
        # TYPE distilsweep_outbox_age_seconds gauge
        # TYPE distilsweep_outbox_rows gauge
        # TYPE distilsweep_queue gauge
        # TYPE distilsweep_sweeps gauge
        # TYPE distilsweep_trials gauge
        # TYPE distilsweep_workers gauge
        distilsweep_leases 4
        distilsweep_outbox_age_seconds 2.5
        distilsweep_outbox_rows 7
        distilsweep_queue 9223372036854775807
        distilsweep_sweeps{state="completed"} 1
        distilsweep_sweeps{state="running"} 1
        distilsweep_trials{sweep="a-1",state="cancelled"} 0
        distilsweep_trials{sweep="a-1",state="completed"} 3
        distilsweep_trials{sweep="a-1",state="diverged"} 0
        distilsweep_trials{sweep="a-1",state="early_stopped"} 0
        distilsweep_trials{sweep="a-1",state="failed"} 1
        distilsweep_trials{sweep="a-1",state="pending"} 0
        distilsweep_trials{sweep="a-1",state="running"} 2
        distilsweep_trials{sweep="b-2",state="cancelled"} 0
        distilsweep_trials{sweep="b-2",state="completed"} 3
        distilsweep_trials{sweep="b-2",state="diverged"} 0
        distilsweep_trials{sweep="b-2",state="early_stopped"} 0
        distilsweep_trials{sweep="b-2",state="failed"} 1
        distilsweep_trials{sweep="b-2",state="pending"} 9223372036854775807
        distilsweep_trials{sweep="b-2",state="running"} 2
        distilsweep_workers{state="away"} 3
        distilsweep_workers{state="busy"} 2
        distilsweep_workers{state="draining"} 0
        distilsweep_workers{state="idle"} 1
        distilsweep_workers{state="quarantined"} 0
        "#);
    }

    #[test]
    fn sweeps_that_ended_long_ago_are_not_shown() {
        let mut sweeps: Vec<SweepCensus> =
            (0..100).map(|n| sweep(&format!("s-{n}"), SweepState::Completed, 0)).collect();
        sweeps[3].state = SweepState::Running;
        let shown: Vec<&str> = shown(&sweeps).map(|sweep| sweep.id.as_str()).collect();
        assert_eq!(shown.len(), ENDED_SHOWN + 1);
        assert_eq!((shown[0], shown[1], shown[20]), ("s-3", "s-80", "s-99"));
    }
}
