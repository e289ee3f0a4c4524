//! Where MLflow is and how to log in there, under the names of MLflow's own environment variables.

use std::{fmt, path::PathBuf, time::Duration};

use thiserror::Error;
use url::Url;

/// Everything that [`super::client::Client`] needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Address of the server: http or https, with the prefix it is served under and without a trailing slash.
    pub address: String,
    /// How to log in.
    pub credentials: Credentials,
    /// File with the certificates of authorities to trust besides the system's, PEM.
    pub authorities: Option<PathBuf>,
    /// File with a certificate and its key to show to the server, PEM.
    pub identity: Option<PathBuf>,
    /// Accept any certificate.
    pub insecure_tls: bool,
    /// How long one call may take. A server whose database is locked answers after 20 s, so less would cut off calls
    /// that succeed.
    pub timeout: Duration,
}

/// How to log in.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    None,
    /// By name and password.
    Basic {
        /// The name, also recorded as the user of runs.
        user: String,
        /// The password.
        password: String,
    },
    /// By a bearer token.
    Token(String),
}

/// Why there is no usable address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// A store that only the Python client opens.
    #[error(
        "MLflow address `{address}` names a store on disk; start a server on it (`mlflow server --backend-store-uri \
         {address} --port 5000`) and give its http address"
    )]
    Store {
        /// As given.
        address: String,
    },
    /// Not an address at all.
    #[error("MLflow address `{address}` is no http or https address; it looks like http://127.0.0.1:5000")]
    Address {
        /// As given, without credentials.
        address: String,
    },
    /// A number that is none.
    #[error("{name} is `{value}`, it must be a number of seconds above 20")]
    Timeout {
        /// Which variable.
        name: &'static str,
        /// As given.
        value: String,
    },
    /// Two that exclude each other.
    #[error(
        "MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH exclude each other, unset one of them"
    )]
    Contradiction,
}

const TIMEOUT: &str = "MLFLOW_HTTP_REQUEST_TIMEOUT";

impl Settings {
    /// The address in `MLFLOW_TRACKING_URI` and what belongs to it; none where that is unset or empty.
    ///
    /// # Errors
    /// [`SettingsError`] where a variable has a value that cannot be used.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, SettingsError> {
        match lookup("MLFLOW_TRACKING_URI").filter(|address| !address.is_empty()) {
            Some(address) => Self::at(&address, lookup).map(Some),
            None => Ok(None),
        }
    }

    /// The server at `address`, with credentials and certificates as the environment has them.
    ///
    /// # Errors
    /// [`SettingsError`] where the address or a variable cannot be used.
    pub fn at(address: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let given = |name: &str| lookup(name).filter(|text| !text.is_empty());
        let (address, in_address) = split_address(address)?;
        // MLflow's own order: name and password before token; a name without a password counts for nothing.
        let credentials = match (given("MLFLOW_TRACKING_USERNAME"), given("MLFLOW_TRACKING_PASSWORD")) {
            (Some(user), Some(password)) => Credentials::Basic { user, password },
            _ => given("MLFLOW_TRACKING_TOKEN").map_or(in_address, Credentials::Token),
        };
        let insecure_tls = given("MLFLOW_TRACKING_INSECURE_TLS")
            .is_some_and(|text| matches!(text.to_lowercase().as_str(), "true" | "1"));
        let authorities = given("MLFLOW_TRACKING_SERVER_CERT_PATH").map(PathBuf::from);
        if insecure_tls && authorities.is_some() {
            return Err(SettingsError::Contradiction);
        }
        let timeout = match given(TIMEOUT) {
            Some(value) => match value.parse() {
                Ok(seconds @ 21..) => Duration::from_secs(seconds),
                Ok(_) | Err(_) => return Err(SettingsError::Timeout { name: TIMEOUT, value }),
            },
            None => Duration::from_secs(120),
        };
        let identity = given("MLFLOW_TRACKING_CLIENT_CERT_PATH").map(PathBuf::from);
        Ok(Self { address, credentials, authorities, identity, insecure_tls, timeout })
    }
}

