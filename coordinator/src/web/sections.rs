//! What stands on the pages besides what a report has: progress, workers, events, and forms. Pure.

use std::fmt::Write;

use distilsweep_proto::{ids::SweepId, v1};

use super::pages::ago;
use crate::{
    grpc::convert::ended,
    results::{
        convert,
        html::{View, escaped},
        labels::{self, counted, duration},
        progress::ProgressView,
    },
};

/// Lines of the journal that are shown.
pub(super) const EVENTS: u32 = 50;
/// Sweeps that are listed, the latest.
pub(super) const SWEEPS: usize = 200;
/// Trials under way that are shown.
const RUNNING: usize = 50;

/// All sweeps, the latest first.
pub(super) fn sweeps(statuses: &[v1::SweepStatus], all: usize, now_ms: i64) -> String {
    if statuses.is_empty() {
        return "<p class=\"empty\">There is no sweep yet: <code>distilsweep sweep submit SWEEP.yaml</code> hands one in.</p>\n"
            .to_owned();
    }
    let mut out = String::new();
    if statuses.len() < all {
        let _ = writeln!(out, "<p class=\"dim\">The latest {} of {all}.</p>", statuses.len());
    }
    out.push_str(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Sweeps\">\n<table>\n<thead><tr><th scope=\"col\">sweep\
         <th scope=\"col\">state<th scope=\"col\">progress<th scope=\"col\" class=\"n\">trials<th scope=\"col\" class=\"n\">best\
         <th scope=\"col\">handed in</thead>\n<tbody>\n",
    );
    for status in statuses {
        let (id, name) = (escaped(&status.sweep), escaped(&status.name));
        let state = convert::state_name(status.state());
        let best = status.best.map_or_else(
            || labels::DASH.to_owned(),
            |best| {
                let metric = status.metric.as_ref().map(|metric| metric.name.clone()).unwrap_or_default();
                format!("{} {}", escaped(labels::metric_title(&metric)), labels::metric(best.value))
            },
        );
        let _ = writeln!(
            out,
            "<tr><td><a href=\"/sweeps/{id}\">{name}</a> <code class=\"dim\">{id}</code><td><span class=\"state {state}\">{state}</span>\
             <td>{}<td class=\"n\">{} of {}<td class=\"n\">{best}<td>{}",
            bar(ended(status), status.total, "progress"),
            ended(status),
            status.total,
            ago(status.created_ms, now_ms),
        );
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    out
}

fn bar(done: u64, of: u64, label: &str) -> String {
    let (most, share) = (of.max(1), (done * 100).checked_div(of).unwrap_or(0));
    format!("<progress max=\"{most}\" value=\"{done}\" aria-label=\"{label}\">{share} %</progress>")
}

/// How far a sweep is, and its trials under way.
pub(super) fn progress(status: &v1::SweepStatus, now_ms: i64) -> String {
    let state = convert::state_name(status.state());
    let open = status.finished_ms == 0;
    let end = if open { now_ms } else { status.finished_ms };
    let elapsed = (end - status.created_ms).max(0) as f64 / 1000.0;
    let view = ProgressView { elapsed, ..convert::progress(status, &[]) };
    let mut tiles = String::new();
    let mut tile = |title: &str, value: &str, more: &str| {
        let more = if more.is_empty() { String::new() } else { format!("<small>{more}</small>") };
        let _ = writeln!(tiles, "<div><dt>{title}</dt><dd>{value}{more}</dd></div>");
    };
    tile("state", &format!("<span class=\"state {state}\">{state}</span>"), &escaped(&status.reason));
    let without: Vec<String> = [
        (status.failed, "failed"),
        (status.diverged, "diverged"),
        (status.early_stopped, "stopped early"),
        (status.cancelled, "cancelled"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, how)| format!("{count} {how}"))
    .collect();
    tile("trials ended", &format!("{} of {}", ended(status), status.total), &without.join(", "));
    let metric = status.metric.as_ref().map(|metric| metric.name.clone()).unwrap_or_default();
    match status.best {
        Some(best) => {
            let link = format!(
                "<a href=\"/sweeps/{0}/trials/{1}\">trial {1}</a>",
                escaped(&status.sweep),
                best.trial
            );
            let title = format!("best {}", escaped(labels::metric_title(&metric)));
            tile(&title, &labels::metric(best.value), &link);
        }
        None => tile("best", labels::DASH, ""),
    }
    if open {
        tile("running", &status.running.len().to_string(), &counted(status.workers.into(), "worker"));
        let left = view.seconds_left().map_or_else(|| labels::DASH.to_owned(), duration);
        tile("left", &left, &format!("{} gone", duration(elapsed)));
    } else {
        tile("took", &duration(elapsed), "");
    }
    if status.outbox_depth + status.outbox_refused > 0 {
        let refused = status.outbox_refused;
        let refused = if refused > 0 { format!("{refused} refused") } else { String::new() };
        tile("waits for MLflow", &counted(status.outbox_depth, "message"), &refused);
    }
    let mut out = format!(
        "{}\n<dl class=\"tiles\">\n{tiles}</dl>\n",
        bar(ended(status), status.total, "Trials that ended")
    );
    running(status, &mut out);
    out
}

fn running(status: &v1::SweepStatus, out: &mut String) {
    if status.running.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Under way</h2>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Trials under way\">\n<table>\n<thead><tr>\
         <th scope=\"col\" class=\"n\">trial<th scope=\"col\">doing<th scope=\"col\">progress<th scope=\"col\" class=\"n\">step\
         <th scope=\"col\" class=\"n\">steps/s<th scope=\"col\" class=\"n\">loss<th scope=\"col\" class=\"n\">best<th scope=\"col\">worker</thead>\n<tbody>\n",
    );
    let mut trials: Vec<&v1::RunningTrial> = status.running.iter().collect();
    trials.sort_by_key(|trial| trial.trial);
    for trial in trials.iter().take(RUNNING) {
        let steps = |count: i64| u64::try_from(count).unwrap_or(0);
        let some = |value: Option<f64>| {
            value.filter(|value| value.is_finite()).map_or_else(|| labels::DASH.to_owned(), labels::metric)
        };
        let (step, pace) = if trial.total_steps > 0 {
            (format!("{} of {}", trial.step, trial.total_steps), format!("{:.2}", trial.steps_per_second))
        } else {
            (labels::DASH.to_owned(), labels::DASH.to_owned())
        };
        let _ = writeln!(
            out,
            "<tr><td class=\"n\"><a href=\"/sweeps/{}/trials/{index}\">{index}</a><td>{}<td>{}<td class=\"n\">{step}\
             <td class=\"n\">{pace}<td class=\"n\">{}<td class=\"n\">{}<td>{}",
            escaped(&status.sweep),
            escaped(if trial.phase.is_empty() { "starting" } else { &trial.phase }),
            bar(steps(trial.step), steps(trial.total_steps), "steps"),
            some(Some(trial.loss).filter(|_| trial.step > 0)),
            some(trial.best_metric),
            escaped(&trial.worker),
            index = trial.trial,
        );
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    if trials.len() > RUNNING {
        let _ = writeln!(out, "<p class=\"dim\">and {} more</p>", trials.len() - RUNNING);
    }
}

/// How far one trial is.
pub(super) fn underway(trial: &v1::RunningTrial) -> String {
    let steps = |count: i64| u64::try_from(count).unwrap_or(0);
    format!(
        "<p>{} on {}: step {} of {}, {:.2} a second</p>\n{}\n",
        escaped(&trial.phase),
        escaped(&trial.worker),
        trial.step,
        trial.total_steps,
        trial.steps_per_second,
        bar(steps(trial.step), steps(trial.total_steps), "steps")
    )
}

/// A trial that has no row yet.
pub(super) fn waiting() -> String {
    "<p class=\"empty\">It has not begun: it waits for a worker.</p>\n".to_owned()
}

/// What takes long, for those without the script a link away.
pub(super) fn later(title: &str, link: &str) -> String {
    format!(
        "<h2>{title}</h2>\n<p class=\"empty\" data-later><a href=\"{}\">Work it out</a>: that takes a moment.</p>\n",
        escaped(link)
    )
}

/// The workers, and what of the sweep they train.
pub(super) fn workers(workers: &[v1::WorkerStatus], sweep: &SweepId) -> String {
    let mut out = String::from("<h2>Workers</h2>\n");
    if workers.is_empty() {
        out.push_str("<p class=\"empty\">No worker is connected.</p>\n");
        return out;
    }
    out.push_str(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Workers\">\n<table>\n<thead><tr><th scope=\"col\">worker\
         <th scope=\"col\">state<th scope=\"col\">host<th scope=\"col\">devices<th scope=\"col\">trains<th scope=\"col\">version</thead>\n<tbody>\n",
    );
    for worker in workers {
        let trains: Vec<String> = worker
            .leases
            .iter()
            .map(|lease| {
                let other = lease.sweep != sweep.as_str();
                let name =
                    if other { format!("{}/{}", lease.sweep, lease.trial) } else { lease.trial.to_string() };
                format!(
                    "<a href=\"/sweeps/{}/trials/{}\">{}</a>",
                    escaped(&lease.sweep),
                    lease.trial,
                    escaped(&name)
                )
            })
            .collect();
        let trains = if trains.is_empty() { labels::DASH.to_owned() } else { trains.join(", ") };
        let state = escaped(&worker.state);
        let reason =
            if worker.reason.is_empty() { String::new() } else { format!(": {}", escaped(&worker.reason)) };
        let shown = if worker.state == "connected" { "completed" } else { "pending" };
        let _ = writeln!(
            out,
            "<tr><td>{}<td><span class=\"state {shown}\">{state}{reason}</span><td>{}<td>{}<td>{trains}<td>{}",
            escaped(&worker.worker),
            escaped(&worker.hostname),
            escaped(&worker.devices.join(", ")),
            escaped(&worker.version),
        );
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    out
}

/// The journal's latest lines.
pub(super) fn events(events: &[v1::Event], sweep: &SweepId, now_ms: i64) -> String {
    let mut out = String::from("<h2>Events</h2>\n");
    out.push_str(
        "<div class=\"wide tall\" tabindex=\"0\" role=\"region\" aria-label=\"Events\">\n<table>\n<thead><tr><th scope=\"col\">when\
         <th scope=\"col\">about<th scope=\"col\">what<th scope=\"col\">more</thead>\n<tbody>\n",
    );
    for event in events {
        let about = match event.trial {
            Some(trial) => format!("<a href=\"/sweeps/{sweep}/trials/{trial}\">trial {trial}</a>"),
            None => "sweep".to_owned(),
        };
        let mut more = Vec::new();
        if let Some(attempt) = event.attempt {
            more.push(format!("attempt {attempt}"));
        }
        if !event.worker.is_empty() {
            more.push(format!("on {}", event.worker));
        }
        if !["", "coordinator", event.worker.as_str()].contains(&event.actor.as_str()) {
            more.push(format!("by {}", event.actor));
        }
        let mut said = more.join(" ");
        if !event.detail.is_empty() {
            let between = if said.is_empty() { "" } else { ": " };
            let _ = write!(said, "{between}{}", event.detail);
        }
        let _ = writeln!(
            out,
            "<tr><td>{}<td>{about}<td>{}<td class=\"text\">{}",
            ago(event.at_ms, now_ms),
            escaped(&event.event.replace('_', " ")),
            escaped(&said)
        );
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    out
}

/// The box that filters the table; it stays while the table is replaced.
pub(super) fn filter(sweep: &SweepId, view: &View) -> String {
    let sort = view.sort.as_ref().map_or_else(String::new, |sort| {
        let order = if view.descending { "desc" } else { "asc" };
        format!(
            "<input type=\"hidden\" name=\"sort\" value=\"{}\"><input type=\"hidden\" name=\"order\" value=\"{order}\">",
            escaped(sort)
        )
    });
    format!(
        "<h2>Ranking</h2>\n<form class=\"filter\" role=\"search\" method=\"get\" action=\"/sweeps/{sweep}\" data-section=\"trials\">\n\
         <label for=\"where\">Only where</label>\n<input id=\"where\" name=\"where\" value=\"{}\" autocomplete=\"off\" spellcheck=\"false\" \
         placeholder=\"learning_rate&gt;1e-4 and state=completed\">\n{sort}<button>Filter</button>\n\
         <a href=\"/sweeps/{sweep}\" data-clear>All</a>\n</form>\n",
        escaped(&view.filter)
    )
}

/// What may be ordered of a sweep.
pub(super) fn orders(sweep: &SweepId, status: &v1::SweepStatus) -> String {
    let button = |order: &str, says: &str| {
        format!("<form method=\"post\" action=\"/sweeps/{sweep}/{order}\"><button>{says}</button></form>\n")
    };
    let orders = match status.state() {
        v1::SweepState::Running | v1::SweepState::Unspecified => button("pause", "Pause"),
        v1::SweepState::Paused => button("resume", "Resume"),
        v1::SweepState::Completed | v1::SweepState::Cancelled | v1::SweepState::Failed => {
            return String::new();
        }
    };
    let cancel = button("cancel", "End it and all its trials");
    format!(
        "<div class=\"orders\">\n{orders}<details>\n<summary>Cancel…</summary>\n{cancel}</details>\n</div>\n"
    )
}

/// What may be ordered of a trial.
pub(super) fn trial_orders(sweep: &SweepId, trial: u64, state: &str) -> String {
    let order = match state {
        "running" | "pending" | "waiting" => ("stop", "Stop"),
        "failed" | "diverged" | "cancelled" => ("retry", "Try again"),
        "early_stopped" => ("retry", "Train to its end"),
        _ => return String::new(),
    };
    let (order, says) = order;
    format!(
        "<div class=\"orders\"><form method=\"post\" action=\"/sweeps/{sweep}/trials/{trial}/{order}\"><button>{says}</button></form></div>\n"
    )
}
