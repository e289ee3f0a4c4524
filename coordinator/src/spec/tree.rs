//! YAML as a tree that knows where everything stands.
//!
//! Built from the parser's events rather than its own tree, because that one keeps neither repeated keys (so that they
//! can be reported among the other problems) nor whether a scalar was quoted (so that `"1"` is a text).

use std::{collections::BTreeMap, rc::Rc};

use distilsweep_data::{excerpt, quoted};
use distilsweep_proto::{limits::FILE_BYTES, params::Value};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};

use super::problem::Problem;
use crate::text::escape_controls;

/// Deeper nesting is refused: nothing in the grammar needs it, and dropping the tree takes stack by its depth.
const MAX_DEPTH: usize = 32;

/// Values and keys of a file with its aliases written out, at most. A few lines of aliases of aliases are billions of
/// values to whoever goes through them.
const MAX_NODES: usize = 100_000;

/// A longer text counts as several values: messages repeat what they are about.
const NODE_BYTES: usize = 64;

/// Keys of a file with its aliases written out, at most: each that is unknown is compared with all that are known.
const MAX_KEYS: usize = 1_000;

/// Characters of a message, at most.
const LONGEST_MESSAGE: usize = 1_000;

fn shortened(text: String) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A place in the file: line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Mark {
    pub(super) const START: Mark = Mark { line: 1, column: 1 };

    pub(super) fn problem(self, message: impl Into<String>) -> Problem {
        Problem { line: self.line, column: self.column, message: shortened(escape_controls(&message.into())) }
    }
}

impl From<Marker> for Mark {
    fn from(marker: Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar {
        text: String,
        /// Without quotes: only then can it be a number, a flag or nothing.
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) mark: Mark,
    pub(super) value: Rc<Node>,
}

/// What a scalar means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Nothing,
    Value(Value),
}

impl Node {
    /// What the node is, for messages: "a list", "5", "\"five\"".
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Scalar { text, plain } => match resolve(text, *plain) {
                Scalar::Nothing => "empty".to_owned(),
                Scalar::Value(Value::Text(_)) => quoted(text),
                Scalar::Value(_) => excerpt(text),
            },
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }

    /// Whether nothing is written, or null.
    pub(super) fn is_null(&self) -> bool {
        match &self.content {
            Content::Scalar { text, plain } => resolve(text, *plain) == Scalar::Nothing,
            Content::List(_) | Content::Map(_) => false,
        }
    }
}

/// The meaning of a scalar by YAML 1.2's core schema, with every decimal number that Rust reads besides: YAML 1.1 and
/// some of its parsers take `1e-5` for a text, and learning rates are written so.
pub(super) fn resolve(text: &str, plain: bool) -> Scalar {
    let as_text = || Scalar::Value(Value::Text(text.to_owned()));
    if !plain {
        return as_text();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Nothing,
        "true" | "True" | "TRUE" => return Scalar::Value(Value::Flag(true)),
        "false" | "False" | "FALSE" => return Scalar::Value(Value::Flag(false)),
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Scalar::Value(Value::Number(f64::INFINITY)),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Value(Value::Number(f64::NEG_INFINITY)),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Value(Value::Number(f64::NAN)),
        _ => {}
    }
    if let Ok(integer) = text.parse() {
        return Scalar::Value(Value::Integer(integer));
    }
    // Rust also reads "nan" and "infinity", which YAML does not.
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && text.contains(|c: char| c.is_ascii_digit());
    match text.parse() {
        Ok(number) if numeric => Scalar::Value(Value::Number(number)),
        Ok(_) | Err(_) => as_text(),
    }
}

/// A node with what it comes to when its aliases are written out.
#[derive(Clone)]
struct Sized {
    node: Rc<Node>,
    nodes: usize,
    keys: usize,
}

/// A list or mapping whose end has not come yet.
struct Open {
    mark: Mark,
    anchor: usize,
    content: Content,
    /// What is in it so far.
    nodes: usize,
    keys: usize,
    /// The key whose value comes next.
    key: Option<(String, Mark)>,
}

/// Reads the one document of a file. What cannot be read as YAML ends it; repeated keys are only noted in `problems`,
/// and the first of them stays.
pub(super) fn read(source: &str, problems: &mut Vec<Problem>) -> Option<Rc<Node>> {
    if source.len() > FILE_BYTES {
        let sentence = format!("the file has {} bytes, a sweep file has {FILE_BYTES} at most", source.len());
        problems.push(Mark::START.problem(sentence));
        return None;
    }
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut builder = Builder { anchors: BTreeMap::new(), open: Vec::new(), root: None };
    let mut documents = 0;
    let mut parser = Parser::<StrInput<'_>>::new_from_str(source);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((Event::DocumentStart(_), span)) => {
                documents += 1;
                if documents > 1 {
                    let second =
                        "a second document starts here, a sweep file holds one: remove it or the `---`";
                    Err(Mark::from(span.start).problem(second))
                } else {
                    Ok(())
                }
            }
            Ok((event, span)) => builder.take(event, span.start.into(), problems),
            Err(error) => Err(syntax_problem(source, (*error.marker()).into(), error.info())),
        };
        if let Err(problem) = step {
            problems.push(problem);
            return None;
        }
    }
    builder.root
}

