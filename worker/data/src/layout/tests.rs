use super::*;

fn chosen(files: &[&str], config: Option<&str>) -> String {
    with_card("", files, config)
}

fn spec(config: Option<&str>) -> DatasetSpec {
    let config = config.map(str::to_owned);
    DatasetSpec::of(DatasetSource::Id { id: "rows".to_owned(), config, revision: None })
}

fn with_card(card: &str, files: &[&str], config: Option<&str>) -> String {
    with_spec(card, files, &spec(config))
}

fn with_spec(card: &str, files: &[&str], spec: &DatasetSpec) -> String {
    let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
    match choose(&files, &Card::parse(card), spec) {
        Ok(Chosen { splits, notes, .. }) => format!(
            "{} | {} | {} |{}",
            splits.train.join(" "),
            splits.validation.join(" "),
            splits.test.join(" "),
            notes.iter().map(|note| format!("\n  {note}")).collect::<String>()
        ),
        Err(problem) => problem,
    }
}

const EMOTION: [&str; 6] = [
    ".gitattributes",
    "README.md",
    "split/test-00000-of-00001.parquet",
    "split/train-00000-of-00001.parquet",
    "split/validation-00000-of-00001.parquet",
    "unsplit/train-00000-of-00001.parquet",
];

#[test]
fn files_are_sorted_to_splits_by_name_and_folder() {
    insta::assert_snapshot!(
        [
            chosen(&EMOTION, None),
            chosen(&EMOTION, Some("unsplit")),
            chosen(&["test.csv", "train.csv", "dev.csv", "train_notes.txt"], None),
            chosen(&["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet"], None),
            chosen(&["en/train.jsonl", "en/valid.jsonl"], None),
            chosen(&["default/train/0000.parquet", "default/test/0000.parquet"], None),
            chosen(&["train/a.csv", "train/b.csv", "dev/a.csv"], None),
        ]
        .join("\n"),
        @r#"
    split/train-00000-of-00001.parquet | split/validation-00000-of-00001.parquet | split/test-00000-of-00001.parquet |
      configuration "split" is used, which has all three splits; `config:` chooses another: "unsplit"
    unsplit/train-00000-of-00001.parquet |  |  |
    train.csv | dev.csv | test.csv |
      "dev.csv" is used as the validation split; `splits:` chooses another
    data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet |  |  |
    en/train.jsonl | en/valid.jsonl |  |
      "en/valid.jsonl" is used as the validation split; `splits:` chooses another
    default/train/0000.parquet |  | default/test/0000.parquet |
    train/a.csv train/b.csv | dev/a.csv |  |
      "dev/a.csv" is used as the validation split; `splits:` chooses another
      2 files are read as the train split: "train/a.csv", "train/b.csv"; `splits: {train: NAME}` or `train: [..]` chooses
    "#
    );
}

#[test]
fn a_card_goes_before_names() {
    let card = "---\nconfigs:\n- config_name: all\n  data_files:\n  - split: train\n    path: unsplit/*\n\
                - config_name: parts\n  default: true\n  data_files:\n  - split: train\n    path: '**/train-*'\n  \
                - split: validation\n    path: [split/validation-*, split/none-*]\n  - split: extra\n    path: '*'\n---\n";
    let folder = "---\nconfigs:\n- config_name: x\n  data_dir: split\n---\n";
    insta::assert_snapshot!(
        [
            with_card(card, &EMOTION, None),
            with_card(card, &EMOTION, Some("all")),
            with_card(card, &EMOTION, Some("split")),
            with_card(folder, &EMOTION, None),
            with_card("---\nlicense: mit\n---\n", &EMOTION, Some("unsplit")),
            with_card("---\nconfigs:\n- data_files: a[\n---\n", &EMOTION, None),
        ]
        .join("\n"),
        @r#"
    split/train-00000-of-00001.parquet unsplit/train-00000-of-00001.parquet | split/validation-00000-of-00001.parquet |  |
      configuration "parts" is used; `config:` chooses another: "all"
      the card lists splits without a readable file: "extra"
      not used: "split/test-00000-of-00001.parquet"; `splits: {train: NAME, ..}` chooses other splits or files
    unsplit/train-00000-of-00001.parquet |  |  |
      not used: "split/test-00000-of-00001.parquet"; `splits: {train: NAME, ..}` chooses other splits or files
    there is no configuration "split"; there are "all", "parts"
    split/train-00000-of-00001.parquet | split/validation-00000-of-00001.parquet | split/test-00000-of-00001.parquet |
      not used: "unsplit/train-00000-of-00001.parquet"; `splits: {train: NAME, ..}` chooses other splits or files
    unsplit/train-00000-of-00001.parquet |  |  |
    its card names files by "a[": unclosed character class; missing ']'
    "#
    );
}

