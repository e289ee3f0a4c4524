//! What lies behind the URL that workers publish under: a directory, or an object store (S3, Google Cloud Storage, Azure).
//!
//! Credentials and endpoints come from the variables that each store's own programs read (`AWS_ACCESS_KEY_ID`,
//! `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`), or from the machine's identity there.

use std::{path::PathBuf, sync::Arc};

use object_store::{ObjectStore, ObjectStoreScheme, local::LocalFileSystem, path::Path};
use url::Url;

/// Variables that say where a store is and who we are there.
const PREFIXES: [&str; 3] = ["aws_", "google_", "azure_"];

/// A place in a store.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The place in it.
    pub path: Path,
    /// The same as a path of this machine, where the store is its file system.
    pub local: Option<PathBuf>,
}

/// What a URL names, by the variables of this process.
///
/// # Errors
/// It is no URL of a store, or a variable that belongs to it cannot be used.
pub fn open(url: &Url) -> Result<Storage, object_store::Error> {
    let texts =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    open_with(url, texts)
}

/// What a URL names, by these variables.
///
/// # Errors
/// It is no URL of a store, or a variable that belongs to it cannot be used.
pub fn open_with(
    url: &Url,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Storage, object_store::Error> {
    let (scheme, path) = ObjectStoreScheme::parse(url)?;
    if scheme == ObjectStoreScheme::Local {
        // Directories go with their last file, as they do elsewhere.
        let store = LocalFileSystem::new().with_automatic_cleanup(true);
        let local = Some(store.path_to_filesystem(&path)?);
        return Ok(Storage { store: Arc::new(store), path, local });
    }
    // An error says that the program has already chosen a provider, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = variables
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    let (store, path) = object_store::parse_url_opts(url, options)?;
    Ok(Storage { store: Arc::from(store), path, local: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(url: &str, variables: &[(&str, &str)]) -> Result<Storage, object_store::Error> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        open_with(&Url::parse(url).unwrap(), variables)
    }

    #[test]
    fn a_directory_is_a_path_of_this_machine_and_a_bucket_is_none() {
        let directory = opened("file:///data/trials", &[]).unwrap();
        assert_eq!(directory.local.as_deref(), Some(std::path::Path::new("/data/trials")));
        let bucket =
            opened("s3://bucket/of/us", &[("AWS_REGION", "eu-central-1"), ("HOME", "/root")]).unwrap();
        assert_eq!((bucket.path.as_ref(), bucket.local), ("of/us", None));
        for other in ["gs://bucket/of/us", "az://container/of/us"] {
            let account = [("AZURE_STORAGE_ACCOUNT_NAME", "us")];
            assert_eq!(opened(other, &account).unwrap().path.as_ref(), "of/us", "{other}");
        }
    }

    #[test]
    fn what_is_no_store_is_refused() {
        assert!(opened("ftp://host/trials", &[]).is_err());
        assert!(opened("s3://bucket", &[("AWS_ALLOW_HTTP", "perhaps")]).is_err());
    }
}
