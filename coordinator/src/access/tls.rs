//! The coordinator's certificate, and the authority behind those of its peers.

use std::{path::PathBuf, time::Duration};

use distilsweep_proto::{
    convert::root_cause,
    dial::{DialError, pem},
};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// How long a handshake may take: a peer that says nothing holds its connection no longer.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// PEM files of a coordinator that serves TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, with those between it and its authority.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The authority that signs the certificates that peers must show; `None` asks for none.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is none of its kind.
    #[error(transparent)]
    File(#[from] DialError),
    /// The files do not go together.
    #[error("{cert} and {key} cannot be served: {why}", cert = .files.cert.display(), key = .files.key.display())]
    Pair {
        /// Which ones.
        files: TlsFiles,
        /// Why.
        why: String,
    },
}

impl TlsFiles {
    /// Whether they can be served, before anything is made for it.
    ///
    /// # Errors
    /// As of [`Self::serve`].
    pub fn check(&self) -> Result<(), TlsError> {
        self.serve(Server::builder()).map(drop)
    }

    /// A server that speaks TLS with these files.
    ///
    /// # Errors
    /// [`TlsError`] with the file.
    pub fn serve(&self, server: Server) -> Result<Server, TlsError> {
        let identity = Identity::from_pem(pem(&self.cert, "CERTIFICATE")?, pem(&self.key, "PRIVATE KEY")?);
        let mut config = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE);
        if let Some(path) = &self.client_ca {
            config = config.client_ca_root(Certificate::from_pem(pem(path, "CERTIFICATE")?));
        }
        server
            .tls_config(config)
            .map_err(|error| TlsError::Pair { files: self.clone(), why: root_cause(&error) })
    }
}
