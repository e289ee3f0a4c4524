//! The pictures of a sweep, each with its caption: in the report, on the coordinator's pages, and as files.

use std::{collections::BTreeMap, fmt::Write};

use distilsweep_proto::{
    names::{self, Selection},
    params::Value,
};

use super::{
    super::{Curve, Insight, Interaction, Ranked, Summary, TrialRow, insight::rising, labels},
    escaped,
    parallel::{SHADES, parallel},
    plot::{Across, COLOURS, Dot, Plot},
};

/// Values of one hyperparameter that are shown as names.
const CATEGORIES: usize = 12;
/// Dots of one plot: more weigh more than they show.
const DOTS: usize = 2000;
/// Hyperparameters whose values are shown by effect.
const EFFECTS: usize = 6;

/// A picture with its caption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// A name for its file.
    pub name: String,
    /// What it shows.
    pub caption: String,
    /// The picture, whose colours are classes; [`svg()`] makes it one that stands alone.
    pub svg: String,
}

impl Figure {
    fn new(name: &str, caption: impl Into<String>, svg: String) -> Self {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        Self { name: name.chars().map(plain).collect(), caption: caption.into(), svg }
    }

    /// The picture in a page.
    pub(super) fn html(&self) -> String {
        format!("<figure>{}<figcaption>{}</figcaption></figure>\n", self.svg, escaped(&self.caption))
    }
}

