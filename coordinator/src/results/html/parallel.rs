//! Parallel coordinates: each trial a line from hyperparameter to hyperparameter to its score, whose colour says how good
//! it is.

use std::fmt::Write;

use distilsweep_proto::params::Value;

use super::{
    super::{Ranked, Summary, insight::rising, labels},
    axis::Axis,
    escaped,
};

/// Lines at most: more are one surface.
const LINES: usize = 2000;
/// Of these, the best.
const BEST: usize = 500;
/// Values of one hyperparameter that stand by their place rather than by their size.
const PLACES: usize = 8;

const HEIGHT: f64 = 330.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 312.0;
const SIDE: f64 = 64.0;
/// From one axis to the next.
const BETWEEN: f64 = 150.0;

/// Shades of the score, from the worst to the best.
pub(super) const SHADES: usize = 9;

/// One upright axis.
struct Upright {
    name: String,
    title: String,
    scale: Scale,
}

enum Scale {
    Numbers(Axis),
    Places(Axis, Vec<Value>),
}

impl Upright {
    fn of(name: &str, mut values: Vec<Value>) -> Self {
        values.sort_by(rising);
        values.dedup();
        let numbers: Option<Vec<f64>> = values.iter().map(|value| value.as_number()).collect();
        let scale = match numbers {
            Some(numbers) if numbers.len() > PLACES => {
                Scale::Numbers(Axis::over(numbers.into_iter(), BOTTOM, TOP, true))
            }
            _ => {
                let last = values.len().saturating_sub(1) as f64;
                Scale::Places(Axis::over([0.0, last].into_iter(), BOTTOM, TOP, false), values)
            }
        };
        Self { name: name.to_owned(), title: labels::short(name).to_owned(), scale }
    }

    fn at(&self, value: &Value) -> Option<f64> {
        Some(match &self.scale {
            Scale::Numbers(axis) => axis.at(value.as_number()?),
            Scale::Places(axis, values) => axis.at(values.iter().position(|known| known == value)? as f64),
        })
    }

    fn marks(&self) -> Vec<(f64, String)> {
        match &self.scale {
            Scale::Numbers(axis) => {
                axis.ticks().into_iter().map(|(value, text)| (axis.at(value), text)).collect()
            }
            Scale::Places(axis, values) => {
                let each = values.len().div_ceil(16).max(1);
                let marks = values.iter().enumerate().step_by(each);
                marks.map(|(place, value)| (axis.at(place as f64), value.to_string())).collect()
            }
        }
    }

    /// What a brush on it needs to say which values it holds.
    fn data(&self) -> String {
        match &self.scale {
            Scale::Numbers(axis) => {
                let (low, high, log) = axis.range();
                format!("data-low=\"{low}\" data-high=\"{high}\" data-log=\"{}\"", u8::from(log))
            }
            Scale::Places(axis, values) => {
                let places = values.iter().enumerate();
                let places: Vec<String> =
                    places.map(|(place, value)| format!("{:.1}={value}", axis.at(place as f64))).collect();
                let ordered = values.iter().all(|value| value.as_number().is_some());
                format!(
                    "data-values=\"{}\" data-ordered=\"{}\"",
                    escaped(&places.join("|")),
                    u8::from(ordered)
                )
            }
        }
    }
}

