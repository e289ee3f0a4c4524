//! What can befall a state directory: each is refused or survived with one sentence, by a real process on a real file
//! system.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::ensure;
use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    process::{Finished, Process},
    sweep::{Ranking, four_trials},
    wait::until,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// A step every few milliseconds, a report a second.
const SCRIPT: &str = "500x10";

/// Runs `serve` on the scene's state, which is to be refused.
fn refused(scene: &Scene) -> anyhow::Result<Finished> {
    let arguments = ["serve", "--state", "state", "--listen", "127.0.0.1:0"];
    let ended = scene.run("distilsweep", &arguments)?;
    one_sentence(&ended)?;
    Ok(ended)
}

/// The last line says what is the matter, and nothing has panicked.
fn one_sentence(ended: &Finished) -> anyhow::Result<()> {
    let last = ended.err.lines().last().unwrap_or_default();
    ensure!(last.starts_with("error: "), "it ends with its error: {ended:?}");
    ensure!(!ended.err.contains("panicked"), "{}", ended.err);
    Ok(())
}

/// A state directory with a finished coordinator's database.
fn state(scene: &Scene) -> anyhow::Result<()> {
    let mut coordinator = Coordinator::start(scene, "127.0.0.1:0", &[])?;
    let sweep = scene.write("sweep.yaml", &four_trials("state", 10))?;
    coordinator.submit(scene, &sweep)?;
    coordinator.process.signal(rustix::process::Signal::TERM)?;
    let ended = coordinator.process.wait(PATIENCE)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(!scene.path("state/coordinator.db-wal").exists(), "all is in the database itself");
    Ok(())
}

/// A sweep of four scripted trials on `state`: where nothing happens to it, and where `fault` does.
fn through(
    scene: &Scene,
    fault: impl FnOnce(&mut Coordinator) -> anyhow::Result<()>,
) -> anyhow::Result<Ranking> {
    let sweep = scene.write("sweep.yaml", &four_trials("fault", 10))?;
    let mut coordinator = Coordinator::start(scene, "127.0.0.1:0", &[])?;
    let listen = coordinator.url.trim_start_matches("http://").to_owned();
    let workers: Vec<Process> = (0..2)
        .map(|_| worker(scene, &coordinator.url, &["--scripted", SCRIPT]))
        .collect::<anyhow::Result<_>>()?;
    coordinator.submit(scene, &sweep)?;
    fault(&mut coordinator)?;
    if !coordinator.process.is_running()? {
        coordinator = Coordinator::start(scene, &listen, &[])?;
    }
    let ranking =
        coordinator.ranking_when(scene, "the sweep is done", |ranking| ranking.state() == "completed")?;
    drop(workers);
    Ok(ranking)
}

/// One result a point, equal to the undisturbed run's, and no trial begun twice.
fn compare(undisturbed: &Ranking, disturbed: &Ranking) {
    assert_eq!(undisturbed.metrics().len(), 4);
    assert_eq!(undisturbed.metrics(), disturbed.metrics());
    let attempts: Vec<u64> = disturbed.trials().iter().map(|trial| trial.attempts()).collect();
    assert_eq!(attempts, [1, 1, 1, 1], "leases outlive the coordinator, reports wait with the workers");
}

#[test]
fn files_that_may_not_grow_end_the_coordinator_and_the_next_loses_nothing() -> anyhow::Result<()> {
    let undisturbed = through(&Scene::new()?, |_| Ok(()))?;
    let scene = Scene::new()?;
    let wal = scene.path("state/coordinator.db-wal");
    let disturbed = through(&scene, |coordinator| {
        until("some commits", PATIENCE, || {
            Ok(fs::metadata(&wal).is_ok_and(|wal| wal.len() > 100_000).then_some(()))
        })?;
        // Above what the log takes.
        coordinator.process.limit_files(64 << 10)?;
        let ended = coordinator.process.wait(PATIENCE)?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        one_sentence(&ended)?;
        ensure!(ended.err.contains("coordinator.db cannot be read or written"), "{}", ended.err);
        Ok(())
    })?;
    compare(&undisturbed, &disturbed);
    Ok(())
}

