//! The batches of a trial's steps, laid out by a thread of their own while the step before them trains.

use std::{
    sync::{Arc, mpsc},
    thread,
};

use distilsweep_proto::params::{ClassWeights, TrainingArguments};
use tch::{Device, Kind, Tensor};

use super::{data::Prepared, order::order, schedule::Plan};
use crate::{
    model::{Batch, Example, TorchError},
    trainer::Ended,
};

/// Steps that wait laid out.
const AHEAD: usize = 2;

/// What the batches of a trial are a function of.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) data: Arc<Prepared>,
    pub(super) arguments: TrainingArguments,
    pub(super) plan: Plan,
    /// Where and in which kind the tensors are made; none where only rows are asked for.
    pub(super) tensors: Option<(Device, Kind)>,
}

/// The examples of one optimizer step, in pieces that fit the device's memory.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) pieces: Vec<Piece>,
    /// Examples in all.
    pub(super) examples: usize,
}

/// A micro-batch, or a part of one.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) rows: Vec<u32>,
    /// Number of the first row in its optimizer step.
    pub(super) offset: usize,
    /// Factor of each example's loss. Those of a step sum to 1: a step's loss is the mean over its micro-batches, whose
    /// own is the mean over their examples.
    pub(super) weights: Vec<f64>,
    /// The same as tensors, where the source makes them.
    pub(super) tensors: Option<(Batch, Tensor)>,
}

/// The windows of a trial, step by step.
#[derive(Debug)]
pub(super) struct Feed(mpsc::Receiver<Result<Window, TorchError>>);

