//! Commands that people give while things fail: asked again until the coordinator is there to answer, for each may be
//! given twice.

use anyhow::Context;
use serde_json::Value;

use super::drill::Fleet;
use crate::process::{Finished, Process};

/// A command of `distilsweep` under way.
#[derive(Debug, Default)]
pub(super) struct Errand {
    process: Option<Process>,
    /// The worker that is spoken of, once its name is known.
    name: Option<String>,
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
            let listed = self.run(fleet, &["worker", "list", "--format", "json"])?;
            let listed: Option<Value> = listed.map(|text| serde_json::from_str(&text)).transpose()?;
            let process = fleet.seats[seat].worker.id();
            self.name = listed.as_ref().and_then(Value::as_array).and_then(|workers| {
                let worker = workers.iter().find(|worker| worker["process"] == process)?;
                Some(worker["worker"].as_str()?.to_owned())
            });
            return Ok(false);
        };
        let Some(ended) = self.ended(fleet, &["worker", "drain", &name])? else {
            self.name = Some(name);
            return Ok(false);
        };
        // A coordinator that was started meanwhile may not know the worker yet: then it is looked for again.
        Ok(ended.code == Some(0))
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
