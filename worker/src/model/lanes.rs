//! The batched form of a pack: one forward and one backward pass compute the gradients of all its trials.
//!
//! Every parameter of the lanes lies in one storage with a leading lane dimension; a lane's own [`Parameters`] are
//! views of their slice. Evaluation, optimizer and checkpoints thus work on a lane as they do on a model alone, and
//! what one lane does never touches another's numbers: products are batched over lanes, and whatever goes across
//! examples is a copy of rows.

mod forward;
mod rows;
#[cfg(test)]
mod tests;

use distilsweep_native::{clear_gradients, give_gradients, share_storage};
use tch::{Device, Kind, Tensor};

use self::{forward::Network, rows::Rows};
use super::{batch::Example, config::Config, distilbert::Dropout, error::TorchError, parameters::Parameters};

/// One lane's share of a pass.
#[derive(Clone, Debug)]
pub struct LaneBatch<'a> {
    /// What it trains on in this pass; an empty lane is left as it is.
    pub examples: Vec<Example<'a>>,
    /// Number of its first example in the optimizer step: dropout asks for it.
    pub offset: usize,
    /// Dropout, if any.
    pub dropout: Option<Dropout>,
    /// Factor of each example's loss.
    pub weights: Vec<f64>,
    /// Label smoothing, from 0 to 1.
    pub smoothing: f64,
}

/// The parameters of several models of one shape, stacked.
///
/// Memory besides the lanes' own: the gradients of all lanes, which each backward pass makes anew.
#[derive(Debug)]
pub struct LaneStack {
    network: Network,
    /// Stacked leaves [lanes, …], each with the names of the parameters that it is made of.
    leaves: Vec<Tensor>,
    parts: Vec<usize>,
    /// Of each lane the parameters in the order of the leaves' parts.
    lanes: Vec<Vec<Tensor>>,
    shape: Shape,
}

/// What a pass must know of the models besides their weights.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Rows of one lane's word embeddings, and of its position embeddings.
    words: i64,
    positions: i64,
    blocks: usize,
    /// Row of the word embeddings that gets no gradient.
    padding: Option<i64>,
    device: Device,
    /// Kind of the parameters, and of the linear layers and attention.
    kind: Kind,
    compute: Kind,
}

impl LaneStack {
    /// Moves the weights of `lanes` into one storage; their tensors become views of it and stay whom they were, for
    /// the optimizers and models that share them too. A lane of another stack leaves that one.
    ///
    /// `padding` is the row of the word embeddings that gets no gradient; linear layers and attention compute in
    /// `compute`.
    ///
    /// # Errors
    /// What libtorch says: lanes whose shapes do not agree, out of memory.
    pub fn new(
        lanes: &[&Parameters],
        config: &Config,
        padding: Option<i64>,
        compute: Kind,
    ) -> Result<Self, TorchError> {
        let mut stack = Stacking { sources: lanes, leaves: vec![], parts: vec![], lanes: vec![] };
        stack.lanes.resize_with(lanes.len(), Vec::new);
        let network = Network::stacked(config, &mut |names| stack.leaf(names))?;
        let words = network.word_embeddings();
        let shape = Shape {
            words: words.size()[1],
            positions: network.position_embeddings().size()[1],
            blocks: usize::try_from(config.n_layers).unwrap_or(0),
            padding,
            device: words.device(),
            kind: words.f_kind()?,
            compute,
        };
        Ok(Self { network, leaves: stack.leaves, parts: stack.parts, lanes: stack.lanes, shape })
    }

    /// Computes the gradients of the sum over lanes and examples of weight times loss, cross entropy with label
    /// smoothing, and adds them to those of each lane's own tensors. Returns each lane's sum, detached and still on
    /// the device; nothing waits for it.
    ///
    /// `batches` are the lanes', in their order.
    ///
    /// # Errors
    /// What libtorch says, out of memory included. The lanes' gradients are then of no use.
    pub fn backward(&self, batches: &[LaneBatch]) -> Result<Vec<Tensor>, TorchError> {
        debug_assert_eq!(batches.len(), self.lanes.len(), "a batch for each lane");
        let nothing = || Tensor::f_zeros([0i64; 0], (self.shape.kind, self.shape.device));
        let Some(rows) = Rows::new(batches, &self.shape)? else {
            return Ok(batches.iter().map(|_| nothing()).collect::<Result<_, _>>()?);
        };
        // A pass that ran out of memory has left the gradients of some leaves.
        clear_gradients(&self.leaves)?;
        let losses = rows.losses(&self.network.forward(&rows, &self.shape)?)?;
        losses.f_sum(self.shape.kind)?.f_backward()?;
        if let Some(padding) = self.shape.padding {
            let _zeroed = self.network.word_embeddings().f_grad()?.f_narrow(1, padding, 1)?.f_zero_()?;
        }
        let losses = losses.f_detach()?;
        let mut result = Vec::with_capacity(batches.len());
        for (lane, batch) in batches.iter().enumerate() {
            if batch.examples.is_empty() {
                result.push(nothing()?);
                continue;
            }
            give_gradients(&self.leaves, &self.parts, lane, &self.lanes[lane])?;
            result.push(losses.f_get(lane as i64)?);
        }
        clear_gradients(&self.leaves)?;
        Ok(result)
    }
}

/// A stack being made.
struct Stacking<'a> {
    sources: &'a [&'a Parameters],
    leaves: Vec<Tensor>,
    parts: Vec<usize>,
    lanes: Vec<Vec<Tensor>>,
}

impl Stacking<'_> {
    /// A leaf of the parameters `names`, one after another along their first dimension.
    fn leaf(&mut self, names: &[String]) -> Result<Tensor, TorchError> {
        let _guard = tch::no_grad_guard();
        let tensors = |lane: &Parameters| -> Vec<Tensor> {
            names.iter().map(|name| lane.get(name).shallow_clone()).collect()
        };
        let lanes: Vec<Vec<Tensor>> = self.sources.iter().map(|lane| tensors(lane)).collect();
        let whole = lanes
            .iter()
            .map(|parts| {
                Tensor::f_cat(&parts.iter().map(|part| part.f_detach()).collect::<Result<Vec<_>, _>>()?, 0)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let leaf = Tensor::f_stack(&whole, 0)?;
        drop(whole);
        for (i, parts) in lanes.into_iter().enumerate() {
            let slice = leaf.f_get(i as i64)?;
            let mut offset = 0;
            for part in parts {
                let rows = part.size()[0];
                share_storage(&part, &slice.f_narrow(0, offset, rows)?)?;
                offset += rows;
                self.lanes[i].push(part);
            }
        }
        let leaf = leaf.f_set_requires_grad(true)?;
        self.leaves.push(leaf.shallow_clone());
        self.parts.push(names.len());
        Ok(leaf)
    }
}
