//! How a program reaches a coordinator: its URL, encrypted or not, and the token that it shows. The same for commands and
//! for workers.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::{AlertDescription, CertificateError};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::{convert::root_cause, exit::Exit};

/// Where a program finds its token when no file is named.
pub const TOKEN_VARIABLE: &str = "DISTILSWEEP_TOKEN";

/// A connection on which nothing arrives for this long is asked for a sign of life, by both sides.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// One that then gives none for this long is broken. Both together are half of the lease time-out of `serve`: where
/// packets vanish without a word, a worker has time to find the coordinator elsewhere before its leases end.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Until TCP is connected, for all addresses of a name together: one where nobody answers leaves time for the next.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a token at least: what is shorter can be guessed.
pub const TOKEN_BYTES: usize = 16;

/// Arguments of everything that speaks to a coordinator.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Dial {
    /// File with the token that the coordinator asks for [default: the token in DISTILSWEEP_TOKEN]
    #[arg(long, value_name = "FILE", env = "DISTILSWEEP_TOKEN_FILE", hide_env = true)]
    token_file: Option<PathBuf>,

    /// PEM file with the authority behind an https:// coordinator [default: those of the system]
    #[arg(long, value_name = "FILE", env = "DISTILSWEEP_TLS_CA", hide_env = true)]
    tls_ca: Option<PathBuf>,

    /// PEM file with the certificate to show, where the coordinator asks for one
    #[arg(long, value_name = "FILE", env = "DISTILSWEEP_TLS_CERT", hide_env = true, requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// PEM file with its private key
    #[arg(long, value_name = "FILE", env = "DISTILSWEEP_TLS_KEY", hide_env = true, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// A token on its way to a coordinator; never printed. The default carries none.
#[derive(Clone, Debug, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

/// A coordinator that can be connected to, and the token for it.
#[derive(Clone, Debug)]
pub struct Coordinator {
    /// Where it is.
    pub endpoint: Endpoint,
    /// What to show it.
    pub bearer: Bearer,
}

/// A connection that shows a token with each call.
pub type Line = InterceptedService<Channel, Bearer>;

/// Why there is no connection, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Nobody is there.
    #[error("coordinator {url} cannot be reached: {why}: is `distilsweep serve` running there?")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What was heard instead.
        why: String,
    },
    /// Somebody is there, and one side does not trust the other.
    #[error("coordinator {url}: {why}")]
    Refused {
        /// Where it is.
        url: String,
        /// Whose fault it is, and what would be right.
        why: String,
    },
}

impl DialError {
    /// How a program ends with it.
    pub fn exit(&self) -> Exit {
        match self {
            DialError::Usage(_) => Exit::Usage,
            DialError::Unreachable { .. } => Exit::Unreachable,
            DialError::Refused { .. } => Exit::Refused,
        }
    }
}

