//! Workers that are to go, as real processes: whoever says so, they hand their trial back at the step where they stop
//! and end; one whose training never comes to its next step ends all the same, as a failure, and others go on.
//! SIGTERM alone is in `interrupted.rs`, and what the services of clouds answer in the worker's own tests.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Context;
use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    process::{Finished, Process},
    sweep::{Ranking, Trial, one_trial},
    wait::{now, until},
};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(120);
const STEPS: u64 = 400;
/// A script of as many steps, 6 s in all.
const SCRIPT: &[&str] = &["--scripted", "400x15", "--checkpoint-interval", "0.4", "--scratch", "scratch"];
/// The same, and a fresh start never ends this step. No checkpoint comes before it.
const HUNG: &[&str] = &["--scripted", "400x15,hang=200", "--scratch", "scratch", "--grace", "2"];
const HUNG_AT_ONCE: &[&str] = &["--scripted", "400x15,hang=1", "--scratch", "scratch", "--grace", "2"];
/// A sentence of a worker that gives up on its training thread.
const STUCK: &str = "does not stop: no step of it ended within 2 s";

/// A coordinator with a sweep of one trial.
struct Stage {
    scene: Scene,
    coordinator: Coordinator,
}

impl Stage {
    fn new(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::of(&one_trial("one", STEPS), arguments)
    }

    /// Whose trial fails with the first retry that it is charged for.
    fn without_retries() -> anyhow::Result<Self> {
        Self::of(&format!("max_retries: 0\n{}", one_trial("one", STEPS)), &[])
    }

    fn of(sweep: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let scene = Scene::new()?;
        let coordinator = Coordinator::start(&scene, "127.0.0.1:0", arguments)?;
        let file = scene.write("grid.yaml", sweep)?;
        coordinator.submit(&scene, &file)?;
        Ok(Self { scene, coordinator })
    }

    fn worker(&self, extra: &[&str]) -> anyhow::Result<Process> {
        worker(&self.scene, &self.coordinator.url, extra)
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        let arguments = [arguments, &["--coordinator", &self.coordinator.url]].concat();
        let finished = self.scene.run("distilsweep", &arguments)?;
        anyhow::ensure!(finished.code == Some(0), "{arguments:?}: {finished:?}");
        Ok(finished)
    }

    /// The trial once its worker has published a checkpoint.
    fn under_way(&self, training: &Process) -> anyhow::Result<Trial> {
        until("a checkpoint", PATIENCE, || {
            Ok(training.err().contains("checkpoint published").then_some(()))
        })?;
        self.coordinator.ranking(&self.scene)?.trials().first().cloned().context("the trial has a row")
    }

    fn completed(&self) -> anyhow::Result<Ranking> {
        let ranking = self
            .coordinator
            .ranking_when(&self.scene, "a complete sweep", |ranking| ranking.state() == "completed")?;
        anyhow::ensure!(ranking.trials()[0].state() == "completed", "{ranking:?}");
        Ok(ranking)
    }

    /// A fresh worker ends the sweep with the result that an undisturbed one has, and no step was lost.
    fn goes_on_where_it_stopped(&self) -> anyhow::Result<()> {
        let _heir = self.worker(SCRIPT)?;
        let ranking = self.completed()?;
        let taken = attempts(&ranking.trials()[0])?;
        let [(1, last), (next, STEPS)] = taken[..] else { panic!("{taken:?}") };
        assert_eq!(next, last + 1);
        assert_eq!(ranking.metrics(), undisturbed()?.metrics());
        Ok(())
    }
}

fn undisturbed() -> anyhow::Result<Ranking> {
    let stage = Stage::new(&[])?;
    let _worker = stage.worker(SCRIPT)?;
    let ranking = stage.completed()?;
    assert_eq!(attempts(&ranking.trials()[0])?, [(1, STEPS)]);
    Ok(ranking)
}

