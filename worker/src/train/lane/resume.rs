//! A lane's state as a checkpoint, and a lane that becomes what it was.

use std::{collections::BTreeMap, path::Path, time::Duration};

use tch::{Device, Tensor};

use super::{Best, Lane};
use crate::{
    model::TorchError,
    train::state::{self, BestPosition, Position, Refusal, State},
    trainer::{Checkpoint, Ended, Observer},
};

impl Lane {
    /// Hands the state over to be written, unless it is written already.
    pub(super) fn checkpoint(&mut self, now: Duration, observer: &mut dyn Observer) -> Result<(), Ended> {
        if !self.trial.checkpoints || self.step == self.checkpointed {
            return Ok(());
        }
        let state = self.state(now)?;
        self.checkpointed = self.step;
        let write = Box::new(move |directory: &Path| state.write(directory));
        observer.checkpointed(Checkpoint { step: self.step, write });
        Ok(())
    }

    fn state(&self, now: Duration) -> Result<State, TorchError> {
        let _guard = tch::no_grad_guard();
        let mut tensors = BTreeMap::new();
        let mut keep = |name: String, tensor: &Tensor| -> Result<(), TorchError> {
            // A copy even on the CPU: training writes on while this is written to disk.
            let copy = tensor.f_to_device_(Device::Cpu, tensor.f_kind()?, false, true)?.f_detach()?;
            tensors.insert(name, copy);
            Ok(())
        };
        let parameters = &self.trial.parameters;
        for (name, tensor) in parameters.names().iter().zip(parameters.tensors()) {
            keep(state::parameter(name), tensor)?;
        }
        for (name, moments) in self.optimizer.moments() {
            for (number, tensor) in moments.into_iter().enumerate() {
                keep(state::moment(name, number), tensor)?;
            }
        }
        let current = |best: &Best| best.record.step == self.step;
        if let Some(best) = self.best.as_ref().filter(|best| !current(best)) {
            for (name, tensor) in best.parameters.names().iter().zip(best.parameters.tensors()) {
                keep(state::best(name), tensor)?;
            }
        }
        if !self.pending.is_empty() {
            keep(state::LOSSES.to_owned(), &Tensor::f_stack(&self.pending, 0)?)?;
        }
        let position = Position {
            decay: self.decay,
            samples: self.samples,
            stepping: self.stepping.as_secs_f64(),
            seconds: (self.spent + now.saturating_sub(self.began)).as_secs_f64(),
            waited: self.waited,
            owes_evaluation: self.owes_evaluation,
            best: self.best.as_ref().map(|best| BestPosition {
                record: best.record,
                confusion: best.confusion.clone(),
                decay: best.decay,
                current: current(best),
            }),
            ..Position::new(self.trial.identity.clone(), self.step)
        };
        Ok(State { position, tensors })
    }

    /// Whether a state has every tensor that this lane needs.
    pub(super) fn fits(&self, state: &State) -> Result<(), Refusal> {
        let parameters = &self.trial.parameters;
        for (name, tensor) in parameters.names().iter().zip(parameters.tensors()) {
            state.tensor(&state::parameter(name), tensor)?;
            if state.position.best.as_ref().is_some_and(|best| !best.current) {
                state.tensor(&state::best(name), tensor)?;
            }
        }
        for (name, moments) in self.optimizer.moments() {
            for (number, tensor) in moments.into_iter().enumerate() {
                state.tensor(&state::moment(name, number), tensor)?;
            }
        }
        Ok(())
    }

    /// Becomes what it was in a state that fits.
    pub(super) fn restore(&mut self, state: &State, device: Device) -> Result<(), TorchError> {
        let _guard = tch::no_grad_guard();
        let parameters = &self.trial.parameters;
        for (name, tensor) in parameters.names().iter().zip(parameters.tensors()) {
            tensor.shallow_clone().f_copy_(&state.tensors[&state::parameter(name)])?;
        }
        for (name, moments) in self.optimizer.moments() {
            for (number, tensor) in moments.into_iter().enumerate() {
                tensor.shallow_clone().f_copy_(&state.tensors[&state::moment(name, number)])?;
            }
        }
        let position = &state.position;
        self.best = None;
        if let Some(best) = &position.best {
            let copy = parameters.copied(device)?;
            if !best.current {
                for (name, tensor) in copy.names().iter().zip(copy.tensors()) {
                    tensor.shallow_clone().f_copy_(&state.tensors[&state::best(name)])?;
                }
            }
            let (record, confusion, decay) = (best.record, best.confusion.clone(), best.decay);
            self.best = Some(Best { record, confusion, parameters: copy, decay });
        }
        if let Some(losses) = state.tensors.get(state::LOSSES) {
            self.pending = losses.f_to_device(device)?.f_unbind(0)?;
        }
        self.optimizer.resume(position.step);
        self.step = position.step;
        self.checkpointed = position.step;
        self.decay = position.decay;
        self.samples = position.samples;
        self.stepping = Duration::from_secs_f64(position.stepping.max(0.0));
        self.spent = Duration::from_secs_f64(position.seconds.max(0.0));
        self.waited = position.waited;
        self.owes_evaluation = position.owes_evaluation;
        Ok(())
    }
}
