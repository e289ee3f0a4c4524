//! What is known of the terminal, and drawing over what was drawn.

use std::io::Write;

use distilsweep_proto::terminal::colors;
pub(super) use distilsweep_proto::terminal::{draws, is_quiet, note};

/// Columns of standard output, 100 where it is no terminal and `COLUMNS` says nothing.
pub(super) fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)).or(told).unwrap_or(100)
}

/// Whether standard output takes colours.
pub(super) fn color() -> bool {
    colors(&std::io::stdout())
}

/// Columns and rows of the terminal behind standard error.
pub(super) fn screen() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(std::io::stderr());
    size.map_or_else(
        || (width(), usize::MAX),
        |(width, height)| (usize::from(width.0), usize::from(height.0)),
    )
}

/// Lines at the bottom of a terminal's standard error that are drawn again and again.
#[derive(Debug, Default)]
pub(super) struct LiveLines {
    /// Characters of each line that stands there.
    drawn: Vec<usize>,
}

impl LiveLines {
    /// Draws lines in place of those drawn before.
    pub(super) fn draw(&mut self, lines: &[String]) {
        let mut text = self.erasure(screen().0);
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = lines.iter().map(|line| line.chars().count()).collect();
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Writes a line that stays, above what will be drawn next.
    pub(super) fn tell(&mut self, line: &str) {
        let text = format!("{}{line}\n", self.erasure(screen().0));
        self.drawn.clear();
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Takes the lines away.
    pub(super) fn clear(&mut self) {
        let _ = std::io::stderr().write_all(self.erasure(screen().0).as_bytes());
        self.drawn.clear();
    }

    /// Up to the first drawn line, and everything from there erased. A terminal that was made narrower, of `width`
    /// columns now, has broken lines in two.
    fn erasure(&self, width: usize) -> String {
        let rows: usize = self.drawn.iter().map(|length| length.div_ceil(width.max(1)).max(1)).sum();
        if rows == 0 { String::new() } else { format!("\x1b[{rows}A\r\x1b[J") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_is_erased_whole_also_where_the_terminal_was_made_narrower() {
        let lines = LiveLines { drawn: vec![40, 0, 81] };
        assert_eq!(lines.erasure(100), "\x1b[3A\r\x1b[J");
        assert_eq!(lines.erasure(40), "\x1b[5A\r\x1b[J");
        assert_eq!(LiveLines::default().erasure(80), "");
    }
}
