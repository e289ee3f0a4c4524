//! Plots as SVG, drawn by hand: a page that is kept for years depends on nothing.

use std::fmt::Write;

use super::{axis::Axis, escaped};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 408.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 200.0;

/// Colours that can be told apart, by all who see.
pub(super) const COLOURS: usize = 8;

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
    /// A frame for `points` with titles of its axes. Categories stand on the x axis by their number.
    pub(super) fn new(
        points: &[(f64, f64)],
        base: Option<f64>,
        titles: (&str, &str),
        categories: Option<&[String]>,
    ) -> Self {
        let xs = points.iter().map(|point| point.0);
        let x = match categories {
            Some(names) => Axis::over([-0.4, names.len() as f64 - 0.6].into_iter(), LEFT, RIGHT, false),
            None => Axis::over(xs, LEFT, RIGHT, true),
        };
        let y = Axis::over(points.iter().map(|point| point.1).chain(base), BOTTOM, TOP, false);
        let mut plot = Self { x, y, svg: String::new() };
        let label = format!("{} against {}", titles.1, titles.0);
        draw!(plot, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escaped(&label));
        for (value, text) in y.ticks() {
            let at = y.at(value);
            draw!(plot, "<path class=\"axis\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>");
            draw!(plot, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 6.0, at + 4.0);
        }
        let marks = match categories {
            Some(names) => (0..names.len()).map(|n| (n as f64, escaped(&shortened(&names[n])))).collect(),
            None => x.ticks(),
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
                "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"var(--c{colour})\"><title>{}</title></circle>",
                escaped(dot.says)
            );
        }
    }

    /// A line through points, with marks where they are few.
    pub(super) fn curve(&mut self, points: &[(i64, f64)], says: &str, colour: usize) {
        let at: Vec<(f64, f64)> =
            points.iter().map(|(step, value)| (self.x.at(*step as f64), self.y.at(*value))).collect();
        let path: Vec<String> = at.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        draw!(
            self,
            "<path class=\"curve\" d=\"M{}\" stroke=\"var(--c{colour})\"><title>{}</title></path>",
            path.join("L"),
            escaped(says)
        );
        if at.len() <= 20 {
            for (x, y) in at {
                draw!(self, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.2\" fill=\"var(--c{colour})\"/>");
            }
        }
    }

    /// The picture with its caption.
    pub(super) fn figure(mut self, caption: &str) -> String {
        self.svg.push_str("</svg>");
        format!("<figure>{}<figcaption>{}</figcaption></figure>\n", self.svg, escaped(caption))
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 12 {
        return text.to_owned();
    }
    text.chars().take(11).chain(['…']).collect()
}