impl Dial {
    /// A coordinator at `url`, http:// or https://. `environment` is asked for [`TOKEN_VARIABLE`].
    ///
    /// # Errors
    /// [`DialError::Usage`] where the URL, a file or the token makes no sense.
    pub fn coordinator(
        &self,
        url: &str,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Coordinator, DialError> {
        let endpoint = self.endpoint(url)?;
        let bearer = match (&self.token_file, environment(TOKEN_VARIABLE)) {
            (Some(path), _) => Bearer::named(&text(path)?, &path.display().to_string())?,
            (None, Some(token)) if !token.trim().is_empty() => Bearer::named(&token, TOKEN_VARIABLE)?,
            (None, _) => Bearer::default(),
        };
        let coordinator = Coordinator { endpoint, bearer };
        // Once: a worker connects many times.
        if coordinator.sends_token_in_the_clear() {
            tracing::warn!(
                coordinator = coordinator.url(),
                "the token travels unencrypted, and whoever reads it can use it: https:// hides it"
            );
        }
        Ok(coordinator)
    }

    fn endpoint(&self, url: &str) -> Result<Endpoint, DialError> {
        let no_url = || {
            DialError::Usage(format!("`{url}` is no URL, it must be http://host:port or https://host:port"))
        };
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|_| no_url())?
            .connect_timeout(CONNECT_TIMEOUT)
            .keep_alive_while_idle(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        match endpoint.uri().scheme_str() {
            Some("http") => Ok(endpoint),
            Some("https") => {
                let wrong = |error: &dyn Error| {
                    DialError::Usage(format!("TLS for {url} cannot be set up: {}", root_cause(error)))
                };
                endpoint.tls_config(self.tls()?).map_err(|error| wrong(&error))
            }
            Some(_) | None => Err(no_url()),
        }
    }

    fn tls(&self) -> Result<ClientTlsConfig, DialError> {
        let mut tls = ClientTlsConfig::new();
        tls = match &self.tls_ca {
            Some(path) => tls.ca_certificate(Certificate::from_pem(pem(path, "CERTIFICATE")?)),
            None => tls.with_native_roots(),
        };
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            tls = tls.identity(Identity::from_pem(pem(cert, "CERTIFICATE")?, pem(key, "PRIVATE KEY")?));
        }
        Ok(tls)
    }
}

impl Bearer {
    /// Carries this token. `origin` is where it comes from, for the message.
    ///
    /// # Errors
    /// [`DialError::Usage`] where it cannot be a token.
    pub fn named(token: &str, origin: &str) -> Result<Self, DialError> {
        let token = token.trim();
        if token.lines().count() > 1 {
            let message = format!("{origin} has several lines, it must be the one token to show");
            return Err(DialError::Usage(message));
        }
        // A line of the coordinator's own file, with the token's name before it.
        let token = token.rsplit([':', ' ', '\t']).next().unwrap_or_default();
        if !is_token(token) {
            return Err(DialError::Usage(format!("{origin} holds no token: {TOKEN_FORM}")));
        }
        let mut value = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| DialError::Usage(format!("{origin} holds no token: {TOKEN_FORM}")))?;
        // Kept out of debug output and of compression tables.
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }

    /// Whether it carries a token.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The token itself, to be handed to a program that is trusted with it.
    pub fn expose(&self) -> Option<&str> {
        self.0.as_ref()?.to_str().ok()?.strip_prefix("Bearer ")
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl From<Endpoint> for Coordinator {
    fn from(endpoint: Endpoint) -> Self {
        Self { endpoint, bearer: Bearer::default() }
    }
}

impl Coordinator {
    /// Its URL.
    pub fn url(&self) -> String {
        self.endpoint.uri().to_string().trim_end_matches('/').to_owned()
    }

    /// Connects. What the other side thinks of this one shows with the first call alone: see [`Self::failed`].
    ///
    /// # Errors
    /// [`DialError::Unreachable`] and [`DialError::Refused`].
    pub async fn connect(&self) -> Result<Line, DialError> {
        let channel = self.endpoint.connect().await.map_err(|error| self.why(&error))?;
        Ok(InterceptedService::new(channel, self.bearer.clone()))
    }

    /// Why a call failed, where it was for the connection or the token.
    pub fn failed(&self, status: &Status) -> Option<DialError> {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                Some(DialError::Refused { url: self.url(), why: status.message().to_owned() })
            }
            // Status of a transport that broke: the other side said no such thing.
            _ => status.source().map(|source| self.why(source)),
        }
    }

    fn why(&self, error: &(dyn Error + 'static)) -> DialError {
        let encrypted = self.endpoint.uri().scheme_str() == Some("https");
        match distrust(error, encrypted) {
            Some(why) => DialError::Refused { url: self.url(), why },
            None if is_silence(error) => {
                DialError::Unreachable { url: self.url(), why: "it does not answer".to_owned() }
            }
            None => DialError::Unreachable { url: self.url(), why: in_words(root_cause(error), encrypted) },
        }
    }

    fn sends_token_in_the_clear(&self) -> bool {
        let host = self.endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']);
        let near = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.bearer.is_some() && self.endpoint.uri().scheme_str() == Some("http") && !near
    }
}

