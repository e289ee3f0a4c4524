//! Tokens of one kind. What is kept of each is its digest: no dump of memory, no debug output shows it.

use std::fmt;

use distilsweep_proto::dial::{TOKEN_FORM, is_token};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Tokens with their names.
#[derive(Clone)]
pub struct Tokens(Vec<Named>);

#[derive(Clone)]
struct Named {
    name: String,
    digest: [u8; 32],
}

/// Why a text holds no tokens; it never repeats one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A line is none.
    #[error("{origin}:{line}: {TOKEN_FORM}")]
    Form {
        /// File or variable.
        origin: String,
        /// From 1.
        line: usize,
    },
    /// No line at all.
    #[error(
        "{0} holds no token: write one a line, with a name and a colon before it where several are in use"
    )]
    Empty(String),
    /// One token for both kinds would open both services.
    #[error(
        "the clients' and the workers' tokens share one: give each kind its own, or a worker could steer sweeps"
    )]
    Shared,
}

impl Tokens {
    /// Reads tokens, one a line, each with an optional name before a colon or a space; empty lines and comments (`#`) are
    /// passed over. `origin` is the file or variable that the text is from.
    ///
    /// # Errors
    /// [`TokenError`] with the line.
    pub fn parse(text: &str, origin: &str) -> Result<Self, TokenError> {
        let mut tokens = Vec::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            // No token has either character in it.
            let (name, token) = match content.split_once([':', ' ', '\t']) {
                Some((name, token)) => (name.to_owned(), token.trim()),
                None => (format!("token-{line}"), content),
            };
            if !is_token(token) {
                return Err(TokenError::Form { origin: origin.to_owned(), line });
            }
            tokens.push(Named { name, digest: digest(token.as_bytes()) });
        }
        if tokens.is_empty() { Err(TokenError::Empty(origin.to_owned())) } else { Ok(Self(tokens)) }
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, name: &str, token: &str) -> Self {
        self.0.push(Named { name: name.to_owned(), digest: digest(token.as_bytes()) });
        self
    }

    /// None at all: nobody is let in.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// One alone.
    pub fn one(name: &str, token: &str) -> Self {
        Self::none().with(name, token)
    }

    /// Fails where a token is among both.
    ///
    /// # Errors
    /// [`TokenError::Shared`].
    pub fn check_apart(&self, other: &Self) -> Result<(), TokenError> {
        let shared = self.0.iter().any(|one| other.0.iter().any(|another| one.digest == another.digest));
        if shared { Err(TokenError::Shared) } else { Ok(()) }
    }

    /// The name of a token, if it is one of these. How long that takes depends on the number of tokens and the length of
    /// the given one alone.
    pub fn name_of(&self, token: &[u8]) -> Option<&str> {
        let given = digest(token);
        let mut found = None;
        for Named { name, digest } in &self.0 {
            if bool::from(digest.ct_eq(&given)) {
                found = Some(name.as_str());
            }
        }
        found
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|token| &token.name)).finish()
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# rotated in June
anna: 0123456789abcdef0123

ci\tfedcba9876543210fedc
aaaabbbbccccddddeeee
";

    #[test]
    fn a_file_holds_several_named_tokens() {
        let tokens = Tokens::parse(FILE, "f").unwrap();
        let names =
            ["0123456789abcdef0123", "fedcba9876543210fedc", "aaaabbbbccccddddeeee", "0123456789abcdef012"];
        assert_eq!(
            names.map(|token| tokens.name_of(token.as_bytes())),
            [Some("anna"), Some("ci"), Some("token-5"), None]
        );
    }

    #[test]
    fn tokens_are_in_no_debug_output() {
        assert_eq!(format!("{:?}", Tokens::parse(FILE, "f").unwrap()), r#"["anna", "ci", "token-5"]"#);
    }

    #[test]
    fn a_line_that_is_no_token_is_named_and_not_repeated() {
        let said = |text: &str| Tokens::parse(text, "w.txt").unwrap_err().to_string();
        insta::assert_snapshot!([said("\nanna: secret"), said("a:b c/d?e0123456789abcdef"), said("# none\n")].join("\n"), @r"
        w.txt:2: a token has at least 16 letters, digits or -._~+/=, as `openssl rand -hex 32` makes them
        w.txt:1: a token has at least 16 letters, digits or -._~+/=, as `openssl rand -hex 32` makes them
        w.txt holds no token: write one a line, with a name and a colon before it where several are in use
        ");
    }

    #[test]
    fn a_token_of_both_kinds_is_refused() {
        let clients = Tokens::parse(FILE, "f").unwrap();
        let workers = Tokens::one("w", "fedcba9876543210fedc");
        assert_eq!(clients.check_apart(&workers), Err(TokenError::Shared));
        assert_eq!(clients.check_apart(&Tokens::one("w", "another-0123456789")), Ok(()));
    }
}
