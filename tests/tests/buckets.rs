//! Checkpoints and models in an object store, by real processes: S3 as moto answers it, behind a network that fails.

use std::{collections::BTreeSet, process::Command, time::Duration};

use anyhow::{Context, ensure};
use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    mlflow::free_port,
    process::Process,
    proxy::{Mode, Proxy},
    sweep::one_trial,
    wait::until,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// A script of 400 steps, 6 s in all.
const SCRIPTED: &[&str] = &["--scripted", "400x15", "--checkpoint-interval", "0.4", "--scratch", "scratch"];

/// Whoever shows a signature is somebody to moto, which does not look at it.
const SIGNED: &str =
    "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

/// A bucket; its server goes with it.
struct Bucket {
    url: String,
    port: u16,
    _server: Process,
}

impl Bucket {
    /// None where there is no moto to serve it.
    fn start(scene: &Scene) -> anyhow::Result<Option<Self>> {
        let Some(program) = std::env::var_os("DISTILSWEEP_TEST_MOTO") else {
            println!("skipped: DISTILSWEEP_TEST_MOTO does not name `moto_server`; tests/run.sh installs one");
            return Ok(None);
        };
        let port = free_port()?;
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = Process::start("moto", command, &scene.path("logs"))?;
        let url = format!("http://127.0.0.1:{port}/trials");
        until("a bucket", PATIENCE, || Ok(ureq::put(&url).send_empty().is_ok().then_some(())))?;
        Ok(Some(Self { url, port, _server: server }))
    }

    /// Names of all objects.
    fn objects(&self) -> anyhow::Result<BTreeSet<String>> {
        let listed = self.get("?list-type=2")?;
        let keys = listed.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        Ok(keys.map(|(key, _)| key.to_owned()).collect())
    }

    fn get(&self, what: &str) -> anyhow::Result<String> {
        let request = ureq::get(format!("{}{what}", self.url)).header("authorization", SIGNED);
        Ok(request.call()?.body_mut().read_to_string()?)
    }

    fn remove(&self, object: &str) -> anyhow::Result<()> {
        ureq::delete(format!("{}/{object}", self.url)).header("authorization", SIGNED).call()?;
        Ok(())
    }

    /// Steps of the checkpoints that are whole.
    fn checkpoints(&self) -> anyhow::Result<BTreeSet<u64>> {
        let step = |object: &String| {
            object.strip_suffix("/manifest.json")?.rsplit_once("checkpoint-")?.1.parse().ok()
        };
        Ok(self.objects()?.iter().filter_map(step).collect())
    }
}

#[test]
fn a_killed_workers_trial_goes_on_on_another_machine_from_a_bucket() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let Some(bucket) = Bucket::start(&scene)? else { return Ok(()) };
    let proxy = Proxy::start(([127, 0, 0, 1], bucket.port).into())?;
    let scene = scene.with_variables([
        ("AWS_ENDPOINT_URL", proxy.url().as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "tester"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ]);
    let coordinator =
        Coordinator::start(&scene, "127.0.0.1:0", &["--lease-timeout", "3", "--store", "s3://trials/of/us"])?;
    let file = scene.write("grid.yaml", &one_trial("one", 400))?;
    coordinator.submit(&scene, &file)?;
    let mut doomed = worker(&scene, &coordinator.url, SCRIPTED)?;
    let first = until("a checkpoint", PATIENCE, || Ok(bucket.checkpoints()?.first().copied()))?;
    until("more checkpoints", PATIENCE, || {
        Ok(Some(bucket.checkpoints()?).filter(|there| there.len() > 1 && !there.contains(&first)))
    })?;
    doomed.kill()?;

    // The newest one is torn: without its manifest it is none.
    let left = bucket.checkpoints()?;
    let torn = *left.last().context("a checkpoint")?;
    let manifest = bucket
        .objects()?
        .into_iter()
        .find(|object| object.ends_with(&format!("checkpoint-{torn}/manifest.json")));
    bucket.remove(&manifest.context("its manifest")?)?;
    let whole = bucket.checkpoints()?;
    ensure!(!whole.contains(&torn) && !whole.is_empty(), "{whole:?}");

    proxy.set(Mode::Delay(Duration::from_millis(20)));
    let heir = worker(&scene, &coordinator.url, SCRIPTED)?;
    until("its first checkpoint", PATIENCE, || {
        Ok(heir.err().contains("checkpoint published").then_some(()))
    })?;
    until("a connection to cut", PATIENCE, || {
        proxy.cut();
        Ok((proxy.counts().cut > 0).then_some(()))
    })?;
    let ranking =
        coordinator.ranking_when(&scene, "a complete sweep", |ranking| ranking.state() == "completed")?;
    let trial = &ranking.trials()[0];
    assert_eq!((trial.state(), trial.attempts()), ("completed", 2));
    let model =
        trial.text("checkpoint").strip_prefix("s3://trials/").context("a model in the bucket")?.to_owned();
    let steps = bucket.get(&format!("/{}/steps.txt", model.trim_end_matches('/')))?;
    let attempts: Vec<&str> = steps.lines().collect();
    let [one, other] = attempts[..] else { anyhow::bail!("{attempts:?}") };
    let last: u64 = one.strip_prefix("1-").context("from the first step")?.parse()?;
    ensure!(whole.contains(&last), "{one}, where {whole:?} were whole and {torn} was torn");
    assert_eq!(other, format!("{}-400", last + 1));
    ensure!(proxy.counts().delayed > 0 && proxy.counts().cut > 0, "{:?}", proxy.counts());
    until("a bucket without checkpoints", PATIENCE, || Ok(bucket.checkpoints()?.is_empty().then_some(())))
}
