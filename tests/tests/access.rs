//! Tokens, TLS and what is served off loopback, through the real programs. Certificates are made here, by rcgen.

use std::{fs, path::Path, process::Command, time::Duration};

use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    mlflow::free_port,
    process::Finished,
    sweep::one_trial,
};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};

const CLIENT: &str = "client-0123456789abcdef0123456789";
const WORKER: &str = "worker-0123456789abcdef0123456789";

/// An authority, and certificates of its signed to order, as PEM files of a scene.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(scene: &Scene, name: &str) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        scene.write(&format!("{name}.pem"), &params.self_signed(&key)?.pem())?;
        Ok(Self { issuer: Issuer::new(params, key) })
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn sign(&self, scene: &Scene, name: &str, host: &str, expired: bool) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        }
        scene.write(&format!("{name}.pem"), &params.signed_by(&key, &self.issuer)?.pem())?;
        scene.write(&format!("{name}.key"), &key.serialize_pem())?;
        Ok(())
    }
}

/// Exit code and last words, with what differs from run to run replaced.
fn said(scene: &Scene, finished: &Finished, url: &str) -> String {
    let last = finished.err.lines().last().unwrap_or_default();
    let address = url.rsplit('/').next().unwrap_or_default();
    format!("{}: {}", finished.code.unwrap_or(-1), scene.redact(last).replace(address, "ADDRESS"))
}

fn list(scene: &Scene, url: &str, extra: &[&str]) -> anyhow::Result<String> {
    let arguments = [&["sweep", "list", "--coordinator", url], extra].concat();
    let finished = scene.run("distilsweep", &arguments)?;
    Ok(if finished.code == Some(0) { "0".to_owned() } else { said(scene, &finished, url) })
}

fn join(scene: &Scene, url: &str, extra: &[&str]) -> anyhow::Result<String> {
    let finished =
        worker(scene, url, &[&["--scripted", "4x1"], extra].concat())?.wait(Duration::from_secs(60))?;
    Ok(said(scene, &finished, url))
}