/// What a token looks like, for messages.
pub const TOKEN_FORM: &str =
    "a token has at least 16 letters, digits or -._~+/=, as `openssl rand -hex 32` makes them";

/// Whether a text can be a token: RFC 6750's characters, and enough of them.
pub fn is_token(text: &str) -> bool {
    text.len() >= TOKEN_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

/// A file that a flag names.
fn text(path: &Path) -> Result<String, DialError> {
    std::fs::read_to_string(path)
        .map_err(|error| DialError::Usage(format!("{} cannot be read: {error}", path.display())))
}

/// A PEM file, if it has a section whose label ends like this.
///
/// # Errors
/// [`DialError::Usage`] where it cannot be read or has none.
pub fn pem(path: &Path, label: &str) -> Result<String, DialError> {
    let text = text(path)?;
    let found = text.lines().any(|line| {
        line.strip_prefix("-----BEGIN ")
            .is_some_and(|rest| rest.trim_end().ends_with(&format!("{label}-----")))
    });
    if found {
        Ok(text)
    } else {
        Err(DialError::Usage(format!("{} has no PEM section `{label}`", path.display())))
    }
}

/// What an error says about trust between the two sides, if that is what it is about.
fn distrust(error: &(dyn Error + 'static), encrypted: bool) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(said) = error.downcast_ref::<rustls::Error>() {
            return Some(of_tls(said));
        }
        // The error within one of input or output is none of its sources.
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(said) = within.and_then(|within| within.downcast_ref::<rustls::Error>()) {
            return Some(of_tls(said));
        }
        next = error.source();
    }
    // A TLS port takes the first bytes of plain HTTP/2 for a broken record, and says so in bytes that are no frame.
    let cause = root_cause(error);
    // HTTP/2 hands on the words alone.
    if cause.contains("alert: CertificateRequired") {
        return Some(of_tls(&rustls::Error::AlertReceived(AlertDescription::CertificateRequired)));
    }
    (!encrypted && cause.contains("frame with invalid size"))
        .then(|| "it speaks TLS there: use https://".to_owned())
}

/// Whether an error says no more than that nothing came back.
fn is_silence(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        next = error.source();
    }
    false
}

/// A cause as a person is told it. Of a TLS connection that was closed nobody can say why: the alert that would is often
/// overtaken by the close. It may as well be a coordinator that stops, so this is no refusal, and is tried again.
fn in_words(cause: String, encrypted: bool) -> String {
    let closed = ["broken pipe", "connection closed", "reset by peer", "handshake eof"];
    if encrypted && closed.iter().any(|words| cause.to_lowercase().contains(words)) {
        return format!(
            "{cause} (where it asks for a certificate, give one that it knows with --tls-cert FILE and --tls-key FILE)"
        );
    }
    cause
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: give it a new one".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: look at the clocks of both machines".to_owned()
            }
            CertificateError::UnknownIssuer => {
                "its certificate is signed by no authority known here: name the one that signed it with --tls-ca FILE"
                    .to_owned()
            }
            CertificateError::NotValidForName => {
                "its certificate is for another name than the URL's: use a name that it has".to_owned()
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                let names: Vec<&str> = presented.iter().map(|name| plain_name(name)).collect();
                format!(
                    "its certificate is for another name than the URL's: use one that it has ({})",
                    names.join(", ")
                )
            }
            other => format!("its certificate cannot be trusted: {other}"),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "it asks for a certificate: give --tls-cert FILE and --tls-key FILE".to_owned()
            }
            AlertDescription::UnknownCA => {
                "it does not know the authority behind our certificate: use one that its --tls-client-ca signed"
                    .to_owned()
            }
            AlertDescription::CertificateExpired => "our certificate has expired: give a new one with --tls-cert".to_owned(),
            AlertDescription::BadCertificate | AlertDescription::CertificateUnknown | AlertDescription::DecryptError => {
                "it does not take our certificate: use one that its --tls-client-ca signed".to_owned()
            }
            other => format!("it ended the TLS handshake ({other:?})"),
        },
        rustls::Error::InvalidMessage(_) => "it does not speak TLS there: use http://, or give it a certificate".to_owned(),
        other => format!("TLS failed: {other}"),
    }
}

