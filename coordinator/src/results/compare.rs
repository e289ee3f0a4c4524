//! Sweeps side by side: what each reached, whether the difference may be chance, and what they do differently.

use std::collections::BTreeSet;

use distilsweep_proto::{params::Value, resource::ResourceKind};
use serde::Serialize;

use super::{
    Setting, Summary, TrialState,
    columns::{Column, Style, fit, lines},
    labels,
    settings::{alike, settings},
};

/// Version of the JSON form; as [`super::VERSION`].
const VERSION: u32 = 1;

/// Sweeps that are ranked by different metrics have no order among them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{first} is ranked by {by}, {other} by {instead}: sweeps are compared by one metric with one goal")]
pub struct Incomparable {
    /// Id of the first sweep.
    pub first: String,
    /// What ranks it.
    pub by: String,
    /// Id of another.
    pub other: String,
    /// What ranks that one.
    pub instead: String,
}

/// Sweeps that are ranked by the same.
#[derive(Clone, Debug)]
pub struct Comparison<'a>(Vec<(&'a Summary, Option<Setting>)>);

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    metric: &'a str,
    goal: &'static str,
    sweeps: Vec<Sweep<'a>>,
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Sweep<'a> {
    sweep: &'a str,
    state: &'a str,
    completed: usize,
    total: u64,
    trained_seconds: f64,
    best: Option<&'a Setting>,
    better: Option<Verdict>,
}

/// How the best of a sweep stands against the best of the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Better,
    Worse,
    NotToBeToldApart,
}

#[derive(Serialize)]
struct Difference {
    name: String,
    values: Vec<String>,
}

impl<'a> Comparison<'a> {
    /// Compares two sweeps or more; the first is what the others are held against.
    ///
    /// # Errors
    /// [`Incomparable`].
    pub fn new(summaries: &'a [Summary]) -> Result<Self, Incomparable> {
        for other in summaries {
            let first = &summaries[0];
            if (&other.metric, other.maximize) != (&first.metric, first.maximize) {
                let by = |s: &Summary| {
                    format!("{} ({})", s.metric, if s.maximize { "maximize" } else { "minimize" })
                };
                let ids = (first.sweep.clone(), other.sweep.clone());
                return Err(Incomparable { first: ids.0, by: by(first), other: ids.1, instead: by(other) });
            }
        }
        let best = |summary: &'a Summary| (summary, settings(summary).into_iter().next());
        Ok(Self(summaries.iter().map(best).collect()))
    }

    fn verdict(&self, place: usize) -> Option<Verdict> {
        let (first, own) = (self.0[0].1.as_ref()?, self.0[place].1.as_ref()?);
        let better = if self.0[0].0.maximize { own.mean > first.mean } else { own.mean < first.mean };
        Some(match alike(first, own) {
            true => Verdict::NotToBeToldApart,
            false if better => Verdict::Better,
            false => Verdict::Worse,
        })
    }

    /// What the sweeps were made of, as far as it differs: model, data, and the values of each hyperparameter.
    fn differences(&self) -> Vec<Difference> {
        let taken = |summary: &Summary, kind: ResourceKind| {
            let found = summary.resources.iter().filter(|resource| resource.kind == kind);
            let named = found.map(|resource| match &resource.commit {
                Some(commit) => format!("{}@{}", resource.id, commit.chars().take(8).collect::<String>()),
                None => resource.id.clone(),
            });
            named.collect::<Vec<_>>().join(", ")
        };
        let kinds = [("model", ResourceKind::Model), ("dataset", ResourceKind::Dataset)].into_iter();
        let mut differences: Vec<Difference> = kinds
            .map(|(name, kind)| Difference {
                name: name.to_owned(),
                values: self.0.iter().map(|(summary, _)| taken(summary, kind)).collect(),
            })
            .collect();
        let names: BTreeSet<&String> = self
            .0
            .iter()
            .flat_map(|(summary, _)| summary.trials.iter())
            .flat_map(|row| row.params.keys())
            .collect();
        differences.extend(names.into_iter().map(|name| Difference {
            name: name.clone(),
            values: self.0.iter().map(|(summary, _)| values(summary, name)).collect(),
        }));
        differences.retain(|difference| difference.values.iter().any(|value| *value != difference.values[0]));
        differences
    }