/// The picture, and how many of how many trials are in it; nothing with fewer than two scores or nothing that differs.
/// `order` names the hyperparameters from left to right.
pub(super) fn parallel(
    summary: &Summary,
    ranked: &[Ranked<'_>],
    order: &[String],
) -> Option<(String, [usize; 2])> {
    let scored: Vec<(&Ranked<'_>, f64)> =
        ranked.iter().filter_map(|one| Some((one, summary.score(one.row)?))).collect();
    let present = |name: &&String| scored.iter().any(|(one, _)| one.row.params.contains_key(*name));
    let names: Vec<&String> = order.iter().filter(present).collect();
    if scored.len() < 2 || names.is_empty() {
        return None;
    }
    let shown = chosen(&scored);
    let mut axes: Vec<Upright> = names
        .iter()
        .map(|name| {
            let values = scored.iter().filter_map(|(one, _)| one.row.params.get(*name).cloned()).collect();
            Upright::of(name, values)
        })
        .collect();
    let scores = scored.iter().map(|(_, score)| *score);
    axes.push(Upright {
        name: summary.metric.clone(),
        title: labels::metric_title(&summary.metric).to_owned(),
        scale: Scale::Numbers(Axis::over(scores, BOTTOM, TOP, false)),
    });
    let width = 2.0 * SIDE + BETWEEN * (axes.len() - 1) as f64;
    let across = |axis: usize| SIDE + BETWEEN * axis as f64;
    let mut svg = format!(
        "<svg class=\"parallel\" viewBox=\"0 0 {width} {HEIGHT}\" width=\"{width}\" role=\"group\" \
         aria-label=\"Parallel coordinates of {} trials\"><g class=\"lines\">",
        shown.len()
    );
    // The best lies on top.
    for (place, (one, score)) in shown.iter().rev() {
        let mut path = String::new();
        for (axis, upright) in axes.iter().enumerate() {
            let value = match one.row.params.get(&upright.name) {
                Some(value) if axis + 1 < axes.len() => Some(value.clone()),
                _ => (axis + 1 == axes.len()).then_some(Value::Number(*score)),
            };
            let Some(y) = value.and_then(|value| upright.at(&value)) else { continue };
            let _ = write!(path, "{}{} {y:.1}", if path.is_empty() { 'M' } else { 'L' }, across(axis));
        }
        let shade = (SHADES - 1) - place * SHADES / scored.len().max(1);
        let metric = &axes[axes.len() - 1].title;
        let _ = write!(
            svg,
            "<path class=\"q{shade}\" d=\"{path}\" data-trial=\"{}\"><title>trial {}: {metric} {}</title></path>",
            one.row.trial,
            one.row.trial,
            labels::metric(*score)
        );
    }
    svg.push_str("</g>");
    for (axis, upright) in axes.iter().enumerate() {
        draw(&mut svg, upright, across(axis));
    }
    svg.push_str("</svg>");
    Some((svg, [shown.len(), scored.len()]))
}

fn draw(svg: &mut String, upright: &Upright, x: f64) {
    let title = escaped(&upright.title);
    let _ = write!(
        svg,
        "<g class=\"upright\" tabindex=\"0\" role=\"button\" aria-label=\"{title}: brush with the arrow keys\" \
         data-name=\"{}\" data-x=\"{x}\" data-top=\"{TOP}\" data-bottom=\"{BOTTOM}\" {}>\
         <rect class=\"grip\" x=\"{}\" y=\"{}\" width=\"44\" height=\"{}\"/>\
         <path class=\"axis\" d=\"M{x} {TOP}V{BOTTOM}\"/><text class=\"title\" x=\"{x}\" y=\"22\" text-anchor=\"middle\">{title}</text>",
        escaped(&upright.name),
        upright.data(),
        x - 22.0,
        TOP - 8.0,
        BOTTOM - TOP + 16.0,
    );
    for (y, text) in upright.marks() {
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{} {y:.1}h4\"/><text class=\"on\" x=\"{}\" y=\"{:.1}\">{}</text>",
            x - 4.0,
            x + 6.0,
            y - 4.0,
            escaped(&text)
        );
    }
    svg.push_str("</g>");
}

/// The best, and the others evenly, each with its place among all.
fn chosen<'a>(scored: &[(&'a Ranked<'a>, f64)]) -> Vec<(usize, (&'a Ranked<'a>, f64))> {
    let best = scored.len().min(BEST);
    let each = (scored.len() - best).div_ceil(LINES - BEST).max(1);
    let rest = (best..scored.len()).step_by(each);
    (0..best).chain(rest).map(|place| (place, scored[place])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{TrialRow, rank, tests::summary};

    #[test]
    fn every_trial_with_a_score_is_a_line_over_all_axes() {
        let summary = summary();
        let ranked = rank(&summary);
        let (svg, shown) = parallel(&summary, &ranked, &summary.varied).unwrap();
        assert_eq!(shown, [3, 3]);
        assert_eq!(svg.matches("data-trial=").count(), 3);
        assert_eq!(svg.matches("class=\"upright\"").count(), 3);
        assert!(svg.contains("data-name=\"learning_rate\"") && svg.contains("data-values=\""), "{svg}");
        assert!(svg.contains("class=\"q8\""), "the best has the strongest shade: {svg}");
    }

    #[test]
    fn of_ten_thousand_the_best_and_an_even_sample_are_drawn() {
        let mut summary = summary();
        let row = summary.trials[0].clone();
        let one = |trial: u64| {
            let mut row = TrialRow { trial, ..row.clone() };
            row.params.insert("learning_rate".to_owned(), Value::Number(1e-6 * (trial + 1) as f64));
            row.metrics.insert(summary.metric.clone(), trial as f64 / 1e4);
            row
        };
        summary.trials = (0..10_000).map(one).collect();
        let ranked = rank(&summary);
        let (svg, shown) = parallel(&summary, &ranked, &summary.varied).unwrap();
        assert!(shown[0] <= LINES && shown[0] > LINES - BEST, "{shown:?}");
        assert!(svg.contains("data-trial=\"9999\"") && svg.contains("data-low=\""));
        assert!(svg.len() < 1_000_000, "{}", svg.len());
    }

    #[test]
    fn one_trial_makes_no_picture() {
        let mut summary = summary();
        summary.trials.truncate(1);
        assert!(parallel(&summary, &rank(&summary), &summary.varied).is_none());
    }
}
