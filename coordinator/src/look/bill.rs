//! What a sweep will take: steps, time, storage and rows in MLflow, before anything is started.

use distilsweep_proto::{
    names::{EVALUATION, TEST},
    params::{Params, Steps, TrainingArguments},
};
use serde::Serialize;

use crate::spec::{Space, SweepSpec};

/// Points whose trials are counted one by one; of more, so many stand for all.
const LOOKED_AT: u64 = 10_000;

/// Checkpoints of a trial that are kept while it runs.
const CHECKPOINTS: u64 = 2;
/// A checkpoint against its model, at most: weights, two moments of AdamW, the best weights so far.
const CHECKPOINT: u64 = 4;

/// Points of a trial's curve at each step that is logged: loss, learning rate, gradient norm.
const LOGGED: f64 = 3.0;
/// Points of an evaluation: its scores, and the epoch.
const EVALUATED: f64 = (EVALUATION.len() + 1) as f64;
/// Points at a trial's end: its best metric, and those of the test split.
const FINAL: (f64, f64) = (1.0, TEST.len() as f64);

/// What is known of model and data for a bill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Rows of the training, the validation and the test split.
    pub rows: Option<[usize; 3]>,
    /// Mean tokens of a training row as each `max_length` cuts it.
    pub tokens: Vec<(usize, f64)>,
    /// Bytes of the model's weights.
    pub model_bytes: Option<u64>,
    /// How fast trials are.
    pub pace: Option<Pace>,
}

/// How fast trials of a model on a data set are. Time goes with tokens, for padding is not computed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pace {
    /// Seconds a token that is trained on, on one worker.
    pub trained: f64,
    /// Seconds a token that is evaluated.
    pub evaluated: f64,
    /// Where that is known from.
    pub source: String,
}

/// What a sweep will take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bill {
    /// Trials.
    pub trials: u64,
    /// Passes over the training split, of all trials.
    pub epochs: Option<f64>,
    /// Optimizer steps.
    pub steps: Option<f64>,
    /// Evaluations on the validation split.
    pub evaluations: Option<f64>,
    /// Whether the sums are of a sample of the points, scaled up.
    pub sampled: bool,
    /// Seconds of training and evaluating, one trial after the other.
    pub trial_seconds: Option<f64>,
    /// Workers of which the next one speaks.
    pub workers: u64,
    /// Seconds that they take together.
    pub seconds: Option<f64>,
    /// What the seconds are by.
    pub pace: Option<Pace>,
    /// Bytes of the checkpoints of trials under way, at most.
    pub checkpoint_bytes: Option<u64>,
    /// Bytes of the trials' models.
    pub model_bytes: Option<u64>,
    /// Bytes of the models that MLflow gets.
    pub mlflow_model_bytes: Option<u64>,
    /// Runs in MLflow.
    pub mlflow_runs: u64,
    /// Metric points in MLflow, those of system metrics not counted.
    pub mlflow_points: Option<f64>,
}

/// One trial's share of the work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Its steps.
    pub steps: Steps,
    /// Evaluations on the validation split.
    pub evaluations: u64,
    /// Points of its curve.
    pub logged: u64,
    /// Tokens that it trains on, where lengths are known; else rows.
    pub trained: f64,
    /// Tokens that it evaluates.
    pub evaluated: f64,
}

impl Known {
    /// What a trial has to do; nothing where the data is not known, or too little for its batch.
    pub fn work(&self, point: &Params) -> Option<Work> {
        let [train, ..] = self.rows?;
        let arguments = TrainingArguments::from_params(point).ok()?;
        let steps = arguments.steps(train)?;
        Some(self.work_of(&arguments, steps))
    }

    /// Mean tokens of a row that is cut at a length.
    fn mean_tokens(&self, length: usize) -> Option<f64> {
        self.tokens.iter().find(|(known, _)| *known == length).map(|(_, mean)| *mean)
    }

    /// What these steps are worth.
    pub fn work_of(&self, arguments: &TrainingArguments, steps: Steps) -> Work {
        let [_, validation, test] = self.rows.unwrap_or_default().map(|rows| rows as f64);
        // Of many lengths only some were tried: the nearest stands for the others.
        let nearest = self.tokens.iter().min_by_key(|(length, _)| length.abs_diff(arguments.max_length));
        let tokens = nearest.map_or(1.0, |(_, mean)| *mean);
        let evaluations = steps.evaluations(arguments);
        Work {
            evaluations,
            logged: steps.logged(arguments),
            trained: steps.epochs() * steps.examples as f64 * tokens,
            evaluated: (evaluations as f64 * validation + test) * tokens,
            steps,
        }
    }
}

