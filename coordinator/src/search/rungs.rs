//! What came to which rung, and what goes on from there.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use super::EarlyTerminate;

/// A rung of a ladder, both from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The ladder.
    pub bracket: u32,
    /// The rung of it.
    pub rung: u32,
}

/// A trial at a rung.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// Which rung.
    pub place: Place,
    /// The trial.
    pub trial: u64,
    /// The best of its evaluations so far; nothing where none is a number.
    pub value: Option<f64>,
    /// Whether it was let go on from there.
    pub promoted: bool,
}

/// The rungs of a sweep with all that ever came to them: what ended stays, for others are held against it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rungs(BTreeMap<Place, BTreeMap<u64, (Option<f64>, bool)>>);

impl Rungs {
    /// Takes a trial that came to a rung; one that was there stays as it was.
    pub fn arrive(&mut self, arrival: Arrival) {
        let Arrival { place, trial, value, promoted } = arrival;
        self.0.entry(place).or_default().entry(trial).or_insert((value, promoted));
    }

    /// How many rungs of its ladder a trial has come to.
    pub fn reached(&self, bracket: u32, trial: u64) -> u32 {
        let on_it = |(place, trials): &(&Place, &BTreeMap<u64, _>)| {
            place.bracket == bracket && trials.contains_key(&trial)
        };
        self.0.iter().filter(on_it).map(|(place, _)| place.rung + 1).max().unwrap_or_default()
    }

    /// Why a trial that came to a rung, or beyond it, and is at this value is to be stopped, if it is.
    pub fn verdict(
        &self,
        rule: &EarlyTerminate,
        maximize: bool,
        rung: u32,
        trial: u64,
        value: Option<f64>,
    ) -> Option<String> {
        let trials = self.0.get(&Place { bracket: 0, rung })?;
        let others = trials.iter().filter(|(other, _)| **other != trial).map(|(_, (value, _))| *value);
        match rule {
            EarlyTerminate::Asha { .. } => None,
            EarlyTerminate::Hyperband { eta, .. } => {
                let count = trials.len();
                let kept = (count as f64 / eta) as usize;
                let better = others.filter(|other| better(maximize, *other, value) == Ordering::Less).count();
                (better > kept).then(|| {
                    format!("{better} of {count} trials were better, of which {} go on", kept.max(1))
                })
            }
            EarlyTerminate::Median { min_trials, .. } => {
                let mut others: Vec<Option<f64>> = others.collect();
                if others.len() < *min_trials as usize || others.is_empty() {
                    return None;
                }
                others.sort_by(|one, other| better(maximize, *one, *other));
                let better = others.iter().filter(|other| better(maximize, **other, value).is_lt()).count();
                (better * 2 > others.len())
                    .then(|| format!("{better} of {} other trials were better", others.len()))
            }
        }
    }

    /// Why a paused trial does not go on once nothing more comes.
    pub fn last_words(&self, maximize: bool, bracket: u32, trial: u64) -> String {
        let place = Place { bracket, rung: self.reached(bracket, trial).saturating_sub(1) };
        let none = BTreeMap::new();
        let trials = self.0.get(&place).unwrap_or(&none);
        let value = trials.get(&trial).and_then(|(value, _)| *value);
        let better = trials.values().filter(|(other, _)| better(maximize, *other, value).is_lt()).count();
        let went_on = trials.values().filter(|(_, promoted)| *promoted).count();
        format!(
            "at rung {} {better} of {} trials were better, of which {went_on} went on",
            place.rung + 1,
            trials.len()
        )
    }

    /// Lets those of the `paused` trials go on that are among the best of their rung, and answers which. While more may
    /// come to a rung, one in `eta` of those that came goes on; `last` says that none will, and then of a rung from which
    /// nothing went on the best one does, so that every ladder has a result.
    pub fn promote(
        &mut self,
        eta: f64,
        maximize: bool,
        paused: &BTreeSet<u64>,
        last: bool,
    ) -> Vec<(Place, u64)> {
        let mut promoted = Vec::new();
        for (place, trials) in &mut self.0 {
            let mut order: Vec<(u64, Option<f64>)> =
                trials.iter().map(|(trial, (value, _))| (*trial, *value)).collect();
            order.sort_by(|one, other| better(maximize, one.1, other.1).then(one.0.cmp(&other.0)));
            let none_went_on = trials.values().all(|(_, promoted)| !promoted);
            let quota = (trials.len() as f64 / eta) as usize;
            let quota = if last && none_went_on { quota.max(1) } else { quota };
            let waits = |trial: &u64| paused.contains(trial) && !trials[trial].1;
            let best = order.iter().take(quota).filter(|(_, value)| value.is_some());
            let next: Vec<u64> = best.map(|(trial, _)| *trial).filter(waits).collect();
            for trial in next {
                if let Some((_, went_on)) = trials.get_mut(&trial) {
                    *went_on = true;
                }
                promoted.push((*place, trial));
            }
        }
        promoted
    }
}

