//! The report for a browser: one file that needs nothing else, no network and no script.

mod axis;
mod plot;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt::Write};

use distilsweep_proto::{
    names::{self, Selection},
    params::Value,
};

use super::{Curve, Ranked, Summary, labels, markdown, rank, resources::resources};
use plot::{COLOURS, Dot, Plot};

/// Rows of the table; the rest are in the CSV file.
const ROWS: usize = 1000;
/// Values of one hyperparameter that are shown as names.
const CATEGORIES: usize = 12;
/// Dots of one plot: more weigh more than they show.
const DOTS: usize = 5000;

/// How pages look.
pub(crate) const STYLE: &str = include_str!("report.css");

/// Appends a line; writing to a text cannot fail.
macro_rules! line {
    ($out:expr, $($arguments:tt)*) => {
        let _ = writeln!($out, $($arguments)*);
    };
}

/// The report as HTML.
pub fn html(summary: &Summary) -> String {
    let ranked = rank(summary);
    let mut out = String::new();
    let title = escaped(&summary.name);
    line!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">");
    line!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    line!(out, "<title>{title}: ranking</title>\n<style>\n{STYLE}</style>\n</head>\n<body>");
    facts(summary, &mut out);
    if ranked.first().is_some_and(|first| first.rank.is_some()) {
        line!(out, "<h2>Scores</h2>\n<div class=\"plots\">");
        out.push_str(&scores(summary, &ranked));
        for name in &summary.varied {
            out.push_str(&by_parameter(summary, &ranked, name));
        }
        line!(out, "</div>");
        curves(summary, &mut out);
    } else {
        line!(out, "<p>No trial has a result yet.</p>");
    }
    table(summary, &ranked, &mut out);
    failures(&ranked, &mut out);
    reproduce(summary, &ranked, &mut out);
    line!(out, "</body>\n</html>");
    out
}

fn facts(summary: &Summary, out: &mut String) {
    line!(out, "<h1>{}</h1>", escaped(&summary.name));
    line!(
        out,
        "<p class=\"dim\">Sweep <code>{}</code> is {}: {}.</p>",
        escaped(&summary.sweep),
        escaped(&summary.state),
        escaped(&labels::standing(summary))
    );
    let order = if summary.maximize { "highest" } else { "lowest" };
    line!(out, "<p>Ranked by <code>{}</code>, {order} first.", escaped(&summary.metric));
    if let Some(baseline) = labels::baseline(summary) {
        line!(
            out,
            "Always guessing the commonest class of the training split reaches {}.",
            escaped(&baseline)
        );
    }
    line!(out, "</p>");
    if !summary.constant.is_empty() {
        let same = summary.constant.iter().map(|(name, value)| (name.as_str(), value));
        line!(out, "<p>The same in all trials: {}.</p>", escaped(&labels::listed(same)));
    }
    if let Some(url) = &summary.mlflow.url {
        line!(out, "<p>MLflow: <a href=\"{0}\">{0}</a></p>", escaped(url));
    }
}

/// Every trial's score by its place.
fn scores(summary: &Summary, ranked: &[Ranked<'_>]) -> String {
    let scored = scored(summary, ranked);
    let points: Vec<(f64, f64)> = scored.iter().map(|(place, _, score)| (*place, *score)).collect();
    let metric = labels::metric_title(&summary.metric);
    // Where guessing is far below, a line there would press all the rest together.
    let spread = |values: &[(f64, f64)]| {
        let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), (_, v)| (l.min(*v), h.max(*v)));
        (high - low, low)
    };
    let (range, low) = spread(&points);
    let base = summary.baseline_of_metric().filter(|base| (low - base).abs() <= 2.0 * range);
    let mut plot = Plot::new(&points, base, ("rank", metric), None);
    for (place, row, score) in &scored {
        let says = format!("trial {}: {} {}", row.trial, metric, labels::metric(*score));
        plot.dot(&Dot { x: *place, y: *score, says: &says }, 0);
    }
    plot.figure(&format!("{metric} by rank"))
}

