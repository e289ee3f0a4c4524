//! How values, metrics and hyperparameters are written for people.

use distilsweep_proto::params::Value;

use crate::text::escape_controls;

use super::{Setting, Summary, TrialRow, insight::insight as mattered, settings::repeated};

/// What stands where there is nothing.
pub(crate) const DASH: &str = "–";

/// Trials that are named one by one.
const NAMED: usize = 8;
/// Hyperparameters of which it is said how much they matter.
const MATTERING: usize = 4;
/// Below this share of explained variance nothing is said about causes.
const FIT: f64 = 0.2;

/// Four decimals: the resolution of a test split of ten thousand rows.
pub(crate) fn metric(value: f64) -> String {
    format!("{value:.4}")
}

/// A duration of some seconds: `8.4s`, `45s`, `3m 12s`, `1h 05m`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 9.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// Bytes as the Hub writes them: `512 B`, `8.4 kB`, `268 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes, &[" B", " kB", " MB", " GB", " TB"])
}

/// A large number in three digits: `512`, `8.4k`, `66M`.
pub(crate) fn rough(count: u64) -> String {
    scaled(count, &["", "k", "M", "B", "T"])
}

fn scaled(count: u64, units: &[&str]) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 9.95);
    format!("{value:.decimals$}{}", units[unit])
}

/// A metric's name as a column's title.
pub(crate) fn metric_title(name: &str) -> &str {
    match name {
        "best_validation_f1" | "eval_f1_score" => "val F1",
        "best_eval_f1_macro" | "eval_f1_macro" => "val F1 macro",
        "best_eval_accuracy" | "eval_accuracy" => "val acc",
        "best_eval_precision" | "eval_precision" => "val precision",
        "best_eval_recall" | "eval_recall" => "val recall",
        "best_eval_matthews_correlation" | "eval_matthews_correlation" => "val Matthews",
        "best_eval_loss" | "eval_loss" => "val loss",
        "test_f1_score" => "test F1",
        "test_f1_macro" => "test F1 macro",
        "test_accuracy" => "test acc",
        "test_loss" => "test loss",
        other => other,
    }
}

/// A hyperparameter's name where there is little room.
pub(crate) fn short(name: &str) -> &str {
    match name {
        "learning_rate" => "lr",
        "per_device_train_batch_size" => "batch",
        "per_device_eval_batch_size" => "eval batch",
        "num_train_epochs" => "epochs",
        "max_steps" => "steps",
        "weight_decay" => "decay",
        "warmup_ratio" => "warmup",
        "warmup_steps" => "warmup steps",
        "lr_scheduler_type" => "schedule",
        "gradient_accumulation_steps" => "accumulate",
        "max_grad_norm" => "clip",
        "adam_beta1" => "beta1",
        "adam_beta2" => "beta2",
        "adam_epsilon" => "epsilon",
        "label_smoothing_factor" => "smoothing",
        "max_length" => "length",
        "logging_steps" => "log",
        other => other,
    }
}

/// `name value, name value` with short names.
pub(super) fn listed<'a>(params: impl IntoIterator<Item = (&'a str, &'a Value)>) -> String {
    params.into_iter().map(|(name, value)| format!("{} {value}", short(name))).collect::<Vec<_>>().join(", ")
}

/// "1 trial", "2 trials".
pub(crate) fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// The majority class's values as `val F1 0.2345, …`, the ranking metric first; nothing while unknown.
pub(super) fn baseline(summary: &Summary) -> Option<String> {
    const ORDER: [&str; 4] = ["eval_f1_score", "eval_accuracy", "test_f1_score", "test_accuracy"];
    let parts: Vec<String> = ORDER
        .into_iter()
        .filter_map(|name| Some(format!("{} {}", metric_title(name), metric(*summary.baseline.get(name)?))))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The mark of a trial that has learned nothing, in tables.
pub(super) const AT_BASELINE: &str = "≤ majority class";

/// The same in a sentence about the best trial; nothing if it is better, or the baseline is unknown.
pub(super) fn at_baseline(summary: &Summary, value: f64) -> Option<&'static str> {
    let sentence = "no better than always answering the majority class";
    summary.is_at_baseline(value).filter(|at_baseline| *at_baseline).map(|_| sentence)
}