/// Whether a secret stands in any file of a directory, at any depth.
fn holds(directory: &Path, secret: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(holds(&path, secret)?);
        } else if String::from_utf8_lossy(&fs::read(&path)?).contains(secret) {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

#[test]
fn tokens_and_certificates_of_both_sides_carry_a_sweep_to_its_end() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let authority = Authority::new(&scene, "ca")?;
    authority.sign(&scene, "server", "127.0.0.1", false)?;
    authority.sign(&scene, "peer", "peer", false)?;
    scene.write("clients", &format!("anna: {CLIENT}\n"))?;
    scene.write("workers", &format!("gpus: {WORKER}\n"))?;
    let coordinator = Coordinator::start(
        &scene,
        "127.0.0.1:0",
        &[
            "--client-token-file",
            "clients",
            "--worker-token-file",
            "workers",
            "--tls-cert",
            "server.pem",
            "--tls-key",
            "server.key",
            "--tls-client-ca",
            "ca.pem",
        ],
    )?;
    let url = &coordinator.url;
    assert!(url.starts_with("https://"), "{url}");
    let tls = ["--tls-ca", "ca.pem", "--tls-cert", "peer.pem", "--tls-key", "peer.key"];
    let client = [&tls[..], &["--token-file", "clients"]].concat();
    let file = scene.write("sweep.yaml", &one_trial("guarded", 4))?;
    let file = file.to_string_lossy();
    let submit = [&["sweep", "submit", &*file, "--coordinator", url], &client[..]].concat();
    let submitted = scene.run("distilsweep", &submit)?;
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    let mut trains =
        worker(&scene, url, &[&["--scripted", "4x1", "--token-file", "workers"], &tls[..]].concat())?;
    let watch = [&["sweep", "watch", "--coordinator", url], &client[..]].concat();
    let watched = scene.run("distilsweep", &watch)?;
    assert_eq!(watched.code, Some(0), "{watched:?}");

    let anonymous = ["--tls-ca", "ca.pem", "--token-file", "clients"];
    let swapped = [&tls[..], &["--token-file", "workers"]].concat();
    // The alert that says so may be overtaken by the end of the connection: then it is what may be the matter.
    let turned_away = list(&scene, url, &anonymous)?;
    assert!(turned_away.contains("it asks for a certificate"), "{turned_away}");
    let shown = [
        list(&scene, url, &tls)?,
        list(&scene, url, &swapped)?,
        list(&scene, url, &["--token-file", "clients"])?,
        list(&scene, &url.replace("127.0.0.1", "localhost"), &client)?.replace("localhost", "NAME"),
        join(&scene, url, &tls)?,
        join(&scene, url, &client)?,
    ];
    insta::assert_snapshot!(shown.join("\n"), @r#"
        7: error: a client's token is needed: set DISTILSWEEP_TOKEN or give --token-file FILE
        7: error: the token opens the other service alone: set DISTILSWEEP_TOKEN or give --token-file FILE with a client's
        7: error: coordinator https://ADDRESS: its certificate is signed by no authority known here: name the one that signed it with --tls-ca FILE
        7: error: coordinator https://ADDRESS: its certificate is for another name than the URL's: use one that it has (127.0.0.1)
        7: error: coordinator https://ADDRESS: a worker's token is needed: set DISTILSWEEP_TOKEN or give --token-file FILE
        7: error: coordinator https://ADDRESS: the token opens the other service alone: set DISTILSWEEP_TOKEN or give --token-file FILE with a worker's
        "#);
    trains.signal(rustix::process::Signal::TERM)?;
    assert_eq!(trains.wait(Duration::from_secs(60))?.code, Some(0));
    drop((trains, coordinator));
    for secret in [CLIENT, WORKER] {
        let state = holds(&scene.path("state"), secret)?;
        let logs = holds(&scene.path("logs"), secret)?;
        assert!(state.is_empty() && logs.is_empty(), "a token lies in {state:?} {logs:?}");
    }
    Ok(())
}

#[test]
fn a_certificate_that_cannot_be_trusted_says_why() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let authority = Authority::new(&scene, "ca")?;
    authority.sign(&scene, "old", "127.0.0.1", true)?;
    let old = Coordinator::start(&scene, "127.0.0.1:0", &["--tls-cert", "old.pem", "--tls-key", "old.key"])?;
    let expired = list(&scene, &old.url, &["--tls-ca", "ca.pem"])?;
    drop(old);
    let plain = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let no_tls = list(&scene, &plain.url.replace("http", "https"), &["--tls-ca", "ca.pem"])?;
    insta::assert_snapshot!([expired, no_tls].join("\n"), @r#"
        7: error: coordinator https://ADDRESS: its certificate has expired: give it a new one
        7: error: coordinator https://ADDRESS: it does not speak TLS there: use http://, or give it a certificate
        "#);
    Ok(())
}

#[test]
fn what_serve_lacks_off_loopback_is_named() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    Authority::new(&scene, "ca")?.sign(&scene, "server", "127.0.0.1", false)?;
    scene.write("clients", CLIENT)?;
    scene.write("workers", WORKER)?;
    scene.write("short", "anna: secret")?;
    let mut shown = Vec::new();
    for extra in [
        &["--listen", "0.0.0.0:0"][..],
        &["--listen", "0.0.0.0:0", "--client-token-file", "clients", "--worker-token-file", "workers"],
        &["--client-token-file", "short"],
        &["--client-token-file", "absent"],
        &["--client-token-file", "clients", "--worker-token-file", "clients"],
        &["--tls-cert", "server.pem", "--tls-key", "server.pem"],
        &["--tls-cert", "server.pem", "--tls-key", "absent"],
    ] {
        let arguments = [&["serve", "--state", "state"], extra].concat();
        let finished = scene.run("distilsweep", &arguments)?;
        shown.push(said(&scene, &finished, "http://none"));
    }
    insta::assert_snapshot!(shown.join("\n"), @r#"
        2: error: 0.0.0.0:0 can be reached from other machines and --client-token-file, --worker-token-file and --tls-cert with --tls-key are missing: without, strangers could start sweeps, join as workers or read along; --insecure serves it so all the same
        2: error: 0.0.0.0:0 can be reached from other machines and --tls-cert with --tls-key is missing: without, strangers could start sweeps, join as workers or read along; --insecure serves it so all the same
        2: error: short:1: a token has at least 16 letters, digits or -._~+/=, as `openssl rand -hex 32` makes them
        2: error: absent cannot be read: No such file or directory (os error 2)
        2: error: the clients' and the workers' tokens share one: give each kind its own, or a worker could steer sweeps
        2: error: server.pem has no PEM section `PRIVATE KEY`
        2: error: absent cannot be read: No such file or directory (os error 2)
        "#);
    assert!(!scene.path("state").exists(), "nothing is made for a coordinator that may not serve");
    let insecure = Coordinator::start(&scene, "0.0.0.0:0", &["--insecure"])?;
    assert!(insecure.process.err().contains("insecure"), "it says what that means");
    let near = insecure.url.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(list(&scene, &near, &[])?, "0");
    Ok(())
}

#[test]
fn nobody_else_on_the_machine_joins_a_run() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let file = scene.write("sweep.yaml", &one_trial("own", 2000))?;
    let run =
        ["run", &*file.to_string_lossy(), "--state", "state", "--workers", "1", "--scripted", "2000x20"];
    let mut running = scene.start("distilsweep", &run)?;
    let address = scene.path("state/address");
    let url = distilsweep_tests::wait::until("the address", Duration::from_secs(60), || {
        anyhow::ensure!(running.is_running()?, "it ended: {}", running.err());
        Ok(fs::read_to_string(&address).ok().filter(|url| url.ends_with('\n')))
    })?;
    let url = url.trim();
    let strangers = [list(&scene, url, &[])?, join(&scene, url, &[])?];
    insta::assert_snapshot!(strangers.join("\n"), @r#"
        7: error: a client's token is needed: set DISTILSWEEP_TOKEN or give --token-file FILE
        7: error: coordinator http://ADDRESS: a worker's token is needed: set DISTILSWEEP_TOKEN or give --token-file FILE
        "#);
    let own = scene.run("distilsweep", &["sweep", "list", "--state", "state"])?;
    assert_eq!(own.code, Some(0), "whoever may read the state may ask: {own:?}");
    let processes = Command::new("ps").args(["-eo", "args"]).output()?;
    let token = fs::read_to_string(scene.path("state/client-token"))?;
    assert!(!String::from_utf8_lossy(&processes.stdout).contains(token.trim()), "no token is an argument");
    running.signal(rustix::process::Signal::TERM)?;
    assert_eq!(running.wait(Duration::from_secs(60))?.code, Some(130));
    Ok(())
}

#[test]
fn health_and_metrics_are_told_in_plain_http() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let port = free_port()?;
    let http = format!("127.0.0.1:{port}");
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &["--http", &http])?;
    assert_eq!(fs::read_to_string(scene.path("state/http-address"))?.trim(), format!("http://{http}"));
    coordinator.submit(&scene, &scene.write("sweep.yaml", &one_trial("seen", 4))?)?;
    let _trains = worker(&scene, &coordinator.url, &["--scripted", "4x1"])?;
    coordinator.ranking_when(&scene, "the result", |ranking| ranking.state() == "completed")?;
    let get = |path: &str| -> anyhow::Result<String> {
        Ok(ureq::get(format!("http://{http}{path}")).call()?.body_mut().read_to_string()?)
    };
    assert_eq!(get("/healthz")?, "ok\n");
    assert_eq!(get("/readyz")?, "ready\n");
    let metrics = get("/metrics")?;
    for expected in [
        "distilsweep_trials_ended_total{outcome=\"completed\"} 1",
        "distilsweep_workers{state=\"idle\"} 1",
        "distilsweep_leases 0",
        "distilsweep_queue 0",
        "distilsweep_commit_seconds_count",
        "distilsweep_assignment_seconds_count 1",
        "distilsweep_outbox_rows",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ] {
        assert!(metrics.contains(expected), "{expected} is not in\n{metrics}");
    }
    Ok(())
}
