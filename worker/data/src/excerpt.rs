//! Values from files as they appear in messages: on one line, short, without control characters.

/// Characters of a value that a message shows.
const VALUE_CHARS: usize = 60;
/// Values that a message lists.
const LISTED: usize = 5;

/// A value on one line of at most 60 characters, control characters escaped.
pub fn excerpt(text: &str) -> String {
    let mut shown = String::new();
    let mut length = 0;
    for c in text.chars() {
        let escaped: String = if is_invisible(c) { c.escape_default().collect() } else { c.into() };
        // Room for the ellipsis, unless this is the last character.
        length += escaped.chars().count();
        if length > VALUE_CHARS {
            while shown.chars().count() >= VALUE_CHARS {
                shown.pop();
            }
            shown.push('…');
            break;
        }
        shown += &escaped;
    }
    shown
}

/// [`excerpt`] in double quotes.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", excerpt(text))
}

/// At most five values in double quotes, and how many more there are.
pub fn quoted_list<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> String {
    listed(values.into_iter().map(|value| quoted(value.as_ref())))
}

/// At most five values as they are, and how many more there are.
pub fn listed(values: impl IntoIterator<Item = String>) -> String {
    let mut values = values.into_iter();
    let shown: Vec<String> = values.by_ref().take(LISTED).collect();
    match values.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Characters that change how the rest of a line is shown: control characters, bidirectional and line separators.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_and_control_characters_escaped() {
        assert_eq!(excerpt("naïve 电影"), "naïve 电影");
        assert_eq!(excerpt("a\u{1b}[31mred\nb\u{202e}"), "a\\u{1b}[31mred\\nb\\u{202e}");
        assert_eq!(excerpt(&"x".repeat(60)), "x".repeat(60));
        assert_eq!(excerpt(&"x".repeat(9_000)), format!("{}…", "x".repeat(59)));
        assert!(excerpt(&"\u{1b}".repeat(100)).chars().count() <= 60);
    }

    #[test]
    fn lists_show_five_values_and_count_the_rest() {
        assert_eq!(quoted_list(["a", "b"]), "\"a\", \"b\"");
        let many: Vec<String> = (0..700).map(|i| format!("c{i}")).collect();
        assert_eq!(quoted_list(&many), "\"c0\", \"c1\", \"c2\", \"c3\", \"c4\" and 695 more");
    }
}
