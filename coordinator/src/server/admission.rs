//! Who is let in: tokens that were given, or made up for one command and its processes.

use std::net::SocketAddr;

use distilsweep_proto::dial::Bearer;

use super::ServerError;
use crate::access::{Access, LOCAL, TlsError, TlsFiles, Tokens};

/// Who may call a coordinator, and over what.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Whoever has one of two tokens that are made up at the start.
    Private,
    /// Whoever has one of these.
    Shared {
        /// Tokens; without any everybody may.
        access: Access,
        /// Files for TLS; `None` serves plain text.
        tls: Option<TlsFiles>,
        /// Serve other machines though tokens or TLS are missing.
        insecure: bool,
    },
}

/// Who is let in, and with which tokens this process itself is.
pub(super) struct Admission {
    pub(super) access: Access,
    pub(super) tls: Option<TlsFiles>,
    pub(super) client: Bearer,
    pub(super) worker: Bearer,
}

/// Who is let in at `address`.
///
/// # Errors
/// Other machines reach it, and what keeps strangers out is missing.
pub(super) fn admission(entry: Entry, address: SocketAddr) -> Result<Admission, ServerError> {
    let (mut access, tls, worker) = match entry {
        Entry::Private => {
            let (token, worker) = made_up()?;
            let workers = Some(Tokens::one(LOCAL, &token));
            // Its clients follow below.
            (Access { clients: Some(Tokens::none()), workers }, None, worker)
        }
        Entry::Shared { access, tls, insecure } => {
            let missing = access.missing(address, tls.is_some());
            if !missing.is_empty() && !insecure {
                return Err(ServerError::Open { address, missing });
            }
            if !missing.is_empty() {
                tracing::warn!(
                    %address,
                    missing = missing.join(", "),
                    "insecure: whoever reaches this address may do what the missing would prevent"
                );
            }
            (access, tls, Bearer::default())
        }
    };
    let mut client = Bearer::default();
    if let Some(clients) = access.clients.take() {
        let (token, bearer) = made_up()?;
        access.clients = Some(clients.with(LOCAL, &token));
        client = bearer;
    }
    Ok(Admission { access, tls, client, worker })
}

/// A token of 256 random bits.
fn made_up() -> Result<(String, Bearer), TlsError> {
    let token = distilsweep_proto::hex::hex(&rand::random::<[u8; 32]>());
    let bearer = Bearer::named(&token, "a random token")?;
    Ok((token, bearer))
}