/// The parser speaks of its own tokens; the commonest cause, a tab, gets a sentence.
fn syntax_problem(source: &str, mark: Mark, info: &str) -> Problem {
    let tabbed = source.lines().enumerate().find(|(_, line)| {
        line.trim_start_matches(' ').starts_with('\t')
            && !line.trim().is_empty()
            && !line.trim().starts_with('#')
    });
    match tabbed {
        Some((place, line)) if place < mark.line => {
            let column = line.chars().take_while(|c| *c == ' ').count() + 1;
            Mark { line: place + 1, column }.problem("a tab indents this line, YAML wants spaces")
        }
        Some(_) | None => mark.problem(format!("this is not YAML: {info}")),
    }
}

struct Builder {
    anchors: BTreeMap<usize, Sized>,
    open: Vec<Open>,
    root: Option<Rc<Node>>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, mark: Mark, problems: &mut Vec<Problem>) -> Result<(), Problem> {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Scalar(text, style, anchor, tag) => {
                let forced = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let plain = style == ScalarStyle::Plain && !forced;
                let nodes = 1 + text.len() / NODE_BYTES;
                let content = Content::Scalar { text: text.into_owned(), plain };
                let node = Rc::new(Node { mark, content });
                self.add(Sized { node, nodes, keys: 0 }, mark, anchor, problems)
            }
            Event::SequenceStart(anchor, _) => self.begin(Content::List(Vec::new()), anchor, mark),
            Event::MappingStart(anchor, _) => self.begin(Content::Map(Vec::new()), anchor, mark),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { mark, anchor, content, nodes, keys, key: _ }) => {
                    let node = Rc::new(Node { mark, content });
                    self.add(Sized { node, nodes: nodes + 1, keys }, mark, anchor, problems)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(sized) => self.add(sized, mark, 0, problems),
                None => {
                    Err(mark.problem("this alias stands inside what it repeats, put it after its anchor"))
                }
            },
        }
    }

    fn begin(&mut self, content: Content, anchor: usize, mark: Mark) -> Result<(), Problem> {
        if self.open.len() == MAX_DEPTH {
            return Err(mark.problem(format!("nested deeper than {MAX_DEPTH} levels, a sweep file needs 4")));
        }
        self.open.push(Open { mark, anchor, content, nodes: 0, keys: 0, key: None });
        Ok(())
    }

    /// Puts a complete node where it belongs, at `place`: into the innermost open list or mapping. Anchors count from 1.
    fn add(
        &mut self,
        sized: Sized,
        place: Mark,
        anchor: usize,
        problems: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        if anchor > 0 {
            self.anchors.insert(anchor, sized.clone());
        }
        let Sized { node, nodes, keys } = sized;
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.nodes += nodes;
        parent.keys += keys + usize::from(parent.key.is_some());
        if parent.nodes > MAX_NODES {
            return Err(place.problem(format!("with this the file has more than {MAX_NODES} values, aliases written out: name fewer, or draw from ranges")));
        }
        if parent.keys > MAX_KEYS {
            return Err(place.problem(format!("with this the file has more than {MAX_KEYS} keys, aliases written out: a sweep file has fewer than a hundred")));
        }
        match (&mut parent.content, parent.key.take()) {
            (Content::List(items), _) => items.push(node),
            (Content::Map(entries), Some((key, mark))) => {
                match entries.iter().find(|entry| entry.key == key) {
                    Some(first) => problems.push(mark.problem(format!(
                        "`{}` stands here again, it is set at line {}: keep one",
                        excerpt(&key),
                        first.mark.line
                    ))),
                    None => entries.push(Entry { key, mark, value: node }),
                }
            }
            (Content::Map(_), None) => match &node.content {
                Content::Scalar { text, plain: _ } => parent.key = Some((text.clone(), node.mark)),
                Content::List(_) | Content::Map(_) => {
                    return Err(node
                        .mark
                        .problem(format!("{} as a key, a key is a plain name", node.describe())));
                }
            },
            (Content::Scalar { .. }, _) => debug_assert!(false, "a scalar is never open"),
        }
        Ok(())
    }
}
