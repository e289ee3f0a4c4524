//! Texts to token ids, as transformers 4.57.6 makes them with the files of a model directory.

mod declared;
mod export;
mod settings;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::{
    Encoding, ModelWrapper, NormalizerWrapper, PostProcessor, PreTokenizerWrapper, Tokenizer,
    TruncationDirection, TruncationParams, truncate_encodings,
};

use self::settings::{Flags, Settings};
use crate::{DataError, Split, excerpt::quoted, numbers::Numbers};

/// The tokenizer as a whole, in a model directory.
pub(crate) const FILE: &str = "tokenizer.json";
/// One piece per line, in older checkpoints.
pub(crate) const VOCABULARY: &str = "vocab.txt";
/// The tokenizer's class and settings.
pub(crate) const CONFIG: &str = "tokenizer_config.json";
/// Tokens beside a vocabulary, in older checkpoints.
pub(crate) const ADDED_TOKENS: &str = "added_tokens.json";
/// Special tokens, in older checkpoints.
pub(crate) const SPECIAL_TOKENS: &str = "special_tokens_map.json";
/// The model's configuration, which names the tokenizer's class if its own does not.
const MODEL_CONFIG: &str = "config.json";

/// Texts are tokenized in groups of this many, which bounds what the library holds besides the ids.
const GROUP: usize = 4096;

/// The tokenizer of a checkpoint, without the padding and truncation that its file may carry.
pub struct TextTokenizer {
    path: PathBuf,
    inner: Tokenizer,
    /// The end at which long texts are truncated.
    side: TruncationDirection,
    /// Special tokens by their keys in `tokenizer_config.json`.
    specials: Vec<(&'static str, String)>,
}

/// A token as a person looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its number.
    pub id: u32,
    /// As the vocabulary has it: a piece within a word begins with `##`.
    pub token: String,
    /// Which characters of its text it stands for, from and up to; none for a special token.
    pub characters: Option<(usize, usize)>,
    /// Whether it belongs to the second text of a pair.
    pub second: bool,
}

/// The token ids of many texts, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    ids: Numbers<u32>,
    /// Where each text ends in `ids`.
    ends: Numbers<u64>,
    truncated: u64,
}

impl Encoded {
    /// Texts that end at `ends` of `ids`; none if the ends do not ascend to the last id.
    pub(crate) fn new(ids: Numbers<u32>, ends: Numbers<u64>, truncated: u64) -> Option<Self> {
        let whole = ends.last().copied().unwrap_or(0) == ids.len() as u64;
        (whole && ends.is_sorted()).then_some(Self { ids, ends, truncated })
    }

    /// How many texts were longer than the length that was asked for.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    pub(crate) fn ends(&self) -> &[u64] {
        &self.ends
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The token ids of text `i`, special tokens included.
    ///
    /// # Panics
    /// When there is no text `i`.
    pub fn example(&self, i: usize) -> &[u32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.ids[start as usize..self.ends[i] as usize]
    }

    /// The token ids of all texts, one after another.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }
}

