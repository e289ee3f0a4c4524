//! A Parzen estimator: where the shares of some points lie, as a mixture of one kernel around each and of the prior.
//!
//! A kernel is a product over the hyperparameters, so that values that are good together are drawn together.

use std::f64::consts::{PI, SQRT_2};

use statrs::{
    distribution::{ContinuousCDF, Normal},
    function::erf::erf,
};

use super::axis::{Axis, Kind, Parts};

/// Standard deviation of one kernel alone.
const WIDTH: f64 = 0.12;
/// Kernels of many points are no narrower: closer points teach little.
const NARROWEST: f64 = 0.01;
/// Of ordered values a kernel has at least so many parts' width, else it would not reach the neighbours.
const REACH: f64 = 0.5;
/// Points that the prior counts for, also among the values of a category.
const PRIOR: f64 = 1.0;
/// Shares of 0 and 1 are infinite numbers in some distributions.
const EDGE: f64 = 1e-9;

/// Where points lie.
#[derive(Debug)]
pub(super) struct Estimator<'a> {
    axes: &'a [Axis],
    centres: Vec<&'a [f64]>,
    /// Standard deviation by axis.
    widths: Vec<f64>,
    /// How much of each kernel lies between 0 and 1, by centre and axis.
    inside: Vec<Vec<f64>>,
}

impl<'a> Estimator<'a> {
    pub(super) fn new(axes: &'a [Axis], centres: Vec<&'a [f64]>) -> Self {
        // Scott's rule, from the first point on.
        let kernels = centres.len() as f64 + PRIOR;
        let width = (WIDTH * kernels.powf(-1.0 / (axes.len() as f64 + 4.0))).max(NARROWEST);
        let widths: Vec<f64> = axes
            .iter()
            .map(|axis| match &axis.kind {
                Kind::Ordered(parts) => width.max(REACH / parts.count() as f64),
                Kind::Continuous | Kind::Choices(_) => width,
            })
            .collect();
        let inside = centres
            .iter()
            .map(|centre| {
                centre.iter().zip(&widths).map(|(at, width)| between(0.0, 1.0, *at, *width)).collect()
            })
            .collect();
        Self { axes, centres, widths, inside }
    }

    /// Logarithm of the density, which the prior has at 1.
    pub(super) fn log_density(&self, point: &[f64]) -> f64 {
        let kernels = (0..self.centres.len()).map(|kernel| {
            (0..self.axes.len()).map(|place| self.kernel(kernel, place, point[place])).product::<f64>()
        });
        ((kernels.sum::<f64>() + PRIOR) / (self.centres.len() as f64 + PRIOR)).ln()
    }

    fn kernel(&self, kernel: usize, place: usize, share: f64) -> f64 {
        let (centre, width) = (self.centres[kernel][place], self.widths[place]);
        match &self.axes[place].kind {
            Kind::Continuous => {
                let z = (share - centre) / width;
                (-0.5 * z * z).exp() / (width * (2.0 * PI).sqrt() * self.inside[kernel][place])
            }
            Kind::Ordered(parts) => {
                let (start, end) = parts.around(share);
                between(start, end, centre, width) / (self.inside[kernel][place] * (end - start))
            }
            Kind::Choices(parts) => self.choice(parts, centre, share),
        }
    }

    fn choice(&self, parts: &Parts, centre: f64, share: f64) -> f64 {
        let (start, end) = parts.around(share);
        let own =
            if parts.around(centre) == (start, end) { (1.0 - self.blend()) / (end - start) } else { 0.0 };
        self.blend() + own
    }

    /// How much of a category's kernel is the prior: less, the more is known.
    fn blend(&self) -> f64 {
        PRIOR / (PRIOR + self.centres.len() as f64)
    }