impl Pace {
    /// Seconds of a trial on one worker.
    fn seconds(&self, work: &Work) -> f64 {
        work.trained * self.trained + work.evaluated * self.evaluated
    }
}

/// Trials that were timed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timed {
    /// How many.
    pub trials: u64,
    trained: f64,
    training_seconds: f64,
    evaluated: f64,
    evaluating_seconds: f64,
}

impl Timed {
    /// Adds a trial that made these steps at this rate, and took so long with its evaluations; one whose texts were cut
    /// as none of those to come are tells nothing.
    pub fn add(
        &mut self,
        known: &Known,
        arguments: &TrainingArguments,
        steps: Steps,
        steps_per_second: f64,
        seconds: f64,
    ) {
        let is_alike = known.tokens.is_empty() || known.mean_tokens(arguments.max_length).is_some();
        if !is_alike || steps.total == 0 || steps_per_second.is_nan() || steps_per_second <= 0.0 {
            return;
        }
        let work = known.work_of(arguments, steps);
        let training = steps.total as f64 / steps_per_second;
        self.trials += 1;
        self.trained += work.trained;
        self.training_seconds += training;
        self.evaluated += work.evaluated;
        self.evaluating_seconds += (seconds - training).max(0.0);
    }

    /// How fast they were; nothing without any.
    pub fn pace(&self, source: String) -> Option<Pace> {
        let each = |seconds: f64, tokens: f64| if tokens > 0.0 { seconds / tokens } else { 0.0 };
        (self.trained > 0.0).then(|| Pace {
            trained: each(self.training_seconds, self.trained),
            evaluated: each(self.evaluating_seconds, self.evaluated),
            source,
        })
    }
}

/// The bill of a sweep on so many workers.
pub fn bill(spec: &SweepSpec, known: &Known, workers: u64) -> Bill {
    let trials = spec.space.len();
    let work: Vec<Option<Work>> =
        looked_at(&spec.space).map(|index| known.work(&spec.space.point(index))).collect();
    let sampled = (work.len() as u64) < trials;
    let scale = trials as f64 / work.len().max(1) as f64;
    let work: Option<Vec<Work>> = work.into_iter().collect();
    let sum = |of: &dyn Fn(&Work) -> f64| Some(work.as_ref()?.iter().map(of).sum::<f64>() * scale);

    let most = spec.limits.max_concurrent_trials.unwrap_or(u64::MAX);
    let busy = workers.min(most).min(trials).max(1);
    let pace = known.pace.as_ref();
    let trial_seconds = pace.and_then(|pace| sum(&|work| pace.seconds(work)));
    // Workers end together only where the trials share out evenly.
    let rounds = trials.div_ceil(busy) as f64 / trials as f64;
    let models = |count: u64| Some(known.model_bytes?.saturating_mul(count));
    let has_test = known.rows.is_some_and(|[.., test]| test > 0);
    let last = FINAL.0 + if has_test { FINAL.1 } else { 0.0 };
    Bill {
        trials,
        epochs: sum(&|work| work.steps.epochs()),
        steps: sum(&|work| work.steps.total as f64),
        evaluations: sum(&|work| work.evaluations as f64),
        sampled,
        trial_seconds,
        workers,
        seconds: trial_seconds.map(|seconds| seconds * rounds),
        pace: known.pace.clone(),
        checkpoint_bytes: models(busy.saturating_mul(CHECKPOINTS * CHECKPOINT)),
        model_bytes: models(trials),
        mlflow_model_bytes: models(spec.keep_models.count().min(trials)),
        mlflow_runs: trials.saturating_add(1),
        mlflow_points: sum(&|work| work.logged as f64 * LOGGED + work.evaluations as f64 * EVALUATED + last),
    }
}

