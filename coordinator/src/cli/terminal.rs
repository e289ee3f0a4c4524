//! What is known of the terminal, and drawing over what was drawn.

use std::io::Write;

use distilsweep_proto::terminal::colors;
pub(super) use distilsweep_proto::terminal::{draws, note};

/// Columns of standard output, 100 where it is no terminal and `COLUMNS` says nothing.
pub(super) fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)).or(told).unwrap_or(100)
}

/// Whether standard output takes colours.
pub(super) fn color() -> bool {
    colors(&std::io::stdout())
}

/// Lines at the bottom of a terminal's standard error that are drawn again and again.
#[derive(Debug, Default)]
pub(super) struct LiveLines {
    drawn: usize,
}

impl LiveLines {
    /// Draws lines in place of those drawn before.
    pub(super) fn draw(&mut self, lines: &[String]) {
        let mut text = self.erasure();
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = lines.len();
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Takes the lines away.
    pub(super) fn clear(&mut self) {
        let _ = std::io::stderr().write_all(self.erasure().as_bytes());
        self.drawn = 0;
    }

    /// Up to the first drawn line, and everything from there erased.
    fn erasure(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\x1b[{}A\r\x1b[J", self.drawn) }
    }
}