impl TextTokenizer {
    /// The files of a model directory that decide how its texts become ids. Some may not exist.
    pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
        let first = if directory.join(FILE).is_file() { FILE } else { VOCABULARY };
        [first, CONFIG, ADDED_TOKENS, SPECIAL_TOKENS, MODEL_CONFIG].map(|name| directory.join(name)).into()
    }

    /// Makes the tokenizer that `AutoTokenizer` of transformers 4.57.6 makes of a model directory: that of
    /// `tokenizer.json`, else one of `vocab.txt`, with what the files beside it change.
    ///
    /// # Errors
    /// The files are missing, contradict each other or make no tokenizer.
    pub fn from_directory(directory: &Path) -> Result<Self, DataError> {
        let mut settings = Settings::read(directory)?;
        let path = directory.join(FILE);
        let (path, mut inner) = match std::fs::read(&path) {
            Ok(bytes) => {
                let mut inner = Tokenizer::from_bytes(bytes).map_err(|error| DataError::Malformed {
                    path: path.clone(),
                    problem: format!("is no tokenizer: {error}"),
                })?;
                if settings.is_bert() {
                    apply_flags(&mut inner, &settings, &path)?;
                }
                (path, inner)
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(DataError::Io { path, source: error });
            }
            Err(_) if directory.join(VOCABULARY).is_file() => {
                (directory.join(VOCABULARY), vocabulary::build_from_vocabulary(directory, &settings)?)
            }
            Err(_) => {
                let wanted =
                    "a model directory needs the tokenizer of transformers' fast tokenizers, or vocab.txt";
                return Err(DataError::Missing { path, wanted: wanted.to_owned() });
            }
        };
        if let Some(padding) = inner.get_padding() {
            settings.default_padding(&padding.pad_token.clone());
        }
        settings.add_tokens(&mut inner)?;
        let prefix_space = settings.flag("add_prefix_space", false)?;
        if let Some(PreTokenizerWrapper::ByteLevel(level)) = inner.get_pre_tokenizer()
            && level.add_prefix_space != prefix_space
        {
            let mut level = *level;
            level.add_prefix_space = prefix_space;
            inner.with_pre_tokenizer(Some(level));
        }
        inner.set_encode_special_tokens(settings.flag("split_special_tokens", false)?);
        let side = inner.get_truncation().map_or(TruncationDirection::Right, |params| params.direction);
        let side = settings.truncation_side(side)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(refused)?;
        let specials = settings.specials().map(|(key, token)| (key, token.to_owned())).collect();
        Ok(Self { path, inner, side, specials })
    }

    /// Tokenizes the rows of a split on all cores, each truncated to `max_length` tokens including the special ones. Of
    /// a pair the longer text is truncated first.
    ///
    /// # Errors
    /// `max_length` leaves no room for a token besides the special ones, or the tokenizer rejects a text.
    pub fn encode(&self, split: &Split, max_length: usize) -> Result<Encoded, DataError> {
        if split.pairs.is_empty() {
            return self.encode_texts(&split.texts, max_length);
        }
        let room = self.room(max_length, true)?;
        let (mut ids, mut ends, mut truncated) = (Vec::new(), Vec::new(), 0);
        for (texts, pairs) in split.texts.chunks(GROUP).zip(split.pairs.chunks(GROUP)) {
            let whole = |texts: &[String]| {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                self.inner.encode_batch_fast(texts, false).map_err(refused)
            };
            for (text, pair) in whole(texts)?.into_iter().zip(whole(pairs)?) {
                truncated += u64::from(text.len() + pair.len() > room);
                ids.extend_from_slice(self.joined(text, pair, room)?.get_ids());
                ends.push(ids.len() as u64);
            }
        }
        Ok(Encoded { ids: ids.into(), ends: ends.into(), truncated })
    }

    /// [`Self::encode`] for texts that are no pairs.
    ///
    /// # Errors
    /// Those of [`Self::encode`].
    pub fn encode_texts(&self, texts: &[String], max_length: usize) -> Result<Encoded, DataError> {
        self.room(max_length, false)?;
        let mut tokenizer = self.inner.clone();
        tokenizer.with_truncation(Some(self.truncation(max_length))).map_err(refused)?;
        let (mut ids, mut ends, mut truncated) = (Vec::new(), Vec::new(), 0);
        for group in texts.chunks(GROUP) {
            let group: Vec<&str> = group.iter().map(String::as_str).collect();
            for encoding in tokenizer.encode_batch_fast(group, true).map_err(refused)? {
                truncated += u64::from(!encoding.get_overflowing().is_empty());
                ids.extend_from_slice(encoding.get_ids());
                ends.push(ids.len() as u64);
            }
        }
        Ok(Encoded { ids: ids.into(), ends: ends.into(), truncated })
    }

    /// A pair of texts, whole and without special tokens, as one example of at most `room` tokens besides those.
    ///
    /// Which text is cut by how much depends on both lengths. The library (0.23) gives up on a text once it is longer
    /// than `max_length`, and so cuts other pairs than the version that transformers 4.57 uses.
    fn joined(&self, text: Encoding, pair: Encoding, room: usize) -> Result<Encoding, DataError> {
        let (text, pair) = truncate_encodings(text, Some(pair), &self.truncation(room)).map_err(refused)?;
        self.inner.post_process(text, pair, true).map_err(refused)
    }

    fn truncation(&self, max_length: usize) -> TruncationParams {
        TruncationParams { max_length, direction: self.side, ..TruncationParams::default() }
    }

    /// Tokens of `max_length` that the special ones leave.
    fn room(&self, max_length: usize, pair: bool) -> Result<usize, DataError> {
        let specials = self.specials(pair);
        match max_length.checked_sub(specials) {
            None | Some(0) => {
                Err(DataError::MaxLength { max_length, least: specials + 1, path: self.path.clone() })
            }
            Some(room) => Ok(room),
        }
    }

    /// [CLS], [SEP] and whatever else is put around a text or a pair.
    fn specials(&self, pair: bool) -> usize {
        self.inner.get_post_processor().map_or(0, |post| post.added_tokens(pair))
    }

    /// The tokens of a text, or of a pair, for a person to look at.
    ///
    /// # Errors
    /// As for [`Self::encode`].
    pub fn tokens(
        &self,
        text: &str,
        pair: Option<&str>,
        max_length: Option<usize>,
    ) -> Result<Vec<Token>, DataError> {
        let room = self.room(max_length.unwrap_or(usize::MAX), pair.is_some())?;
        let whole = |text: &str| self.inner.encode_char_offsets(text, false).map_err(refused);
        let (text, pair) = (whole(text)?, pair.map(whole).transpose()?);
        let (text, pair) = truncate_encodings(text, pair, &self.truncation(room)).map_err(refused)?;
        let encoding = self.inner.post_process(text, pair, true).map_err(refused)?;
        let special = encoding.get_special_tokens_mask();
        // The library shows the normalized form of an added token.
        let added = self.inner.get_added_tokens_decoder();
        let shown = |id: u32, token: &str| added.get(&id).map_or(token, |token| &token.content).to_owned();
        let tokens = encoding.get_ids().iter().zip(encoding.get_tokens()).zip(encoding.get_offsets());
        Ok(tokens
            .zip(encoding.get_type_ids())
            .zip(special)
            .map(|((((id, token), offsets), segment), special)| Token {
                id: *id,
                token: shown(*id, token),
                characters: (*special == 0).then_some(*offsets),
                second: *segment == 1,
            })
            .collect())
    }

    /// The text of ids, without special tokens.
    ///
    /// # Errors
    /// The tokenizer refuses an id.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        self.inner.decode(ids, true).map_err(refused)
    }

    /// The tokenizer as `tokenizer.json`.
    ///
    /// # Errors
    /// The library cannot serialize it.
    pub fn json(&self) -> Result<Value, DataError> {
        serde_json::to_value(&*self.inner).map_err(|error| DataError::Tokenize(error.to_string()))
    }

    /// The token that stands for what the vocabulary lacks, if there is one.
    pub fn unknown_token(&self) -> Option<u32> {
        let token = match self.inner.get_model() {
            ModelWrapper::WordPiece(model) => Some(model.unk_token.as_str()),
            ModelWrapper::WordLevel(model) => Some(model.unk_token.as_str()),
            ModelWrapper::BPE(model) => model.unk_token.as_deref(),
            ModelWrapper::Unigram(_) => None,
        };
        self.inner.token_to_id(token?)
    }

    /// One more than the largest token id, added tokens included: the rows that embeddings must have.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |largest| *largest as usize + 1)
    }
}

fn refused(error: tokenizers::Error) -> DataError {
    DataError::Tokenize(error.to_string())
}

/// Replaces the flags of a BERT normalizer by those of the settings. Another normalizer has no such flags.
fn apply_flags(inner: &mut Tokenizer, settings: &Settings, path: &Path) -> Result<(), DataError> {
    let flags = settings.flags()?;
    match inner.get_normalizer() {
        Some(NormalizerWrapper::BertNormalizer(normalizer)) if Flags::of(normalizer) != flags => {
            let normalizer = flags.normalizer(normalizer.clean_text);
            inner.with_normalizer(Some(normalizer)).map_err(refused)?;
        }
        Some(_) => {}
        None => {
            return Err(DataError::Malformed {
                path: path.to_owned(),
                problem: format!(
                    "has no normalizer, which the tokenizer class {} needs: if none is meant, {CONFIG} must say \
                     \"tokenizer_class\": \"PreTrainedTokenizerFast\"",
                    quoted(settings.class())
                ),
            });
        }
    }
    Ok(())
}
