//! The ranked table: sorted, filtered and by the page, as its address asks for.

use std::{cmp::Ordering, fmt::Write};

use distilsweep_proto::params::Value;
use url::form_urlencoded;

use super::{
    super::{Ranked, Summary, TrialRow, insight::rising, labels},
    escaped,
};
use crate::spec::Filter;

/// Rows of a page.
pub(super) const PAGE: usize = 100;

/// What of a ranking is shown, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// By which column; by rank when left out.
    pub(crate) sort: Option<String>,
    /// The other way round.
    pub(crate) descending: bool,
    /// Conditions, as [`Filter`] reads them.
    pub(crate) filter: String,
    /// From 1.
    pub(crate) page: usize,
}

impl View {
    /// Reads the part of an address after its question mark; what makes no sense is left out.
    pub(crate) fn parse(query: &str) -> Self {
        let mut view = Self { page: 1, ..Self::default() };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "sort" if !value.is_empty() => view.sort = Some(value.into_owned()),
                "order" => view.descending = value == "desc",
                "where" => view.filter = value.trim().to_owned(),
                "page" => view.page = value.parse().unwrap_or(1).max(1),
                _ => {}
            }
        }
        view
    }

    /// The part of an address after its question mark, question mark included.
    pub(crate) fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if !self.filter.is_empty() {
            query.append_pair("where", &self.filter);
        }
        if let Some(sort) = &self.sort {
            query.append_pair("sort", sort);
            query.append_pair("order", if self.descending { "desc" } else { "asc" });
        }
        if self.page > 1 {
            query.append_pair("page", &self.page.to_string());
        }
        format!("?{}", query.finish())
    }

    fn sorted_by(&self, column: &Column) -> Self {
        let same = self.sort.as_deref() == Some(column.key.as_str());
        let descending = if same { !self.descending } else { column.high_first };
        Self { sort: Some(column.key.clone()), descending, page: 1, ..self.clone() }
    }
}

struct Column {
    key: String,
    title: String,
    text: bool,
    /// Whether its highest values are asked for first.
    high_first: bool,
}

