//! `distilsweep sweep events`: the journal for people and for programs.

use chrono::{Local, TimeZone};
use clap::Args;
use distilsweep_proto::{
    examples,
    json::{self, Json},
    v1,
};

use super::{CliError, results, sweep::Named, trial};
use crate::{text::escape_controls, times};

/// Arguments of `sweep events`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep sweep events emotion-lr --follow",
    "distilsweep sweep events emotion-lr/3",
])]
pub(super) struct Events {
    /// Those of one trial alone; SWEEP/NUMBER says the same
    #[arg(long)]
    trial: Option<u64>,

    /// Go on until the sweep has ended
    #[arg(long, short)]
    follow: bool,

    #[command(flatten)]
    json: Json,

    #[command(flatten)]
    named: Named,
}

impl Events {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let (sweep, trial) = match (trial::sweep_and_trial(&self.named.sweep)?, self.trial) {
            (None, trial) => (self.named.sweep, trial),
            (Some((sweep, trial)), None) => (sweep, Some(trial)),
            (Some(_), Some(_)) => return Err(trial::named_twice()),
        };
        let mut connection = self.named.target.connect().await?;
        let request = v1::ListEventsRequest { sweep, trial, follow: self.follow };
        let told = match connection.client.list_events(request).await {
            Ok(events) => tell(events.into_inner(), self.json).await,
            Err(status) => Err(status),
        };
        connection.close().await?;
        Ok(told?)
    }
}

async fn tell(mut events: tonic::Streaming<v1::Event>, json: Json) -> Result<(), tonic::Status> {
    while let Some(event) = events.message().await? {
        results::print(&if json.json { for_programs(&event) } else { line(&event, &Local) });
    }
    Ok(())
}

/// A line for people, by the clock of `zone`.
pub(super) fn line<Z: TimeZone<Offset: std::fmt::Display>>(event: &v1::Event, zone: &Z) -> String {
    let about = match event.trial {
        Some(trial) => format!("trial {trial}"),
        None if event.worker.is_empty() => "sweep".to_owned(),
        None => "worker".to_owned(),
    };
    let mut words = Vec::new();
    if let Some(attempt) = event.attempt {
        words.push(format!("attempt {attempt}"));
    }
    match (event.worker.as_str(), event.trial) {
        ("", _) => {}
        (worker, Some(_)) => words.push(format!("on {worker}")),
        (worker, None) => words.push(worker.to_owned()),
    }
    if !["", "coordinator", event.worker.as_str()].contains(&event.actor.as_str()) {
        words.push(format!("by {}", event.actor));
    }
    let mut said = words.join(" ");
    if !event.detail.is_empty() {
        let between = if said.is_empty() { "" } else { ": " };
        said.push_str(&format!("{between}{}", escape_controls(&event.detail)));
    }
    format!("{}  {about:<10} {:<13}  {said}", times::clock(event.at_ms, zone), event.event)
        .trim_end()
        .to_owned()
}

/// An object a line, with null for what is not there.
fn for_programs(event: &v1::Event) -> String {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json::line(serde_json::json!({
        "time": times::rfc3339(event.at_ms),
        "trial": event.trial,
        "attempt": event.attempt,
        "worker": text(&event.worker),
        "actor": text(&event.actor),
        "event": event.event,
        "detail": text(&event.detail),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_reads_as_who_did_what_to_which_trial_when_and_why() {
        let zone = chrono::FixedOffset::east_opt(2 * 3600).unwrap();
        let event = |event: &str, detail: &str| v1::Event {
            at_ms: 1_790_000_000_000,
            event: event.into(),
            detail: detail.into(),
            ..Default::default()
        };
        let on = |event: v1::Event| v1::Event {
            trial: Some(3),
            attempt: Some(1),
            worker: "gpu-1-77-0a".into(),
            ..event
        };
        let events = [
            event("submitted", "4 points"),
            on(event("leased", "")),
            on(event("attempt_ended", "worker_lost: worker gpu-1-77-0a was not heard of for 30 s")),
            v1::Event { actor: "ada".into(), ..event("paused", "") },
            v1::Event {
                trial: Some(9),
                actor: "ada".into(),
                ..event("cancelled", "left out before it began")
            },
            v1::Event {
                worker: "gpu-1-77-0a".into(),
                actor: "coordinator".into(),
                ..event("quarantined", "3 different trials failed on it in a row")
            },
        ];
        insta::assert_snapshot!(events.iter().map(|event| line(event, &zone)).collect::<Vec<_>>().join("\n"), @r"
        2026-09-21 16:13:20  sweep      submitted      4 points
        2026-09-21 16:13:20  trial 3    leased         attempt 1 on gpu-1-77-0a
        2026-09-21 16:13:20  trial 3    attempt_ended  attempt 1 on gpu-1-77-0a: worker_lost: worker gpu-1-77-0a was not heard of for 30 s
        2026-09-21 16:13:20  sweep      paused         by ada
        2026-09-21 16:13:20  trial 9    cancelled      by ada: left out before it began
        2026-09-21 16:13:20  worker     quarantined    gpu-1-77-0a: 3 different trials failed on it in a row
        ");
        let object: serde_json::Value = serde_json::from_str(&for_programs(&events[1])).unwrap();
        assert_eq!((&object["trial"], &object["detail"]), (&3.into(), &serde_json::Value::Null));
        assert_eq!(object["time"], "2026-09-21T14:13:20.000Z");
    }
}
