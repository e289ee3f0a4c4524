//! Paths of a sweep file start from the file's directory, as those of compose files and configurations do.

use std::path::{Component, Path, PathBuf};

use distilsweep_proto::{dataset::DatasetSource, resource::is_path};

use super::SweepSpec;

impl SweepSpec {
    /// Makes the file's paths independent of the working directory: those that start with `~` start from `home`, other
    /// relative ones from `base`, the directory of the file.
    ///
    /// The model and the dataset's id are paths only when they start with `./`, `../`, `/` or `~`, so that ids of the
    /// Hub stay ids; the dataset's files always are. Nothing is looked up: with a canonical `base`, leading `..` are
    /// resolved as the file system would, and what follows a symbolic link is left to it.
    pub fn with_base(mut self, base: &Path, home: Option<&Path>) -> Self {
        let rebase = |path: &Path| join(base, home, path);
        let rebase_id = |id: &mut String| {
            if is_path(id) {
                *id = rebase(Path::new(id)).to_string_lossy().into_owned();
            }
        };
        rebase_id(&mut self.model);
        match &mut self.dataset.source {
            DatasetSource::Id { id, config: _, revision: _ } => rebase_id(id),
            DatasetSource::Files { train, validation, test } => {
                for path in [train, validation, test].into_iter().flatten() {
                    *path = rebase(path);
                }
            }
        }
        self
    }
}

fn join(base: &Path, home: Option<&Path>, path: &Path) -> PathBuf {
    if let (Ok(below), Some(home)) = (path.strip_prefix("~"), home) {
        return home.join(below);
    }
    let mut joined = base.to_owned();
    let mut leading = true;
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if leading => {
                if !joined.pop() {
                    joined.push(component);
                }
            }
            Component::ParentDir | Component::Normal(_) | Component::RootDir | Component::Prefix(_) => {
                leading = false;
                joined.push(component);
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(path: &str) -> String {
        join(Path::new("/sweeps/here"), Some(Path::new("/ada")), Path::new(path)).display().to_string()
    }

    #[test]
    fn relative_paths_start_from_the_file_and_others_stay() {
        let paths =
            ["train.csv", "./a/train.csv", "../../x", "/abs/./y", "~/data", "~", "a/../b"].map(joined);
        assert_eq!(
            paths,
            [
                "/sweeps/here/train.csv",
                "/sweeps/here/a/train.csv",
                "/x",
                "/abs/y",
                "/ada/data",
                "/ada/",
                "/sweeps/here/a/../b"
            ]
        );
    }

    #[test]
    fn a_spec_s_paths_are_rebased_and_its_ids_kept() {
        let parse = |model: &str, dataset: &str| {
            let source =
                format!("name: n\nmodel: {model}\ndataset: {dataset}\nmethod: grid\nparameters: {{}}\n");
            super::super::parse(&source).unwrap().with_base(Path::new("/base"), None)
        };
        let local = parse("../m", "{train: t.csv, validation: ./v.csv}");
        assert_eq!(local.model, "/m");
        let DatasetSource::Files { train, validation, test } = local.dataset.source else {
            panic!("files become {:?}", local.dataset.source)
        };
        assert_eq!(train, [Path::new("/base/t.csv")]);
        assert_eq!(validation, [Path::new("/base/v.csv")]);
        assert!(test.is_empty());

        let hub = parse("org/m@main", "org/d@v1");
        assert_eq!((hub.model.as_str(), hub.model_revision.as_deref()), ("org/m", Some("main")));
        let DatasetSource::Id { id, revision, config } = hub.dataset.source else {
            panic!("an id stays one")
        };
        assert_eq!((id.as_str(), revision.as_deref(), config), ("org/d", Some("v1"), None));
    }
}