    /// The comparison for a terminal of `width` columns.
    pub fn table(&self, width: usize, color: bool) -> String {
        let first = self.0[0].0;
        let order = if first.maximize { "highest" } else { "lowest" };
        let mut text =
            vec![format!("the best of each sweep by {}, {order} is best", first.metric), String::new()];
        let cells = |cell: &dyn Fn(usize) -> Option<String>| -> Vec<String> {
            (0..self.0.len()).map(|at| cell(at).unwrap_or_else(|| labels::DASH.to_owned())).collect()
        };
        let best = |at: usize| self.0[at].1.as_ref();
        let score = |setting: &Setting| {
            let error = setting.error.map(|error| format!(" ±{}", labels::metric(error)));
            format!("{}{}", labels::metric(setting.mean), error.unwrap_or_default())
        };
        let mut columns = vec![
            Column::left("sweep", 0, cells(&|at| Some(self.0[at].0.sweep.clone()))),
            Column::left("state", 3, cells(&|at| Some(self.0[at].0.state.clone()))),
            Column::right(
                "completed",
                2,
                cells(&|at| {
                    let summary = self.0[at].0;
                    Some(format!("{}/{}", summary.count(TrialState::Completed), summary.total))
                }),
            ),
            Column::right(labels::metric_title(&first.metric), 0, cells(&|at| best(at).map(score))),
            Column::left(
                "against the first",
                0,
                cells(&|at| {
                    self.verdict(at).filter(|_| at > 0).map(|verdict| {
                        let difference =
                            best(at).zip(best(0)).map_or(0.0, |(own, first)| own.mean - first.mean);
                        let what = match verdict {
                            Verdict::Better => "better",
                            Verdict::Worse => "worse",
                            Verdict::NotToBeToldApart => "may be chance",
                        };
                        format!("{difference:+.4}, {what}")
                    })
                }),
            ),
            Column::right("trained", 1, cells(&|at| Some(labels::duration(trained(self.0[at].0))))),
            Column::left("best setting", 4, cells(&|at| best(at).map(labels::setting))),
        ];
        fit(&mut columns, width);
        text.extend(lines(&columns, &vec![Style::Plain; self.0.len()], color));
        let differences = self.differences();
        if differences.is_empty() {
            text.extend([
                String::new(),
                "model, data and the values of all hyperparameters are the same".to_owned(),
            ]);
        } else {
            text.extend([String::new(), "what differs".to_owned()]);
            let column = |place: usize| {
                differences.iter().map(|difference| difference.values[place].clone()).collect()
            };
            let names = differences.iter().map(|difference| difference.name.clone()).collect();
            let mut columns = vec![Column::left("", 0, names)];
            let ids = self.0.iter().enumerate();
            columns.extend(ids.map(|(place, (summary, _))| Column::left(&summary.sweep, 0, column(place))));
            let shown = lines(&columns, &vec![Style::Plain; differences.len()], color);
            text.extend(shown.into_iter().map(|line| labels::cut(line, width)));
        }
        text.push(String::new());
        text.join("\n")
    }

