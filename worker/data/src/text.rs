//! Whole text files, packed or not.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use encoding_rs::{Encoding, UTF_8};
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

/// The text of a whole file, without a byte order mark. It is UTF-8 unless `encoding` names another WHATWG encoding or
/// the file begins with the mark of UTF-16.
///
/// # Errors
/// What is wrong with the file, and where.
pub(crate) fn read_text(path: &Path, encoding: Option<&str>) -> Result<String, DataError> {
    let bytes = read_bytes(path)?;
    if let Some(format) = packed_as(&bytes) {
        return Err(DataError::Malformed { path: path.to_owned(), problem: format });
    }
    let named = encoding.and_then(|name| Encoding::for_label(name.as_bytes()));
    let marked = Encoding::for_bom(&bytes).map(|(encoding, _)| encoding);
    match marked.or(named) {
        None => decode_utf8(path, bytes),
        Some(encoding) if encoding == UTF_8 => decode_utf8(path, bytes),
        Some(encoding) => {
            let (text, _, malformed) = encoding.decode(&bytes);
            if malformed {
                return Err(DataError::Malformed {
                    path: path.to_owned(),
                    problem: format!(
                        "is not valid {}: set the `encoding` that it was saved in",
                        encoding.name()
                    ),
                });
            }
            Ok(text.into_owned())
        }
    }
}

fn decode_utf8(path: &Path, bytes: Vec<u8>) -> Result<String, DataError> {
    let row_error = |valid: &[u8], problem: &str| {
        let number = 1 + valid.iter().filter(|b| **b == b'\n').count() as u64;
        Err(DataError::Row {
            place: Place { path: path.to_owned(), unit: "line", number },
            problem: problem.to_owned(),
        })
    };
    match String::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => {
            let before = text.split('\0').next().unwrap_or_default().as_bytes();
            row_error(before, "a null byte; if the file is UTF-16, set `encoding: utf-16` (--encoding)")
        }
        Ok(text) => Ok(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let remedy = "not UTF-8: save the file in that encoding, or set its own as `encoding: latin-1` or another \
                          (--encoding)";
            row_error(&error.as_bytes()[..valid], remedy)
        }
    }
}

/// What a file is if not text: a packed one under another name.
fn packed_as(bytes: &[u8]) -> Option<String> {
    let (format, remedy) = match bytes {
        [0x1f, 0x8b, ..] => ("gzip-compressed", "add .gz to its name"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("compressed by Zstandard", "add .zst to its name"),
        [b'P', b'K', 3, 4, ..] => ("a ZIP archive or a spreadsheet", "unpack it, or save it as CSV"),
        [b'P', b'A', b'R', b'1', ..] => ("a Parquet file", "end its name in .parquet"),
        _ => return None,
    };
    Some(format!("is {format}, not text: {remedy}"))
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
