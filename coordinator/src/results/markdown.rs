//! The report: what ran, what won, and everything to repeat it.

use std::fmt::Write;

use distilsweep_proto::params::Value;

use super::{
    Ranked, Setting, Summary, TrialRow, insight, labels, ranked, resources,
    settings::{repeated, settings as tried, varied},
};

/// Appends a line; writing to a text cannot fail.
macro_rules! line {
    ($out:expr, $($arguments:tt)*) => {
        let _ = writeln!($out, $($arguments)*);
    };
}

/// The report as Markdown.
pub fn markdown(summary: &Summary) -> String {
    let tried = tried(summary);
    let ranked = ranked(summary, &tried);
    let mut out = String::new();
    title(summary, &mut out);
    match ranked.first() {
        Some(Ranked { rank: Some(_), row }) => best(summary, &tried, row, &mut out),
        Some(_) | None => out.push_str("\nNo trial has a result yet.\n"),
    }
    by_setting(summary, &tried, &mut out);
    if !ranked.is_empty() {
        ranking(summary, &ranked, if repeated(&tried) { "Trials" } else { "Ranking" }, &mut out);
    }
    if let Some(sureness) = labels::sureness(summary, &tried) {
        line!(out, "\nIn this table, {sureness}.");
    }
    mattered(summary, &mut out);
    failures(&ranked, &mut out);
    mlflow(summary, &mut out);
    out
}

fn title(summary: &Summary, out: &mut String) {
    line!(out, "# Sweep {}", escaped(&summary.name));
    line!(out, "\n`{}` is {}: {}.", summary.sweep, summary.state, labels::standing(summary));
    let order = if summary.maximize { "highest" } else { "lowest" };
    line!(
        out,
        "Ranked by `{}`, {order} first: settings are chosen on the validation split alone.",
        summary.metric
    );
    if !summary.constant.is_empty() {
        let constant: Vec<String> =
            summary.constant.iter().map(|(name, value)| format!("`{name}` {value}")).collect();
        line!(out, "\nThe same in all trials: {}.", constant.join(", "));
    }
    if let Some(pins) = resources::short(summary) {
        line!(out, "\nMade of {}.", escaped(&pins));
    }
    if let Some(baseline) = labels::baseline(summary) {
        line!(out, "\nAlways guessing the commonest class of the training split reaches {baseline}.");
    }
}

fn best(summary: &Summary, tried: &[Setting], row: &TrialRow, out: &mut String) {
    let Some(first) = tried.first() else { return };
    line!(out, "\n## Best settings\n");
    let who = match first.trials[..] {
        [trial] => format!("Trial {trial} reaches a"),
        _ => format!("Trials {} reach a mean", labels::numbers(&first.trials)),
    };
    let mut sentence = format!("{who} `{}` of {}", summary.metric, labels::metric(first.mean));
    if let Some(error) = first.error {
        let _ = write!(sentence, " ± {}", labels::metric(error));
    }
    if let Some(guessed) = summary.baseline_of_metric() {
        let _ = write!(sentence, " ({:+.4} against the majority class)", first.mean - guessed);
    }
    if let Some(remark) = labels::at_baseline(summary, first.mean) {
        let _ = write!(sentence, ", {remark}");
    }
    if let Some(others) = labels::alike(tried) {
        let _ = write!(sentence, "; {others}");
    }
    let which = if first.trials.len() > 1 { format!(" (trial {})", row.trial) } else { String::new() };
    line!(out, "{sentence}. To train it again{which}:\n");
    line!(out, "```yaml\n{}```", settings(row));
    if let Some(checkpoint) = &row.checkpoint {
        line!(out, "\nIts model, for `from_pretrained`: `{checkpoint}`");
    }
}

/// The settings, where each was tried with several seeds.
fn by_setting(summary: &Summary, tried: &[Setting], out: &mut String) {
    if !repeated(tried) {
        return;
    }
    line!(out, "\n## Ranking\n");
    let mut header = vec!["rank".to_owned()];
    header.extend(varied(summary).map(str::to_owned));
    let title = labels::metric_title(&summary.metric);
    header.extend([title.to_owned(), "over seeds".into(), "95 % interval".into(), "trials".into()]);
    row(&header, out);
    row(&header.iter().map(|_| "---:".to_owned()).collect::<Vec<_>>(), out);
    let dash = || labels::DASH.to_owned();
    for setting in tried {
        let mut cells = vec![setting.rank.to_string()];
        cells.extend(
            varied(summary).map(|name| setting.params.get(name).map_or_else(dash, ToString::to_string)),
        );
        cells.push(marked(summary, setting.mean));
        cells.push(setting.spread.map_or_else(dash, |spread| format!("± {}", labels::metric(spread))));
        let interval =
            |(low, high): (f64, f64)| format!("{} to {}", labels::metric(low), labels::metric(high));
        cells.push(setting.interval.map_or_else(dash, interval));
        cells.push(labels::numbers(&setting.trials));
        row(&cells, out);
    }
}