/// All pictures of a sweep.
pub fn figures(summary: &Summary, ranked: &[Ranked<'_>], insight: Option<&Insight>) -> Vec<Figure> {
    let mut all = scores(summary, ranked);
    all.extend(curves(summary));
    all.extend(coordinates(summary, ranked, insight));
    if let Some(insight) = insight {
        all.extend(mattered(summary, insight));
    }
    all
}

/// A picture as a file of its own, with colours that hold on white.
pub fn svg(figure: &Figure) -> String {
    const PAPER: &str = "#ffffff";
    const INK: &str = "#1c2024";
    const DIM: &str = "#5f6b76";
    const COLOUR: [&str; COLOURS] =
        ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a5195", "#555555"];
    const SHADE: [&str; SHADES] =
        ["#c3d0da", "#a8c2d5", "#86b0d0", "#5f9bc9", "#3a84bf", "#1f6cae", "#0f5596", "#083f7c", "#052c61"];
    let mut style = format!(
        "text{{fill:{DIM};font:11px sans-serif}}text.title,text.on,text.bright{{fill:{INK}}}.axis{{stroke:#d9dee3;\
         fill:none}}.base{{stroke:{DIM};stroke-dasharray:4 3}}.curve{{fill:none;stroke-width:1.6}}\
         .whisker{{stroke:{DIM};stroke-width:1.5}}.lines path{{fill:none;stroke-width:1.2;stroke-opacity:.7}}\
         .grip{{fill:none}}text.pale{{fill:{PAPER}}}"
    );
    for (place, colour) in COLOUR.iter().enumerate() {
        let _ = write!(style, ".f{place}{{fill:{colour}}}.s{place}{{stroke:{colour}}}");
    }
    for (place, shade) in SHADE.iter().enumerate() {
        let _ = write!(style, ".lines .q{place}{{stroke:{shade}}}.cell.q{place}{{fill:{shade}}}");
    }
    let opened = figure.svg.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    let inside = opened.find('>').map_or(0, |end| end + 1);
    let (head, rest) = opened.split_at(inside);
    let caption = escaped(&figure.caption);
    format!(
        "{head}<title>{caption}</title><style>{style}</style><rect width=\"100%\" height=\"100%\" fill=\"{PAPER}\"/>{rest}\n"
    )
}

/// Every trial's score by its place, and by the values of each hyperparameter.
pub(super) fn scores(summary: &Summary, ranked: &[Ranked<'_>]) -> Vec<Figure> {
    let scored = scored(summary, ranked);
    if scored.is_empty() {
        return Vec::new();
    }
    let mut all = vec![by_place(summary, &scored)];
    all.extend(summary.varied.iter().map(|name| by_parameter(summary, &scored, name)));
    all
}

type Scored<'a> = (f64, &'a TrialRow, f64);

fn by_place(summary: &Summary, scored: &[Scored<'_>]) -> Figure {
    let points: Vec<(f64, f64)> = scored.iter().map(|(place, _, score)| (*place, *score)).collect();
    let metric = labels::metric_title(&summary.metric);
    // Where guessing is far below, a line there would press all the rest together.
    let (low, high) =
        points.iter().fold((f64::MAX, f64::MIN), |(low, high), (_, v)| (low.min(*v), high.max(*v)));
    let base = summary.baseline_of_metric().filter(|base| (low - base).abs() <= 2.0 * (high - low));
    let mut plot = Plot::new(&points, base, ("place", metric), &Across::Steps);
    for (place, row, score) in scored {
        let says = format!("trial {}: {} {}", row.trial, metric, labels::metric(*score));
        plot.dot(&Dot { x: *place, y: *score, says: &says }, 0);
    }
    Figure::new("scores", format!("{metric} by place"), plot.svg())
}

fn by_parameter(summary: &Summary, scored: &[Scored<'_>], name: &str) -> Figure {
    let valued: Vec<(&Value, u64, f64)> = scored
        .iter()
        .filter_map(|(_, row, score)| Some((row.params.get(name)?, row.trial, *score)))
        .collect();
    let mut distinct: Vec<&Value> = Vec::new();
    for (value, _, _) in &valued {
        if distinct.len() <= CATEGORIES && !distinct.contains(value) {
            distinct.push(value);
        }
    }
    let numbers: Option<Vec<f64>> = valued.iter().map(|(value, _, _)| value.as_number()).collect();
    let by_name = distinct.len() <= CATEGORIES;
    distinct.sort_by(|a, b| rising(a, b));
    let names: Vec<String> = distinct.iter().map(ToString::to_string).collect();
    let x = |at: usize, value: &Value| match &numbers {
        Some(numbers) if !by_name => numbers[at],
        _ => distinct.iter().position(|known| *known == value).map_or(f64::NAN, |place| place as f64),
    };
    let points: Vec<(f64, f64)> =
        valued.iter().enumerate().map(|(at, (value, _, score))| (x(at, value), *score)).collect();
    let metric = labels::metric_title(&summary.metric);
    let across = if by_name { Across::Names(&names) } else { Across::Numbers };
    let mut plot = Plot::new(&points, None, (name, metric), &across);
    for ((x, score), (value, trial, _)) in points.iter().zip(&valued) {
        let says = format!("trial {trial}: {name} {value}, {metric} {}", labels::metric(*score));
        plot.dot(&Dot { x: *x, y: *score, says: &says }, 2);
    }
    Figure::new(&format!("score-by-{name}"), format!("{metric} by {name}"), plot.svg())
}

/// Place, trial and score: the best, and of more than can be drawn an even sample.
fn scored<'a>(summary: &Summary, ranked: &[Ranked<'a>]) -> Vec<Scored<'a>> {
    let scored = ranked.iter().filter_map(|ranked| Some((ranked.row, summary.score(ranked.row)?)));
    let all: Vec<Scored<'a>> =
        scored.enumerate().map(|(place, (row, score))| (place as f64 + 1.0, row, score)).collect();
    let each = all.len().div_ceil(DOTS).max(1);
    all.into_iter().step_by(each).collect()
}

/// The trials with curves, each with its colour.
pub(super) fn coloured(curves: &[Curve]) -> Vec<(u64, usize)> {
    let mut shown: Vec<(u64, usize)> = Vec::new();
    for curve in curves {
        if shown.iter().all(|(trial, _)| *trial != curve.trial) {
            shown.push((curve.trial, shown.len() % COLOURS));
        }
    }
    shown
}

