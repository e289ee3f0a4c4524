//! When trials are looked at on their way, as `early_terminate` says: at which rungs, and how many go on from there.

use serde::{Deserialize, Serialize};

/// More rungs than doublings of anything that can be trained.
const MOST_RUNGS: u32 = 63;

/// How a sweep ends trials before their end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EarlyTerminate {
    /// Stops whatever is not among the best at a rung, while all go on training: W&B's form of Hyperband, whose rungs
    /// are numbers of evaluations.
    Hyperband {
        /// Where the rungs are.
        bands: Bands,
        /// One in so many goes on.
        eta: f64,
        /// Look again after each later evaluation too, for the others may have become better since.
        strict: bool,
    },
    /// Pauses every trial at a rung, and lets those go on that are among the best of it: asynchronous successive halving
    /// (Li et al., A System for Massively Parallel Hyperparameter Tuning, 2018).
    Asha {
        /// Training up to the first rung.
        first: Resource,
        /// One in so many goes on, to a rung so many times as far.
        eta: f64,
        /// Trials are spread over so many ladders of rungs, each of which begins one rung further up.
        brackets: u32,
    },
    /// Stops whatever is worse than half of the others were after as many evaluations.
    Median {
        /// Evaluations that every trial has.
        min_iter: u32,
        /// Others that must have come as far.
        min_trials: u32,
    },
}

/// Rungs as numbers of evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bands {
    /// From this one up, each `eta` times as far.
    From(u32),
    /// So many, each an `eta`-th of the next, of which the one after the last would be at the first number.
    Below(u32, u32),
}

/// How long a trial has trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// In passes over the training split.
    Epochs(f64),
    /// In optimizer steps.
    Steps(u64),
}

impl EarlyTerminate {
    /// Whether trials are paused at rungs rather than stopped.
    pub fn pauses(&self) -> bool {
        match self {
            EarlyTerminate::Asha { .. } => true,
            EarlyTerminate::Hyperband { .. } | EarlyTerminate::Median { .. } => false,
        }
    }

    /// Where a trial is to pause that has paused `rung` times.
    pub fn pause(&self, trial: u64, rung: u32) -> Option<Resource> {
        let EarlyTerminate::Asha { first, eta, brackets } = self else { return None };
        let factor = eta.powi(i32::try_from(bracket(trial, *brackets) + rung).unwrap_or(i32::MAX));
        Some(match first {
            Resource::Epochs(epochs) => Resource::Epochs(epochs * factor),
            Resource::Steps(steps) => Resource::Steps((*steps as f64 * factor).ceil() as u64),
        })
    }

    /// The ladder that a trial is on.
    pub fn bracket(&self, trial: u64) -> u32 {
        match self {
            EarlyTerminate::Asha { brackets, .. } => bracket(trial, *brackets),
            EarlyTerminate::Hyperband { .. } | EarlyTerminate::Median { .. } => 0,
        }
    }

    /// The last rung that so many evaluations came to, and whether it was with the last of them; none where trials are
    /// paused, for then it is they that say so.
    pub fn rung(&self, evaluations: u32) -> Option<(u32, bool)> {
        match self {
            EarlyTerminate::Asha { .. } => None,
            EarlyTerminate::Median { min_iter, .. } => {
                evaluations.checked_sub(*min_iter).map(|rung| (rung, true))
            }
            EarlyTerminate::Hyperband { bands, eta, strict: _ } => {
                let bands = bands.list(*eta);
                let rung = bands.iter().rposition(|band| *band <= evaluations)?;
                Some((u32::try_from(rung).ok()?, bands[rung] == evaluations))
            }
        }
    }
}

impl Bands {
    /// The numbers of evaluations, in order.
    pub fn list(self, eta: f64) -> Vec<u32> {
        let whole = |band: f64| (band < f64::from(u32::MAX)).then_some(band as u32).filter(|band| *band > 0);
        let power = |rung: u32| eta.powi(i32::try_from(rung).unwrap_or(i32::MAX));
        let mut bands: Vec<u32> = match self {
            Bands::From(first) => {
                (0..MOST_RUNGS).map_while(|rung| whole(f64::from(first) * power(rung))).collect()
            }
            Bands::Below(last, count) => {
                (1..=count.min(MOST_RUNGS)).map_while(|rung| whole(f64::from(last) / power(rung))).collect()
            }
        };
        bands.sort_unstable();
        bands.dedup();
        bands
    }
}

/// A number of the trial's, not of its neighbours in the grid: theirs differ in a parameter or two, which a pattern would
/// tie to the ladders.
fn bracket(trial: u64, brackets: u32) -> u32 {
    // The finalizer of SplitMix64.
    let mut mixed = trial.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from((mixed ^ (mixed >> 31)) % u64::from(brackets.max(1))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_those_of_wandb() {
        assert_eq!(Bands::From(3).list(3.0)[..4], [3, 9, 27, 81]);
        assert_eq!(Bands::Below(27, 2).list(3.0), [3, 9]);
        assert_eq!(Bands::Below(27, 9).list(3.0), [1, 3, 9], "none is below one evaluation");
        assert_eq!(Bands::From(2).list(1.5)[..4], [2, 3, 4, 6]);
    }

    #[test]
    fn a_rung_is_reached_with_one_evaluation_and_passed_with_the_later_ones() {
        let hyperband = EarlyTerminate::Hyperband { bands: Bands::From(2), eta: 2.0, strict: false };
        let rungs: Vec<_> = (1..=5).map(|evaluations| hyperband.rung(evaluations)).collect();
        assert_eq!(rungs, [None, Some((0, true)), Some((0, false)), Some((1, true)), Some((1, false))]);
        let median = EarlyTerminate::Median { min_iter: 2, min_trials: 1 };
        assert_eq!(
            [1, 2, 3].map(|evaluations| median.rung(evaluations)),
            [None, Some((0, true)), Some((1, true))]
        );
    }

    #[test]
    fn each_ladder_begins_a_rung_further_up_and_gets_its_share_of_the_trials() {
        let asha = EarlyTerminate::Asha { first: Resource::Epochs(1.0), eta: 3.0, brackets: 3 };
        let mut counts = [0; 3];
        for trial in 0..3000 {
            let bracket = asha.bracket(trial);
            counts[bracket as usize] += 1;
            let factor = 3.0_f64.powi(i32::try_from(bracket).unwrap());
            assert_eq!(asha.pause(trial, 0), Some(Resource::Epochs(factor)));
            assert_eq!(asha.pause(trial, 2), Some(Resource::Epochs(9.0 * factor)));
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
