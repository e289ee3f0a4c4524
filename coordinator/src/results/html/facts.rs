//! What a report says in words: the answer first, and after the pictures what it was made of.

use distilsweep_data::excerpt;

use super::{
    super::{Ranked, Summary, labels, markdown, resources::resources, settings},
    ROWS, escaped,
    trial::confusion,
};

/// Name, answer and how it stands.
pub(super) fn head(summary: &Summary, ranked: &[Ranked<'_>], out: &mut String) {
    line!(out, "<h1>{}</h1>", escaped(&summary.name));
    line!(
        out,
        "<p class=\"dim\">Sweep <code>{}</code> is {}: {}.</p>",
        escaped(&summary.sweep),
        escaped(&summary.state),
        escaped(&labels::standing(summary))
    );
    answer(summary, ranked, out);
    let order = if summary.maximize { "highest" } else { "lowest" };
    line!(
        out,
        "<p>Ranked by <code>{}</code>, {order} first. Selection is on validation only; the test split was looked at once a \
         trial, after its training.</p>",
        escaped(&summary.metric)
    );
    if !summary.constant.is_empty() {
        let same = summary.constant.iter().map(|(name, value)| (name.as_str(), value));
        line!(out, "<p>The same in all trials: {}.</p>", escaped(&labels::listed(same)));
    }
    if let Some(url) = &summary.mlflow.url {
        line!(out, "<p>MLflow: <a href=\"{0}\">{0}</a></p>", escaped(url));
    }
}

/// Which setting is best, by how much and how sure.
pub(super) fn answer(summary: &Summary, ranked: &[Ranked<'_>], out: &mut String) {
    let tried = settings(summary);
    let Some(best) = tried.first() else {
        line!(out, "<p class=\"answer\">No trial has a result yet.</p>");
        return;
    };
    let metric = labels::metric_title(&summary.metric);
    let interval = best.interval.map_or_else(String::new, |(low, high)| {
        format!(" <span class=\"dim\">(95 %: {} to {})</span>", labels::metric(low), labels::metric(high))
    });
    let repeats = match best.trials.len() {
        1 => format!("trial {}", best.trials[0]),
        several => format!("{several} seeds"),
    };
    let remark = labels::at_baseline(summary, best.mean).map_or_else(String::new, |why| format!(", {why}"));
    line!(
        out,
        "<p class=\"answer\">Best: <strong>{}</strong>, {} <strong>{}</strong>{interval}, {repeats}{remark}.</p>",
        escaped(&labels::setting(best)),
        escaped(metric),
        labels::metric(best.mean)
    );
    if let Some(row) = ranked.first().map(|first| first.row) {
        let tests = ["test_f1_score", "test_accuracy"].into_iter().filter_map(|name| {
            let error = row.errors.get(name).map(|error| format!(" ±{error:.3}")).unwrap_or_default();
            let value = labels::metric(*row.metrics.get(name)?);
            Some(format!("{} {value}{error}", labels::metric_title(name)))
        });
        let tests: Vec<String> = tests.collect();
        if !tests.is_empty() {
            line!(out, "<p>Its trial {} on the test split: {}.</p>", row.trial, tests.join(", "));
        }
    }
    if let Some(alike) = labels::alike(&tried) {
        line!(out, "<p>{}.</p>", sentence(&alike));
    }
    if let Some(baseline) = labels::baseline(summary) {
        line!(
            out,
            "<p class=\"dim\">Always guessing the commonest class of the training split reaches {}.</p>",
            escaped(&baseline)
        );
    }
    if let Some(sureness) = labels::sureness(summary, &tried) {
        line!(out, "<p class=\"dim\">{}.</p>", sentence(&sureness));
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    escaped(&(first + letters.as_str()))
}

/// Failures, data, environment, and how to make it again.
pub(super) fn rest(summary: &Summary, ranked: &[Ranked<'_>], out: &mut String) {
    failures(ranked, out);
    data(summary, out);
    environment(summary, out);
    reproduce(summary, ranked, out);
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

fn data(summary: &Summary, out: &mut String) {
    if summary.splits.is_empty() {
        return;
    }
    line!(out, "<h2>Data</h2>");
    if !summary.classes.is_empty() {
        let count = summary.classes.len();
        let named: Vec<String> = summary.classes.iter().map(|class| excerpt(class)).collect();
        line!(out, "<p>{count} classes: {}.</p>", escaped(&named.join(", ")));
    }
    line!(
        out,
        "<div class=\"wide\">\n<table class=\"plain\">\n<thead><tr><th scope=\"col\">split<th scope=\"col\" class=\"n\">rows\
         <th scope=\"col\">SHA-256 of its tokens and classes</thead>\n<tbody>"
    );
    for split in &summary.splits {
        let (name, digest) = (escaped(&split.name), escaped(&split.sha256));
        line!(out, "<tr><td>{name}<td class=\"n\">{}<td><code>{digest}</code>", split.rows);
    }
    line!(out, "</tbody>\n</table>\n</div>");
    let confused = summary.splits.iter().filter(|split| !split.confusion.is_empty());
    line!(out, "<h2>What the best trial takes for what</h2>\n<div class=\"columns\">");
    confused.for_each(|split| out.push_str(&confusion(split, &summary.classes)));
    line!(out, "</div>");
}

fn environment(summary: &Summary, out: &mut String) {
    let mut workers: Vec<&str> = summary.trials.iter().filter_map(|row| row.worker.as_deref()).collect();
    workers.sort_unstable();
    workers.dedup();
    line!(out, "<h2>Environment</h2>\n<p>distilsweep {}.", env!("CARGO_PKG_VERSION"));
    if !workers.is_empty() {
        let count = labels::counted(workers.len() as u64, "worker");
        let named: Vec<&str> = workers.iter().copied().take(20).collect();
        let more = workers.len().saturating_sub(named.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        line!(out, "Trained by {count}: {}{more}.", escaped(&named.join(", ")));
    }
    if !summary.tags.is_empty() {
        let tags: Vec<String> = summary.tags.iter().map(|(name, value)| format!("{name} {value}")).collect();
        line!(out, "The best trial: {}.", escaped(&tags.join(", ")));
    }
    line!(out, "</p>");
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
}
