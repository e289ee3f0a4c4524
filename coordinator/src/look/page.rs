//! A data set as a page of its own: one file, no network and no script.

use std::fmt::Write;

use distilsweep_data::excerpt;

use super::Inspected;
use crate::results::html::{STYLE, escaped};

/// What this page has beside the report's style.
const OWN: &str = ".bar { background: var(--c0); height: .8em; min-width: 1px; display: inline-block; }
h1 { overflow-wrap: anywhere; }
th, td { white-space: normal; }
table { min-width: 0; }
.wide + .wide { margin-top: 1rem; }
";

/// Appends a line; writing to a text cannot fail.
macro_rules! line {
    ($out:expr, $($arguments:tt)*) => {
        let _ = writeln!($out, $($arguments)*);
    };
}

/// An inspection as HTML.
pub fn page(seen: &Inspected) -> String {
    let mut out = String::new();
    let title = escaped(&seen.dataset);
    line!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">");
    line!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    line!(out, "<title>{title}</title>\n<style>\n{STYLE}{OWN}</style>\n</head>\n<body>\n<h1>{title}</h1>");
    for (name, value) in [("Configuration", &seen.config), ("Commit", &seen.commit)] {
        if let Some(value) = value {
            line!(out, "<p class=\"dim\">{name} <code>{}</code></p>", escaped(value));
        }
    }
    for note in &seen.notes {
        line!(out, "<p><strong>Note:</strong> {}</p>", escaped(note));
    }
    splits(seen, &mut out);
    classes(seen, &mut out);
    lengths(seen, &mut out);
    line!(out, "<h2>First rows</h2>");
    let rows = seen.inspection.examples.iter().map(|example| {
        let pair = example.pair.as_ref().map_or_else(String::new, |pair| format!(" | {pair}"));
        vec![escaped(&excerpt(&example.class)), escaped(&(example.text.clone() + &pair))]
    });
    table(&["class", "text"], rows, &mut out);
    line!(out, "<h2>Columns</h2>");
    let role = |column: &String| {
        let roles = ["text", "second text", "label"].into_iter().zip(&seen.columns);
        roles.filter(|(_, read)| read.as_ref() == Some(column)).map(|(role, _)| role).collect::<String>()
    };
    let rows = seen
        .schema
        .iter()
        .map(|(name, kind)| vec![escaped(&excerpt(name)), escaped(&excerpt(kind)), role(name)]);
    table(&["column", "type", "read as"], rows, &mut out);
    line!(out, "</body>\n</html>");
    out
}

fn splits(seen: &Inspected, out: &mut String) {
    line!(out, "<h2>Splits</h2>");
    let rows = seen.inspection.splits.iter().map(|split| {
        let [least, median, most] = split.characters;
        vec![
            split.name.to_owned(),
            split.rows.to_string(),
            split.repeated.to_string(),
            split.leaked.map_or_else(String::new, |leaked| leaked.to_string()),
            format!("{median} ({least} to {most})"),
            format!("{:.4}", split.baseline.accuracy),
            format!("{:.4}", split.baseline.f1_score),
        ]
    });
    let head = [
        "split",
        "rows",
        "repeated texts",
        "texts also in train",
        "characters: median (range)",
        "accuracy of guessing",
        "F1 of guessing",
    ];
    table(&head, rows, out);
    line!(out, "<p class=\"dim\">Guessing says the commonest class of the training split each time.</p>");
}

fn classes(seen: &Inspected, out: &mut String) {
    let classes = &seen.inspection.classes;
    let of_train = |rows: &[usize]| rows.first().copied().unwrap_or(0);
    let most = classes.iter().map(|class| of_train(&class.rows)).max().unwrap_or(0);
    let all: usize = classes.iter().map(|class| of_train(&class.rows)).sum();
    line!(out, "<h2>Classes</h2>");
    let mut head = vec!["class"];
    head.extend(seen.inspection.splits.iter().map(|split| split.name));
    head.push("share of train");
    let rows = classes.iter().map(|class| {
        let mut row = vec![escaped(&excerpt(&class.name))];
        row.extend(class.rows.iter().map(ToString::to_string));
        let rows = of_train(&class.rows);
        row.push(bar(rows, most, &format!("{:.1} %", rows as f64 * 100.0 / all.max(1) as f64)));
        row
    });
    table(&head, rows, out);
}

fn lengths(seen: &Inspected, out: &mut String) {
    let (Some(tokens), Some(model)) = (&seen.inspection.tokens, &seen.model) else { return };
    let [least, median, nearly_all, most] = tokens.quantiles;
    line!(out, "<h2>Lengths of training rows</h2>");
    line!(
        out,
        "<p>{least} to {most} tokens of <code>{}</code>, special ones counted; {median} in the middle, 95 % have at most \
         {nearly_all}.</p>",
        escaped(model)
    );
    let highest = tokens.histogram.iter().map(|(_, rows)| *rows).max().unwrap_or(0);
    let last = tokens.histogram.iter().rposition(|(_, rows)| *rows > 0).map_or(0, |last| last + 1);
    let rows = tokens.histogram[..last]
        .iter()
        .map(|(bin, count)| vec![format!("{bin} tokens"), count.to_string(), bar(*count, highest, "")]);
    table(&["up to", "rows", ""], rows, out);
    let rows = tokens.cut.iter().map(|(length, rows, share)| {
        vec![length.to_string(), rows.to_string(), format!("{:.1} %", share * 100.0)]
    });
    table(&["max_length", "rows cut", "tokens lost"], rows, out);
}

fn bar(part: usize, whole: usize, label: &str) -> String {
    let width = part as f64 * 10.0 / whole.max(1) as f64;
    format!("<span class=\"bar\" style=\"width: {width:.2}em\"></span> {label}")
}

/// A table of cells that are HTML already.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>, out: &mut String) {
    let rows: Vec<Vec<String>> = rows.collect();
    // Numbers stand under each other, and their column's name above them.
    let is_number =
        |cell: &String| !cell.starts_with('<') && cell.ends_with(|c: char| c.is_ascii_digit() || c == '%');
    let numbers: Vec<bool> = (0..head.len())
        .map(|column| rows.iter().all(|row| row[column].is_empty() || is_number(&row[column])))
        .collect();
    let cells = |tag: &str, cells: &[String]| -> String {
        let class = |column: usize| if numbers[column] { " class=\"n\"" } else { "" };
        cells.iter().enumerate().map(|(at, cell)| format!("<{tag}{}>{cell}</{tag}>", class(at))).collect()
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    line!(out, "<div class=\"wide\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>", cells("th", &head));
    for row in &rows {
        line!(out, "<tr>{}</tr>", cells("td", row));
    }
    line!(out, "</tbody>\n</table></div>");
}

#[cfg(test)]
mod tests {
    use super::{super::inspection::tests::seen, *};

    #[test]
    fn a_page_is_whole_and_takes_nothing_for_markup() {
        let html = page(&seen());
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
        assert!(html.contains("&lt;positive&gt;") && !html.contains("<positive>"));
        for asked in ["src=", "href=", "<script", "http"] {
            assert!(!html.contains(asked), "{asked}");
        }
        assert_eq!(html.matches("<table>").count(), html.matches("</table>").count());
        assert!(html.contains("<td>128 tokens</td>") && html.contains("<td class=\"n\">1000</td>"));
    }
}
