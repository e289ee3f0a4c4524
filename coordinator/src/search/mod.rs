//! What to try next and what to stop. Pure: the same file, seed and outcomes propose the same point and stop the same trials.
//!
//! `method: bayes` proposes a point once, when it is first leased, and its proposal is stored with that lease; whoever reads
//! the sweep afterwards finds it in [`Drawn::proposed`].

mod axis;
mod early;
mod history;
mod parzen;
mod rungs;
#[cfg(test)]
mod tests;
mod tpe;

pub use early::{Bands, EarlyTerminate, Resource};
pub use history::{History, Outcome};
pub use rungs::{Arrival, Place, Rungs};

use crate::spec::{Drawn, Impute, MetricSpec};
use axis::Axis;
use history::Known;

/// The best of some values and another; what is no number is none.
pub(crate) fn best_of(maximize: bool, best: Option<f64>, value: f64) -> Option<f64> {
    let better = if maximize { f64::max } else { f64::min };
    if value.is_finite() { Some(best.map_or(value, |best| better(best, value))) } else { best }
}

/// The shares of a draw, one for each hyperparameter, by the outcomes of the draws that were proposed already.
pub fn propose(drawn: &Drawn, draw: u64, history: &History, metric: &MetricSpec) -> Vec<f64> {
    let axes: Vec<Axis> = drawn.dimensions.iter().map(Axis::of).collect();
    let missing = history.range().map(|(low, high)| match (metric.impute, metric.maximize) {
        (Impute::Best, true) | (Impute::Worst | Impute::Latest, false) => high,
        (Impute::Best, false) | (Impute::Worst | Impute::Latest, true) => low,
    });
    let mut known = tpe::Known::default();
    for (number, shares) in drawn.proposed.iter().filter(|(number, _)| **number != draw) {
        match history.draw(*number, drawn.repeats, missing) {
            Known::Mean(value) => known.seen.push((shares, if metric.maximize { -value } else { value })),
            Known::UnderWay => known.pending.push(shares),
            Known::Nothing => {}
        }
    }
    tpe::propose(&axes, drawn.seed, draw, &known, &|shares| drawn.is_there(shares))
}
