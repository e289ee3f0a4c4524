//! What a confusion matrix says, as the artifacts of a run: the matrix, and scikit-learn's `classification_report` as
//! text and as a document.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::op::Op;

/// The artifacts of an evaluation below `folder`; nothing where there is no matrix. `confusion` counts by true class,
/// then by predicted class, in the order of `classes`.
pub(super) fn artifacts(folder: &str, classes: &[String], confusion: &[Vec<u64>]) -> Vec<Op> {
    if classes.is_empty() || confusion.len() != classes.len() {
        return Vec::new();
    }
    let report = Report::new(confusion);
    let file = |name: &str, content: String| Op::Text { path: format!("{folder}/{name}"), content };
    vec![
        file("confusion_matrix.csv", matrix(classes, confusion)),
        file("classification_report.txt", report.text(classes)),
        file("classification_report.json", report.json(classes)),
    ]
}

fn matrix(classes: &[String], confusion: &[Vec<u64>]) -> String {
    let mut table = csv::Writer::from_writer(Vec::new());
    let header = std::iter::once("true \\ predicted").chain(classes.iter().map(String::as_str));
    // Into memory, and each row as long as the first: neither can fail.
    let _ = table.write_record(header);
    for (class, counts) in classes.iter().zip(confusion) {
        let counts = counts.iter().map(ToString::to_string);
        let _ = table.write_record(std::iter::once(class.clone()).chain(counts));
    }
    String::from_utf8(table.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// Precision, recall and F1, with how many rows they are about.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scores {
    values: [f64; 3],
    support: u64,
}

struct Report {
    by_class: Vec<Scores>,
    accuracy: f64,
    /// Over the classes that occur in truth or prediction.
    macro_average: Scores,
    /// By support.
    weighted: Scores,
}

impl Report {
    fn new(confusion: &[Vec<u64>]) -> Self {
        let of = |class: usize| {
            let hits = confusion[class].get(class).copied().unwrap_or(0);
            let support: u64 = confusion[class].iter().sum();
            let predicted: u64 = confusion.iter().filter_map(|row| row.get(class)).sum();
            let values = [ratio(hits, predicted), ratio(hits, support), ratio(2 * hits, predicted + support)];
            (Scores { values, support }, support + predicted > 0)
        };
        let all: Vec<(Scores, bool)> = (0..confusion.len()).map(of).collect();
        let rows: u64 = all.iter().map(|(scores, _)| scores.support).sum();
        let hits: u64 = confusion.iter().enumerate().filter_map(|(class, row)| row.get(class)).sum();
        let average = |weight: &dyn Fn(&(Scores, bool)) -> f64| {
            let whole: f64 = all.iter().map(weight).sum();
            let mean = |place: usize| {
                let sum: f64 = all.iter().map(|one| one.0.values[place] * weight(one)).sum();
                if whole == 0.0 { 0.0 } else { sum / whole }
            };
            Scores { values: [mean(0), mean(1), mean(2)], support: rows }
        };
        Self {
            accuracy: ratio(hits, rows),
            macro_average: average(&|(_, occurs)| f64::from(u8::from(*occurs))),
            weighted: average(&|(scores, _)| scores.support as f64),
            by_class: all.into_iter().map(|(scores, _)| scores).collect(),
        }
    }

    /// As scikit-learn prints it with four digits.
    fn text(&self, classes: &[String]) -> String {
        let longest = classes.iter().map(|class| class.chars().count()).max().unwrap_or(0);
        let width = longest.max("weighted avg".len());
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{:>width$}  {:>9} {:>9} {:>9} {:>9}\n",
            "", "precision", "recall", "f1-score", "support"
        );
        let mut line = |name: &str, scores: &Scores| {
            let [precision, recall, f1] = scores.values;
            let support = scores.support;
            let _ = writeln!(out, "{name:>width$}  {precision:>9.4} {recall:>9.4} {f1:>9.4} {support:>9}");
        };
        for (class, scores) in classes.iter().zip(&self.by_class) {
            line(class, scores);
        }
        let rows = self.weighted.support;
        let _ =
            writeln!(out, "\n{:>width$}  {:>9} {:>9} {:>9.4} {rows:>9}", "accuracy", "", "", self.accuracy);
        let mut line = |name: &str, scores: &Scores| {
            let [precision, recall, f1] = scores.values;
            let _ = writeln!(out, "{name:>width$}  {precision:>9.4} {recall:>9.4} {f1:>9.4} {rows:>9}");
        };
        line("macro avg", &self.macro_average);
        line("weighted avg", &self.weighted);
        out
    }

    /// As its `output_dict=True` has it.
    fn json(&self, classes: &[String]) -> String {
        let scores = |scores: &Scores| {
            let [precision, recall, f1] = scores.values;
            json!({"precision": precision, "recall": recall, "f1-score": f1, "support": scores.support})
        };
        let mut document = Map::new();
        for (class, by_class) in classes.iter().zip(&self.by_class) {
            document.insert(class.clone(), scores(by_class));
        }
        document.insert("accuracy".to_owned(), json!(self.accuracy));
        document.insert("macro avg".to_owned(), scores(&self.macro_average));
        document.insert("weighted avg".to_owned(), scores(&self.weighted));
        format!("{:#}\n", Value::Object(document))
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_scikit_learn_s() {
        let classes = ["no", "yes", "maybe, so"].map(str::to_owned);
        let told = artifacts("test", &classes, &[vec![3, 1, 0], vec![1, 4, 1], vec![0, 0, 0]]);
        let content = |name: &str| {
            told.iter()
                .find_map(|op| match op {
                    Op::Text { path, content } if path == name => Some(content.as_str()),
                    _ => None,
                })
                .unwrap_or_else(|| panic!("{name} is not among {told:?}"))
        };
        assert_eq!(
            content("test/confusion_matrix.csv"),
            "true \\ predicted,no,yes,\"maybe, so\"\nno,3,1,0\nyes,1,4,1\n\"maybe, so\",0,0,0\n"
        );
        // From sklearn.metrics.classification_report of scikit-learn 1.9.1 with digits=4 and zero_division=0.
        let expected = concat!(
            "              precision    recall  f1-score   support\n\n",
            "          no     0.7500    0.7500    0.7500         4\n",
            "         yes     0.8000    0.6667    0.7273         6\n",
            "   maybe, so     0.0000    0.0000    0.0000         0\n\n",
            "    accuracy                         0.7000        10\n",
            "   macro avg     0.5167    0.4722    0.4924        10\n",
            "weighted avg     0.7800    0.7000    0.7364        10\n",
        );
        assert_eq!(content("test/classification_report.txt"), expected);
        let document: Value = serde_json::from_str(content("test/classification_report.json")).unwrap();
        assert_eq!(
            document["yes"],
            json!({"precision": 0.8, "recall": 4.0 / 6.0, "f1-score": 8.0 / 11.0, "support": 6})
        );
        assert_eq!((&document["accuracy"], &document["macro avg"]["support"]), (&json!(0.7), &json!(10)));
    }

    #[test]
    fn without_a_matrix_there_are_no_artifacts() {
        assert!(artifacts("test", &["a".to_owned()], &[]).is_empty());
        assert!(artifacts("test", &[], &[]).is_empty());
    }
}
