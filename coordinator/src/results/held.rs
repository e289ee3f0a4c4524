//! A summary from what MLflow holds of an experiment, whoever recorded it: our own runs by their tags, others (Hugging
//! Face's Trainer, say) by their parameters and metrics.

use std::collections::{BTreeMap, BTreeSet};

use distilsweep_proto::{
    names::{BEST_CHECKPOINT_PATH, DEFAULT_METRIC, Selection},
    params::{PARAMETERS, Params, Value},
};

use super::{MlflowNote, Summary, TrialRow, TrialState, convert::location};
use crate::mlflow::client::HeldRun;

/// Parameters that stand in columns: more cannot be looked at.
const VARIED: usize = 8;
/// Parameters of Trainer that differ between runs and say nothing about them.
const PLACES: [&str; 5] = ["output_dir", "logging_dir", "run_name", "hub_model_id", "_name_or_path"];

/// What is wanted of an experiment.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// Its name.
    pub experiment: &'a str,
    /// Where a browser shows it.
    pub page: String,
    /// Our sweep of it alone: its id.
    pub sweep: Option<&'a str>,
    /// The metric that ranks.
    pub metric: Option<&'a str>,
    /// Whether more of it is better.
    pub maximize: Option<bool>,
}

/// Why nothing can be ranked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nothing {
    /// No run is there.
    #[error("experiment `{experiment}` has no runs{}", .sweep.as_ref().map(|s| format!(" of sweep `{s}`")).unwrap_or_default())]
    Runs {
        /// Of which experiment.
        experiment: String,
        /// Of which sweep, where one was asked for.
        sweep: Option<String>,
    },
    /// Which metric ranks cannot be told.
    #[error("which metric ranks the runs of `{experiment}`? give --metric, there are {known}")]
    Metric {
        /// Of which experiment.
        experiment: String,
        /// Those that some run has.
        known: String,
    },
}

