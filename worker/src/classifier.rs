//! A trained model and its tokenizer, to classify texts.

use std::path::{Path, PathBuf};

use crate::{
    model::{Config, DistilBertForSequenceClassification, Parameters},
    torch::{DeviceChoice, Precision, find_model, unknown_token},
    train::{Evaluation, Tokenized},
    trainer::Ended,
};
use distilsweep_data::{Split, TextTokenizer};

/// How a [`Classifier`] computes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where.
    pub device: DeviceChoice,
    /// With which arithmetic.
    pub precision: Precision,
    /// Threads of libtorch's operators; libtorch's choice when left out.
    pub threads: Option<usize>,
    /// Texts at a time.
    pub batch: usize,
    /// Tokens that a text is truncated to; as many as the model has positions when left out.
    pub max_length: Option<usize>,
}

/// A model that classifies. Dropout is off, and nothing is kept between calls.
pub struct Classifier {
    classes: Vec<String>,
    tokenizer: TextTokenizer,
    network: DistilBertForSequenceClassification,
    evaluation: Evaluation,
    max_length: usize,
    vocab_size: i64,
    directory: PathBuf,
    text_columns: Option<u64>,
}

/// Values of rows, and what was left out of them.
pub struct Classified {
    /// Logits or probabilities [rows, classes], in the order of the rows.
    pub values: Vec<f64>,
    /// Rows that are longer than [`Classifier::max_length`] and were truncated.
    pub truncated: u64,
}

impl Classifier {
    /// Loads the directory or Hub id `model`.
    ///
    /// # Errors
    /// The device is not there, or the checkpoint is none of a DistilBERT with finite weights and a head for the classes
    /// that its `config.json` names.
    pub fn open(model: &str, options: Options) -> Result<Self, Ended> {
        let device = options.device.open()?;
        if let Some(threads) = options.threads {
            tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
        }
        let directory = find_model(model, None)?;
        let config = Config::read(&directory)?;
        let classes = Config::class_names(&directory)?;
        let kind = options.precision.storage();
        let parameters =
            Parameters::load_classifier(&directory, &config, classes.len(), kind)?.copied(device)?;
        let tokenizer = TextTokenizer::from_directory(&directory)?;
        let max_length = max_length(options.max_length, &config, &directory)?;
        let network = DistilBertForSequenceClassification::load(
            &parameters,
            &config,
            config.pad_token_id,
            options.precision.compute(),
        );
        let evaluation =
            Evaluation { classes: classes.len(), batch: options.batch, smoothing: 0.0, device, kind };
        let vocab_size = config.vocab_size;
        let text_columns = Config::text_columns(&directory)?;
        Ok(Self { classes, tokenizer, network, evaluation, max_length, vocab_size, directory, text_columns })
    }

    /// Tokens that a text is truncated to.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// How many texts a row of the training data had, 1 or 2; none if the model does not record it.
    pub fn text_columns(&self) -> Option<u64> {
        self.text_columns
    }

    /// Class names, in class order.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Logits of the rows. Their labels are not used.
    ///
    /// # Errors
    /// A text that the tokenizer rejects, and what libtorch says.
    pub fn logits(&self, rows: &Split) -> Result<Classified, Ended> {
        let encoded = self.tokenizer.encode(rows, self.max_length)?;
        let beyond = encoded.ids().iter().find(|token| i64::from(**token) >= self.vocab_size);
        if let Some(token) = beyond {
            return Err(unknown_token(&self.directory, *token, self.vocab_size));
        }
        let mut examples = Tokenized::default();
        for i in 0..encoded.len() {
            // No label is known here, and none is looked at.
            examples.push(encoded.example(i), 0);
        }
        let values = self.evaluation.logits(&self.network, &examples)?;
        Ok(Classified { values, truncated: encoded.truncated() })
    }

    /// Probabilities of the rows: the softmax of the logits.
    ///
    /// # Errors
    /// Those of [`Self::logits`].
    pub fn probabilities(&self, rows: &Split) -> Result<Classified, Ended> {
        let mut classified = self.logits(rows)?;
        for row in classified.values.chunks_exact_mut(self.classes.len()) {
            softmax(row);
        }
        Ok(classified)
    }
}

fn softmax(row: &mut [f64]) {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for value in row.iter_mut() {
        *value = (*value - largest).exp();
    }
    let sum: f64 = row.iter().sum();
    for value in row.iter_mut() {
        *value /= sum;
    }
}

fn max_length(asked: Option<usize>, config: &Config, directory: &Path) -> Result<usize, Ended> {
    let positions = usize::try_from(config.max_position_embeddings).unwrap_or(usize::MAX);
    match asked {
        Some(asked) if asked > positions => Err(Ended::BadPoint(format!(
            "`max_length` is {asked}, it must be at most {positions}, the positions of {}",
            directory.display()
        ))),
        asked => Ok(asked.unwrap_or(positions)),
    }
}
