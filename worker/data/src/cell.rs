//! One value of a label column, by one rule for all file formats.

use crate::excerpt::excerpt;

/// Words that data tools write for a missing value. They are labels only where the classes are listed.
const MISSING_WORDS: [&str; 10] = ["NaN", "nan", "None", "null", "NA", "<NA>", "N/A", "NULL", "#N/A", "NaT"];

/// One value of a label column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cell {
    /// No value: an empty field, a JSON or Parquet null, a floating-point NaN.
    Missing,
    /// A number without a fraction of a typed file.
    Integer(i64),
    /// A text without surrounding white space, not empty. Text files have no other values.
    Text(String),
    /// A number with a fraction, or beyond 64 bits, of a typed file.
    Score(String),
    /// Several values, shortened for messages.
    List(String),
    /// A value that is no label, shortened for messages: an object, a date.
    Other(String),
}

impl Cell {
    /// A field of a text file, or a string of a typed one.
    pub(crate) fn text(value: &str) -> Self {
        match value.trim() {
            "" => Self::Missing,
            trimmed => Self::Text(trimmed.to_owned()),
        }
    }

    /// A floating-point number: a whole one is the integer.
    pub(crate) fn float(value: f64) -> Self {
        // Up to 2^53 every integer has a float of its own.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match value {
            _ if value.is_nan() => Self::Missing,
            _ if value.fract() == 0.0 && value.abs() <= EXACT => Self::Integer(value as i64),
            _ => Self::Score(value.to_string()),
        }
    }

    /// The value as a whole number: `1`, and `1.0` too. A number with leading zeros is a name.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => {
                let whole = match text.split_once('.') {
                    Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
                    Some(_) => return None,
                    None => text,
                };
                let digits = whole.strip_prefix('-').unwrap_or(whole);
                let canonical = digits == "0" || !digits.starts_with('0');
                let is_number = canonical && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                whole.parse().ok().filter(|_| is_number)
            }
            Self::Missing | Self::Score(_) | Self::List(_) | Self::Other(_) => None,
        }
    }

    /// Whether the value is a number with a fraction: a score, no class.
    pub(crate) fn is_score(&self) -> bool {
        match self {
            Self::Score(_) => true,
            Self::Text(text) => {
                let numeric =
                    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
                let number = text.parse::<f64>().ok().filter(|_| numeric);
                number.is_some_and(|number| number.is_finite() && number.fract() != 0.0)
            }
            Self::Missing | Self::Integer(_) | Self::List(_) | Self::Other(_) => false,
        }
    }

    /// Whether the value is a word for a missing one.
    pub(crate) fn is_missing_word(&self) -> bool {
        matches!(self, Self::Text(text) if MISSING_WORDS.contains(&text.as_str()))
    }

    /// The value as a class name; none if it cannot be one.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::Integer(number) => Some(number.to_string()),
            Self::Text(text) | Self::Score(text) => Some(text.clone()),
            Self::Missing | Self::List(_) | Self::Other(_) => None,
        }
    }

    /// The value in a message.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Missing => "nothing".to_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Text(text) => format!("\"{}\"", excerpt(text)),
            Self::Score(text) | Self::List(text) | Self::Other(text) => excerpt(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_floats_are_integers_in_text_and_in_numbers() {
        let text = |value: &str| Cell::text(value).integer();
        assert_eq!(
            [text("7"), text(" 1.0 "), text("-1.00"), text("0")],
            [Some(7), Some(1), Some(-1), Some(0)]
        );
        for name in ["007", "1.", "1.5", "+1", "-", "", "1e0", "0x1", "1 0"] {
            assert_eq!(text(name), None, "{name}");
        }
        assert_eq!(Cell::float(2.0), Cell::Integer(2));
        assert_eq!(Cell::float(-0.0), Cell::Integer(0));
        assert_eq!(Cell::float(f64::NAN), Cell::Missing);
        assert_eq!(Cell::float(2.5), Cell::Score("2.5".to_owned()));
        assert_eq!(Cell::float(1e300), Cell::Score(1e300.to_string()));
    }

    #[test]
    fn fractions_are_scores_and_versions_are_not() {
        for score in ["3.5", "-0.25", "1e-3"] {
            assert!(Cell::text(score).is_score(), "{score}");
        }
        for other in ["3.0", "3", "1.2.3", "v1.5", "nan", "inf", "-"] {
            assert!(!Cell::text(other).is_score(), "{other}");
        }
    }

    #[test]
    fn labels_are_trimmed_and_missing_words_known() {
        assert_eq!(Cell::text(" \tpos \n"), Cell::Text("pos".to_owned()));
        assert_eq!(Cell::text("  "), Cell::Missing);
        assert!(Cell::text(" NaN ").is_missing_word() && Cell::text("None").is_missing_word());
        assert!(!Cell::text("none").is_missing_word() && !Cell::text("nano").is_missing_word());
    }
}
