//! Plots as SVG, drawn by hand: a page that is kept for years depends on nothing. Colours are classes, so that a page has
//! them in light and dark, and a picture alone brings its own ([`super::svg()`]).

use std::fmt::Write;

use super::{
    axis::{Axis, written},
    escaped,
};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 408.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 200.0;

/// Colours that can be told apart, by all who see.
pub(super) const COLOURS: usize = 8;

/// What stands along the bottom.
pub(super) enum Across<'a> {
    /// Numbers; by orders of magnitude where they span several.
    Numbers,
    /// Steps of time, which are even.
    Steps,
    /// Names, by their place.
    Names(&'a [String]),
}

/// One picture's frame; what is drawn in it is appended.
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    svg: String,
}

/// What a mark says when it is pointed at.
pub(super) struct Dot<'a> {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) says: &'a str,
}

/// Appends to a picture; writing to a text cannot fail.
macro_rules! draw {
    ($plot:expr, $($arguments:tt)*) => {
        let _ = write!($plot.svg, $($arguments)*);
    };
}

impl Plot {
    /// A frame for `points` with titles of its axes, and a line where guessing is.
    pub(super) fn new(
        points: &[(f64, f64)],
        base: Option<f64>,
        titles: (&str, &str),
        across: &Across<'_>,
    ) -> Self {
        let xs = points.iter().map(|point| point.0);
        let x = match across {
            Across::Names(names) => {
                Axis::over([-0.4, names.len() as f64 - 0.6].into_iter(), LEFT, RIGHT, false)
            }
            Across::Numbers => Axis::over(xs, LEFT, RIGHT, true),
            Across::Steps => Axis::over(xs, LEFT, RIGHT, false),
        };
        let y = Axis::over(points.iter().map(|point| point.1).chain(base), BOTTOM, TOP, false);
        let mut plot = Self { x, y, svg: String::new() };
        let label = format!("{} against {}", titles.1, titles.0);
        draw!(
            plot,
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(&label)
        );
        for (value, text) in y.ticks() {
            let at = y.at(value);
            draw!(plot, "<path class=\"axis\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>");
            draw!(plot, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 6.0, at + 4.0);
        }
        let marks = match across {
            Across::Names(names) => {
                let room = (60 / names.len().max(1)).max(4);
                (0..names.len()).map(|n| (n as f64, escaped(&shortened(&names[n], room)))).collect()
            }
            Across::Numbers | Across::Steps => x.ticks(),
        };
        for (value, text) in marks {
            let at = x.at(value);
            draw!(plot, "<path class=\"axis\" d=\"M{at:.1} {BOTTOM}v4\"/>");
            draw!(plot, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", BOTTOM + 17.0);
        }
        draw!(
            plot,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, RIGHT),
            HEIGHT - 5.0,
            escaped(titles.0)
        );
        if let Some(base) = base {
            let at = y.at(base);
            draw!(plot, "<path class=\"base\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>");
            draw!(
                plot,
                "<text x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">majority class</text>",
                at - 4.0
            );
        }
        plot
    }

    /// A dot; what is outside all numbers is left out.
    pub(super) fn dot(&mut self, dot: &Dot<'_>, colour: usize) {
        let (x, y) = (self.x.at(dot.x), self.y.at(dot.y));
        if x.is_finite() && y.is_finite() {
            draw!(
                self,
                "<circle class=\"dot f{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
                escaped(dot.says)
            );
        }
    }

    /// A line through points, with marks where they are few. What it is called and its points are there for whoever points
    /// at them.
    pub(super) fn curve(&mut self, points: &[(i64, f64)], says: &str, colour: usize) {
        let at: Vec<(f64, f64)> =
            points.iter().map(|(step, value)| (self.x.at(*step as f64), self.y.at(*value))).collect();
        let path: Vec<String> = at.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let values: Vec<String> =
            points.iter().map(|(step, value)| format!("{step}:{}", written(*value))).collect();
        draw!(
            self,
            "<path class=\"curve s{colour}\" d=\"M{}\" data-name=\"{}\" data-points=\"{}\"/>",
            path.join("L"),
            escaped(says),
            values.join(" ")
        );
        if at.len() <= 20 {
            for (x, y) in at {
                draw!(self, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.2\" class=\"f{colour}\"/>");
            }
        }
    }

    /// Values with what lies around each, one by each name, joined where the names have an order.
    pub(super) fn levels(&mut self, levels: &[(f64, f64)], joined: bool) {
        let at = |place: usize, value: f64| (self.x.at(place as f64), self.y.at(value));
        let mut svg = String::new();
        let path: Vec<String> = levels
            .iter()
            .enumerate()
            .map(|(place, (mean, _))| at(place, *mean))
            .map(|(x, y)| format!("{x:.1} {y:.1}"))
            .collect();
        if joined {
            let _ = write!(svg, "<path class=\"curve s0\" d=\"M{}\"/>", path.join("L"));
        }
        for (place, (mean, spread)) in levels.iter().enumerate() {
            let (x, y) = at(place, *mean);
            let (low, high) = (at(place, mean - spread).1, at(place, mean + spread).1);
            let _ = write!(
                svg,
                "<path class=\"whisker\" d=\"M{x:.1} {low:.1}V{high:.1}\"/><circle class=\"dot f0\" cx=\"{x:.1}\" \
                 cy=\"{y:.1}\" r=\"4.5\"><title>{mean:.4} ±{spread:.4}</title></circle>"
            );
        }
        self.svg.push_str(&svg);
    }

    /// The picture.
    pub(super) fn svg(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}

fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room - 1).chain(['…']).collect()
}
