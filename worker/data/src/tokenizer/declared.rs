//! Special and added tokens as the files of a model directory declare them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::{DataError, excerpt::excerpt};

/// A special token as settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// By its text.
    Named(String),
    /// With how it is matched.
    Declared(AddedToken),
}

impl Special {
    pub(super) fn content(&self) -> &str {
        match self {
            Self::Named(content) => content,
            Self::Declared(token) => &token.content,
        }
    }
}

/// A token beside the vocabulary and the file that gives its id.
#[derive(Clone, Debug)]
pub(super) struct Added {
    pub(super) token: AddedToken,
    pub(super) path: PathBuf,
}

/// A special token of a file: its text, or an object as `AddedToken` is saved.
pub(super) fn special(path: &Path, key: &str, value: &Value, map: bool) -> Result<Special, DataError> {
    match value {
        Value::String(content) => Ok(Special::Named(content.clone())),
        Value::Object(object) => {
            let mut token = token(object).ok_or_else(|| no_token(path, key, value))?;
            token.special |= map;
            Ok(Special::Declared(token))
        }
        _ => Err(no_token(path, key, value)),
    }
}

/// The tokens of `added_tokens_decoder`, by their ids.
pub(super) fn declared_tokens(path: &Path, decoder: &Value) -> Result<BTreeMap<u32, Added>, DataError> {
    const KEY: &str = "added_tokens_decoder";
    let decoder = decoder.as_object().ok_or_else(|| no_token(path, KEY, decoder))?;
    let read = |(id, value): (&String, &Value)| {
        let token = value.as_object().and_then(token);
        match (id.parse().ok(), token) {
            (Some(id), Some(token)) => Ok((id, Added { token, path: path.to_owned() })),
            _ => Err(no_token(path, KEY, value)),
        }
    };
    decoder.iter().map(read).collect()
}

pub(super) fn no_token(path: &Path, key: &str, value: &Value) -> DataError {
    let shown = excerpt(&value.to_string());
    malformed(
        path,
        format!("has {shown} in `{key}`, which is no token: it must be a text or an object with a `content`"),
    )
}

fn token(object: &Map<String, Value>) -> Option<AddedToken> {
    let flag = |key: &str| object.get(key).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(false);
    let token = AddedToken::from(object.get("content")?.as_str()?, special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false));
    Some(match flag("normalized") {
        Some(normalized) => token.normalized(normalized),
        None => token,
    })
}

/// A JSON object; none if there is no such file.
pub(super) fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, DataError> {
    match std::fs::read(path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(Some(object)),
            Ok(_) => Err(malformed(path, "is no JSON object".to_owned())),
            Err(error) => Err(malformed(path, format!("is no JSON: {error}"))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Io { path: path.to_owned(), source }),
    }
}

pub(super) fn malformed(path: &Path, problem: String) -> DataError {
    DataError::Malformed { path: path.to_owned(), problem }
}