/// Learning curves of the best trials, a plot a metric: the one that ranks first.
pub(super) fn curves(summary: &Summary) -> Vec<Figure> {
    let evaluation = Selection::named(&summary.metric).map(|selection| selection.evaluation);
    by_metric(&summary.curves, |metric| (Some(metric) != evaluation, metric != names::LOSS))
}

/// A plot a metric, in the order of `key`.
pub(super) fn by_metric<K: Ord>(curves: &[Curve], key: impl Fn(&str) -> K) -> Vec<Figure> {
    let colours: BTreeMap<u64, usize> = coloured(curves).into_iter().collect();
    let mut metrics: Vec<&str> = Vec::new();
    for curve in curves {
        if !metrics.contains(&curve.metric.as_str()) {
            metrics.push(&curve.metric);
        }
    }
    metrics.sort_by_key(|metric| key(metric));
    let plot = |metric: &str| {
        let of_metric: Vec<&Curve> = curves.iter().filter(|curve| curve.metric == metric).collect();
        let points: Vec<(f64, f64)> = of_metric
            .iter()
            .flat_map(|c| c.points.iter().map(|(step, value)| (*step as f64, *value)))
            .collect();
        let title = labels::metric_title(metric);
        let mut plot = Plot::new(&points, None, ("step", title), &Across::Steps);
        // The best lies on top.
        for curve in of_metric.iter().rev() {
            plot.curve(&curve.points, &format!("trial {}", curve.trial), colours[&curve.trial]);
        }
        let says = if metric == names::LOSS { "training loss" } else { title };
        Figure::new(&format!("curves-{metric}"), format!("{says} by step"), plot.svg())
    };
    metrics.into_iter().map(plot).collect()
}

/// The parallel coordinates; what matters most stands beside the score.
pub(super) fn coordinates(
    summary: &Summary,
    ranked: &[Ranked<'_>],
    insight: Option<&Insight>,
) -> Option<Figure> {
    let mut order = summary.varied.clone();
    if let Some(insight) = insight {
        let place = |name: &String| insight.importance.iter().position(|one| one.name == *name);
        order.sort_by_key(|name| std::cmp::Reverse(place(name).unwrap_or(usize::MAX)));
    }
    let (svg, [drawn, all]) = parallel(summary, ranked, &order)?;
    let metric = labels::metric_title(&summary.metric);
    let shown = if drawn < all {
        format!("the best trials and an even sample of the others, {drawn} of {all} in all")
    } else {
        labels::counted(all as u64, "trial")
    };
    Some(Figure::new("parallel", format!("{shown}; the stronger the colour, the better {metric}"), svg))
}

/// What mattered: importance, effects of the values, and how the two most important work together.
pub(super) fn mattered(summary: &Summary, insight: &Insight) -> Vec<Figure> {
    let metric = labels::metric_title(&summary.metric);
    let mut all = vec![importance(metric, insight)];
    for effect in insight.effects.iter().take(EFFECTS) {
        let names: Vec<String> = effect.levels.iter().map(|level| level.value.to_string()).collect();
        let levels: Vec<(f64, f64)> = effect.levels.iter().map(|level| (level.mean, level.spread)).collect();
        let ends: Vec<(f64, f64)> =
            levels.iter().flat_map(|(mean, spread)| [(0.0, mean - spread), (0.0, mean + spread)]).collect();
        let mut plot = Plot::new(&ends, None, (&effect.name, metric), &Across::Names(&names));
        plot.levels(&levels, effect.levels.iter().all(|level| level.value.as_number().is_some()));
        let caption = format!("{metric} by {}, the others averaged: best {}", effect.name, effect.best);
        all.push(Figure::new(&format!("effect-{}", effect.name), caption, plot.svg()));
    }
    all.extend(insight.interaction.as_ref().map(|both| interaction(metric, both)));
    all
}

fn importance(metric: &str, insight: &Insight) -> Figure {
    const ROW: f64 = 26.0;
    const LEFT: f64 = 150.0;
    const RIGHT: f64 = 370.0;
    let ends = insight.importance.iter().map(|one| one.mean + one.spread);
    let most = ends.fold(0.05, f64::max);
    let height = ROW * insight.importance.len() as f64 + 12.0;
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 420 {height}\" role=\"img\" aria-label=\"How much each hyperparameter matters\">"
    );
    for (place, one) in insight.importance.iter().enumerate() {
        let y = 6.0 + ROW * place as f64;
        let at = |share: f64| LEFT + (RIGHT - LEFT) * share.clamp(0.0, most) / most;
        let name: String = labels::short(&one.name).chars().take(22).collect();
        let _ = write!(
            svg,
            "<text class=\"bright\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect class=\"f0\" x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"14\"/>\
             <path class=\"whisker\" d=\"M{:.1} {y2}H{:.1}\"/><text x=\"{:.1}\" y=\"{}\">{:.2}</text>",
            LEFT - 8.0,
            y + 16.0,
            escaped(&name),
            y + 5.0,
            (at(one.mean) - LEFT).max(0.5),
            at(one.mean - one.spread),
            at(one.mean + one.spread),
            at(one.mean + one.spread) + 6.0,
            y + 16.0,
            one.mean.max(0.0),
            y2 = y + 12.0,
        );
    }
    svg.push_str("</svg>");
    let caption = format!("share of the variance of {metric} that each has a part in");
    Figure::new("importance", caption, svg)
}

