//! The weight files of a checkpoint: one `model.safetensors`, or the shards that `model.safetensors.index.json` names.
//!
//! Files are mapped, so that of a large checkpoint no more than the tensor being copied is held twice. A file that is
//! not whole is refused with what is missing of it, before any tensor is made.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use memmap2::Mmap;
use safetensors::{SafeTensors, tensor::TensorView};
use serde::Deserialize;

use super::error::ModelError;

/// The one file of a checkpoint that is not sharded.
const FILE: &str = "model.safetensors";
/// The file that says which shard holds which tensor.
const INDEX: &str = "model.safetensors.index.json";
/// Bytes of the number at the start of a file that tells its header's length.
const LENGTH: usize = 8;

/// The mapped files of a checkpoint; [`Self::tensors`] looks into them.
pub(super) struct WeightFiles {
    files: Vec<(PathBuf, Mmap)>,
    /// The index and what it says: the number of the file that holds each tensor. None where there is one file.
    index: Option<(PathBuf, BTreeMap<String, usize>)>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// Maps the files of a checkpoint's directory. A whole file comes before shards.
    pub(super) fn open(directory: &Path) -> Result<Self, ModelError> {
        let (whole, index) = (directory.join(FILE), directory.join(INDEX));
        if !whole.exists() && index.exists() {
            return Self::sharded(directory, index);
        }
        let map = mapped(&whole)?;
        Ok(Self { files: vec![(whole, map)], index: None })
    }

    fn sharded(directory: &Path, path: PathBuf) -> Result<Self, ModelError> {
        let malformed = |reason: String| ModelError::Format { path: path.clone(), format: "JSON", reason };
        let text =
            fs::read_to_string(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
        let index: Index = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort();
        names.dedup();
        // A shard lies beside its index: a name that leads elsewhere is not one that save_pretrained writes.
        if let Some(odd) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
            return Err(malformed(format!("`{odd}` is no file name beside it")));
        }
        let mut files = Vec::new();
        for name in &names {
            let shard = directory.join(name);
            let map = mapped(&shard)?;
            files.push((shard, map));
        }
        let places: BTreeMap<String, usize> = index
            .weight_map
            .iter()
            .filter_map(|(tensor, file)| Some((tensor.clone(), names.binary_search(&file).ok()?)))
            .collect();
        Ok(Self { files, index: Some((path, places)) })
    }

    /// What the files hold.
    ///
    /// # Errors
    /// A file that is no whole safetensors file, or a shard without a tensor that the index says it has.
    pub(super) fn tensors(&self) -> Result<Weights<'_>, ModelError> {
        let mut files = Vec::new();
        for (path, map) in &self.files {
            let stored = SafeTensors::deserialize(map).map_err(|error| ModelError::Format {
                path: path.clone(),
                format: "safetensors",
                reason: what_is_wrong(map).unwrap_or_else(|| error.to_string()),
            })?;
            files.push((path.as_path(), stored));
        }
        let index = self.index.as_ref().map(|(path, places)| (path.as_path(), places));
        for (tensor, file) in index.iter().flat_map(|(_, places)| places.iter()) {
            let (path, stored) = &files[*file];
            if stored.tensor(tensor).is_err() {
                return Err(ModelError::MissingTensor { path: (*path).to_owned(), name: tensor.clone() });
            }
        }
        Ok(Weights { files, index })
    }
}

/// The tensors of a checkpoint, as its files hold them.
pub(super) struct Weights<'a> {
    files: Vec<(&'a Path, SafeTensors<'a>)>,
    index: Option<(&'a Path, &'a BTreeMap<String, usize>)>,
}

impl<'a> Weights<'a> {
    /// The tensor of this name and the file that holds it.
    pub(super) fn find(&self, name: &str) -> Option<(&'a Path, TensorView<'a>)> {
        let number = match self.index {
            Some((_, places)) => *places.get(name)?,
            None => 0,
        };
        let (path, stored) = self.files.get(number)?;
        Some((path, stored.tensor(name).ok()?))
    }

    /// The file that should have named a tensor that is not there.
    pub(super) fn path(&self) -> &'a Path {
        let first = || self.files.first().map_or_else(|| Path::new(FILE), |(path, _)| path);
        self.index.map_or_else(first, |(path, _)| path)
    }
}

