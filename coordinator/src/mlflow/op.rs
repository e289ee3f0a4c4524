//! One thing that MLflow has to be told: complete in itself, stored as JSON, the same however often it is sent.
//!
//! Rows outlive the program that wrote them, so changes here only add: new variants, and new fields with a default.

use std::{collections::BTreeMap, fmt};

use distilsweep_proto::ids::{SweepId, TrialId};
use serde::{Deserialize, Serialize};

pub use crate::scheduler::Point;

/// A run of MLflow under our own name, known before MLflow has given it an id: `<sweep>` for the parent run of a
/// sweep, `<sweep>/<trial>` for the nested run of a trial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunKey(String);

impl RunKey {
    /// The parent run of a sweep.
    pub fn sweep(sweep: &SweepId) -> Self {
        Self(sweep.to_string())
    }

    /// The nested run of a trial.
    pub fn trial(trial: &TrialId) -> Self {
        Self(trial.to_string())
    }

    /// The run that this one is nested in, by its name; none for a sweep's.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(sweep, _)| Self(sweep.to_owned()))
    }

    /// Takes the text as the outbox stored it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text that the outbox stores.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What MLflow calls a run that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunIds {
    /// Of the experiment that holds the run.
    pub experiment_id: String,
    /// Of the run, 32 hexadecimal digits.
    pub run_id: String,
}

/// One row of the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// Grows with every row: the order in which things happened.
    pub id: i64,
    /// Which run it is about.
    pub run: RunKey,
    /// What to tell.
    pub op: Op,
}

/// What to tell about a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Create the run, or set it running again where it exists.
    CreateRun(NewRun),
    /// Record hyperparameters. MLflow refuses another value for a name that it holds.
    Params(BTreeMap<String, String>),
    /// Record points of curves.
    Metrics(Vec<Point>),
    /// Set tags; the last value of a name stays.
    Tags(BTreeMap<String, String>),
    /// Store a text among the artifacts of the run, over what is there under that path.
    Text {
        /// Relative to the run's artifacts, `/` between the parts.
        path: String,
        /// The whole text.
        content: String,
    },
    /// Record the data that the run works with.
    Inputs(Vec<Input>),
    /// Store the ranking of the sweep among the artifacts of its run, as it is when this is sent.
    Ranking,
    /// Log the models that the sweep keeps, as it stands when this is sent.
    Models,
    /// End the run.
    Finish {
        /// How it ended.
        status: Status,
        /// When, in milliseconds since 1970.
        end_ms: i64,
    },
}

impl Op {
    /// When what it tells happened, in milliseconds since 1970, where it says that.
    pub fn at_ms(&self) -> Option<i64> {
        match self {
            Op::CreateRun(run) => Some(run.start_ms),
            Op::Metrics(points) => points.iter().map(|point| point.timestamp_ms).min(),
            Op::Finish { end_ms, .. } => Some(*end_ms),
            Op::Params(_) | Op::Tags(_) | Op::Text { .. } | Op::Inputs(_) | Op::Ranking | Op::Models => None,
        }
    }
}

/// Tag of a run's or an experiment's description, in Markdown.
pub const NOTE_TAG: &str = "mlflow.note.content";

/// A run to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRun {
    /// Name of the experiment, made if it does not exist; 1 to 500 characters.
    pub experiment: String,
    /// A text that no other run of any coordinator carries. It goes into the tag [`IDENTITY_TAG`], by which a run is
    /// found again when the answer to its creation was lost. Made by [`identity`].
    pub identity: String,
    /// Name that MLflow shows.
    pub name: String,
    /// When it started, in milliseconds since 1970.
    pub start_ms: i64,
    /// Whose run it is.
    pub user: String,
    /// Tags besides name, user, parent and identity.
    pub tags: BTreeMap<String, String>,
    /// The run that it is nested in.
    pub parent: Option<RunKey>,
}

/// One split of a data set, as a run works with it.
///
/// MLflow knows a data set by experiment, name and digest, and keeps what it was first told of one: a split with other
/// rows needs another digest or name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// `emotion-train`, say; at most 500 characters.
    pub name: String,
    /// Start of the SHA-256 of its rows, hexadecimal; at most 36 characters.
    pub digest: String,
    /// `training`, `validation` or `test`.
    pub context: String,
    /// Where it comes from, `local` or `http`.
    pub source_type: String,
    /// JSON: `{"uri": …}` of a local one, `{"url": …}` of the other.
    pub source: String,
    /// JSON: MLflow's `mlflow_colspec` of its columns.
    pub schema: String,
    /// JSON: `{"num_rows": …}`.
    pub profile: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// With a result.
    Finished,
    /// Without one, by a fault.
    Failed,
    /// Without one, because somebody or the search ended it.
    Killed,
}

impl Status {
    /// MLflow's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }
}

/// Tag that carries a run's identity.
pub const IDENTITY_TAG: &str = "distilsweep.run_key";

/// The identity of a run: `coordinator` (an id that a state directory keeps for ever) and the run's key. Characters
/// that a search filter of MLflow could not quote are percent-encoded.
pub fn identity(coordinator: &str, run: &RunKey) -> String {
    let mut text = String::new();
    for byte in format!("{coordinator}/{run}").bytes() {
        if byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_op_comes_back_from_its_json_as_it_was() {
        let texts = || BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let ops = [
            Op::CreateRun(NewRun {
                experiment: "e".into(),
                identity: "c/s".into(),
                name: "s".into(),
                start_ms: 1,
                user: "u".into(),
                tags: texts(),
                parent: Some(RunKey::new("s")),
            }),
            Op::Params(texts()),
            Op::Metrics(vec![Point { key: "loss".into(), value: 0.1 + 0.2, timestamp_ms: 5, step: 10 }]),
            Op::Tags(texts()),
            Op::Text { path: "sweep.yaml".into(), content: "name: x\n".into() },
            Op::Inputs(vec![Input {
                name: "d-train".into(),
                digest: "ab".into(),
                context: "training".into(),
                source_type: "local".into(),
                source: r#"{"uri": "d"}"#.into(),
                schema: "{}".into(),
                profile: "{}".into(),
            }]),
            Op::Ranking,
            Op::Models,
            Op::Finish { status: Status::Killed, end_ms: 9 },
        ];
        for op in ops {
            let json = serde_json::to_string(&op).unwrap();
            assert_eq!(serde_json::from_str::<Op>(&json).unwrap(), op, "{json}");
        }
    }

    #[test]
    fn a_diverged_loss_survives_the_outbox() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let point = Point { key: "loss".into(), value, timestamp_ms: 1, step: 1 };
            let json = serde_json::to_string(&Op::Metrics(vec![point])).unwrap();
            let Op::Metrics(points) = serde_json::from_str(&json).unwrap() else { panic!("{json}") };
            assert!(points[0].value == value || (points[0].value.is_nan() && value.is_nan()), "{json}");
        }
    }

    #[test]
    fn identities_hold_nothing_that_a_filter_would_have_to_quote() {
        let run = RunKey::trial(&TrialId { sweep: SweepId::new("my 'sweep'-1f"), index: 7 });
        assert_eq!(identity("c\"1", &run), "c%221/my%20%27sweep%27-1f/7");
    }
}
