//! How much is computed at once. It changes no result but by rounding: pieces of a step only add up.

use crate::{model::TorchError, trainer::Ended};

/// Most lanes, and most examples of each, in one forward and backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) lanes: usize,
    pub(super) examples: usize,
}

impl Room {
    /// What to try after a lack of memory: half the lanes, then half the examples.
    ///
    /// # Errors
    /// `why` as the trial's end, where not even one example fits.
    pub(super) fn smaller(self, why: &TorchError) -> Result<Self, Ended> {
        let smaller = match self {
            Self { lanes: ..=1, examples: ..=1 } => return Err(Ended::OutOfMemory(why.to_string())),
            Self { lanes: ..=1, examples } => Self { lanes: 1, examples: examples.div_ceil(2) },
            Self { lanes, examples } => Self { lanes: lanes.div_ceil(2), examples },
        };
        tracing::warn!(
            lanes = smaller.lanes,
            examples = smaller.examples,
            "out of memory, goes on with less at once"
        );
        Ok(smaller)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn lanes_part_before_batches_do_and_one_example_is_the_least() {
        let why = TorchError::from(Tensor::f_zeros([1 << 50], (Kind::Float, Device::Cpu)).unwrap_err());
        let mut room = Room { lanes: 5, examples: 6 };
        let mut tried = Vec::new();
        let end = loop {
            match room.smaller(&why) {
                Ok(smaller) => room = smaller,
                Err(end) => break end,
            }
            tried.push((room.lanes, room.examples));
        };
        assert_eq!(tried, [(3, 6), (2, 6), (1, 6), (1, 3), (1, 2), (1, 1)]);
        assert!(matches!(end, Ended::OutOfMemory(_)));
    }
}
