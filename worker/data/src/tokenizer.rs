//! Texts to token ids, by the checkpoint's own `tokenizer.json`.

use std::path::{Path, PathBuf};

use tokenizers::{Tokenizer, TruncationParams};

use crate::{DataError, numbers::Numbers};

/// Texts are tokenized in groups of this many, which bounds what the library holds besides the ids.
const GROUP: usize = 4096;

/// The tokenizer of a checkpoint, without the padding and truncation that its file may carry.
pub struct TextTokenizer {
    path: PathBuf,
    inner: Tokenizer,
    /// [CLS], [SEP] and whatever else is put around a text.
    specials: usize,
}

/// The token ids of many texts, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    ids: Numbers<u32>,
    /// Where each text ends in `ids`.
    ends: Numbers<u64>,
}

impl Encoded {
    /// Texts that end at `ends` of `ids`; none where the ends do not ascend to the last id.
    pub(crate) fn new(ids: Numbers<u32>, ends: Numbers<u64>) -> Option<Self> {
        let whole = ends.last().copied().unwrap_or(0) == ids.len() as u64;
        (whole && ends.is_sorted()).then_some(Self { ids, ends })
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
    /// The tokenizer's file in a model directory.
    pub(crate) fn path(directory: &Path) -> PathBuf {
        directory.join("tokenizer.json")
    }

    /// Reads `tokenizer.json` of a model directory.
    ///
    /// # Errors
    /// The file is missing or is no tokenizer.
    pub fn from_directory(directory: &Path) -> Result<Self, DataError> {
        let path = Self::path(directory);
        let bytes = std::fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => DataError::Missing {
                path: path.clone(),
                wanted: "a model directory needs the tokenizer of transformers' fast tokenizers".to_owned(),
            },
            _ => DataError::Io { path: path.clone(), source },
        })?;
        let mut inner = Tokenizer::from_bytes(bytes).map_err(|error| DataError::Malformed {
            path: path.clone(),
            problem: format!("is no tokenizer: {error}"),
        })?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| DataError::Tokenize(error.to_string()))?;
        let specials =
            inner.get_post_processor().map_or(0, |p| tokenizers::PostProcessor::added_tokens(p, false));
        Ok(Self { path, inner, specials })
    }

    /// Tokenizes texts, on all cores, each cut to `max_length` tokens with the special ones counted and kept.
    ///
    /// # Errors
    /// `max_length` leaves no room for a token besides the special ones, or the tokenizer refuses a text.
    pub fn encode(&self, texts: &[String], max_length: usize) -> Result<Encoded, DataError> {
        if max_length <= self.specials {
            let least = self.specials + 1;
            return Err(DataError::MaxLength { max_length, least, path: self.path.clone() });
        }
        let failed = |error: tokenizers::Error| DataError::Tokenize(error.to_string());
        let mut tokenizer = self.inner.clone();
        tokenizer
            .with_truncation(Some(TruncationParams { max_length, ..TruncationParams::default() }))
            .map_err(failed)?;
        let (mut ids, mut ends) = (Vec::new(), Vec::new());
        for group in texts.chunks(GROUP) {
            let group: Vec<&str> = group.iter().map(String::as_str).collect();
            for encoding in tokenizer.encode_batch_fast(group, true).map_err(failed)? {
                ids.extend_from_slice(encoding.get_ids());
                ends.push(ids.len() as u64);
            }
        }
        Ok(Encoded { ids: ids.into(), ends: ends.into() })
    }

    /// One more than the largest token id, added tokens included: the rows that embeddings must have.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |largest| *largest as usize + 1)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn fixture() -> TextTokenizer {
        TextTokenizer::from_directory(Path::new("tests/fixtures/tokenizer")).unwrap()
    }

    #[test]
    fn ids_are_those_of_transformers_and_the_file_s_padding_and_truncation_do_not_count() {
        let recorded = std::fs::read_to_string("tests/fixtures/tokenizer_cases.json").unwrap();
        let cases: Vec<Value> = serde_json::from_str(&recorded).unwrap();
        assert!(cases.len() > 30);
        let tokenizer = fixture();
        for case in cases {
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            let text = case["text"].as_str().unwrap().to_owned();
            let length = case["max_length"].as_u64().unwrap() as usize;
            let encoded = tokenizer.encode(std::slice::from_ref(&text), length).unwrap();
            assert_eq!(encoded.example(0), ids, "{text:?} cut to {length}");
        }
    }

    #[test]
    fn texts_keep_their_order_over_groups() {
        let texts: Vec<String> = (0..2 * GROUP + 5).map(|i| "happy ".repeat(i % 7)).collect();
        let encoded = fixture().encode(&texts, 64).unwrap();
        assert_eq!(encoded.len(), texts.len());
        for i in 0..texts.len() {
            assert_eq!(encoded.example(i).len(), 2 + i % 7, "text {i}");
        }
        assert_eq!(encoded.ids().len(), (0..encoded.len()).map(|i| encoded.example(i).len()).sum::<usize>());
    }

    #[test]
    fn the_vocabulary_holds_every_id() {
        let tokenizer = fixture();
        let encoded = tokenizer.encode(&["the movie was great 😀 电影".to_owned()], 64).unwrap();
        assert!(encoded.ids().iter().all(|id| (*id as usize) < tokenizer.vocabulary_size()));
    }

    #[test]
    fn errors_say_what_would_be_right() {
        let directory = tempfile::tempdir().unwrap();
        let wrong = |error: DataError| error.to_string().replace(&*directory.path().to_string_lossy(), "DIR");
        let missing = TextTokenizer::from_directory(directory.path()).map(|_| ()).unwrap_err();
        std::fs::write(directory.path().join("tokenizer.json"), "{}").unwrap();
        let broken = TextTokenizer::from_directory(directory.path()).map(|_| ()).unwrap_err();
        let short = fixture().encode(&["happy".to_owned()], 2).unwrap_err();
        insta::assert_snapshot!([missing, broken, short].map(wrong).join("\n"), @r"
        DIR/tokenizer.json does not exist: a model directory needs the tokenizer of transformers' fast tokenizers
        DIR/tokenizer.json is no tokenizer: Model missing. at line 1 column 2
        max_length is 2, it must be at least 3 for tests/fixtures/tokenizer/tokenizer.json
        ");
    }
}