/// Every trial's score by the value of one hyperparameter.
fn by_parameter(summary: &Summary, ranked: &[Ranked<'_>], name: &str) -> String {
    let scored = scored(summary, ranked);
    let valued: Vec<(&Value, u64, f64)> = scored
        .iter()
        .filter_map(|(_, row, score)| Some((row.params.get(name)?, row.trial, *score)))
        .collect();
    let mut distinct: Vec<&Value> = Vec::new();
    for (value, _, _) in &valued {
        if distinct.len() <= CATEGORIES && !distinct.contains(value) {
            distinct.push(value);
        }
    }
    let numbers: Option<Vec<f64>> = valued.iter().map(|(value, _, _)| number(value)).collect();
    let by_name = distinct.len() <= CATEGORIES;
    distinct.sort_by(|a, b| match (number(a), number(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.to_string().cmp(&b.to_string()),
    });
    let names: Vec<String> = distinct.iter().map(ToString::to_string).collect();
    let x = |at: usize, value: &Value| match &numbers {
        Some(numbers) if !by_name => numbers[at],
        _ => distinct.iter().position(|known| *known == value).map_or(f64::NAN, |place| place as f64),
    };
    let points: Vec<(f64, f64)> =
        valued.iter().enumerate().map(|(at, (value, _, score))| (x(at, value), *score)).collect();
    let metric = labels::metric_title(&summary.metric);
    let mut plot = Plot::new(&points, None, (name, metric), by_name.then_some(&names[..]));
    for ((x, score), (value, trial, _)) in points.iter().zip(&valued) {
        let says = format!("trial {trial}: {name} {value}, {metric} {}", labels::metric(*score));
        plot.dot(&Dot { x: *x, y: *score, says: &says }, 2);
    }
    plot.figure(&format!("{metric} by {name}"))
}

/// Place, trial and score of those that have one.
fn scored<'a>(summary: &Summary, ranked: &[Ranked<'a>]) -> Vec<(f64, &'a super::TrialRow, f64)> {
    let scored = ranked.iter().filter_map(|ranked| Some((ranked.row, summary.score(ranked.row)?)));
    scored.take(DOTS).enumerate().map(|(place, (row, score))| (place as f64 + 1.0, row, score)).collect()
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(integer) => Some(*integer as f64),
        Value::Number(number) => Some(*number),
        Value::Text(_) | Value::Flag(_) => None,
    }
}

/// Learning curves of the best trials, a plot a metric.
fn curves(summary: &Summary, out: &mut String) {
    if summary.curves.is_empty() {
        return;
    }
    let mut colours: BTreeMap<u64, usize> = BTreeMap::new();
    for curve in &summary.curves {
        let next = colours.len() % COLOURS;
        colours.entry(curve.trial).or_insert(next);
    }
    let evaluation = Selection::named(&summary.metric).map(|selection| selection.evaluation);
    let mut metrics: Vec<&str> = Vec::new();
    for curve in &summary.curves {
        if !metrics.contains(&curve.metric.as_str()) {
            metrics.push(&curve.metric);
        }
    }
    metrics.sort_by_key(|metric| (Some(*metric) != evaluation, *metric != names::LOSS));
    line!(out, "<h2>Learning curves of the best trials</h2>\n<p class=\"key\">");
    let mut shown: Vec<(u64, usize)> = Vec::new();
    for curve in &summary.curves {
        let entry = (curve.trial, colours[&curve.trial]);
        if !shown.contains(&entry) {
            shown.push(entry);
        }
    }
    for (trial, colour) in shown {
        line!(out, "<span><i style=\"background: var(--c{colour})\"></i>trial {trial}</span>");
    }
    line!(out, "</p>\n<div class=\"plots\">");
    for metric in metrics {
        let of_metric: Vec<&Curve> = summary.curves.iter().filter(|curve| curve.metric == metric).collect();
        let points: Vec<(f64, f64)> = of_metric
            .iter()
            .flat_map(|c| c.points.iter().map(|(step, value)| (*step as f64, *value)))
            .collect();
        let title = labels::metric_title(metric);
        let mut plot = Plot::new(&points, None, ("step", title), None);
        // The best lies on top.
        for curve in of_metric.iter().rev() {
            plot.curve(&curve.points, &format!("trial {}", curve.trial), colours[&curve.trial]);
        }
        let says = if metric == names::LOSS { "training loss".to_owned() } else { title.to_owned() };
        out.push_str(&plot.figure(&format!("{says} by step")));
    }
    line!(out, "</div>");
}

