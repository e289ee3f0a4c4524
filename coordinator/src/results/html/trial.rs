//! One trial for a browser: settings, curves, what it takes for what, tries, timings, files.

use std::fmt::Write;

use distilsweep_data::excerpt;

use super::{
    super::{
        Curve, labels,
        trial::{Attempt, TrialView, class},
    },
    escaped, figures,
    parallel::SHADES,
};
use crate::scheduler::Split;

/// Classes of which every pair is shown.
const MATRIX: usize = 20;

/// Everything about a trial, below its heading. `now_ms` is the time, which ends a try that goes on.
pub(crate) fn trial(view: &TrialView, now_ms: i64) -> String {
    let mut out = String::new();
    head(view, &mut out);
    line!(out, "<div class=\"columns\">");
    settings(view, &mut out);
    metrics(view, &mut out);
    line!(out, "</div>");
    curves(view, &mut out);
    let confused: Vec<&Split> = view.splits.iter().filter(|split| !split.confusion.is_empty()).collect();
    if !confused.is_empty() {
        line!(out, "<h2>What it takes for what</h2>\n<div class=\"columns\">");
        confused.iter().for_each(|split| out.push_str(&confusion(split, &view.classes)));
        line!(out, "</div>");
    }
    mistakes(view, &mut out);
    tries(view, now_ms, &mut out);
    files(view, &mut out);
    out
}

fn head(view: &TrialView, out: &mut String) {
    let row = &view.row;
    let state = row.state.name();
    let mut text = format!("<span class=\"state {state}\">{}</span>", row.state.words());
    if let Some((rank, of)) = view.rank {
        let _ = write!(text, ", rank {rank} of {of}");
    }
    if let Some(value) = row.metrics.get(&view.metric) {
        let error = row.errors.get(&view.metric).map(|error| format!(" ±{error:.3}")).unwrap_or_default();
        let title = labels::metric_title(&view.metric);
        let _ = write!(text, ", {} {}{error}", escaped(title), labels::metric(*value));
    }
    line!(out, "<p>{text}</p>");
    if let Some(failure) = labels::failure(row) {
        line!(out, "<p class=\"wrong\">{}</p>", escaped(&failure));
    }
}

fn settings(view: &TrialView, out: &mut String) {
    let params = &view.row.params;
    let others = params.keys().filter(|name| !view.varied.contains(name));
    let names = view.varied.iter().filter(|name| params.contains_key(*name)).chain(others);
    line!(out, "<div>\n<h2>Hyperparameters</h2>\n<table class=\"plain\">");
    for name in names {
        let same = if view.varied.contains(name) { "" } else { " class=\"dim\"" };
        let value = escaped(&params[name].to_string());
        line!(out, "<tr{same}><th scope=\"row\">{}<td class=\"n\">{value}", escaped(name));
    }
    line!(out, "</table>\n</div>");
}

fn metrics(view: &TrialView, out: &mut String) {
    if view.row.metrics.is_empty() {
        return;
    }
    line!(out, "<div>\n<h2>Metrics</h2>\n<table class=\"plain\">");
    for (name, value) in &view.row.metrics {
        let error = view.row.errors.get(name).map(|error| format!(" ±{error:.3}")).unwrap_or_default();
        let value = labels::metric(*value);
        line!(out, "<tr><th scope=\"row\">{}<td class=\"n\">{value}{error}", escaped(name));
    }
    line!(out, "</table>\n</div>");
}

fn curves(view: &TrialView, out: &mut String) {
    let (system, own): (Vec<Curve>, Vec<Curve>) =
        view.curves.iter().cloned().partition(|curve| curve.metric.starts_with("system/"));
    line!(out, "<h2>Curves</h2>");
    if own.is_empty() {
        line!(out, "<p class=\"empty\">Nothing has been logged yet.</p>");
    }
    let first = |metric: &str| (metric != "loss", !metric.starts_with("eval_"), metric.to_owned());
    line!(out, "<div class=\"plots\">");
    figures::by_metric(&own, first).iter().for_each(|figure| out.push_str(&figure.html()));
    line!(out, "</div>");
    if !system.is_empty() {
        line!(out, "<details>\n<summary>The machine meanwhile</summary>\n<div class=\"plots\">");
        figures::by_metric(&system, first).iter().for_each(|figure| out.push_str(&figure.html()));
        line!(out, "</div>\n</details>");
    }
}

