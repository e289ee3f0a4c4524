//! A small Hub of the loopback that answers as the real one does: small files itself, large ones from another host by a
//! redirect, with ETags, sizes, commits and ranges, and errors with their codes. It notes what it is asked, and fails on
//! command.
//!
//! Source: the answers of huggingface.co as `huggingface_hub` 0.36 reads them (`file_download.py`, `utils/_http.py`).

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use distilsweep_proto::hex::hex;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Files of more bytes lie elsewhere, as those of Git LFS do.
const LARGE: usize = 1000;

/// A repository of one commit.
#[derive(Clone, Debug, Default)]
pub struct Repo {
    /// owner/name.
    pub id: String,
    /// "models" or "datasets".
    pub kind: &'static str,
    /// Name of the one commit, 40 hexadecimal digits.
    pub commit: String,
    /// Contents by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Whether only who has this token gets files.
    pub gate: Option<String>,
    /// Further fields of its description (`downloads`, `likes`, `cardData`).
    pub facts: Value,
}

impl Repo {
    /// A repository with these files.
    pub fn new<'a>(
        kind: &'static str,
        id: &str,
        files: impl IntoIterator<Item = (&'a str, Vec<u8>)>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            kind,
            commit: hex(&Sha1::digest(id)),
            files: files.into_iter().map(|(path, content)| (path.to_owned(), content)).collect(),
            gate: None,
            facts: json!({}),
        }
    }

    fn described(&self) -> Value {
        let siblings: Vec<Value> = self
            .files
            .iter()
            .map(|(path, content)| json!({"rfilename": path, "size": content.len(), "blobId": git(content)}))
            .collect();
        let mut described =
            json!({"id": self.id, "sha": self.commit, "siblings": siblings, "private": false});
        if let (Some(fields), Some(facts)) = (described.as_object_mut(), self.facts.as_object()) {
            fields.extend(facts.clone());
        }
        described
    }
}

/// Git's name of a small file's content.
fn git(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hex(&hash.finalize())
}

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// This status, with these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection breaks after so many bytes of a file.
    Break(usize),
    /// Another content of the same length.
    Change,
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// GET or HEAD.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// First byte of the range that was asked for.
    pub start: Option<usize>,
    /// The bearer token that was shown.
    pub token: Option<String>,
}

#[derive(Default)]
struct State {
    repos: Vec<Repo>,
    asked: Vec<Asked>,
    /// Troubles of requests whose path holds a text, in order.
    troubles: Vec<(String, Trouble)>,
}

/// A Hub; it serves until the process ends.
pub struct Hub {
    /// Its address.
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// Serves repositories on a free port.
    ///
    /// # Errors
    /// There is no port or no thread.
    pub fn start(repos: impl IntoIterator<Item = Repo>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(Mutex::new(State { repos: repos.into_iter().collect(), ..State::default() }));
        let shared = Arc::clone(&state);
        thread::Builder::new().name("hub".to_owned()).spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                // One that goes away in the middle is the client's business.
                thread::spawn(move || answer(&stream, &state, port));
            }
        })?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), state })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it was asked since the last look.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.lock().asked)
    }

    /// The next request whose path holds `path` meets this trouble.
    pub fn trouble(&self, path: &str, trouble: Trouble) {
        self.lock().troubles.push((path.to_owned(), trouble));
    }

    /// Troubles that nobody has met yet.
    pub fn troubles_left(&self) -> usize {
        self.lock().troubles.len()
    }

    /// Pushes another commit of a repository: its branch is there from now on, and the commits before it stay.
    pub fn push(&self, repo: Repo) {
        self.lock().repos.insert(0, repo);
    }
}

/// An answer before it is written.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// How many bytes of the body come.
    sent: usize,
}

impl Answer {
    fn new(status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Self {
        Self { status, headers, sent: body.len(), body }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::new(status, vec![("X-Error-Code", code.to_owned())], Vec::new())
    }
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>, port: u16) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut asked = Asked { method: String::new(), path: String::new(), start: None, token: None };
    let mut words = request.split(' ').map(str::to_owned);
    asked.method = words.next().unwrap_or_default();
    asked.path = words.next().unwrap_or_default();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let range = value.trim_start_matches("bytes=").trim_end_matches('-');
                asked.start = range.parse().ok();
            }
            "authorization" => asked.token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    let answer = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.push(asked.clone());
        let met = state.troubles.iter().position(|(path, _)| asked.path.contains(path));
        let trouble = met.map(|met| state.troubles.remove(met).1);
        respond(&state, &asked, port, trouble)
    };
    write!(
        stream,
        "HTTP/1.1 {} -\r\nConnection: close\r\nContent-Length: {}\r\n",
        answer.status,
        answer.body.len()
    )?;
    for (name, value) in answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "\r\n")?;
    if asked.method != "HEAD" {
        stream.write_all(&answer.body[..answer.sent])?;
    }
    Ok(())
}

