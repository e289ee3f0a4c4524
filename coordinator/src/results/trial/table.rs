//! A trial for a terminal.

use distilsweep_data::excerpt;

use super::{TrialView, class};
use crate::{
    results::{
        Curve, TrialState,
        columns::{Column, Style, fit, lines as columns},
        labels,
    },
    scheduler::{Mistake, Split},
    text::escape_controls,
};

/// Cells of a curve.
const CELLS: usize = 40;
/// Classes of which every pair is shown.
const MATRIX: usize = 10;
/// Confusions that are named where there are more classes.
const PAIRS: usize = 8;

/// The trial for a terminal of `width` columns, with ANSI colours where asked for. `now_ms` is the time, which ends a try
/// that goes on.
pub fn table(view: &TrialView, width: usize, color: bool, now_ms: i64) -> String {
    let bold = |title: &str| if color { format!("\x1b[1m{title}\x1b[0m") } else { title.to_owned() };
    let mut text = vec![bold(&head(view))];
    let sections = [
        ("hyperparameters", settings(view)),
        ("metrics", metrics(view)),
        ("curves", curves(view, width)),
        ("tries", tries(view, now_ms)),
        ("files", files(view)),
    ];
    let (before, after) = sections.split_at(3);
    let confusions = view.splits.iter().filter(|split| !split.confusion.is_empty()).map(|split| {
        (format!("{} rows: truth by row, prediction by column", split.name), matrix(view, split, width))
    });
    let plain = |(title, lines): &(&str, Vec<String>)| ((*title).to_owned(), lines.clone());
    let mistakes = ("most confident mistakes on the test split".to_owned(), mistakes(view));
    let all = before.iter().map(plain).chain(confusions).chain([mistakes]).chain(after.iter().map(plain));
    for (title, lines) in all.filter(|(_, lines)| !lines.is_empty()) {
        text.push(String::new());
        text.push(bold(&title));
        // Addresses are there to be copied.
        let room = if title == "files" { usize::MAX } else { width };
        text.extend(lines.into_iter().map(|line| labels::cut(format!("  {line}"), room)));
    }
    text.push(String::new());
    text.join("\n")
}

fn head(view: &TrialView) -> String {
    let row = &view.row;
    let mut head = format!("trial {} of {} ({})", row.trial, view.sweep, row.state.words());
    if let Some((rank, of)) = view.rank {
        head.push_str(&format!(": rank {rank} of {of}"));
    }
    if let Some(value) = row.metrics.get(&view.metric).filter(|_| row.state == TrialState::Completed) {
        let error = row.errors.get(&view.metric).map(|error| format!(" ±{}", labels::metric(*error)));
        let title = labels::metric_title(&view.metric);
        head.push_str(&format!(", {title} {}{}", labels::metric(*value), error.unwrap_or_default()));
    }
    if let Some(failure) = labels::failure(row) {
        head.push_str(&format!(": {failure}"));
    }
    head
}

/// What differs between trials first.
fn settings(view: &TrialView) -> Vec<String> {
    let params = &view.row.params;
    let others = params.keys().filter(|name| !view.varied.contains(name));
    let names: Vec<&String> =
        view.varied.iter().filter(|name| params.contains_key(*name)).chain(others).collect();
    let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let line = |name: &&String| {
        let mark = if view.varied.contains(name) { "" } else { "  (in all trials)" };
        format!("{name:<longest$}  {}{mark}", params[*name])
    };
    names.iter().map(line).collect()
}

fn metrics(view: &TrialView) -> Vec<String> {
    let metrics = &view.row.metrics;
    let longest = metrics.keys().map(String::len).max().unwrap_or(0);
    let line = |(name, value): (&String, &f64)| {
        let error = view.row.errors.get(name).map(|error| format!(" ±{}", labels::metric(*error)));
        format!("{name:<longest$}  {}{}", labels::metric(*value), error.unwrap_or_default())
    };
    metrics.iter().map(line).collect()
}

/// Each curve in a line: its course, and from where to where it goes.
fn curves(view: &TrialView, width: usize) -> Vec<String> {
    let shown: Vec<&Curve> =
        view.curves.iter().filter(|curve| !curve.metric.starts_with("system/")).collect();
    let longest = shown.iter().map(|curve| curve.metric.len()).max().unwrap_or(0);
    let most = shown.iter().map(|curve| curve.points.len()).max().unwrap_or(0);
    let cells = CELLS.min(width / 3).min(most);
    shown.iter().map(|curve| format!("{:<longest$}  {}", curve.metric, spark(curve, cells))).collect()
}

