//! Text files in a folder per class, as `train/pos/1.txt`: each file is a row, its folder is the label.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use distilsweep_proto::dataset::{FileFormat, SplitSelection};

use crate::{
    DataError, Place,
    cell::Cell,
    columns::{Wanted, find_columns},
    rows::{Row, Rows},
    split_choice::{Candidates, Origin},
    split_names::{meaning, normalized},
    text::read_text,
};

/// Columns of such rows.
const COLUMNS: [&str; 2] = ["text", "label"];
/// Folders of texts without a class, beside those of classes in IMDb's archive.
const UNLABELLED: [&str; 4] = ["unsup", "unsupervised", "unlabeled", "unlabelled"];
/// Text files that hold no row.
const DOCUMENTS: [&str; 11] = [
    "readme",
    "license",
    "licence",
    "notice",
    "changelog",
    "citation",
    "requirements",
    "vocab",
    "merges",
    "cmakelists",
    "robots",
];

/// The class folders among the files of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassFolders {
    /// The splits by the folder that they are in, which is their configuration.
    pub(crate) configs: BTreeMap<String, Candidates>,
    /// Folders without labels, and text files outside of class folders.
    pub(crate) unused: Vec<String>,
}

/// Finds text files in folders per class, with or without folders of splits above.
pub(crate) fn find(files: &[String]) -> ClassFolders {
    let mut found = ClassFolders::default();
    let mut unlabelled = BTreeSet::new();
    let mut plain: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_text(file)) {
        let (folder, _) = file.rsplit_once('/').unwrap_or(("", file));
        let (above, class) = folder.rsplit_once('/').unwrap_or(("", folder));
        let (config, split) = above.rsplit_once('/').unwrap_or(("", above));
        if UNLABELLED.contains(&class.to_lowercase().as_str()) {
            unlabelled.insert(format!("{folder}/"));
        } else if meaning(split).is_some() {
            let candidates = found.configs.entry(config.to_owned()).or_default();
            candidates.add(&normalized(split), Origin::ClassFolders, file);
        } else if folder.is_empty() || meaning(class).is_some() {
            found.unused.push(file.clone());
        } else {
            plain.entry(above).or_default().push(file);
        }
    }
    for (folder, files) in plain {
        // Folders of classes without a split above are the training split, unless there is one.
        let selection = SplitSelection::default();
        let candidates = found.configs.entry(folder.to_owned()).or_default();
        if candidates.can_train(&selection) {
            found.unused.extend(files.into_iter().cloned());
        } else {
            files.iter().for_each(|file| candidates.add("train", Origin::ClassFolders, file));
        }
    }
    found.configs.retain(|_, candidates| classes(candidates.files()).len() > 1);
    found.unused.extend(unlabelled);
    found
}

/// The names of the classes of these files.
pub(crate) fn classes<'a>(files: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
    files.filter_map(|file| file.rsplit('/').nth(1)).collect()
}

fn is_text(file: &str) -> bool {
    let name = file.rsplit_once('/').map_or(file, |(_, name)| name).to_lowercase();
    name.strip_suffix(".txt").is_some_and(|stem| !DOCUMENTS.contains(&stem))
}

/// Reads each file as a row with the name of its folder as label.
///
/// # Errors
/// What is wrong with a file, or a column other than "text" and "label" is wanted.
pub(crate) fn read(files: &[PathBuf], wanted: Wanted<'_>, format: &FileFormat) -> Result<Rows, DataError> {
    let directory = common_folder(files);
    let columns = COLUMNS.map(str::to_owned);
    let at = find_columns(&directory, &columns, wanted)?;
    let mut rows = Rows::new(&directory, "file", &columns, at, wanted);
    for (number, file) in (1..).zip(files) {
        let text = read_text(file, format.encoding.as_deref())?;
        let text = text.strip_suffix('\n').map_or(&text[..], |text| text.strip_suffix('\r').unwrap_or(text));
        let label = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let label = Cell::text(&label);
        let pushed = rows.push(Row { number, text, pair: None, label, name: None });
        pushed.map_err(|error| match error {
            DataError::EmptyText { column, .. } => {
                DataError::EmptyText { place: Place { path: file.clone(), unit: "line", number: 1 }, column }
            }
            other => other,
        })?;
    }
    Ok(rows)
}

