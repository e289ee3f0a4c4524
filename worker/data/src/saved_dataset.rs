//! Directories that `save_to_disk` of the `datasets` library wrote: Arrow files, which are not read.

use std::collections::BTreeSet;

use crate::excerpt::{excerpt, listed, quoted};

/// A directory that `save_to_disk` wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavedDataset<'a> {
    /// Its path in the repository; empty if it is the repository.
    folder: &'a str,
    /// Names of its splits; none if it is one split without a name.
    splits: Vec<&'a str>,
}

/// Finds the first such directory, or other Arrow files.
pub(crate) fn find<'a>(files: &'a [String]) -> Option<SavedDataset<'a>> {
    let folder_of = |file: &'static str| {
        files.iter().filter_map(move |path| match path.strip_suffix(file)? {
            "" => Some(""),
            folder => folder.strip_suffix('/'),
        })
    };
    let parts: BTreeSet<&str> = folder_of("state.json").collect();
    if let Some(folder) = folder_of("dataset_dict.json").next() {
        let split = |part: &&'a str| {
            let name =
                if folder.is_empty() { Some(*part) } else { part.strip_prefix(folder)?.strip_prefix('/') };
            name.filter(|name| !name.is_empty() && !name.contains('/'))
        };
        return Some(SavedDataset { folder, splits: parts.iter().filter_map(split).collect() });
    }
    let arrow = files.iter().find(|path| path.ends_with(".arrow"))?;
    let folder = arrow.rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(SavedDataset { folder, splits: Vec::new() })
}

impl SavedDataset<'_> {
    /// What the paths of its files begin with.
    pub(crate) fn prefix(&self) -> String {
        if self.folder.is_empty() { String::new() } else { format!("{}/", self.folder) }
    }

    /// Why it is not read, and how to write what is.
    pub(crate) fn problem(&self) -> String {
        let save = |split: &&str| {
            let split = excerpt(split);
            format!("ds[\"{split}\"].to_parquet(\"{split}.parquet\")")
        };
        let saves = match &self.splits[..] {
            [] => "ds.to_parquet(\"train.parquet\")".to_owned(),
            splits => listed(splits.iter().map(save)),
        };
        let folder =
            if self.folder.is_empty() { String::new() } else { format!(" in {}", quoted(self.folder)) };
        format!(
            "it holds Arrow files{folder}, as save_to_disk of the datasets library writes them: they are not read; \
             write Parquet files with ds = datasets.load_from_disk(..) and {saves}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(files: &[&str]) -> String {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        find(&files).map_or_else(|| "none".to_owned(), |saved| saved.problem())
    }

    #[test]
    fn saved_data_sets_are_named_with_the_way_to_parquet() {
        let split = |folder: &str| {
            ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"]
                .map(|file| format!("{folder}{file}"))
        };
        let of = |folders: &[&str], dictionary: Option<&str>| {
            let files: Vec<String> = folders.iter().flat_map(|folder| split(folder)).collect();
            let files: Vec<&str> = files.iter().map(String::as_str).chain(dictionary).collect();
            problem(&files)
        };
        insta::assert_snapshot!(
            [
                of(&["test/", "train/"], Some("dataset_dict.json")),
                of(&["out/dev/"], Some("out/dataset_dict.json")),
                of(&[""], None),
                problem(&["cache/rows-train.arrow"]),
                problem(&["train.csv", "state.json", "not_dataset_dict.json"]),
            ]
            .join("\n"),
            @r#"
        it holds Arrow files, as save_to_disk of the datasets library writes them: they are not read; write Parquet files with ds = datasets.load_from_disk(..) and ds["test"].to_parquet("test.parquet"), ds["train"].to_parquet("train.parquet")
        it holds Arrow files in "out", as save_to_disk of the datasets library writes them: they are not read; write Parquet files with ds = datasets.load_from_disk(..) and ds["dev"].to_parquet("dev.parquet")
        it holds Arrow files, as save_to_disk of the datasets library writes them: they are not read; write Parquet files with ds = datasets.load_from_disk(..) and ds.to_parquet("train.parquet")
        it holds Arrow files in "cache", as save_to_disk of the datasets library writes them: they are not read; write Parquet files with ds = datasets.load_from_disk(..) and ds.to_parquet("train.parquet")
        none
        "#
        );
    }
}
