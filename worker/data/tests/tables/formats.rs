//! What the readers of each format accept and reject.

use std::path::Path;

use distilsweep_proto::dataset::{DatasetSpec, FileFormat};
use tempfile::TempDir;

use super::{files, load, shown, write};

/// The training texts and labels of a file that is training and validation split at once.
fn read(
    name: &str,
    content: impl AsRef<[u8]>,
    format: FileFormat,
) -> Result<(Vec<String>, Vec<u32>), String> {
    read_columns(name, content, format, None)
}

fn read_columns(
    name: &str,
    content: impl AsRef<[u8]>,
    format: FileFormat,
    text: Option<&str>,
) -> Result<(Vec<String>, Vec<u32>), String> {
    let directory = TempDir::new().unwrap();
    let path = write(directory.path(), name, content);
    let spec = DatasetSpec { format, text: text.map(str::to_owned), ..files(&path, &path) };
    match load(&spec) {
        Ok(data) => Ok((data.train.texts, data.train.labels)),
        Err(error) => Err(shown(&error, directory.path())),
    }
}

fn rows(texts: &[&str], labels: &[u32]) -> Result<(Vec<String>, Vec<u32>), String> {
    Ok((texts.iter().map(|text| (*text).to_owned()).collect(), labels.to_vec()))
}

fn plain() -> FileFormat {
    FileFormat::default()
}

#[test]
fn a_quote_inside_an_unquoted_field_is_text_in_every_row() {
    let expected = rows(&["a 6\" pipe", "b", "c 7\" pipe"], &[0, 1, 0]);
    assert_eq!(read("t.csv", "text,label\na 6\" pipe,x\nb,y\nc 7\" pipe,x\n", plain()), expected);
    assert_eq!(read("t.csv", "text,label\na 6\" pipe,x\nb,y\nc 7\" pipe,x", plain()), expected);
    let at_the_end = "label,text\nx,a 6\"\ny,b\nx,\"c \"\"7\"\"\"";
    assert_eq!(read("t.csv", at_the_end, plain()), rows(&["a 6\"", "b", "c \"7\""], &[0, 1, 0]));
}

