//! What the files beside a vocabulary or `tokenizer.json` change in it, as transformers 4.57.6 reads them.
//!
//! | file | what counts |
//! |---|---|
//! | `tokenizer_config.json` | the class; flags of the normalizer; special tokens; `added_tokens_decoder`; `add_prefix_space`, `truncation_side`, `split_special_tokens` |
//! | `special_tokens_map.json` | special tokens, unless there is an `added_tokens_decoder` |
//! | `added_tokens.json` | tokens beside the vocabulary, unless there is an `added_tokens_decoder` |
//! | `config.json` | `tokenizer_class`, else `model_type`, if `tokenizer_config.json` names no class |
//!
//! Source: `PreTrainedTokenizerBase._from_pretrained`, `PreTrainedTokenizerFast.__init__`,
//! `BertTokenizerFast.__init__` and `AutoTokenizer.from_pretrained`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer, TruncationDirection, normalizers::BertNormalizer};

use super::{
    ADDED_TOKENS, CONFIG, MODEL_CONFIG, SPECIAL_TOKENS,
    declared::{Added, Special, declared_tokens, malformed, read_object, special},
};
use crate::{
    DataError,
    excerpt::{excerpt, quoted},
};

/// Keys of special tokens, in the order in which transformers adds them.
pub(super) const SPECIAL_KEYS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Special tokens that `BertTokenizerFast` has unless its settings name others.
pub(super) const BERT_SPECIALS: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
/// Tokenizer classes whose constructor is that of `BertTokenizerFast`, without "Fast".
const BERT_CLASSES: [&str; 10] = [
    "BertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "MobileBertTokenizer",
    "SqueezeBertTokenizer",
    "ConvBertTokenizer",
    "LxmertTokenizer",
    "LayoutLMTokenizer",
    "DPRContextEncoderTokenizer",
    "DPRQuestionEncoderTokenizer",
];

/// How a BERT tokenizer normalizes texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) lowercase: bool,
    /// As `lowercase` says if it is none.
    pub(super) strip_accents: Option<bool>,
    pub(super) chinese_chars: bool,
}

impl Flags {
    pub(super) fn of(normalizer: &BertNormalizer) -> Self {
        Self {
            lowercase: normalizer.lowercase,
            strip_accents: normalizer.strip_accents,
            chinese_chars: normalizer.handle_chinese_chars,
        }
    }

    pub(super) fn normalizer(self, clean_text: bool) -> BertNormalizer {
        BertNormalizer::new(clean_text, self.chinese_chars, self.strip_accents, self.lowercase)
    }
}

/// The settings of a tokenizer.
#[derive(Debug)]
pub(super) struct Settings {
    /// `tokenizer_config.json`.
    path: PathBuf,
    config: Map<String, Value>,
    /// As the files name it, without "Fast".
    class: String,
    named: BTreeMap<&'static str, Special>,
    additional: Vec<Special>,
    added: BTreeMap<u32, Added>,
    /// Whether there is an `added_tokens_decoder`, so that the other files with tokens do not count.
    has_decoder: bool,
}

impl Settings {
    /// Reads the settings of a model directory; files that are missing say nothing.
    ///
    /// # Errors
    /// A file is unreadable, no JSON object, or holds a special or added token that is none.
    pub(super) fn read(directory: &Path) -> Result<Self, DataError> {
        let path = directory.join(CONFIG);
        let config = read_object(&path)?.unwrap_or_default();
        let class = class_name(&config, &directory.join(MODEL_CONFIG))?;
        let mut settings = Self {
            has_decoder: config.contains_key("added_tokens_decoder"),
            path,
            config,
            class,
            named: BTreeMap::new(),
            additional: Vec::new(),
            added: BTreeMap::new(),
        };
        if settings.is_bert() {
            for (key, token) in BERT_SPECIALS {
                settings.named.insert(key, Special::Named(token.to_owned()));
            }
        }
        let (path, config) = (settings.path.clone(), settings.config.clone());
        settings.take_specials(&path, &config, false)?;
        match settings.config.get("added_tokens_decoder") {
            Some(decoder) => settings.added = declared_tokens(&path, decoder)?,
            None => {
                let path = directory.join(SPECIAL_TOKENS);
                let map = read_object(&path)?.unwrap_or_default();
                settings.take_specials(&path, &map, true)?;
                let path = directory.join(ADDED_TOKENS);
                if let Some(tokens) = read_object(&path)? {
                    settings.take_added(&path, &tokens, &config, &map)?;
                }
            }
        }
        Ok(settings)
    }

