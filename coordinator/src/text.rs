//! Text from files and other programs, made safe to print.

use distilsweep_data::excerpt;

/// A text without control characters that a terminal acts on: escaped, except line breaks.
pub(crate) fn escape_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || c == ' ' || c.is_ascii_graphic() {
            escaped.push(c);
        } else {
            escaped += &excerpt(c.encode_utf8(&mut [0; 4]));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_line_breaks_stay() {
        assert_eq!(escape_controls("one: naïve\ntwo: 电影"), "one: naïve\ntwo: 电影");
        assert_eq!(escape_controls("a\u{1b}[31m\tb\r\u{202e}"), "a\\u{1b}[31m\\tb\\r\\u{202e}");
    }
}
