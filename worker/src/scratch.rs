//! Where a process writes what is not yet, or only for now, on this machine. It goes with the process; where that was
//! killed, the next one that uses the same directory removes it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tempfile::{Builder, NamedTempFile};

const PREFIX: &str = "distilsweep-worker-";
const LOCK: &str = ".lock";

/// A directory of this process alone: locked while it lives, so that others can tell.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Beside the directory; its lock goes with the process, however it ends.
    _lock: NamedTempFile,
}

impl Scratch {
    /// Makes a directory below `root`, which is made where it is missing, and removes those of processes that are gone.
    ///
    /// # Errors
    /// Where `root` cannot be written to.
    pub fn claim(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        for path in entries(root)? {
            // What cannot be removed is another user's, or somebody is quicker.
            let _ = remove_abandoned(&path);
        }
        let lock = Builder::new().prefix(PREFIX).suffix(LOCK).tempfile_in(root)?;
        lock.as_file().lock()?;
        let path = lock.path().with_extension("");
        fs::create_dir(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn entries(root: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(root)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

fn remove_abandoned(lock: &Path) -> io::Result<()> {
    let name = lock.file_name().unwrap_or_default().to_string_lossy();
    if !name.starts_with(PREFIX) || !name.ends_with(LOCK) || File::open(lock)?.try_lock().is_err() {
        return Ok(());
    }
    let directory = lock.with_extension("");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::remove_file(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not() {
        let root = tempfile::tempdir().unwrap();
        let living = Scratch::claim(root.path()).unwrap();
        fs::write(living.path().join("state"), "x").unwrap();
        let killed = root.path().join(format!("{PREFIX}gone"));
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join("state"), "x").unwrap();
        fs::write(root.path().join(format!("{PREFIX}gone{LOCK}")), "").unwrap();
        fs::create_dir(root.path().join("anothers")).unwrap();

        let next = Scratch::claim(root.path()).unwrap();
        assert!(!killed.exists());
        assert_eq!(fs::read_to_string(living.path().join("state")).unwrap(), "x");
        drop((living, next));
        assert_eq!(entries(root.path()).unwrap(), [root.path().join("anothers")]);
    }
}
