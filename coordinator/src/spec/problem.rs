//! What is wrong with a sweep file, and where.

use std::fmt;

use distilsweep_data::excerpt;
use distilsweep_proto::params::ParameterError;

/// One thing that is wrong, with where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line in the file, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// A fragment that names the key and says what would be right.
    pub message: String,
}

impl Problem {
    /// The problem as compilers print it: `sweep.yaml:7:3: message`.
    pub fn in_file(&self, file: &str) -> String {
        format!("{file}:{self}")
    }
}

impl fmt::Display for Problem {
    /// `line:column: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Problems that are told at once, at most: nobody reads more.
pub(super) const TOLD: usize = 50;

/// What is wrong with a sweep file, in its order; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Orders what was found; nothing where that is nothing.
    pub(super) fn from_found(mut found: Vec<Problem>) -> Option<Self> {
        found.sort();
        if let Some(Problem { line, column, .. }) = found.get(TOLD).cloned() {
            let message = format!("and {} problems more from here on", found.len() - TOLD);
            found.truncate(TOLD);
            found.push(Problem { line, column, message });
        }
        (!found.is_empty()).then_some(Self(found))
    }

    /// One problem after the other, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.0.iter()
    }

    /// A line for each problem, starting with the file's name.
    pub fn in_file(&self, file: &str) -> String {
        self.0.iter().map(|problem| problem.in_file(file)).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Problems {
    /// A line for each problem, without the file's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A parameter error that shows at most 60 characters of what the file has.
pub(super) fn with_short_value(error: ParameterError) -> ParameterError {
    match error {
        ParameterError::Unknown { name, near } => ParameterError::Unknown { name: excerpt(&name), near },
        ParameterError::Unsupported { name, instead } => {
            ParameterError::Unsupported { name: excerpt(&name), instead }
        }
        ParameterError::Value { name, value, wanted } => {
            ParameterError::Value { name, value: excerpt(&value), wanted }
        }
    }
}

/// Longer than any name: comparing takes as long as both lengths multiplied.
const LONGEST: usize = 100;

/// The known name nearest to a misspelt one, near enough to suggest.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .filter(|_| name.len() <= LONGEST)
        .map(|candidate| (strsim::normalized_damerau_levenshtein(candidate, name), candidate))
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
