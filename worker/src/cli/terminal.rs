//! Where output goes, and text that fits there.

use std::{
    io::{self, IsTerminal, Write},
    process,
};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::trainer::Ended;

/// Columns of standard output: those of a terminal, none where it is none and lines may have any length.
pub(super) fn width() -> Option<usize> {
    let size = io::stdout().is_terminal().then(terminal_size::terminal_size)??;
    Some(usize::from(size.0.0))
}

/// Writes results to standard output. Whoever reads them may have seen enough: that ends the process without a word.
pub(super) fn print(text: &str) -> Result<(), Ended> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => Err(Ended::Internal(format!("cannot write to standard output: {error}"))),
    }
}

/// A text on one line of at most `columns` columns, what is cut marked with an ellipsis; a control character is shown as
/// a space, so that no text moves the cursor.
pub(super) fn fitted(text: &str, columns: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.width() <= columns {
        return line;
    }
    let mut used = 0;
    let kept = line.chars().take_while(|c| {
        used += c.width().unwrap_or(0);
        used < columns
    });
    kept.collect::<String>() + "…"
}

/// A text with spaces behind it up to `columns` columns.
pub(super) fn padded(text: &str, columns: usize) -> String {
    text.to_owned() + &" ".repeat(columns.saturating_sub(text.width()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_columns_and_moves_no_cursor() {
        let cases = [
            ("short", 10),
            ("exactly ten", 11),
            ("a longer one", 8),
            ("电影很好", 8),
            ("电影很好", 7),
            ("电影很好", 6),
        ];
        let said: Vec<String> = cases.iter().map(|(text, columns)| fitted(text, *columns)).collect();
        assert_eq!(said, ["short", "exactly ten", "a longe…", "电影很好", "电影很…", "电影…"]);
        assert_eq!(fitted("a\tb\r\n\x1b[2J", 20), "a b   [2J");
        assert_eq!(padded("电影", 6) + "|", "电影  |");
    }
}
