//! The ranked table for terminals.
//!
//! Narrow terminals get it in steps: first hyperparameters and run ids are shortened, then whole columns go, the least
//! asked for first. What went is named under the table, and the best trial's checkpoint and run are always there in
//! full.

use std::collections::BTreeMap;

use super::{
    Ranked, Setting, Summary, TrialRow, TrialState,
    columns::{Column, Style, fit, lines},
    labels, ranked, resources,
    settings::{repeated, settings as tried, varied},
};

/// Characters of a run's id where there is little room: enough to find it in MLflow's search.
const SHORT_RUN: usize = 8;

/// The ranking for a terminal of `width` columns, with ANSI colours where asked for; lines around it say what is the
/// same in all trials, what guessing reaches, what mattered, what failed and how MLflow stands. Where settings were tried
/// with several seeds they are the rows, else the trials.
pub fn table(summary: &Summary, width: usize, color: bool) -> String {
    let tried = tried(summary);
    let ranked = ranked(summary, &tried);
    let repeated = repeated(&tried);
    let mut text = above(summary);
    text.push(String::new());
    let (mut columns, styles) = if repeated {
        (by_setting(summary, &tried), tried.iter().map(of_setting).collect())
    } else {
        (by_trial(summary, &ranked), ranked.iter().map(of_trial).collect::<Vec<_>>())
    };
    let dropped = fit(&mut columns, width);
    text.extend(lines(&columns, &styles, color));
    text.push(String::new());
    let sentences = [labels::sureness(summary, &tried), labels::insight(summary)];
    text.extend(sentences.iter().flatten().flat_map(|sentence| wrapped(sentence, width)));
    text.extend(below(summary, &ranked, &dropped));
    text.extend(best(summary, &tried, &ranked, width));
    text.extend(summary.mlflow.url.iter().map(|url| format!("MLflow: {url}")));
    text.extend(labels::waiting(summary));
    text.push(String::new());
    text.join("\n")
}

/// A sentence in lines of at most `width` characters, all but the first set in.
fn wrapped(sentence: &str, width: usize) -> Vec<String> {
    let lines = textwrap::wrap(sentence, textwrap::Options::new(width).subsequent_indent("  "));
    lines.into_iter().map(|line| line.into_owned()).collect()
}

fn above(summary: &Summary) -> Vec<String> {
    let order = if summary.maximize { "highest" } else { "lowest" };
    let mut lines = vec![
        format!("{} ({}): {}", summary.sweep, summary.state, labels::standing(summary)),
        format!("ranked by {}, {order} first", summary.metric),
    ];
    if !summary.constant.is_empty() {
        let constant = labels::listed(summary.constant.iter().map(|(name, value)| (name.as_str(), value)));
        lines.push(format!("all trials: {constant}"));
    }
    if let Some(pins) = resources::short(summary) {
        lines.push(pins);
    }
    if let Some(baseline) = labels::baseline(summary) {
        lines.push(format!("majority class: {baseline}"));
    }
    lines
}

fn below(summary: &Summary, ranked: &[Ranked<'_>], dropped: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    if !dropped.is_empty() {
        lines.push(format!("left out at this width: {} (--format csv has all)", dropped.join(", ")));
    }
    let not_begun = summary.total.saturating_sub(summary.trials.len() as u64);
    if not_begun > 0 {
        lines.push(format!("{} not begun", labels::counted(not_begun, "trial")));
    }
    for Ranked { row, .. } in ranked {
        if let Some(failure) = labels::failure(row) {
            lines.push(format!("trial {} {}: {failure}", row.trial, row.state.name()));
        }
    }
    lines
}

