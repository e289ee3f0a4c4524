//! Comparing MLflow with the record of a sweep, run by run, and telling it what it lacks.

use std::{collections::BTreeMap, fmt::Write};

use distilsweep_proto::{
    ids::{SweepId, TrialId},
    json,
};
use tokio::time::Instant;

use super::{CliError, connect, terminal};
use crate::{
    engine::{Retelling, Told},
    mlflow::{
        client::Client,
        drain::{Drained, drain_until_empty},
        error::MlflowError,
        op::{Op, RunIds, RunKey},
        tell::trial_name,
        verify::{self, Held, Looked, Resend},
    },
    results::labels::counted,
    store::{Reader, Untold},
};

/// Trials that are looked at, or told again, at a time.
const TRIALS: u32 = 100;
/// Differences that are printed.
const PRINTED: usize = 200;

/// How MLflow stands to a record.
#[derive(Debug, Default)]
pub(super) struct Found {
    looked: Looked,
    /// By the name of the run.
    differences: Vec<(String, String)>,
    untold: Untold,
}

impl Found {
    /// Whether MLflow holds everything.
    pub(super) fn is_sound(&self) -> bool {
        self.differences.is_empty() && self.untold == Untold::default()
    }
}

/// What mending left.
#[derive(Debug, Default)]
pub(super) struct Mended {
    /// What MLflow calls runs that were made.
    pub(super) learned: BTreeMap<RunKey, RunIds>,
    /// Differences that are still there.
    pub(super) left: usize,
}

impl From<MlflowError> for CliError {
    fn from(error: MlflowError) -> Self {
        Self::failure(error.to_string())
    }
}

/// One sweep's record beside what MLflow holds.
struct Sides<'a> {
    client: &'a Client,
    reader: &'a Reader,
    retelling: Retelling<'a>,
    held: Held,
    untold: Untold,
}

impl<'a> Sides<'a> {
    async fn new(client: &'a Client, reader: &'a Reader, sweep: &SweepId) -> Result<Self, CliError> {
        let retelling = Retelling::new(reader, sweep, connect::user())?;
        let untold = reader.untold(sweep)?;
        let (coordinator, experiment) = (reader.coordinator()?, retelling.experiment());
        let held = verify::held(client, &coordinator, experiment, sweep.as_str()).await?;
        Ok(Self { client, reader, retelling, held, untold })
    }

    fn sweep(&self) -> &SweepId {
        &self.retelling.sweep().id
    }

    fn parent(&self) -> Option<&str> {
        self.held.runs.get(&RunKey::sweep(self.sweep())).map(|run| run.ids.run_id.as_str())
    }

    /// Differences of one run. Of one that has still to be told something nothing is said.
    async fn compare(
        &self,
        run: &RunKey,
        told: &Told,
        files: &[(String, String)],
        looked: &mut Looked,
    ) -> Result<Vec<String>, CliError> {
        if self.untold.waiting.contains(run) {
            return Ok(Vec::new());
        }
        let ops: Vec<Op> = told.iter().map(|(_, op)| op.clone()).collect();
        let parent = run.parent().and_then(|_| self.parent());
        let mut found =
            verify::compare(self.client, &ops, self.held.runs.get(run), parent, files, looked).await?;
        if let Some(ids) = self.held.doubled.get(run) {
            found.push(format!("it has more than one run: {}", ids.join(", ")));
        }
        Ok(found)
    }

    /// The next trials that have runs, from an index on.
    fn trials(&self, from: u64) -> Result<Vec<(u64, RunKey, Told)>, CliError> {
        let rows = self.reader.trials(self.sweep(), from, TRIALS)?;
        let run = |index| RunKey::trial(&TrialId { sweep: self.sweep().clone(), index });
        rows.iter().map(|row| Ok((row.trial, run(row.trial), self.retelling.trial_run(row)?))).collect()
    }
}

/// Compares everything.
pub(super) async fn look(client: &Client, reader: &Reader, sweep: &SweepId) -> Result<Found, CliError> {
    let sides = Sides::new(client, reader, sweep).await?;
    let mut found = Found::default();
    let run = RunKey::sweep(sweep);
    let (mut told, ended) = sides.retelling.sweep_run()?;
    let files = if ended.is_empty() { Vec::new() } else { ranking(&sides, &sides.held.ids())? };
    told.extend(ended);
    let wrong = sides.compare(&run, &told, &files, &mut found.looked).await?;
    found.differences.extend(wrong.into_iter().map(|wrong| (sweep.to_string(), wrong)));
    let mut from = 0;
    loop {
        let trials = sides.trials(from)?;
        let Some((last, ..)) = trials.last() else { break };
        from = last + 1;
        for (index, run, told) in trials {
            let wrong = sides.compare(&run, &told, &[], &mut found.looked).await?;
            found.differences.extend(wrong.into_iter().map(|wrong| (trial_name(index), wrong)));
        }
    }
    if !files.is_empty() && !sides.untold.waiting.contains(&run) {
        let kept = sides.retelling.kept_models(&sides.held.ids())?;
        let wrong = verify::compare_models(client, &kept, &mut found.looked).await?;
        found.differences.extend(wrong.into_iter().map(|(index, wrong)| (trial_name(index), wrong)));
    }
    found.untold = sides.untold;
    Ok(found)
}

