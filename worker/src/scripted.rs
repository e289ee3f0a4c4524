//! A trainer that follows a script: no mathematics, but every event that a real training has, at a chosen pace. With
//! it leases, faults and the coordinator are tested without libtorch. Its result is a function of the trial alone,
//! as a real one's is, and only where each step was taken once and in order: `test_loss` chains them. The model's file
//! says which steps were taken by which attempt.

use std::{collections::BTreeMap, fmt, fs, io, path::Path, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::trainer::{
    Checkpoint, Ended, EvaluationRecord, Job, Mistake, Observer, Phase, Request, Scores, Split, StepRecord,
    Trained, Trainer,
};

/// What one trial is said to take, in bytes.
const LANE_BYTES: u64 = 1 << 20;
const STATE: &str = "state.json";

/// The script: how many steps of what length every trial has, and what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptedTrainer {
    /// Optimizer steps of every trial.
    pub steps: u64,
    /// How long each takes.
    pub step_time: Duration,
    /// The step that never ends, in a trial that began from its beginning: one that goes on from a checkpoint gets
    /// past it.
    pub hang: Option<u64>,
    /// Of hundred trials, those that fail in their middle, whenever this script follows them: a bad worker.
    pub fail: u64,
    /// Evaluations of every trial, evenly spread, each the end of an epoch: its scores grow to the result.
    pub evaluations: u64,
}

impl ScriptedTrainer {
    /// A script by which all goes well.
    pub fn new(steps: u64, step_time: Duration) -> Self {
        Self { steps, step_time, hang: None, fail: 0, evaluations: 1 }
    }

    /// The epoch that ends with a step, if one does; not with the last, whose evaluation makes the result.
    fn epoch(self, step: u64) -> Option<f64> {
        let epochs = (step * self.evaluations).checked_div(self.steps)?;
        let ends = (1..self.steps).contains(&step) && (step * self.evaluations).is_multiple_of(self.steps);
        ends.then_some(epochs as f64)
    }

    /// Begins with the trials of a pack, for whoever steps them by a clock of its own.
    pub fn begin<'a>(self, jobs: &'a [Job], observers: Vec<&'a mut dyn Observer>) -> Script<'a> {
        let lanes = jobs.iter().zip(observers);
        Script {
            lanes: lanes.map(|(job, observer)| Lane::begin(self, job, observer)).collect(),
            script: self,
        }
    }
}

impl FromStr for ScriptedTrainer {
    type Err = String;

    /// Reads `STEPSxMILLISECONDS`, and after it `,hang=STEP`, `,fail=PERCENT` and `,evaluations=COUNT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let mut words = text.split(',');
            let (steps, milliseconds) = words.next()?.split_once('x')?;
            let mut script =
                Self::new(steps.parse().ok()?, Duration::from_millis(milliseconds.parse().ok()?));
            for word in words {
                match word.split_once('=')? {
                    ("hang", step) => script.hang = Some(step.parse().ok()?),
                    ("fail", percent) => script.fail = percent.parse().ok().filter(|p| *p <= 100)?,
                    ("evaluations", count) => {
                        script.evaluations = count.parse().ok().filter(|count| *count > 0)?;
                    }
                    _ => return None,
                }
            }
            Some(script)
        };
        read().ok_or_else(|| {
            format!(
                "`{text}` is no script, it must be STEPSxMILLISECONDS[,hang=STEP][,fail=PERCENT][,evaluations=COUNT]: 20x50, say"
            )
        })
    }
}

impl Trainer for ScriptedTrainer {
    fn train(&mut self, jobs: &[Job], observers: &mut [&mut dyn Observer]) {
        let observers = observers.iter_mut().map(|observer| &mut **observer as &mut dyn Observer).collect();
        let mut script = self.begin(jobs, observers);
        while let Some(step_time) = script.before_step() {
            std::thread::sleep(step_time);
            script.step();
        }
    }
}

/// The trials of a pack that follow a script.
pub struct Script<'a> {
    script: ScriptedTrainer,
    lanes: Vec<Lane<'a>>,
}

impl fmt::Debug for Script<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("script", &self.script).field("lanes", &self.lanes.len()).finish()
    }
}

impl Script<'_> {
    /// Does as asked before a step, and answers how long the step takes; nothing once all trials have ended.
    pub fn before_step(&mut self) -> Option<Duration> {
        self.lanes.retain_mut(Lane::goes_on);
        if self.lanes.is_empty() {
            return None;
        }
        let hangs = self.lanes.iter().any(Lane::hangs);
        Some(if hangs { Duration::MAX } else { self.script.step_time })
    }

    /// Takes the step.
    pub fn step(&mut self) {
        self.lanes.iter_mut().for_each(Lane::step);
    }
}

