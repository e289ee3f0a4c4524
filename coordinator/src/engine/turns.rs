//! The engine's loop, a turn at a time: take the commands that are there, commit what follows, act on it. The thread
//! does nothing else for ever; a simulation does it at its own times, and stops between any two of the three as a
//! crash would.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{Act, Command, Engine, ToWorker};
use crate::{
    scheduler::{Record, Time},
    store::{StoreError, Write},
};

/// Commands that share a transaction at most.
const BATCH: usize = 1024;

/// An engine with the queue of its commands.
#[derive(Debug)]
pub struct Turns {
    pub(super) engine: Engine,
    pub(super) queue: mpsc::Receiver<Command>,
    /// A command that was taken out of the queue and has to begin a turn.
    pub(super) held: Option<Command>,
}

/// What follows from a batch of commands: nothing of it has left this process, and only memory knows of it.
#[derive(Debug)]
pub struct Turn {
    now: Time,
    writes: Vec<Write>,
    acts: Vec<Act>,
    /// Whether anything is otherwise than before.
    changed: bool,
    stop: bool,
    /// When it began, by the engine's clock.
    began: Duration,
}

impl Turn {
    /// What is to be made durable.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }
}

impl Turns {
    /// Waits for commands and takes them; nothing once all handles are gone.
    pub async fn next(&mut self) -> Option<Turn> {
        let first = match self.held.take() {
            Some(held) => held,
            None => self.queue.recv().await?,
        };
        Some(self.take(first))
    }

    /// Makes a turn durable.
    ///
    /// # Errors
    /// Where it cannot be: then memory is ahead of the disk, and the only honest thing is to end and be loaded again.
    pub fn commit(&mut self, turn: &Turn) -> Result<(), StoreError> {
        if turn.writes.is_empty() {
            return Ok(());
        }
        let before = self.engine.clock.elapsed();
        self.engine.store.commit(turn.now, &turn.writes).inspect_err(|error| {
            tracing::error!(%error, "the state could not be written, stopping");
        })?;
        self.engine.meters.committed(self.engine.clock.elapsed().saturating_sub(before));
        Ok(())
    }

    /// Lets out what follows from a turn that is durable. False where it was the last.
    pub fn act(&mut self, turn: Turn) -> bool {
        let assigned = |act: &&Act| matches!(act, Act::Send(_, ToWorker::Assign { .. }));
        let assignments = turn.acts.iter().filter(assigned).count();
        turn.acts.into_iter().for_each(Engine::act);
        let took = self.engine.clock.elapsed().saturating_sub(turn.began);
        (0..assignments).for_each(|_| self.engine.meters.assigned(took));
        if turn.changed {
            self.engine.changed.send_modify(|version| *version += 1);
        }
        let told = |write: &Write| matches!(write, Write::Tell(..) | Write::Record(Record::Metrics(..), _));
        if turn.writes.iter().any(told) {
            self.engine.outbox_grew.send_modify(|version| *version += 1);
        }
        !turn.stop
    }

    /// Serves commands until told to stop, or until a commit fails.
    pub(super) fn run(mut self) -> Result<(), StoreError> {
        while let Some(first) = self.held.take().or_else(|| self.queue.blocking_recv()) {
            let turn = self.take(first);
            self.commit(&turn)?;
            if !self.act(turn) {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, first: Command) -> Turn {
        let now = self.engine.clock.now();
        let began = self.engine.clock.elapsed();
        let (writes, acts) = (Vec::new(), Vec::new());
        let mut turn = Turn { now, writes, acts, changed: false, stop: false, began };
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(command) = next {
            if matches!(command, Command::Stop) {
                turn.stop = true;
                break;
            }
            if command.reads() && taken > 0 {
                self.held = Some(command);
                break;
            }
            // What only asks, or only lets time pass, changes something where there is something to write.
            turn.changed |= !matches!(
                command,
                Command::Snapshot(..) | Command::Workers(_) | Command::Count(_) | Command::Tick
            );
            self.engine.take(now, command, &mut turn.writes, &mut turn.acts);
            taken += 1;
            next = if taken < BATCH { self.queue.try_recv().ok() } else { None };
        }
        turn.changed |= !turn.writes.is_empty();
        self.engine.meters.took(taken);
        turn
    }
}
