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
/// in mixed radix a parameter is the digit `index / stride % base`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    digits: Vec<(u64, u64)>,
}

impl Structure {
    /// From (stride, base) of each such parameter that varies.
    pub fn new(digits: Vec<(u64, u64)>) -> Self {
        debug_assert!(digits.iter().all(|(stride, base)| *stride > 0 && *base > 0), "{digits:?}");
        Self { digits }
    }

    /// Whether two points may share a pack.
    pub fn alike(&self, one: u64, other: u64) -> bool {
        self.digits.iter().all(|(stride, base)| one / stride % base == other / stride % base)
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
        let structure = Structure::new(vec![(4, 2)]);
        assert!(structure.alike(0, 3) && structure.alike(0, 8) && structure.alike(5, 23));
        assert!(!structure.alike(0, 4) && !structure.alike(3, 4));
        assert!(Structure::default().alike(0, u64::MAX));
    }
}