/// All that a trial's next step depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    /// Whose it is.
    trial: u64,
    /// Steps done.
    step: u64,
    /// A hash of each in turn.
    chain: u64,
    /// First and last step of each attempt.
    attempts: Vec<(u64, u64)>,
}

impl State {
    fn read(directory: &Path, trial: u64) -> Result<Self, String> {
        let path = directory.join(STATE);
        let text = fs::read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        let state: Self =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if state.trial != trial {
            return Err(format!("{} is another trial's", path.display()));
        }
        Ok(state)
    }

    fn write(&self, directory: &Path) -> io::Result<()> {
        fs::write(directory.join(STATE), serde_json::to_vec(self)?)
    }
}

struct Lane<'a> {
    script: ScriptedTrainer,
    job: &'a Job,
    observer: &'a mut dyn Observer,
    state: State,
}

impl<'a> Lane<'a> {
    fn begin(script: ScriptedTrainer, job: &'a Job, observer: &'a mut dyn Observer) -> Self {
        let trial = fingerprint(job);
        let resumed = job.resume.iter().find_map(|directory| {
            State::read(directory, trial).inspect_err(|why| tracing::warn!(why, "checkpoint refused")).ok()
        });
        let mut state = resumed.unwrap_or(State { trial, step: 0, chain: trial, attempts: Vec::new() });
        tracing::debug!(step = state.step, "training from this step on");
        state.attempts.push((state.step + 1, state.step));
        if let Some(epoch) = script.epoch(state.step) {
            observer.evaluated_before(state.step, epoch);
        }
        Self { script, job, observer, state }
    }

    /// Does as asked before a step; false once the trial has ended.
    fn goes_on(&mut self) -> bool {
        let request = self.observer.request();
        if self.job.checkpoints && matches!(request, Request::Checkpoint | Request::HandBack) {
            let state = self.state.clone();
            let write = Box::new(move |directory: &Path| state.write(directory));
            self.observer.checkpointed(Checkpoint { step: self.state.step, write });
        }
        let ended = match request {
            Request::Stop | Request::HandBack => Err(Ended::Stopped),
            Request::GoOn | Request::Checkpoint if self.fails() => {
                Err(Ended::Internal("the script says that it fails".to_owned()))
            }
            Request::GoOn | Request::Checkpoint if self.state.step < self.script.steps => return true,
            Request::GoOn | Request::Checkpoint => self.finish(),
        };
        self.observer.ended(ended);
        false
    }

    fn fails(&self) -> bool {
        self.state.step >= self.script.steps / 2 && self.state.trial % 100 < self.script.fail
    }

    /// Whether the next step is the one that never ends.
    fn hangs(&self) -> bool {
        let fresh = self.state.attempts.len() == 1;
        fresh && self.script.hang.is_some_and(|step| step == self.state.step + 1)
    }

    fn step(&mut self) {
        let State { step, chain, attempts, .. } = &mut self.state;
        *step += 1;
        *chain = fnv(*chain, &step.to_le_bytes());
        if let Some((_, last)) = attempts.last_mut() {
            *last = *step;
        }
        let step = *step;
        self.observer.progress(Phase::Training, step, self.script.steps);
        if self.state.attempts.last().is_some_and(|(first, _)| *first == step) {
            self.observer.measured(LANE_BYTES);
        }
        if step.is_multiple_of(self.job.arguments.logging_steps as u64) {
            self.observer.logged(&StepRecord {
                step,
                loss: fraction(self.state.chain),
                grad_norm: 1.0,
                learning_rate: self.job.arguments.learning_rate,
            });
        }
        if let Some(epoch) = self.script.epoch(step) {
            let scores = self.scores(epoch / self.script.evaluations as f64);
            self.observer.evaluated(&EvaluationRecord { step, epoch, scores });
        }
    }

    /// Scores at this share of the way to the result.
    fn scores(&self, way: f64) -> Scores {
        let value = fraction(self.state.trial) * way;
        Scores {
            loss: 1.0 - value,
            accuracy: value,
            precision: value,
            recall: value,
            f1_score: value,
            f1_macro: value,
            matthews_correlation: value,
        }
    }

    /// The splits of a data set of two classes that nobody reads.
    fn splits(&self) -> Vec<Split> {
        let sha256 = format!("{:016x}", fnv(0, format!("{:?}", self.job.dataset).as_bytes())).repeat(4);
        let right = (fraction(self.state.trial) * 50.0) as u64;
        let confusion = vec![vec![right, 50 - right], vec![50 - right, right]];
        let split = |name: &str, rows, confusion: &[Vec<u64>]| Split {
            name: name.to_owned(),
            rows,
            sha256: sha256.clone(),
            confusion: confusion.to_vec(),
        };
        vec![split("train", 1000, &[]), split("validation", 100, &confusion), split("test", 100, &confusion)]
    }

