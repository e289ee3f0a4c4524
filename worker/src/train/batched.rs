//! A turn of a pack in one pass: the batched form, for devices that one trial leaves idle.

use tch::{Kind, Tensor};

use super::{Shared, feed::Window, lane::Lane, room::Room};
use crate::{
    model::{Example, LaneBatch, LaneStack, TorchError},
    trainer::Ended,
};

/// The stacks that the lanes' weights lie in.
#[derive(Default)]
pub(super) struct Batched {
    groups: Vec<Group>,
}

struct Group {
    /// Numbers of its trials.
    members: Vec<usize>,
    stack: LaneStack,
}

impl Batched {
    /// Leaves the gradients of each lane's next step in its parameters. Returns the losses, on the device, and how many
    /// examples each step has.
    ///
    /// # Errors
    /// Why none of the lanes can go on.
    pub(super) fn turn(
        &mut self,
        lanes: &mut [Lane],
        shared: &Shared,
        room: &mut Room,
    ) -> Result<Vec<(Tensor, usize)>, Ended> {
        loop {
            let windows = lanes.iter().map(Lane::window).collect::<Result<Vec<_>, _>>()?;
            match self.gradients(lanes, &windows, shared, *room) {
                Ok(losses) => {
                    return Ok(losses
                        .into_iter()
                        .zip(windows.iter().map(|window| window.examples))
                        .collect());
                }
                Err(error) if error.out_of_memory() => {
                    distilsweep_native::release_freed_memory();
                    *room = room.smaller(&error)?;
                    for lane in &mut *lanes {
                        lane.cut(shared, room.examples)?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn gradients(
        &mut self,
        lanes: &[Lane],
        windows: &[Window],
        shared: &Shared,
        room: Room,
    ) -> Result<Vec<Tensor>, TorchError> {
        self.stack(lanes, shared, room)?;
        let mut losses = Vec::new();
        let parts = lanes.chunks(room.lanes).zip(windows.chunks(room.lanes));
        for (group, (lanes, windows)) in self.groups.iter().zip(parts) {
            losses.extend(group.gradients(lanes, windows, shared)?);
        }
        Ok(losses)
    }

    /// Stacks the lanes anew where one has left, or where fewer of them fit.
    fn stack(&mut self, lanes: &[Lane], shared: &Shared, room: Room) -> Result<(), TorchError> {
        let numbers: Vec<usize> = lanes.iter().map(|lane| lane.trial.number).collect();
        if self.groups.iter().map(|group| group.members.as_slice()).eq(numbers.chunks(room.lanes)) {
            return Ok(());
        }
        self.groups.clear();
        for lanes in lanes.chunks(room.lanes) {
            let parameters: Vec<_> = lanes.iter().map(|lane| &lane.trial.parameters).collect();
            let stack = LaneStack::new(&parameters, &shared.config, shared.padding, shared.compute)?;
            let members = lanes.iter().map(|lane| lane.trial.number).collect();
            self.groups.push(Group { members, stack });
        }
        Ok(())
    }
}

impl Group {
    fn gradients(
        &self,
        lanes: &[Lane],
        windows: &[Window],
        shared: &Shared,
    ) -> Result<Vec<Tensor>, TorchError> {
        for lane in lanes {
            lane.optimizer.clear()?;
        }
        let mut losses: Vec<Vec<Tensor>> = lanes.iter().map(|_| Vec::new()).collect();
        let pieces = windows.iter().map(|window| window.pieces.len()).max().unwrap_or(0);
        for number in 0..pieces {
            let batches: Vec<LaneBatch> =
                lanes.iter().zip(windows).map(|(lane, window)| batch(lane, window, number, shared)).collect();
            for ((loss, losses), window) in
                self.stack.backward(&batches)?.into_iter().zip(&mut losses).zip(windows)
            {
                if number < window.pieces.len() {
                    losses.push(loss);
                }
            }
        }
        losses.iter().map(|losses| Ok(Tensor::f_stack(losses, 0)?.f_sum(None::<Kind>)?)).collect()
    }
}

/// A lane's piece of this number; empty where its step has fewer.
fn batch<'a>(lane: &Lane, window: &Window, number: usize, shared: &'a Shared) -> LaneBatch<'a> {
    let piece = window.pieces.get(number);
    let rows = piece.map(|piece| piece.rows.as_slice()).unwrap_or_default();
    LaneBatch {
        examples: rows.iter().map(|row| -> Example { shared.data.train.example(*row as usize) }).collect(),
        offset: piece.map_or(0, |piece| piece.offset),
        dropout: Some(lane.dropout()),
        weights: piece.map(|piece| piece.weights.clone()).unwrap_or_default(),
        smoothing: lane.trial.arguments.label_smoothing_factor,
    }
}
