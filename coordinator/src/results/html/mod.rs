//! A sweep for a browser: the report, one file that needs nothing else and no network, and the same sections for the pages
//! of a coordinator.

/// Appends a line; writing to a text cannot fail.
macro_rules! line {
    ($out:expr, $($arguments:tt)*) => {
        {
            use std::fmt::Write as _;
            let _ = writeln!($out, $($arguments)*);
        }
    };
}

mod axis;
mod facts;
mod figures;
mod parallel;
mod plot;
mod ranking;
#[cfg(test)]
mod tests;
mod trial;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

pub use figures::{Figure, figures, svg};
pub(crate) use ranking::{View, table};
pub(crate) use trial::trial;

use super::{Insight, Ranked, Summary, insight, labels, rank};

/// Rows of a report's table; the rest are in the CSV file.
const ROWS: usize = 1000;
/// Below this share of explained variance nothing is said about causes.
const FIT: f64 = 0.2;

/// How pages look.
pub(crate) const STYLE: &str = include_str!("style.css");
/// What makes plots answer to whoever points at them.
pub(crate) const CHARTS: &str = include_str!("charts.js");

/// The report as HTML.
pub fn html(summary: &Summary) -> String {
    let ranked = rank(summary);
    let insight = insight(summary);
    let script = format!("{CHARTS}\nenliven(document);\n");
    let title = escaped(&summary.name);
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let mut out = String::new();
    line!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">");
    // What is in the file may be shown and run, and nothing from elsewhere.
    line!(
        out,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'; \
         script-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">",
        digest(STYLE),
        digest(&script)
    );
    line!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    line!(out, "<title>{title}: report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>");
    facts::head(summary, &ranked, &mut out);
    out.push_str(&curves(summary));
    out.push_str(&coordinates(summary, &ranked, insight.as_ref()));
    out.push_str(&mattered(summary, insight.as_ref()));
    out.push_str(&scores(summary, &ranked));
    if !ranked.is_empty() {
        line!(out, "<h2>Ranking</h2>");
        out.push_str(&ranking::printed(summary, &ranked, ROWS));
    }
    facts::rest(summary, &ranked, &mut out);
    line!(out, "</main>\n<script type=\"module\">{script}</script>\n</body>\n</html>");
    out
}

/// What is known so far, at the head of a sweep's page.
pub(crate) fn answer(summary: &Summary, ranked: &[Ranked<'_>]) -> String {
    let mut out = String::new();
    facts::answer(summary, ranked, &mut out);
    out
}

/// Learning curves of the best trials with their key.
pub(crate) fn curves(summary: &Summary) -> String {
    let mut out = String::from("<h2>Learning curves of the best trials</h2>\n");
    let plots = figures::curves(summary);
    if plots.is_empty() {
        line!(out, "<p class=\"empty\">No trial has a result yet.</p>");
        return out;
    }
    line!(out, "<p class=\"key\">");
    for (trial, colour) in figures::coloured(&summary.curves) {
        line!(out, "<span><i class=\"b{colour}\"></i>trial {trial}</span>");
    }
    line!(out, "</p>");
    out.push_str(&together(&plots));
    out
}

/// The parallel coordinates.
pub(crate) fn coordinates(summary: &Summary, ranked: &[Ranked<'_>], insight: Option<&Insight>) -> String {
    let Some(figure) = figures::coordinates(summary, ranked, insight) else { return String::new() };
    format!(
        "<h2>All trials</h2>\n<div class=\"wide\">{}</div>\n<p class=\"dim\">{}. Draw along an axis, or use its arrow keys, to \
         choose; Escape lets go.</p>\n",
        figure.svg,
        escaped(&figure.caption)
    )
}

/// What mattered.
pub(crate) fn mattered(summary: &Summary, insight: Option<&Insight>) -> String {
    let mut out = String::from("<h2>What mattered</h2>\n");
    let Some(insight) = insight else {
        let least = super::SETTINGS;
        line!(out, "<p class=\"empty\">It takes {least} settings with different scores to tell.</p>");
        return out;
    };
    let share = insight.fit.max(0.0) * 100.0;
    let metric = labels::metric_title(&summary.metric);
    if insight.fit < FIT {
        line!(
            out,
            "<p>It cannot be told: a random forest explains {share:.0} % of the variance of {metric}.</p>"
        );
        return out;
    }
    line!(
        out,
        "<p class=\"dim\">By a random forest that explains {share:.0} % of the variance of {metric} among settings that it \
         has not seen; lines show a standard deviation.</p>"
    );
    out.push_str(&together(&figures::mattered(summary, insight)));
    out
}

/// Every trial's score.
pub(crate) fn scores(summary: &Summary, ranked: &[Ranked<'_>]) -> String {
    let plots = figures::scores(summary, ranked);
    if plots.is_empty() { String::new() } else { format!("<h2>Scores</h2>\n{}", together(&plots)) }
}

fn together(plots: &[Figure]) -> String {
    let plots: String = plots.iter().map(Figure::html).collect();
    format!("<div class=\"plots\">\n{plots}</div>\n")
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
