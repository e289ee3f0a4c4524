//! The tokenizer of a checkpoint that has but a vocabulary, as those of before fast tokenizers have.

use std::{fmt::Display, path::Path};

use serde_json::Value;
use tokenizers::{
    AddedToken, Tokenizer, decoders, models::wordpiece::WordPiece, normalizers::BertNormalizer,
    pre_tokenizers::bert::BertPreTokenizer, processors::template::TemplateProcessing,
};

use crate::{
    DataError,
    text::read_text,
    tokenizer::{CONFIG, VOCABULARY},
};

/// The tokenizer that transformers makes of a vocabulary of BERT's.
///
/// Source: `BertConverter` of transformers 4.57 and the defaults of `DistilBertTokenizer`.
pub(crate) fn of_vocabulary(directory: &Path) -> Result<Tokenizer, DataError> {
    let path = directory.join(VOCABULARY);
    let malformed = |problem: String| DataError::Malformed { path: path.clone(), problem };
    let unmade = |error: &dyn Display| malformed(format!("makes no tokenizer: {error}"));
    let failed = |error: tokenizers::Error| unmade(&error);
    let config = config(&directory.join(CONFIG))?;
    let flag = |name: &str| config.get(name).and_then(Value::as_bool);
    let special = |name: &str, usual: &str| {
        let named = config.get(name);
        // Some are written as objects with a content.
        let named = named.and_then(|value| value.as_str().or_else(|| value.get("content")?.as_str()));
        named.unwrap_or(usual).to_owned()
    };
    let [unknown, separator, padding, start, mask] = [
        ("unk_token", "[UNK]"),
        ("sep_token", "[SEP]"),
        ("pad_token", "[PAD]"),
        ("cls_token", "[CLS]"),
        ("mask_token", "[MASK]"),
    ]
    .map(|(name, usual)| special(name, usual));

    let vocabulary = WordPiece::read_bytes(read_text(&path, None)?.as_bytes()).map_err(failed)?;
    let pieces = WordPiece::builder().vocab(vocabulary).unk_token(unknown.clone()).build().map_err(failed)?;
    let mut tokenizer = Tokenizer::new(pieces);
    let id = |token: &str| {
        tokenizer
            .token_to_id(token)
            .ok_or_else(|| malformed(format!("has no piece {token}, which a tokenizer needs")))
    };
    let around = vec![(start.clone(), id(&start)?), (separator.clone(), id(&separator)?)];
    let template = TemplateProcessing::builder()
        .try_single(format!("{start}:0 $A:0 {separator}:0"))
        .and_then(|builder| builder.try_pair(format!("{start}:0 $A:0 {separator}:0 $B:1 {separator}:1")))
        .map_err(|error| unmade(&error))?
        .special_tokens(around)
        .build()
        .map_err(|error| unmade(&error))?;
    let normalizer = BertNormalizer::new(
        true,
        flag("tokenize_chinese_chars").unwrap_or(true),
        flag("strip_accents"),
        flag("do_lower_case").unwrap_or(true),
    );
    tokenizer.with_normalizer(Some(normalizer)).map_err(failed)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(template));
    tokenizer.with_decoder(Some(decoders::wordpiece::WordPiece::default()));
    let specials = [unknown, separator, padding, start, mask].map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(specials).map_err(failed)?;
    Ok(tokenizer)
}

/// The settings beside a vocabulary; none where there is no such file.
fn config(path: &Path) -> Result<Value, DataError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| DataError::Malformed {
            path: path.to_owned(),
            problem: format!("is no JSON: {error}"),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(source) => Err(DataError::Io { path: path.to_owned(), source }),
    }
}
