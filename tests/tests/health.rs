//! What probes hear of workers and coordinators, as real processes: over HTTP, and from the command that asks in its place.

use std::{net::TcpListener, time::Duration};

use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    process::Process,
    sweep::one_trial,
    wait::until,
};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);
const PROGRAMS: [&str; 2] = ["distilsweep", "distilsweep-worker"];

/// A process that answers for its health.
struct Answering<'a> {
    scene: &'a Scene,
    http: String,
}

impl<'a> Answering<'a> {
    /// One whose log says where.
    fn of(scene: &'a Scene, process: &Process) -> anyhow::Result<Self> {
        let http = until("an address for health", PATIENCE, || {
            let log = process.err();
            let address = log.split_once("http=\"http://").and_then(|(_, rest)| rest.split_once('"'));
            Ok(address.map(|(address, _)| address.to_owned()))
        })?;
        Ok(Self { scene, http })
    }

    fn get(&self, page: &str) -> anyhow::Result<(u16, String)> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.get(format!("http://{}/{page}", self.http)).call()?;
        Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
    }

    /// Waits until it says this of its readiness, and that it lives.
    fn comes_to(&self, status: u16, word: &str) -> anyhow::Result<()> {
        let wanted = (status, format!("{word}\n"));
        until(word, PATIENCE, || Ok((self.get("readyz")? == wanted).then_some(())))?;
        assert_eq!(self.get("healthz")?, (200, "ok\n".to_owned()));
        Ok(())
    }

    /// What `health` of both programs prints and exits with.
    fn asked(&self, more: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let ask = |program| {
            let asked = self.scene.run(program, &[&["health", "--http", &self.http], more].concat())?;
            anyhow::Ok((asked.code, asked.out + &asked.err))
        };
        let [one, other] = PROGRAMS.map(ask);
        let (one, other) = (one?, other?);
        assert_eq!(one, other, "they are one command");
        Ok(one)
    }
}

#[test]
fn a_worker_lives_whatever_its_coordinator_does_and_is_ready_while_it_has_one() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let mut coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let process = worker(&scene, &coordinator.url, &["--scripted", "1x1", "--http", "127.0.0.1:0"])?;
    let health = Answering::of(&scene, &process)?;
    health.comes_to(200, "ready")?;
    assert_eq!(health.asked(&["--ready"])?, (Some(0), "ready\n".to_owned()));

    coordinator.process.kill()?;
    health.comes_to(503, "connecting")?;
    assert_eq!(health.asked(&[])?, (Some(0), "ok\n".to_owned()));
    let (code, said) = health.asked(&["--ready"])?;
    assert_eq!(code, Some(1));
    let sentence =
        format!("error: http://{}/readyz answers 503 Service Unavailable: connecting\n", health.http);
    assert_eq!(said, sentence);

    let address = coordinator.url.trim_start_matches("http://").to_owned();
    let _back = Coordinator::start(&scene, &address, &[])?;
    health.comes_to(200, "ready")
}

#[test]
fn a_worker_that_drains_is_alive_and_not_ready() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    coordinator.submit(&scene, &scene.write("sweep.yaml", &one_trial("held", 4))?)?;
    // Its only step never ends, so that the drain lasts.
    let script = ["--scripted", "4x1,hang=1", "--http", "127.0.0.1:0", "--grace", "600"];
    let mut process = worker(&scene, &coordinator.url, &script)?;
    let health = Answering::of(&scene, &process)?;
    until("the step that hangs", PATIENCE, || {
        Ok(process.err().contains("training from this step on").then_some(()))
    })?;
    health.comes_to(200, "ready")?;
    process.signal(Signal::TERM)?;
    health.comes_to(503, "draining")?;
    // Who asks twice is in a hurry.
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait(PATIENCE)?.code, Some(130));
    Ok(())
}

#[test]
fn the_command_asks_a_coordinator_too_and_says_where_nobody_answers() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let mut coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let health = Answering::of(&scene, &coordinator.process)?;
    assert_eq!(health.asked(&[])?, (Some(0), "ok\n".to_owned()));
    assert_eq!(health.asked(&["--ready"])?, (Some(0), "ready\n".to_owned()));

    coordinator.process.kill()?;
    let (code, said) = health.asked(&[])?;
    assert_eq!(code, Some(4));
    let sentence = format!("error: nobody answers at http://{}/healthz: ", health.http);
    assert!(said.starts_with(&sentence) && said.lines().count() == 1, "{said}");
    Ok(())
}

#[test]
fn a_worker_whose_address_for_health_is_taken_does_not_start() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let mut process = worker(&scene, "http://127.0.0.1:9", &["--scripted", "1x1", "--http", &address])?;
    let ended = process.wait(PATIENCE)?;
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(ended.err.contains(&format!("cannot listen on {address}")), "{ended:?}");
    Ok(())
}
