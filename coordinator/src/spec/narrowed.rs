//! A sweep file with one point in place of its space.

use std::fmt::Write;

use distilsweep_proto::params::{Params, Value};

use super::{
    grammar::parse,
    tree::{self, Content, Mark, Node},
};

/// The file's parameters do not stand in lines of their own, so that others cannot be put in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the parameters of the sweep file cannot be replaced: they must begin a line of their own, as `parameters:`"
)]
pub struct NotReplaceable;

/// The text of a sweep file with the values of `point` for its parameters. All else stays as it is, comments too; those
/// among the parameters go.
///
/// # Errors
/// [`NotReplaceable`] where the file is written in another way, as one line of JSON for instance.
pub fn narrowed(source: &str, point: &Params) -> Result<String, NotReplaceable> {
    let lines: Vec<&str> = source.lines().collect();
    let mut parameters = "parameters:\n".to_owned();
    for (name, value) in point {
        let value = match value {
            Value::Text(value) => format!("{value:?}"),
            Value::Flag(_) | Value::Integer(_) | Value::Number(_) => value.to_string(),
        };
        let _ = writeln!(parameters, "  {name}: {{value: {value}}}");
    }
    // What says how points are found goes: one is there.
    let instead = [
        ("parameters", parameters.as_str()),
        ("method", "method: grid\n"),
        ("run_cap", ""),
        ("exclude", ""),
        ("repeats", ""),
        ("seed", ""),
    ];
    let root = tree::read(source, &mut Vec::new()).ok_or(NotReplaceable)?;
    let mut spans: Vec<(usize, usize, &str)> = instead
        .into_iter()
        .filter_map(|(key, text)| span(&root, &lines, key).map(|(first, end)| (first, end, text)))
        .collect();
    spans.sort_unstable();
    let mut text = String::new();
    let mut from = 0;
    for (first, end, instead) in spans {
        lines[from..first].iter().for_each(|line| text.extend([*line, "\n"]));
        text.push_str(instead);
        from = end;
    }
    lines[from..].iter().for_each(|line| text.extend([*line, "\n"]));
    // Lines are a guess at what belongs together; what they make is not.
    match parse(&text) {
        Ok(spec) if spec.space.len() == 1 && spec.space.point(0) == *point => Ok(text),
        Ok(_) | Err(_) => Err(NotReplaceable),
    }
}

/// The lines of a key with what belongs to it, from 0, and the one after; nothing where it shares its line with others.
/// Comments at the margin before the next key are that key's.
fn span(root: &Node, lines: &[&str], key: &str) -> Option<(usize, usize)> {
    let Content::Map(entries) = &root.content else { return None };
    let at = entries.iter().position(|entry| entry.key == key)?;
    let Mark { line, column: 1 } = entries[at].mark else { return None };
    let next = entries.get(at + 1).map_or(lines.len() + 1, |entry| entry.mark.line);
    let (first, next) = (line - 1, next - 1);
    let is_apart = |line: &str| line.trim().is_empty() || line.starts_with('#');
    let last = (first..next).rev().find(|&line| !is_apart(lines[line]))?;
    Some((first, last + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# Ours.
name: mood
model: distilbert-base-uncased
dataset: dair-ai/emotion
method: grid
parameters:
  # Small ones.
  learning_rate: {values: [2e-5, 5e-5]}
  lr_scheduler_type:
    values: [linear, cosine]

# For the night.
max_retries: 2
";

    fn point() -> Params {
        Params::from([
            ("learning_rate".to_owned(), Value::Number(5e-5)),
            ("lr_scheduler_type".to_owned(), Value::Text("cosine".to_owned())),
        ])
    }

    #[test]
    fn a_file_keeps_all_but_its_parameters() {
        let expected = FILE.replace(
            "  # Small ones.\n  learning_rate: {values: [2e-5, 5e-5]}\n  lr_scheduler_type:\n    values: [linear, cosine]\n",
            "  learning_rate: {value: 5e-05}\n  lr_scheduler_type: {value: \"cosine\"}\n",
        );
        assert_eq!(narrowed(FILE, &point()).unwrap(), expected);
    }

    #[test]
    fn parameters_may_come_last_or_in_one_line() {
        let last =
            "name: mood\nmodel: m\ndataset: d\nmethod: grid\nparameters: {learning_rate: {values: [1, 2]}}";
        let one = Params::from([("learning_rate".to_owned(), Value::Number(2.0))]);
        let text = narrowed(last, &one).unwrap();
        assert!(text.ends_with("method: grid\nparameters:\n  learning_rate: {value: 2.0}\n"), "{text}");
    }

    #[test]
    fn what_said_how_points_are_drawn_goes() {
        let drawn = "name: mood\nmodel: m\ndataset: d\nmethod: random  # for now\nrun_cap: 40\nseed: 3\n# twice\n\
                     repeats: 2\nparameters:\n  learning_rate: {min: 0.0, max: 1.0}\ntime_budget: 1h\n";
        let one = Params::from([("learning_rate".to_owned(), Value::Number(0.25))]);
        let expected = "name: mood\nmodel: m\ndataset: d\nmethod: grid\n# twice\nparameters:\n  \
                        learning_rate: {value: 0.25}\ntime_budget: 1h\n";
        assert_eq!(narrowed(drawn, &one).unwrap(), expected);
    }

    #[test]
    fn a_file_whose_lines_say_nothing_is_refused() {
        let one_line =
            "{name: mood, model: m, dataset: d, method: grid, parameters: {learning_rate: {value: 1}}}";
        assert_eq!(narrowed(one_line, &point()), Err(NotReplaceable));
        assert_eq!(narrowed("name: mood", &point()), Err(NotReplaceable));
    }
}