#[test]
fn what_cannot_be_chosen_is_asked_for() {
    insta::assert_snapshot!(
        [
            chosen(&EMOTION, Some("splitt")),
            chosen(&["de/train.csv", "en/train.csv"], None),
            chosen(&["README.md", "rows.csv"], None),
            chosen(&["train.csv"], Some("en")),
        ]
        .join("\n"),
        @r#"
    there is no configuration "splitt"; there are "split", "unsplit"
    there are several configurations; `config:` must name one of "de", "en"
    there is no file of training rows: its name or folder must contain "train", and it must end in .parquet, .csv, .tsv, .jsonl or .json; `train: [..]` or `splits: {train: NAME}` chooses among "rows.csv"
    there is no configuration "en", and no other
    "#
    );
}

#[test]
fn folders_name_splits_before_files() {
    insta::assert_snapshot!(
        [
            chosen(&["train/part_1.csv", "train/dev_notes.csv", "test/x.csv"], None),
            chosen(&["training/x/a.csv", "training/y/a.csv", "validation_small/0000.parquet"], None),
            chosen(&["test_runs/train.csv", "test_runs/test.csv"], None),
            chosen(&["train/train.csv", "train/test.csv"], None),
        ]
        .join("\n"),
        @r#"
    train/dev_notes.csv train/part_1.csv |  | test/x.csv |
      2 files are read as the train split: "train/dev_notes.csv", "train/part_1.csv"; `splits: {train: NAME}` or `train: [..]` chooses
    training/x/a.csv training/y/a.csv | validation_small/0000.parquet |  |
      2 files are read as the train split: "training/x/a.csv", "training/y/a.csv"; `splits: {train: NAME}` or `train: [..]` chooses
    test_runs/train.csv |  | test_runs/test.csv |
    "train/test.csv" names two splits, by its folder and by its own name: rename one of them, or name files with `train: [..]`
    "#
    );
}

#[test]
fn files_and_splits_that_are_not_used_are_noted() {
    let card = "---\nconfigs:\n- data_files:\n  - split: train\n    path: a.csv\n  - split: all\n    path: b.csv\n  \
                - split: holdout\n    path: c.csv\n  - split: test\n    path: none.csv\n---\n";
    insta::assert_snapshot!(
        [
            chosen(&["train.csv", "rows.csv", "old/test.csv", "old/train.csv", "dataset_info.json"], None),
            chosen(&["train.csv", "train.json.arrow", "state.json", "label_config.json"], None),
            chosen(&["train.csv", ".old/train.csv", "a/__MACOSX/test.csv", "b/train_results.json"], None),
            with_card(card, &["a.csv", "b.csv", "c.csv", "d.csv"], None),
            with_card("---\n: [\n---\n", &["train.csv"], None),
            with_card("---\nconfigs:\n- data_files: x.csv\n---\n", &["train.csv"], None),
        ]
        .join("\n"),
        @r#"
    train.csv |  |  |
      the files at the top are used; `config:` chooses another: "old"
      not used: "rows.csv"; `splits: {train: NAME, ..}` chooses other splits or files
    train.csv |  |  |
      not read: "*.arrow"
    train.csv |  |  |
    a.csv | c.csv |  |
      "holdout" is used as the validation split; `splits:` chooses another
      the card lists splits without a readable file: "test"
      not used: "all", "d.csv"; `splits: {train: NAME, ..}` chooses other splits or files
    train.csv |  |  |
      the head of README.md is ignored, it is not valid YAML (error: line 1 column 1: cannot deserialize null into string…)
    train.csv |  |  |
      no configuration of the card has training files: file names decide instead
    "#
    );
}

