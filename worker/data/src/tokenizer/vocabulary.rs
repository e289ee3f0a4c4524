//! The tokenizer of a checkpoint with a vocabulary but no `tokenizer.json`, as slow tokenizers were saved.

use std::{collections::HashMap, fmt::Display, path::Path};

use tokenizers::{
    Tokenizer, decoders, models::wordpiece::WordPiece, pre_tokenizers::bert::BertPreTokenizer,
    processors::template::TemplateProcessing,
};

use super::{VOCABULARY, settings::Settings};
use crate::{DataError, excerpt::quoted, text::read_text};

/// Makes the tokenizer that transformers makes of a BERT vocabulary. Added tokens are not in it yet.
///
/// Source: `BertConverter` and `load_vocab` of transformers 4.57.6.
///
/// # Errors
/// The file cannot be read, lacks the tokens that enclose a text, or the settings name a tokenizer class that has no
/// vocabulary file of this format.
pub(super) fn build_from_vocabulary(directory: &Path, settings: &Settings) -> Result<Tokenizer, DataError> {
    let path = directory.join(VOCABULARY);
    let malformed = |problem: String| DataError::Malformed { path: path.clone(), problem };
    let unmade = |error: &dyn Display| malformed(format!("makes no tokenizer: {error}"));
    if !settings.is_bert() {
        return Err(malformed(format!(
            "is no vocabulary of the tokenizer class {}: save the tokenizer with save_pretrained, which writes tokenizer.json",
            quoted(settings.class())
        )));
    }
    let special = |key: &str, default: &str| settings.special(key).unwrap_or(default).to_owned();
    let (start, separator) = (special("cls_token", "[CLS]"), special("sep_token", "[SEP]"));
    // The library names its map type only here.
    let mut vocabulary = WordPiece::read_bytes(&[]).map_err(|error| unmade(&error))?;
    vocabulary.extend(pieces(&read_text(&path, None)?));
    let pieces = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token(special("unk_token", "[UNK]"))
        .build()
        .map_err(|error| unmade(&error))?;
    let mut tokenizer = Tokenizer::new(pieces);
    let id = |token: &str| {
        tokenizer
            .token_to_id(token)
            .ok_or_else(|| malformed(format!("has no piece {}, which a tokenizer needs", quoted(token))))
    };
    let around = vec![(start.clone(), id(&start)?), (separator.clone(), id(&separator)?)];
    let template = TemplateProcessing::builder()
        .try_single(format!("{start}:0 $A:0 {separator}:0"))
        .and_then(|builder| builder.try_pair(format!("{start}:0 $A:0 {separator}:0 $B:1 {separator}:1")))
        .map_err(|error| unmade(&error))?
        .special_tokens(around)
        .build()
        .map_err(|error| unmade(&error))?;
    tokenizer.with_normalizer(Some(settings.flags()?.normalizer(true))).map_err(|error| unmade(&error))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(template));
    tokenizer.with_decoder(Some(decoders::wordpiece::WordPiece::default()));
    Ok(tokenizer)
}

/// One piece per line. Only line ends are removed: a piece may be white space. Of equal pieces the last one counts.
fn pieces(text: &str) -> HashMap<String, u32> {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines = lines.strip_suffix('\n').unwrap_or(&lines);
    lines.split('\n').zip(0..).map(|(piece, id)| (piece.to_owned(), id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_white_space_and_count_blank_lines() {
        let vocabulary = pieces("[PAD]\r\n\u{3000}\n\n##a \nb\n");
        let id = |piece: &str| vocabulary.get(piece).copied();
        assert_eq!(vocabulary.len(), 5);
        assert_eq!(
            [id("[PAD]"), id("\u{3000}"), id(""), id("##a "), id("b")],
            [0, 1, 2, 3, 4].map(Some),
            "{vocabulary:?}"
        );
        assert_eq!(pieces("a\nb\na").get("a"), Some(&2));
    }
}
