//! Texts to token ids, by the checkpoint's own `tokenizer.json`, else by its vocabulary.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::{Encoding, ModelWrapper, PostProcessor, Tokenizer, TruncationParams, truncate_encodings};

use crate::{DataError, Split, numbers::Numbers, vocabulary};

/// The tokenizer as a whole, in a model directory.
pub(crate) const FILE: &str = "tokenizer.json";
/// One piece a line: what older checkpoints have.
pub(crate) const VOCABULARY: &str = "vocab.txt";
/// How the vocabulary is used, and what the special tokens are.
pub(crate) const CONFIG: &str = "tokenizer_config.json";

/// Texts are tokenized in groups of this many, which bounds what the library holds besides the ids.
const GROUP: usize = 4096;

/// The tokenizer of a checkpoint, without the padding and truncation that its file may carry.
pub struct TextTokenizer {
    path: PathBuf,
    inner: Tokenizer,
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
    /// The files of a model directory that say how its texts become ids.
    pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
        let whole = directory.join(FILE);
        if whole.is_file() {
            vec![whole]
        } else {
            [VOCABULARY, CONFIG].map(|name| directory.join(name)).into()
        }
    }

    /// Reads `tokenizer.json` of a model directory; where there is none, makes the tokenizer that transformers makes of
    /// `vocab.txt` and `tokenizer_config.json`.
    ///
    /// # Errors
    /// The files are missing or make no tokenizer.
    pub fn from_directory(directory: &Path) -> Result<Self, DataError> {
        let path = directory.join(FILE);
        let (path, mut inner) = match std::fs::read(&path) {
            Ok(bytes) => {
                let inner = Tokenizer::from_bytes(bytes).map_err(|error| DataError::Malformed {
                    path: path.clone(),
                    problem: format!("is no tokenizer: {error}"),
                })?;
                (path, inner)
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(DataError::Io { path, source: error });
            }
            Err(_) if directory.join(VOCABULARY).is_file() => {
                (directory.join(VOCABULARY), vocabulary::of_vocabulary(directory)?)
            }
            Err(_) => {
                let wanted =
                    "a model directory needs the tokenizer of transformers' fast tokenizers, or vocab.txt";
                return Err(DataError::Missing { path, wanted: wanted.to_owned() });
            }
        };
        inner.with_padding(None);
        inner.with_truncation(None).map_err(refused)?;
        Ok(Self { path, inner })
    }

    /// Tokenizes the rows of a split, on all cores, each cut to `max_length` tokens with the special ones counted and
    /// kept; of a pair the longer text is cut first.
    ///
    /// # Errors
    /// `max_length` leaves no room for a token besides the special ones, or the tokenizer refuses a text.
    pub fn encode(&self, split: &Split, max_length: usize) -> Result<Encoded, DataError> {
        if split.pairs.is_empty() {
            return self.encode_texts(&split.texts, max_length);
        }
        let room = self.room(max_length, true)?;
        let (mut ids, mut ends) = (Vec::new(), Vec::new());
        for (texts, pairs) in split.texts.chunks(GROUP).zip(split.pairs.chunks(GROUP)) {
            let whole = |texts: &[String]| {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                self.inner.encode_batch_fast(texts, false).map_err(refused)
            };
            for (text, pair) in whole(texts)?.into_iter().zip(whole(pairs)?) {
                ids.extend_from_slice(self.joined(text, pair, room)?.get_ids());
                ends.push(ids.len() as u64);
            }
        }
        Ok(Encoded { ids: ids.into(), ends: ends.into() })
    }

    /// [`Self::encode`] for texts that are no pairs.
    ///
    /// # Errors
    /// As there.
    pub fn encode_texts(&self, texts: &[String], max_length: usize) -> Result<Encoded, DataError> {
        self.room(max_length, false)?;
        let mut tokenizer = self.inner.clone();
        tokenizer
            .with_truncation(Some(TruncationParams { max_length, ..TruncationParams::default() }))
            .map_err(refused)?;
        let (mut ids, mut ends) = (Vec::new(), Vec::new());
        for group in texts.chunks(GROUP) {
            let group: Vec<&str> = group.iter().map(String::as_str).collect();
            for encoding in tokenizer.encode_batch_fast(group, true).map_err(refused)? {
                ids.extend_from_slice(encoding.get_ids());
                ends.push(ids.len() as u64);
            }
        }
        Ok(Encoded { ids: ids.into(), ends: ends.into() })
    }

    /// A pair of texts, whole and without special tokens, as one example of at most `room` tokens besides those.
    ///
    /// Which text is cut by how much depends on both lengths. The library (0.23) gives up on a text once it is longer
    /// than `max_length`, and so cuts other pairs than the version that transformers 4.57 uses.
    fn joined(&self, text: Encoding, pair: Encoding, room: usize) -> Result<Encoding, DataError> {
        let params = TruncationParams { max_length: room, ..TruncationParams::default() };
        let (text, pair) = truncate_encodings(text, Some(pair), &params).map_err(refused)?;
        self.inner.post_process(text, pair, true).map_err(refused)
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
        let params = TruncationParams { max_length: room, ..TruncationParams::default() };
        let (text, pair) = truncate_encodings(text, pair, &params).map_err(refused)?;
        let encoding = self.inner.post_process(text, pair, true).map_err(refused)?;
        let special = encoding.get_special_tokens_mask();
        let tokens = encoding.get_ids().iter().zip(encoding.get_tokens()).zip(encoding.get_offsets());
        Ok(tokens
            .zip(encoding.get_type_ids())
            .zip(special)
            .map(|((((id, token), offsets), segment), special)| Token {
                id: *id,
                token: token.clone(),
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

    /// The whole tokenizer as transformers' `tokenizer.json` has it.
    ///
    /// # Errors
    /// It cannot be written down.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> TextTokenizer {
        TextTokenizer::from_directory(Path::new("tests/fixtures/tokenizer")).unwrap()
    }

    #[derive(serde::Deserialize)]
    struct Case {
        tokenizer: String,
        text: String,
        pair: Option<String>,
        max_length: usize,
        ids: Vec<u32>,
    }

    #[test]
    fn ids_are_those_of_transformers_and_the_file_s_padding_and_truncation_do_not_count() {
        let recorded = std::fs::read_to_string("tests/fixtures/tokenizer_cases.json").unwrap();
        let cases: Vec<Case> = serde_json::from_str(&recorded).unwrap();
        let of = |kind: &str, pair: bool| {
            let fitting = cases.iter().filter(|case| case.tokenizer == kind && case.pair.is_some() == pair);
            fitting.count()
        };
        for kind in ["tokenizer", "vocabulary"] {
            assert!(of(kind, false) > 30 && of(kind, true) > 40, "{kind}");
            let tokenizer = TextTokenizer::from_directory(&Path::new("tests/fixtures").join(kind)).unwrap();
            for case in cases.iter().filter(|case| case.tokenizer == kind) {
                let pairs = case.pair.iter().cloned().collect();
                let split = Split { texts: vec![case.text.clone()], pairs, labels: Vec::new() };
                let encoded = tokenizer.encode(&split, case.max_length).unwrap();
                assert_eq!(encoded.example(0), case.ids, "{kind}: {split:?} cut to {}", case.max_length);
            }
        }
    }

    #[test]
    fn a_tokenizer_of_a_vocabulary_is_written_down_whole() {
        let made = TextTokenizer::from_directory(Path::new("tests/fixtures/vocabulary")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), made.json().unwrap().to_string()).unwrap();
        let read = TextTokenizer::from_directory(directory.path()).unwrap();
        let texts = ["So happy, 电影 UNHAPPILY [MASK]!".to_owned()];
        let ids = |tokenizer: &TextTokenizer| tokenizer.encode_texts(&texts, 64).unwrap();
        assert_eq!(ids(&read), ids(&made));
    }

    #[test]
    fn tokens_show_which_characters_they_stand_for() {
        let tokenizer = fixture();
        let tokens = tokenizer.tokens("Café unhappily", Some("so 电"), None).unwrap();
        let shown = |token: &Token| {
            let characters =
                token.characters.map_or_else(|| "-".to_owned(), |(from, to)| format!("{from}-{to}"));
            format!("{} {} {characters} {}", token.id, token.token, u8::from(token.second))
        };
        insta::assert_snapshot!(tokens.iter().map(shown).collect::<Vec<_>>().join("\n"), @"
        2 [CLS] - 0
        22 c 0-1 0
        64 ##a 1-2 0
        69 ##f 2-3 0
        68 ##e 3-4 0
        15 un 5-7 0
        16 ##happ 7-11 0
        17 ##i 11-12 0
        18 ##ly 12-14 0
        3 [SEP] - 0
        9 so 0-2 1
        98 电 3-4 1
        3 [SEP] - 1
        ");
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        assert_eq!(tokenizer.decode(&ids).unwrap(), "cafe unhappily so 电");
        assert_eq!(tokenizer.tokens("so so so so so", None, Some(4)).unwrap().len(), 4);
        assert!(tokenizer.tokens("so", None, Some(2)).is_err());
    }

    #[test]
    fn texts_keep_their_order_over_groups() {
        let texts: Vec<String> = (0..2 * GROUP + 5).map(|i| "happy ".repeat(i % 7)).collect();
        let encoded = fixture().encode_texts(&texts, 64).unwrap();
        assert_eq!(encoded.len(), texts.len());
        for i in 0..texts.len() {
            assert_eq!(encoded.example(i).len(), 2 + i % 7, "text {i}");
        }
        assert_eq!(encoded.ids().len(), (0..encoded.len()).map(|i| encoded.example(i).len()).sum::<usize>());
    }

    #[test]
    fn the_vocabulary_holds_every_id() {
        let tokenizer = fixture();
        let encoded = tokenizer.encode_texts(&["the movie was great 😀 电影".to_owned()], 64).unwrap();
        assert!(encoded.ids().iter().all(|id| (*id as usize) < tokenizer.vocabulary_size()));
    }

    #[test]
    fn errors_say_what_would_be_right() {
        let directory = tempfile::tempdir().unwrap();
        let wrong = |error: DataError| error.to_string().replace(&*directory.path().to_string_lossy(), "DIR");
        let missing = TextTokenizer::from_directory(directory.path()).map(|_| ()).unwrap_err();
        std::fs::write(directory.path().join("tokenizer.json"), "{}").unwrap();
        let broken = TextTokenizer::from_directory(directory.path()).map(|_| ()).unwrap_err();
        let short = fixture().encode_texts(&["happy".to_owned()], 2).unwrap_err();
        std::fs::remove_file(directory.path().join("tokenizer.json")).unwrap();
        std::fs::write(directory.path().join(VOCABULARY), "[UNK]\n[SEP]\nhappy\n").unwrap();
        let lacking = TextTokenizer::from_directory(directory.path()).map(|_| ()).unwrap_err();
        insta::assert_snapshot!([missing, broken, short, lacking].map(wrong).join("\n"), @r"
        DIR/tokenizer.json does not exist: a model directory needs the tokenizer of transformers' fast tokenizers, or vocab.txt
        DIR/tokenizer.json is no tokenizer: Model missing. at line 1 column 2
        max_length is 2, it must be at least 3 for tests/fixtures/tokenizer/tokenizer.json
        DIR/vocab.txt has no piece [CLS], which a tokenizer needs
        ");
    }
}
