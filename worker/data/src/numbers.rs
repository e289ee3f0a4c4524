//! Rows of numbers that lie in memory or in a mapped file.

use std::{fmt, ops::Deref, ops::Range, sync::Arc};

use memmap2::Mmap;
use zerocopy::{FromBytes, Immutable};

/// Numbers to read, wherever they lie.
#[derive(Clone)]
pub(crate) enum Numbers<T> {
    /// In memory.
    Owned(Vec<T>),
    /// In a part of a file, in this machine's byte order.
    Mapped(Arc<Mmap>, Range<usize>),
}

impl<T: FromBytes + Immutable> Numbers<T> {
    /// The numbers in these bytes of a file; none where the bytes are not there, or are no whole aligned numbers.
    pub(crate) fn mapped(map: &Arc<Mmap>, bytes: Range<usize>) -> Option<Self> {
        <[T]>::ref_from_bytes(map.get(bytes.clone())?).ok()?;
        Some(Self::Mapped(Arc::clone(map), bytes))
    }
}

impl<T: FromBytes + Immutable> Deref for Numbers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(numbers) => numbers,
            Self::Mapped(map, bytes) => <[T]>::ref_from_bytes(&map[bytes.clone()])
                .unwrap_or_else(|_| unreachable!("the bytes were looked at when the file was mapped")),
        }
    }
}

impl<T> From<Vec<T>> for Numbers<T> {
    fn from(numbers: Vec<T>) -> Self {
        Self::Owned(numbers)
    }
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

impl<T: FromBytes + Immutable + PartialEq> PartialEq for Numbers<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: FromBytes + Immutable + Eq> Eq for Numbers<T> {}

impl<T: FromBytes + Immutable + fmt::Debug> fmt::Debug for Numbers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