/// A file system of its own, unmounted at the end.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn of(path: &'a Path, size: &str) -> Option<Self> {
        fs::create_dir_all(path).ok()?;
        mount(&["-t", "tmpfs", "-o", size, "tmpfs"], path).then_some(Self(path))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

fn mount(arguments: &[&str], path: &Path) -> bool {
    let mounted = Command::new("mount").args(arguments).arg(path).output();
    mounted.is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_disk_ends_the_coordinator_and_once_there_is_space_the_next_loses_nothing() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let path = scene.path("state");
    let Some(_mounted) = Mounted::of(&path, "size=64m") else {
        eprintln!("skipped: a small file system needs the right to mount one");
        return Ok(());
    };
    let filler = path.join("filler");
    let disturbed = through(&scene, |coordinator| {
        let wal = path.join("coordinator.db-wal");
        until("some commits", PATIENCE, || {
            Ok(fs::metadata(&wal).is_ok_and(|wal| wal.len() > 100_000).then_some(()))
        })?;
        // Until the write fails.
        let mut file = fs::File::create(&filler)?;
        while file.write_all(&[1; 4096]).is_ok() {}
        let ended = coordinator.process.wait(PATIENCE)?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        one_sentence(&ended)?;
        ensure!(ended.err.contains("its disk is full: free some space"), "{}", ended.err);
        fs::remove_file(&filler)?;
        Ok(())
    })?;
    compare(&through(&Scene::new()?, |_| Ok(()))?, &disturbed);
    Ok(())
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_and_said() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    state(&scene)?;
    let arguments = ["serve", "--state", "state", "--listen", "127.0.0.1:0"];
    let mut command = scene.command("distilsweep", &arguments)?;
    if rustix::process::geteuid().is_root() {
        // Root may write anywhere: somebody else is asked, who may not be able to read where programs are built.
        let program = scene.path("distilsweep");
        fs::copy(command.get_program(), &program)?;
        command = Command::new(program);
        command.args(arguments).current_dir(scene.path("."));
        fs::set_permissions(scene.path("."), fs::Permissions::from_mode(0o755))?;
        command.uid(65534);
    } else {
        fs::set_permissions(scene.path("state/lock"), fs::Permissions::from_mode(0o444))?;
        fs::set_permissions(scene.path("state"), fs::Permissions::from_mode(0o555))?;
    }
    let ended = Process::start("refused", command, &scene.path("logs"))?.wait(PATIENCE)?;
    fs::set_permissions(scene.path("state"), fs::Permissions::from_mode(0o755))?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    one_sentence(&ended)?;
    ensure!(ended.err.contains("make it writable for this user"), "{}", ended.err);
    Ok(())
}

#[test]
fn a_database_with_a_damaged_page_is_refused_and_left_as_it_is() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    state(&scene)?;
    let path = scene.path("state/coordinator.db");
    let length = fs::metadata(&path)?.len();
    let mut file = fs::File::options().write(true).open(&path)?;
    // From the second page on; the first says that it is a database.
    file.seek(SeekFrom::Start(4096))?;
    file.write_all(&vec![0xa5; usize::try_from(length - 4096)?])?;
    drop(file);
    let damaged = fs::read(&path)?;
    let ended = refused(&scene)?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ensure!(ended.err.contains("coordinator.db is damaged"), "{}", ended.err);
    assert_eq!(fs::read(&path)?, damaged);
    Ok(())
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let text = "not a database. ".repeat(512);
    let path = scene.write("state/coordinator.db", &text)?;
    let ended = refused(&scene)?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ensure!(ended.err.contains("coordinator.db is damaged"), "{}", ended.err);
    assert_eq!(fs::read_to_string(path)?, text);
    Ok(())
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    state(&scene)?;
    let path = scene.path("state/coordinator.db");
    let mut file = fs::File::options().write(true).open(&path)?;
    // PRAGMA user_version, by the file format of SQLite.
    file.seek(SeekFrom::Start(60))?;
    file.write_all(&999_u32.to_be_bytes())?;
    drop(file);
    let newer = fs::read(&path)?;
    let ended = refused(&scene)?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ensure!(ended.err.contains("has schema 999"), "{}", ended.err);
    assert_eq!(fs::read(&path)?, newer);
    Ok(())
}

