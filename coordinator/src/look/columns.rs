//! Text in columns, and values of files in text.

use distilsweep_data::{excerpt, listed};

use crate::text::escape_controls;

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows in aligned columns with two spaces between; the last column is cut to `width`.
pub(super) fn columns(align: &[Align], rows: &[Vec<String>], width: usize) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let widest = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| length(cell)).max();
    let widths: Vec<usize> = (0..align.len()).map(|column| widest(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            if column > 0 {
                line.push_str("  ");
            }
            let space = " ".repeat(widths[column].saturating_sub(length(cell)));
            match align[column] {
                Align::Left => line = line + cell + &space,
                Align::Right => line = line + &space + cell,
            }
        }
        text.push_str(&cut(line.trim_end(), width));
        text.push('\n');
    }
    text
}

/// Columns that a text takes on a terminal, wide characters counted as one.
fn length(text: &str) -> usize {
    text.chars().count()
}

/// Line breaks and tabs become spaces; other control characters are escaped.
fn one_line(text: &str) -> String {
    escape_controls(&text.replace(['\n', '\r', '\t'], " "))
}

/// A text of at most `width` characters, on one line.
pub(super) fn cut(text: &str, width: usize) -> String {
    let flat = one_line(text);
    if length(&flat) <= width {
        return flat;
    }
    flat.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A class, in a cell that leaves room for two thirds of the width.
pub(super) fn class_cell(name: &str, width: usize) -> String {
    cut(&excerpt(name), (width / 3).max(16))
}

/// At most five values, each in short, and how many more there are.
pub(super) fn excerpts<'a>(values: impl IntoIterator<Item = &'a String>) -> String {
    listed(values.into_iter().map(|value| excerpt(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_under_each_other_and_lines_end_at_the_width() {
        let rows = [
            vec!["a".to_owned(), "12".to_owned(), "x".to_owned()],
            vec!["bcd".to_owned(), "3".to_owned(), "a long\ntext".to_owned()],
        ];
        let text = columns(&[Align::Left, Align::Right, Align::Left], &rows, 16);
        assert_eq!(text, "a    12  x\nbcd   3  a long…\n");
    }

    #[test]
    fn control_characters_of_cells_are_escaped() {
        let rows = [vec!["a\u{1b}[31m".to_owned(), "1".to_owned()], vec!["b".to_owned(), "2".to_owned()]];
        let text = columns(&[Align::Left, Align::Right], &rows, 40);
        assert_eq!(text, "a\\u{1b}[31m  1\nb            2\n");
    }
}
