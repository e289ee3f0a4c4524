//! Where the Hub and its cache are, as `huggingface_hub` reads it from the environment.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// The public Hub.
const PUBLIC: &str = "https://huggingface.co";

/// Where the Hub and its cache are.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The Hub's address, without a trailing slash.
    pub endpoint: String,
    /// The directory of repositories, which Python programs share.
    pub cache: PathBuf,
    /// Whom the Hub knows us as; shown to it alone.
    pub token: Option<String>,
    /// Whether the Hub must not be asked.
    pub offline: bool,
}

impl Settings {
    /// As the process's environment says.
    pub fn from_environment() -> Self {
        Self::from(
            |name| std::env::var(name).ok(),
            std::env::home_dir().as_deref(),
            |path| std::fs::read_to_string(path).ok(),
        )
    }

    /// As `lookup` says, for a user with this home; `read` reads the file of the token.
    fn from(
        lookup: impl Fn(&str) -> Option<String>,
        home: Option<&Path>,
        read: impl Fn(&Path) -> Option<String>,
    ) -> Self {
        // The first of several names is today's, the others are older.
        let given = |names: &[&str]| {
            let values = names.iter().filter_map(|name| lookup(name));
            values.map(|value| value.trim().to_owned()).find(|value| !value.is_empty())
        };
        let path = |names: &[&str]| given(names).map(|value| expanded(&value, home));
        let directory = path(&["HF_HOME"]).unwrap_or_else(|| {
            let of_home = || home.unwrap_or_else(|| Path::new(".")).join(".cache");
            path(&["XDG_CACHE_HOME"]).unwrap_or_else(of_home).join("huggingface")
        });
        let token_file = || {
            let file = path(&["HF_TOKEN_PATH"]).unwrap_or_else(|| directory.join("token"));
            read(&file).map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
        };
        let offline = given(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]).unwrap_or_default();
        Self {
            endpoint: given(&["HF_ENDPOINT"])
                .map_or_else(|| PUBLIC.to_owned(), |address| address.trim_end_matches('/').to_owned()),
            cache: path(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]).unwrap_or_else(|| directory.join("hub")),
            token: given(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]).or_else(token_file),
            offline: matches!(offline.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"),
        }
    }
}

/// A path in which `~` is the home.
fn expanded(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

impl fmt::Debug for Settings {
    /// Without the token: settings end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Settings {
        Settings::from(
            |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
            Some(Path::new("/ada")),
            |path| (path == "/ada/.cache/huggingface/token").then(|| "hf_file\n".to_owned()),
        )
    }

    #[test]
    fn without_variables_all_is_where_hugging_face_s_own_programs_have_it() {
        let settings = with(&[]);
        assert_eq!(settings.endpoint, "https://huggingface.co");
        assert_eq!(settings.cache, Path::new("/ada/.cache/huggingface/hub"));
        assert_eq!(settings.token.as_deref(), Some("hf_file"));
        assert!(!settings.offline);
        assert!(!format!("{settings:?}").contains("hf_file"));
    }

    #[test]
    fn variables_move_each_of_them_and_todays_name_wins() {
        let settings = with(&[
            ("HF_HOME", "~/hf"),
            ("HF_ENDPOINT", "http://mirror/"),
            ("HF_TOKEN", " hf_variable\n"),
            ("HF_HUB_OFFLINE", "yes"),
        ]);
        assert_eq!(settings.endpoint, "http://mirror");
        assert_eq!(settings.cache, Path::new("/ada/hf/hub"));
        assert_eq!(settings.token.as_deref(), Some("hf_variable"));
        assert!(settings.offline);

        assert_eq!(with(&[("XDG_CACHE_HOME", "/c")]).cache, Path::new("/c/huggingface/hub"));
        let both = [("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new"), ("HF_HOME", "/hf")];
        assert_eq!(with(&both).cache, Path::new("/new"));
        assert_eq!(with(&both).token, None, "the token's file moves with HF_HOME");
        assert_eq!(with(&both[..1]).cache, Path::new("/old"));
    }
}
