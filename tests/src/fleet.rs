//! Coordinator, workers and commands of this workspace.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context;

use crate::{
    process::{Finished, Process},
    sweep::Ranking,
    wait::until,
};

/// How long a process may take to start or a command to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A scratch directory with the processes' logs, state and files.
#[derive(Clone, Debug)]
pub struct Scene {
    directory: Arc<tempfile::TempDir>,
    label: String,
    started: Arc<AtomicU32>,
    /// The command line that its programs' own are added to.
    through: Vec<String>,
    /// Where the Hub is; nobody is there unless a test starts one.
    hub: String,
    /// What its processes find in their environment besides.
    variables: Vec<(String, String)>,
}

/// Nobody answers there, and the system says so at once.
const NOWHERE: &str = "http://127.0.0.1:9";

impl Scene {
    /// An empty one. It goes with the last of its values, unless `DISTILSWEEP_TEST_KEEP` is set, whatever to.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        Self::labelled("")
    }

    /// The same where several are on at once: the names of its processes' logs begin with `label`.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn labelled(label: &str) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("distilsweep-test-")
            .disable_cleanup(std::env::var_os("DISTILSWEEP_TEST_KEEP").is_some())
            .tempdir()?;
        std::fs::create_dir(directory.path().join("logs"))?;
        Ok(Self {
            directory: Arc::new(directory),
            label: label.to_owned(),
            started: Arc::default(),
            through: Vec::new(),
            hub: NOWHERE.to_owned(),
            variables: Vec::new(),
        })
    }

    /// The same for programs that are started through another, which takes their command line after its own.
    pub fn through(&self, command_line: Vec<String>) -> Self {
        Self { through: command_line, ..self.clone() }
    }

    /// The same with these variables for its processes.
    pub fn with_variables<'a>(self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { variables, ..self }
    }

    /// The same with a Hub at this address for its processes, which keep what they download in the scene.
    pub fn with_hub(self, url: &str) -> Self {
        Self { hub: url.to_owned(), ..self }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in it and answers its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// The names of all that lies in it, but for the logs.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn files(&self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.directory.path())? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.retain(|name| name != "logs");
        names.sort();
        Ok(names)
    }

    /// The scene's own path replaced, for messages that are compared.
    pub fn redact(&self, text: &str) -> String {
        text.replace(&*self.directory.path().to_string_lossy(), "SCENE")
    }

    /// A command line of `distilsweep` or `distilsweep-worker`, run in the scene and nothing of the surroundings.
    ///
    /// # Errors
    /// The program was not built.
    pub fn command(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.bare(&binary(program)?);
        command.args(arguments);
        Ok(command)
    }

    fn bare(&self, program: &Path) -> Command {
        let mut command = match self.through.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(self.directory.path()).env_remove("RUST_LOG");
        // What tests look for in logs is written for people.
        command.env("DISTILSWEEP_LOG", "human");
        command.env("HF_ENDPOINT", &self.hub).env("HF_HOME", self.path("huggingface"));
        // Which would differ from run to run.
        command.env("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0");
        if program.ends_with("distilsweep-worker") {
            command.env("RUST_LOG", "info,distilsweep_worker=debug");
        }
        for variable in [
            "HF_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "HF_TOKEN",
            "MLFLOW_TRACKING_URI",
            "MLFLOW_EXPERIMENT_NAME",
            "MLFLOW_RUN_CONTEXT",
            "DISTILSWEEP_COORDINATOR",
            "DISTILSWEEP_WORKER",
            "DISTILSWEEP_TOKEN",
            "DISTILSWEEP_CLIENT_TOKEN",
            "DISTILSWEEP_WORKER_TOKEN",
        ] {
            command.env_remove(variable);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A name for a process and its logs.
    fn name(&self, program: &str) -> String {
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{}{number}-{program}", self.label)
    }

    /// Starts a process.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Process> {
        Process::start(&self.name(program), self.command(program, arguments)?, &self.path("logs"))
    }

    /// Starts a process that is told by an error of the call, and not by SIGXFSZ, that a file cannot grow: see
    /// [`Process::limit_files`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_limitable(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Process> {
        let mut shell = self.bare("sh".as_ref());
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(binary(program)?).args(arguments);
        Process::start(&self.name(program), shell, &self.path("logs"))
    }

    /// The processes that have this scene for their working directory, each as its command line.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn processes(&self) -> anyhow::Result<Vec<String>> {
        let here = self.directory.path().canonicalize()?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let process = entry?.path();
            // Those that end meanwhile, and what are no processes, have none.
            if std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&here)) {
                let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
                found.push(String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
        Ok(found)
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be started or does not end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Finished> {
        self.start(program, arguments)?.wait(PATIENCE)
    }
}

/// A coordinator: `distilsweep serve`.
#[derive(Debug)]
pub struct Coordinator {
    /// Its address.
    pub url: String,
    /// The process.
    pub process: Process,
}

impl Coordinator {
    /// Starts one on the state directory `state` of the scene and waits until it listens.
    ///
    /// # Errors
    /// It ends, or does not say where it listens.
    pub fn start(scene: &Scene, listen: &str, extra: &[&str]) -> anyhow::Result<Self> {
        let mut arguments = vec!["serve", "--state", "state", "--listen", listen];
        if !extra.contains(&"--http") {
            // Its default is the port after, which may be the next test's.
            arguments.extend(["--http", "127.0.0.1:0"]);
        }
        arguments.extend(extra);
        let address = scene.path("state/address");
        if address.exists() {
            std::fs::remove_file(&address)?;
        }
        let mut process = scene.start_limitable("distilsweep", &arguments)?;
        let url = until("the coordinator's address", PATIENCE, || {
            anyhow::ensure!(process.is_running()?, "the coordinator ended at once: {}", process.err());
            Ok(std::fs::read_to_string(&address).ok().filter(|url| url.ends_with('\n')))
        })?;
        Ok(Self { url: url.trim().to_owned(), process })
    }

    /// Submits a sweep file.
    ///
    /// # Errors
    /// It is refused.
    pub fn submit(&self, scene: &Scene, file: &Path) -> anyhow::Result<()> {
        let file = file.to_string_lossy();
        let submitted = scene.run("distilsweep", &["sweep", "submit", &file, "--coordinator", &self.url])?;
        anyhow::ensure!(submitted.code == Some(0), "the sweep is refused: {submitted:?}");
        Ok(())
    }

    /// The ranking as it is.
    ///
    /// # Errors
    /// The coordinator does not answer with one.
    pub fn ranking(&self, scene: &Scene) -> anyhow::Result<Ranking> {
        let printed =
            scene.run("distilsweep", &["results", "--format", "json", "--coordinator", &self.url])?;
        anyhow::ensure!(printed.code == Some(0), "no results: {printed:?}");
        Ranking::parse(&printed.out)
    }

    /// Waits until the ranking is as `wanted` has it.
    ///
    /// # Errors
    /// It does not become so in time.
    pub fn ranking_when(
        &self,
        scene: &Scene,
        what: &str,
        wanted: impl Fn(&Ranking) -> bool,
    ) -> anyhow::Result<Ranking> {
        until(what, Duration::from_secs(240), || Ok(Some(self.ranking(scene)?).filter(&wanted)))
    }
}

/// Starts a worker for the coordinator at `url`.
///
/// # Errors
/// It cannot be started.
pub fn worker(scene: &Scene, url: &str, extra: &[&str]) -> anyhow::Result<Process> {
    let arguments = [&["join", url, "--device", "cpu", "--threads", "1"], extra].concat();
    scene.start("distilsweep-worker", &arguments)
}

/// The program of this name beside this one or above it, where `cargo build` puts it.
fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    // Tests lie in a directory below the programs, other programs beside them.
    let mut places = test.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    places
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built: cargo build --workspace --bins, or tests/run.sh"))
}