/// The best setting, and where its best trial is.
fn best(summary: &Summary, tried: &[Setting], ranked: &[Ranked<'_>], width: usize) -> Vec<String> {
    let (Some(first), Some(Ranked { row, .. })) = (tried.first(), ranked.first()) else { return Vec::new() };
    let title = labels::metric_title(&summary.metric);
    let against = summary
        .baseline_of_metric()
        .map(|guessed| format!(", {:+.4} against the majority class", first.mean - guessed))
        .unwrap_or_default();
    let against = match labels::at_baseline(summary, first.mean) {
        Some(remark) => format!("{against}: {remark}"),
        None => against,
    };
    let score = labels::metric(first.mean);
    let sentence = match first.trials[..] {
        [trial] => format!("best: trial {trial}, {title} {score}{against}"),
        _ => format!(
            "best: {}, mean {title} {score}{against}; its best seed: trial {}",
            labels::setting(first),
            row.trial
        ),
    };
    let mut lines = wrapped(&sentence, width);
    lines.extend(labels::alike(tried).map(|others| format!("  {others}")));
    lines.extend(row.checkpoint.iter().map(|checkpoint| format!("  checkpoint {checkpoint}")));
    lines.extend(row.mlflow_url.iter().map(|url| format!("  MLflow run {url}")));
    lines
}

fn of_trial(ranked: &Ranked<'_>) -> Style {
    match (ranked.rank, ranked.row.state) {
        (Some(1), _) => Style::Best,
        (_, TrialState::Diverged | TrialState::Failed) => Style::Failed,
        (_, TrialState::Pending | TrialState::EarlyStopped | TrialState::Cancelled) => Style::Faint,
        (_, TrialState::Completed | TrialState::Running) => Style::Plain,
    }
}

fn of_setting(setting: &Setting) -> Style {
    if setting.rank == 1 { Style::Best } else { Style::Plain }
}

/// A metric's column: with its standard error while there is room.
fn measured<T>(
    name: &str,
    expendable: u32,
    rows: &[T],
    of: impl Fn(&T) -> (Option<f64>, Option<f64>),
) -> Column {
    let cells = |with_error: bool| {
        let cell = |row: &T| match of(row) {
            (None, _) => labels::DASH.to_owned(),
            (Some(value), Some(error)) if with_error => {
                format!("{} ±{}", labels::metric(value), labels::metric(error))
            }
            (Some(value), _) => labels::metric(value),
        };
        rows.iter().map(cell).collect()
    };
    let title = labels::metric_title(name);
    Column::right(title, expendable, cells(true)).or(title, cells(false))
}

/// Which rows have learned nothing; no column if all have.
fn remarks<T>(summary: &Summary, rows: &[T], score: impl Fn(&T) -> Option<f64>) -> Option<Column> {
    let is_marked = |row: &T| score(row).and_then(|score| summary.is_at_baseline(score)) == Some(true);
    let cells = rows.iter().map(|row| if is_marked(row) { labels::AT_BASELINE } else { "" }.to_owned());
    rows.iter().any(is_marked).then(|| Column::left("remark", 0, cells.collect()))
}

fn by_trial(summary: &Summary, ranked: &[Ranked<'_>]) -> Vec<Column> {
    let cells = |cell: &dyn Fn(&Ranked<'_>) -> Option<String>| -> Vec<String> {
        ranked.iter().map(|ranked| cell(ranked).unwrap_or_else(|| labels::DASH.to_owned())).collect()
    };
    let mut columns = vec![
        Column::right("rank", 0, cells(&|r| r.rank.map(|rank| rank.to_string()))),
        Column::right("trial", 0, cells(&|r| Some(r.row.trial.to_string()))),
    ];
    if ranked.iter().any(|ranked| ranked.row.state != TrialState::Completed) {
        columns.push(Column::left("state", 0, cells(&|r| Some(r.row.state.words()))));
    }
    for (place, name) in summary.varied.iter().enumerate() {
        let values = cells(&|r| r.row.params.get(name).map(ToString::to_string));
        // The first listed parameters are those that people vary on purpose: they go last.
        columns.push(Column::values(name, 1 + place as u32, values));
    }
    let beyond_parameters = 1 + summary.varied.len() as u32;
    let metric = |name: &str, expendable| {
        measured(name, expendable, ranked, |r| {
            (r.row.metrics.get(name).copied(), r.row.errors.get(name).copied())
        })
    };
    columns.push(metric(&summary.metric, 0));
    columns.extend(remarks(summary, ranked, |ranked| summary.score(ranked.row)));
    for (name, expendable) in [("test_f1_score", 1), ("test_accuracy", 2)] {
        if ranked.iter().any(|ranked| ranked.row.metrics.contains_key(name)) {
            columns.push(metric(name, beyond_parameters + expendable));
        }
    }
    let seconds = cells(&|r| r.row.seconds.map(labels::duration));
    columns.push(Column::right("time", beyond_parameters + 3, seconds));
    if ranked.iter().any(|ranked| ranked.row.mlflow_run.is_some()) {
        let runs = cells(&|r| r.row.mlflow_run.clone());
        let short = runs.iter().map(|run| run.chars().take(SHORT_RUN).collect()).collect();
        columns.push(Column::left("MLflow run", beyond_parameters + 4, runs).or("MLflow run", short));
    }
    if ranked.iter().any(|ranked| ranked.row.checkpoint.is_some()) {
        let urls = cells(&|r| r.row.checkpoint.clone());
        columns.push(Column::left("checkpoint", beyond_parameters + 5, urls));
    }
    columns
}

fn by_setting(summary: &Summary, tried: &[Setting]) -> Vec<Column> {
    let rows: BTreeMap<u64, &TrialRow> = summary.trials.iter().map(|row| (row.trial, row)).collect();
    let cells = |cell: &dyn Fn(&Setting) -> Option<String>| -> Vec<String> {
        tried.iter().map(|setting| cell(setting).unwrap_or_else(|| labels::DASH.to_owned())).collect()
    };
    let mean = |setting: &Setting, of: &dyn Fn(&TrialRow) -> Option<f64>| {
        let values: Vec<f64> = setting.trials.iter().filter_map(|trial| of(rows[trial])).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let mut columns = vec![Column::right("rank", 0, cells(&|s| Some(s.rank.to_string())))];
    let names: Vec<&str> = varied(summary).collect();
    for (place, name) in names.iter().enumerate() {
        let values = cells(&|s| s.params.get(*name).map(ToString::to_string));
        columns.push(Column::values(name, 1 + place as u32, values));
    }
    let beyond_parameters = 1 + names.len() as u32;
    let title = labels::metric_title(&summary.metric);
    columns.push(Column::right(title, 0, cells(&|s| Some(labels::metric(s.mean)))));
    columns.extend(remarks(summary, tried, |setting| Some(setting.mean)));
    columns.push(
        Column::right("over seeds", 0, cells(&|s| s.spread.map(|sd| format!("±{}", labels::metric(sd)))))
            .or("±", cells(&|s| s.spread.map(labels::metric))),
    );
    let interval = cells(&|s| {
        s.interval.map(|(low, high)| format!("{} to {}", labels::metric(low), labels::metric(high)))
    });
    columns.push(Column::right("95 % interval", beyond_parameters, interval));
    columns.push(Column::right(
        "seeds",
        0,
        cells(&|s| {
            let without =
                if s.without.is_empty() { String::new() } else { format!("+{} failed", s.without.len()) };
            Some(format!("{}{without}", s.trials.len()))
        }),
    ));
    for (name, expendable) in [("test_f1_score", 1), ("test_accuracy", 2)] {
        if summary.trials.iter().any(|row| row.metrics.contains_key(name)) {
            let of = |setting: &Setting| {
                (
                    mean(setting, &|row| row.metrics.get(name).copied()),
                    mean(setting, &|row| row.errors.get(name).copied()),
                )
            };
            columns.push(measured(name, beyond_parameters + expendable, tried, of));
        }
    }
    let seconds = cells(&|s| mean(s, &|row| row.seconds).map(labels::duration));
    columns.push(Column::right("time", beyond_parameters + 3, seconds));
    let trials = cells(&|s| Some(labels::numbers(&s.trials)));
    columns.push(Column::left("trials", beyond_parameters + 4, trials));
    columns
}
