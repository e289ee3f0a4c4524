//! `method: bayes`: where the next point lies, by what has come of the earlier ones.
//!
//! Pure: the same file, seed and outcomes propose the same point. A proposal is made once, when its point is first
//! leased, and stored with that lease; whoever reads the sweep afterwards finds it in [`Drawn::proposed`].

mod axis;
mod history;
mod parzen;
#[cfg(test)]
mod tests;
mod tpe;

pub use history::{History, Outcome};

use crate::spec::Drawn;
use axis::Axis;
use history::Known;

/// The shares of a draw, one for each hyperparameter, by the outcomes of the draws that were proposed already. More is
/// better where `maximize`.
pub fn propose(drawn: &Drawn, draw: u64, history: &History, maximize: bool) -> Vec<f64> {
    let axes: Vec<Axis> = drawn.dimensions.iter().map(Axis::of).collect();
    let worst = history.range().map(|(low, high)| if maximize { low } else { high });
    let mut known = tpe::Known::default();
    for (number, shares) in drawn.proposed.iter().filter(|(number, _)| **number != draw) {
        match history.draw(*number, drawn.repeats, worst) {
            Known::Mean(value) => known.seen.push((shares, if maximize { -value } else { value })),
            Known::UnderWay => known.pending.push(shares),
            Known::Nothing => {}
        }
    }
    tpe::propose(&axes, drawn.seed, draw, &known)
}