    /// The comparison as JSON: `version`, `metric`, `goal`; of each of `sweeps` its `sweep`, `state`, `completed`, `total`,
    /// `trained_seconds` of all its trials, `best` ([`Setting`]) and `better` (against the first: `better`, `worse`,
    /// `not_to_be_told_apart`, or null); `differences`, each a `name` and the `values` of each sweep.
    pub fn json(&self) -> String {
        let first = self.0[0].0;
        let sweeps = self.0.iter().enumerate().map(|(place, (summary, best))| Sweep {
            sweep: &summary.sweep,
            state: &summary.state,
            completed: summary.count(TrialState::Completed),
            total: summary.total,
            trained_seconds: trained(summary),
            best: best.as_ref(),
            better: self.verdict(place).filter(|_| place > 0),
        });
        let document = Document {
            version: VERSION,
            metric: &first.metric,
            goal: if first.maximize { "maximize" } else { "minimize" },
            sweeps: sweeps.collect(),
            differences: self.differences(),
        };
        let mut text = serde_json::to_string_pretty(&document).expect("text keys alone always become JSON");
        text.push('\n');
        text
    }
}

/// Seconds that a sweep's trials took together.
fn trained(summary: &Summary) -> f64 {
    summary.trials.iter().filter_map(|row| row.seconds).sum()
}

/// The values of a hyperparameter that a sweep's trials have, in rising order.
fn values(summary: &Summary, name: &str) -> String {
    let mut values: Vec<&Value> = summary.trials.iter().filter_map(|row| row.params.get(name)).collect();
    values.sort_by(|a, b| super::insight::rising(a, b));
    values.dedup();
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    match &texts[..] {
        [] => labels::DASH.to_owned(),
        [first, .., last] if texts.len() > 6 => format!("{first} to {last} ({} values)", texts.len()),
        texts => texts.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{seeded, summary};

    #[test]
    fn sweeps_stand_beside_each_other_with_what_may_be_chance() {
        let mut other = seeded();
        other.sweep = "sentiment-77aa".to_owned();
        for row in &mut other.trials {
            row.params.insert("max_steps".to_owned(), Value::Integer(200));
            row.metrics.iter_mut().for_each(|(_, value)| *value += 0.2);
        }
        let near = Summary { sweep: "sentiment-88bb".to_owned(), ..seeded() };
        let all = [seeded(), other, near];
        let comparison = Comparison::new(&all).unwrap();
        insta::assert_snapshot!(comparison.table(140, false), @"
        the best of each sweep by best_validation_f1, highest is best

        sweep           state      completed          val F1  against the first       trained  best setting
        ──────────────  ─────────  ─────────  ──────────────  ──────────────────────  ───────  ────────────
        sentiment-1f3a  completed        6/6  0.7000 ±0.0191  –                        4m 23s  lr 5e-05
        sentiment-77aa  completed        6/6  0.9000 ±0.0191  +0.2000, better          4m 23s  lr 5e-05
        sentiment-88bb  completed        6/6  0.7000 ±0.0191  +0.0000, may be chance   4m 23s  lr 5e-05

        what differs
                   sentiment-1f3a  sentiment-77aa  sentiment-88bb
        ─────────  ──────────────  ──────────────  ──────────────
        max_steps  100             200             100
        ");
        let json: serde_json::Value = serde_json::from_str(&comparison.json()).unwrap();
        let told: Vec<_> = json["sweeps"].as_array().unwrap().iter().map(|sweep| &sweep["better"]).collect();
        assert_eq!(told, [&serde_json::Value::Null, &"better".into(), &"not_to_be_told_apart".into()]);
        assert_eq!(json["differences"][0]["name"], "max_steps");
        for width in [40, 60, 80, 120] {
            let text = comparison.table(width, false);
            assert!(
                text.lines().skip(2).all(|line| line.chars().count() <= width.max(62)),
                "{width}\n{text}"
            );
        }
    }

    #[test]
    fn sweeps_by_different_metrics_have_no_order() {
        let by_loss = Summary { metric: "best_eval_loss".to_owned(), maximize: false, ..summary() };
        let all = [summary(), by_loss];
        let refused = Comparison::new(&all).unwrap_err().to_string();
        assert!(
            refused.contains("by best_validation_f1 (maximize)")
                && refused.contains("best_eval_loss (minimize)"),
            "{refused}"
        );
    }
}