/// Points of a space that stand for all: each of a small one, of a large one as many from all over it. Those of a grid
/// lie in stripes, which the golden ratio does not meet.
pub fn looked_at(space: &Space) -> impl Iterator<Item = u64> {
    let points = space.len();
    (0..points.min(LOOKED_AT)).map(move |number| match points <= LOOKED_AT {
        true => number,
        false => {
            let share = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((u128::from(share) * u128::from(points)) >> 64) as u64
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    fn spec(parameters: &str, more: &str) -> SweepSpec {
        let source = format!("name: n\nmodel: m\ndataset: d\nmethod: grid\n{more}parameters:\n{parameters}");
        spec::parse(&source).unwrap_or_else(|problems| panic!("{}", problems.in_file("sweep.yaml")))
    }

    fn known() -> Known {
        Known {
            rows: Some([1000, 100, 50]),
            tokens: vec![(64, 20.0), (128, 25.0)],
            model_bytes: Some(1_000_000),
            pace: Some(Pace { trained: 1e-3, evaluated: 1e-4, source: "a test".to_owned() }),
        }
    }

    const FOUR: &str = "  per_device_train_batch_size: {values: [10, 20]}\n  max_length: {values: [64, 128]}\n  \
                        num_train_epochs: {value: 2}\n";

    #[test]
    fn a_bill_is_the_sum_of_its_trials() {
        let bill = bill(&spec(FOUR, ""), &known(), 3);
        assert_eq!((bill.trials, bill.epochs, bill.steps), (4, Some(8.0), Some(2.0 * (200.0 + 100.0))));
        assert_eq!((bill.evaluations, bill.sampled), (Some(8.0), false));
        // 2 epochs of 1000 rows, 2 x 100 + 50 evaluated, of 20 and of 25 tokens, twice each.
        let seconds = 2.0 * 45.0 * (2000.0 * 1e-3 + 250.0 * 1e-4);
        assert!((bill.trial_seconds.unwrap() - seconds).abs() < 1e-9, "{bill:?}");
        // Two rounds for three workers.
        assert!((bill.seconds.unwrap() - seconds / 2.0).abs() < 1e-9, "{bill:?}");
        assert_eq!((bill.checkpoint_bytes, bill.model_bytes), (Some(24_000_000), Some(4_000_000)));
        assert_eq!((bill.mlflow_model_bytes, bill.mlflow_runs), (Some(1_000_000), 5));
        // 20 and 10 points of three curves, 2 evaluations of eight, five at the end.
        assert_eq!(bill.mlflow_points, Some(2.0 * (60.0 + 30.0) + 4.0 * (16.0 + 5.0)));
    }

    #[test]
    fn trials_that_were_timed_tell_the_pace_of_those_to_come() {
        let spec = spec(FOUR, "");
        let real = known().pace.unwrap();
        let mut timed = Timed::default();
        for index in [0, 3] {
            let work = known().work(&spec.space.point(index)).unwrap();
            let arguments = TrainingArguments::from_params(&spec.space.point(index)).unwrap();
            let training = work.trained * real.trained;
            let rate = work.steps.total as f64 / training;
            timed.add(&known(), &arguments, work.steps, rate, real.seconds(&work));
            let other = TrainingArguments { max_length: 99, ..arguments };
            timed.add(&known(), &other, work.steps, rate, 1e9);
        }
        let pace = timed.pace("two".to_owned()).unwrap();
        assert_eq!((timed.trials, pace.source.as_str()), (2, "two"));
        assert!((pace.trained / real.trained - 1.0).abs() < 1e-9, "{pace:?}");
        assert!((pace.evaluated / real.evaluated - 1.0).abs() < 1e-9, "{pace:?}");
        assert_eq!(Timed::default().pace(String::new()), None);
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let bill = bill(&spec(FOUR, ""), &Known::default(), 1);
        assert_eq!((bill.trials, bill.mlflow_runs), (4, 5));
        assert_eq!(
            (bill.steps, bill.seconds, bill.model_bytes, bill.mlflow_points),
            (None, None, None, None)
        );
        let slow = Known { pace: None, ..known() };
        assert_eq!(super::bill(&spec(FOUR, ""), &slow, 1).trial_seconds, None);
    }

    #[test]
    fn a_large_space_is_judged_by_points_from_all_over_it() {
        let values = |count: i32| (1..=count).map(|v| v.to_string()).collect::<Vec<_>>().join(",");
        let million = format!(
            "  seed: {{values: [{}]}}\n  data_seed: {{values: [{}]}}\n  max_steps: {{values: [{}]}}\n",
            values(100),
            values(100),
            values(100)
        );
        let bill = bill(&spec(&million, "max_concurrent_trials: 2\n"), &known(), 8);
        assert_eq!((bill.trials, bill.sampled), (1_000_000, true));
        let mean = bill.steps.unwrap() / 1e6;
        assert!((mean - 50.5).abs() < 0.5, "{mean}");
        assert!((bill.trial_seconds.unwrap() / bill.seconds.unwrap() - 2.0).abs() < 1e-9, "two at a time");
    }
}