#[test]
fn a_quote_that_swallows_rows_is_reported_where_it_opens() {
    let many: String = (0..150).map(|i| format!("row {i},x\n")).collect();
    let swallowed = format!("text,label\nfine,x\nbad,y\n\"open here,x\n{many}closed\",y\n");
    insta::assert_snapshot!(read("t.csv", swallowed, plain()).unwrap_err(), @r#"t.csv line 4: a quote opens a field of 151 lines here, most of which look like rows: close it, or double the quote if it is part of the text ("open here,x\nrow 0,x\nrow 1,x\nrow 2,x\nrow 3,x\nrow 4,x\n…)"#);
    let last = format!("text,label\nfine,x\nbad,y\n{many}\"open,y\nmore,x\n");
    insta::assert_snapshot!(read("t.csv", last, plain()).unwrap_err(), @"t.csv line 154: a quote is opened here and never closed");

    let directory = TempDir::new().unwrap();
    let letter = "a line of a long letter\n".repeat(150);
    let path = write(directory.path(), "t.csv", format!("text,label\n\"{letter}\",x\nshort,y\n"));
    let data = load(&files(&path, &path)).unwrap();
    assert_eq!(data.train.texts[0], letter);
    let note = data.notes[0].replace(&format!("{}/", directory.path().display()), "");
    insta::assert_snapshot!(note, @"t.csv line 2: a quoted field has 150 lines; if that is not one text, a quote is missing");
}

#[test]
fn lines_may_end_in_any_way() {
    for end in ["\n", "\r\n", "\r"] {
        let csv = format!("\u{feff}text,label{end}a,x{end}{end}b,y{end}");
        assert_eq!(read("t.csv", csv, plain()), rows(&["a", "b"], &[0, 1]), "{end:?}");
        let wrong = format!("text,label{end}a,x{end}{end}b{end}");
        let error = read("t.csv", wrong, plain()).unwrap_err();
        assert!(error.starts_with("t.csv line 4: 1 fields where there are 2 columns"), "{end:?}: {error}");
        let json =
            format!("{{\"text\": \"a\", \"label\": \"x\"}}{end}{{\"text\": \"b\", \"label\": \"y\"}}{end}");
        assert_eq!(read("t.jsonl", json, plain()), rows(&["a", "b"], &[0, 1]), "{end:?}");
    }
}

#[test]
fn separators_headers_and_encodings_can_be_set() {
    let semicolons = FileFormat { separator: Some(';'), ..plain() };
    assert_eq!(
        read("t.csv", "label;text\nx;a, b\ny;\"c; d\"\n", semicolons),
        rows(&["a, b", "c; d"], &[0, 1])
    );
    let headless = FileFormat { columns: vec!["label".into(), "text".into()], ..plain() };
    assert_eq!(read("t.csv", "x,a\ny,b\n", headless.clone()), rows(&["a", "b"], &[0, 1]));
    assert_eq!(read("t.tsv", "x\ta\ny\tb\n", headless.clone()), rows(&["a", "b"], &[0, 1]));
    let latin = FileFormat { encoding: Some("windows-1252".into()), ..plain() };
    assert_eq!(
        read("t.csv", b"text,label\ncaf\xe9,x\n\x93b\x94,y\n", latin),
        rows(&["café", "“b”"], &[0, 1])
    );
    let utf16: Vec<u8> =
        "\u{feff}text,label\nnaïve,x\nb,y\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read("t.csv", &utf16, plain()), rows(&["naïve", "b"], &[0, 1]));
    let without_mark = FileFormat { encoding: Some("UTF-16LE".into()), ..plain() };
    assert_eq!(read("t.csv", &utf16[2..], without_mark.clone()), rows(&["naïve", "b"], &[0, 1]));

    insta::assert_snapshot!(
        [
            read("t.csv", "text;label\na;x\nb;y\n", plain()),
            read("t.csv", "x,a,1\ny,b,2\n", headless),
            read("t.csv", &utf16[2..], plain()),
            read("t.csv", b"text,label\ncaf\xe9,x\n", plain()),
            read("t.csv", &utf16[..utf16.len() - 1], plain()),
            read("t.csv", b"\x1f\x8b\x08\0rows", plain()),
            read("t.csv", b"PK\x03\x04rows", plain()),
        ]
        .map(Result::unwrap_err)
        .join("\n"),
        @r#"
    t.csv has a single column named "text;label", split at commas: `separator: ";"` in the data set (--separator) splits it elsewhere
    t.csv line 1: 3 fields where there are 2 columns; a field that holds commas must be in double quotes
    t.csv line 2: not UTF-8: save the file in that encoding, or set its own as `encoding: latin-1` or another (--encoding)
    t.csv line 2: not UTF-8: save the file in that encoding, or set its own as `encoding: latin-1` or another (--encoding)
    t.csv is not valid UTF-16LE: set the `encoding` that it was saved in
    t.csv is gzip-compressed, not text: add .gz to its name
    t.csv is a ZIP archive or a spreadsheet, not text: unpack it, or save it as CSV
    "#
    );
}

#[test]
fn tab_separated_files_are_read_as_pandas_writes_them() {
    let pandas = "text\tlabel\nplain\tx\n\"a\ttab\"\ty\n\"say \"\"so\"\"\"\tx\n";
    assert_eq!(read("t.tsv", pandas, plain()), rows(&["plain", "a\ttab", "say \"so\""], &[0, 1, 0]));
    let glue = "text\tlabel\n\"Great!\"\tx\nsay \"so\"\ty\n\" odd\tx\n";
    assert_eq!(read("t.tsv", glue, plain()), rows(&["\"Great!\"", "say \"so\"", "\" odd"], &[0, 1, 0]));
}

#[test]
fn json_rows_may_lie_under_a_key_and_texts_under_a_path() {
    let envelope = "{\n  \"version\": 2,\n  \"rows\": [\n    {\"text\": \"a\", \"label\": \"x\"},\n    {\"text\": \"b\", \"label\": \"y\"}\n  ]\n}\n";
    let under = |field: &str| FileFormat { field: Some(field.into()), ..plain() };
    assert_eq!(read("t.json", envelope, under("rows")), rows(&["a", "b"], &[0, 1]));
    let nested = format!("{{\"split\": {}}}", envelope.replace('\n', " "));
    assert_eq!(read("t.json", nested, under("split.rows")), rows(&["a", "b"], &[0, 1]));
    let paths =
        "{\"post\": {\"body\": \"a\"}, \"label\": \"x\"}\n{\"post\": {\"body\": \"b\"}, \"label\": \"y\"}\n";
    assert_eq!(read_columns("t.jsonl", paths, plain(), Some("post.body")), rows(&["a", "b"], &[0, 1]));
    insta::assert_snapshot!(
        [
            read("t.json", envelope, plain()),
            read("t.json", envelope.replace('\n', " "), plain()),
            read("t.json", envelope, under("data")),
            read("t.json", envelope, under("version")),
            read("t.json", "{\n \"text\": \"a\",\n \"label\": \"x\"\n}\n", plain()),
            read_columns("t.jsonl", paths, plain(), Some("post.title")),
        ]
        .map(Result::unwrap_err)
        .join("\n"),
        @r#"
    t.json is one object with the rows under the key "rows": set `field: rows` in the data set (--field)
    t.json is one object with the rows under the key "rows": set `field: rows` in the data set (--field)
    t.json has no key "data"; its keys are "rows", "version"
    t.json has 2 under "version", it must be an array of objects
    t.json is one object over several lines, it must hold one object a line, or an array of them
    t.jsonl has no column "post.title"; its columns are "label", "post"
    "#
    );
}

#[test]
fn messages_show_long_and_wild_values_in_short() {
    let long = "x".repeat(9_000);
    let columns: Vec<String> = (0..700).map(|i| format!("c{i}")).collect();
    let wide = format!("{}\n{}\n", columns.join(","), "v,".repeat(699) + "v");
    let names: String = (0..9).map(|i| format!("t{i},{i}{long}\n")).collect();
    let errors = [
        read("t.csv", format!("text,label\na,x\nb,y\nc,{long}\n\n\"{long}"), plain()),
        read("t.csv", wide, plain()),
        read("t.csv", "text\u{1b}[31m,label\na,b\n", plain()),
        read("t.jsonl", format!("{{\"text\": [\"{long}\"], \"label\": 1}}\n"), plain()),
        read("t.jsonl", format!("{{\"text\": \"a\", \"label\": [\"{long}\"]}}\n"), plain()),
        read("t.jsonl", format!("[{{\"text\": \"a\", \"label\": 1}}, \"{long}\"]"), plain()),
    ]
    .map(Result::unwrap_err);
    for error in &errors {
        assert!(error.chars().count() < 600, "{} characters: {error}", error.chars().count());
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    let directory = TempDir::new().unwrap();
    let train = write(directory.path(), "train.csv", format!("text,label\n{names}"));
    let validation = write(directory.path(), "validation.csv", format!("text,label\na,{long}\n"));
    let error = shown(&load(&files(&train, &validation)).unwrap_err(), Path::new(directory.path()));
    assert!(error.contains("unknown label") && error.chars().count() < 600, "{error}");
}