/// First and last step of each attempt that a scripted trial's model is made of.
fn attempts(trial: &Trial) -> anyhow::Result<Vec<(u64, u64)>> {
    let path = PathBuf::from(trial.text("checkpoint")).join("steps.txt");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines = text.lines().map(|line| {
        let (first, last) = line.split_once('-').context("FIRST-LAST")?;
        Ok((first.parse()?, last.parse()?))
    });
    lines.collect()
}

fn assert_done(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

fn assert_stuck(finished: &Finished) {
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.err.contains(STUCK), "{finished:?}");
}

#[test]
fn a_worker_whose_parent_is_gone_hands_its_trial_back_and_ends() -> anyhow::Result<()> {
    let stage = Stage::new(&[])?;
    let arguments = [&["join", &stage.coordinator.url, "--until-stdin-closes"], SCRIPT].concat();
    let command = stage.scene.command("distilsweep-worker", &arguments)?;
    let (mut leaving, input) = Process::start_fed("fed-worker", command, &stage.scene.path("logs"))?;
    stage.under_way(&leaving)?;
    drop(input);
    assert_done(&leaving.wait(PATIENCE)?);
    stage.goes_on_where_it_stopped()
}

#[test]
fn a_worker_that_the_coordinator_drains_hands_its_trial_back_and_ends() -> anyhow::Result<()> {
    let stage = Stage::new(&[])?;
    let mut leaving = stage.worker(SCRIPT)?;
    let trial = stage.under_way(&leaving)?;
    stage.command(&["worker", "drain", trial.text("worker")])?;
    assert_done(&leaving.wait(PATIENCE)?);
    stage.goes_on_where_it_stopped()
}

/// A page that gives a spot notice, or not: as it is told to.
struct NoticePage {
    url: String,
    state: Arc<Mutex<PageState>>,
}

#[derive(Default)]
struct PageState {
    /// Status and body; at first a fault of the page.
    answer: Option<(&'static str, &'static str)>,
    asked: usize,
}

impl NoticePage {
    fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/notice", listener.local_addr()?);
        let state = Arc::new(Mutex::new(PageState::default()));
        let page = Self { url, state: Arc::clone(&state) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // One that goes away in the middle is the client's business.
                let _ = Self::answer(stream, &state);
            }
        });
        Ok(page)
    }

    fn answer(mut stream: TcpStream, state: &Mutex<PageState>) -> anyhow::Result<()> {
        let mut lines = BufReader::new(&stream).lines();
        while !lines.next().context("an empty line ends the question")??.is_empty() {}
        let mut state = lock(state);
        state.asked += 1;
        let (status, body) = state.answer.unwrap_or(("500 Internal Server Error", "TRUE"));
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")?;
        Ok(())
    }

    /// Answers so from now on, and waits until the worker has heard it some times.
    fn says(&self, status: &'static str, body: &'static str) -> anyhow::Result<()> {
        {
            let mut state = lock(&self.state);
            state.answer = Some((status, body));
            state.asked = 0;
        }
        self.is_asked(1)
    }

    fn is_asked(&self, times: usize) -> anyhow::Result<()> {
        until("questions for a notice", PATIENCE, || Ok((lock(&self.state).asked >= times).then_some(())))
    }
}

fn lock(state: &Mutex<PageState>) -> MutexGuard<'_, PageState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker that was not told to go, whatever it heard so far.
fn assert_stays(worker: &mut Process) -> anyhow::Result<()> {
    anyhow::ensure!(worker.is_running()? && !worker.err().contains("draining"), "{}", worker.err());
    Ok(())
}

#[test]
fn a_worker_whose_machine_gets_a_notice_in_a_file_hands_its_trial_back_and_ends() -> anyhow::Result<()> {
    let stage = Stage::without_retries()?;
    let mut leaving = stage.worker(&[SCRIPT, &["--spot-notice", "./notice"]].concat())?;
    stage.under_way(&leaving)?;
    assert_stays(&mut leaving)?;
    stage.scene.write("notice", "")?;
    let ended = leaving.wait(PATIENCE)?;
    assert_done(&ended);
    assert!(ended.err.contains("spot notice: ./notice is there"), "{ended:?}");
    stage.goes_on_where_it_stopped()?;
    let journal = stage.command(&["sweep", "events"])?;
    assert!(journal.out.contains("preempted"), "{journal:?}");
    Ok(())
}