    fn finish(&mut self) -> Result<Trained, Ended> {
        let scores = self.scores(1.0);
        let steps = self.script.steps;
        let best = EvaluationRecord { step: steps, epoch: self.script.evaluations as f64, scores };
        self.observer.evaluated(&best);
        let model = self.job.output.join("model");
        let attempts: Vec<String> =
            self.state.attempts.iter().map(|(first, last)| format!("{first}-{last}\n")).collect();
        fs::create_dir_all(&model)
            .and_then(|()| fs::write(model.join("steps.txt"), attempts.concat()))
            .and_then(|()| MODEL.iter().try_for_each(|name| fs::write(model.join(name), "{}\n")))
            .map_err(|error| Ended::Internal(format!("{} cannot be written: {error}", model.display())))?;
        let seconds = self.script.step_time.as_secs_f64() * steps as f64;
        Ok(Trained {
            best,
            test: Some(Scores { loss: fraction(self.state.chain), ..scores }),
            steps,
            seconds,
            steps_per_second: steps as f64 / seconds.max(1e-9),
            samples_per_second: 0.0,
            baseline: BTreeMap::from([("eval_f1_score".to_owned(), 0.25)]),
            tags: BTreeMap::from([("device".to_owned(), "scripted".to_owned())]),
            classes: vec!["no".to_owned(), "yes".to_owned()],
            mistakes: vec![Mistake {
                text: "a made-up text".to_owned(),
                truth: 0,
                taken: 1,
                probability: scores.accuracy,
            }],
            splits: self.splits(),
        })
    }
}

/// Files of a model, in name alone.
const MODEL: [&str; 6] = [
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
];

/// A number that stands for the trial's hyperparameters, the same on every machine.
fn fingerprint(job: &Job) -> u64 {
    fnv(0xcbf2_9ce4_8422_2325, format!("{:?}", job.params).as_bytes())
}