/// Builds the summary; curves are the caller's to read.
///
/// # Errors
/// [`Nothing`] where there is nothing to rank.
pub fn held(runs: &[HeldRun], wanted: &Wanted<'_>) -> Result<Summary, Nothing> {
    let of_sweep = |run: &&HeldRun| {
        wanted.sweep.is_none_or(|sweep| run.tags.get("sweep").is_some_and(|tag| tag == sweep))
    };
    let parents: BTreeSet<&str> =
        runs.iter().filter_map(|run| run.tags.get("mlflow.parentRunId")).map(String::as_str).collect();
    // A run of a whole search has no metrics of its own.
    let is_parent = |run: &HeldRun| parents.contains(run.ids.run_id.as_str()) && run.metrics.is_empty();
    let (above, trials): (Vec<&HeldRun>, Vec<&HeldRun>) =
        runs.iter().filter(of_sweep).partition(|run| is_parent(run));
    let (Some(first), sweep) = (trials.first(), wanted.sweep.map(str::to_owned)) else {
        let sweep = wanted.sweep.map(str::to_owned);
        return Err(Nothing::Runs { experiment: wanted.experiment.to_owned(), sweep });
    };
    let metric = metric(&trials, &above, wanted)?;
    let told_goal = above.iter().find_map(|run| run.tags.get("goal")).map(|goal| goal != "minimize");
    let by_name =
        || Selection::named(&metric).map_or_else(|| !metric.contains("loss"), |known| known.maximize);
    let maximize = wanted.maximize.or(told_goal).unwrap_or_else(by_name);

    let sweeps: BTreeSet<&String> = trials.iter().filter_map(|run| run.tags.get("sweep")).collect();
    let own = sweeps.len() == 1 && trials.iter().all(|run| run.tags.contains_key("trial"));
    let rows: Vec<TrialRow> = trials
        .iter()
        .enumerate()
        .map(|(place, run)| {
            let number = run.tags.get("trial").filter(|_| own).and_then(|trial| trial.parse().ok());
            row(run, number.unwrap_or(place as u64), &wanted.page)
        })
        .collect();
    let varied = varied(&rows);
    let constant = match rows.first() {
        Some(row) => row
            .params
            .iter()
            .filter(|(name, value)| rows.iter().all(|other| other.params.get(*name) == Some(*value)))
            .filter(|(name, _)| own || PARAMETERS.iter().any(|known| known.name == name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        None => Params::new(),
    };
    let end = trials.iter().filter_map(|run| run.end_ms).max();
    let running = trials.iter().any(|run| matches!(run.status.as_str(), "RUNNING" | "SCHEDULED"));
    Ok(Summary {
        sweep: sweep
            .or_else(|| sweeps.first().filter(|_| own).map(ToString::to_string))
            .unwrap_or_else(|| wanted.experiment.to_owned()),
        name: wanted.experiment.to_owned(),
        state: if running { "running" } else { "completed" }.to_owned(),
        metric,
        maximize,
        varied,
        constant,
        total: rows.len() as u64,
        trials: rows,
        mlflow: MlflowNote { url: Some(wanted.page.clone()), ..MlflowNote::default() },
        seconds: end.map(|end| (end - first.start_ms) as f64 / 1000.0),
        ..Summary::default()
    })
}

/// The metric that ranks: as asked for, as our sweep says, else our usual one where it is there.
fn metric(trials: &[&HeldRun], above: &[&HeldRun], wanted: &Wanted<'_>) -> Result<String, Nothing> {
    let known: BTreeSet<&String> = trials.iter().flat_map(|run| run.metrics.keys()).collect();
    let told = above.iter().find_map(|run| run.tags.get("metric")).map(String::as_str);
    let usual = Some(DEFAULT_METRIC).filter(|usual| known.iter().any(|name| name == usual));
    let named = wanted.metric.or(told).or(usual);
    match named.filter(|named| known.iter().any(|name| name == named)) {
        Some(named) => Ok(named.to_owned()),
        None => {
            let known: Vec<&str> =
                known.into_iter().map(String::as_str).filter(|name| !name.starts_with("system/")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(Nothing::Metric { experiment: wanted.experiment.to_owned(), known })
        }
    }
}

fn row(run: &HeldRun, trial: u64, page: &str) -> TrialRow {
    let reason = run.tags.get("reason");
    let state = match run.status.as_str() {
        "FINISHED" => TrialState::Completed,
        "FAILED" if reason.is_some_and(|reason| reason.starts_with("diverged")) => TrialState::Diverged,
        "FAILED" => TrialState::Failed,
        "KILLED" => TrialState::Cancelled,
        "RUNNING" => TrialState::Running,
        _ => TrialState::Pending,
    };
    let tag = |name: &str| run.tags.get(name).cloned();
    TrialRow {
        trial,
        state,
        params: run.params.iter().map(|(name, text)| (name.clone(), value(text))).collect(),
        metrics: run
            .metrics
            .iter()
            .filter(|(name, _)| !name.starts_with("system/"))
            .map(|(n, v)| (n.clone(), *v))
            .collect(),
        seconds: run
            .end_ms
            .map(|end| (end - run.start_ms) as f64 / 1000.0)
            .filter(|_| state == TrialState::Completed),
        attempts: tag("attempt").and_then(|attempt| attempt.parse().ok()).unwrap_or(1),
        worker: tag("worker"),
        mlflow_run: Some(run.ids.run_id.clone()),
        mlflow_url: Some(format!("{page}/runs/{}", run.ids.run_id)),
        checkpoint: tag(BEST_CHECKPOINT_PATH).map(location),
        data: BTreeMap::new(),
        errors: BTreeMap::new(),
        failure: reason.cloned().filter(|_| state != TrialState::Completed),
    }
}

/// A parameter's text as the value that it was.
fn value(text: &str) -> Value {
    if let Ok(integer) = text.parse() {
        return Value::Integer(integer);
    }
    match (text.parse(), text) {
        (Ok(number), _) => Value::Number(number),
        (_, "true" | "True") => Value::Flag(true),
        (_, "false" | "False") => Value::Flag(false),
        _ => Value::Text(text.to_owned()),
    }
}

/// The parameters that differ between runs: hyperparameters that we know first, and then by name.
fn varied(rows: &[TrialRow]) -> Vec<String> {
    let mut values: BTreeMap<&String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        for (name, value) in &row.params {
            values.entry(name).or_default().insert(value.to_string());
        }
    }
    let mut names: Vec<&String> = values
        .iter()
        .filter(|(name, values)| values.len() > 1 && !PLACES.contains(&name.as_str()))
        .map(|(name, _)| *name)
        .collect();
    names.sort_by_key(|name| !PARAMETERS.iter().any(|known| known.name == name.as_str()));
    names.into_iter().take(VARIED).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mlflow::op::RunIds, results};

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// A run as Trainer's callback records it.
    fn trainer(number: i64, rate: &str, score: f64, status: &str) -> HeldRun {
        HeldRun {
            ids: RunIds { experiment_id: "1".into(), run_id: format!("{number:032x}") },
            name: format!("run-{number}"),
            status: status.into(),
            start_ms: 1000 * number,
            end_ms: Some(1000 * number + 500),
            params: texts(&[
                ("learning_rate", rate),
                ("output_dir", &format!("out-{number}")),
                ("fp16", "False"),
                ("num_train_epochs", "3"),
                ("vocab_size", "30522"),
            ]),
            metrics: [("eval_accuracy".to_owned(), score), ("system/cpu".to_owned(), 3.0)].into(),
            ..HeldRun::default()
        }
    }

    #[test]
    fn runs_of_other_programs_are_ranked_by_a_metric_that_is_named() {
        let runs = [
            trainer(0, "5e-05", 0.8, "FINISHED"),
            trainer(1, "2e-05", 0.9, "FINISHED"),
            trainer(2, "1e-05", f64::NAN, "FINISHED"),
            trainer(3, "1e-05", 0.95, "FAILED"),
        ];
        let wanted =
            Wanted { experiment: "mine", page: "http://h/#/experiments/1".into(), ..Wanted::default() };
        assert_eq!(
            held(&runs, &wanted).unwrap_err().to_string(),
            "which metric ranks the runs of `mine`? give --metric, there are eval_accuracy"
        );
        let summary = held(&runs, &Wanted { metric: Some("eval_accuracy"), ..wanted.clone() }).unwrap();
        assert_eq!(summary.varied, ["learning_rate"]);
        let order: Vec<(Option<u64>, u64)> =
            results::rank(&summary).iter().map(|ranked| (ranked.rank, ranked.row.trial)).collect();
        assert_eq!(order, [(Some(1), 1), (Some(2), 0), (None, 2), (None, 3)]);
        assert_eq!(summary.constant["num_train_epochs"], Value::Integer(3));
        assert!(!summary.constant.contains_key("vocab_size"));
        let sweep = Wanted { sweep: Some("s-1"), ..wanted };
        assert_eq!(
            held(&runs, &sweep).unwrap_err().to_string(),
            "experiment `mine` has no runs of sweep `s-1`"
        );
    }

    #[test]
    fn our_own_runs_say_by_their_tags_what_they_are() {
        let run = |trial: &str, score: f64| HeldRun {
            tags: texts(&[
                ("sweep", "s-1"),
                ("trial", trial),
                ("attempt", "2"),
                ("mlflow.parentRunId", "p"),
                (BEST_CHECKPOINT_PATH, "file:///m/1"),
            ]),
            metrics: [("best_eval_loss".to_owned(), score)].into(),
            ..trainer(9, "1e-05", 0.0, "FINISHED")
        };
        let parent = HeldRun {
            ids: RunIds { experiment_id: "1".into(), run_id: "p".into() },
            tags: texts(&[("sweep", "s-1"), ("metric", "best_eval_loss"), ("goal", "minimize")]),
            ..HeldRun::default()
        };
        let wanted = Wanted { experiment: "e", ..Wanted::default() };
        let summary = held(&[parent, run("7", 0.5), run("3", 0.4)], &wanted).unwrap();
        assert_eq!(
            (summary.sweep.as_str(), summary.metric.as_str(), summary.maximize),
            ("s-1", "best_eval_loss", false)
        );
        let ranked = results::rank(&summary);
        assert_eq!((ranked[0].row.trial, ranked[0].row.attempts), (3, 2));
        assert_eq!(ranked[0].row.checkpoint.as_deref(), Some("/m/1"));
    }
}