#[test]
fn a_worker_whose_machine_gets_a_notice_on_a_page_hands_its_trial_back_and_ends() -> anyhow::Result<()> {
    let stage = Stage::without_retries()?;
    let page = NoticePage::start()?;
    // Long enough for all the questions.
    let script = ["--scripted", "400x200", "--checkpoint-interval", "0.4", "--scratch", "scratch"];
    let mut leaving = stage.worker(&[&script[..], &["--spot-notice", &page.url]].concat())?;
    stage.under_way(&leaving)?;
    page.is_asked(2)?;
    page.says("404 Not Found", "there is none")?;
    page.says("200 OK", "FALSE\n")?;
    assert_stays(&mut leaving)?;
    page.says("200 OK", "TRUE\n")?;
    let ended = leaving.wait(PATIENCE)?;
    assert_done(&ended);
    assert!(ended.err.contains(&format!("spot notice: {} says TRUE", page.url)), "{ended:?}");
    assert_eq!(ended.err.matches("no spot notice can be had").count(), 1, "said once: {ended:?}");
    stage.goes_on_where_it_stopped()?;
    let journal = stage.command(&["sweep", "events"])?;
    assert!(journal.out.contains("preempted"), "{journal:?}");
    Ok(())
}

#[test]
fn a_hung_training_is_found_its_worker_drained_and_the_trial_trained_elsewhere() -> anyhow::Result<()> {
    let stage = Stage::new(&["--lease-timeout", "3", "--hang-timeout", "3"])?;
    let mut hung = stage.worker(HUNG)?;
    // Nobody tells it to: the coordinator finds that no step ends.
    assert_stuck(&hung.wait(PATIENCE)?);
    let _heir = stage.worker(SCRIPT)?;
    let ranking = stage.completed()?;
    assert_eq!(ranking.trials()[0].attempts(), 2);
    assert_eq!(ranking.metrics(), undisturbed()?.metrics());
    let journal = stage.command(&["sweep", "events"])?;
    assert!(journal.out.contains("hung"), "{journal:?}");
    Ok(())
}

#[test]
fn a_hung_training_does_not_hold_a_worker_that_is_told_to_go() -> anyhow::Result<()> {
    let stage = Stage::new(&["--lease-timeout", "600"])?;
    let mut hung = stage.worker(HUNG_AT_ONCE)?;
    until("the step that hangs", PATIENCE, || {
        Ok(hung.err().contains("training from this step on").then_some(()))
    })?;
    hung.signal(Signal::TERM)?;
    assert_stuck(&hung.wait(PATIENCE)?);
    let _heir = stage.worker(SCRIPT)?;
    let ranking = stage.completed()?;
    // Handed back in time: the lease's own end would have been ten minutes away.
    assert_eq!(ranking.trials()[0].attempts(), 2);
    assert_eq!(ranking.metrics(), undisturbed()?.metrics());
    Ok(())
}

#[test]
fn a_worker_that_has_nothing_to_do_for_long_enough_ends_by_itself() -> anyhow::Result<()> {
    let stage = Stage::new(&[])?;
    let mut busy = stage.worker(&[SCRIPT, &["--exit-when-idle", "2"]].concat())?;
    stage.under_way(&busy)?;
    let started = now();
    let mut idle = stage.worker(&["--scripted", "1x1", "--exit-when-idle", "2"])?;
    let ended = idle.wait(PATIENCE)?;
    anyhow::ensure!(ended.code == Some(0) && ended.err.contains("no trial for 2 s"), "{ended:?}");
    anyhow::ensure!(now() - started >= Duration::from_secs(2), "it left too soon");
    // The trial takes longer than that.
    anyhow::ensure!(busy.is_running()?, "a worker that trains stays");
    assert_eq!(stage.completed()?.trials().len(), 1);
    let ended = busy.wait(PATIENCE)?;
    anyhow::ensure!(ended.code == Some(0) && ended.err.contains("no trial for 2 s"), "{ended:?}");
    Ok(())
}
