//! A report of an evaluation for people. Pure.

use unicode_width::UnicodeWidthStr;

use super::terminal::{fitted, padded};
use crate::train::metrics::{ClassScores, Report};

/// Columns that a report takes where nobody says how many there are.
pub(super) const WIDTH: usize = 80;

/// Columns that a class's name may take.
const NAME: usize = 24;
/// Spaces between the columns of the scores.
const GAP: &str = "  ";
const HEADING: &str = "confusion matrix (row: truth, column: prediction)";
/// Confusions that are told of in words.
const TOLD: usize = 5;

/// The scores, those of each class, and the confusion matrix, in at most `width` columns where a class's name, its number
/// and one count fit into them.
pub(super) fn table(report: &Report, classes: &[String], width: usize) -> String {
    let mut lines = vec![
        format!("rows      {}", report.weighted.support),
        format!("loss      {:.4}", report.loss),
        format!("accuracy  {:.4}", report.accuracy),
        format!("Matthews  {:.4}", report.matthews_correlation),
        String::new(),
    ];
    let names: Vec<String> = classes.iter().map(|name| fitted(name, NAME)).collect();
    lines.extend(scores(report, &names));
    lines.push(String::new());
    lines.extend(matrix(report.confusion.rows(), &names, width));
    lines.extend(confusions(report.confusion.rows(), classes));
    lines.join("\n") + "\n"
}

fn scores(report: &Report, names: &[String]) -> Vec<String> {
    let averages = [("weighted".to_owned(), report.weighted), ("macro".to_owned(), report.macro_average)];
    let first = names.iter().chain(averages.iter().map(|(name, _)| name));
    let name_columns = first.map(|name| name.width()).fold("class".len(), usize::max);
    let support = report.weighted.support.to_string().len().max("support".len());
    let line = |name: &str, scores: &ClassScores| {
        let [precision, recall, f1] =
            [scores.precision, scores.recall, scores.f1].map(|score| format!("{score:.4}"));
        format!(
            "{}{GAP}{precision:>9}{GAP}{recall:>6}{GAP}{f1:>6}{GAP}{:>support$}",
            padded(name, name_columns),
            scores.support
        )
    };
    let head = format!(
        "{}{GAP}precision{GAP}recall{GAP}{:>6}{GAP}{:>support$}",
        padded("class", name_columns),
        "F1",
        "support"
    );
    let rule = "─".repeat(head.width());
    let mut lines = vec![head, rule.clone()];
    lines.extend(names.iter().zip(&report.per_class).map(|(name, scores)| line(name, scores)));
    lines.push(rule);
    lines.extend(averages.iter().map(|(name, scores)| line(name, scores)));
    lines
}

/// Rows are true classes and columns predicted ones. Where the columns' names do not fit they are numbers, and where
/// those do not fit beside each other the matrix is cut into blocks of columns.
fn matrix(rows: &[Vec<u64>], names: &[String], width: usize) -> Vec<String> {
    let digits = rows.iter().flatten().map(|count| count.to_string().len()).max().unwrap_or(1);
    let widths: Vec<usize> = names.iter().map(|name| name.width().max(digits) + GAP.len()).collect();
    let label = names.iter().map(|name| name.width()).max().unwrap_or(0);
    if label + widths.iter().sum::<usize>() <= width {
        let mut lines = vec![HEADING.to_owned()];
        lines.extend(block(rows, names, names, &widths, 0..names.len()));
        return lines;
    }
    let numbers: Vec<String> = (0..names.len()).map(|number| number.to_string()).collect();
    let number = numbers.last().map_or(1, String::len);
    let numbered: Vec<String> =
        names.iter().zip(&numbers).map(|(name, n)| format!("{n:>number$} {name}")).collect();
    let cell = digits.max(number) + 1;
    let beside = (width.saturating_sub(number + 1 + label) / cell).max(1);
    let mut lines = vec![HEADING.to_owned()];
    // Blocks of one size: a last one of two columns would look like an accident.
    let blocks = names.len().div_ceil(beside);
    let size = names.len().div_ceil(blocks.max(1)).max(1);
    for start in (0..names.len()).step_by(size) {
        if start > 0 {
            lines.push(String::new());
        }
        let columns = start..(start + size).min(names.len());
        lines.extend(block(rows, &numbered, &numbers, &vec![cell; names.len()], columns));
    }
    lines
}

