//! Reading the parts of a mapping: each reader notes what is wrong and goes on, so that all errors come at once.

use distilsweep_data::excerpt;
use distilsweep_proto::params::Value;

use super::{
    problem::{Problem, nearest},
    tree::{Content, Entry, Node, Scalar, resolve},
};

/// The entries of a mapping; `shape` says what would be right instead of anything else.
pub(super) fn mapping<'a>(
    key: &str,
    node: &'a Node,
    shape: &str,
    problems: &mut Vec<Problem>,
) -> Option<&'a [Entry]> {
    match &node.content {
        Content::Map(entries) => Some(entries),
        Content::Scalar { .. } | Content::List(_) => {
            problems.push(node.mark.problem(format!("`{key}` is {}, it must be {shape}", node.describe())));
            None
        }
    }
}

/// The entry of a key.
pub(super) fn find<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.key == key)
}

/// Notes every key that is not known: with the sentence of `elsewhere` where that has one (keys of other programs),
/// else with the nearest known key. `within` names the mapping: "", " in `metric`". Tells whether it noted any: then
/// what seems missing may only be misspelt.
pub(super) fn refuse_unknown<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    known: &[&str],
    within: &str,
    elsewhere: impl Fn(&str) -> Option<&'static str>,
    problems: &mut Vec<Problem>,
) -> bool {
    let before = problems.len();
    for entry in entries.into_iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        let key = excerpt(&entry.key);
        let message = match elsewhere(&entry.key) {
            Some(sentence) => format!("`{key}` {sentence}"),
            None => {
                let remedy = match nearest(&entry.key, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known are {}", known.join(", ")),
                };
                format!("unknown key `{key}`{within}, {remedy}")
            }
        };
        problems.push(entry.mark.problem(message));
    }
    problems.len() > before
}

/// A text that is not empty. A plain number or flag counts as the text that it is written as.
pub(super) fn text(entry: &Entry, problems: &mut Vec<Problem>) -> Option<String> {
    text_of(&entry.key, &entry.value, "a text", problems)
}

/// As [`text`], for a node under any name.
pub(super) fn text_of(key: &str, node: &Node, wanted: &str, problems: &mut Vec<Problem>) -> Option<String> {
    match &node.content {
        Content::Scalar { text, plain }
            if !text.trim().is_empty() && resolve(text, *plain) != Scalar::Nothing =>
        {
            Some(text.clone())
        }
        Content::Scalar { .. } | Content::List(_) | Content::Map(_) => {
            let found = match &node.content {
                Content::Scalar { .. } => "empty".to_owned(),
                Content::List(_) | Content::Map(_) => node.describe(),
            };
            let sentence = format!("`{}` is {found}, it must be {wanted}", excerpt(key));
            problems.push(node.mark.problem(sentence));
            None
        }
    }
}

/// True or false.
pub(super) fn flag(entry: &Entry, problems: &mut Vec<Problem>) -> Option<bool> {
    if let Content::Scalar { text, plain } = &entry.value.content
        && let Scalar::Value(Value::Flag(flag)) = resolve(text, *plain)
    {
        return Some(flag);
    }
    let found = entry.value.describe();
    problems.push(entry.value.mark.problem(format!("`{}` is {found}, it must be true or false", entry.key)));
    None
}

/// A whole number from `min` to `max`.
pub(super) fn whole(entry: &Entry, min: u64, max: u64, problems: &mut Vec<Problem>) -> Option<u64> {
    let Entry { key, value: node, .. } = entry;
    if let Content::Scalar { text, plain } = &node.content
        && let Scalar::Value(Value::Integer(i)) = resolve(text, *plain)
        && let Ok(number) = u64::try_from(i)
        && (min..=max).contains(&number)
    {
        return Some(number);
    }
    let range = if max == u64::MAX { format!("of at least {min}") } else { format!("from {min} to {max}") };
    problems.push(
        node.mark.problem(format!("`{key}` is {}, it must be a whole number {range}", node.describe())),
    );
    None
}

/// Reads a time in seconds: a whole number, or numbers with units.
pub(super) fn duration(entry: &Entry, problems: &mut Vec<Problem>) -> Option<u64> {
    let Entry { key, value: node, .. } = entry;
    if let Content::Scalar { text, .. } = &node.content {
        let read = text.parse().ok().or_else(|| humantime::parse_duration(text).ok().map(|d| d.as_secs()));
        if let Some(seconds) = read.filter(|seconds| *seconds > 0) {
            return Some(seconds);
        }
    }
    let found = node.describe();
    problems
        .push(node.mark.problem(format!("`{key}` is {found}, it must be a time: 90m, 2h 30m, or seconds")));
    None
}