    /// Draws a point; `share` gives shares by name, from 0 to 1 and never one of them.
    pub(super) fn draw(&self, share: impl Fn(&str) -> f64) -> Vec<f64> {
        // The last of the mixture is the prior. No hyperparameter has this name.
        let kernel = (share("kernel") * (self.centres.len() as f64 + PRIOR)) as usize;
        let near = self.centres.get(kernel);
        let axes = self.axes.iter().enumerate();
        axes.map(|(place, axis)| {
            let fresh = share(&axis.name);
            let drawn = match (near, &axis.kind) {
                (None, _) => fresh,
                (Some(centre), Kind::Continuous | Kind::Ordered(_)) => {
                    let (centre, width) = (centre[place], self.widths[place]);
                    let below = cumulative(-centre / width);
                    let quantile = Normal::standard().inverse_cdf(below + fresh * self.inside[kernel][place]);
                    centre + width * quantile
                }
                (Some(centre), Kind::Choices(_)) => {
                    let blend = self.blend();
                    if fresh < blend { fresh / blend } else { centre[place] }
                }
            };
            axis.settled(drawn.clamp(EDGE, 1.0 - EDGE))
        })
        .collect()
    }
}

/// How much of a normal distribution lies between two numbers.
fn between(start: f64, end: f64, mean: f64, deviation: f64) -> f64 {
    cumulative((end - mean) / deviation) - cumulative((start - mean) / deviation)
}

fn cumulative(z: f64) -> f64 {
    0.5 * (1.0 + erf(z / SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Dimension;

    fn axes() -> Vec<Axis> {
        let dimension = |name: &str, distribution: &str| Dimension {
            name: name.into(),
            distribution: serde_json::from_str(distribution).unwrap(),
        };
        let distributions = [
            ("a", r#"{"number":{"shape":{"uniform":{"min":0.0,"max":1.0}},"q":null}}"#),
            ("b", r#"{"int_uniform":{"min":1,"max":4}}"#),
            ("c", r#"{"categorical":{"values":["x","y","z"],"probabilities":[0.5,0.5,0.0]}}"#),
        ];
        distributions.map(|(name, text)| Axis::of(&dimension(name, text))).to_vec()
    }

    #[test]
    fn a_density_adds_up_to_one() {
        let axes = axes();
        let centres = [[0.02, 0.125, 0.25], [0.6, 0.625, 0.75]];
        let estimator = Estimator::new(&axes, centres.iter().map(<[f64; 3]>::as_slice).collect());
        let steps = |count: u32| (0..count).map(move |i| (f64::from(i) + 0.5) / f64::from(count));
        let cells = steps(200).flat_map(|a| steps(4).flat_map(move |b| steps(2).map(move |c| [a, b, c])));
        let sum: f64 = cells.map(|point| estimator.log_density(&point).exp() / 1600.0).sum();
        assert!((sum - 1.0).abs() < 1e-3, "{sum}");
    }

    #[test]
    fn points_are_drawn_where_the_density_says() {
        let axes = axes();
        let centre = [0.3, 0.875, 0.25];
        let estimator = Estimator::new(&axes, vec![&centre; 9]);
        let count = 500_u32;
        // Multiples of an irrational number are as even as draws; each name has its own.
        let share = |index: u32, name: &str| {
            (f64::from(index) * (f64::from(name.as_bytes()[0]) + 0.5).sqrt()).fract().clamp(EDGE, 1.0 - EDGE)
        };
        let drawn: Vec<Vec<f64>> =
            (1..=count).map(|index| estimator.draw(|name| share(index, name))).collect();
        let portion = |wanted: &dyn Fn(&Vec<f64>) -> bool| {
            drawn.iter().filter(|point| wanted(point)).count() as f64 / f64::from(count)
        };
        assert!(portion(&|point| (point[0] - 0.3).abs() < 0.2) > 0.85);
        assert!(portion(&|point| point[1] == 0.875) > 0.6);
        assert!(portion(&|point| point[2] == 0.25) > 0.9);
        assert!(portion(&|point| point[1] < 0.5) > 0.01, "the prior stays");
        assert!(drawn.iter().flatten().all(|share| (0.0..1.0).contains(share)));
    }
}