/// The better one first; what is no number comes last.
fn better(maximize: bool, one: Option<f64>, other: Option<f64>) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) if maximize => other.total_cmp(&one),
        (Some(one), Some(other)) => one.total_cmp(&other),
        (one, other) => other.is_some().cmp(&one.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::early::Bands, *};

    fn at(rung: u32, values: &[(u64, f64)]) -> Rungs {
        let mut rungs = Rungs::default();
        for (trial, value) in values {
            let place = Place { bracket: 0, rung };
            rungs.arrive(Arrival { place, trial: *trial, value: Some(*value), promoted: false });
        }
        rungs
    }

    #[test]
    fn one_in_eta_goes_on_and_another_when_there_are_more() {
        let place = Place { bracket: 0, rung: 0 };
        let mut rungs = at(0, &[(0, 0.5), (1, 0.7)]);
        let paused: BTreeSet<u64> = (0..9).collect();
        assert_eq!(rungs.promote(3.0, true, &paused, false), [], "two of three are not yet known");
        rungs.arrive(Arrival { place, trial: 2, value: Some(0.6), promoted: false });
        assert_eq!(rungs.promote(3.0, true, &paused, false), [(place, 1)]);
        assert_eq!(rungs.promote(3.0, true, &paused, false), [], "once");
        for trial in 3..6 {
            rungs.arrive(Arrival { place, trial, value: Some(0.1), promoted: false });
        }
        assert_eq!(rungs.promote(3.0, true, &paused, false), [(place, 2)]);
    }

    #[test]
    fn the_best_of_a_rung_goes_on_where_nothing_else_comes() {
        let place = Place { bracket: 0, rung: 0 };
        let paused = BTreeSet::from([0, 1]);
        let mut rungs = at(0, &[(0, 0.5), (1, 0.4)]);
        assert_eq!(rungs.promote(3.0, false, &paused, true), [(place, 1)], "less is better here");
        assert_eq!(rungs.promote(3.0, false, &paused, true), []);
        let mut without = Rungs::default();
        without.arrive(Arrival { place, trial: 0, value: None, promoted: false });
        assert_eq!(without.promote(3.0, false, &paused, true), [], "what has no value is not the best");
    }

    #[test]
    fn hyperband_stops_what_is_not_among_the_best_and_never_the_first() {
        let hyperband = EarlyTerminate::Hyperband { bands: Bands::From(1), eta: 3.0, strict: false };
        let stops =
            |rungs: &Rungs, trial, value| rungs.verdict(&hyperband, true, 0, trial, Some(value)).is_some();
        assert!(!stops(&at(0, &[(0, 0.5)]), 0, 0.5));
        let three = at(0, &[(0, 0.5), (1, 0.6), (2, 0.4)]);
        assert!(!stops(&three, 1, 0.6));
        assert!(!stops(&three, 0, 0.5), "W&B's threshold is the value behind the third that goes on");
        assert!(stops(&three, 2, 0.4));
        let reason = three.verdict(&hyperband, true, 0, 2, Some(0.4));
        assert_eq!(reason.as_deref(), Some("2 of 3 trials were better, of which 1 go on"));
    }

    #[test]
    fn the_median_waits_for_enough_others() {
        let median = EarlyTerminate::Median { min_iter: 1, min_trials: 3 };
        let two = at(0, &[(0, 0.5), (1, 0.6), (2, 0.1)]);
        assert_eq!(two.verdict(&median, true, 0, 2, Some(0.1)), None);
        let three = at(0, &[(0, 0.5), (1, 0.6), (3, 0.2), (2, 0.3)]);
        assert!(three.verdict(&median, true, 0, 2, Some(0.3)).is_some());
        assert_eq!(three.verdict(&median, true, 0, 0, Some(0.5)), None);
        assert!(three.verdict(&median, true, 0, 0, None).is_some(), "no number is worse than any");
    }
}