fn columns(summary: &Summary, ranked: &[Ranked<'_>]) -> Vec<Column> {
    let column = |key: &str, title: &str| Column {
        key: key.to_owned(),
        title: title.to_owned(),
        text: false,
        high_first: false,
    };
    let mut all = vec![column("rank", "rank"), column("trial", "trial")];
    all.push(Column { text: true, ..column("state", "state") });
    for name in &summary.varied {
        let words =
            |one: &Ranked<'_>| matches!(one.row.params.get(name), Some(Value::Text(_) | Value::Flag(_)));
        let text = ranked.iter().take(PAGE).any(words);
        all.push(Column { text, ..column(name, labels::short(name)) });
    }
    for name in metrics(summary, ranked) {
        all.push(Column { high_first: summary.maximize, ..column(name, labels::metric_title(name)) });
    }
    all.push(column("seconds", "time"));
    all.push(column("attempts", "tries"));
    all
}

fn metrics<'a>(summary: &'a Summary, ranked: &[Ranked<'_>]) -> Vec<&'a str> {
    let measured = |name: &&str| ranked.iter().any(|one| one.row.metrics.contains_key(*name));
    let tests = ["test_f1_score", "test_accuracy"].into_iter().filter(measured);
    std::iter::once(summary.metric.as_str()).chain(tests).collect()
}

/// What of a trial stands under a name.
fn value(one: &Ranked<'_>, name: &str) -> Option<Value> {
    let row = one.row;
    let integer = |number: u64| i64::try_from(number).ok().map(Value::Integer);
    match name {
        "rank" => one.rank.and_then(integer),
        "trial" => integer(row.trial),
        "state" => Some(Value::Text(row.state.name().to_owned())),
        "seconds" => row.seconds.map(Value::Number),
        "attempts" => integer(row.attempts.into()),
        "worker" => row.worker.clone().map(Value::Text),
        _ => row.params.get(name).cloned().or_else(|| row.metrics.get(name).copied().map(Value::Number)),
    }
}

/// Names besides hyperparameters that a filter may ask for.
fn known(summary: &Summary) -> Vec<&str> {
    let mut names = vec!["rank", "trial", "seconds", "attempts", "state", "worker", summary.metric.as_str()];
    names.extend(summary.trials.iter().flat_map(|row| row.metrics.keys().map(String::as_str)).take(200));
    names
}

/// The trials that a view is about, in its order; or why its filter makes no sense, and all trials.
fn asked<'a, 'b>(
    summary: &Summary,
    ranked: &'b [Ranked<'a>],
    view: &View,
) -> (Vec<&'b Ranked<'a>>, Option<String>) {
    let mut rows: Vec<&Ranked<'a>> = ranked.iter().collect();
    let mut wrong = None;
    if !view.filter.is_empty() {
        match Filter::of_results(&view.filter, &known(summary)) {
            Ok(filter) => rows.retain(|one| filter.holds(|name| value(one, name))),
            Err(error) => wrong = Some(error.to_string()),
        }
    }
    if let Some(name) = &view.sort {
        rows.sort_by(|a, b| match (value(a, name), value(b, name)) {
            (Some(a), Some(b)) if view.descending => rising(&b, &a),
            (Some(a), Some(b)) => rising(&a, &b),
            // What has no value comes last, either way.
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        });
    }
    (rows, wrong)
}

/// The table of a page that is served, with links to sort and leaf by. `base` is the sweep's address.
pub(crate) fn table(summary: &Summary, ranked: &[Ranked<'_>], view: &View, base: &str) -> String {
    let (rows, wrong) = asked(summary, ranked, view);
    let mut out = String::new();
    if let Some(wrong) = wrong {
        line!(out, "<p class=\"wrong\" role=\"alert\">{}</p>", escaped(&wrong));
    }
    let pages = rows.len().div_ceil(PAGE).max(1);
    let page = view.page.min(pages);
    let first = (page - 1) * PAGE;
    let shown = &rows[first.min(rows.len())..(first + PAGE).min(rows.len())];
    let all = labels::counted(ranked.len() as u64, "trial");
    let of = if view.filter.is_empty() { all } else { format!("{} of {all}", rows.len()) };
    line!(out, "<p class=\"dim\" role=\"status\">{of}{}</p>", leaf(view, page, pages, base));
    if rows.is_empty() {
        let why = if ranked.is_empty() { "No trial has begun yet." } else { "No trial is like that." };
        line!(out, "<p class=\"empty\">{why}</p>");
        return out;
    }
    let columns = columns(summary, ranked);
    line!(
        out,
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Ranked trials\">\n<table class=\"ranking\">"
    );
    let mut head = String::new();
    for column in &columns {
        let by = view.sort.as_deref() == Some(column.key.as_str());
        let sorted = match (by, view.descending) {
            (false, _) => "",
            (true, true) => " aria-sort=\"descending\"",
            (true, false) => " aria-sort=\"ascending\"",
        };
        let class = if column.text { "" } else { " class=\"n\"" };
        let link = escaped(&format!("{base}{}", view.sorted_by(column).query()));
        let _ = write!(
            head,
            "<th scope=\"col\"{class}{sorted}><a data-section=\"trials\" id=\"by-{key}\" href=\"{link}#trials\" title=\"{key}\">{}</a>",
            escaped(&column.title),
            key = escaped(&column.key),
        );
    }
    line!(out, "<thead><tr>{head}<th scope=\"col\">MLflow</thead>\n<tbody>");
    for one in shown {
        row(summary, &columns, one, Some(base), &mut out);
    }
    line!(out, "</tbody>\n</table>\n</div>");
    out
}

fn leaf(view: &View, page: usize, pages: usize, base: &str) -> String {
    if pages == 1 {
        return String::new();
    }
    let to = |page: usize, text: &str| {
        let link = escaped(&format!("{base}{}", View { page, ..view.clone() }.query()));
        format!(" <a data-section=\"trials\" href=\"{link}#trials\">{text}</a>")
    };
    let back = if page > 1 { to(page - 1, "previous") } else { String::new() };
    let on = if page < pages { to(page + 1, "next") } else { String::new() };
    format!(", page {page} of {pages}{back}{on}")
}

/// The first rows by rank, as a file shows them.
pub(super) fn printed(summary: &Summary, ranked: &[Ranked<'_>], most: usize) -> String {
    let columns = columns(summary, ranked);
    let mut out = String::new();
    line!(out, "<div class=\"wide\">\n<table class=\"ranking\">");
    if ranked.len() > most {
        let all = ranked.len();
        line!(out, "<caption>The first {most} of {all} trials; ranking.csv has all.</caption>");
    }
    let title = |column: &Column| {
        let class = if column.text { "" } else { " class=\"n\"" };
        format!("<th scope=\"col\"{class} title=\"{}\">{}", escaped(&column.key), escaped(&column.title))
    };
    let head: String = columns.iter().map(title).collect();
    line!(out, "<thead><tr>{head}<th scope=\"col\">MLflow<th scope=\"col\">model</thead>\n<tbody>");
    for one in ranked.iter().take(most) {
        row(summary, &columns, one, None, &mut out);
    }
    line!(out, "</tbody>\n</table>\n</div>");
    out
}

fn row(summary: &Summary, columns: &[Column], one: &Ranked<'_>, base: Option<&str>, out: &mut String) {
    let trial = one.row;
    let mut cells = String::new();
    for column in columns {
        let text = cell(trial, one.rank, &column.key);
        let text = match (&*column.key, base) {
            ("trial", Some(base)) => format!("<a href=\"{}/trials/{text}\">{text}</a>", escaped(base)),
            ("state", _) => {
                let title = labels::failure(trial)
                    .map_or_else(String::new, |why| format!(" title=\"{}\"", escaped(&why)));
                format!("<span class=\"state {}\"{title}>{text}</span>", trial.state.name())
            }
            (key, _) if key == summary.metric => escaped(&text) + &remark(summary, trial),
            _ => escaped(&text),
        };
        let class = if column.text { "" } else { " class=\"n\"" };
        let _ = write!(cells, "<td{class}>{text}");
    }
    let run = trial.mlflow_run.as_deref().map(|run| run.chars().take(8).collect::<String>());
    let run = match (run, &trial.mlflow_url) {
        (Some(run), Some(url)) => format!("<a href=\"{}\">{}</a>", escaped(url), escaped(&run)),
        (Some(run), None) => escaped(&run),
        (None, _) => labels::DASH.to_owned(),
    };
    let _ = write!(cells, "<td>{run}");
    if base.is_none() {
        let model = trial.checkpoint.as_deref();
        let model =
            model.map_or_else(|| labels::DASH.to_owned(), |path| format!("<code>{}</code>", escaped(path)));
        let _ = write!(cells, "<td>{model}");
    }
    line!(out, "<tr{}>{cells}", if one.rank == Some(1) { " class=\"best\"" } else { "" });
}

/// The mark of a trial that is no better than the baseline.
fn remark(summary: &Summary, trial: &TrialRow) -> String {
    match summary.score(trial).and_then(|score| labels::at_baseline(summary, score)) {
        Some(why) => {
            format!(" <span class=\"dim\" title=\"{}\">{}</span>", escaped(why), labels::AT_BASELINE)
        }
        None => String::new(),
    }
}

fn cell(trial: &TrialRow, rank: Option<u64>, key: &str) -> String {
    let dash = || labels::DASH.to_owned();
    match key {
        "rank" => rank.map_or_else(dash, |rank| rank.to_string()),
        "trial" => trial.trial.to_string(),
        "state" => trial.state.words(),
        "seconds" => trial.seconds.map_or_else(dash, labels::duration),
        "attempts" => trial.attempts.to_string(),
        _ => match (trial.params.get(key), trial.metrics.get(key)) {
            (Some(value), _) => value.to_string(),
            (None, Some(value)) => {
                let error = trial.errors.get(key).map(|error| format!(" ±{error:.3}"));
                labels::metric(*value) + &error.unwrap_or_default()
            }
            (None, None) => dash(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{rank, tests::summary};

    fn order(query: &str) -> Vec<u64> {
        let summary = summary();
        let ranked = rank(&summary);
        asked(&summary, &ranked, &View::parse(query)).0.iter().map(|one| one.row.trial).collect()
    }

    #[test]
    fn a_column_sorts_both_ways_and_what_has_no_value_comes_last() {
        assert_eq!(order(""), [2, 1, 0, 3]);
        assert_eq!(order("sort=learning_rate&order=desc"), [3, 2, 1, 0]);
        assert_eq!(order("sort=best_validation_f1&order=asc"), [0, 1, 2, 3]);
        assert_eq!(order("sort=best_validation_f1&order=desc"), [2, 1, 0, 3]);
        assert_eq!(order("sort=nonsense"), [2, 1, 0, 3]);
    }

    #[test]
    fn a_filter_is_about_hyperparameters_metrics_and_states() {
        assert_eq!(order("where=learning_rate%3E2e-5"), [2, 3]);
        assert_eq!(order("where=best_validation_f1%3E0.62+and+weight_decay%3D0.1"), [1]);
        assert_eq!(order("where=state%3Ddiverged"), [3]);
        assert_eq!(order("where=rank%3C%3D2"), [2, 1]);
    }

    #[test]
    fn a_filter_that_makes_no_sense_says_so_and_hides_nothing() {
        let summary = summary();
        let ranked = rank(&summary);
        let page = table(&summary, &ranked, &View::parse("where=learning_rat%3E1"), "/sweeps/s");
        assert!(page.contains("role=\"alert\"") && page.contains("learning_rate"), "{page}");
        assert!(page.contains("4 trials") || page.contains("4 of 4 trials"), "{page}");
    }

    #[test]
    fn a_view_survives_its_address() {
        let view = View {
            sort: Some("learning_rate".to_owned()),
            descending: true,
            filter: "learning_rate>1e-4 and seed=3".to_owned(),
            page: 3,
        };
        assert_eq!(View::parse(view.query().trim_start_matches('?')), view);
    }
}