/// Whose runs they are, as MLflow's own client finds it: who logs in there, else who is logged in here.
pub fn user(lookup: impl Fn(&str) -> Option<String>) -> String {
    ["MLFLOW_TRACKING_USERNAME", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(lookup)
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Name (`MLFLOW_TRACKING_USERNAME`) or password (`MLFLOW_TRACKING_PASSWORD`) in `~/.mlflow/credentials`, whose text
/// `read` gives and where MLflow's own client looks for what the environment does not have: the lines of section
/// `[mlflow]`, with the names of the variables in lower case. Other variables are not in it.
pub fn in_file(name: &str, read: impl FnOnce() -> Option<String>) -> Option<String> {
    if !["MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"].contains(&name) {
        return None;
    }
    let text = read()?;
    text.lines()
        .map(str::trim)
        .skip_while(|line| *line != "[mlflow]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(['=', ':']))
        .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
}

/// Parts an address from credentials in it, which must show up neither in errors nor in links.
fn split_address(address: &str) -> Result<(String, Credentials), SettingsError> {
    let given = || address.to_owned();
    let Ok(mut url) = Url::parse(address) else {
        return Err(if address.starts_with(['/', '.']) {
            SettingsError::Store { address: given() }
        } else {
            SettingsError::Address { address: given() }
        });
    };
    match url.scheme() {
        "http" | "https" if url.has_host() => {}
        "file" | "sqlite" => return Err(SettingsError::Store { address: given() }),
        _ => {
            // `user:secret@host` parses as a scheme and a path.
            let shown = address.rsplit_once('@').map_or(address, |(_, host)| host);
            return Err(SettingsError::Address { address: shown.to_owned() });
        }
    }
    let credentials = match (url.username(), url.password()) {
        ("", _) | (_, None) => Credentials::None,
        (user, Some(password)) => Credentials::Basic { user: decoded(user), password: decoded(password) },
    };
    // Both can fail only for addresses without a host.
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    debug_assert!(cleared.is_ok());
    url.set_query(None);
    url.set_fragment(None);
    Ok((url.as_str().trim_end_matches('/').to_owned(), credentials))
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> String {
    // In a query, `+` would read as a space.
    let query = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(query.as_bytes())
        .next()
        .map_or_else(|| text.to_owned(), |(_, decoded)| decoded.into_owned())
}

impl fmt::Debug for Credentials {
    /// Without secrets: settings end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::None => f.write_str("None"),
            Credentials::Basic { user, .. } => write!(f, "Basic({user}, …)"),
            Credentials::Token(_) => f.write_str("Token(…)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
        Settings::from_env(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn at(address: &str) -> Result<Settings, SettingsError> {
        Settings::at(address, |_| None)
    }

    #[test]
    fn without_an_address_there_are_no_settings() {
        assert_eq!(settings(&[("MLFLOW_TRACKING_TOKEN", "t")]), Ok(None));
        assert_eq!(settings(&[("MLFLOW_TRACKING_URI", "")]), Ok(None));
    }

    #[test]
    fn a_prefix_stays_and_a_trailing_slash_goes() {
        assert_eq!(at("http://h:5000/").unwrap().address, "http://h:5000");
        assert_eq!(at("https://h/mlflow/").unwrap().address, "https://h/mlflow");
    }

    #[test]
    fn name_and_password_win_over_a_token_and_a_name_alone_counts_for_nothing() {
        let both = [
            ("MLFLOW_TRACKING_URI", "http://h"),
            ("MLFLOW_TRACKING_USERNAME", "u"),
            ("MLFLOW_TRACKING_TOKEN", "t"),
            ("MLFLOW_TRACKING_PASSWORD", "p"),
        ];
        let credentials = |variables: &[_]| settings(variables).unwrap().unwrap().credentials;
        assert_eq!(credentials(&both), Credentials::Basic { user: "u".into(), password: "p".into() });
        assert_eq!(credentials(&both[..3]), Credentials::Token("t".into()));
        assert_eq!(credentials(&both[..2]), Credentials::None);
    }

    #[test]
    fn a_file_of_credentials_has_a_section_of_mlflow_s() {
        let text = "# mine\n[other]\nmlflow_tracking_username = eve\n[mlflow]\nmlflow_tracking_username = ada\n\
                    MLFLOW_TRACKING_PASSWORD: p=:q \nmlflow_tracking_token = t\n[last]\nx = y\n";
        let looked_up = |text: &str, name: &str| in_file(name, || Some(text.to_owned()));
        assert_eq!(looked_up(text, "MLFLOW_TRACKING_USERNAME").as_deref(), Some("ada"));
        assert_eq!(looked_up(text, "MLFLOW_TRACKING_PASSWORD").as_deref(), Some("p=:q"));
        for absent in ["MLFLOW_TRACKING_TOKEN", "x", "MLFLOW_TRACKING_URI"] {
            assert_eq!(looked_up(text, absent), None, "{absent}");
        }
        assert_eq!(looked_up("mlflow_tracking_username = ada", "MLFLOW_TRACKING_USERNAME"), None);
    }

    #[test]
    fn credentials_in_the_address_are_used_and_not_shown() {
        let settings = at("http://u:p%40+s@h:5000").unwrap();
        assert_eq!(settings.credentials, Credentials::Basic { user: "u".into(), password: "p@+s".into() });
        assert_eq!(settings.address, "http://h:5000");
        assert!(!format!("{settings:?}").contains("p@"), "{settings:?}");
    }

    #[test]
    fn runs_belong_to_who_logs_in_else_to_who_is_here() {
        let both = |name: &str| match name {
            "MLFLOW_TRACKING_USERNAME" => Some("ada".to_owned()),
            "USER" => Some("root".to_owned()),
            _ => None,
        };
        assert_eq!(user(both), "ada");
        assert_eq!(user(|name| both(name).filter(|_| name == "USER")), "root");
        assert_eq!(user(|_| None), "unknown");
    }

    #[test]
    fn errors_say_what_would_be_right() {
        let texts: Vec<String> = ["file:mlruns", "sqlite:///mlflow.db", "./mlruns", "localhost:5000", "h"]
            .into_iter()
            .map(|address| at(address).unwrap_err().to_string())
            .chain([settings(&[("MLFLOW_TRACKING_URI", "http://h"), (TIMEOUT, "5")])
                .unwrap_err()
                .to_string()])
            .collect();
        insta::assert_snapshot!(texts.join("\n"), @r"
        MLflow address `file:mlruns` names a store on disk; start a server on it (`mlflow server --backend-store-uri file:mlruns --port 5000`) and give its http address
        MLflow address `sqlite:///mlflow.db` names a store on disk; start a server on it (`mlflow server --backend-store-uri sqlite:///mlflow.db --port 5000`) and give its http address
        MLflow address `./mlruns` names a store on disk; start a server on it (`mlflow server --backend-store-uri ./mlruns --port 5000`) and give its http address
        MLflow address `localhost:5000` is no http or https address; it looks like http://127.0.0.1:5000
        MLflow address `h` is no http or https address; it looks like http://127.0.0.1:5000
        MLFLOW_HTTP_REQUEST_TIMEOUT is `5`, it must be a number of seconds above 20
        ");
    }
}
