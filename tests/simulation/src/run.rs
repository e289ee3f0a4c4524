//! One simulation from its start to its verdict.

use std::{cell::RefCell, path::PathBuf, rc::Rc, time::Duration};

use anyhow::Context;
use distilsweep::store::Reader;
use distilsweep_worker::scripted::ScriptedTrainer;
use rand::{SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::{
    runtime::Builder,
    sync::mpsc,
    task::{JoinHandle, JoinSet, LocalSet, spawn_local},
    time::{Instant, sleep, timeout},
};

use crate::{
    cluster::{Order, Place, Site, SiteOrder},
    coordinator::{self, Coordinator},
    faults::{Fault, HUNG, KINDS, Plan},
    network::{Line, Network},
    witness::{Outcome, Witness},
    worker::WorkerOptions,
};

/// Steps of a trial.
const STEPS: u64 = 12;
/// Evaluations of a trial, each the end of an epoch.
const EPOCHS: u64 = 4;
/// Simulated time that each step takes.
const STEP_TIME: Duration = Duration::from_millis(400);
/// Simulated time that no sweep here takes, whatever happens to it.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Time that a worker has to hand everything back.
const GRACE: Duration = Duration::from_secs(20);
/// Longer than any fault lasts.
const CALM: Duration = Duration::from_secs(60);

/// Every combination of some values.
pub(crate) const SWEEP: &str = "\
name: simulated
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: grid
parameters:
  learning_rate: {values: [1e-5, 2e-5, 3e-5]}
  seed: {values: [1, 2]}
  logging_steps: {value: 2}
";

/// As many points as go by what came of the earlier ones.
const SEARCH: &str = "\
name: simulated
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: bayes
run_cap: 8
parameters:
  learning_rate: {min: 1e-6, max: 1e-2, distribution: log_uniform_values}
  logging_steps: {value: 2}
";

/// Trials that pause on their way, of which half go on.
pub(crate) const HALVING: &str = "\
name: simulated
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: grid
early_terminate: {type: asha, min_epochs: 1, eta: 2}
parameters:
  learning_rate: {values: [1e-5, 2e-5, 3e-5, 4e-5]}
  seed: {values: [1, 2]}
  logging_steps: {value: 2}
";

/// What a simulation did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Faults by their place in [`KINDS`].
    pub(crate) faults: [u64; KINDS.len()],
    /// Leases that were granted.
    pub(crate) attempts: u64,
    /// Time that passed in it, in seconds.
    pub(crate) simulated_seconds: f64,
}

/// Runs the simulation of a seed and holds it against an undisturbed one.
///
/// # Errors
/// Where something does not hold. What is broken at a commit panics there.
pub(crate) fn seed(seed: u64, expected: &Outcome) -> anyhow::Result<Figures> {
    let plan = Plan::draw(&mut StdRng::seed_from_u64(seed));
    let (outcome, figures) =
        simulate(SWEEP, &plan, seed).with_context(|| format!("seed {seed}: {plan:?}"))?;
    compare(&outcome, expected).with_context(|| format!("seed {seed}: {plan:?}"))?;
    Ok(figures)
}

fn compare(outcome: &Outcome, expected: &Outcome) -> anyhow::Result<()> {
    anyhow::ensure!(outcome.state == expected.state, "the sweep is {:?}", outcome.state);
    anyhow::ensure!(outcome.results == expected.results, "results differ: {:?}", outcome.results);
    anyhow::ensure!(outcome.curves.keys().eq(expected.curves.keys()), "other curves: {:?}", outcome.curves);
    for (key, curve) in &outcome.curves {
        let expected = &expected.curves[key];
        anyhow::ensure!(curve == expected, "curve {key:?} is {curve:?}, undisturbed it is {expected:?}");
    }
    Ok(())
}

/// Runs the simulation of a seed with a search that learns. Its points go by who was quick, so it is held against an
/// undisturbed grid of the points that it proposed.
///
/// # Errors
/// As [`seed`].
pub(crate) fn search(seed: u64) -> anyhow::Result<Figures> {
    let plan = Plan::draw(&mut StdRng::seed_from_u64(seed));
    let context = || format!("seed {seed}: {plan:?}");
    let (outcome, figures) = simulate(SEARCH, &plan, seed).with_context(context)?;
    let mut space = coordinator::sweep(SEARCH)?.space;
    outcome.proposed.iter().for_each(|(trial, shares)| space.propose(*trial, shares.clone()));
    let points = (0..space.len()).map(|index| space.point(index)["learning_rate"].to_string());
    let grid = SEARCH.replace("method: bayes\nrun_cap: 8", "method: grid").replace(
        "min: 1e-6, max: 1e-2, distribution: log_uniform_values",
        &format!("values: [{}]", points.collect::<Vec<_>>().join(", ")),
    );
    let (expected, _) = simulate(&grid, &Plan::undisturbed(), 0)?;
    compare(&outcome, &expected).with_context(context)?;
    Ok(figures)
}

