//! Who may do what: clients steer sweeps, workers train trials, and neither may do the other's. Pure, but for the files
//! that tokens and certificates are read from.
//!
//! ```text
//!   token of a client ──▶ Sweeps, reflection
//!   token of a worker ──▶ Workers
//!   none              ──▶ health; everything where no tokens are set, which is refused off loopback
//! ```

mod tls;
mod tokens;

use std::net::SocketAddr;

pub use tls::{TlsError, TlsFiles};
pub use tokens::{TokenError, Tokens};

/// Name of the tokens that a coordinator makes up itself.
pub const LOCAL: &str = "local";

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A client's token.
    Client,
    /// A worker's token.
    Worker,
    /// None.
    Nothing,
}

/// Who holds which tokens; `None` asks for none.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Tokens that open the Sweeps service.
    pub clients: Option<Tokens>,
    /// Tokens that open the Workers service.
    pub workers: Option<Tokens>,
}

/// Why a call is not let in, for whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It shows no token.
    #[error("{}'s token is needed: set DISTILSWEEP_TOKEN or give --token-file FILE", .0.holder())]
    Missing(Need),
    /// It shows a token that nobody has.
    #[error("the token is wrong or was withdrawn: set DISTILSWEEP_TOKEN or give --token-file FILE with {}'s", .0.holder())]
    Unknown(Need),
    /// It shows a token that opens the other service.
    #[error("the token opens the other service alone: set DISTILSWEEP_TOKEN or give --token-file FILE with {}'s", .0.holder())]
    Other(Need),
}

impl Need {
    fn holder(self) -> &'static str {
        match self {
            Need::Worker => "a worker",
            Need::Client | Need::Nothing => "a client",
        }
    }
}

impl Access {
    /// Whether a call with this token is let in, and the token's name, where one was needed.
    ///
    /// # Errors
    /// [`Refusal`], which never repeats the token.
    pub fn check(&self, need: Need, token: Option<&[u8]>) -> Result<Option<&str>, Refusal> {
        let (own, other) = match need {
            Need::Nothing => return Ok(None),
            Need::Client => (&self.clients, &self.workers),
            Need::Worker => (&self.workers, &self.clients),
        };
        let Some(own) = own else { return Ok(None) };
        let token = token.ok_or(Refusal::Missing(need))?;
        if let Some(name) = own.name_of(token) {
            return Ok(Some(name));
        }
        let elsewhere = other.as_ref().is_some_and(|other| other.name_of(token).is_some());
        Err(if elsewhere { Refusal::Other(need) } else { Refusal::Unknown(need) })
    }

    /// Flags that are missing before a coordinator may listen on this address; none on loopback.
    pub fn missing(&self, address: SocketAddr, encrypted: bool) -> Vec<&'static str> {
        if address.ip().to_canonical().is_loopback() {
            return Vec::new();
        }
        let mut missing = Vec::new();
        if self.clients.is_none() {
            missing.push("--client-token-file");
        }
        if self.workers.is_none() {
            missing.push("--worker-token-file");
        }
        if !encrypted {
            missing.push("--tls-cert with --tls-key");
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(token: &str) -> Option<Tokens> {
        Some(Tokens::parse(token, "tokens").unwrap())
    }

    fn access() -> Access {
        Access {
            clients: tokens("anna: client-0123456789abcdef"),
            workers: tokens("gpu worker-0123456789abcdef"),
        }
    }

    #[test]
    fn a_token_opens_its_own_service_alone() {
        let access = access();
        let client = Some(&b"client-0123456789abcdef"[..]);
        let worker = Some(&b"worker-0123456789abcdef"[..]);
        assert_eq!(access.check(Need::Client, client), Ok(Some("anna")));
        assert_eq!(access.check(Need::Worker, worker), Ok(Some("gpu")));
        assert_eq!(access.check(Need::Client, worker), Err(Refusal::Other(Need::Client)));
        assert_eq!(access.check(Need::Worker, client), Err(Refusal::Other(Need::Worker)));
        assert_eq!(access.check(Need::Worker, None), Err(Refusal::Missing(Need::Worker)));
        assert_eq!(access.check(Need::Client, Some(b"guess")), Err(Refusal::Unknown(Need::Client)));
        assert_eq!(access.check(Need::Client, Some(b"")), Err(Refusal::Unknown(Need::Client)));
        assert_eq!(access.check(Need::Nothing, None), Ok(None));
    }

    #[test]
    fn without_tokens_everybody_is_let_in() {
        let open = Access::default();
        assert_eq!(open.check(Need::Client, None), Ok(None));
        assert_eq!(open.check(Need::Worker, Some(b"whatever")), Ok(None));
    }

    #[test]
    fn a_refusal_says_whose_token_is_needed_and_where_to_put_it() {
        insta::assert_snapshot!(
            [Refusal::Missing(Need::Worker), Refusal::Unknown(Need::Client), Refusal::Other(Need::Worker)]
                .map(|refusal| refusal.to_string())
                .join("\n"),
            @r"
        a worker's token is needed: set DISTILSWEEP_TOKEN or give --token-file FILE
        the token is wrong or was withdrawn: set DISTILSWEEP_TOKEN or give --token-file FILE with a client's
        the token opens the other service alone: set DISTILSWEEP_TOKEN or give --token-file FILE with a worker's
        "
        );
    }

    #[test]
    fn off_loopback_both_tokens_and_tls_are_needed() {
        let address = |text: &str| text.parse().unwrap();
        let open = Access::default();
        for near in ["127.0.0.1:1", "127.3.2.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(open.missing(address(near), false).is_empty(), "{near}");
        }
        for far in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            assert_eq!(open.missing(address(far), false).len(), 3, "{far}");
            assert_eq!(access().missing(address(far), false), ["--tls-cert with --tls-key"], "{far}");
            assert!(access().missing(address(far), true).is_empty(), "{far}");
        }
    }
}