#[test]
fn of_two_coordinators_on_one_state_directory_the_first_goes_on_and_the_second_is_refused()
-> anyhow::Result<()> {
    let scene = Scene::new()?;
    let mut first = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let ended = refused(&scene)?;
    assert_eq!(ended.code, Some(5), "{ended:?}");
    ensure!(ended.err.contains("is in use by another coordinator"), "{}", ended.err);
    let sweep = scene.write("sweep.yaml", &four_trials("first", 10))?;
    first.submit(&scene, &sweep)?;
    assert_eq!(first.ranking(&scene)?.state(), "running");
    assert!(first.process.is_running()?);
    let address = fs::read_to_string(scene.path("state/address"))?;
    assert_eq!(address.trim(), first.url, "the second has not put its own in its place");
    Ok(())
}

/// The head of a sweep file of a grid.
const GRID: &str = "\
name: large
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: grid
parameters:
";

/// Four hyperparameters of so many values each.
fn grid(base: u64) -> String {
    let values = |first: u64| {
        let texts: Vec<String> = (first..first + base).map(|value| value.to_string()).collect();
        texts.join(", ")
    };
    let rates: Vec<String> = (1..=base).map(|rate| format!("{rate}e-9")).collect();
    format!(
        "{GRID}  learning_rate: {{values: [{}]}}
  seed: {{values: [{}]}}
  data_seed: {{values: [{}]}}
  warmup_steps: {{values: [{}]}}
",
        rates.join(", "),
        values(0),
        values(0),
        values(0)
    )
}

#[test]
fn a_grid_of_a_million_million_points_starts_at_once_in_little_memory() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let workers = [worker(&scene, &coordinator.url, &["--scripted", "2x1"])?];
    let sweep = scene.write("sweep.yaml", &grid(1000))?;
    coordinator.submit(&scene, &sweep)?;
    let done = |ranking: &Ranking| ranking.trials().iter().any(|trial| trial.state() == "completed");
    coordinator.ranking_when(&scene, "a trial of it is done", done)?;
    let shown = scene.run("distilsweep", &["sweep", "show", "--coordinator", &coordinator.url])?;
    ensure!(shown.out.contains("of 1000000000000 completed"), "{shown:?}");
    let status = fs::read_to_string(format!("/proc/{}/status", coordinator.process.pid()?))?;
    let kilobytes = |name: &str| -> anyhow::Result<u64> {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        Ok(value.trim().trim_end_matches(" kB").parse()?)
    };
    // Without the pages of the program itself, which is large in an unoptimised build.
    let own = kilobytes("VmHWM:")?.saturating_sub(kilobytes("RssFile:")?);
    assert!(own < 20_000, "{own} kB besides the program's own pages");
    drop(workers);

    let ranges = ["seed", "data_seed", "warmup_steps", "logging_steps"]
        .map(|name| format!("  {name}: {{min: 1, max: 60000}}\n"));
    let sweep = scene.write("larger.yaml", &format!("{GRID}{}", ranges.concat()))?;
    let refused = scene.run(
        "distilsweep",
        &["sweep", "submit", &sweep.to_string_lossy(), "--coordinator", &coordinator.url],
    )?;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    ensure!(refused.err.contains("more than the 9223372036854775808 (2^63)"), "{}", refused.err);
    Ok(())
}