    /// The tokenizer class, without "Fast".
    pub(super) fn class(&self) -> &str {
        &self.class
    }

    /// Whether the class takes the flags of the normalizer from its settings, and default special tokens.
    pub(super) fn is_bert(&self) -> bool {
        BERT_CLASSES.contains(&self.class.as_str())
    }

    /// The text of a special token.
    pub(super) fn special(&self, key: &str) -> Option<&str> {
        self.named.get(key).map(Special::content)
    }

    /// Special tokens by their keys.
    pub(super) fn specials(&self) -> impl Iterator<Item = (&'static str, &str)> {
        SPECIAL_KEYS.into_iter().filter_map(|key| Some((key, self.special(key)?)))
    }

    /// How a tokenizer of a BERT class normalizes texts.
    ///
    /// # Errors
    /// A flag is no truth value.
    pub(super) fn flags(&self) -> Result<Flags, DataError> {
        let strip_accents = match self.config.get("strip_accents") {
            None | Some(Value::Null) => None,
            Some(_) => Some(self.flag("strip_accents", false)?),
        };
        Ok(Flags {
            lowercase: self.flag("do_lower_case", true)?,
            strip_accents,
            chinese_chars: self.flag("tokenize_chinese_chars", true)?,
        })
    }

    /// A truth value of `tokenizer_config.json`.
    ///
    /// # Errors
    /// The value is none.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, DataError> {
        match self.config.get(key) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => Err(malformed(
                &self.path,
                format!("has `{key}`: {}, it must be true or false", excerpt(&other.to_string())),
            )),
        }
    }

    /// The end at which long texts are truncated; `default` is that of `tokenizer.json`.
    ///
    /// # Errors
    /// The value is no side.
    pub(super) fn truncation_side(
        &self,
        default: TruncationDirection,
    ) -> Result<TruncationDirection, DataError> {
        match self.config.get("truncation_side").map(|side| (side, side.as_str())) {
            None => Ok(default),
            Some((_, Some("right"))) => Ok(TruncationDirection::Right),
            Some((_, Some("left"))) => Ok(TruncationDirection::Left),
            Some((side, _)) => Err(malformed(
                &self.path,
                format!("has `truncation_side`: {}, it must be left or right", excerpt(&side.to_string())),
            )),
        }
    }

    /// A padding token of `tokenizer.json`, which counts if no other is named.
    pub(super) fn default_padding(&mut self, token: &str) {
        if !self.config.contains_key("pad_token") {
            self.named.entry("pad_token").or_insert_with(|| Special::Named(token.to_owned()));
        }
    }

    /// Adds all tokens to a tokenizer that has its vocabulary, normalizer and own added tokens.
    ///
    /// transformers numbers new tokens after the vocabulary, whatever id a file gives them. A file that gives another
    /// id is rejected: its embeddings were made by another numbering.
    ///
    /// # Errors
    /// The library rejects a token, or a token gets another id than its file says.
    pub(super) fn add_tokens(&self, tokenizer: &mut Tokenizer) -> Result<(), DataError> {
        let named: Vec<&Special> = SPECIAL_KEYS.iter().filter_map(|key| self.named.get(key)).collect();
        let specials: Vec<&Special> = named.iter().copied().chain(&self.additional).collect();
        let is_special = |content: &str| specials.iter().any(|special| special.content() == content);
        let own = tokenizer.get_added_tokens_decoder();
        let has_own = |content: &str| own.values().any(|token| token.content == content);

        let mut tokens: Vec<AddedToken> = Vec::new();
        for added in self.added.values() {
            let special = added.token.special || is_special(&added.token.content);
            tokens.push(added.token.clone().special(special));
        }
        tokens.extend(
            own.values()
                .filter(|token| !token.special && is_special(&token.content))
                .cloned()
                .map(|token| token.special(true)),
        );
        for (number, special) in specials.iter().enumerate() {
            let content = special.content();
            let listed = tokens.iter().any(|token| token.content == content);
            match special {
                Special::Named(_) if listed || has_own(content) => {}
                Special::Named(_) => tokens.push(AddedToken::from(content, true)),
                // The declaration in `tokenizer.json` counts.
                Special::Declared(_) if number < named.len() && !self.has_decoder && has_own(content) => {}
                Special::Declared(_) if number < named.len() && listed => {}
                Special::Declared(token) => tokens.push(token.clone().special(true)),
            }
        }
        tokenizer.add_tokens(tokens).map_err(|error| malformed(&self.path, error.to_string()))?;
        for (id, Added { token, path }) in &self.added {
            let actual = tokenizer.token_to_id(&token.content);
            if actual != Some(*id) {
                let actual = actual.map_or_else(|| "none".to_owned(), |actual| actual.to_string());
                return Err(malformed(
                    path,
                    format!(
                        "gives the token {} the id {id}, the tokenizer gives it {actual}: ids of added tokens must follow \
                         the vocabulary without a gap",
                        quoted(&token.content)
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Takes special tokens from a file; null names none. `map` says that it is `special_tokens_map.json`.
    fn take_specials(&mut self, path: &Path, from: &Map<String, Value>, map: bool) -> Result<(), DataError> {
        for key in SPECIAL_KEYS {
            match from.get(key) {
                None => {}
                Some(Value::Null) => _ = self.named.remove(key),
                Some(value) => _ = self.named.insert(key, special(path, key, value, map)?),
            }
        }
        for key in ["additional_special_tokens", "extra_special_tokens"] {
            let tokens: Vec<&Value> = match from.get(key) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(tokens)) => tokens.iter().collect(),
                // By names of their own.
                Some(Value::Object(tokens)) if key == "extra_special_tokens" => tokens.values().collect(),
                Some(_) => return Err(malformed(path, format!("has a `{key}` that is no list of tokens"))),
            };
            for token in tokens {
                let token = special(path, key, token, map)?;
                if self.additional.iter().all(|other| other.content() != token.content()) {
                    self.additional.push(token);
                }
            }
        }
        Ok(())
    }

    /// Takes the tokens of `added_tokens.json`: their ids by their texts.
    fn take_added(
        &mut self,
        path: &Path,
        tokens: &Map<String, Value>,
        config: &Map<String, Value>,
        map: &Map<String, Value>,
    ) -> Result<(), DataError> {
        for (content, id) in tokens {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
                malformed(
                    path,
                    format!(
                        "gives the token {} the id {}, which is none",
                        quoted(content),
                        excerpt(&id.to_string())
                    ),
                )
            })?;
            // Default special tokens of a class do not count here.
            let named = SPECIAL_KEYS.iter().any(|key| {
                (config.contains_key(*key) || map.contains_key(*key)) && self.special(key) == Some(content)
            });
            let special = named || self.additional.iter().any(|token| token.content() == content);
            let token = AddedToken::from(content.clone(), special);
            if let Some(other) = self.added.insert(id, Added { token, path: path.to_owned() }) {
                return Err(malformed(
                    path,
                    format!(
                        "gives the tokens {} and {} the same id {id}",
                        quoted(&other.token.content),
                        quoted(content)
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// The tokenizer class without "Fast". transformers looks it up in the model's configuration if the tokenizer's names none.
fn class_name(config: &Map<String, Value>, model: &Path) -> Result<String, DataError> {
    let text =
        |json: &Map<String, Value>, key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
    let class = match text(config, "tokenizer_class") {
        Some(class) => class,
        None => {
            let json = read_object(model)?.unwrap_or_default();
            text(&json, "tokenizer_class").unwrap_or_else(|| {
                let kind = text(&json, "model_type").unwrap_or_else(|| "distilbert".to_owned());
                let usual = format!("{kind}tokenizer");
                let known = BERT_CLASSES.iter().find(|class| class.eq_ignore_ascii_case(&usual));
                known.map_or(usual, |class| (*class).to_owned())
            })
        }
    };
    Ok(match class.as_str() {
        "PreTrainedTokenizerFast" => class,
        _ => class.strip_suffix("Fast").unwrap_or(&class).to_owned(),
    })
}