fn interaction(metric: &str, both: &Interaction) -> Figure {
    const CELL: f64 = 30.0;
    const LEFT: f64 = 84.0;
    let all = || both.cells.iter().flatten().copied();
    let (low, high) = all().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let wide = (410.0 - LEFT) / both.columns.len().max(1) as f64;
    let bottom = 8.0 + CELL * both.rows.len() as f64;
    let height = bottom + 44.0;
    let [first, second] = &both.names;
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 420 {height}\" role=\"img\" aria-label=\"{} by {} and {}\">",
        escaped(metric),
        escaped(first),
        escaped(second)
    );
    for (row, (value, cells)) in both.rows.iter().zip(&both.cells).enumerate() {
        let y = 8.0 + CELL * row as f64;
        let name: String = value.to_string().chars().take(12).collect();
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 19.0,
            escaped(&name)
        );
        for (column, cell) in cells.iter().enumerate() {
            let share = if high > low { (cell - low) / (high - low) } else { 0.5 };
            let shade = ((share * SHADES as f64) as usize).min(SHADES - 1);
            let x = LEFT + wide * column as f64;
            let _ = write!(
                svg,
                "<rect class=\"cell q{shade}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\"><title>{:.4}</title></rect>",
                wide - 2.0,
                CELL - 2.0,
                cell
            );
            if wide >= 36.0 {
                let ink = if shade >= SHADES / 2 { "pale" } else { "strong" };
                let _ = write!(
                    svg,
                    "<text class=\"{ink}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{cell:.3}</text>",
                    x + wide / 2.0 - 1.0,
                    y + 18.0
                );
            }
        }
    }
    for (column, value) in both.columns.iter().enumerate() {
        let name: String = value.to_string().chars().take((wide / 6.0) as usize).collect();
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            LEFT + wide * (column as f64 + 0.5),
            bottom + 15.0,
            escaped(&name)
        );
    }
    let _ = write!(
        svg,
        "<text class=\"bright\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{} downwards, {} across</text></svg>",
        f64::midpoint(LEFT, 410.0),
        height - 6.0,
        escaped(first),
        escaped(second)
    );
    let caption = format!("{metric} by both; {:.0} % of it is in neither alone", both.strength * 100.0);
    Figure::new("interaction", caption, svg)
}
