//! Which checkpoints of a trial are written when. Pure.

use crate::trainer::Checkpoint;

/// One checkpoint is written at a time, and the newest that came meanwhile waits: training never does.
#[derive(Debug, Default)]
pub struct Saver {
    writing: bool,
    waiting: Option<Checkpoint>,
}

impl Saver {
    /// Takes a new checkpoint, and answers it where it is to be written at once. One that waited is dropped for it.
    pub fn offer(&mut self, checkpoint: Checkpoint) -> Option<Checkpoint> {
        if self.writing {
            self.waiting = Some(checkpoint);
            return None;
        }
        self.writing = true;
        Some(checkpoint)
    }

    /// The one being written is there, or has failed: answers the next to write.
    pub fn written(&mut self) -> Option<Checkpoint> {
        let next = self.waiting.take();
        self.writing = next.is_some();
        next
    }

    /// Drops the one that waits: the trial has its result.
    pub fn forget_waiting(&mut self) {
        self.waiting = None;
    }

    /// Whether nothing is being written, nor waits to be.
    pub fn is_idle(&self) -> bool {
        !self.writing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(step: u64) -> Checkpoint {
        Checkpoint { step, write: Box::new(|_| Ok(())) }
    }

    fn step(checkpoint: Option<Checkpoint>) -> Option<u64> {
        checkpoint.map(|checkpoint| checkpoint.step)
    }

    #[test]
    fn one_is_written_at_a_time_and_only_the_newest_waits() {
        let mut saver = Saver::default();
        assert_eq!(step(saver.offer(checkpoint(10))), Some(10));
        assert_eq!(step(saver.offer(checkpoint(20))), None);
        assert_eq!(step(saver.offer(checkpoint(30))), None);
        assert_eq!(step(saver.written()), Some(30));
        assert!(!saver.is_idle());
        assert_eq!(step(saver.written()), None);
        assert!(saver.is_idle());
        assert_eq!(step(saver.offer(checkpoint(40))), Some(40));
    }

    #[test]
    fn a_result_makes_the_one_that_waits_superfluous() {
        let mut saver = Saver::default();
        saver.offer(checkpoint(10));
        saver.offer(checkpoint(20));
        saver.forget_waiting();
        assert_eq!(step(saver.written()), None);
        assert!(saver.is_idle());
    }
}
