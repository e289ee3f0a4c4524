use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use distilsweep_proto::dataset::{DatasetSource, Labels};
use tempfile::TempDir;

use super::*;

const TOKENIZER: &str = "tests/fixtures/tokenizer";

/// Data sets here are files: nobody is asked.
fn hub() -> Hub {
    Hub::from_environment()
}

/// A data set large enough to be kept, a model's directory and an empty cache.
struct Scene {
    directory: TempDir,
    spec: DatasetSpec,
}

impl Scene {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let rows = |count: usize, word: &str| -> String {
            let row = |i: usize| format!("{word} {} {i},{}\n", "very happy movie ".repeat(i % 5), i % 3);
            "text,label\n".to_owned() + &(0..count).map(row).collect::<String>()
        };
        let path = |name: &str| directory.path().join(name);
        fs::write(path("train.csv"), rows(3000, "great")).unwrap();
        fs::write(path("validation.csv"), rows(301, "sad")).unwrap();
        fs::create_dir(path("model")).unwrap();
        fs::copy(Path::new(TOKENIZER).join("tokenizer.json"), path("model/tokenizer.json")).unwrap();
        let source = DatasetSource::Files {
            train: vec![path("train.csv")],
            validation: vec![path("validation.csv")],
            test: vec![path("validation.csv")],
        };
        Self { directory, spec: DatasetSpec::of(source) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn cache(&self) -> Cache {
        Cache { directory: self.path("cache/tokens"), most_bytes: 1 << 30 }
    }

    fn tokenized(&self, spec: &DatasetSpec, max_length: usize) -> TokenizedDataset {
        tokenized_in(&hub(), Some(self.cache()), &self.path("model"), spec, max_length).unwrap()
    }

    fn kept(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(self.cache().directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }
}

#[test]
fn the_second_call_maps_what_the_first_one_tokenized() {
    let scene = Scene::new();
    let fresh = tokenized_in(&hub(), None, &scene.path("model"), &scene.spec, 16).unwrap();
    let first = scene.tokenized(&scene.spec, 16);
    assert!(!first.cached);
    assert_eq!(first, fresh);
    // A model without its tokenizer cannot tokenize, so whatever comes now was kept.
    let tokenizer = TextTokenizer::files(&scene.path("model"));
    let key = key(&locate(&hub(), &scene.spec).unwrap(), &scene.spec, &tokenizer, 16);
    let second = scene.cache().through(&key.unwrap(), || panic!("it was to be found")).unwrap();
    assert!(second.cached);
    assert_eq!(second, TokenizedDataset { cached: true, ..first });
    assert!(scene.tokenized(&scene.spec, 16).cached);
    assert_eq!(scene.kept().len(), 1, "nothing but the one file is left: {:?}", scene.kept());
    let texts = second.test.unwrap().texts;
    assert_eq!((texts.len(), texts.example(300)), (301, fresh.test.unwrap().texts.example(300)));
}

#[test]
fn whatever_changes_the_outcome_is_tokenized_anew() {
    let scene = Scene::new();
    let with = |change: fn(&mut DatasetSpec)| {
        let mut spec = scene.spec.clone();
        change(&mut spec);
        spec
    };
    assert!(!scene.tokenized(&scene.spec, 16).cached);
    let specs = [
        with(|spec| spec.text = Some("text".to_owned())),
        with(|spec| spec.label = Some("label".to_owned())),
        with(|spec| spec.labels = Labels::Names(["a", "b", "c"].map(str::to_owned).to_vec())),
        with(|spec| spec.limit.validation = Some(7)),
    ];
    for spec in &specs {
        assert!(!scene.tokenized(spec, 16).cached, "{spec:?}");
        assert!(scene.tokenized(spec, 16).cached, "{spec:?}");
    }
    assert_eq!(scene.tokenized(&specs[3], 16).validation.texts.len(), 7);
    assert!(!scene.tokenized(&scene.spec, 17).cached, "another length");

    let mut rows = fs::read_to_string(scene.path("train.csv")).unwrap();
    rows.push_str("one more,1\n");
    fs::write(scene.path("train.csv"), rows).unwrap();
    let longer = scene.tokenized(&scene.spec, 16);
    assert!(!longer.cached, "another file");
    assert_eq!(longer.train.labels().len(), 3001);

    let tokenizer = fs::read_to_string(scene.path("model/tokenizer.json")).unwrap();
    fs::write(scene.path("model/tokenizer.json"), tokenizer + " ").unwrap();
    assert!(!scene.tokenized(&scene.spec, 16).cached, "another tokenizer");
    let beside = [
        ("tokenizer_config.json", r#"{"do_lower_case": false}"#),
        ("special_tokens_map.json", r#"{"additional_special_tokens": ["[URL]"]}"#),
        ("added_tokens.json", "{}"),
        ("config.json", r#"{"model_type": "bert"}"#),
    ];
    for (name, content) in beside {
        fs::write(scene.path("model").join(name), content).unwrap();
        assert!(!scene.tokenized(&scene.spec, 16).cached, "another {name}");
        assert!(scene.tokenized(&scene.spec, 16).cached, "the same {name}");
    }
}

#[test]
fn configurations_of_the_same_files_under_other_names_are_kept_apart() {
    let scene = Scene::new();
    let config = |name: &str| {
        format!(
            "- config_name: {name}\n  features:\n  - name: label\n    dtype:\n      class_label:\n        \
             names: [{name}_0, {name}_1, {name}_2]\n"
        )
    };
    let configs = "- config_name: en\n- config_name: de\n";
    let card = format!("---\nconfigs:\n{configs}dataset_info:\n{}{}---\n", config("en"), config("de"));
    fs::write(scene.path("README.md"), card).unwrap();
    let of = |config: &str| {
        let id = scene.directory.path().to_string_lossy().into_owned();
        DatasetSpec::of(DatasetSource::Id { id, config: Some(config.to_owned()), revision: None })
    };
    assert_eq!(scene.tokenized(&of("en"), 16).classes, ["en_0", "en_1", "en_2"]);
    let other = scene.tokenized(&of("de"), 16);
    assert_eq!((other.cached, &other.classes[..]), (false, &["de_0", "de_1", "de_2"].map(str::to_owned)[..]));
    assert!(scene.tokenized(&of("en"), 16).cached);
}

#[test]
fn a_half_written_or_foreign_file_is_ignored_and_written_anew() {
    let scene = Scene::new();
    let first = scene.tokenized(&scene.spec, 16);
    let path = scene.kept().remove(0);
    let whole = fs::read(&path).unwrap();
    let middle = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[middle] ^= 1;
    let mut long_header = whole.clone();
    long_header[40..48].fill(0xff);
    let mut longer = whole.clone();
    longer.extend([0; 8]);
    let damages: [(&str, Vec<u8>); 7] = [
        ("empty", Vec::new()),
        ("cut off in its prefix", whole[..20].to_vec()),
        ("cut off", whole[..middle].to_vec()),
        ("a bit flipped", flipped),
        ("a header without end", long_header),
        ("longer", longer),
        ("foreign", b"text,label\nhappy,1\n".repeat(9)),
    ];
    for (damage, bytes) in damages {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(file::read(&path, ""), Err(file::Unusable::Because(_))), "{damage}");
        assert_eq!(scene.tokenized(&scene.spec, 16), first, "{damage}");
        assert_eq!(fs::read(&path).unwrap(), whole, "{damage}");
    }
    let other = file::read(&path, "another key");
    assert_eq!(other, Err(file::Unusable::Because("it was written for other data".to_owned())));
}

#[test]
fn of_several_at_once_one_tokenizes_and_the_others_wait() {
    let scene = Scene::new();
    let data = tokenized_in(&hub(), None, &scene.path("model"), &scene.spec, 16).unwrap();
    let made = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let found = scene.cache().through("key", || {
                    made.fetch_add(1, Ordering::SeqCst);
                    Ok(data.clone())
                });
                assert_eq!(found.unwrap().train, data.train);
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    assert_eq!(scene.kept().len(), 1, "{:?}", scene.kept());
}

#[test]
fn the_oldest_files_and_abandoned_ones_make_room() {
    let scene = Scene::new();
    let data = tokenized_in(&hub(), None, &scene.path("model"), &scene.spec, 16).unwrap();
    let keep = |most_bytes: u64, key: &str| {
        let cache = Cache { most_bytes, ..scene.cache() };
        assert!(!cache.through(key, || Ok(data.clone())).unwrap().cached);
    };
    let aged = |name: &str, hours: u64| {
        let file = fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(scene.cache().directory.join(name));
        let now = fs::metadata(scene.path("train.csv")).unwrap().modified().unwrap();
        let then: SystemTime = now - Duration::from_secs(hours * 3600);
        file.unwrap().set_modified(then).unwrap();
    };
    keep(u64::MAX, "middle");
    keep(u64::MAX, "oldest");
    aged("middle.tokens", 1);
    aged("oldest.tokens", 2);
    aged("crashed.part", 30);
    aged("writing.part", 3);
    let size = fs::metadata(scene.cache().directory.join("middle.tokens")).unwrap().len();
    keep(2 * size + 8, "new");
    let names: Vec<_> = scene.kept().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["middle.tokens", "new.tokens", "writing.part"]);
    keep(0, "newest");
    assert!(scene.cache().through("newest", || panic!("it was to be found")).unwrap().cached);
}

#[test]
fn without_a_usable_cache_texts_are_tokenized_all_the_same() {
    let scene = Scene::new();
    fs::write(scene.path("cache"), "a file where the directory should be").unwrap();
    assert!(!scene.tokenized(&scene.spec, 16).cached);
    assert!(!scene.tokenized(&scene.spec, 16).cached);
}

#[test]
fn a_small_data_set_is_not_kept() {
    let scene = Scene::new();
    let rows = fs::read_to_string(scene.path("train.csv")).unwrap();
    let some: String = rows.lines().take(100).flat_map(|line| [line, "\n"]).collect();
    fs::write(scene.path("train.csv"), some).unwrap();
    assert!(!scene.tokenized(&scene.spec, 16).cached);
    assert!(!scene.path("cache").exists());
}
