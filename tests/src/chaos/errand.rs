//! Commands that people give while things fail: asked again until the coordinator is there to answer, for each may be
//! given twice.

use anyhow::Context;
use serde_json::Value;

use super::drill::Fleet;
use crate::{
    process::{Finished, Process},
    sweep::Ranking,
};

/// A command of `distilsweep` under way.
#[derive(Debug, Default)]
pub(super) struct Errand {
    process: Option<Process>,
    /// The worker or trial that is spoken of, once it is known.
    name: Option<String>,
    /// Whether the order was given, answered or not.
    pub(super) given: bool,
}

impl Errand {
    /// What the command printed once it has been followed; to be asked until it is.
    pub(super) fn run(&mut self, fleet: &Fleet, arguments: &[&str]) -> anyhow::Result<Option<String>> {
        let Some(ended) = self.ended(fleet, arguments)? else { return Ok(None) };
        match ended.code {
            Some(0) => Ok(Some(ended.out)),
            // The coordinator is away, or went before it answered.
            Some(1 | 4) => Ok(None),
            Some(_) | None => anyhow::bail!("{arguments:?}: {ended:?}"),
        }
    }

    /// Has the worker of a seat drain, by its name; true once the coordinator has taken that.
    pub(super) fn drain(&mut self, fleet: &Fleet, seat: usize) -> anyhow::Result<bool> {
        let Some(name) = self.name.take() else {
            let listed = self.run(fleet, &["worker", "list", "--json"])?;
            let listed: Option<Value> = listed.map(|text| serde_json::from_str(&text)).transpose()?;
            let process = fleet.seats[seat].worker.id();
            self.name = listed.as_ref().and_then(|listed| listed["workers"].as_array()).and_then(|workers| {
                let worker = workers.iter().find(|worker| worker["process"] == process)?;
                Some(worker["worker"].as_str()?.to_owned())
            });
            return Ok(false);
        };
        self.given = true;
        let Some(ended) = self.ended(fleet, &["worker", "drain", &name])? else {
            self.name = Some(name);
            return Ok(false);
        };
        // A coordinator that was started meanwhile may not know the worker yet: then it is looked for again.
        Ok(ended.code == Some(0))
    }

    /// Stops a trial that runs; true once the coordinator has taken that.
    pub(super) fn stop_trial(&mut self, fleet: &Fleet) -> anyhow::Result<bool> {
        let Some(trial) = self.name.clone() else {
            let ranking = self.run(fleet, &["results", "--format", "json"])?;
            let trials =
                ranking.map(|text| Ranking::parse(&text)).transpose()?.map(|ranking| ranking.trials());
            let running = trials.iter().flatten().find(|trial| trial.state() == "running");
            self.name = running.map(|trial| trial.number().to_string());
            return Ok(false);
        };
        Ok(self.run(fleet, &["trial", "stop", "grid", &trial])?.is_some())
    }

    /// Has that trial tried again; true once the coordinator has taken that.
    pub(super) fn retry_trial(&mut self, fleet: &Fleet) -> anyhow::Result<bool> {
        let trial = self.name.clone().unwrap_or_default();
        Ok(self.run(fleet, &["trial", "retry", "grid", &trial])?.is_some())
    }

    fn ended(&mut self, fleet: &Fleet, arguments: &[&str]) -> anyhow::Result<Option<Finished>> {
        let process = match &mut self.process {
            Some(process) => process,
            none => {
                let arguments = [arguments, &["--coordinator", &fleet.coordinator.url]].concat();
                none.insert(fleet.scene.start("distilsweep", &arguments)?)
            }
        };
        let ended = process.ended().with_context(|| format!("{arguments:?}"))?;
        if ended.is_some() {
            self.process = None;
        }
        Ok(ended)
    }
}
