//! One file of the Hub into the cache: once a machine, from where an earlier try broke off, and checked before anybody
//! sees it.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use distilsweep_proto::hex::hex;
use reqwest::{StatusCode, header::HeaderMap};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{
    Progress,
    cache::RepoCache,
    client::{Asked, Client, no_answer},
};
use crate::DataError;

/// Connections that may break in a row without a byte.
const BARREN: usize = 4;
/// Rest after a broken connection.
const REST: Duration = Duration::from_millis(500);
/// Between two looks at a file that another process downloads.
const LOOK: Duration = Duration::from_millis(200);
/// Looks without growth after which that process is taken for stuck: five minutes.
const LOOKS: u32 = 1500;

/// A file to download.
pub(super) struct Wanted<'a> {
    pub(super) asked: Asked<'a>,
    pub(super) cache: &'a RepoCache,
    /// The Hub's address.
    pub(super) endpoint: &'a str,
    pub(super) commit: &'a str,
    pub(super) path: &'a str,
}

/// Somebody who looks on.
type Look<'a> = &'a (dyn Fn(Progress<'_>) + Send + Sync);

/// What a file is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    etag: String,
    bytes: Option<u64>,
}

/// The file's place in the cache, where it is when this returns.
pub(super) async fn download(
    client: &Client,
    wanted: Wanted<'_>,
    progress: Look<'_>,
) -> Result<PathBuf, DataError> {
    let Wanted { asked, cache, endpoint, commit, path } = wanted;
    let url = format!("{endpoint}/{}{}/resolve/{commit}/{}", asked.kind.prefix(), asked.id, encoded(path));
    let facts = facts(asked, path, &client.head(asked, &url).await?)?;
    let unwritable = |error| unwritable(asked, cache, &error);
    let blob = cache.blob(&facts.etag);
    fs::create_dir_all(blob.parent().unwrap_or(&blob)).map_err(unwritable)?;
    if !blob.exists() {
        let lock = cache.lock(&facts.etag).map_err(unwritable)?;
        let incomplete = cache.incomplete(&facts.etag);
        locked(asked, path, &lock, &incomplete).await?;
        // Whoever held it may have been at the same file.
        if !blob.exists() {
            tracing::info!(repository = asked.id, file = path, "downloading");
            let whole = Growing { asked, cache, url: &url, path, facts: &facts, place: &incomplete };
            whole.fetch(client, progress).await?;
            fs::rename(&incomplete, &blob).map_err(unwritable)?;
        }
    }
    cache.link(commit, path, &facts.etag).map_err(unwritable)
}

pub(super) fn unwritable(asked: Asked<'_>, cache: &RepoCache, error: &io::Error) -> DataError {
    let problem = match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full; free some space or set HF_HOME".to_owned(),
        _ => error.to_string(),
    };
    asked.error(format!("cannot write the cache {}: {problem}", cache.root().display()), true)
}

/// A path as part of an address.
fn encoded(path: &str) -> String {
    // Names of files on the Hub hold little that must not stand in an address.
    path.replace('%', "%25").replace(' ', "%20").replace('#', "%23").replace('?', "%3F")
}

fn facts(asked: Asked<'_>, path: &str, headers: &HeaderMap) -> Result<Facts, DataError> {
    let text = |names: [&str; 2]| {
        names.into_iter().find_map(|name| headers.get(name)).and_then(|value| value.to_str().ok())
    };
    let etag = text(["x-linked-etag", "etag"]).map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    match etag {
        Some(etag) if !etag.is_empty() && !etag.contains(['/', '\\']) => Ok(Facts {
            etag: etag.to_owned(),
            bytes: text(["x-linked-size", "content-length"]).and_then(|bytes| bytes.parse().ok()),
        }),
        _ => Err(asked.error(
            format!("the Hub does not say what {path} is (no ETag); HF_ENDPOINT must be its address"),
            false,
        )),
    }
}

