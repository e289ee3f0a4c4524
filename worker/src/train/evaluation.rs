//! A model's scores on a split, in batches of similar length.

use tch::{Device, Kind};

use super::{
    data::Tokenized,
    metrics::Report,
    mistakes::{self, Mistake},
};
use crate::model::{Batch, DistilBertForSequenceClassification, Example, TorchError};

/// What an evaluation needs besides the model.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation {
    /// Columns of the logits.
    pub classes: usize,
    /// Texts at a time.
    pub batch: usize,
    /// Label smoothing in the loss.
    pub smoothing: f64,
    /// Where the model is.
    pub device: Device,
    /// Kind of the model's parameters.
    pub kind: Kind,
}

impl Evaluation {
    /// What is measured on all of `split`, without dropout. `go_on` is asked before each batch; where it does not want
    /// another there is no report.
    pub(super) fn report(
        &self,
        model: &DistilBertForSequenceClassification,
        split: &Tokenized,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Report>, TorchError> {
        let logits = self.logits_while(model, split, go_on)?;
        Ok(logits.map(|logits| Report::new(&logits, split.labels(), self.classes, self.smoothing)))
    }

    /// What is measured on all of `split`, with its worst mistakes.
    pub(super) fn in_full(
        &self,
        model: &DistilBertForSequenceClassification,
        split: &Tokenized,
    ) -> Result<(Report, Vec<Mistake>), TorchError> {
        let logits = self.logits(model, split)?;
        let mistakes = mistakes::worst(&logits, split.labels(), self.classes);
        Ok((Report::new(&logits, split.labels(), self.classes, self.smoothing), mistakes))
    }

    /// Logits [texts, classes], row by row in the split's order.
    ///
    /// # Errors
    /// What libtorch says, out of memory included.
    pub fn logits(
        &self,
        model: &DistilBertForSequenceClassification,
        split: &Tokenized,
    ) -> Result<Vec<f64>, TorchError> {
        Ok(self.logits_while(model, split, &mut || true)?.unwrap_or_default())
    }

    fn logits_while(
        &self,
        model: &DistilBertForSequenceClassification,
        split: &Tokenized,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Vec<f64>>, TorchError> {
        let _guard = tch::no_grad_guard();
        let mut logits = vec![0.0; split.len() * self.classes];
        let order = split.by_length();
        let (mut done, mut at_once) = (0, self.batch);
        while done < order.len() {
            if !go_on() {
                return Ok(None);
            }
            let part = &order[done..order.len().min(done + at_once)];
            match self.rows(model, split, part) {
                Ok(rows) => {
                    for (i, row) in part.iter().zip(rows.chunks_exact(self.classes)) {
                        logits[i * self.classes..(i + 1) * self.classes].copy_from_slice(row);
                    }
                    done += part.len();
                }
                // How many at once changes no result but by rounding.
                Err(error) if error.out_of_memory() && part.len() > 1 => {
                    distilsweep_native::release_freed_memory();
                    at_once = part.len().div_ceil(2);
                    tracing::warn!(examples = at_once, "out of memory, evaluates fewer at once");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(logits))
    }

    /// Logits [part, classes] of these texts.
    fn rows(
        &self,
        model: &DistilBertForSequenceClassification,
        split: &Tokenized,
        part: &[usize],
    ) -> Result<Vec<f64>, TorchError> {
        let examples: Vec<Example> = part.iter().map(|i| split.example(*i)).collect();
        let batch = Batch::new(&examples, 0, self.device, self.kind)?;
        let output = model.forward(&batch, None)?;
        Ok(Vec::try_from(output.f_to_kind(Kind::Double)?.f_reshape([-1])?)?)
    }
}
