//! The tree-structured Parzen estimator: points are drawn where good ones lie, and of those the one is taken that is
//! least like the others.
//!
//! After Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (2011), with all hyperparameters drawn together
//! as in Falkner et al., "BOHB" (2018). The numbers are Optuna's but for the first points and the kernels' width
//! (`parzen.rs`), which are smaller: sweeps of fine-tunings have tens of points, not hundreds.

use super::{axis::Axis, parzen::Estimator};
use crate::spec::{MAX_ATTEMPTS, hashed, scrambled, sobol};

/// Values that are waited for before the model has a say; until then points cover the space evenly.
const FIRST: usize = 4;
/// Good points are one in so many.
const ONE_IN: usize = 10;
/// More good points say little more.
const MOST_GOOD: usize = 25;
/// Others are looked at up to so many, the latest: a proposal must stay quick in a long sweep.
const MOST_OTHERS: usize = 500;
/// Points that are drawn for one.
const CANDIDATES: u32 = 24;

/// What is known when a point is asked for.
#[derive(Debug, Default)]
pub(super) struct Known<'a> {
    /// Points with how bad each was, oldest first.
    pub(super) seen: Vec<(&'a [f64], f64)>,
    /// Points under way.
    pub(super) pending: Vec<&'a [f64]>,
}

/// The shares of draw number `draw` in a search with this seed; `is_there` says which points there are.
pub(super) fn propose(
    axes: &[Axis],
    seed: u64,
    draw: u64,
    known: &Known<'_>,
    is_there: &dyn Fn(&[f64]) -> bool,
) -> Vec<f64> {
    let there = |point: &Vec<f64>| is_there(point);
    if known.seen.len() < FIRST {
        let even = |attempt: u64| {
            let settled =
                |(place, axis): (usize, &Axis)| axis.settled(sobol(scrambled(seed, attempt), draw, place));
            axes.iter().enumerate().map(settled).collect::<Vec<f64>>()
        };
        return (0..MAX_ATTEMPTS).map(even).find(there).unwrap_or_else(|| even(0));
    }
    let mut ranked: Vec<usize> = (0..known.seen.len()).collect();
    // Of equals the older ones are good: the order is the same in every run.
    ranked.sort_by(|one, other| known.seen[*one].1.total_cmp(&known.seen[*other].1));
    let others = ranked.split_off(known.seen.len().div_ceil(ONE_IN).min(MOST_GOOD));
    let mut latest = others;
    latest.sort_unstable();
    let latest = latest.split_off(latest.len().saturating_sub(MOST_OTHERS));
    // A point under way counts as one that was no good: else all workers would be sent to the same place.
    let others = latest.iter().map(|place| known.seen[*place].0).chain(known.pending.iter().copied());
    let good = Estimator::new(axes, ranked.iter().map(|place| known.seen[*place].0).collect());
    let other = Estimator::new(axes, others.collect());

    let is_new = |point: &[f64]| {
        let same = |known: &[f64]| {
            axes.iter().zip(known.iter().zip(point)).all(|(axis, (one, other))| axis.same(*one, *other))
        };
        !known.seen.iter().map(|(seen, _)| *seen).chain(known.pending.iter().copied()).any(same)
    };
    let share = |candidate: u32, name: &str| hashed(seed, draw, &format!("{name}#{candidate}"));
    let near = (0..CANDIDATES).map(|candidate| good.draw(|name| share(candidate, name)));
    // Where all of those were trained already, as in a small space of listed values, it may be any that was not.
    let any = |candidate: u32| {
        axes.iter().map(|axis| axis.settled(share(candidate, &axis.name))).collect::<Vec<f64>>()
    };
    let anywhere = (CANDIDATES..2 * CANDIDATES).map(any);
    let gain = |point: &[f64]| good.log_density(point) - other.log_density(point);
    let best = |points: &mut dyn Iterator<Item = Vec<f64>>| {
        points.map(|point| (gain(&point), point)).max_by(|one, other| one.0.total_cmp(&other.0))
    };
    let new = |point: &Vec<f64>| is_new(point) && is_there(point);
    let found = best(&mut near.clone().filter(new)).or_else(|| best(&mut anywhere.filter(new)));
    let again = || best(&mut near.clone().filter(there)).map(|(_, point)| point);
    let last = || (2 * CANDIDATES..).take(MAX_ATTEMPTS as usize).map(any).find(there);
    found.map(|(_, point)| point).or_else(again).or_else(last).unwrap_or_else(|| any(0))
}
