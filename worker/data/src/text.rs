//! Whole text files, packed or not.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use crate::{DataError, Place};

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packed {
    Gzip,
    Zstd,
}

/// The extension of a file in lower case without that of its packing, and the packing: "csv" of `a.CSV.gz`.
pub(crate) fn extension(path: &Path) -> (String, Option<Packed>) {
    let of =
        |path: &Path| path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let packed = match of(path).as_str() {
        "gz" => Packed::Gzip,
        "zst" => Packed::Zstd,
        other => return (other.to_owned(), None),
    };
    (of(Path::new(path.file_stem().unwrap_or_default())), Some(packed))
}

/// The text of a whole file, without a byte order mark.
pub(crate) fn read_text(path: &Path) -> Result<String, DataError> {
    let bytes = read_bytes(path)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let number = 1 + error.as_bytes()[..valid].iter().filter(|b| **b == b'\n').count() as u64;
            Err(DataError::Row {
                place: Place { path: path.to_owned(), unit: "line", number },
                problem: "not UTF-8; save the file in that encoding".to_owned(),
            })
        }
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut file = File::open(path).map_err(|source| open_error(path, source))?;
    let mut bytes = Vec::new();
    let (packed, read) = match extension(path).1 {
        None => (None, file.read_to_end(&mut bytes)),
        Some(Packed::Gzip) => (Some("gzip"), MultiGzDecoder::new(file).read_to_end(&mut bytes)),
        Some(Packed::Zstd) => {
            let unpacked = zstd::Decoder::new(file).and_then(|mut decoder| decoder.read_to_end(&mut bytes));
            (Some("Zstandard"), unpacked)
        }
    };
    match (read, packed) {
        (Ok(_), _) => Ok(bytes),
        (Err(error), Some(format)) => Err(DataError::Malformed {
            path: path.to_owned(),
            problem: format!("is no whole {format} file: {error}"),
        }),
        (Err(error), None) => Err(open_error(path, error)),
    }
}

/// Why a file cannot be opened.
pub(crate) fn open_error(path: &Path, source: io::Error) -> DataError {
    match source.kind() {
        io::ErrorKind::NotFound => DataError::Missing {
            path: path.to_owned(),
            wanted: "check the path (relative ones in a sweep file count from it)".to_owned(),
        },
        _ => DataError::Io { path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_is_that_of_what_is_packed() {
        let of = |name: &str| extension(Path::new(name));
        assert_eq!(of("a/b.c/Train.CSV.gz"), ("csv".to_owned(), Some(Packed::Gzip)));
        assert_eq!(of("train.jsonl.zst"), ("jsonl".to_owned(), Some(Packed::Zstd)));
        assert_eq!(of("train.parquet"), ("parquet".to_owned(), None));
        assert_eq!(of("a.d/train"), (String::new(), None));
        assert_eq!(of("train.gz"), (String::new(), Some(Packed::Gzip)));
    }
}
