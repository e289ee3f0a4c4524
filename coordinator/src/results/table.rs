//! The ranked table for terminals.
//!
//! Narrow terminals get it in steps: first hyperparameters and run ids are shortened, then whole columns go, the least
//! asked for first. What went is named under the table, and the best trial's checkpoint and run are always there in
//! full.

use super::{Ranked, Summary, TrialState, labels, rank, resources};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

/// Spaces between columns.
const GAP: usize = 2;

/// Characters of a run's id where there is little room: enough to find it in MLflow's search.
const SHORT_RUN: usize = 8;

struct Column {
    title: String,
    /// Title and cells where there is little room, if they can be shorter.
    short: Option<(String, Vec<String>)>,
    cells: Vec<String>,
    right: bool,
    /// Columns go in falling order of this; 0 never goes.
    expendable: u32,
}

impl Column {
    fn right(title: &str, expendable: u32, cells: Vec<String>) -> Self {
        Self { title: title.to_owned(), short: None, cells, right: true, expendable }
    }

    fn width(&self) -> usize {
        self.cells.iter().map(|cell| length(cell)).fold(length(&self.title), usize::max)
    }

    fn shorten(&mut self) {
        if let Some((title, cells)) = self.short.take() {
            (self.title, self.cells) = (title, cells);
        }
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// The ranking for a terminal of `width` columns, with ANSI colours where asked for; lines around it say what is the
/// same in all trials, what guessing reaches, what failed and how MLflow stands.
pub fn table(summary: &Summary, width: usize, color: bool) -> String {
    let ranked = rank(summary);
    let mut lines = above(summary);
    lines.push(String::new());
    let mut columns = columns(summary, &ranked);
    let dropped = fit(&mut columns, width);
    lines.extend(rows(&columns, &ranked, color));
    lines.push(String::new());
    lines.extend(below(summary, &ranked, &dropped));
    lines.push(String::new());
    lines.join("\n")
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
    if let Some(Ranked { rank: Some(_), row }) = ranked.first() {
        if let Some(score) = summary.score(row) {
            let against = summary
                .baseline_of_metric()
                .map(|guessed| format!(", {:+.4} against the majority class", score - guessed))
                .unwrap_or_default();
            let title = labels::metric_title(&summary.metric);
            lines.push(format!("best: trial {}, {title} {}{against}", row.trial, labels::metric(score)));
        }
        if let Some(checkpoint) = &row.checkpoint {
            lines.push(format!("  checkpoint {checkpoint}"));
        }
        if let Some(url) = &row.mlflow_url {
            lines.push(format!("  MLflow run {url}"));
        }
    }
    if let Some(url) = &summary.mlflow.url {
        lines.push(format!("MLflow: {url}"));
    }
    lines.extend(labels::waiting(summary));
    lines
}

fn columns(summary: &Summary, ranked: &[Ranked<'_>]) -> Vec<Column> {
    let cells = |cell: &dyn Fn(&Ranked<'_>) -> Option<String>| -> Vec<String> {
        ranked.iter().map(|ranked| cell(ranked).unwrap_or_else(|| "–".to_owned())).collect()
    };
    let mut columns = vec![
        Column::right("rank", 0, cells(&|r| r.rank.map(|rank| rank.to_string()))),
        Column::right("trial", 0, cells(&|r| Some(r.row.trial.to_string()))),
    ];
    if ranked.iter().any(|ranked| ranked.row.state != TrialState::Completed) {
        let state = cells(&|r| Some(r.row.state.name().to_owned()));
        columns.push(Column { right: false, ..Column::right("state", 0, state) });
    }
    for (place, name) in summary.varied.iter().enumerate() {
        let values = cells(&|r| r.row.params.get(name).map(ToString::to_string));
        let short = Some((labels::short(name).to_owned(), values.clone()));
        // The first listed parameters are those that people vary on purpose: they go last.
        columns.push(Column { short, ..Column::right(name, 1 + place as u32, values) });
    }
    let beyond_parameters = 1 + summary.varied.len() as u32;
    let metric = |name: &str| cells(&|r| r.row.metrics.get(name).map(|value| labels::metric(*value)));
    columns.push(Column::right(labels::metric_title(&summary.metric), 0, metric(&summary.metric)));
    for (name, expendable) in [("test_f1_score", 1), ("test_accuracy", 2)] {
        if ranked.iter().any(|ranked| ranked.row.metrics.contains_key(name)) {
            let title = labels::metric_title(name);
            columns.push(Column::right(title, beyond_parameters + expendable, metric(name)));
        }
    }
    let seconds = cells(&|r| r.row.seconds.map(labels::duration));
    columns.push(Column::right("time", beyond_parameters + 3, seconds));
    if ranked.iter().any(|ranked| ranked.row.mlflow_run.is_some()) {
        let runs = cells(&|r| r.row.mlflow_run.clone());
        let short = runs.iter().map(|run| run.chars().take(SHORT_RUN).collect()).collect();
        columns.push(Column {
            short: Some(("MLflow run".to_owned(), short)),
            right: false,
            ..Column::right("MLflow run", beyond_parameters + 4, runs)
        });
    }
    if ranked.iter().any(|ranked| ranked.row.checkpoint.is_some()) {
        let urls = cells(&|r| r.row.checkpoint.clone());
        columns.push(Column { right: false, ..Column::right("checkpoint", beyond_parameters + 5, urls) });
    }
    columns
}

/// Shortens and drops columns until they fit; returns the titles of those dropped.
fn fit(columns: &mut Vec<Column>, width: usize) -> Vec<String> {
    let total = |columns: &[Column]| {
        columns.iter().map(Column::width).sum::<usize>() + GAP * columns.len().saturating_sub(1)
    };
    if total(columns) > width {
        columns.iter_mut().for_each(Column::shorten);
    }
    let mut dropped = Vec::new();
    while total(columns) > width
        && let Some((place, _)) = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.expendable > 0)
            .max_by_key(|(_, column)| column.expendable)
    {
        dropped.push(columns.remove(place).title);
    }
    dropped.reverse();
    dropped
}

fn rows(columns: &[Column], ranked: &[Ranked<'_>], color: bool) -> Vec<String> {
    let widths: Vec<usize> = columns.iter().map(Column::width).collect();
    let line = |cell: &dyn Fn(&Column) -> String| {
        let cells: Vec<String> = columns
            .iter()
            .zip(&widths)
            .map(|(column, width)| {
                let text = cell(column);
                let room = " ".repeat(width - length(&text));
                if column.right { format!("{room}{text}") } else { format!("{text}{room}") }
            })
            .collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let painted = |style: &str, text: String| {
        if color && !style.is_empty() { format!("{style}{text}{RESET}") } else { text }
    };
    let mut lines = vec![painted(BOLD, line(&|column| column.title.clone()))];
    let rule = widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join(&" ".repeat(GAP));
    lines.push(painted(DIM, rule));
    for (place, Ranked { rank, row }) in ranked.iter().enumerate() {
        let style = match (rank, row.state) {
            (Some(1), _) => GREEN,
            (_, TrialState::Diverged | TrialState::Failed) => RED,
            (_, TrialState::Pending | TrialState::Cancelled) => DIM,
            (_, TrialState::Completed | TrialState::Running) => "",
        };
        lines.push(painted(style, line(&|column| column.cells[place].clone())));
    }
    lines
}
