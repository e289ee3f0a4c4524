//! All files below a directory, within bounds.

use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    path::{Path, PathBuf},
};

use crate::DataError;

/// Files that are listed at most. The largest text collections that are read as folders have a hundred thousand.
const MOST_FILES: usize = 500_000;
/// Folders within one another that are entered at most.
const MOST_LEVELS: usize = 32;

/// All files below a directory, relative to it, with `/` between folders, sorted. Hidden files and folders are left out.
/// Links are followed, and a folder that several paths lead to is listed once, under the shortest of them.
///
/// # Errors
/// A folder cannot be read, or there are too many files or levels.
pub(crate) fn list(directory: &Path) -> Result<Vec<String>, DataError> {
    list_within(directory, MOST_FILES)
}

fn list_within(directory: &Path, most: usize) -> Result<Vec<String>, DataError> {
    let mut found = Vec::new();
    let mut visited = BTreeSet::new();
    // The shallowest first.
    let mut folders = VecDeque::from([(directory.to_owned(), String::new(), 0)]);
    while let Some((folder, relative, level)) = folders.pop_front() {
        let unreadable = |source| DataError::Io { path: folder.clone(), source };
        if !visited.insert(fs::canonicalize(&folder).map_err(unreadable)?) {
            continue;
        }
        if level > MOST_LEVELS {
            return Err(DataError::Malformed {
                path: directory.to_owned(),
                problem: format!("has folders more than {MOST_LEVELS} levels deep: name one further down"),
            });
        }
        let mut inner = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_hidden_name(&name) {
                continue;
            }
            let path = entry.path();
            let relative = if relative.is_empty() { name } else { format!("{relative}/{name}") };
            match kind(&path).map_err(|source| DataError::Io { path: path.clone(), source })? {
                Kind::Folder => inner.push((path, relative, level + 1)),
                Kind::File => found.push(relative),
                Kind::Other => {}
            }
            if found.len() + inner.len() + folders.len() > most {
                return Err(DataError::Malformed {
                    path: directory.to_owned(),
                    problem: format!("has more than {most} files and folders: name a smaller directory"),
                });
            }
        }
        // In order, so that the same one of several links to a folder is always the first.
        inner.sort();
        folders.extend(inner);
    }
    found.sort();
    Ok(found)
}

enum Kind {
    File,
    Folder,
    /// A pipe, a socket or a device: reading one might never end.
    Other,
}

fn kind(path: &PathBuf) -> io::Result<Kind> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(Kind::Folder),
        Ok(metadata) if metadata.is_file() => Ok(Kind::File),
        Ok(_) => Ok(Kind::Other),
        // A link that leads nowhere, or to itself, is reported when the file is read.
        Err(_) if fs::symlink_metadata(path)?.is_symlink() => Ok(Kind::File),
        Err(error) => Err(error),
    }
}

fn is_hidden_name(name: &str) -> bool {
    name.starts_with('.') || name.starts_with("__")
}

/// Whether a file, or a folder that it is in, is hidden, as the `datasets` library has it: `.ipynb_checkpoints`,
/// `__MACOSX`.
pub(crate) fn is_hidden(path: &str) -> bool {
    path.split('/').any(is_hidden_name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        directory
    }

    #[test]
    fn files_are_listed_without_hidden_ones() {
        let directory =
            tree(&["b.csv", "a/x.csv", "a/b/y.csv", ".git/c.csv", "a/.d.csv", "__MACOSX/e.csv", "a/_f.csv"]);
        assert_eq!(list(directory.path()).unwrap(), ["a/_f.csv", "a/b/y.csv", "a/x.csv", "b.csv"]);
        assert!(is_hidden("a/.d.csv") && is_hidden(".git/c.csv") && !is_hidden("a/_f.csv"));
    }

    #[test]
    fn a_folder_is_listed_once_whatever_links_lead_to_it() {
        let directory = tree(&["rows/a.csv", "other.csv"]);
        let at = |name: &str| directory.path().join(name);
        symlink(".", at("loop")).unwrap();
        symlink("..", at("rows/up")).unwrap();
        symlink("rows", at("z")).unwrap();
        symlink("nowhere", at("gone.csv")).unwrap();
        symlink("self.csv", at("self.csv")).unwrap();
        symlink("other.csv", at("copy.csv")).unwrap();
        let expected = ["copy.csv", "gone.csv", "other.csv", "rows/a.csv", "self.csv"];
        assert_eq!(list(directory.path()).unwrap(), expected);
    }

    #[test]
    fn files_and_levels_are_bounded() {
        let deep = format!("{}a.csv", "d/".repeat(MOST_LEVELS + 1));
        let problem = |directory: &tempfile::TempDir, most| {
            let error = list_within(directory.path(), most).unwrap_err().to_string();
            error.replace(&*directory.path().to_string_lossy(), "DIR")
        };
        insta::assert_snapshot!(problem(&tree(&[&deep]), MOST_FILES), @"DIR has folders more than 32 levels deep: name one further down");
        assert!(list(tree(&[&deep[2..]]).path()).is_ok());
        insta::assert_snapshot!(problem(&tree(&["a", "b/c", "d"]), 2), @"DIR has more than 2 files and folders: name a smaller directory");
    }
}
