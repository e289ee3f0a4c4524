//! Tokens of a text.

use distilsweep_data::Token;

use super::columns::{
    Align::{Left, Right},
    columns,
};
use crate::text::escape_controls;

/// A token a line: its id, the token, the characters that it stands for and their text.
pub fn tokens(tokens: &[Token], text: &str, pair: Option<&str>, decoded: &str, width: usize) -> String {
    let mut rows = vec![["ID", "TOKEN", "CHARACTERS", "TEXT"].map(str::to_owned).to_vec()];
    rows.extend(tokens.iter().map(|token| {
        let of = if token.second { pair.unwrap_or_default() } else { text };
        let (characters, part) = match token.characters {
            Some((from, to)) => {
                (format!("{from}-{to}"), of.chars().skip(from).take(to.saturating_sub(from)).collect())
            }
            None => ("-".to_owned(), String::new()),
        };
        vec![token.id.to_string(), token.token.clone(), characters, part]
    }));
    let table = columns(&[Right, Left, Right, Left], &rows, width);
    format!("{table}{} tokens; decoded: {}\n", tokens.len(), escape_controls(decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_texts_are_escaped() {
        let token = Token { id: 1, token: "a\u{1b}".into(), characters: Some((0, 2)), second: false };
        let shown = tokens(&[token], "a\u{1b}[31m", None, "a\u{1b}[31m", 60);
        insta::assert_snapshot!(shown, @r"
        ID  TOKEN    CHARACTERS  TEXT
         1  a\u{1b}         0-2  a\u{1b}
        1 tokens; decoded: a\u{1b}[31m
        ");
    }

    #[test]
    fn each_token_is_shown_with_its_characters() {
        let token =
            |id, token: &str, characters, second| Token { id, token: token.into(), characters, second };
        let shown = tokens(
            &[
                token(101, "[CLS]", None, false),
                token(7592, "cafe", Some((0, 4)), false),
                token(102, "[SEP]", None, false),
                token(2061, "so", Some((1, 3)), true),
            ],
            "Café",
            Some(" so"),
            "cafe so",
            60,
        );
        insta::assert_snapshot!(shown, @"
          ID  TOKEN  CHARACTERS  TEXT
         101  [CLS]           -
        7592  cafe          0-4  Café
         102  [SEP]           -
        2061  so            1-3  so
        4 tokens; decoded: cafe so
        ");
    }
}
