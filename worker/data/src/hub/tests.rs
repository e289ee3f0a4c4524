//! The Hub's client against a Hub of a few files on the loopback.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A Hub with one repository; it serves until the process ends and notes what it was asked.
struct FakeHub {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeHub {
    fn start(repository: &'static str, files: BTreeMap<&'static str, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(stream, repository, &files, &noted);
            }
        });
        Self { endpoint, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn answer(
    mut stream: TcpStream,
    repository: &str,
    files: &BTreeMap<&'static str, Vec<u8>>,
    noted: &Mutex<Vec<String>>,
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let range = lines
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    noted.lock().unwrap().push(path.clone());
    let (status, headers, body) = respond(&path, repository, files, range.as_deref());
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n")
        .unwrap();
    stream.write_all(&body).unwrap();
}

fn respond(
    path: &str,
    repository: &str,
    files: &BTreeMap<&'static str, Vec<u8>>,
    range: Option<&str>,
) -> (&'static str, String, Vec<u8>) {
    if path.contains("private") {
        return ("401 Unauthorized", String::new(), Vec::new());
    }
    if path.contains("overloaded") {
        return ("503 Service Unavailable", String::new(), Vec::new());
    }
    if path == format!("/api/{repository}/revision/main") {
        let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let info = serde_json::json!({ "sha": COMMIT, "siblings": siblings });
        return ("200 OK", "Content-Type: application/json\r\n".to_owned(), info.to_string().into_bytes());
    }
    let url_repository = repository.strip_prefix("models/").unwrap_or(repository);
    let name = path.strip_prefix(&format!("/{url_repository}/resolve/{COMMIT}/"));
    let Some((name, content)) = name.and_then(|name| files.get_key_value(name)) else {
        return ("404 Not Found", String::new(), Vec::new());
    };
    let (first, last) = range.and_then(|range| range.split_once('-')).unwrap();
    let first: usize = first.parse().unwrap();
    let last = last.parse::<usize>().unwrap().min(content.len() - 1);
    let headers = format!(
        "X-Repo-Commit: {COMMIT}\r\nETag: \"etag-{}\"\r\nContent-Range: bytes {first}-{last}/{}\r\n",
        name.replace('/', "-"),
        content.len()
    );
    ("206 Partial Content", headers, content[first..=last].to_vec())
}

fn settings(cache: &Path, endpoint: &str, offline: bool) -> Settings {
    Settings {
        cache: Cache::new(cache.to_owned()),
        endpoint: Some(endpoint.to_owned()),
        token: None,
        offline,
    }
}

fn model_files() -> BTreeMap<&'static str, Vec<u8>> {
    ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "pytorch_model.bin"]
        .into_iter()
        .map(|name| (name, format!("content of {name}").into_bytes()))
        .collect()
}

#[tokio::test]
async fn a_model_is_downloaded_once_and_only_what_is_needed_of_it() {
    let cache = tempfile::tempdir().unwrap();
    let hub = FakeHub::start("models/owner/tiny", model_files());
    let online = settings(cache.path(), &hub.endpoint, false);
    let directory = model_in(&online, "owner/tiny", None).await.unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"] {
        assert_eq!(std::fs::read_to_string(directory.join(name)).unwrap(), format!("content of {name}"));
    }
    assert!(!directory.join("pytorch_model.bin").exists());
    hub.asked();

    assert_eq!(model_in(&online, "owner/tiny", None).await.unwrap(), directory);
    assert_eq!(hub.asked(), ["/api/models/owner/tiny/revision/main"]);
    let offline = settings(cache.path(), &hub.endpoint, true);
    assert_eq!(model_in(&offline, "owner/tiny", None).await.unwrap(), directory);
    assert_eq!(model_in(&offline, "owner/tiny", Some(COMMIT)).await.unwrap(), directory);
    let away = settings(cache.path(), "http://127.0.0.1:9", false);
    assert_eq!(model_in(&away, "owner/tiny", None).await.unwrap(), directory);
    assert!(hub.asked().is_empty());
}

#[tokio::test]
async fn a_model_in_shards_comes_with_its_index_and_all_of_them() {
    let cache = tempfile::tempdir().unwrap();
    let mut files = model_files();
    files.remove(WEIGHTS);
    let shards = [INDEX, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    files.extend(shards.map(|name| (name, b"{}".to_vec())));
    files.insert("consolidated.safetensors", b"{}".to_vec());
    let hub = FakeHub::start("models/owner/tiny", files);
    let online = settings(cache.path(), &hub.endpoint, false);
    let directory = model_in(&online, "owner/tiny", None).await.unwrap();
    assert!(shards.iter().all(|name| directory.join(name).is_file()));
    assert!(!directory.join("consolidated.safetensors").exists());
    assert_eq!(model_in(&online, &directory.to_string_lossy(), None).await.unwrap(), directory);
}

#[tokio::test]
async fn a_data_set_s_files_come_by_split() {
    let cache = tempfile::tempdir().unwrap();
    let names = ["README.md", "train.csv", "validation.csv"];
    let hub =
        FakeHub::start("datasets/owner/rows", names.map(|name| (name, b"text,label\n".to_vec())).into());
    let online = settings(cache.path(), &hub.endpoint, false);
    let ([train, validation, test], notes) = dataset_in(&online, "owner/rows", None, None).await.unwrap();
    assert!(train[0].ends_with("train.csv") && train[0].is_file());
    assert!(validation[0].ends_with("validation.csv") && validation[0].is_file());
    assert!(test.is_empty() && notes.is_empty());
}

#[tokio::test]
async fn errors_say_whether_the_name_or_the_network_is_at_fault() {
    let cache = tempfile::tempdir().unwrap();
    let hub = FakeHub::start("models/owner/bare", [("config.json", b"{}".to_vec())].into());
    let online = settings(cache.path(), &hub.endpoint, false);
    let offline = settings(cache.path(), &hub.endpoint, true);
    let away = settings(cache.path(), "http://127.0.0.1:9", false);
    let mut shown = String::new();
    for (settings, id) in [
        (&online, "owner/bare"),
        (&online, "owner/absent"),
        (&online, "owner/private"),
        (&online, "owner/overloaded"),
        (&offline, "owner/bare"),
        (&away, "owner/bare"),
        (&away, "./models/bare"),
        (&away, "a/b/c"),
    ] {
        let error = model_in(settings, id, None).await.unwrap_err();
        shown += &format!("{}: {error}\n", if error.is_retryable() { "again" } else { "final" });
    }
    insta::assert_snapshot!(shown, @r#"
        final: owner/bare: it has no model.safetensors; a model needs config.json, model.safetensors, tokenizer.json
        final: owner/absent: the Hub has no such model, or not the revision "main"
        final: owner/private: the Hub refuses it (401): it does not exist, or HF_TOKEN must hold a token that may read it
        again: owner/overloaded: the Hub answers with status 503
        final: owner/bare: HF_HUB_OFFLINE is set and the cache does not hold it; unset it, or name a directory
        again: owner/bare: is no directory here, and the Hub cannot be reached (Connection refused (os error 111))
        final: ./models/bare does not exist: it must be a directory or an id of the Hub (owner/name)
        final: a/b/c does not exist: it must be a directory or an id of the Hub (owner/name)
        "#);
}