/// How often each class was taken for each, as a table whose cells are the darker the more.
pub(super) fn confusion(split: &Split, classes: &[String]) -> String {
    let mut out = String::new();
    let count = split.confusion.len();
    if count > MATRIX {
        return format!(
            "<p class=\"dim\">{count} classes on the {} split: `distilsweep results --trial` names the commonest confusions.</p>\n",
            escaped(&split.name)
        );
    }
    line!(
        out,
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Confusion matrix, {}\">\n<table class=\"matrix\">",
        escaped(&split.name)
    );
    let rows = labels::counted(split.rows, "row");
    line!(out, "<caption>{}: {rows}; truth downwards, prediction across</caption>", escaped(&split.name));
    let names: String = (0..count)
        .map(|place| format!("<th scope=\"col\">{}", escaped(&excerpt(&class(classes, place)))))
        .collect();
    line!(out, "<thead><tr><td>{names}<th scope=\"col\">found</thead>\n<tbody>");
    for (place, row) in split.confusion.iter().enumerate() {
        let of: u64 = row.iter().sum();
        let share = |count: u64| if of == 0 { 0.0 } else { count as f64 / of as f64 };
        let cell = |count: &u64| {
            let shade = ((share(*count) * SHADES as f64) as usize).min(SHADES - 1);
            format!("<td class=\"n q{shade}\">{count}")
        };
        let cells: String = row.iter().map(cell).collect();
        let found =
            if of == 0 { labels::DASH.to_owned() } else { format!("{:.0} %", share(row[place]) * 100.0) };
        line!(
            out,
            "<tr><th scope=\"row\">{}{cells}<td class=\"n\">{found}",
            escaped(&excerpt(&class(classes, place)))
        );
    }
    line!(out, "</tbody>\n</table>\n</div>");
    out
}

fn mistakes(view: &TrialView, out: &mut String) {
    if view.mistakes.is_empty() {
        return;
    }
    line!(out, "<h2>Most confident mistakes on the test split</h2>\n<div class=\"wide\">\n<table>");
    line!(
        out,
        "<thead><tr><th scope=\"col\">is<th scope=\"col\">taken for<th scope=\"col\" class=\"n\">probability<th scope=\"col\">text</thead>\n<tbody>"
    );
    for mistake in &view.mistakes {
        let [truth, taken] = [mistake.truth, mistake.taken]
            .map(|place| escaped(&excerpt(&class(&view.classes, place as usize))));
        let text = escaped(&mistake.text);
        line!(
            out,
            "<tr><td>{truth}<td>{taken}<td class=\"n\">{:.3}<td class=\"text\">{text}",
            mistake.probability
        );
    }
    line!(out, "</tbody>\n</table>\n</div>");
}

fn tries(view: &TrialView, now_ms: i64, out: &mut String) {
    line!(out, "<h2>Tries</h2>");
    if view.attempts.is_empty() {
        line!(out, "<p class=\"empty\">No worker has taken it yet.</p>");
        return;
    }
    line!(
        out,
        "<div class=\"wide\">\n<table>\n<thead><tr><th scope=\"col\" class=\"n\">try<th scope=\"col\">worker<th scope=\"col\" class=\"n\">took<th scope=\"col\">how it ended</thead>\n<tbody>"
    );
    let last = view.attempts.len().saturating_sub(1);
    for (place, attempt) in view.attempts.iter().enumerate() {
        let how = ended(view, attempt, place == last);
        let took = labels::duration(attempt.seconds(now_ms));
        let worker = escaped(&attempt.worker);
        line!(
            out,
            "<tr><td class=\"n\">{}<td>{worker}<td class=\"n\">{took}<td class=\"text\">{}",
            attempt.attempt,
            escaped(&how)
        );
    }
    line!(out, "</tbody>\n</table>\n</div>");
    if view.steps > 0 {
        let seconds = view.row.seconds.map(|seconds| format!(" in {}", labels::duration(seconds)));
        let seconds = seconds.unwrap_or_default();
        line!(out, "<p>{} steps{seconds}, {:.2} a second.</p>", view.steps, view.steps_per_second);
    }
    if !view.tags.is_empty() {
        let tags: Vec<String> =
            view.tags.iter().map(|(name, value)| escaped(&format!("{name} {value}"))).collect();
        line!(out, "<p class=\"dim\">{}</p>", tags.join(", "));
    }
}

fn ended(view: &TrialView, attempt: &Attempt, last: bool) -> String {
    match (&attempt.failure, attempt.ended_ms) {
        (Some(failure), _) => failure.clone(),
        (None, None) => "goes on".to_owned(),
        (None, Some(_)) if last => view.row.state.name().to_owned(),
        (None, Some(_)) => "handed back".to_owned(),
    }
}

fn files(view: &TrialView, out: &mut String) {
    let row = &view.row;
    if row.checkpoint.is_none() && row.mlflow_url.is_none() && view.splits.is_empty() {
        return;
    }
    line!(out, "<h2>Files</h2>\n<div class=\"wide\">\n<table class=\"plain\">");
    if let Some(model) = &row.checkpoint {
        line!(out, "<tr><th scope=\"row\">model<td><code>{}</code>", escaped(model));
    }
    if let Some(url) = &row.mlflow_url {
        line!(out, "<tr><th scope=\"row\">MLflow run<td><a href=\"{0}\">{0}</a>", escaped(url));
    }
    for split in &view.splits {
        let (name, rows) = (escaped(&split.name), split.rows);
        line!(
            out,
            "<tr><th scope=\"row\">{name}<td>{rows} rows, SHA-256 <code>{}</code>",
            escaped(&split.sha256)
        );
    }
    line!(out, "</table>\n</div>");
}