/// A curve's course in at most so many cells, set in the same room whatever its length.
fn spark(curve: &Curve, room: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let [Some((first, from)), Some((last, to))] = [curve.points.first(), curve.points.last()] else {
        return String::new();
    };
    let values = curve.points.iter().map(|(_, value)| *value);
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let cells = room.min(curve.points.len());
    let cell = |cell: usize| {
        let place = if cells > 1 { cell * (curve.points.len() - 1) / (cells - 1) } else { 0 };
        let share = if high > low { (curve.points[place].1 - low) / (high - low) } else { 0.5 };
        LEVELS[((share * 7.0).round() as usize).min(7)]
    };
    let course: String = (0..cells).map(cell).collect();
    let number = |value: f64| {
        if value != 0.0 && value.abs() < 0.001 { format!("{value:.2e}") } else { labels::metric(value) }
    };
    let ends = format!("{} to {} (steps {first} to {last})", number(*from), number(*to));
    format!("{course}{}  {ends}", " ".repeat(room - cells))
}

fn matrix(view: &TrialView, split: &Split, width: usize) -> Vec<String> {
    if split.confusion.len() > MATRIX {
        return pairs(view, split);
    }
    let room = (width / 3).max(16);
    let names: Vec<String> = (0..split.confusion.len())
        .map(|place| labels::cut(shown_class(&view.classes, place), room))
        .collect();
    let mut shown = vec![Column::left("", 0, names.clone())];
    for (place, name) in names.iter().enumerate() {
        let counts: Vec<String> = split.confusion.iter().map(|row| row[place].to_string()).collect();
        let short: String = name.chars().take(8).collect();
        shown.push(Column::right(name, 0, counts.clone()).or(&short, counts));
    }
    let recall = |(class, row): (usize, &Vec<u64>)| {
        let of: u64 = row.iter().sum();
        if of == 0 {
            labels::DASH.to_owned()
        } else {
            format!("{:.0} %", 100.0 * row[class] as f64 / of as f64)
        }
    };
    let recalls = split.confusion.iter().enumerate().map(recall).collect();
    shown.push(Column::right("found", 1, recalls));
    fit(&mut shown, width.saturating_sub(2));
    columns(&shown, &vec![Style::Plain; names.len()], false)
}

/// A class in short.
fn shown_class(classes: &[String], place: usize) -> String {
    excerpt(&class(classes, place))
}

/// The commonest confusions in words, where there are too many classes for a matrix.
fn pairs(view: &TrialView, split: &Split) -> Vec<String> {
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    for (truth, row) in split.confusion.iter().enumerate() {
        let wrong = row.iter().enumerate().filter(|(taken, count)| *taken != truth && **count > 0);
        pairs.extend(wrong.map(|(taken, count)| (*count, truth, taken)));
    }
    pairs.sort_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let line = |(count, truth, taken): &(u64, usize, usize)| {
        let [truth, taken] = [truth, taken].map(|place| shown_class(&view.classes, *place));
        format!("{count:>6}  {truth} taken for {taken}")
    };
    pairs.iter().take(PAIRS).map(line).collect()
}

fn mistakes(view: &TrialView) -> Vec<String> {
    let line = |mistake: &Mistake| {
        let [truth, taken] =
            [mistake.truth, mistake.taken].map(|place| shown_class(&view.classes, place as usize));
        let text = mistake.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = escape_controls(&text);
        format!("{:.3}  {truth} taken for {taken}: {text}", mistake.probability)
    };
    view.mistakes.iter().map(line).collect()
}

fn tries(view: &TrialView, now_ms: i64) -> Vec<String> {
    let last = view.attempts.len().saturating_sub(1);
    let line = |(place, attempt): (usize, &super::Attempt)| {
        let how = match (&attempt.failure, attempt.ended_ms) {
            (Some(failure), _) => escape_controls(&failure.replace('\n', " ")),
            (None, None) => "goes on".to_owned(),
            (None, Some(_)) if place == last => view.row.state.name().to_owned(),
            (None, Some(_)) => "handed back".to_owned(),
        };
        let took = labels::duration(attempt.seconds(now_ms));
        format!("{:>2}  {}  {took}  {how}", attempt.attempt, attempt.worker)
    };
    let mut lines: Vec<String> = view.attempts.iter().enumerate().map(line).collect();
    if view.steps > 0 {
        let seconds = view.row.seconds.map(|seconds| format!(" in {}", labels::duration(seconds)));
        lines.push(format!(
            "{} steps{}, {:.2} a second; {}",
            view.steps,
            seconds.unwrap_or_default(),
            view.steps_per_second,
            view.tags.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
        ));
    }
    lines
}

fn files(view: &TrialView) -> Vec<String> {
    let model = view.row.checkpoint.iter().map(|url| format!("model       {url}"));
    model.chain(view.row.mlflow_url.iter().map(|url| format!("MLflow run  {url}"))).collect()
}
