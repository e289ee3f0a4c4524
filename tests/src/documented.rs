//! What commands print for programs against `proto/json.md`, which says what they print.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const DOCUMENT: &str = include_str!("../../proto/json.md");

/// The keys that the document gives a command, by its heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let section = DOCUMENT
        .split("\n## ")
        .find(|section| section.lines().next().is_some_and(|line| line.split(", ").any(|one| one == heading)))
        .unwrap_or_else(|| panic!("`{heading}` is not documented"));
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|line| line.split(" | ").next());
    cells.flat_map(|cell| cell.trim_start_matches("| ").split(", ")).map(|key| key.replace('`', "")).collect()
}

/// The paths of a value, each with whether there is something at it.
fn paths(at: &str, value: &Value, found: &mut BTreeMap<String, bool>) {
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match value {
        Value::Object(keys) => keys.iter().for_each(|(key, value)| paths(&below(key), value, found)),
        Value::Array(all) if all.iter().any(Value::is_object) => {
            all.iter().for_each(|value| paths(&format!("{at}[]"), value, found));
        }
        value => {
            let there = !value.is_null() && value.as_array().is_none_or(|all| !all.is_empty());
            *found.entry(at.to_owned()).or_default() |= there;
        }
    }
}

/// What is printed and not documented, or documented and never printed.
fn problems(documented: &BTreeSet<String>, printed: &Value) -> Vec<String> {
    let mut found = BTreeMap::new();
    paths("", printed, &mut found);
    let open = |path: &str| {
        documented.iter().any(|key| key.strip_suffix('*').is_some_and(|start| path.starts_with(start)))
    };
    // Null, or an empty list, where there are keys below.
    let nothing = |path: &str, there: bool| {
        !there
            && documented
                .iter()
                .any(|key| key.starts_with(&format!("{path}.")) || key.starts_with(&format!("{path}[].")))
    };
    let unsaid = found
        .iter()
        .filter(|(path, there)| !documented.contains(*path) && !open(path) && !nothing(path, **there));
    let unsaid = unsaid.map(|(path, _)| format!("`{path}` is printed and not documented"));
    let missing = documented.iter().filter(|key| {
        let above = |(path, there): (&String, &bool)| {
            !there && (key.starts_with(&format!("{path}.")) || key.starts_with(&format!("{path}[].")))
        };
        !key.ends_with(".*") && !found.contains_key(*key) && !found.iter().any(above)
    });
    unsaid.chain(missing.map(|key| format!("`{key}` is documented and not printed"))).collect()
}

/// Looks whether a document has the keys that a command of this name is documented with.
///
/// # Panics
/// Where it has not, or has others.
pub fn assert_as_documented(heading: &str, printed: &Value) {
    assert_eq!(printed["version"], 1, "{heading}: {printed}");
    let problems = problems(&documented(heading), printed);
    assert!(problems.is_empty(), "{heading}: {problems:#?}\n{printed:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_printed_and_not_documented_is_found_and_so_is_the_reverse() {
        let documented = BTreeSet::from(["a", "b[].c", "d.*", "e.f"].map(str::to_owned));
        let right = serde_json::json!({"a": 1, "b": [], "d": {"any": 1}, "e": null});
        assert_eq!(problems(&documented, &right), [""; 0]);
        let wrong = serde_json::json!({"b": [{"x": 1}], "d": {}, "e": {"f": 2}});
        assert_eq!(
            problems(&documented, &wrong),
            [
                "`b[].x` is printed and not documented",
                "`a` is documented and not printed",
                "`b[].c` is documented and not printed",
            ]
        );
    }
}
