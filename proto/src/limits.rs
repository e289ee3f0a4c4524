//! How large what workers and clients send may be. Both sides read them here: a worker splits or shortens what would be
//! larger, and the coordinator refuses what is.

/// Bytes of a message to the coordinator.
pub const UP_BYTES: usize = 4 << 20;
/// Bytes of a message from the coordinator: results of a sweep come as one.
pub const DOWN_BYTES: usize = 64 << 20;
/// Bytes of an id: of a worker or a sweep.
pub const ID_BYTES: usize = 200;
/// Bytes of the name of a metric, a tag, a device.
pub const NAME_BYTES: usize = 200;
/// Bytes of a text for people: why a trial failed, the value of a tag.
pub const TEXT_BYTES: usize = 16 << 10;
/// Bytes of a path or URL.
pub const PATH_BYTES: usize = 4 << 10;
/// Bytes of a sweep file.
pub const FILE_BYTES: usize = 1 << 20;
/// Points of a report.
pub const POINTS: usize = 10_000;
/// Final metrics, baselines or tags of a result, each.
pub const RESULT_ENTRIES: usize = 256;
/// Classes of which a result has a confusion matrix.
pub const CLASSES: usize = 200;
/// Mistakes that a result shows.
pub const MISTAKES: usize = 100;
/// Bytes of a row's text that is shown to people.
pub const ROW_BYTES: usize = 1 << 10;
/// Splits of a data set.
pub const SPLITS: usize = 16;
/// Leases that a worker holds.
pub const LEASES: usize = 4096;
/// Devices of a worker.
pub const DEVICES: usize = 64;
/// Precisions of a device.
pub const PRECISIONS: usize = 16;
/// Packs that a worker trains at a time.
pub const SLOTS: u32 = 1024;

/// The beginning of a text that fits into [`TEXT_BYTES`].
pub fn shortened(text: String) -> String {
    shortened_to(text, TEXT_BYTES)
}

/// The beginning of a text that fits into `most` bytes.
pub fn shortened_to(mut text: String, most: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() > most {
        let mut end = most - ELLIPSIS.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(ELLIPSIS);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shortened("short".into()), "short");
        for odd in ["", "x", "xx"] {
            let cut = shortened(format!("{odd}{}", "电".repeat(TEXT_BYTES)));
            assert!(cut.len() <= TEXT_BYTES && cut.len() > TEXT_BYTES - 6, "{}", cut.len());
            assert!(cut.ends_with("电…"));
        }
    }
}