/// Runs the simulation of a seed with trials that end early. Which do goes by who was quick; those that do not, the best of
/// all among them, have the results of the grid without early ends, and of the others it is known how they began.
///
/// # Errors
/// As [`seed`].
pub(crate) fn halving(seed: u64, expected: &Outcome) -> anyhow::Result<Figures> {
    let plan = Plan::draw(&mut StdRng::seed_from_u64(seed));
    let context = || format!("seed {seed}: {plan:?}");
    let (outcome, figures) = simulate(HALVING, &plan, seed).with_context(context)?;
    halved(&outcome, expected).with_context(context)?;
    Ok(figures)
}

fn halved(outcome: &Outcome, expected: &Outcome) -> anyhow::Result<()> {
    anyhow::ensure!(outcome.state == expected.state, "the sweep is {:?}", outcome.state);
    for trial in expected.results.keys() {
        let (done, early) = (outcome.results.get(trial), outcome.early_stopped.contains(trial));
        anyhow::ensure!(done.is_some() != early, "trial {trial} ended as {done:?}, early: {early}");
        anyhow::ensure!(early || done == expected.results.get(trial), "trial {trial} differs: {done:?}");
    }
    let score = |trial: &u64| f64::from_bits(expected.results[trial]["best_validation_f1"]);
    let best = expected.results.keys().max_by(|one, other| score(one).total_cmp(&score(other)));
    anyhow::ensure!(best.is_some_and(|best| outcome.results.contains_key(best)), "the best is not found");
    anyhow::ensure!(!outcome.early_stopped.is_empty(), "nothing ended early");
    for ((trial, metric), curve) in &outcome.curves {
        let whole = &expected.curves[&(*trial, metric.clone())];
        let known = if outcome.early_stopped.contains(trial) { curve.len() } else { whole.len() };
        anyhow::ensure!(whole.get(..known) == Some(&curve[..]), "{metric} of trial {trial} is {curve:?}");
    }
    Ok(())
}

/// Runs a sweep by a plan; `seed` is that of the workers' own random numbers.
pub(crate) fn simulate(sweep: &str, plan: &Plan, seed: u64) -> anyhow::Result<(Outcome, Figures)> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        // One: what is done beside the session is done in the order in which it was begun.
        .max_blocking_threads(1)
        .build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async { Cluster::start(sweep, plan, seed).await?.run().await })
}

struct Cluster {
    site: Site,
    root: TempDir,
    site_orders: mpsc::UnboundedSender<SiteOrder>,
    coordinator: JoinHandle<anyhow::Result<Coordinator>>,
    lines: Vec<Line>,
    places: Vec<(mpsc::UnboundedSender<Order>, JoinHandle<anyhow::Result<()>>)>,
    healing: JoinSet<()>,
    faults: [u64; KINDS.len()],
}

impl Cluster {
    async fn start(sweep: &str, plan: &Plan, seed: u64) -> anyhow::Result<Self> {
        let root = tempfile::Builder::new().prefix("distilsweep-simulation-").tempdir_in(memory())?;
        let site = Site {
            plan: plan.clone(),
            root: root.path().to_owned(),
            network: Network::default(),
            witness: Witness::default(),
            names: Rc::new(RefCell::new(vec![String::new(); plan.workers])),
        };
        let coordinator = site.start()?;
        coordinator.submit(sweep, seed).await?;
        let (site_orders, orders) = mpsc::unbounded_channel();
        let coordinator = spawn_local(site.clone().keep(coordinator, orders));
        let options = WorkerOptions {
            script: ScriptedTrainer {
                hang: plan.hang,
                evaluations: EPOCHS,
                ..ScriptedTrainer::new(STEPS, STEP_TIME)
            },
            lanes: plan.lanes,
            checkpoint_interval: plan.checkpoint_interval,
            grace: GRACE,
        };
        let lines: Vec<Line> = plan.delays.iter().copied().map(Line::new).collect();
        let place = |(number, line): (usize, &Line)| {
            let place = Place {
                number,
                names: Rc::clone(&site.names),
                root: root.path().to_owned(),
                options: options.clone(),
                network: site.network.clone(),
                line: line.clone(),
                random: StdRng::seed_from_u64(seed.wrapping_add(number as u64 + 1)),
            };
            let (sender, orders) = mpsc::unbounded_channel();
            (sender, spawn_local(place.serve(orders)))
        };
        let places = lines.iter().enumerate().map(place).collect();
        Ok(Self {
            site,
            root,
            site_orders,
            coordinator,
            lines,
            places,
            healing: JoinSet::new(),
            faults: [0; KINDS.len()],
        })
    }

