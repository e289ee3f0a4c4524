//! The reports of one lease that wait for their acknowledgement, oldest first: in memory, and past a bound in a file.
//!
//! The file has no name and goes with its lease or its process, however that ends. It only grows until all of it was
//! read back. What the disk does not take stays in memory: a full disk costs memory, never a report.
//!
//! ```text
//!   acknowledged <- front (memory) <- spill (file) <- back (memory) <- new reports
//! ```

use std::{collections::VecDeque, fs::File, io, os::unix::fs::FileExt, path::Path};

use distilsweep_proto::v1;
use prost::Message;

use crate::wire::{Report, ReportBody};

/// The reports of one lease.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    front: VecDeque<Report>,
    spill: Option<Spill>,
    back: VecDeque<Report>,
    /// Of what is in memory, about.
    bytes: usize,
}

impl Backlog {
    /// Takes the newest report. It stays in memory where there is `room` and nothing older is in the file, or where it
    /// is the lease's last; the error says why it stayed though there is no room.
    pub(crate) fn push(&mut self, report: Report, room: bool, directory: &Path) -> io::Result<()> {
        if self.spill.is_none() && self.back.is_empty() && (room || self.front.is_empty()) {
            self.keep(report);
            return Ok(());
        }
        self.bytes += weight(&report);
        self.back.push_back(report);
        self.settle(directory)
    }

    /// Moves what is at the back into the file, the last report of a lease excepted: there is one of these at most.
    fn settle(&mut self, directory: &Path) -> io::Result<()> {
        while let Some(report) = self.back.front().filter(|report| !report.body.is_last()) {
            let spill = match &mut self.spill {
                Some(spill) => spill,
                none => none.insert(Spill::new(directory)?),
            };
            spill.append(report)?;
            self.bytes -= weight(report);
            self.back.pop_front();
        }
        Ok(())
    }

    /// Forgets reports up to `sequence`, which are answered, and reads back what then fits into `room` bytes, one
    /// report at least where none is left in memory.
    ///
    /// # Errors
    /// Where the file cannot be read: then [`Self::lose`] is what is left to do.
    pub(crate) fn acknowledge(
        &mut self,
        sequence: u64,
        room: usize,
        durable: &mut Vec<ReportBody>,
    ) -> io::Result<()> {
        loop {
            while let Some(report) = self.front.pop_front_if(|report| report.sequence <= sequence) {
                self.bytes -= weight(&report);
                durable.push(report.body);
            }
            // Again where what was read back is acknowledged too.
            let read = self.read_back(room)?;
            if !read || self.front.front().is_some_and(|report| report.sequence > sequence) {
                return Ok(());
            }
        }
    }

    /// Whether anything was read back.
    fn read_back(&mut self, room: usize) -> io::Result<bool> {
        let mut read = false;
        while let Some(spill) = &mut self.spill {
            if !self.front.is_empty() && self.bytes >= room {
                return Ok(read);
            }
            match spill.next()? {
                Some(report) => {
                    self.bytes += weight(&report);
                    self.front.push_back(report);
                    read = true;
                }
                None => self.spill = None,
            }
        }
        read |= !self.back.is_empty();
        self.front.append(&mut self.back);
        Ok(read)
    }

    /// Takes the newest report into memory, behind which nothing else waits.
    pub(crate) fn keep(&mut self, report: Report) {
        self.bytes += weight(&report);
        self.front.push_back(report);
    }

    /// Drops what is not in memory at the front, and answers the sequence of the last that is.
    pub(crate) fn lose(&mut self) -> Option<u64> {
        self.spill = None;
        self.back.clear();
        self.bytes = self.front.iter().map(weight).sum();
        self.front.back().map(|report| report.sequence)
    }

    /// The report at this place from the oldest on, where it is in memory at the front.
    pub(crate) fn get(&self, place: usize) -> Option<&Report> {
        self.front.get(place)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.front.is_empty() && self.spill.is_none() && self.back.is_empty()
    }

    /// Reports in memory, and the bytes that they take, about.
    pub(crate) fn in_memory(&self) -> (usize, usize) {
        (self.front.len() + self.back.len(), self.bytes)
    }
}

/// The bytes that a report takes in memory, about.
fn weight(report: &Report) -> usize {
    const POINT: usize = 64;
    let points = match &report.body {
        ReportBody::Metrics(points) => points.iter().map(|point| POINT + point.key.len()).sum(),
        ReportBody::Checkpoint(_)
        | ReportBody::Completed(_)
        | ReportBody::Stopped
        | ReportBody::Paused
        | ReportBody::Failed(_) => 0,
    };
    256 + points
}

/// Reports one after the other in a file, each as its message under its length.
#[derive(Debug)]
struct Spill {
    file: File,
    /// Up to here it was read back.
    read: u64,
    /// Up to here it was written; what lies behind is half a report.
    written: u64,
}

impl Spill {
    fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(directory)?, read: 0, written: 0 })
    }

    fn append(&mut self, report: &Report) -> io::Result<()> {
        let message = v1::Report::from(report.clone());
        let mut bytes = (message.encoded_len() as u64).to_le_bytes().to_vec();
        message.encode(&mut bytes).map_err(io::Error::other)?;
        self.file.write_all_at(&bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Report>> {
        if self.read == self.written {
            return Ok(None);
        }
        let mut length = [0; 8];
        self.file.read_exact_at(&mut length, self.read)?;
        let length = u64::from_le_bytes(length);
        let end = self.read.saturating_add(8).saturating_add(length);
        if end > self.written {
            return Err(io::Error::other("a report in it is longer than the file"));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, self.read + 8)?;
        let message = v1::Report::decode(&bytes[..]).map_err(io::Error::other)?;
        self.read = end;
        Report::try_from(message).map(Some).map_err(io::Error::other)
    }
}

#[cfg(test)]
impl Backlog {
    /// Does to the file what a broken disk might.
    pub(crate) fn tear(&mut self) {
        self.spill.as_ref().unwrap().file.set_len(3).unwrap();
    }
}
