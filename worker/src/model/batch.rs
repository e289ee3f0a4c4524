//! Examples as the tensors of one forward pass: real tokens one after another, no padding among them.

use tch::{Device, Kind, Tensor};

use super::error::TorchError;

/// One text to classify.
#[derive(Clone, Copy, Debug)]
pub struct Example<'a> {
    /// Rows of the word embeddings, special tokens included; at least one.
    pub tokens: &'a [u32],
    /// Number of its class.
    pub label: u32,
}

/// Examples on a device. T is the number of all their tokens, B of examples, L the longest one's length.
#[derive(Debug)]
pub struct Batch {
    pub(super) tokens: Tensor,
    /// Of each token in its example: row of the position embeddings.
    pub(super) positions: Tensor,
    /// Of each token: row of a [B * L, dim] buffer, where attention pads.
    pub(super) slots: Tensor,
    /// Row of each example's first token, [CLS].
    pub(super) first: Tensor,
    /// [B, 1, 1, L]: 0 for a token, minus infinity for padding. None where nothing is padded.
    pub(super) mask: Option<Tensor>,
    /// Dropout's keys, besides positions: the number of each token's example in the optimizer step, that of each
    /// example, and the position of each example's first token.
    pub(super) token_examples: Tensor,
    pub(super) examples: Tensor,
    pub(super) first_positions: Tensor,
    pub(super) size: i64,
    pub(super) length: i64,
    /// Class numbers, int64 [B].
    pub labels: Tensor,
}

impl Batch {
    /// Lays out `examples`. The first is number `offset` of its optimizer step: dropout asks for the number.
    ///
    /// On CUDA nothing waits for the device: the numbers go over in one copy, which it makes in its turn.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn new(examples: &[Example], offset: usize, device: Device, kind: Kind) -> Result<Self, TorchError> {
        let length = examples.iter().map(|example| example.tokens.len()).max().unwrap_or(0);
        let total: usize = examples.iter().map(|example| example.tokens.len()).sum();
        let mut tokens = Vec::with_capacity(total);
        let mut positions = Vec::with_capacity(total);
        let mut slots = Vec::with_capacity(total);
        let mut numbers = Vec::with_capacity(total);
        let mut first = Vec::with_capacity(examples.len());
        for (i, example) in examples.iter().enumerate() {
            first.push(tokens.len() as i64);
            for (position, token) in example.tokens.iter().enumerate() {
                tokens.push(i64::from(*token));
                positions.push(position as i64);
                slots.push((i * length + position) as i64);
                numbers.push((offset + i) as i64);
            }
        }
        let mask = if total == examples.len() * length {
            None
        } else {
            let mut mask = vec![f64::NEG_INFINITY; examples.len() * length];
            for slot in &slots {
                mask[*slot as usize] = 0.0;
            }
            let mask = Tensor::f_from_slice(&mask)?.f_to_kind(kind)?;
            let mask = mask.f_reshape([examples.len() as i64, 1, 1, length as i64])?;
            Some(mask.f_to_device_(device, kind, true, false)?)
        };
        let example_numbers: Vec<i64> = (offset..offset + examples.len()).map(|i| i as i64).collect();
        let labels: Vec<i64> = examples.iter().map(|example| i64::from(example.label)).collect();
        let first_positions = vec![0; examples.len()];
        let lists = [tokens, positions, slots, numbers, first, example_numbers, first_positions, labels];
        let all = Tensor::f_from_slice(&lists.concat())?.f_to_device_(device, Kind::Int64, true, false)?;
        let lengths = lists.map(|list| list.len() as i64);
        let part = |number: usize| all.f_narrow(0, lengths[..number].iter().sum(), lengths[number]);
        Ok(Self {
            tokens: part(0)?,
            positions: part(1)?,
            slots: part(2)?,
            token_examples: part(3)?,
            first: part(4)?,
            examples: part(5)?,
            first_positions: part(6)?,
            labels: part(7)?,
            mask,
            size: examples.len() as i64,
            length: length as i64,
        })
    }
}