/// The files of the ranking as the server was given them: they name its runs.
fn ranking(sides: &Sides<'_>, runs: &BTreeMap<RunKey, RunIds>) -> Result<Vec<(String, String)>, CliError> {
    Ok(sides.retelling.ranking(sides.client.address(), runs)?)
}

/// Tells MLflow again what it lacks: every run that differs is told in full, which changes nothing of what is right.
pub(super) async fn mend(
    client: &Client,
    reader: &Reader,
    sweep: &SweepId,
    deadline: Instant,
) -> Result<Mended, CliError> {
    let before = look(client, reader, sweep).await?;
    if before.differences.is_empty() {
        return Ok(Mended::default());
    }
    terminal::note(format_args!("{sweep}: {}", counted(before.differences.len() as u64, "difference")));
    let sides = Sides::new(client, reader, sweep).await?;
    let resend = Resend::new(sides.held.ids());
    let drained = async |told: Told| -> Result<(), CliError> {
        resend.add(told);
        match drain_until_empty(&resend, client, rand::random::<f64>, deadline).await {
            Ok(Drained::Empty) => Ok(()),
            Ok(Drained::Waiting(Some(why))) => Err(why.into()),
            Ok(Drained::Waiting(None)) => Err(CliError::failure(format!(
                "MLflow at {} was not told everything in time: the same command goes on",
                client.address()
            ))),
            Err(never) => match never {},
        }
    };
    let (begun, ended) = sides.retelling.sweep_run()?;
    drained(begun).await?;
    let mut from = 0;
    loop {
        let trials = sides.trials(from)?;
        let Some((last, ..)) = trials.last() else { break };
        from = last + 1;
        let mut again = Told::new();
        for (_, run, told) in trials {
            let wrong = sides.compare(&run, &told, &[], &mut Looked::default()).await?;
            if !wrong.is_empty() {
                again.extend(told);
            }
        }
        drained(again).await?;
    }
    let runs = resend.runs();
    resend.end_with(ranking(&sides, &runs)?, sides.retelling.kept_models(&runs)?);
    drained(ended).await?;
    let resent = resend.resent();
    for (run, why) in &resent.refused {
        eprintln!("{run}: {why}");
    }
    let left = look(client, reader, sweep).await?.differences.len();
    Ok(Mended { learned: resent.learned, left })
}

/// What `mlflow verify` prints for programs.
pub(super) fn json(sweep: &SweepId, found: &Found, address: &str) -> String {
    let Found { looked, differences, untold } = found;
    let wrong = |(run, wrong): &(String, String)| serde_json::json!({"run": run, "difference": wrong});
    let refused = |(run, why): &(RunKey, String)| serde_json::json!({"run": run.as_str(), "why": why});
    json::document(serde_json::json!({
        "sweep": sweep.as_str(),
        "mlflow": address,
        "sound": found.is_sound(),
        "runs": looked.runs,
        "params": looked.params,
        "points": looked.points,
        "artifacts": looked.artifacts,
        "models": looked.models,
        "differences": differences.iter().map(wrong).collect::<Vec<_>>(),
        "waiting": untold.waiting.iter().map(RunKey::as_str).collect::<Vec<_>>(),
        "refused": untold.refused.iter().map(refused).collect::<Vec<_>>(),
    }))
}

/// What `mlflow verify` prints.
pub(super) fn shown(sweep: &SweepId, found: &Found, address: &str) -> String {
    let Found { looked, differences, untold } = found;
    let mut out = String::new();
    let width = differences.iter().map(|(run, _)| run.chars().count()).max().unwrap_or(0);
    for (run, wrong) in differences.iter().take(PRINTED) {
        let _ = writeln!(out, "{run:width$}  {wrong}");
    }
    if differences.len() > PRINTED {
        let _ = writeln!(out, "and {} more", differences.len() - PRINTED);
    }
    for (run, why) in untold.refused.iter().take(PRINTED) {
        let _ = writeln!(out, "{run}  set aside: {why}");
    }
    if !untold.waiting.is_empty() {
        let runs = counted(untold.waiting.len() as u64, "run");
        let _ = writeln!(out, "{runs} wait to be told more and were not compared");
    }
    let what = format!(
        "{}, {}, {}, {} and {}",
        counted(looked.runs, "run"),
        counted(looked.params, "parameter"),
        counted(looked.points, "point"),
        counted(looked.artifacts, "artifact"),
        counted(looked.models, "model"),
    );
    if found.is_sound() {
        let _ = writeln!(out, "{sweep}: {what} are in MLflow at {address} as recorded");
    } else {
        let all = counted(differences.len() as u64, "difference");
        let _ = writeln!(
            out,
            "{sweep}: {all} among {what} at {address}; `distilsweep mlflow sync {sweep}` mends what can be mended"
        );
    }
    out
}