impl Feed {
    /// Starts the thread with the window of step `from`, no piece larger than `room` examples. It ends when the feed is
    /// dropped.
    pub(super) fn start(source: Source, from: u64, room: usize) -> Result<Self, Ended> {
        let (sender, receiver) = mpsc::sync_channel(AHEAD);
        thread::Builder::new()
            .name("batches".to_owned())
            .spawn(move || {
                let class_weights = class_weights(&source);
                let mut current: Option<(u64, Vec<u32>)> = None;
                for step in from..source.plan.total {
                    let (epoch, range) = source.plan.examples_of(step);
                    let rows = match current.take() {
                        Some((of, rows)) if of == epoch => rows,
                        _ => order(&source.data.train, &source.arguments, epoch),
                    };
                    let window = window(&source, &rows[range], room, class_weights.as_deref());
                    current = Some((epoch, rows));
                    if sender.send(window).is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| Ended::Internal(format!("no thread for batches: {error}")))?;
        Ok(Self(receiver))
    }

    /// The next step's window.
    pub(super) fn next(&self) -> Result<Window, Ended> {
        let window = self.0.recv();
        Ok(window.map_err(|_| Ended::Internal("the thread of batches is gone".to_owned()))??)
    }
}

fn window(
    source: &Source,
    rows: &[u32],
    room: usize,
    class_weights: Option<&[f64]>,
) -> Result<Window, TorchError> {
    let parts = rows.chunks(source.plan.batch);
    let share = 1.0 / parts.len() as f64;
    let mut pieces = Vec::new();
    let mut offset = 0;
    for part in parts {
        let weight = |row: &u32| -> f64 {
            let label = source.data.train.example(*row as usize).label;
            class_weights.map_or(1.0, |weights| weights[label as usize])
        };
        let sum: f64 = part.iter().map(weight).sum();
        for rows in part.chunks(room) {
            let weights: Vec<f64> = rows.iter().map(|row| weight(row) / sum * share).collect();
            let tensors = source.tensors.map(|(device, kind)| -> Result<_, TorchError> {
                let examples: Vec<Example> =
                    rows.iter().map(|row| source.data.train.example(*row as usize)).collect();
                let weights = Tensor::f_from_slice(&weights)?.f_to_kind(kind)?;
                let weights = weights.f_to_device_(device, kind, true, false)?;
                Ok((Batch::new(&examples, offset, device, kind)?, weights))
            });
            pieces.push(Piece { rows: rows.to_vec(), offset, weights, tensors: tensors.transpose()? });
            offset += rows.len();
        }
    }
    Ok(Window { pieces, examples: rows.len() })
}

/// What each class weighs; none where all weigh the same.
fn class_weights(source: &Source) -> Option<Vec<f64>> {
    match source.arguments.class_weights {
        ClassWeights::None => None,
        ClassWeights::Balanced => {
            let labels = source.data.train.labels();
            let mut counts = vec![0_usize; source.data.classes.len()];
            for label in labels {
                counts[*label as usize] += 1;
            }
            let even = labels.len() as f64 / counts.len() as f64;
            // A class without examples is never asked for its weight.
            Some(counts.iter().map(|count| even / (*count).max(1) as f64).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::data::Tokenized, *};

    fn source(arguments: TrainingArguments, labels: &[u32]) -> Source {
        let mut train = Tokenized::default();
        for (i, label) in labels.iter().enumerate() {
            train.push(&vec![7; i % 5 + 1], *label);
        }
        let plan = Plan::new(labels.len(), &arguments).unwrap();
        let classes = vec!["a".to_owned(), "b".to_owned()];
        let data = Prepared::new(classes, 0, train.clone(), train, None);
        Source { data: Arc::new(data), arguments, plan, tensors: None }
    }

    fn windows(source: &Source, from: u64, room: usize) -> Vec<Window> {
        let feed = Feed::start(source.clone(), from, room).unwrap();
        (from..source.plan.total).map(|_| feed.next().unwrap()).collect()
    }

    fn accumulating() -> TrainingArguments {
        TrainingArguments {
            per_device_train_batch_size: 4,
            gradient_accumulation_steps: 2,
            num_train_epochs: 2.0,
            ..TrainingArguments::default()
        }
    }

    #[test]
    fn pieces_weigh_as_their_micro_batches_do() {
        let source = source(accumulating(), &[0; 13]);
        for (room, sizes) in [(4, vec![4, 1]), (3, vec![3, 1, 1]), (1, vec![1, 1, 1, 1, 1])] {
            let last = &windows(&source, 0, room)[1];
            assert_eq!(last.pieces.iter().map(|piece| piece.rows.len()).collect::<Vec<_>>(), sizes);
            let weights: Vec<f64> = last.pieces.iter().flat_map(|piece| piece.weights.clone()).collect();
            assert_eq!(weights, [0.125, 0.125, 0.125, 0.125, 0.5]);
            let offsets: Vec<usize> = last.pieces.iter().map(|piece| piece.offset).collect();
            assert_eq!(offsets[0], 0);
            assert_eq!(offsets.last().copied().unwrap() + last.pieces.last().unwrap().rows.len(), 5);
        }
    }

    #[test]
    fn a_feed_that_starts_in_the_middle_gives_what_is_left() {
        let source = source(accumulating(), &[0; 13]);
        let rows = |windows: &[Window]| -> Vec<Vec<u32>> {
            windows.iter().map(|w| w.pieces.iter().flat_map(|piece| piece.rows.clone()).collect()).collect()
        };
        let whole = rows(&windows(&source, 0, 4));
        assert_eq!(whole.len(), 4);
        assert_eq!(rows(&windows(&source, 3, 4)), whole[3..]);
        assert_ne!(whole[0], whole[2]);
    }

    /// Class 1 has a third of class 0's examples, so each weighs three times as much.
    #[test]
    fn balanced_classes_weigh_by_the_inverse_of_their_number() {
        let arguments = TrainingArguments {
            per_device_train_batch_size: 4,
            class_weights: ClassWeights::Balanced,
            num_train_epochs: 1.0,
            ..TrainingArguments::default()
        };
        let source = source(arguments, &[0, 0, 0, 1]);
        let window = &windows(&source, 0, 4)[0];
        for (row, weight) in window.pieces[0].rows.iter().zip(&window.pieces[0].weights) {
            let expected = if *row == 3 { 0.5 } else { 1.0 / 6.0 };
            assert!((weight - expected).abs() < 1e-15, "row {row}: {weight}");
        }
    }
}
