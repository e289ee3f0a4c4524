//! Columns of a table for terminals: they give way in steps until they fit.

use super::labels;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

/// Spaces between columns.
const GAP: usize = 2;

/// One column, from its title to its last cell.
pub(super) struct Column {
    title: String,
    /// Title and cells where there is little room, if they can be shorter.
    short: Option<(String, Vec<String>)>,
    cells: Vec<String>,
    right: bool,
    /// Columns go in falling order of this; 0 never goes.
    expendable: u32,
}

/// How a row stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Best,
    Failed,
    Faint,
    Plain,
}

impl Column {
    pub(super) fn right(title: &str, expendable: u32, cells: Vec<String>) -> Self {
        Self { title: title.to_owned(), short: None, cells, right: true, expendable }
    }

    pub(super) fn left(title: &str, expendable: u32, cells: Vec<String>) -> Self {
        Self { right: false, ..Self::right(title, expendable, cells) }
    }

    /// With what is shown where there is little room.
    pub(super) fn or(self, title: &str, cells: Vec<String>) -> Self {
        Self { short: Some((title.to_owned(), cells)), ..self }
    }

    /// A hyperparameter's values.
    pub(super) fn values(name: &str, expendable: u32, cells: Vec<String>) -> Self {
        Self::right(name, expendable, cells.clone()).or(labels::short(name), cells)
    }

    fn width(&self) -> usize {
        self.cells.iter().map(|cell| length(cell)).fold(length(&self.title), usize::max)
    }

    fn shorten(&mut self) {
        if let Some((title, cells)) = self.short.take() {
            (self.title, self.cells) = (title, cells);
        }
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Shortens and drops columns until they fit into `width`; returns the titles of those dropped.
pub(super) fn fit(columns: &mut Vec<Column>, width: usize) -> Vec<String> {
    let total = |columns: &[Column]| {
        columns.iter().map(Column::width).sum::<usize>() + GAP * columns.len().saturating_sub(1)
    };
    while total(columns) > width
        && let Some(column) =
            columns.iter_mut().filter(|column| column.short.is_some()).max_by_key(|column| column.expendable)
    {
        column.shorten();
    }
    let mut dropped = Vec::new();
    while total(columns) > width
        && let Some((place, _)) = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.expendable > 0)
            .max_by_key(|(_, column)| column.expendable)
    {
        dropped.push(columns.remove(place).title);
    }
    dropped.reverse();
    dropped
}

/// The titles, a rule and a line for each of `styles`.
pub(super) fn lines(columns: &[Column], styles: &[Style], color: bool) -> Vec<String> {
    let widths: Vec<usize> = columns.iter().map(Column::width).collect();
    let line = |cell: &dyn Fn(&Column) -> String| {
        let cells: Vec<String> = columns
            .iter()
            .zip(&widths)
            .map(|(column, width)| {
                let text = cell(column);
                let room = " ".repeat(width - length(&text));
                if column.right { format!("{room}{text}") } else { format!("{text}{room}") }
            })
            .collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let painted = |code: &str, text: String| {
        if color && !code.is_empty() { format!("{code}{text}{RESET}") } else { text }
    };
    let mut lines = vec![painted(BOLD, line(&|column| column.title.clone()))];
    let rule = widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join(&" ".repeat(GAP));
    lines.push(painted(DIM, rule));
    for (place, style) in styles.iter().enumerate() {
        let code = match style {
            Style::Best => GREEN,
            Style::Failed => RED,
            Style::Faint => DIM,
            Style::Plain => "",
        };
        lines.push(painted(code, line(&|column| column.cells[place].clone())));
    }
    lines
}
