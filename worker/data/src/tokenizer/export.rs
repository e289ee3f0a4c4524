//! The files from which transformers 4.57.6 and 5.x make the tokenizer that was used.
//!
//! `DistilBertTokenizer` takes the flags of the normalizer from `tokenizer_config.json` in 4.57.6, and in 5.x nothing but
//! vocabulary and added tokens from `tokenizer.json`: everything else is that of BERT. Only a tokenizer that is the same
//! after that is written under this class. Any other one is written as `PreTrainedTokenizerFast`, which is made of
//! `tokenizer.json` alone.

use serde_json::{Map, Value, json};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, TruncationDirection};

use super::{
    CONFIG, FILE, SPECIAL_TOKENS, TextTokenizer, VOCABULARY,
    settings::{BERT_SPECIALS, Flags},
};
use crate::DataError;

impl TextTokenizer {
    /// The files of the tokenizer by name, for a model with `positions` position embeddings.
    ///
    /// # Errors
    /// The library cannot serialize the tokenizer.
    pub fn export(&self, positions: i64) -> Result<Vec<(&'static str, String)>, DataError> {
        let tokenizer = self.json()?;
        let specials = self.named_specials();
        let flags = self.bert_flags(&tokenizer, &specials);
        let mut config = specials.clone();
        config.insert("model_input_names".to_owned(), json!(["input_ids", "attention_mask"]));
        config.insert("model_max_length".to_owned(), positions.into());
        let class = if flags.is_some() { "DistilBertTokenizer" } else { "PreTrainedTokenizerFast" };
        config.insert("tokenizer_class".to_owned(), class.into());
        if let Some(flags) = flags {
            config.insert("do_lower_case".to_owned(), flags.lowercase.into());
            config.insert("strip_accents".to_owned(), json!(flags.strip_accents));
            config.insert("tokenize_chinese_chars".to_owned(), flags.chinese_chars.into());
        }
        if let Some(PreTokenizerWrapper::ByteLevel(level)) = self.inner.get_pre_tokenizer() {
            config.insert("add_prefix_space".to_owned(), level.add_prefix_space.into());
        }
        if self.side == TruncationDirection::Left {
            config.insert("truncation_side".to_owned(), "left".into());
        }
        if self.inner.get_encode_special_tokens() {
            config.insert("split_special_tokens".to_owned(), true.into());
        }
        let mut files = vec![
            (FILE, format!("{tokenizer:#}\n")),
            (CONFIG, format!("{:#}\n", Value::from(config))),
            (SPECIAL_TOKENS, format!("{:#}\n", Value::from(specials))),
        ];
        if flags.is_some()
            && let Some(pieces) = pieces(&tokenizer)
        {
            files.push((VOCABULARY, pieces.iter().flat_map(|piece| [*piece, "\n"]).collect()));
        }
        Ok(files)
    }

    /// Special tokens by their keys. One that no file names is named as BERT's is, if it is an added token already:
    /// then its name changes no ids, and transformers can pad.
    fn named_specials(&self) -> Map<String, Value> {
        let added = self.inner.get_added_tokens_decoder();
        let is_special =
            |content: &str| added.values().any(|token| token.special && token.content == content);
        let usual = BERT_SPECIALS.into_iter().filter(|(_, token)| is_special(token));
        let named = self.specials.iter().map(|(key, token)| (*key, token.as_str()));
        usual.chain(named).map(|(key, token)| (key.to_owned(), Value::from(token))).collect()
    }

    /// The flags of a tokenizer that `DistilBertTokenizer` makes anew from its vocabulary, flags and added tokens.
    fn bert_flags(&self, tokenizer: &Value, specials: &Map<String, Value>) -> Option<Flags> {
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = self.inner.get_normalizer() else {
            return None;
        };
        let special = |key: &str| specials.get(key).and_then(Value::as_str);
        let (start, separator) = (special("cls_token")?, special("sep_token")?);
        let model = json!({
            "type": "WordPiece",
            "unk_token": special("unk_token")?,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": tokenizer["model"]["vocab"],
        });
        let usual = normalizer.clean_text
            && tokenizer["pre_tokenizer"] == json!({"type": "BertPreTokenizer"})
            && tokenizer["model"] == model
            && is_bert_template(&tokenizer["post_processor"], [start, separator].map(|token| (token, self.inner.token_to_id(token))))
            // The class has default names for these.
            && special("pad_token").is_some()
            && special("mask_token").is_some();
        let vocabulary = pieces(tokenizer)?.len() as u64;
        // 5.x numbers added tokens anew, after the vocabulary.
        let added = tokenizer["added_tokens"].as_array().into_iter().flatten();
        let mut beyond: Vec<u64> =
            added.filter_map(|token| token["id"].as_u64().filter(|id| *id >= vocabulary)).collect();
        beyond.sort_unstable();
        (usual && beyond.iter().copied().eq((vocabulary..).take(beyond.len()))).then(|| Flags::of(normalizer))
    }
}

/// The pieces of a vocabulary in the order of their ids; none if ids are missing or a piece cannot stand in a line.
fn pieces(tokenizer: &Value) -> Option<Vec<&str>> {
    let vocabulary = tokenizer["model"]["vocab"].as_object()?;
    let mut pieces: Vec<(u64, &str)> = vocabulary
        .iter()
        .map(|(piece, id)| id.as_u64().map(|id| (id, piece.as_str())))
        .collect::<Option<_>>()?;
    pieces.sort_unstable();
    let whole =
        pieces.iter().zip(0..).all(|((id, piece), line)| *id == line && !piece.contains(['\n', '\r']));
    whole.then(|| pieces.into_iter().map(|(_, piece)| piece).collect())
}

/// Whether a post-processor puts the first token before a text and the second one after each text.
fn is_bert_template(post: &Value, around: [(&str, Option<u32>); 2]) -> bool {
    let [(start, start_id), (separator, separator_id)] = around;
    let token = |token: &str, segment: u32| json!({"SpecialToken": {"id": token, "type_id": segment}});
    let text = |name: &str, segment: u32| json!({"Sequence": {"id": name, "type_id": segment}});
    let single = vec![token(start, 0), text("A", 0), token(separator, 0)];
    let pair = [&single[..], &[text("B", 1), token(separator, 1)]].concat();
    let ids = |token: &str, id: Option<u32>| json!({"id": token, "ids": [id], "tokens": [token]});
    let template = json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {start: ids(start, start_id), separator: ids(separator, separator_id)},
    });
    let bert = json!({"type": "BertProcessing", "sep": [separator, separator_id], "cls": [start, start_id]});
    *post == template || *post == bert
}
