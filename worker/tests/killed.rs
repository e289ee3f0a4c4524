//! `train` killed at random moments and resumed: the numbers of an undisturbed training, to the last bit.
#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and their helpers")]

use std::{
    env,
    fs::{self, File},
    hash::{BuildHasher, Hasher, RandomState},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

/// Two epochs of 77 steps with everything that has a state: dropout, warm-up, moments, the best evaluation so far.
const PARAMS: &str = r#"{"num_train_epochs": 2, "per_device_train_batch_size": 1, "learning_rate": 0.001,
    "warmup_ratio": 0.1, "weight_decay": 0.1, "seed": 6, "early_stopping_patience": 50, "eval_strategy": "steps",
    "eval_steps": 20}"#;
const DEADLINE: Duration = Duration::from_secs(120);

/// A training that does not outlive its test.
struct Training(Child);

impl Drop for Training {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn train(output: &Path, log: &Path, more: &[&str]) -> Training {
    let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixture");
    let mut command = Command::new(env!("CARGO_BIN_EXE_distilsweep-worker"));
    command.arg("train").arg("--model").arg(fixture.join("start")).arg("--output").arg(output);
    for split in ["train", "validation"] {
        command.arg(format!("--{split}")).arg(fixture.join(format!("{split}.csv")));
    }
    let child = command
        .args(["--labels", "praise,blame,fact", "--threads", "1", "--dropout", "0.2", "--params", PARAMS])
        .args(more)
        .env("RUST_LOG", "distilsweep_worker=debug")
        .stdout(Stdio::null())
        .stderr(File::options().create(true).append(true).open(log).unwrap())
        .spawn();
    Training(child.unwrap())
}

/// Waits for a condition, until a deadline.
#[expect(clippy::disallowed_methods, reason = "tests wait by the clock")]
fn until(what: &str, log: &Path, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !met() {
        assert!(Instant::now() < deadline, "{what} did not come: {}", fs::read_to_string(log).unwrap());
        thread::sleep(Duration::from_millis(1));
    }
}

fn ended(mut training: Training, log: &Path) -> ExitStatus {
    let mut status = None;
    until("the end", log, || {
        status = training.0.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn lines(output: &Path) -> usize {
    fs::read_to_string(output.join("steps.jsonl")).unwrap_or_default().lines().count()
}

/// What must not depend on interruptions: the curve, the evaluations, the final metrics and the weights.
fn results(output: &Path) -> (String, String, serde_json::Value, Vec<u8>) {
    let read = |name: &str| fs::read_to_string(output.join(name)).unwrap();
    let mut result: serde_json::Value = serde_json::from_str(&read("result.json")).unwrap();
    let weights = fs::read(output.join("model/model.safetensors")).unwrap();
    (read("steps.jsonl"), read("evals.jsonl"), result["metrics"].take(), weights)
}

#[test]
fn a_training_killed_at_random_moments_and_resumed_ends_as_an_undisturbed_one_to_the_last_bit() {
    let seed = env::var("DISTILSWEEP_TEST_SEED").map_or_else(
        |_| RandomState::new().build_hasher().finish(),
        |seed| seed.parse().expect("DISTILSWEEP_TEST_SEED is a number"),
    );
    let kills: u32 = env::var("DISTILSWEEP_TEST_KILLS").map_or(6, |kills| kills.parse().unwrap());
    println!("DISTILSWEEP_TEST_SEED={seed} DISTILSWEEP_TEST_KILLS={kills}");
    let mut random = StdRng::seed_from_u64(seed);

    let directory = TempDir::new().unwrap();
    let (whole, killed) = (directory.path().join("whole"), directory.path().join("killed"));
    let log = directory.path().join("log");
    assert!(ended(train(&whole, &log, &["--no-checkpoints"]), &log).success(), "see {}", log.display());
    assert_eq!(lines(&whole), 154);

    let often = ["--resume", "--checkpoint-interval", "0.01"];
    for _ in 0..kills {
        let before = lines(&killed);
        let mut training = train(&killed, &log, &often);
        // At once, in loading, or some steps further; then at any moment of a step or of writing a checkpoint.
        let steps = random.random_range(0..=5) * 22 / kills as usize;
        if steps > 0 {
            until("a step", &log, || lines(&killed) != before);
            let from = lines(&killed);
            until("more steps", &log, || lines(&killed) >= from + steps);
        }
        thread::sleep(Duration::from_micros(random.random_range(0..20_000)));
        training.0.kill().unwrap();
        assert_eq!(training.0.wait().unwrap().signal(), Some(9), "it ended before it was killed");
    }
    assert!(ended(train(&killed, &log, &["--resume"]), &log).success());
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("goes on from a checkpoint"), "{log}");
    assert!(results(&killed) == results(&whole), "the killed training differs: {log}");
    assert!(!killed.join("checkpoints").exists(), "checkpoints of a trial with a result are left");
}

#[test]
fn sigterm_leaves_a_checkpoint_that_the_same_command_goes_on_from() {
    let directory = TempDir::new().unwrap();
    let (whole, stopped) = (directory.path().join("whole"), directory.path().join("stopped"));
    let log = directory.path().join("log");
    assert!(ended(train(&whole, &log, &["--no-checkpoints"]), &log).success());

    let training = train(&stopped, &log, &[]);
    until("the ninth step", &log, || lines(&stopped) >= 9);
    assert!(Command::new("kill").arg(training.0.id().to_string()).status().unwrap().success());
    let status = ended(training, &log);
    assert_eq!(status.code(), Some(130), "{}", fs::read_to_string(&log).unwrap());
    let done = lines(&stopped);
    assert!((9..154).contains(&done), "{done}");

    let log = directory.path().join("second");
    assert!(ended(train(&stopped, &log, &["--resume"]), &log).success());
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains(&format!("step={done}")), "it should go on from step {done}: {log}");
    assert!(results(&stopped) == results(&whole), "{log}");
}
