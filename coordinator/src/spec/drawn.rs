//! Points that are drawn, each by its number alone: the same file and seed propose the same points, whoever asks for them
//! in whatever order, and a larger number of points begins with those of the smaller.

use std::collections::BTreeMap;

use distilsweep_proto::params::{Parameter, Params, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{conditions::Conditions, distribution::Distribution};

/// Points of a quasi-random sequence, at most: the generator's.
pub(super) const MAX_SEQUENCE: u64 = 1 << 16;
/// Points of a search that learns, at most: each of them is weighed for the next.
pub(super) const MAX_PROPOSED: u64 = 10_000;

/// Draws of a point until one is not left out. A file whose conditions let fewer than one in a hundred through is refused,
/// and of such it is not reached once in 10^43 points.
pub(crate) const MAX_ATTEMPTS: u64 = 10_000;

/// One hyperparameter with what it is drawn from, in the order of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dimension {
    /// Hugging Face's name.
    pub name: String,
    /// What it is drawn from.
    pub distribution: Distribution,
}

/// How the shares are made that go into the distributions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sequence {
    /// Each by itself: a hash of seed, point and name.
    Random,
    /// A Sobol sequence with Owen's scrambling: the first points cover the space evenly, however many there are.
    Sobol,
    /// By what has come of earlier ones, see [`crate::search`].
    Proposed,
}

/// The points of a random search, numbered from 0 and computed when asked for. Those of a search that learns are known once
/// they were proposed; until then they have what does not vary.
///
/// With repeats, each draw is so many points one after the other that differ in `seed` alone, which counts from 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    /// The hyperparameters.
    pub dimensions: Vec<Dimension>,
    /// How shares are made.
    pub sequence: Sequence,
    /// What makes one search differ from another.
    pub seed: u64,
    /// Draws.
    pub count: u64,
    /// Points of a draw.
    pub repeats: u64,
    /// What points have not, and which there are not.
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    pub conditions: Conditions,
    /// Shares by draw, of a search that learns: part of the record and not of the file.
    #[serde(skip)]
    pub proposed: BTreeMap<u64, Vec<f64>>,
}

impl Drawn {
    /// Number of points, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "at least one point is drawn")]
    pub fn len(&self) -> u64 {
        self.count.saturating_mul(self.repeats)
    }

    /// The point of an index.
    pub fn point(&self, index: u64) -> Params {
        let draw = index / self.repeats;
        let mut point = match self.sequence {
            Sequence::Proposed => self.made(|place, _| self.proposed.get(&draw)?.get(place).copied()).0,
            Sequence::Random | Sequence::Sobol => {
                let there = (0..MAX_ATTEMPTS).find_map(|attempt| {
                    let (point, is_there) = self.drawn(draw, attempt);
                    is_there.then_some(point)
                });
                there.unwrap_or_else(|| self.drawn(draw, 0).0)
            }
        };
        if self.repeats > 1 {
            point.insert("seed".to_owned(), Value::Integer((index % self.repeats).cast_signed() + 1));
        }
        point
    }

    /// How many of the first `draws` conditions let through, by the first attempt of each.
    pub(super) fn let_through(&self, draws: u64) -> u64 {
        (0..draws).filter(|draw| self.drawn(*draw, 0).1).count() as u64
    }

    /// Whether there is a point with these shares.
    pub(crate) fn is_there(&self, shares: &[f64]) -> bool {
        self.made(|place, _| shares.get(place).copied()).1
    }

    /// What an attempt at a draw makes, and whether there is such a point.
    fn drawn(&self, draw: u64, attempt: u64) -> (Params, bool) {
        self.made(|place, name| Some(self.share(draw, attempt, place, name)))
    }

    /// What shares make, and whether there is such a point. A hyperparameter that varies is missing without its share.
    fn made(&self, share: impl Fn(usize, &str) -> Option<f64>) -> (Params, bool) {
        let of = |(place, dimension): (usize, &Dimension)| {
            // A name that is no hyperparameter's is no longer one: the record of an older version.
            let parameter = Parameter::named(&dimension.name).ok()?;
            let share = if dimension.distribution.varies() { share(place, &dimension.name)? } else { 0.5 };
            Some((dimension.name.clone(), dimension.distribution.value(parameter, share)))
        };
        let mut point: Params = self.dimensions.iter().enumerate().filter_map(of).collect();
        let is_there = self.conditions.settle(&mut point);
        (point, is_there)
    }

    /// A number from 0 to 1, by the name and not the place where it can be: another hyperparameter in the file changes
    /// no draw of those that were there.
    fn share(&self, draw: u64, attempt: u64, place: usize, name: &str) -> f64 {
        match self.sequence {
            Sequence::Random | Sequence::Proposed if attempt == 0 => hashed(self.seed, draw, name),
            Sequence::Random | Sequence::Proposed => hashed(self.seed, draw, &format!("{name}@{attempt}")),
            Sequence::Sobol => sobol(scrambled(self.seed, attempt), draw, place),
        }
    }

    /// The draw of a point that has still to be proposed.
    pub fn unproposed(&self, index: u64) -> Option<u64> {
        let draw = index / self.repeats;
        (self.sequence == Sequence::Proposed && !self.proposed.contains_key(&draw)).then_some(draw)
    }

    /// Names of what differs between points, in the order of the file.
    pub fn varied(&self) -> impl Iterator<Item = &str> {
        let repeated = (self.repeats > 1).then_some("seed");
        let varies = |dimension: &&Dimension| {
            dimension.distribution.varies() || self.conditions.of(&dimension.name).is_some()
        };
        let drawn = self.dimensions.iter().filter(varies);
        drawn.map(|dimension| dimension.name.as_str()).chain(repeated)
    }
}

/// A number from 0 to 1 that is another for each seed, draw and key.
pub(crate) fn hashed(seed: u64, draw: u64, key: &str) -> f64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(draw.to_le_bytes());
    hash.update(key.as_bytes());
    let digest = hash.finalize();
    let bits = digest.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    // The middle of one of 2^53 equal parts: never 0 or 1, which some distributions send to infinity.
    ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// The seed of another attempt at the points of a sequence.
pub(crate) fn scrambled(seed: u64, attempt: u64) -> u64 {
    // The factor spreads small numbers over all bits.
    seed ^ attempt.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A coordinate of a point of the Sobol sequence with this seed.
pub(crate) fn sobol(seed: u64, draw: u64, place: usize) -> f64 {
    let seed = (seed ^ (seed >> 32)) as u32;
    let share = f64::from(sobol_burley::sample(draw as u32, place as u32, seed));
    share.clamp(1e-9, 1.0 - 1e-9)
}
