//! Quotes in text files: which fields they enclose, and whether a file uses them at all.

use std::ops::Range;

/// The quoted fields of a record, from the opening quote to the closing one, as RFC 4180 has them: a quote opens a field
/// only as its first character. The last range ends with the record if its quote is never closed; then `true` is beside.
pub(crate) fn quoted_fields(record: &[u8], separator: u8) -> (Vec<Range<usize>>, bool) {
    let mut fields = Vec::new();
    let mut field_start = true;
    let mut i = 0;
    while i < record.len() {
        if field_start && record[i] == b'"' {
            match closing_quote(record, i + 1) {
                Some(end) => {
                    fields.push(i..end + 1);
                    i = end + 1;
                }
                None => {
                    fields.push(i..record.len());
                    return (fields, true);
                }
            }
            field_start = false;
        } else {
            field_start = record[i] == separator || matches!(record[i], b'\n' | b'\r');
            i += 1;
        }
    }
    (fields, false)
}

/// Where a quoted field that begins at `from` is closed; a doubled quote is a character of it.
fn closing_quote(record: &[u8], from: usize) -> Option<usize> {
    let mut i = from;
    while i < record.len() {
        if record[i] == b'"' {
            if record.get(i + 1) != Some(&b'"') {
                return Some(i);
            }
            i += 1;
        }
        i += 1;
    }
    None
}

/// Whether the quotes of a tab-separated file enclose fields, as pandas and spreadsheets write them, or are characters.
///
/// They enclose fields if every field that begins with a quote ends with one and needs them: it holds a tab, a line end
/// or a quote; or if that is so in all fields of a column below the header, as with `quoting=csv.QUOTE_ALL`.
pub(crate) fn encloses_fields(content: &str) -> bool {
    let bytes = content.as_bytes();
    let (fields, open) = quoted_fields(bytes, b'\t');
    if fields.is_empty() || open {
        return false;
    }
    let ends_field = |end: usize| matches!(bytes.get(end), None | Some(b'\t' | b'\n' | b'\r'));
    if !fields.iter().all(|field| ends_field(field.end)) {
        return false;
    }
    let needs_quotes = |field: &Range<usize>| {
        bytes[field.start + 1..field.end - 1].iter().any(|b| matches!(b, b'\t' | b'\n' | b'\r' | b'"'))
    };
    fields.iter().all(needs_quotes) || quotes_whole_columns(content)
}

/// Whether some column is quoted in every row below the header, and the others in none.
fn quotes_whole_columns(content: &str) -> bool {
    let mut reader = csv::ReaderBuilder::new().delimiter(b'\t').from_reader(content.as_bytes());
    let mut always: Vec<bool> = Vec::new();
    let mut record = csv::ByteRecord::new();
    let mut start = reader.byte_headers().map(|_| ()).map(|()| reader.position().byte() as usize);
    while let Ok(from) = start {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return always.contains(&true),
            Err(_) => return false,
        }
        let end = reader.position().byte() as usize;
        let quoted = quoted_columns(content[from..end].trim_matches(['\r', '\n']).as_bytes());
        if always.is_empty() {
            always = quoted;
        } else if always != quoted {
            return false;
        }
        start = Ok(end);
    }
    false
}

/// Which fields of a tab-separated record are quoted.
fn quoted_columns(record: &[u8]) -> Vec<bool> {
    let (fields, _) = quoted_fields(record, b'\t');
    let mut columns = vec![fields.iter().any(|field| field.start == 0)];
    let mut i = 0;
    while i < record.len() {
        match fields.iter().find(|field| field.start == i) {
            Some(field) => i = field.end,
            None => {
                if record[i] == b'\t' {
                    columns.push(fields.iter().any(|field| field.start == i + 1));
                }
                i += 1;
            }
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(record: &str) -> (Vec<&str>, bool) {
        let (ranges, open) = quoted_fields(record.as_bytes(), b',');
        (ranges.into_iter().map(|range| &record[range]).collect(), open)
    }

    #[test]
    fn a_quote_opens_a_field_only_at_its_start() {
        assert_eq!(fields("a 5\" lamp,b"), (vec![], false));
        assert_eq!(fields("x,\"a, b\",\"c \"\"d\"\"\""), (vec!["\"a, b\"", "\"c \"\"d\"\"\""], false));
        assert_eq!(fields("x,\"open, b\nc"), (vec!["\"open, b\nc"], true));
        assert_eq!(fields("x,wide 5\""), (vec![], false));
    }

    #[test]
    fn quotes_of_tab_separated_files_are_told_apart() {
        let written_by_pandas =
            "text\tlabel\nplain\t0\n\"a\ttab\"\t1\n\"say \"\"so\"\"\"\t0\n\"two\nlines\"\t1\n";
        assert!(encloses_fields(written_by_pandas));
        assert!(encloses_fields("text\tlabel\n\"a\"\t0\n\"b\"\t1\n"), "all texts are quoted");
        assert!(encloses_fields("\"text\"\t\"label\"\n\"a\"\t\"x\"\n\"b\"\t\"y\"\n"));
        for plain in [
            "text\tlabel\n\"Great!\"\t0\nplain\t1\n",
            "text\tlabel\na \"b\" c\t0\n",
            "text\tlabel\n\"open\t0\nplain\t1\n",
            "text\tlabel\n\"a\" b\t0\n",
        ] {
            assert!(!encloses_fields(plain), "{plain}");
        }
    }
}