fn respond(state: &State, asked: &Asked, port: u16, trouble: Option<Trouble>) -> Answer {
    if let Some(Trouble::Status(status, headers)) = trouble {
        return Answer::new(status, headers, Vec::new());
    }
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    for kind in ["models", "datasets"] {
        if path == format!("/api/{kind}") {
            return list(state, kind, query, port);
        }
    }
    let mut known = false;
    for (number, repo) in state.repos.iter().enumerate() {
        let is_branch =
            !state.repos[..number].iter().any(|newer| newer.id == repo.id && newer.kind == repo.kind);
        let prefix = if repo.kind == "models" { "" } else { "datasets/" };
        let api = path.strip_prefix(&format!("/api/{}/{}/revision/", repo.kind, repo.id));
        let file = path.strip_prefix(&format!("/{prefix}{}/resolve/", repo.id));
        let elsewhere = path.strip_prefix(&format!("/cdn/{}/", repo.commit));
        let revision = api.or_else(|| file.and_then(|file| file.split('/').next()));
        known |= revision.is_some();
        if revision.is_some_and(|revision| revision != repo.commit && !(is_branch && revision == "main")) {
            continue;
        }
        if repo.gate.is_some() && repo.gate != asked.token && file.is_some() {
            return Answer::error(401, "GatedRepo");
        }
        if api.is_some() {
            return Answer::new(200, vec![], repo.described().to_string().into_bytes());
        }
        if let Some((_, name)) = file.and_then(|file| file.split_once('/')) {
            let Some(content) = repo.files.get(name) else { return Answer::error(404, "EntryNotFound") };
            if content.len() <= LARGE {
                let etag =
                    vec![("ETag", format!("\"{}\"", git(content))), ("X-Repo-Commit", repo.commit.clone())];
                return ranged(content, asked, etag, trouble);
            }
            let headers = vec![
                // Another host by its name.
                ("Location", format!("http://localhost:{port}/cdn/{}/{name}", repo.commit)),
                ("X-Repo-Commit", repo.commit.clone()),
                ("X-Linked-ETag", format!("\"{}\"", hex(&Sha256::digest(content)))),
                ("X-Linked-Size", content.len().to_string()),
                ("ETag", "\"of the redirect\"".to_owned()),
            ];
            return Answer::new(302, headers, Vec::new());
        }
        if let Some(content) = elsewhere.and_then(|name| repo.files.get(name)) {
            return ranged(content, asked, vec![("ETag", "\"of the other host\"".to_owned())], trouble);
        }
    }
    if known {
        return Answer::error(404, "RevisionNotFound");
    }
    // What the real one says to strangers, who shall not learn which private repositories there are.
    Answer::error(401, "RepoNotFound")
}

fn ranged(
    content: &[u8],
    asked: &Asked,
    headers: Vec<(&'static str, String)>,
    trouble: Option<Trouble>,
) -> Answer {
    let start = asked.start.unwrap_or(0);
    if start > 0 && start >= content.len() {
        return Answer::new(416, vec![], Vec::new());
    }
    let mut answer =
        Answer::new(if asked.start.is_some() { 206 } else { 200 }, headers, content[start..].to_vec());
    match trouble {
        Some(Trouble::Break(bytes)) => answer.sent = bytes.min(answer.body.len()),
        Some(Trouble::Change) => answer.body.fill(b'?'),
        Some(Trouble::Status(..)) | None => {}
    }
    answer
}

fn list(state: &State, kind: &str, query: &str, port: u16) -> Answer {
    let of = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(|text| text.replace("%2F", "/")))
    };
    let number = |name: &str| of(name).and_then(|text| text.parse::<usize>().ok());
    let (search, limit, from) =
        (of("search").unwrap_or_default(), number("limit").unwrap_or(1000), number("cursor").unwrap_or(0));
    let mut found: Vec<&Repo> =
        state.repos.iter().filter(|repo| repo.kind == kind && repo.id.contains(&search)).collect();
    found.sort_by_key(|repo| std::cmp::Reverse(repo.facts["downloads"].as_u64()));
    // Small pages, so that whoever wants more has to turn them.
    let size = limit.min(2);
    let mut headers = vec![];
    if found.len() > from + size {
        let next = format!(
            "http://127.0.0.1:{port}/api/{kind}?search={search}&limit={limit}&cursor={}",
            from + size
        );
        headers.push(("Link", format!("<{next}>; rel=\"next\"")));
    }
    let page: Vec<Value> = found
        .into_iter()
        .skip(from)
        .take(size)
        .map(|repo| {
            let mut described = repo.described();
            for hidden in ["siblings", "sha"] {
                if let Some(fields) = described.as_object_mut() {
                    fields.remove(hidden);
                }
            }
            described
        })
        .collect();
    Answer::new(200, headers, Value::Array(page).to_string().into_bytes())
}
