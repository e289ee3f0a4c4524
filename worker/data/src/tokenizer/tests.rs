use std::{collections::BTreeMap, fs};

use distilsweep_proto::hex::hex;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

const TOKENIZERS: &str = "tests/fixtures/tokenizers";

/// A model directory as `tests/fixtures/tokenizers/record.py` makes it.
#[derive(serde::Deserialize)]
struct Scene {
    name: String,
    base: String,
    #[serde(default)]
    replaced: serde_json::Map<String, Value>,
    #[serde(default)]
    model: serde_json::Map<String, Value>,
    files: BTreeMap<String, Value>,
}

/// A text, its pair, the length that both are truncated to, and their ids.
type RecordedIds = (String, Option<String>, usize, Vec<u32>);

fn read_json<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let text = fs::read_to_string(Path::new(TOKENIZERS).join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[derive(serde::Deserialize)]
struct Recorded {
    cases: Vec<RecordedIds>,
}

/// What transformers makes of each scene's directory.
fn read_cases() -> BTreeMap<String, Recorded> {
    read_json("read.json")
}

fn scenes() -> Vec<Scene> {
    read_json("scenes.json")
}

impl Scene {
    fn directory(&self) -> TempDir {
        let directory = TempDir::new().unwrap();
        let write = |name: &str, text: String| fs::write(directory.path().join(name), text).unwrap();
        if self.base == VOCABULARY {
            fs::copy(Path::new(TOKENIZERS).join(VOCABULARY), directory.path().join(VOCABULARY)).unwrap();
        } else {
            let mut tokenizer: Value = read_json(&self.base);
            tokenizer.as_object_mut().unwrap().extend(self.replaced.clone());
            tokenizer["model"].as_object_mut().unwrap().extend(self.model.clone());
            write(FILE, tokenizer.to_string());
        }
        for (name, content) in &self.files {
            write(name, content.to_string());
        }
        directory
    }
}

fn check_ids(tokenizer: &TextTokenizer, recorded: &[RecordedIds], what: &str) {
    assert!(recorded.len() > 20, "{what}");
    for (text, pair, max_length, ids) in recorded {
        let split =
            Split { texts: vec![text.clone()], pairs: pair.iter().cloned().collect(), labels: Vec::new() };
        let encoded = tokenizer.encode(&split, *max_length).unwrap();
        assert_eq!(encoded.example(0), ids, "{what}: {split:?} truncated to {max_length}");
        let shown = tokenizer.tokens(text, pair.as_deref(), Some(*max_length)).unwrap();
        assert!(shown.iter().map(|token| token.id).eq(ids.iter().copied()), "{what}: {split:?} {shown:?}");
    }
}

#[test]
fn model_directories_are_read_as_transformers_does() {
    let recorded = read_cases();
    for scene in scenes() {
        let directory = scene.directory();
        let tokenizer = TextTokenizer::from_directory(directory.path()).unwrap();
        check_ids(&tokenizer, &recorded[&scene.name].cases, &scene.name);
    }
}

/// The digest of files as the recorder computes it.
fn digest(files: &[(&'static str, String)]) -> String {
    let files: BTreeMap<&str, &String> = files.iter().map(|(name, text)| (*name, text)).collect();
    let mut hash = Sha256::new();
    for (name, text) in files {
        hash.update(format!("{name}\0{text}\0"));
    }
    hex(&hash.finalize())
}

#[test]
fn exported_tokenizers_give_the_same_ids_in_transformers() {
    #[derive(serde::Deserialize)]
    struct Exported {
        digest: String,
        #[serde(rename = "version 4")]
        version_4: String,
        #[serde(rename = "version 5")]
        version_5: String,
        #[serde(rename = "ids 4")]
        ids_4: Vec<Vec<u32>>,
        #[serde(rename = "ids 5")]
        ids_5: Vec<Vec<u32>>,
    }
    // For the recorder.
    if let Some(written) = std::env::var_os("DISTILSWEEP_EXPORTED") {
        for scene in scenes() {
            let tokenizer = TextTokenizer::from_directory(scene.directory().path()).unwrap();
            let directory = Path::new(&written).join(&scene.name);
            fs::create_dir_all(&directory).unwrap();
            for (name, text) in tokenizer.export(40).unwrap() {
                fs::write(directory.join(name), text).unwrap();
            }
        }
        return;
    }
    let exported: BTreeMap<String, Exported> = read_json("exported.json");
    let cases = read_cases();
    for scene in scenes() {
        let name = &scene.name;
        let tokenizer = TextTokenizer::from_directory(scene.directory().path()).unwrap();
        let files = tokenizer.export(40).unwrap();
        let Exported { digest: recorded, version_4, version_5, ids_4, ids_5 } = &exported[name];
        assert_eq!(
            digest(&files),
            *recorded,
            "{name}: the exporter writes other files than recorded, see record.py in {TOKENIZERS}"
        );
        assert!(version_4 == "4.57.6" && version_5.starts_with("5."), "{version_4}, {version_5}");
        let with_ids = |ids: &[Vec<u32>]| -> Vec<RecordedIds> {
            let cases = &cases[name].cases;
            assert_eq!(cases.len(), ids.len());
            let case = |(case, ids): (&RecordedIds, &Vec<u32>)| {
                (case.0.clone(), case.1.clone(), case.2, ids.clone())
            };
            cases.iter().zip(ids).map(case).collect()
        };
        let [version_4, version_5] = [ids_4, ids_5].map(|ids| with_ids(ids));
        check_ids(&tokenizer, &version_4, &format!("{name}, exported, version 4"));
        check_ids(&tokenizer, &version_5, &format!("{name}, exported, version 5"));

        let directory = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let read = TextTokenizer::from_directory(directory.path()).unwrap();
        check_ids(&read, &version_4, &format!("{name}, exported and read"));
    }
}

#[test]
fn exported_class_is_the_one_that_keeps_the_tokenizer() {
    let lines: Vec<String> = scenes()
        .iter()
        .map(|scene| {
            let files = TextTokenizer::from_directory(scene.directory().path()).unwrap().export(40).unwrap();
            let config = files.iter().find(|(name, _)| *name == CONFIG).unwrap();
            let config: Value = serde_json::from_str(&config.1).unwrap();
            let flags = ["do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space"];
            let others = ["truncation_side", "split_special_tokens"];
            let shown =
                flags.iter().chain(&others).filter_map(|key| Some(format!(" {key}={}", config.get(key)?)));
            let vocabulary = files.iter().any(|(name, _)| *name == VOCABULARY);
            assert_eq!(vocabulary, config["tokenizer_class"] == "DistilBertTokenizer");
            format!("{}: {}{}", scene.name, config["tokenizer_class"], shown.collect::<String>())
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    uncased: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=true
    cased by its settings: "DistilBertTokenizer" do_lower_case=false strip_accents=null tokenize_chinese_chars=true
    cased with accents stripped: "DistilBertTokenizer" do_lower_case=false strip_accents=true tokenize_chinese_chars=true
    cased tokenizer, no settings: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=true
    cased tokenizer taken as it is: "DistilBertTokenizer" do_lower_case=false strip_accents=false tokenize_chinese_chars=true
    accents kept: "DistilBertTokenizer" do_lower_case=true strip_accents=false tokenize_chinese_chars=true
    accents as the casing says: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=true
    Chinese characters in words: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=false
    texts not cleaned: "PreTrainedTokenizerFast"
    a sequence of normalizers: "PreTrainedTokenizerFast"
    short words: "PreTrainedTokenizerFast"
    a vocabulary: "DistilBertTokenizer" do_lower_case=false strip_accents=null tokenize_chinese_chars=true
    a vocabulary of other special tokens: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=true
    added_tokens.json beside a vocabulary: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=true
    added_tokens_decoder beside a vocabulary: "DistilBertTokenizer" do_lower_case=false strip_accents=null tokenize_chinese_chars=true
    added_tokens_decoder beside a tokenizer: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=true
    added_tokens.json beside a tokenizer: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=true
    additional special tokens: "DistilBertTokenizer" do_lower_case=false strip_accents=null tokenize_chinese_chars=true
    added tokens in the tokenizer: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=true
    added tokens after a gap: "PreTrainedTokenizerFast"
    truncated on the left: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=true truncation_side="left"
    truncated on the left by the tokenizer: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=true truncation_side="left"
    special tokens split: "DistilBertTokenizer" do_lower_case=true strip_accents=null tokenize_chinese_chars=true split_special_tokens=true
    BPE: "PreTrainedTokenizerFast" add_prefix_space=false
    BPE with a leading space: "PreTrainedTokenizerFast" add_prefix_space=true
    "#);
}

/// What reading the fixture's vocabulary or tokenizer with these files beside it says.
fn rejected(base: &str, replaced: Value, files: &[(&str, Value)]) -> String {
    let scene = Scene {
        name: String::new(),
        base: base.to_owned(),
        replaced: replaced.as_object().cloned().unwrap_or_default(),
        model: serde_json::Map::new(),
        files: files.iter().map(|(name, json)| ((*name).to_owned(), json.clone())).collect(),
    };
    let directory = scene.directory();
    let error = TextTokenizer::from_directory(directory.path()).map(|_| ()).unwrap_err();
    error.to_string().replace(&*directory.path().to_string_lossy(), "DIR")
}

#[test]
fn contradictory_tokenizer_files_are_rejected() {
    let (json, none) = ("wordpiece.json", Value::Null);
    let said = [
        rejected(VOCABULARY, none.clone(), &[(ADDED_TOKENS, json!({"[URL]": 108}))]),
        rejected(VOCABULARY, none.clone(), &[(ADDED_TOKENS, json!({"[URL]": 107, "[A]": 107}))]),
        rejected(VOCABULARY, none.clone(), &[(ADDED_TOKENS, json!({"[URL]": "107"}))]),
        rejected(VOCABULARY, none.clone(), &[(ADDED_TOKENS, json!(["[URL]"]))]),
        rejected(
            json,
            none.clone(),
            &[(CONFIG, json!({"added_tokens_decoder": {"5": {"content": "[URL]"}}}))],
        ),
        rejected(json, none.clone(), &[(CONFIG, json!({"added_tokens_decoder": {"107": "[URL]"}}))]),
        rejected(json, none.clone(), &[(CONFIG, json!({"do_lower_case": null}))]),
        rejected(json, none.clone(), &[(CONFIG, json!({"strip_accents": "no"}))]),
        rejected(json, none.clone(), &[(CONFIG, json!({"truncation_side": "both"}))]),
        rejected(json, none.clone(), &[(CONFIG, json!({"mask_token": 4}))]),
        rejected(json, json!({"normalizer": null}), &[]),
        rejected(
            VOCABULARY,
            none.clone(),
            &[(CONFIG, json!({"tokenizer_class": "PreTrainedTokenizerFast"}))],
        ),
        rejected(VOCABULARY, none.clone(), &[(CONFIG, json!({"tokenizer_class": "BertJapaneseTokenizer"}))]),
        rejected(VOCABULARY, none, &[(SPECIAL_TOKENS, json!({"cls_token": "\u{1b}".repeat(70)}))]),
    ];
    insta::assert_snapshot!(said.join("\n"), @r#"
    DIR/added_tokens.json gives the token "[URL]" the id 108, the tokenizer gives it 107: ids of added tokens must follow the vocabulary without a gap
    DIR/added_tokens.json gives the tokens "[A]" and "[URL]" the same id 107
    DIR/added_tokens.json gives the token "[URL]" the id "107", which is none
    DIR/added_tokens.json is no JSON object
    DIR/tokenizer_config.json gives the token "[URL]" the id 5, the tokenizer gives it 107: ids of added tokens must follow the vocabulary without a gap
    DIR/tokenizer_config.json has "[URL]" in `added_tokens_decoder`, which is no token: it must be a text or an object with a `content`
    DIR/tokenizer_config.json has `do_lower_case`: null, it must be true or false
    DIR/tokenizer_config.json has `strip_accents`: "no", it must be true or false
    DIR/tokenizer_config.json has `truncation_side`: "both", it must be left or right
    DIR/tokenizer_config.json has 4 in `mask_token`, which is no token: it must be a text or an object with a `content`
    DIR/tokenizer.json has no normalizer, which the tokenizer class "DistilBertTokenizer" needs: if none is meant, tokenizer_config.json must say "tokenizer_class": "PreTrainedTokenizerFast"
    DIR/vocab.txt is no vocabulary of the tokenizer class "PreTrainedTokenizerFast": save the tokenizer with save_pretrained, which writes tokenizer.json
    DIR/vocab.txt is no vocabulary of the tokenizer class "BertJapaneseTokenizer": save the tokenizer with save_pretrained, which writes tokenizer.json
    DIR/vocab.txt has no piece "\u{1b}\u{1b}\u{1b}\u{1b}\u{1b}\u{1b}\u{1b}\u{1b}\u{1b}\u{1b…", which a tokenizer needs
    "#);
}

#[test]
fn truncated_texts_are_counted() {
    let tokenizer = fixture();
    let texts = ["so so so so", "so", "so so so"].map(str::to_owned).to_vec();
    let encode = |pairs: &[&str], max_length| {
        let pairs = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        let split = Split { texts: texts.clone(), pairs, labels: Vec::new() };
        tokenizer.encode(&split, max_length).unwrap().truncated()
    };
    assert_eq!([6, 5, 4].map(|max_length| encode(&[], max_length)), [0, 1, 2]);
    assert_eq!([9, 8, 5].map(|max_length| encode(&["so so", "", "so"], max_length)), [0, 1, 2]);
}

fn fixture() -> TextTokenizer {
    TextTokenizer::from_directory(Path::new("tests/fixtures/tokenizer")).unwrap()
}

#[derive(serde::Deserialize)]
struct Case {
    tokenizer: String,
    text: String,
    pair: Option<String>,
    max_length: usize,
    ids: Vec<u32>,
}

#[test]
fn ids_are_those_of_transformers_and_the_file_s_padding_and_truncation_do_not_count() {
    let recorded = std::fs::read_to_string("tests/fixtures/tokenizer_cases.json").unwrap();
    let cases: Vec<Case> = serde_json::from_str(&recorded).unwrap();
    let of = |kind: &str, pair: bool| {
        let fitting = cases.iter().filter(|case| case.tokenizer == kind && case.pair.is_some() == pair);
        fitting.count()
    };
    for kind in ["tokenizer", "vocabulary"] {
        assert!(of(kind, false) > 30 && of(kind, true) > 40, "{kind}");
        let tokenizer = TextTokenizer::from_directory(&Path::new("tests/fixtures").join(kind)).unwrap();
        for case in cases.iter().filter(|case| case.tokenizer == kind) {
            let pairs = case.pair.iter().cloned().collect();
            let split = Split { texts: vec![case.text.clone()], pairs, labels: Vec::new() };
            let encoded = tokenizer.encode(&split, case.max_length).unwrap();
            assert_eq!(encoded.example(0), case.ids, "{kind}: {split:?} cut to {}", case.max_length);
        }
    }
}

#[test]
fn tokenizer_of_a_vocabulary_is_exported_whole() {
    let made = TextTokenizer::from_directory(Path::new("tests/fixtures/vocabulary")).unwrap();
    let directory = TempDir::new().unwrap();
    for (name, text) in made.export(512).unwrap() {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let read = TextTokenizer::from_directory(directory.path()).unwrap();
    let texts = ["So happy, 电影 UNHAPPILY [MASK]!".to_owned()];
    let ids = |tokenizer: &TextTokenizer| tokenizer.encode_texts(&texts, 64).unwrap();
    assert_eq!(ids(&read), ids(&made));
}

#[test]
fn tokens_show_which_characters_they_stand_for() {
    let tokenizer = fixture();
    let tokens = tokenizer.tokens("Café unhappily", Some("so 电"), None).unwrap();
    let shown = |token: &Token| {
        let characters = token.characters.map_or_else(|| "-".to_owned(), |(from, to)| format!("{from}-{to}"));
        format!("{} {} {characters} {}", token.id, token.token, u8::from(token.second))
    };
    insta::assert_snapshot!(tokens.iter().map(shown).collect::<Vec<_>>().join("\n"), @"
    2 [CLS] - 0
    22 c 0-1 0
    64 ##a 1-2 0
    69 ##f 2-3 0
    68 ##e 3-4 0
    15 un 5-7 0
    16 ##happ 7-11 0
    17 ##i 11-12 0
    18 ##ly 12-14 0
    3 [SEP] - 0
    9 so 0-2 1
    98 电 3-4 1
    3 [SEP] - 1
    ");
    let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "cafe unhappily so 电");
    assert_eq!(tokenizer.tokens("so so so so so", None, Some(4)).unwrap().len(), 4);
    assert!(tokenizer.tokens("so", None, Some(2)).is_err());
}

#[test]
fn added_tokens_are_shown_as_declared() {
    let scene =
        scenes().into_iter().find(|scene| scene.name == "added_tokens.json beside a vocabulary").unwrap();
    let tokenizer = TextTokenizer::from_directory(scene.directory().path()).unwrap();
    let tokens = tokenizer.tokens("The [URL] <user> is", None, None).unwrap();
    let tokens: Vec<&str> = tokens.iter().map(|token| token.token.as_str()).collect();
    assert_eq!(tokens, ["[CLS]", "the", "[URL]", "<user>", "is", "[SEP]"]);
}

#[test]
fn texts_keep_their_order_over_groups() {
    let texts: Vec<String> = (0..2 * GROUP + 5).map(|i| "happy ".repeat(i % 7)).collect();
    let encoded = fixture().encode_texts(&texts, 64).unwrap();
    assert_eq!(encoded.len(), texts.len());
    for i in 0..texts.len() {
        assert_eq!(encoded.example(i).len(), 2 + i % 7, "text {i}");
    }
    assert_eq!(encoded.ids().len(), (0..encoded.len()).map(|i| encoded.example(i).len()).sum::<usize>());
}

#[test]
fn the_vocabulary_holds_every_id() {
    let tokenizer = fixture();
    let encoded = tokenizer.encode_texts(&["the movie was great 😀 电影".to_owned()], 64).unwrap();
    assert!(encoded.ids().iter().all(|id| (*id as usize) < tokenizer.vocabulary_size()));
}

#[test]
fn errors_say_what_would_be_right() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = |error: DataError| error.to_string().replace(&*directory.path().to_string_lossy(), "DIR");
    let missing = TextTokenizer::from_directory(directory.path()).map(|_| ()).unwrap_err();
    std::fs::write(directory.path().join("tokenizer.json"), "{}").unwrap();
    let broken = TextTokenizer::from_directory(directory.path()).map(|_| ()).unwrap_err();
    let short = fixture().encode_texts(&["happy".to_owned()], 2).unwrap_err();
    std::fs::remove_file(directory.path().join("tokenizer.json")).unwrap();
    std::fs::write(directory.path().join(VOCABULARY), "[UNK]\n[SEP]\nhappy\n").unwrap();
    let lacking = TextTokenizer::from_directory(directory.path()).map(|_| ()).unwrap_err();
    insta::assert_snapshot!([missing, broken, short, lacking].map(wrong).join("\n"), @r#"
    DIR/tokenizer.json does not exist: a model directory needs the tokenizer of transformers' fast tokenizers, or vocab.txt
    DIR/tokenizer.json is no tokenizer: Model missing. at line 1 column 2
    max_length is 2, it must be at least 3 for tests/fixtures/tokenizer/tokenizer.json
    DIR/vocab.txt has no piece "[CLS]", which a tokenizer needs
    "#);
}