/// What mattered, by the random forest.
fn mattered(summary: &Summary, out: &mut String) {
    let Some(found) = insight(summary) else { return };
    line!(out, "\n## What mattered\n");
    line!(
        out,
        "A random forest explains {:.0} % of the variance of settings that it has not seen. Importance is the share of \
         the variance that a hyperparameter has a part in.\n",
        found.fit.max(0.0) * 100.0
    );
    row(&["hyperparameter", "importance", "best value", "predicted with it"].map(str::to_owned), out);
    row(&["---", "---:", "---:", "---:"].map(str::to_owned), out);
    for (one, effect) in found.importance.iter().zip(&found.effects) {
        let best = effect.levels.iter().find(|level| level.value == effect.best);
        let cells = [
            one.name.clone(),
            format!("{:.3} ± {:.3}", one.mean.max(0.0), one.spread),
            effect.best.to_string(),
            best.map_or_else(String::new, |level| labels::metric(level.mean)),
        ];
        row(&cells, out);
    }
    if let Some(both) = &found.interaction {
        let [first, second] = &both.names;
        line!(out, "\nInteraction of `{first}` and `{second}` (H²): {:.2}.", both.strength);
    }
}

/// A trial's settings as a sweep file has them.
pub(super) fn settings(row: &TrialRow) -> String {
    let mut out = String::from("parameters:\n");
    for (name, value) in &row.params {
        line!(out, "  {name}: {{value: {}}}", yaml(value));
    }
    out
}

fn ranking(summary: &Summary, ranked: &[Ranked<'_>], title: &str, out: &mut String) {
    let measured = |name: &str| ranked.iter().any(|r| r.row.metrics.contains_key(name));
    let mut metrics = vec![summary.metric.as_str()];
    metrics.extend(["test_f1_score", "test_accuracy"].into_iter().filter(|name| measured(name)));

    line!(out, "\n## {title}\n");
    let mut header: Vec<String> = vec!["rank".into(), "trial".into(), "state".into()];
    header.extend(summary.varied.iter().cloned());
    header.extend(metrics.iter().map(|name| labels::metric_title(name).to_owned()));
    header.extend(["time".into(), "MLflow run".into(), "checkpoint".into()]);
    row(&header, out);
    let left = |title: &str| matches!(title, "state" | "MLflow run" | "checkpoint");
    row(
        &header.iter().map(|title| if left(title) { "---" } else { "---:" }.to_owned()).collect::<Vec<_>>(),
        out,
    );

    for Ranked { rank, row: trial } in ranked {
        let dash = || "–".to_owned();
        let mut cells = vec![
            rank.map_or_else(dash, |rank| rank.to_string()),
            trial.trial.to_string(),
            trial.state.words(),
        ];
        cells.extend(
            summary.varied.iter().map(|name| trial.params.get(name).map_or_else(dash, ToString::to_string)),
        );
        cells.extend(metrics.iter().map(|name| match trial.metrics.get(*name) {
            Some(value) if *name == summary.metric => marked(summary, *value),
            Some(value) => labels::metric(*value),
            None => dash(),
        }));
        cells.push(trial.seconds.map_or_else(dash, labels::duration));
        cells.push(match (&trial.mlflow_run, &trial.mlflow_url) {
            (Some(run), Some(url)) => format!("[{}]({url})", run.chars().take(8).collect::<String>()),
            (Some(run), None) => run.clone(),
            (None, _) => dash(),
        });
        cells.push(trial.checkpoint.as_ref().map_or_else(dash, |url| format!("`{url}`")));
        row(&cells, out);
    }
}

/// A value of the metric that ranks, with a mark if it is no better than the baseline.
fn marked(summary: &Summary, value: f64) -> String {
    match labels::at_baseline(summary, value) {
        Some(_) => format!("{} ({})", labels::metric(value), labels::AT_BASELINE),
        None => labels::metric(value),
    }
}

fn row(cells: &[String], out: &mut String) {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    line!(out, "| {} |", cells.join(" | "));
}

fn failures(ranked: &[Ranked<'_>], out: &mut String) {
    let failed: Vec<_> =
        ranked.iter().filter_map(|ranked| Some((ranked.row, labels::failure(ranked.row)?))).collect();
    if failed.is_empty() {
        return;
    }
    line!(out, "\n## Without a result\n");
    for (trial, failure) in failed {
        let attempts = labels::counted(trial.attempts.into(), "attempt");
        line!(out, "- Trial {} {} after {attempts}: {}", trial.trial, trial.state.name(), escaped(&failure));
    }
}

fn mlflow(summary: &Summary, out: &mut String) {
    let waiting = labels::waiting(summary);
    if summary.mlflow.url.is_none() && waiting.is_none() {
        return;
    }
    line!(out, "\n## MLflow\n");
    if let Some(url) = &summary.mlflow.url {
        line!(out, "<{url}>");
    }
    if let Some(waiting) = waiting {
        let gap = if summary.mlflow.url.is_some() { "\n" } else { "" };
        line!(out, "{gap}{waiting}.");
    }
}

/// Keeps a text within its cell and line.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// A value as YAML that 1.1 and 1.2 parsers read alike: `5.0e-05`, because the former take `5e-05` for a text.
fn yaml(value: &Value) -> String {
    match value {
        Value::Number(_) => {
            let text = value.to_string();
            match text.split_once('e') {
                Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0e{exponent}"),
                Some(_) | None => text,
            }
        }
        Value::Flag(flag) => flag.to_string(),
        Value::Integer(_) | Value::Text(_) => value.to_string(),
    }
}
