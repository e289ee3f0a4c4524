//! The directory that a command writes: all of it or nothing.

use std::path::Path;

use crate::trainer::Ended;

/// A directory that a command fills. Dropped before [`Self::keep`], it leaves nothing behind.
pub(super) struct Output<'a> {
    path: &'a Path,
    made: bool,
    kept: bool,
}

impl<'a> Output<'a> {
    /// Takes an empty directory, or makes one.
    pub(super) fn create(path: &'a Path) -> Result<Self, Ended> {
        match std::fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(Self { path, made: false, kept: false }),
            Ok(false) => Err(Ended::BadInput(format!(
                "{} is not empty: --output must name a new or an empty directory",
                path.display()
            ))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(path).map_err(|error| unwritable(path, &error))?;
                Ok(Self { path, made: true, kept: false })
            }
            Err(error) => Err(unwritable(path, &error)),
        }
    }

    /// Takes a directory whatever is in it, or makes one. It stays as it is when the command fails.
    pub(super) fn reopen(path: &'a Path) -> Result<Self, Ended> {
        std::fs::create_dir_all(path).map_err(|error| unwritable(path, &error))?;
        Ok(Self { path, made: false, kept: true })
    }

    /// The directory is complete and stays.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let _ = std::fs::remove_dir_all(self.path);
        if !self.made {
            let _ = std::fs::create_dir(self.path);
        }
    }
}

/// A file or directory of the output cannot be written.
pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> Ended {
    Ended::BadInput(format!("cannot write {}: {error}", path.display()))
}