/// The name in rustls's words: `DnsName("localhost")`.
fn plain_name(name: &str) -> &str {
    name.split_once('(').map_or(name, |(_, rest)| rest.trim_end_matches(')')).trim_matches('"')
}

impl fmt::Display for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_token_is_never_printed() {
        let bearer = Bearer::named(TOKEN, "x").unwrap();
        let dialled = Coordinator { endpoint: Endpoint::from_static("http://127.0.0.1:1"), bearer };
        assert!(!format!("{dialled:?} {dialled}").contains(TOKEN));
        assert_eq!(dialled.bearer.expose(), Some(TOKEN));
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_repeated() {
        for wrong in ["short", "with ümlauts and so on", "", "one-token-of-a-file\nanother-token-of-it"] {
            let DialError::Usage(message) = Bearer::named(wrong, "token.txt").unwrap_err() else { panic!() };
            assert!(message.starts_with("token.txt "), "{message}");
            assert!(wrong.is_empty() || !message.contains(wrong), "{message}");
        }
        let named = Bearer::named(&format!("anna: {TOKEN}\n"), "x").unwrap();
        assert_eq!(named.expose(), Some(TOKEN));
    }

    #[test]
    fn a_token_comes_from_the_file_and_else_from_the_environment() {
        let directory = std::env::temp_dir().join(format!("distilsweep-dial-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("token");
        std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
        let other = TOKEN.replace('0', "f");
        let environment = |name: &str| (name == TOKEN_VARIABLE).then(|| other.clone());
        let url = "http://127.0.0.1:7070";
        let dial = Dial { token_file: Some(path), ..Dial::default() };
        assert_eq!(dial.coordinator(url, environment).unwrap().bearer.expose(), Some(TOKEN));
        let dial = Dial::default();
        assert_eq!(dial.coordinator(url, environment).unwrap().bearer.expose(), Some(&*other));
        assert!(!dial.coordinator(url, |_| None).unwrap().bearer.is_some());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_url_is_http_or_https() {
        for wrong in ["nonsense", "ftp://h:1", "localhost:7070", ""] {
            let error = Dial::default().coordinator(wrong, |_| None).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage, "{wrong}");
        }
        assert!(Dial::default().coordinator("https://h:1", |_| None).is_ok());
    }

    #[test]
    fn a_host_that_says_nothing_does_not_answer() {
        let coordinator = Dial::default().coordinator("http://h:1", |_| None).unwrap();
        let silence = io::Error::new(io::ErrorKind::TimedOut, "deadline has elapsed");
        let words = "coordinator http://h:1 cannot be reached: it does not answer: is `distilsweep serve` running there?";
        assert_eq!(coordinator.why(&silence).to_string(), words);
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "refused");
        assert!(coordinator.why(&refused).to_string().contains("refused"));
    }

    #[test]
    fn a_token_in_the_clear_is_noticed_off_loopback_alone() {
        let clear = |url: &str| {
            let bearer = Bearer::named(TOKEN, "x").unwrap();
            Coordinator { bearer, ..Dial::default().coordinator(url, |_| None).unwrap() }
                .sends_token_in_the_clear()
        };
        assert!(clear("http://10.0.0.1:7070") && clear("http://coordinator:7070"));
        assert!(
            !clear("http://127.0.0.1:7070") && !clear("http://[::1]:7070") && !clear("http://localhost:1")
        );
        assert!(!clear("https://coordinator:7070"));
    }
}
