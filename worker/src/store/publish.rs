//! Publishing: parts, then the manifest.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use distilsweep_proto::ids::Lease;
use object_store::{ObjectStoreExt, PutMode, PutPayload, WriteMultipart, path::Path as StorePath};
use sha2::{Digest, Sha256};

use super::{Kind, MANIFEST, Manifest, Part, StoreError, TrialFiles, blocking, hex};
use crate::wire::Published;

/// Parts larger than this go up in pieces of this size, so that no checkpoint is ever in memory as a whole.
const PIECE: usize = 8 << 20;
/// Pieces under way at a time.
const AT_A_TIME: usize = 4;

impl TrialFiles {
    /// Publishes the files of `directory` under a lease, and answers where they are.
    ///
    /// # Errors
    /// Where the store cannot be written to; what arrived without a manifest is as good as absent.
    pub async fn publish(
        &self,
        lease: &Lease,
        kind: Kind,
        step: u64,
        directory: &Path,
    ) -> Result<Published, StoreError> {
        let (to, url) = self.below(&Self::name(kind, lease.term, step));
        let failed =
            |name: &str, source| StoreError::Store { name: name.to_owned(), url: url.clone(), source };
        let mut manifest = Manifest { lease: lease.clone(), step, parts: Vec::new() };
        for path in files(directory)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            manifest.parts.push(self.put_part(path, &name, &to.clone().join(name.as_str()), &url).await?);
        }
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| StoreError::Url { url: url.clone(), problem: error.to_string() })?;
        let manifest_sha256 = hex(&Sha256::digest(&text));
        let (to, text) = (to.join(MANIFEST), PutPayload::from(text));
        match self.store.put_opts(&to, text, PutMode::Create.into()).await {
            // There already: the same lease published it, and its acknowledgement was lost.
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(source) => return Err(failed(MANIFEST, source)),
        }
        Ok(Published { url, step, manifest_sha256 })
    }

    async fn put_part(
        &self,
        path: PathBuf,
        name: &str,
        to: &StorePath,
        url: &str,
    ) -> Result<Part, StoreError> {
        let failed = |source| StoreError::Store { name: name.to_owned(), url: url.to_owned(), source };
        let mut file = open(path.clone()).await?;
        let (mut sha256, mut bytes) = (Sha256::new(), 0);
        let mut upload = None;
        loop {
            let piece;
            (file, piece) = next_piece(path.clone(), file).await?;
            sha256.update(&piece);
            bytes += piece.len() as u64;
            let last = piece.len() < PIECE;
            match &mut upload {
                // All of it: small files are one request.
                None if last => {
                    self.store.put(to, PutPayload::from(piece)).await.map_err(failed)?;
                    break;
                }
                None => {
                    let begun = self.store.put_multipart(to).await.map_err(failed)?;
                    let mut begun = WriteMultipart::new_with_chunk_size(begun, PIECE);
                    begun.write(&piece);
                    upload = Some(begun);
                }
                Some(upload) => {
                    upload.wait_for_capacity(AT_A_TIME).await.map_err(failed)?;
                    upload.write(&piece);
                }
            }
            if last {
                break;
            }
        }
        if let Some(upload) = upload {
            upload.finish().await.map_err(failed)?;
        }
        Ok(Part { name: name.to_owned(), bytes, sha256: hex(&sha256.finalize()) })
    }
}

async fn open(path: PathBuf) -> Result<File, StoreError> {
    blocking(move || File::open(&path).map_err(|source| StoreError::File { path, source })).await
}

/// The next [`PIECE`] bytes, or the fewer that are left.
async fn next_piece(path: PathBuf, file: File) -> Result<(File, Vec<u8>), StoreError> {
    blocking(move || {
        let mut piece = Vec::with_capacity(PIECE);
        let mut limited = file.take(PIECE as u64);
        match limited.read_to_end(&mut piece) {
            Ok(_) => Ok((limited.into_inner(), piece)),
            Err(source) => Err(StoreError::File { path, source }),
        }
    })
    .await
}

/// The files of a directory, by name.
fn files(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(directory)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
        paths.sort();
        Ok(paths)
    };
    read().map_err(|source| StoreError::File { path: directory.to_owned(), source })
}