/// FNV-1a: short, and fixed for ever, which the standard library's hasher is not.
fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// From 0 to 1.
fn fraction(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::{
        dataset::{DatasetSource, DatasetSpec},
        names::SELECTIONS,
        params::{Params, TrainingArguments, Value},
    };

    use super::*;

    /// Asks for something before one step, and keeps what it is told.
    #[derive(Default)]
    struct Asks {
        before: Option<(u64, Request)>,
        steps: u64,
        losses: Vec<(u64, f64)>,
        evaluations: Vec<(u64, f64)>,
        evaluated_before: Option<u64>,
        checkpoint: Option<Checkpoint>,
        ended: Option<Result<Trained, Ended>>,
    }

    impl Observer for Asks {
        fn progress(&mut self, _: Phase, step: u64, _: u64) {
            self.steps = step;
        }
        fn logged(&mut self, record: &StepRecord) {
            self.losses.push((record.step, record.loss));
        }
        fn evaluated(&mut self, record: &EvaluationRecord) {
            self.evaluations.push((record.step, record.scores.f1_score));
        }
        fn evaluated_before(&mut self, step: u64, _: f64) {
            self.evaluated_before = Some(step);
        }
        fn request(&mut self) -> Request {
            self.before.filter(|(step, _)| *step == self.steps).map_or(Request::GoOn, |(_, request)| request)
        }
        fn checkpointed(&mut self, checkpoint: Checkpoint) {
            self.checkpoint = Some(checkpoint);
        }
        fn measured(&mut self, lane_bytes: u64) {
            assert_eq!(lane_bytes, LANE_BYTES);
        }
        fn ended(&mut self, ended: Result<Trained, Ended>) {
            assert!(self.ended.replace(ended).is_none(), "the last call comes once");
        }
    }

    fn job(seed: i64, output: &Path, resume: &[&Path]) -> Job {
        Job {
            model: "m".into(),
            model_revision: None,
            dataset: DatasetSpec::of(DatasetSource::file("t.csv".into())),
            params: Params::from([("seed".to_owned(), Value::Integer(seed))]),
            arguments: TrainingArguments::default(),
            selection: SELECTIONS[0],
            maximize: true,
            output: output.to_owned(),
            checkpoints: true,
            resume: resume.iter().map(|directory| (*directory).to_owned()).collect(),
        }
    }

    fn train(jobs: &[Job], asks: &mut [Asks]) {
        let mut observers: Vec<&mut dyn Observer> =
            asks.iter_mut().map(|asks| asks as &mut dyn Observer).collect();
        ScriptedTrainer::new(40, Duration::ZERO).train(jobs, &mut observers);
    }

    #[test]
    fn a_trial_that_was_handed_back_goes_on_at_that_step_to_the_same_result() {
        let output = tempfile::tempdir().unwrap();
        let mut whole = [Asks::default()];
        train(&[job(1, output.path(), &[])], &mut whole);

        let mut first = [Asks { before: Some((15, Request::HandBack)), ..Asks::default() }];
        train(&[job(1, output.path(), &[])], &mut first);
        assert_eq!((first[0].steps, &first[0].ended), (15, &Some(Err(Ended::Stopped))));
        let checkpoint = first[0].checkpoint.take().unwrap();
        assert_eq!(checkpoint.step, 15);
        let state = tempfile::tempdir().unwrap();
        (checkpoint.write)(state.path()).unwrap();

        let torn = tempfile::tempdir().unwrap();
        fs::write(torn.path().join(STATE), "{").unwrap();
        let mut second = [Asks::default()];
        train(&[job(1, output.path(), &[torn.path(), state.path()])], &mut second);
        assert_eq!(second[0].ended, whole[0].ended);
        let losses = [&first[0].losses[..], &second[0].losses[..]].concat();
        assert_eq!(losses, whole[0].losses, "every point once");
        assert_eq!(fs::read_to_string(output.path().join("model/steps.txt")).unwrap(), "1-15\n16-40\n");

        let mut other = [Asks::default()];
        train(&[job(2, output.path(), &[state.path()])], &mut other);
        assert_eq!(other[0].losses.len(), 4, "another trial's checkpoint is refused");
    }

    #[test]
    fn a_script_says_what_goes_wrong() {
        let plain = ScriptedTrainer::new(40, Duration::from_millis(5));
        assert_eq!("40x5".parse(), Ok(plain));
        assert_eq!("40x5,hang=17,fail=30".parse(), Ok(ScriptedTrainer { hang: Some(17), fail: 30, ..plain }));
        for wrong in ["40", "40x5,", "40x5,fail=101", "40x5,hang", "40x5,crash=1"] {
            assert!(wrong.parse::<ScriptedTrainer>().unwrap_err().contains(wrong));
        }
    }

    #[test]
    fn a_step_that_hangs_does_so_in_a_fresh_start_alone() {
        let output = tempfile::tempdir().unwrap();
        let script = ScriptedTrainer { hang: Some(17), ..ScriptedTrainer::new(40, Duration::ZERO) };
        let step_times = |asks: &mut Asks, resume: &[&Path]| {
            let jobs = [job(1, output.path(), resume)];
            let mut script = script.begin(&jobs, vec![asks]);
            let mut times = Vec::new();
            while let Some(time) = script.before_step() {
                times.push(time);
                script.step();
            }
            times
        };
        let mut first = Asks { before: Some((10, Request::Checkpoint)), ..Asks::default() };
        let times = step_times(&mut first, &[]);
        let hung: Vec<usize> =
            (1..).zip(&times).filter(|(_, t)| **t > Duration::ZERO).map(|(s, _)| s).collect();
        assert_eq!(hung, [17]);
        let state = tempfile::tempdir().unwrap();
        (first.checkpoint.take().unwrap().write)(state.path()).unwrap();
        assert_eq!(step_times(&mut Asks::default(), &[state.path()]), [Duration::ZERO; 30]);
    }

    #[test]
    fn a_bad_worker_fails_its_share_of_trials_in_their_middle() {
        let output = tempfile::tempdir().unwrap();
        let failed = |fail: u64| {
            let script = ScriptedTrainer { fail, ..ScriptedTrainer::new(40, Duration::ZERO) };
            let ends = (0..200).map(|seed| {
                let mut asks = Asks::default();
                let jobs = [job(seed, output.path(), &[])];
                let mut script = script.begin(&jobs, vec![&mut asks]);
                while script.before_step().is_some() {
                    script.step();
                }
                (asks.steps, asks.ended)
            });
            ends.filter(|(steps, end)| *steps == 20 && matches!(end, Some(Err(Ended::Internal(_))))).count()
        };
        assert_eq!((failed(0), failed(100)), (0, 200));
        assert!((40..80).contains(&failed(30)), "{}", failed(30));
    }

    #[test]
    fn a_lane_that_stops_leaves_the_others() {
        let outputs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let jobs = [job(1, outputs[0].path(), &[]), job(2, outputs[1].path(), &[])];
        let mut asks = [Asks { before: Some((7, Request::Stop)), ..Asks::default() }, Asks::default()];
        train(&jobs, &mut asks);
        assert_eq!((asks[0].steps, &asks[0].ended), (7, &Some(Err(Ended::Stopped))));
        assert!(asks[0].checkpoint.is_none());
        assert!(matches!(&asks[1].ended, Some(Ok(trained)) if trained.steps == 40));
    }
}
