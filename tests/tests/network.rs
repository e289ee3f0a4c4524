//! Networks that fail and coordinators that move: processes on hosts of their own, where packets vanish without a word.
//! Whatever happens, each trial has one result, and it is the undisturbed one's. Skipped, with the reason, where there
//! can be no network namespaces.

use std::time::Duration;

use anyhow::ensure;
use distilsweep_tests::{
    chaos::losses,
    fleet::{Coordinator, Scene, worker},
    network::{Host, Network},
    process::Process,
    sweep::{Ranking, four_trials, one_trial, sixteen_trials},
    wait::until,
};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(120);
/// Of a worker: its stream is broken.
const BROKEN: &str = "no connection, trying again";
const CONNECTED: &str = "connected coordinator=";
/// Of a worker that begins with a trial.
const BEGINS: &str = "training lease=";
/// Of a worker that comes back too late: nothing that it has to say of the trial counts any more.
const TOO_LATE: &str = "the lease ended while this worker was away";
const NAME: &str = "coordinator";

/// A coordinator on a host, and a sweep.
struct Stage {
    network: Network,
    home: Host,
    coordinator: Coordinator,
    steps: u64,
}

impl Stage {
    fn of(sweep: &str, steps: u64, lease_timeout: &str) -> anyhow::Result<Option<Self>> {
        let scene = Scene::new()?;
        let Some(mut network) = Network::start(&scene)? else { return Ok(None) };
        let home = network.host()?;
        network.name(NAME, &home)?;
        let coordinator = serve(&home, lease_timeout)?;
        let file = scene.write("grid.yaml", sweep)?;
        coordinator.submit(&network.bridge.scene, &file)?;
        Ok(Some(Self { network, home, coordinator, steps }))
    }

    /// A host with a worker, whose steps take so many milliseconds.
    fn worker(&mut self, step_ms: u64) -> anyhow::Result<Worker> {
        let host = self.network.host()?;
        let script = format!("{}x{step_ms}", self.steps);
        let scratch = format!("scratch-{}", host.address);
        let url = format!("http://{NAME}:7070");
        let process = worker(&host.scene, &url, &["--scripted", &script, "--scratch", &scratch])?;
        Ok(Worker { host, process })
    }

    fn ranking(&self) -> anyhow::Result<Ranking> {
        self.coordinator.ranking(&self.network.bridge.scene)
    }

    /// The sweep's end: one result a trial, each that of the undisturbed sweep, no point of a curve lost or twice.
    fn ends_as(&self, undisturbed: &Ranking) -> anyhow::Result<Ranking> {
        let scene = &self.network.bridge.scene;
        let complete = |ranking: &Ranking| ranking.state() == "completed";
        let ranking = self.coordinator.ranking_when(scene, "a complete sweep", complete)?;
        ensure!(ranking.metrics() == undisturbed.metrics(), "{ranking:?} and undisturbed {undisturbed:?}");
        ensure!(ranking.trials().iter().all(|trial| trial.state() == "completed"), "{ranking:?}");
        let logged: Vec<u64> = (1..=self.steps).filter(|step| step.is_multiple_of(10)).collect();
        for (trial, steps) in losses(scene)? {
            ensure!(steps == logged, "points of trial {trial}: {steps:?}");
        }
        Ok(ranking)
    }

    /// Pulls the cable of a worker in the middle of its trial, and waits until it has sent in vain.
    fn cut_off(&self, worker: &Worker) -> anyhow::Result<()> {
        let before = worker.host.sent_again()?;
        self.network.pull(&worker.host)?;
        until("segments that vanish", PATIENCE, || Ok((worker.host.sent_again()? > before + 1).then_some(())))
    }
}

/// A worker on its host.
struct Worker {
    host: Host,
    process: Process,
}

impl Worker {
    fn count(&self, words: &str) -> usize {
        self.process.err().matches(words).count()
    }

    /// Waits until its log has these words more often than `before`.
    fn says(&self, words: &str, before: usize) -> anyhow::Result<()> {
        until(words, PATIENCE, || Ok((self.count(words) > before).then_some(())))
    }

    /// The trials that it began, in turn.
    fn began(&self) -> Vec<String> {
        let log = self.process.err();
        let begun = log.lines().filter_map(|line| line.split_once(BEGINS)?.1.split(' ').next());
        begun.map(str::to_owned).collect()
    }
}

fn serve(home: &Host, lease_timeout: &str) -> anyhow::Result<Coordinator> {
    let listen = format!("{}:7070", home.address);
    Coordinator::start(&home.scene, &listen, &["--insecure", "--lease-timeout", lease_timeout])
}

/// The sweep without any network to fail, at full speed: how long a step takes changes no result.
fn undisturbed(sweep: &str, steps: u64) -> anyhow::Result<Ranking> {
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let _worker = worker(&scene, &coordinator.url, &["--scripted", &format!("{steps}x0")])?;
    coordinator.submit(&scene, &scene.write("grid.yaml", sweep)?)?;
    coordinator.ranking_when(&scene, "an undisturbed sweep", |ranking| ranking.state() == "completed")
}

fn attempts(ranking: &Ranking) -> Vec<u64> {
    let mut attempts: Vec<_> =
        ranking.trials().iter().map(|trial| (trial.number(), trial.attempts())).collect();
    attempts.sort_unstable();
    attempts.into_iter().map(|(_, attempts)| attempts).collect()
}

