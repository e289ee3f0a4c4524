//! Packs: which trials may train in lockstep on one device, and how many of them it holds.

use distilsweep_proto::ids::Term;

/// Share of a device's memory that lanes may take: the rest is for what they share, the data and the allocator's
/// leftovers.
const USABLE: f64 = 0.85;

/// The pack that a lease belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Term of its first lane: its name.
    pub first: Term,
    /// Lanes that it began with.
    pub lanes: u32,
}

/// What a worker's device holds; the default is one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Lanes at most; 0 says one.
    pub max_lanes: u32,
    /// Memory of the device; 0 while unknown.
    pub memory_bytes: u64,
}

impl Room {
    /// Lanes that fit where each takes `lane_bytes`: one while that is not known, and always one, for a trial must be
    /// tried somewhere.
    pub fn lanes(self, lane_bytes: Option<u64>) -> u32 {
        let usable = (self.memory_bytes as f64 * USABLE) as u64;
        let fit = lane_bytes.map_or(1, |bytes| usable / bytes.max(1));
        u32::try_from(fit).unwrap_or(u32::MAX).min(self.max_lanes).max(1)
    }
}

/// The hyperparameters of a sweep's points that lanes of a pack must agree on, as digits of a point's index: in a space
/// in mixed radix a parameter is a digit of the index. A space that was extended has several such numberings, one
/// behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    parts: Vec<(u64, Vec<Digit>)>,
}

/// One parameter's value within a part of a space: `first + index / stride % base`, where the part's first point has
/// index 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digit {
    /// Points from one value to the next.
    pub stride: u64,
    /// Values that it takes in this part.
    pub base: u64,
    /// Place of the first of them in the list of all.
    pub first: u64,
}

impl Structure {
    /// From the parts of a space in order: index of the first point, and a digit for each structural parameter, always
    /// in the same order. Without parts all points are alike.
    pub fn new(parts: Vec<(u64, Vec<Digit>)>) -> Self {
        let sound = |digit: &Digit| digit.stride > 0 && digit.base > 0;
        debug_assert!(parts.iter().all(|(_, digits)| digits.iter().all(sound)), "{parts:?}");
        Self { parts }
    }

    /// Whether two points may share a pack.
    pub fn alike(&self, one: u64, other: u64) -> bool {
        self.values(one).eq(self.values(other))
    }

    fn values(&self, index: u64) -> impl Iterator<Item = u64> {
        let part = self.parts.iter().rev().find(move |(start, _)| *start <= index);
        part.into_iter().flat_map(move |(start, digits)| {
            digits.iter().map(move |Digit { stride, base, first }| first + (index - start) / stride % base)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_holds_one_lane_until_a_lane_is_measured_and_never_less() {
        let room = Room { max_lanes: 8, memory_bytes: 1000 };
        assert_eq!(room.lanes(None), 1);
        assert_eq!(room.lanes(Some(200)), 4, "850 of 1000 may be used");
        assert_eq!(room.lanes(Some(1)), 8);
        assert_eq!(room.lanes(Some(5000)), 1);
        assert_eq!(Room::default().lanes(Some(1)), 1);
        assert_eq!(
            Room { memory_bytes: 0, ..room }.lanes(Some(1)),
            1,
            "memory that nobody knows holds nothing"
        );
    }

    #[test]
    fn points_are_alike_where_their_structural_digits_agree() {
        // learning_rate: 3 values, batch size: 2 values, seed: 4 values.
        let digit = |stride, base, first| Digit { stride, base, first };
        let structure = Structure::new(vec![(0, vec![digit(4, 2, 0)])]);
        assert!(structure.alike(0, 3) && structure.alike(0, 8) && structure.alike(5, 23));
        assert!(!structure.alike(0, 4) && !structure.alike(3, 4));
        assert!(Structure::default().alike(0, u64::MAX));
        // Then a third batch size behind the 24 points that there were: 12 more.
        let extended = Structure::new(vec![(0, vec![digit(4, 2, 0)]), (24, vec![digit(12, 1, 2)])]);
        assert!(extended.alike(24, 35) && extended.alike(0, 8) && !extended.alike(4, 24));
    }
}