fn block(
    rows: &[Vec<u64>],
    labels: &[String],
    heads: &[String],
    widths: &[usize],
    columns: std::ops::Range<usize>,
) -> Vec<String> {
    let label = labels.iter().map(|label| label.width()).max().unwrap_or(0);
    let right = |text: &str, columns: usize| " ".repeat(columns.saturating_sub(text.width())) + text;
    let head: String = columns.clone().map(|column| right(&heads[column], widths[column])).collect();
    let mut lines = vec![" ".repeat(label) + &head];
    for (row, name) in rows.iter().zip(labels) {
        let cells: String = columns
            .clone()
            .map(|column| match row[column] {
                // Zeros are most of a large matrix, and not what one looks for.
                0 => right("·", widths[column]),
                count => right(&count.to_string(), widths[column]),
            })
            .collect();
        lines.push(padded(name, label) + &cells);
    }
    lines
}

/// The commonest confusions in words, which a large matrix hides.
fn confusions(rows: &[Vec<u64>], classes: &[String]) -> Vec<String> {
    let mut found: Vec<(u64, usize, usize)> = Vec::new();
    for (truth, row) in rows.iter().enumerate() {
        found.extend(
            row.iter().enumerate().filter(|(guess, _)| *guess != truth).map(|(guess, n)| (*n, truth, guess)),
        );
    }
    found.retain(|(count, ..)| *count > 0);
    if classes.len() < 3 || found.is_empty() {
        return Vec::new();
    }
    found.sort_by_key(|(count, truth, guess)| (std::cmp::Reverse(*count), *truth, *guess));
    let digits = found[0].0.to_string().len();
    let mut lines = vec![String::new(), "commonest confusions".to_owned()];
    for (count, truth, guess) in found.iter().take(TOLD) {
        let [truth, guess] = [truth, guess].map(|class| fitted(&classes[*class], NAME));
        lines.push(format!("{count:>digits$}  {truth} taken for {guess}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::metrics::Confusion;

    const NAMES: [&str; 28] = [
        "admiration",
        "amusement",
        "anger",
        "annoyance",
        "approval",
        "caring",
        "confusion",
        "curiosity",
        "desire",
        "disappointment",
        "disapproval",
        "disgust",
        "embarrassment",
        "excitement",
        "fear",
        "gratitude",
        "grief",
        "joy",
        "love",
        "nervousness",
        "optimism",
        "pride",
        "realization",
        "relief",
        "remorse",
        "sadness",
        "surprise",
        "neutral",
    ];

    /// Guesses that are mostly right, else one of the next three classes.
    fn shown(classes: usize, rows: u32, width: usize) -> String {
        let names: Vec<String> = NAMES[..classes].iter().map(|name| (*name).to_owned()).collect();
        let truth: Vec<u32> = (0..rows).map(|i| (i * i + i / 3) % classes as u32).collect();
        let guessed: Vec<u32> = truth
            .iter()
            .zip(0..)
            .map(|(t, i): (_, u32)| (t + [0, 0, 1, 0, 3][i as usize % 5]) % classes as u32)
            .collect();
        let report = Confusion::count(&guessed, &truth, classes).report(0.5);
        let shown = table(&report, &names, width);
        let widest = shown.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
        assert!(widest <= width, "{widest} columns where there are {width}:\n{shown}");
        shown
    }

    #[test]
    fn few_classes_have_their_names_above_the_matrix() {
        insta::assert_snapshot!(shown(4, 2000, 80), @"
        rows      2000
        loss      0.5000
        accuracy  0.6000
        Matthews  0.4683

        class       precision  recall      F1  support
        ──────────────────────────────────────────────
        admiration     0.7481  0.5976  0.6644      666
        amusement      0.4304  0.6018  0.5019      334
        anger          0.7514  0.6027  0.6689      667
        annoyance      0.4270  0.5976  0.4981      333
        ──────────────────────────────────────────────
        weighted       0.6427  0.6000  0.6111     2000
        macro          0.5892  0.5999  0.5833     2000

        confusion matrix (row: truth, column: prediction)
                    admiration  amusement  anger  annoyance
        admiration         398        134      ·        134
        amusement           67        201     66          ·
        anger                ·        132    402        133
        annoyance           67          ·     67        199

        commonest confusions
        134  admiration taken for amusement
        134  admiration taken for annoyance
        133  anger taken for annoyance
        132  anger taken for amusement
         67  amusement taken for admiration
        ");
    }

    #[test]
    fn many_classes_are_numbered_and_cut_into_blocks_that_fit() {
        insta::assert_snapshot!(shown(28, 5427, 80));
    }

    #[test]
    fn a_wide_terminal_shows_a_large_matrix_whole() {
        let shown = shown(28, 5427, 200);
        assert_eq!(shown.lines().filter(|line| line.starts_with("27 neutral")).count(), 1, "{shown}");
    }

    #[test]
    fn every_width_holds_the_report() {
        for width in [52, 60, 80, 100, 131, 200] {
            for classes in [2, 3, 6, 28] {
                let shown = shown(classes, 997, width);
                assert!(shown.contains("confusion matrix"), "{shown}");
            }
        }
    }
}