#[test]
fn a_cut_shorter_than_the_lease_time_out_costs_no_attempt_whether_it_breaks_the_connection_or_not()
-> anyhow::Result<()> {
    let sweep = one_trial("one", 400);
    let Some(mut stage) = Stage::of(&sweep, 400, "60")? else { return Ok(()) };
    let baseline = undisturbed(&sweep, 400)?;
    let trains = stage.worker(60)?;
    trains.says(BEGINS, 0)?;
    let waits = stage.worker(60)?;
    waits.says(CONNECTED, 0)?;

    stage.cut_off(&trains)?;
    stage.network.plug(&trains.host)?;
    let acknowledged = losses(&stage.network.bridge.scene)?;
    until("reports that come through again", PATIENCE, || {
        Ok((losses(&stage.network.bridge.scene)? != acknowledged).then_some(()))
    })?;
    assert_eq!(trains.count(BROKEN), 0, "what vanished was sent again before anybody gave up");

    stage.cut_off(&trains)?;
    trains.says(BROKEN, 0)?;
    until("a coordinator that notices too", PATIENCE, || {
        Ok(stage.coordinator.process.err().contains("worker disconnected").then_some(()))
    })?;
    stage.network.plug(&trains.host)?;
    trains.says(CONNECTED, 1)?;
    let ranking = stage.ends_as(&baseline)?;
    assert_eq!((attempts(&ranking), waits.began().len()), (vec![1], 0));
    Ok(())
}

#[test]
fn a_cut_longer_than_the_lease_time_out_gives_the_trial_to_another_worker_and_refuses_what_comes_late()
-> anyhow::Result<()> {
    let sweep = sixteen_trials("grid", 100);
    let Some(mut stage) = Stage::of(&sweep, 100, "3")? else { return Ok(()) };
    let baseline = undisturbed(&sweep, 100)?;
    let lost = stage.worker(30)?;
    lost.says(BEGINS, 0)?;
    let heir = stage.worker(30)?;
    heir.says(BEGINS, 0)?;

    // Over as soon as the other one has the trial: this one has not noticed anything yet.
    let first = lost.began().pop().unwrap_or_default();
    stage.cut_off(&lost)?;
    until("another attempt elsewhere", PATIENCE, || Ok(heir.began().contains(&first).then_some(())))?;
    stage.network.plug(&lost.host)?;
    lost.says(TOO_LATE, 0)?;
    lost.says(BEGINS, 1)?;

    // And once it has.
    let second = lost.began().pop().unwrap_or_default();
    let broken = lost.count(BROKEN);
    stage.cut_off(&lost)?;
    lost.says(BROKEN, broken)?;
    stage.network.plug(&lost.host)?;
    lost.says(TOO_LATE, 1)?;
    let begun = lost.began().len();
    lost.says(BEGINS, begun)?;

    let ranking = stage.ends_as(&baseline)?;
    assert!(first != second && heir.began().contains(&second), "{first} {second} {:?}", heir.began());
    let again = attempts(&ranking).into_iter().filter(|attempts| *attempts == 2).count();
    assert_eq!((again, attempts(&ranking).iter().max()), (2, Some(&2)), "{ranking:?}");
    Ok(())
}

#[test]
fn a_cut_longer_than_the_sweep_leaves_it_to_the_others() -> anyhow::Result<()> {
    let sweep = four_trials("grid", 100);
    let Some(mut stage) = Stage::of(&sweep, 100, "2")? else { return Ok(()) };
    let baseline = undisturbed(&sweep, 100)?;
    let mut lost = stage.worker(20)?;
    lost.says(BEGINS, 0)?;
    stage.cut_off(&lost)?;
    let _heir = stage.worker(20)?;
    let ranking = stage.ends_as(&baseline)?;
    assert_eq!(attempts(&ranking).iter().sum::<u64>(), 5, "{ranking:?}");
    assert_eq!(lost.count(TOO_LATE), 0, "it is still cut off");

    stage.network.plug(&lost.host)?;
    lost.says(TOO_LATE, 0)?;
    lost.process.signal(Signal::TERM)?;
    assert_eq!(lost.process.wait(PATIENCE)?.code, Some(0));
    assert_eq!(stage.ranking()?.text(), ranking.text(), "what comes after the end changes nothing");
    Ok(())
}

/// The coordinator leaves its host, with its words or without any, and another one takes over its state elsewhere.
fn moves(leave: impl Fn(&mut Stage) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let sweep = one_trial("one", 400);
    // The time-out of `serve` where nobody says otherwise.
    let Some(mut stage) = Stage::of(&sweep, 400, "30")? else { return Ok(()) };
    let baseline = undisturbed(&sweep, 400)?;
    let trains = stage.worker(60)?;
    trains.says(BEGINS, 0)?;
    leave(&mut stage)?;
    let elsewhere = stage.network.host()?;
    stage.network.name(NAME, &elsewhere)?;
    stage.coordinator = serve(&elsewhere, "30")?;
    trains.says(CONNECTED, 1)?;
    let ranking = stage.ends_as(&baseline)?;
    assert_eq!((attempts(&ranking), trains.began().len()), (vec![1], 1));
    Ok(())
}

#[test]
fn a_worker_finds_a_coordinator_that_has_moved_by_its_name() -> anyhow::Result<()> {
    moves(|stage| {
        stage.coordinator.process.signal(Signal::TERM)?;
        assert_eq!(stage.coordinator.process.wait(PATIENCE)?.code, Some(0));
        Ok(())
    })
}

#[test]
fn a_worker_finds_a_coordinator_whose_host_vanished_without_a_word() -> anyhow::Result<()> {
    moves(|stage| {
        stage.network.pull(&stage.home)?;
        stage.coordinator.process.kill()
    })
}