#[test]
fn mnli_keeps_its_validation_splits_apart() {
    let files = ["train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched"];
    let files = files.map(|split| format!("data/{split}-00000-of-00001.parquet"));
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let mut chosen = spec(None);
    chosen.splits.validation = SplitChoice::Named("validation_matched".to_owned());
    let ambiguous = with_spec("", &files, &chosen);
    chosen.splits.test = SplitChoice::LeftOut;
    insta::assert_snapshot!([ambiguous, with_spec("", &files, &chosen)].join("\n"), @r#"
    any of "test_matched", "test_mismatched" could be the test split: choose one with `splits: {test: test_matched}`, or leave the role out with null
    data/train-00000-of-00001.parquet | data/validation_matched-00000-of-00001.parquet |  |
    "#);
}

#[test]
fn splits_of_any_name_can_be_trained_on() {
    let train = |files: &[&str], name: &str| {
        let mut spec = spec(None);
        spec.splits.train = SplitChoice::Named(name.to_owned());
        with_spec("", files, &spec)
    };
    insta::assert_snapshot!(
        [
            train(&["full.csv", "train.csv", "test.csv"], "full"),
            train(&["all/rows.csv", "en/train.csv"], "all/rows.csv"),
            train(&["full.csv", "train.csv"], "fulll"),
        ]
        .join("\n"),
        @r#"
    full.csv |  | test.csv |
    all/rows.csv |  |  |
      not used: "en/train.csv"; `splits: {train: NAME, ..}` chooses other splits or files
    there is no split "fulll"; there are "full", "train"
    "#
    );
}

#[test]
fn class_folders_are_read_unless_there_are_tables() {
    let texts = ["train/pos/0.txt", "train/neg/1.txt", "test/pos/2.txt", "train/unsup/3.txt", "notes.txt"];
    let tables = [&texts[..], &["train.csv"]].concat();
    let labels = [&texts[..], &["labels.csv"]].concat();
    insta::assert_snapshot!(
        [
            chosen(&texts, None),
            chosen(&["pos/0.txt", "neg/1.txt"], None),
            chosen(&tables, None),
            chosen(&labels, None),
            chosen(&["notes.txt", "texts/a.txt"], None),
        ]
        .join("\n"),
        @r#"
    train/neg/1.txt train/pos/0.txt |  | test/pos/2.txt |
      each text file is a row with its folder as label: "neg", "pos"
      not read: "notes.txt", "train/unsup/"
    neg/1.txt pos/0.txt |  |  |
      each text file is a row with its folder as label: "neg", "pos"
    train.csv |  |  |
      text files in folders ("neg", "pos") are not read, since there are tables: a directory without tables is read by class folders
    train/neg/1.txt train/pos/0.txt |  | test/pos/2.txt |
      each text file is a row with its folder as label: "neg", "pos"
      not read: "notes.txt", "train/unsup/", "labels.csv"
    there is no file of training rows: its name or folder must contain "train", and it must end in .parquet, .csv, .tsv, .jsonl or .json
    "#
    );
}

#[test]
fn the_separator_of_the_card_is_that_of_its_files() {
    let separator = |text: &str, files: &[&str]| {
        let card = Card::parse(&format!("---\nconfigs:\n- config_name: default\n  sep: {text}\n---\n"));
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        choose(&files, &card, &spec(None)).map(|chosen| chosen.separator)
    };
    assert_eq!(separator(r#""\t""#, &["train.csv"]), Ok(Some('\t')));
    assert_eq!(separator("'|'", &["default/train.csv"]), Ok(Some('|')));
    assert_eq!(separator("null", &["train.csv"]), Ok(None));
    insta::assert_snapshot!(separator("'::'", &["train.csv"]).unwrap_err(), @r#"its card sets the separator "::": it must be one character such as `;`, `|` or a tab; `separator:` overrides it"#);
}

#[test]
fn names_of_files_are_shortened_in_messages() {
    let long = format!("rows\u{1b}[31m{}.csv", "x".repeat(9_000));
    let many: Vec<String> = (0..700).map(|i| format!("train_{}.csv", "ab".repeat(i))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for message in [chosen(&["train.csv", &long], None), chosen(&[&long], None), chosen(&many, None)] {
        assert!(message.chars().count() < 700 && !message.contains('\u{1b}'), "{message}");
    }
}