/// The folder that all files are in.
pub(crate) fn common_folder(files: &[PathBuf]) -> PathBuf {
    let mut folder = files.first().and_then(|file| file.parent()).unwrap_or_else(|| Path::new(""));
    for file in files {
        while !file.starts_with(folder) {
            folder = folder.parent().unwrap_or_else(|| Path::new(""));
        }
    }
    folder.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(files: &[&str]) -> String {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        let ClassFolders { configs, unused } = find(&files);
        let split = |candidates: &Candidates| {
            let split =
                |group: &crate::split_choice::Group| format!("{} {}", group.name, group.files.join(" "));
            candidates.groups.values().map(split).collect::<Vec<_>>().join(", ")
        };
        let configs: Vec<String> =
            configs.iter().map(|(name, candidates)| format!("\"{name}\" {}", split(candidates))).collect();
        format!("{}; unused {}", configs.join("; "), unused.join(" "))
    }

    #[test]
    fn folders_of_texts_are_classes() {
        insta::assert_snapshot!(
            [
                shown(&["train/pos/0.txt", "train/neg/1.TXT", "test/pos/2.txt", "test/neg/3.txt"]),
                shown(&["pos/0.txt", "neg/1.txt", "README.txt"]),
                shown(&["set/pos/0.txt", "set/neg/1.txt", "set/test/neg/2.txt"]),
                shown(&[
                    "README.txt",
                    "imdbEr.txt",
                    "train/urls_pos.txt",
                    "train/pos/0.txt",
                    "train/neg/1.txt",
                    "train/unsup/2.txt",
                    "train/unsup/3.txt",
                ]),
                shown(&["one/0.txt", "notes.txt", "two/vocab.txt"]),
                shown(&["train/training/0.txt", "train/dev/1.txt"]),
            ]
            .join("\n"),
            @r#"
        "" test test/pos/2.txt test/neg/3.txt, train train/pos/0.txt train/neg/1.TXT; unused 
        "" train pos/0.txt neg/1.txt; unused 
        "set" test set/test/neg/2.txt, train set/pos/0.txt set/neg/1.txt; unused 
        "" train train/pos/0.txt train/neg/1.txt; unused imdbEr.txt train/urls_pos.txt train/unsup/
        ; unused notes.txt
        "" train train/training/0.txt train/dev/1.txt; unused
        "#
        );
    }

    #[test]
    fn texts_are_read_whole_with_their_folder_as_label() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            path
        };
        let files = [
            write("neg/1.txt", "\u{feff}bad,\n\"really\"\n".as_bytes()),
            write("pos/1.txt", b"fine\r\n"),
            write("pos/2.txt", b"caf\xe9"),
        ];
        let wanted = Wanted::labelled(None, None, None);
        let latin1 = FileFormat { encoding: Some("windows-1252".to_owned()), ..FileFormat::default() };
        let rows = read(&files[..2], wanted, &FileFormat::default()).unwrap();
        assert_eq!(rows.texts, ["bad,\n\"really\"", "fine"]);
        assert_eq!(rows.labels, [Cell::Text("neg".to_owned()), Cell::Text("pos".to_owned())]);
        assert_eq!(rows.path, directory.path());
        assert_eq!(read(&files[2..], wanted, &latin1).unwrap().texts, ["café"]);

        let message = |files: &[PathBuf], wanted| {
            let error = read(files, wanted, &FileFormat::default()).unwrap_err().to_string();
            error.replace(&*directory.path().to_string_lossy(), "DIR")
        };
        let empty = write("pos/3.txt", b" \n");
        insta::assert_snapshot!(
            [
                message(&files, wanted),
                message(&[files[1].clone(), empty], wanted),
                message(&files, Wanted::labelled(Some("body"), None, None)),
            ]
            .join("\n"),
            @r#"
        DIR/pos/2.txt line 1: not UTF-8: save the file in that encoding, or set its own as `encoding: latin-1` or another (--encoding)
        DIR/pos/3.txt line 1: the text (column "text") is empty; fill it or remove the row
        DIR has no column "body"; its columns are "text", "label"
        "#
        );
    }
}