/// What has still to be told to MLflow, and how to tell it; nothing where nothing waits.
pub(super) fn waiting(summary: &Summary) -> Option<String> {
    let note = &summary.mlflow;
    if note.runs_waiting == 0 && note.messages_waiting == 0 {
        return None;
    }
    let how = match note.url {
        Some(_) => "once the server answers, the same command sends them",
        None => "start a server and send them with `distilsweep mlflow sync --mlflow URI`",
    };
    Some(format!(
        "{} ({}) wait to be told to MLflow: {how}",
        counted(note.runs_waiting, "run"),
        counted(note.messages_waiting, "message"),
    ))
}

/// A line of at most `width` characters.
pub(super) fn cut(line: String, width: usize) -> String {
    if line.chars().count() <= width {
        return line;
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// `3, 5, 8`; of many the first ones and how many more there are.
pub(super) fn numbers(trials: &[u64]) -> String {
    let named: Vec<String> = trials.iter().take(NAMED).map(ToString::to_string).collect();
    let more = trials.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

/// A setting by what makes it differ.
pub(super) fn setting(setting: &Setting) -> String {
    if setting.params.is_empty() {
        return "the only setting".to_owned();
    }
    listed(setting.params.iter().map(|(name, value)| (name.as_str(), value)))
}

/// Which other settings share the best one's rank; nothing where none does.
pub(super) fn alike(tried: &[Setting]) -> Option<String> {
    let others: Vec<u64> =
        tried.iter().skip(1).take_while(|other| other.rank == 1).map(|other| other.trials[0]).collect();
    let what = if repeated(tried) { "setting" } else { "trial" };
    (!others.is_empty()).then(|| {
        let which = if repeated(tried) { String::new() } else { format!(": {}", numbers(&others)) };
        format!("not to be told apart from it: {}{which}", counted(others.len() as u64, what))
    })
}

/// What the ranks and the figures after ± say, on one line; nothing where nothing is known of errors.
pub(super) fn sureness(summary: &Summary, tried: &[Setting]) -> Option<String> {
    if tried.iter().all(|setting| setting.error.is_none()) {
        return None;
    }
    let shared = "a rank is shared where the difference may be chance";
    if repeated(tried) {
        return Some(format!(
            "± over seeds is a standard deviation, the interval is for other seeds and rows; {shared}"
        ));
    }
    let errors = summary.trials.iter().filter_map(|row| row.errors.get(&summary.metric));
    let (low, high) = errors.fold((f64::MAX, f64::MIN), |(low, high), e| (low.min(*e), high.max(*e)));
    let [low, high] = [low, high].map(|error| format!("{error:.3}"));
    let range = if low == high { low } else { format!("{low} to {high}") };
    let title = metric_title(&summary.metric);
    Some(format!("{title} has a standard error of {range}, for its rows are a sample; {shared}"))
}

/// What mattered, on one line; nothing where too few settings were tried.
pub(super) fn insight(summary: &Summary) -> Option<String> {
    let found = mattered(summary)?;
    if found.fit < FIT {
        return Some(format!(
            "what mattered cannot be told: a random forest explains {:.0} % of the variance",
            found.fit.max(0.0) * 100.0
        ));
    }
    let parts = found.importance.iter().zip(&found.effects).map(|(one, effect)| {
        // Nothing is less than nothing: below zero is chance.
        format!("{} {:.2} ±{:.2} (best {})", short(&one.name), one.mean.max(0.0), one.spread, effect.best)
    });
    let parts: Vec<String> = parts.take(MATTERING).collect();
    Some(format!("what mattered: {}; a random forest explains {:.0} %", parts.join(", "), found.fit * 100.0))
}

/// Why a trial has no result, on one line and without saying its state twice.
pub(super) fn failure(row: &TrialRow) -> Option<String> {
    let text = escape_controls(&row.failure.as_ref()?.replace('\n', " "));
    let state = row.state.name();
    Some(match text.strip_prefix(state).and_then(|rest| rest.strip_prefix(": ")) {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// One sentence on how far the sweep is.
pub(super) fn standing(summary: &Summary) -> String {
    use super::TrialState::{Cancelled, Completed, Diverged, EarlyStopped, Failed, Running};
    let completed = summary.count(Completed);
    let mut sentence = format!("{completed} of {} completed", counted(summary.total, "trial"));
    for state in [Running, Diverged, Failed, EarlyStopped, Cancelled] {
        let count = summary.count(state);
        if count > 0 {
            sentence.push_str(&format!(", {count} {}", state.words()));
        }
    }
    if let Some(seconds) = summary.seconds {
        sentence.push_str(&format!(", in {}", duration(seconds)));
    }
    sentence
}