fn mapped(path: &Path) -> Result<Mmap, ModelError> {
    let unreadable = |source| ModelError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // SAFETY: the map lives while the tensors are copied out of it. Checkpoints are published whole and not written to
    // afterwards; whoever cuts one off in these moments ends this process, as an unreadable disk would.
    unsafe { Mmap::map(&file) }.map_err(unreadable)
}

/// Why these bytes are no whole safetensors file, in words for whoever copied or downloaded it.
fn what_is_wrong(bytes: &[u8]) -> Option<String> {
    let size = bytes.len();
    if bytes.starts_with(b"version https://git-lfs") {
        return Some("it is a pointer of Git LFS, `git lfs pull` fetches the file itself".to_owned());
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
        return Some(
            "it is a pickle of torch.save, save_pretrained(.., safe_serialization=True) writes it".to_owned(),
        );
    }
    let Some(length) = bytes.first_chunk::<LENGTH>().map(|length| u64::from_le_bytes(*length)) else {
        return Some(format!("it has {size} bytes, the length of its header alone takes {LENGTH}"));
    };
    if length == 0 {
        return Some(format!(
            "the length of its header is 0: its {size} bytes were set aside and never filled"
        ));
    }
    let Some(header) = usize::try_from(length).ok().and_then(|length| bytes.get(LENGTH..)?.get(..length))
    else {
        return Some(match bytes.get(LENGTH) {
            Some(b'{') => format!("it is cut off: its header has {length} bytes, the file {size} in all"),
            _ => format!(
                "its first {LENGTH} bytes are no length of a header ({length}, the file has {size} bytes)"
            ),
        });
    };
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let mut tensors: Vec<(u64, &String)> =
        header.iter().filter_map(|(name, entry)| Some((entry["data_offsets"][1].as_u64()?, name))).collect();
    tensors.sort();
    let held = (size - LENGTH) as u64 - length;
    let (whole, _) = tensors.last()?;
    match tensors.iter().find(|(end, _)| *end > held) {
        Some((_, name)) => Some(format!(
            "it is cut off in tensor `{name}`: {} bytes should follow its header, {held} do",
            whole
        )),
        None if held > *whole => {
            Some(format!("{} bytes follow its last tensor; it must end there", held - whole))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use safetensors::{Dtype, serialize_to_file};
    use tempfile::TempDir;

    use super::*;

    /// A file with tensors of four numbers each, all of them this one.
    fn store(path: &Path, tensors: &[(&str, f32)]) {
        let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, value)| value.to_le_bytes().repeat(4)).collect();
        let views = tensors
            .iter()
            .zip(&bytes)
            .map(|((name, _), bytes)| (*name, TensorView::new(Dtype::F32, vec![2, 2], bytes).unwrap()));
        serialize_to_file(views, None, path).unwrap();
    }

    fn whole(directory: &Path) -> Vec<u8> {
        store(&directory.join(FILE), &[("a", 1.0), ("b", 2.0), ("c", 3.0)]);
        fs::read(directory.join(FILE)).unwrap()
    }

    /// What reading a directory says, "fine" where nothing.
    fn said(directory: &Path) -> String {
        let read = WeightFiles::open(directory).and_then(|files| files.tensors().map(|_| ()));
        read.map_or_else(
            |error| error.to_string().replace(&*directory.to_string_lossy(), "DIR"),
            |()| "fine".to_owned(),
        )
    }

    #[test]
    fn a_file_that_is_not_whole_or_not_ours_says_what_is_wrong() {
        let directory = TempDir::new().unwrap();
        let whole = whole(directory.path());
        let header = usize::try_from(u64::from_le_bytes(whole[..LENGTH].try_into().unwrap())).unwrap();
        let data = LENGTH + header;
        let longer = [&whole[..], b"rest"].concat();
        let cases: [&[u8]; 12] = [
            &whole,
            &whole[..data + 32],
            &whole[..data + 17],
            &whole[..data],
            &whole[..40],
            &whole[..3],
            b"",
            &longer,
            &vec![0; whole.len()],
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            b"PK\x03\x04 and so on, as torch.save has it",
            b"<!DOCTYPE html><html>sign in</html>",
        ];
        let said: Vec<String> = cases
            .iter()
            .map(|bytes| {
                fs::write(directory.path().join(FILE), bytes).unwrap();
                said(directory.path())
            })
            .collect();
        insta::assert_snapshot!(said.join("\n"), @"
        fine
        DIR/model.safetensors is no safetensors file: it is cut off in tensor `c`: 48 bytes should follow its header, 32 do
        DIR/model.safetensors is no safetensors file: it is cut off in tensor `b`: 48 bytes should follow its header, 17 do
        DIR/model.safetensors is no safetensors file: it is cut off in tensor `a`: 48 bytes should follow its header, 0 do
        DIR/model.safetensors is no safetensors file: it is cut off: its header has 176 bytes, the file 40 in all
        DIR/model.safetensors is no safetensors file: it has 3 bytes, the length of its header alone takes 8
        DIR/model.safetensors is no safetensors file: it has 0 bytes, the length of its header alone takes 8
        DIR/model.safetensors is no safetensors file: 4 bytes follow its last tensor; it must end there
        DIR/model.safetensors is no safetensors file: the length of its header is 0: its 232 bytes were set aside and never filled
        DIR/model.safetensors is no safetensors file: it is a pointer of Git LFS, `git lfs pull` fetches the file itself
        DIR/model.safetensors is no safetensors file: it is a pickle of torch.save, save_pretrained(.., safe_serialization=True) writes it
        DIR/model.safetensors is no safetensors file: its first 8 bytes are no length of a header (5789751444030890300, the file has 35 bytes)
        ");
    }

    #[test]
    fn shards_are_read_as_one_and_named_where_they_are_wrong() {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let index = |map: &[(&str, &str)]| {
            let map: BTreeMap<_, _> = map.iter().copied().collect();
            fs::write(path(INDEX), serde_json::json!({"weight_map": map}).to_string()).unwrap();
        };
        let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
        store(&path(first), &[("a", 1.0), ("unlisted", 9.0)]);
        store(&path(second), &[("b", 2.0)]);
        index(&[("a", first), ("b", second)]);
        let files = WeightFiles::open(directory.path()).unwrap();
        let weights = files.tensors().unwrap();
        for (name, shard, value) in [("a", first, 1f32), ("b", second, 2.0)] {
            let (file, view) = weights.find(name).unwrap();
            assert_eq!(
                (file, view.data()),
                (path(shard).as_path(), value.to_le_bytes().repeat(4).as_slice())
            );
        }
        assert!(weights.find("unlisted").is_none());
        assert_eq!(weights.path(), path(INDEX));

        let mut wrong = Vec::new();
        index(&[("a", first), ("c", second)]);
        wrong.push(said(directory.path()));
        index(&[("a", first), ("b", "../elsewhere.safetensors")]);
        wrong.push(said(directory.path()));
        index(&[("a", first), ("b", "model-00003-of-00002.safetensors")]);
        wrong.push(said(directory.path()));
        fs::write(path(INDEX), "{}").unwrap();
        wrong.push(said(directory.path()));
        index(&[("a", first), ("b", second)]);
        let cut = fs::read(path(second)).unwrap();
        fs::write(path(second), &cut[..cut.len() - 1]).unwrap();
        wrong.push(said(directory.path()));
        insta::assert_snapshot!(wrong.join("\n"), @"
        DIR/model-00002-of-00002.safetensors has no tensor `c`
        DIR/model.safetensors.index.json is no JSON file: `../elsewhere.safetensors` is no file name beside it
        cannot read DIR/model-00003-of-00002.safetensors: No such file or directory (os error 2)
        DIR/model.safetensors.index.json is no JSON file: missing field `weight_map` at line 1 column 2
        DIR/model-00002-of-00002.safetensors is no safetensors file: it is cut off in tensor `b`: 16 bytes should follow its header, 15 do
        ");
        whole(directory.path());
        assert_eq!(said(directory.path()), "fine", "a whole file comes before shards");
    }

    #[test]
    fn weights_that_are_not_there_are_named() {
        let directory = TempDir::new().unwrap();
        insta::assert_snapshot!(
            said(directory.path()),
            @"cannot read DIR/model.safetensors: No such file or directory (os error 2)"
        );
    }
}
