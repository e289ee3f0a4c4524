//! How fast a lease comes further, and when it no longer does. Pure; heartbeats are its only clock, so that time in
//! which nothing was heard counts against nobody.

use distilsweep_proto::ids::Term;

use super::event::Time;

/// Times the slowest step seen that a trial may stand still.
const STEPS_OF_PATIENCE: i64 = 20;
/// Times the least patience for what has no steps to measure: reading data, evaluating, writing a model.
const PHASE_FACTOR: i64 = 30;
/// Two heartbeats further apart than this say nothing about the time between them, in milliseconds.
const LONGEST_GAP: i64 = 5_000;

/// What a heartbeat says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which one.
    pub term: Term,
    /// Optimizer steps done.
    pub step: i64,
    /// Optimizer steps in all; 0 while unknown.
    pub total_steps: i64,
    /// What it is doing, any number for each phase.
    pub phase: Phase,
    /// Memory of the device, in bytes, that it takes, once measured.
    pub lane_bytes: Option<u64>,
}

/// Whether steps are to be expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Reading data and weights, evaluating, writing.
    #[default]
    Other,
    /// Optimizer steps.
    Training,
}

/// How a lease comes further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// When it was heard of last, and how far it was.
    last: Option<(Time, i64, Phase)>,
    /// Milliseconds without coming further, as far as heartbeats show it.
    still_ms: i64,
    /// Milliseconds of the slowest step seen.
    slowest_ms: Option<i64>,
    /// Optimizer steps in all; 0 while unknown.
    total_steps: i64,
}

impl Pace {
    /// Takes what a heartbeat says, and answers how long a step takes at most, as far as is known.
    pub fn hear(&mut self, now: Time, seen: Seen) -> Option<i64> {
        if let Some((before, step, phase)) = self.last {
            let passed = (now.0 - before.0).clamp(0, LONGEST_GAP);
            self.still_ms += passed;
            if phase != seen.phase || step != seen.step {
                if phase == Phase::Training && seen.step > step {
                    let by_step = self.still_ms / (seen.step - step);
                    self.slowest_ms = Some(self.slowest_ms.unwrap_or_default().max(by_step));
                }
                self.still_ms = 0;
            }
        }
        self.total_steps = seen.total_steps;
        self.last = Some((now, seen.step, seen.phase));
        self.slowest_ms
    }

    /// Whether a step is its last, as far as is known.
    pub fn is_last(&self, step: i64) -> bool {
        self.total_steps > 0 && step >= self.total_steps
    }

    /// Why it is taken for hung, if it is. `floor_ms` is the least patience, `learned_ms` the slowest step of the
    /// sweep's other trials.
    pub fn hung(&self, floor_ms: i64, learned_ms: Option<i64>) -> Option<String> {
        let (_, step, phase) = self.last?;
        let slowest = self.slowest_ms.max(learned_ms);
        let bound = match (phase, slowest) {
            (Phase::Training, Some(slowest)) => floor_ms.max(slowest.saturating_mul(STEPS_OF_PATIENCE)),
            // The first step may have kernels to compile.
            (Phase::Training, None) | (Phase::Other, _) => floor_ms.saturating_mul(PHASE_FACTOR),
        };
        (self.still_ms > bound).then(|| {
            let still = self.still_ms / 1000;
            match (phase, slowest) {
                (Phase::Training, Some(slowest)) => {
                    format!(
                        "no step for {still} s after step {step}, where a step takes {slowest} ms at most"
                    )
                }
                (Phase::Training, None) => format!("no step for {still} s after step {step}"),
                (Phase::Other, _) => format!("nothing happened for {still} s after step {step}"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: i64 = 60_000;

    fn seen(step: i64, phase: Phase) -> Seen {
        Seen { term: Term(1), step, total_steps: 0, phase, lane_bytes: None }
    }

    /// A pace after heartbeats every second at these steps.
    fn paced(steps: impl IntoIterator<Item = i64>) -> Pace {
        let mut pace = Pace::default();
        for (second, step) in steps.into_iter().enumerate() {
            pace.hear(Time(second as i64 * 1000), seen(step, Phase::Training));
        }
        pace
    }

    #[test]
    fn the_patience_is_that_of_twenty_slow_steps_and_never_below_the_floor() {
        let slow = paced((0..50).map(|second| second / 10).chain([4; 190]));
        assert_eq!(slow.hung(FLOOR, None), None, "199 s of 200 s");
        let slower = paced((0..50).map(|second| second / 10).chain([4; 201]));
        let why = slower.hung(FLOOR, None).expect("hung");
        assert_eq!(why, "no step for 210 s after step 4, where a step takes 10000 ms at most");
        let quick = paced((0..50).map(|second| second * 10).chain([490; 60]));
        assert_eq!(quick.hung(FLOOR, None), None);
        let quick = paced((0..50).map(|second| second * 10).chain([490; 61]));
        assert!(quick.hung(FLOOR, None).is_some());
        assert_eq!(quick.hung(FLOOR, Some(4_000)), None, "other trials of the sweep take 4 s a step");
    }

    #[test]
    fn what_was_not_heard_counts_against_nobody() {
        let mut pace = paced([0, 10, 20]);
        pace.hear(Time(3_600_000), seen(20, Phase::Training));
        assert_eq!(pace.hung(FLOOR, None), None, "an hour of silence is 5 s of standing still");
    }

    #[test]
    fn what_has_no_steps_gets_far_more_time() {
        let mut pace = Pace::default();
        for second in 0..1_000 {
            pace.hear(Time(second * 1000), seen(0, Phase::Other));
        }
        assert_eq!(pace.hung(FLOOR, Some(1)), None);
        for second in 1_000..2_000 {
            pace.hear(Time(second * 1000), seen(0, Phase::Other));
        }
        assert_eq!(pace.hung(FLOOR, None).as_deref(), Some("nothing happened for 1999 s after step 0"));
    }
}
