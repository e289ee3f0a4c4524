//! The file of a tokenized data set.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the magic number |
//! | 32 | SHA-256 of all that follows |
//! | 8 | length of the header, little-endian |
//! | as told | the header: JSON, spaces behind it up to a multiple of 8 |
//! | the rest | of each split the ends of its texts (8 bytes each), its labels and its token ids (4 bytes each) |
//!
//! Numbers are in the byte order of the machine that wrote them, so that they are used where they lie; the header tells
//! it, and a file from elsewhere is foreign.

use std::{
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::Path,
    sync::Arc,
};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zerocopy::IntoBytes;

use super::{TokenizedDataset, TokenizedSplit};
use crate::{Encoded, numbers::Numbers};

const MAGIC: [u8; 8] = *b"dsTokens";
const DIGEST: usize = 32;
/// Magic number, digest and the header's length.
const PREFIX: usize = MAGIC.len() + DIGEST + 8;
const WORD: usize = 8;

#[derive(Serialize, Deserialize)]
struct Header {
    key: String,
    little_endian: bool,
    classes: Vec<String>,
    pairs: bool,
    train: Lengths,
    validation: Lengths,
    test: Option<Lengths>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Lengths {
    texts: usize,
    tokens: usize,
    truncated: u64,
}

impl Lengths {
    fn of(split: &TokenizedSplit) -> Self {
        Self {
            texts: split.labels.len(),
            tokens: split.texts.ids().len(),
            truncated: split.texts.truncated(),
        }
    }
}

/// Why a file gives no data set.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is not there.
    Absent,
    /// It is not what it should be.
    Because(String),
}

/// Writes a data set under its key.
pub(super) fn write(file: &mut File, key: &str, data: &TokenizedDataset) -> io::Result<()> {
    let header = Header {
        key: key.to_owned(),
        little_endian: cfg!(target_endian = "little"),
        classes: data.classes.clone(),
        pairs: data.pairs,
        train: Lengths::of(&data.train),
        validation: Lengths::of(&data.validation),
        test: data.test.as_ref().map(Lengths::of),
    };
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(WORD), b' ');

    let mut out = Hashing { hash: Sha256::new(), out: BufWriter::new(file) };
    out.out.write_all(&MAGIC)?;
    out.out.write_all(&[0; DIGEST])?;
    out.write(&(header.len() as u64).to_le_bytes())?;
    out.write(&header)?;
    for split in [Some(&data.train), Some(&data.validation), data.test.as_ref()].into_iter().flatten() {
        out.write(split.texts.ends().as_bytes())?;
        out.write(split.labels().as_bytes())?;
        out.write(split.texts.ids().as_bytes())?;
        // The next split begins on a whole word.
        let odd = (split.labels.len() + split.texts.ids().len()) % 2;
        out.write(&[0; 4][..4 * odd])?;
    }
    let digest = out.hash.finalize();
    let file = out.out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(MAGIC.len() as u64))?;
    file.write_all(&digest)
}

struct Hashing<W> {
    hash: Sha256,
    out: W,
}

impl<W: Write> Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Maps a file and looks whether it is whole, ours, and of this key.
pub(super) fn read(path: &Path, key: &str) -> Result<TokenizedDataset, Unusable> {
    let because = |reason: &str| Unusable::Because(reason.to_owned());
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Unusable::Absent,
        _ => Unusable::Because(error.to_string()),
    };
    let file = File::open(path).map_err(failed)?;
    // SAFETY: no process of ours writes to a file under this name: it comes there by a rename and goes by a removal,
    // neither of which touches a mapping.
    let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
    if map.get(..MAGIC.len()) != Some(&MAGIC) {
        return Err(because("it is no file of tokens"));
    }
    let length = map
        .get(PREFIX - WORD..PREFIX)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes)
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length <= map.len() - PREFIX && length % WORD == 0)
        .ok_or_else(|| because("it is cut off in its header"))?;
    if Sha256::digest(&map[MAGIC.len() + DIGEST..])[..] != map[MAGIC.len()..MAGIC.len() + DIGEST] {
        return Err(because("its checksum is wrong: it was cut off or changed"));
    }
    let header: Header = serde_json::from_slice(&map[PREFIX..PREFIX + length])
        .map_err(|error| Unusable::Because(format!("its header is not understood: {error}")))?;
    if header.little_endian != cfg!(target_endian = "little") {
        return Err(because("it was written by a machine of the other byte order"));
    }
    if header.key != key {
        return Err(because("it was written for other data"));
    }
    let mut parts = Parts { map: Arc::new(map), at: PREFIX + length };
    let mut split = |lengths: Lengths| {
        parts.split(lengths).ok_or_else(|| because("its numbers are not where its header says"))
    };
    let (train, validation) = (split(header.train)?, split(header.validation)?);
    let test = header.test.map(split).transpose()?;
    if parts.at != parts.map.len() {
        return Err(because("it is longer than its header says"));
    }
    let Header { classes, pairs, .. } = header;
    Ok(TokenizedDataset { train, validation, test, classes, pairs, cached: true })
}

/// Takes splits from a mapped file, one after another.
struct Parts {
    map: Arc<Mmap>,
    at: usize,
}

impl Parts {
    fn split(&mut self, lengths: Lengths) -> Option<TokenizedSplit> {
        let mut range = |count: usize, size: usize| {
            let start = self.at;
            self.at = start.checked_add(count.checked_mul(size)?)?;
            Some(start..self.at)
        };
        let (ends, labels, ids) =
            (range(lengths.texts, 8)?, range(lengths.texts, 4)?, range(lengths.tokens, 4)?);
        self.at = self.at.checked_next_multiple_of(WORD)?;
        let (ids, ends) = (Numbers::mapped(&self.map, ids)?, Numbers::mapped(&self.map, ends)?);
        let texts = Encoded::new(ids, ends, lengths.truncated)?;
        Some(TokenizedSplit { texts, labels: Numbers::mapped(&self.map, labels)? })
    }
}