/// Waits for the lock of a blob, for as long as whoever holds it gets on.
async fn locked(asked: Asked<'_>, path: &str, lock: &File, growing: &Path) -> Result<(), DataError> {
    let mut seen = None;
    let mut barren = 0;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            // Without locks two processes would write one file.
            Err(TryLockError::Error(error)) => {
                let problem =
                    format!("the cache's file system has no locks ({error}); set HF_HOME to another");
                return Err(asked.error(problem, false));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if barren == 0 && seen.is_none() {
            tracing::info!(repository = asked.id, file = path, "another process downloads it, waiting");
        }
        let bytes = fs::metadata(growing).map(|metadata| metadata.len()).ok();
        barren = if bytes == seen { barren + 1 } else { 0 };
        seen = bytes;
        if barren > LOOKS {
            let problem = format!("{path} is locked by a download that does not get on; end that process");
            return Err(asked.error(problem, true));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A file as far as it has come.
struct Growing<'a> {
    asked: Asked<'a>,
    cache: &'a RepoCache,
    url: &'a str,
    path: &'a str,
    facts: &'a Facts,
    place: &'a Path,
}

impl Growing<'_> {
    /// Brings the whole file, and sees that it is the right one.
    async fn fetch(&self, client: &Client, progress: Look<'_>) -> Result<(), DataError> {
        let unwritable = |error| unwritable(self.asked, self.cache, &error);
        let mut file =
            File::options().create(true).append(true).read(true).open(self.place).map_err(unwritable)?;
        let mut barren = 0;
        let mut anew = false;
        loop {
            let before = file.metadata().map_err(unwritable)?.len();
            let broken = if self.facts.bytes == Some(before) {
                None
            } else {
                self.append(client, &mut file, before, progress).await?
            };
            let after = file.metadata().map_err(unwritable)?.len();
            match broken {
                None if self.facts.bytes.is_none_or(|bytes| bytes == after)
                    && self.is_right().map_err(unwritable)? =>
                {
                    return file.sync_all().map_err(unwritable);
                }
                // What another try left may have been wrong from the start.
                None if !anew => {
                    tracing::warn!(
                        repository = self.asked.id,
                        file = self.path,
                        "not the file it should be, again"
                    );
                    anew = true;
                    file.set_len(0).map_err(unwritable)?;
                }
                None => {
                    file.set_len(0).map_err(unwritable)?;
                    let problem = format!(
                        "{} came with another content than the Hub says (its digest should be {}); a proxy may change it",
                        self.path, self.facts.etag
                    );
                    return Err(self.asked.error(problem, true));
                }
                Some(error) => {
                    barren = if after > before { 0 } else { barren + 1 };
                    if barren >= BARREN {
                        return Err(error);
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Appends what comes of one connection; answers why it broke, if it did.
    async fn append(
        &self,
        client: &Client,
        file: &mut File,
        have: u64,
        progress: Look<'_>,
    ) -> Result<Option<DataError>, DataError> {
        let unwritable = |error| unwritable(self.asked, self.cache, &error);
        let mut response = match client.file(self.asked, self.url, have).await {
            Ok(response) => response,
            Err(error) if error.is_retryable() => return Ok(Some(error)),
            // Another length than the one it had: it begins anew.
            Err(error) if have == 0 => return Err(error),
            Err(_) => {
                file.set_len(0).map_err(unwritable)?;
                return Ok(Some(self.asked.error(format!("{} cannot be gone on with", self.path), true)));
            }
        };
        let mut done = have;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            file.set_len(0).map_err(unwritable)?;
            done = 0;
        }
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    file.write_all(&chunk).map_err(unwritable)?;
                    done += chunk.len() as u64;
                    let bytes = self.facts.bytes;
                    progress(Progress { repository: self.asked.id, file: self.path, done, bytes });
                }
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(no_answer(self.asked, &error))),
            }
        }
    }

    /// Whether the file's digest is its ETag, of which there are two kinds; of another one nothing can be said.
    fn is_right(&self) -> io::Result<bool> {
        let etag = &self.facts.etag;
        let is_hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut file = File::open(self.place)?;
        match etag.len() {
            64 if is_hex => Ok(digest(Sha256::new(), &mut file)? == *etag),
            40 if is_hex => {
                let mut git = Sha1::new();
                git.update(format!("blob {}\0", file.metadata()?.len()));
                // Mirrors that are no git server take the content's own.
                Ok(digest(git, &mut file)? == *etag
                    || digest(Sha1::new(), &mut File::open(self.place)?)? == *etag)
            }
            _ => Ok(true),
        }
    }
}

fn digest(mut hash: impl Digest, file: &mut File) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Kind;

    #[test]
    fn a_full_disk_is_said_with_what_to_do() {
        let asked = Asked { kind: Kind::Model, id: "owner/name", revision: "main" };
        let cache = RepoCache::new(Path::new("/cache"), Kind::Model, "owner/name", "main");
        let error = unwritable(asked, &cache, &io::Error::from(io::ErrorKind::StorageFull));
        assert!(error.is_retryable());
        assert_eq!(
            error.to_string(),
            "owner/name: cannot write the cache /cache: the disk is full; free some space or set HF_HOME"
        );
    }

    #[test]
    fn a_file_is_what_the_first_answer_says_even_where_it_lies_elsewhere() {
        let asked = Asked { kind: Kind::Model, id: "owner/name", revision: "main" };
        let of = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            facts(asked, "a.bin", &headers.collect())
        };
        let linked = of(&[
            ("x-linked-etag", "\"ab\""),
            ("etag", "\"cd\""),
            ("x-linked-size", "9"),
            ("content-length", "1"),
        ]);
        assert_eq!(linked.unwrap(), Facts { etag: "ab".into(), bytes: Some(9) });
        let weak = of(&[("etag", "W/\"cd\""), ("content-length", "7")]);
        assert_eq!(weak.unwrap(), Facts { etag: "cd".into(), bytes: Some(7) });
        for wrong in [&[][..], &[("etag", "\"../a\"")]] {
            let error = of(wrong).unwrap_err().to_string();
            assert_eq!(
                error,
                "owner/name: the Hub does not say what a.bin is (no ETag); HF_ENDPOINT must be its address"
            );
        }
    }
}
