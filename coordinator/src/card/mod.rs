//! The model card of an exported trial: front matter for the Hub, then what is known of the model for people, and what is
//! not. Pure.

mod front;
mod scores;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use distilsweep_proto::{
    params::TrainingArguments,
    resource::{Resource, ResourceKind},
};

use crate::{
    results::{Summary, TrialState, labels::counted, trial::TrialView},
    scheduler::Split,
};

/// Classes of which a confusion matrix fits a page.
const MATRIX: usize = 12;

/// What a card is made of.
#[derive(Clone, Copy, Debug)]
pub struct Card<'a> {
    /// The sweep.
    pub summary: &'a Summary,
    /// The trial.
    pub trial: &'a TrialView,
    /// Its place in the ranking, from 1; none where it has no score.
    pub place: Option<usize>,
    /// Positions of the model: no text has more tokens.
    pub positions: Option<u64>,
    /// Version of this program.
    pub version: &'a str,
}

impl Card<'_> {
    /// The text of `README.md`.
    pub fn text(&self) -> String {
        let mut out = format!("---\n{}---\n\n", front::matter(self));
        self.model(&mut out);
        self.results(&mut out);
        self.choice(&mut out);
        self.data(&mut out);
        self.settings(&mut out);
        self.limits(&mut out);
        self.usage(&mut out);
        self.versions(&mut out);
        out
    }

    fn resource(&self, kind: ResourceKind) -> Option<&Resource> {
        self.summary.resources.iter().find(|resource| resource.kind == kind)
    }

    fn base(&self) -> String {
        self.resource(ResourceKind::Model)
            .map_or_else(|| "a checkpoint that was not recorded".to_owned(), named)
    }

    fn model(&self, out: &mut String) {
        let Self { summary, trial, .. } = self;
        let classes: Vec<String> = trial.classes.iter().map(|class| format!("`{class}`")).collect();
        let _ = writeln!(
            out,
            "# {}\n\nA DistilBERT text classifier with {}: {}.\nIt is {}, fine-tuned as trial {} of the sweep `{}` by \
             Distilsweep.",
            summary.name,
            classes_counted(classes.len()),
            classes.join(", "),
            self.base(),
            trial.row.trial,
            summary.sweep
        );
    }

    fn results(&self, out: &mut String) {
        out.push_str(
            "\n## Results\n\nA score's standard error, by the number of rows, stands behind it.\n\n",
        );
        let scores = scores::scores(self);
        out.push_str("| split | rows | metric | value | always guessing the commonest class |\n|---|---:|---|---:|---:|\n");
        for score in &scores {
            let error = score.error.map_or_else(String::new, |error| format!(" ± {error:.4}"));
            let guess = score.guess.map_or_else(|| "-".to_owned(), |guess| format!("{guess:.4}"));
            let _ = writeln!(
                out,
                "| {} | {} | {} | {:.4}{error} | {guess} |",
                score.split, score.rows, score.title, score.value
            );
        }
        if self.test_is_validation() {
            out.push_str("\nThe test rows are the validation rows: the test scores are no second opinion.\n");
        }
        let test = self.split("test");
        let matrix = test.filter(|test| !test.confusion.is_empty() && test.confusion.len() <= MATRIX);
        if let Some(test) = matrix {
            let heads: String =
                self.trial.classes.iter().map(|class| format!(" {} |", cell(class))).collect();
            let _ = writeln!(
                out,
                "\nTest rows by their class (down) and the class that they were taken for (across):\n"
            );
            let _ = writeln!(out, "| |{heads}\n|---|{}", "---:|".repeat(self.trial.classes.len()));
            for (class, row) in self.trial.classes.iter().zip(&test.confusion) {
                let counts: String = row.iter().map(|count| format!(" {count} |")).collect();
                let _ = writeln!(out, "| {} |{counts}", cell(class));
            }
        }
    }

    fn test_is_validation(&self) -> bool {
        let data = &self.trial.row.data;
        data.get("test").is_some() && data.get("test") == data.get("validation")
    }

    fn choice(&self, out: &mut String) {
        let Self { summary, trial, place, .. } = self;
        let completed = summary.count(TrialState::Completed);
        let goal = if summary.maximize { "highest" } else { "lowest" };
        let place = match place {
            Some(place) => format!("this one is in place {place}"),
            None => "this one has no place".to_owned(),
        };
        let _ = writeln!(
            out,
            "\n## How it was chosen\n\nThe sweep has {}, of which {completed} completed. They were ranked by `{}`, the \
             {goal} first, and {place}. Of each trial the best evaluation was kept. Both were decided by the \
             validation rows alone. The best of many scores on the same rows is a flattering one{}.",
            counted(summary.total, "trial"),
            summary.metric,
            match self.split("test") {
                Some(_) if !self.test_is_validation() => {
                    "; the test rows were measured after the choice of the evaluation, and played no part in it"
                }
                Some(_) | None => "",
            }
        );
        if let Some((rank, _)) = trial.rank.filter(|(rank, _)| self.place != usize::try_from(*rank).ok()) {
            let _ = writeln!(out, "It shares rank {rank} with trials that cannot be told from it.");
        }
    }

    fn split(&self, name: &str) -> Option<&Split> {
        self.trial.splits.iter().find(|split| split.name == name)
    }

    fn data(&self, out: &mut String) {
        let known = self.resource(ResourceKind::Dataset);
        let what = known.map_or_else(|| "data that was not recorded".to_owned(), named);
        let license = known.and_then(|data| data.license.as_deref()).unwrap_or("not known");
        let _ = writeln!(out, "\n## Data\n\nIt was trained on {what}; licence of the data: {license}.\n");
        out.push_str("| split | rows | SHA-256 over its tokens and classes |\n|---|---:|---|\n");
        for split in &self.trial.splits {
            let _ = writeln!(out, "| {} | {} | `{}` |", split.name, split.rows, split.sha256);
        }
        for file in known.into_iter().flat_map(|data| &data.files) {
            let _ = writeln!(
                out,
                "{}- `{}`, SHA-256 `{}`",
                if known.is_some_and(|data| data.files.first() == Some(file)) { "\n" } else { "" },
                last(&file.path),
                file.sha256
            );
        }
    }

    fn settings(&self, out: &mut String) {
        out.push_str("\n## Settings\n\nNames are those of Hugging Face's Trainer; what is not listed is its default.\n\n");
        out.push_str("| hyperparameter | value |\n|---|---|\n");
        for (name, value) in &self.trial.row.params {
            let _ = writeln!(out, "| `{name}` | {value} |");
        }
        let _ = writeln!(out, "\n{} of the optimizer were done in all.", counted(self.trial.steps, "step"));
    }

    fn limits(&self, out: &mut String) {
        let length = self.max_length();
        let _ = writeln!(
            out,
            "\n## Intended use and limits\n\nIt is for texts like those that it was trained on, and for these classes: \
             whatever the text, it names one of them. A text was cut to {length} tokens at most. Its probabilities \
             were not calibrated."
        );
        if let Some((class, found, rows)) = self.weakest() {
            let _ = writeln!(
                out,
                "Of the test rows it finds those of class `{class}` least often: {found} of {rows}."
            );
        }
        out.push_str(
            "\nNobody has looked into the following, and this card, which is made of what was recorded, does not know it: \
             who wrote the texts, in which languages, and about whom; whether labels are right; how it does on other \
             kinds of texts, and for different groups of people. Look at it before it decides about anybody.\n",
        );
        let license = self.resource(ResourceKind::Model).and_then(|model| model.license.as_deref());
        let _ = writeln!(
            out,
            "\nLicence of the checkpoint that it was fine-tuned from: {}.",
            license.unwrap_or("not known")
        );
    }

    /// Tokens that its trial cut texts to.
    fn max_length(&self) -> u64 {
        let known = self.trial.row.params.get("max_length");
        let asked = known.and_then(|length| length.to_string().parse().ok());
        asked.unwrap_or_else(|| {
            let usual = TrainingArguments::default().max_length as u64;
            self.positions.map_or(usual, |positions| usual.min(positions))
        })
    }

    /// The class of the test rows that is found least often, how many of its rows are, and of how many.
    fn weakest(&self) -> Option<(&str, u64, u64)> {
        let test = self.split("test")?;
        let found = test.confusion.iter().enumerate().map(|(class, row)| {
            let name = self.trial.classes.get(class).map_or("", String::as_str);
            (name, row.get(class).copied().unwrap_or_default(), row.iter().sum::<u64>())
        });
        let share = |(_, found, rows): &(&str, u64, u64)| *found as f64 / *rows as f64;
        found.filter(|(_, _, rows)| *rows > 0).min_by(|a, b| share(a).total_cmp(&share(b)))
    }

    fn usage(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\n## How to use it\n\n```python\nfrom transformers import pipeline\n\nclassify = pipeline(\"text-classification\", \
             model=\"DIR\", truncation=True, max_length={length})\nclassify(\"a text\")\n```\n\n```sh\ndistilsweep-worker \
             predict --model DIR --max-length {length} \"a text\"\n```\n\nDIR is the directory of this file.",
            length = self.max_length(),
        );
    }

    fn versions(&self, out: &mut String) {
        let _ = writeln!(out, "\n## Versions\n\n- exported by: distilsweep {}", self.version);
        for (name, value) in &self.trial.tags {
            let _ = writeln!(out, "- {name}: {value}");
        }
    }
}

/// What a resource is called in a card. A path says where things lie on somebody's machine: its last part is enough.
fn named(resource: &Resource) -> String {
    match (&resource.commit, &resource.page) {
        (Some(commit), Some(page)) => format!("[{}]({page}) at revision `{commit}`", resource.id),
        (Some(commit), None) => format!("`{}` at revision `{commit}`", resource.id),
        (None, _) => format!("`{}` (no repository of the Hub)", last(&resource.id)),
    }
}

fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

fn classes_counted(count: usize) -> String {
    if count == 1 { "1 class".to_owned() } else { format!("{count} classes") }
}

/// A name in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