    async fn run(mut self) -> anyhow::Result<(Outcome, Figures)> {
        let (start, witness) = (Instant::now(), self.site.witness.clone());
        for (pause, fault) in std::mem::take(&mut self.site.plan.faults) {
            // A fault after the end proves nothing.
            if timeout(pause, witness.sweep_ended()).await.is_ok() {
                break;
            }
            self.strike(fault);
        }
        if timeout(PATIENCE, witness.sweep_ended()).await.is_err() {
            anyhow::bail!("the sweep has not ended, there is {:?}", witness.outcome());
        }
        let simulated_seconds = start.elapsed().as_secs_f64();
        while let Some(healed) = self.healing.join_next().await {
            healed?;
        }
        drop(self.site_orders);
        let coordinator = self.coordinator.await??;
        for (orders, _) in &self.places {
            // Where it has ended, it says why below.
            let _ = orders.send(Order::Leave);
        }
        for (_, place) in self.places {
            timeout(CALM, place).await.context("a worker does not end")???;
        }
        drop(coordinator);
        let outcome = witness.outcome();
        agrees(&Reader::open(self.root.path())?, &outcome)?;
        self.faults[HUNG] = witness.hung();
        Ok((outcome, Figures { faults: self.faults, attempts: witness.attempts(), simulated_seconds }))
    }

    fn strike(&mut self, fault: Fault) {
        self.faults[fault.kind()] += 1;
        // Sites and places serve until they are told to end.
        match fault {
            Fault::CoordinatorCrash(stage, down) => {
                let _ = self.site_orders.send(SiteOrder::Crash(stage, down));
            }
            Fault::OrderedDrain(place) => {
                let _ = self.site_orders.send(SiteOrder::Drain(place));
            }
            Fault::WorkerCrash(place, down) => {
                let _ = self.places[place].0.send(Order::Crash(down));
            }
            Fault::Drain(place, down) => {
                let _ = self.places[place].0.send(Order::Drain(down));
            }
            Fault::Partition(place, time) => {
                let line = self.lines[place].clone();
                line.partition(true);
                self.healing.spawn(async move {
                    sleep(time).await;
                    line.partition(false);
                });
            }
            Fault::Slow(place, delay, time) => {
                let (line, usual) = (self.lines[place].clone(), self.site.plan.delays[place]);
                line.slow(delay);
                self.healing.spawn(async move {
                    sleep(time).await;
                    line.slow(usual);
                });
            }
            Fault::Cut(place) => self.lines[place].cut(),
        }
    }
}

/// What the database says is what was committed.
fn agrees(reader: &Reader, outcome: &Outcome) -> anyhow::Result<()> {
    let sweep = reader.find("")??;
    let mut space = reader.spec(&sweep)?.space;
    for (trial, shares) in &outcome.proposed {
        let read = space.point(*trial);
        space.propose(*trial, shares.clone());
        anyhow::ensure!(
            read == space.point(*trial),
            "trial {trial} is {read:?}, it was proposed as {shares:?}"
        );
    }
    for trial in reader.trials(&sweep, 0, 100)? {
        if trial.state == "early_stopped" {
            anyhow::ensure!(outcome.early_stopped.contains(&trial.trial), "trial {} ended", trial.trial);
            continue;
        }
        let result = trial.result.with_context(|| format!("trial {} has a result", trial.trial))?;
        let metrics = result.metrics.into_iter().map(|(key, value)| (key, value.to_bits())).collect();
        anyhow::ensure!(outcome.results.get(&trial.trial) == Some(&metrics), "trial {} differs", trial.trial);
    }
    Ok(())
}

/// A directory in memory where the machine has one: a seed's files live for milliseconds.
fn memory() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}