fn table(summary: &Summary, ranked: &[Ranked<'_>], out: &mut String) {
    if ranked.is_empty() {
        return;
    }
    let measured = |name: &str| ranked.iter().any(|r| r.row.metrics.contains_key(name));
    let mut metrics = vec![summary.metric.as_str()];
    metrics.extend(["test_f1_score", "test_accuracy"].into_iter().filter(|name| measured(name)));
    line!(out, "<h2>Ranking</h2>\n<div class=\"wide\">\n<table>");
    if ranked.len() > ROWS {
        let all = ranked.len();
        line!(out, "<caption>The first {ROWS} of {all} trials; ranking.csv has all.</caption>");
    }
    let mut header = String::from("<th class=\"n\">rank<th class=\"n\">trial<th>state");
    for name in
        summary.varied.iter().map(String::as_str).chain(metrics.iter().map(|m| labels::metric_title(m)))
    {
        let _ = write!(header, "<th class=\"n\">{}", escaped(name));
    }
    line!(out, "<thead><tr>{header}<th class=\"n\">time<th>MLflow run<th>model</thead>\n<tbody>");
    for Ranked { rank, row } in ranked.iter().take(ROWS) {
        let dash = || "–".to_owned();
        let mut cells = String::new();
        let mut number = |text: String| {
            let _ = write!(cells, "<td class=\"n\">{}", escaped(&text));
        };
        number(rank.map_or_else(dash, |rank| rank.to_string()));
        number(row.trial.to_string());
        let _ = write!(cells, "<td>{}", row.state.name());
        for name in &summary.varied {
            let text = row.params.get(name).map_or_else(dash, ToString::to_string);
            let _ = write!(cells, "<td class=\"n\">{}", escaped(&text));
        }
        for name in &metrics {
            let text = row.metrics.get(*name).map_or_else(dash, |value| labels::metric(*value));
            let _ = write!(cells, "<td class=\"n\">{text}");
        }
        let _ = write!(cells, "<td class=\"n\">{}", row.seconds.map_or_else(dash, labels::duration));
        let run = row.mlflow_run.as_deref().map(|run| run.chars().take(8).collect::<String>());
        let run = match (run, &row.mlflow_url) {
            (Some(run), Some(url)) => format!("<a href=\"{}\">{}</a>", escaped(url), escaped(&run)),
            (Some(run), None) => escaped(&run),
            (None, _) => dash(),
        };
        let model =
            row.checkpoint.as_deref().map_or_else(dash, |path| format!("<code>{}</code>", escaped(path)));
        line!(out, "<tr>{cells}<td>{run}<td>{model}");
    }
    line!(out, "</tbody>\n</table>\n</div>");
}

fn failures(ranked: &[Ranked<'_>], out: &mut String) {
    let failed: Vec<_> =
        ranked.iter().filter_map(|ranked| Some((ranked.row, labels::failure(ranked.row)?))).collect();
    if failed.is_empty() {
        return;
    }
    line!(out, "<h2>Without a result</h2>\n<ul>");
    for (trial, failure) in failed.iter().take(ROWS) {
        let attempts = labels::counted(trial.attempts.into(), "attempt");
        let (index, state) = (trial.trial, trial.state.name());
        line!(out, "<li>Trial {index} {state} after {attempts}: {}", escaped(failure));
    }
    line!(out, "</ul>");
}

fn reproduce(summary: &Summary, ranked: &[Ranked<'_>], out: &mut String) {
    if let Some(Ranked { rank: Some(_), row }) = ranked.first() {
        line!(
            out,
            "<h2>Best settings</h2>\n<p>Of trial {}, for a sweep file that trains it again:</p>",
            row.trial
        );
        line!(out, "<pre>{}</pre>", escaped(&markdown::settings(row)));
    }
    if !summary.file.is_empty() {
        line!(out, "<h2>The sweep file</h2>\n<pre>{}</pre>", escaped(&summary.file));
        line!(out, "<p>Saved as a file, <code>distilsweep run FILE --new</code> repeats the sweep.</p>");
    }
    if !summary.resources.is_empty() {
        line!(out, "<h2>Model and data</h2>\n<pre>{}</pre>", escaped(&resources(summary)));
    }
    let version = env!("CARGO_PKG_VERSION");
    line!(out, "<p class=\"dim\">Made by distilsweep {version}.</p>");
}

/// A text as HTML shows it, in elements and in quoted attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}
