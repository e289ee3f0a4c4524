//! Models and data sets by their ids, against a Hub of the loopback that fails as the real one does.

mod known;
mod python;
mod sweeps;

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, ensure};
use distilsweep_data::{DataError, Hub, Kind, Settings, load};
use distilsweep_proto::dataset::{DatasetSource, DatasetSpec};
use distilsweep_tests::{
    hub::{self, Repo, Trouble},
    wait::now,
};
use tempfile::TempDir;

const MODEL: &str = "owner/tiny";

/// A repository with what a model needs, what it need not have, and one large file.
fn model() -> Repo {
    let small = ["config.json", "tokenizer.json", "vocab.txt", "pytorch_model.bin", "README.md"];
    let mut repo =
        Repo::new("models", MODEL, small.map(|name| (name, format!("content of {name}").into_bytes())));
    repo.files.insert("model.safetensors".into(), large());
    repo
}

fn large() -> Vec<u8> {
    (0..100_000u32).flat_map(u32::to_le_bytes).collect()
}

struct Scene {
    server: hub::Hub,
    cache: TempDir,
}

impl Scene {
    fn new(repos: impl IntoIterator<Item = Repo>) -> anyhow::Result<Self> {
        Ok(Self { server: hub::Hub::start(repos)?, cache: TempDir::new()? })
    }

    fn settings(&self) -> Settings {
        Settings {
            endpoint: self.server.url.clone(),
            cache: self.cache.path().to_owned(),
            token: Some("hf_secret".into()),
            offline: false,
        }
    }

    fn hub(&self) -> anyhow::Result<Hub> {
        Ok(Hub::new(self.settings()))
    }

    fn offline(&self) -> anyhow::Result<Hub> {
        Ok(Hub::new(Settings { offline: true, ..self.settings() }))
    }

    /// Without anybody at the other end.
    fn away(&self) -> anyhow::Result<Hub> {
        Ok(Hub::new(Settings { endpoint: "http://127.0.0.1:1".into(), ..self.settings() }))
    }

    /// All files of the cache but locks, with what links point to.
    fn cached(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut open = vec![self.cache.path().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                let name = path.strip_prefix(self.cache.path())?.display().to_string();
                if path.is_symlink() {
                    found.push(format!("{name} -> {}", fs::read_link(&path)?.display()));
                } else if path.is_dir() {
                    open.push(path);
                } else if !name.ends_with(".lock") {
                    found.push(name);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

fn said<T: std::fmt::Debug>(answer: Result<T, DataError>) -> String {
    match answer {
        Ok(found) => format!("{found:?}"),
        Err(error) => format!("{}: {error}", if error.is_retryable() { "again" } else { "final" }),
    }
}

#[test]
fn a_model_comes_once_in_python_s_layout_and_only_what_is_needed_of_it() -> anyhow::Result<()> {
    let repo = Repo { commit: "c0ffee".repeat(6) + "c0ff", ..model() };
    let commit = repo.commit.clone();
    let scene = Scene::new([repo])?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let hub = scene.hub()?.watched(move |progress| {
        let told = (progress.file.to_owned(), progress.done, progress.bytes);
        noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(told);
    });
    let found = hub.model(MODEL, None)?;
    assert_eq!(found.commit.as_deref(), Some(commit.as_str()));
    assert_eq!(fs::read(found.directory.join("model.safetensors"))?, large());
    assert_eq!(fs::read_to_string(found.directory.join("config.json"))?, "content of config.json");
    let root = "models--owner--tiny";
    let blobs: Vec<String> =
        scene.cached()?.into_iter().map(|name| name.replace(root, "R").replace(&commit, "C")).collect();
    insta::assert_snapshot!(blobs.join("\n"), @"
    R/blobs/1af53425963f197d2a1f4b4d806fba33508f8660
    R/blobs/20ff50e632cc575386b15d7fcd9c3842ef435388ed29ae8c30617158ee907dc5
    R/blobs/c9fc5e9434285a4f5796b0fa5ca635f4c1533153
    R/blobs/fae1c4f78c17537fb2ea01130391cbfac0a557cf
    R/files/C.json
    R/refs/main
    R/snapshots/C/config.json -> ../../blobs/1af53425963f197d2a1f4b4d806fba33508f8660
    R/snapshots/C/model.safetensors -> ../../blobs/20ff50e632cc575386b15d7fcd9c3842ef435388ed29ae8c30617158ee907dc5
    R/snapshots/C/tokenizer.json -> ../../blobs/c9fc5e9434285a4f5796b0fa5ca635f4c1533153
    R/snapshots/C/vocab.txt -> ../../blobs/fae1c4f78c17537fb2ea01130391cbfac0a557cf
    ");
    let told = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    assert_eq!(told.last().context("progress")?.2.map(|bytes| bytes == 400_000 || bytes < 40), Some(true));
    ensure!(told.iter().any(|(file, done, _)| file == "model.safetensors" && *done == 400_000), "{told:?}");

    let asked = scene.server.asked();
    let elsewhere: Vec<_> = asked.iter().filter(|asked| asked.path.starts_with("/cdn/")).collect();
    ensure!(
        elsewhere.len() == 1 && elsewhere[0].token.is_none(),
        "the token is the Hub's alone: {elsewhere:?}"
    );
    ensure!(asked.iter().any(|asked| asked.token.as_deref() == Some("hf_secret")), "{asked:?}");

    // Again: one question, and none where there may or can be none.
    assert_eq!(scene.hub()?.model(MODEL, None)?, found);
    assert_eq!(scene.server.asked().len(), 1);
    let here = scene.offline()?.model(MODEL, None)?;
    assert_eq!((here.directory, here.commit), (found.directory.clone(), found.commit.clone()));
    assert_eq!(scene.offline()?.model(MODEL, Some(&commit))?.directory, found.directory);
    assert_eq!(scene.away()?.model(MODEL, None)?.directory, found.directory);
    assert_eq!(scene.hub()?.model(MODEL, Some(&commit))?, found);
    ensure!(scene.server.asked().is_empty(), "nobody was to be asked");
    Ok(())
}

#[test]
fn half_a_data_set_is_not_taken_for_a_whole_one() -> anyhow::Result<()> {
    let rows = || b"text,label\na,0\nb,1\nc,0\nd,1\n".to_vec();
    let files = [("train.csv", rows()), ("validation.csv", rows())];
    let scene = Scene::new([Repo::new("datasets", "owner/rows", files)])?;
    scene
        .server
        .trouble("validation.csv", Trouble::Status(404, vec![("X-Error-Code", "EntryNotFound".into())]));
    let source = DatasetSource::Id { id: "owner/rows".into(), config: None, revision: None };
    let spec = DatasetSpec::of(source);
    let online = load(&scene.hub()?, &spec);
    ensure!(online.is_err() && scene.cached()?.iter().any(|name| name.contains("train.csv")), "{online:?}");
    let error = said(load(&scene.offline()?, &spec).map(|_| ()));
    ensure!(error.contains("HF_HUB_OFFLINE"), "{error}");
    load(&scene.hub()?, &spec)?;
    assert_eq!(load(&scene.offline()?, &spec)?.validation.len(), 4);
    Ok(())
}

#[test]
fn a_broken_download_goes_on_where_it_was_even_in_another_process() -> anyhow::Result<()> {
    let scene = Scene::new([model()])?;
    for bytes in [150_000, 200_000] {
        scene.server.trouble("/cdn/", Trouble::Break(bytes));
    }
    let found = scene.hub()?.model(MODEL, None)?;
    assert_eq!(fs::read(found.directory.join("model.safetensors"))?, large());
    assert_eq!(scene.server.troubles_left(), 0);
    let starts: Vec<_> =
        scene.server.asked().into_iter().filter(|asked| asked.path.starts_with("/cdn/")).collect();
    assert_eq!(
        starts.iter().map(|asked| asked.start).collect::<Vec<_>>(),
        [None, Some(150_000), Some(350_000)]
    );

    // What a process left that was killed, Python's too.
    let fresh = Scene::new([model()])?;
    let digest = hub_digest();
    let blobs = fresh.cache.path().join("models--owner--tiny/blobs");
    fs::create_dir_all(&blobs)?;
    fs::write(blobs.join(format!("{digest}.incomplete")), &large()[..123_456])?;
    let found = fresh.hub()?.model(MODEL, None)?;
    assert_eq!(fs::read(found.directory.join("model.safetensors"))?, large());
    let starts: Vec<_> =
        fresh.server.asked().into_iter().filter(|asked| asked.path.starts_with("/cdn/")).collect();
    assert_eq!(starts.iter().map(|asked| asked.start).collect::<Vec<_>>(), [Some(123_456)]);
    Ok(())
}

/// The name of the large file's content.
fn hub_digest() -> String {
    use sha2::{Digest, Sha256};
    distilsweep_proto::hex::hex(&Sha256::digest(large()))
}

#[test]
fn a_file_that_came_wrong_is_fetched_again_and_never_shown() -> anyhow::Result<()> {
    let scene = Scene::new([model()])?;
    scene.server.trouble("/cdn/", Trouble::Change);
    let found = scene.hub()?.model(MODEL, None)?;
    assert_eq!(fs::read(found.directory.join("model.safetensors"))?, large());
    assert_eq!(scene.server.troubles_left(), 0);

    let twice = Scene::new([model()])?;
    for _ in 0..2 {
        twice.server.trouble("/cdn/", Trouble::Change);
    }
    let error = said(twice.hub()?.model(MODEL, None));
    ensure!(error.contains("model.safetensors came with another content than the Hub says"), "{error}");
    ensure!(
        !twice.cached()?.iter().any(|name| name.contains("model.safetensors ->")),
        "{:?}",
        twice.cached()?
    );
    Ok(())
}

#[test]
fn a_busy_hub_is_waited_for_as_it_says() -> anyhow::Result<()> {
    let scene = Scene::new([model()])?;
    scene.server.trouble("/api/models/owner", Trouble::Status(429, vec![("Retry-After", "1".into())]));
    scene
        .server
        .trouble("/api/models/owner", Trouble::Status(429, vec![("RateLimit", "\"api\";r=0;t=1".into())]));
    scene.server.trouble("config.json", Trouble::Status(503, vec![]));
    let before = now();
    scene.hub()?.model(MODEL, None)?;
    ensure!(now() - before >= Duration::from_secs(2), "it came back too soon");
    assert_eq!(scene.server.troubles_left(), 0);

    let limited = Scene::new([model()])?;
    limited.server.trouble("/api/models/owner", Trouble::Status(429, vec![("Retry-After", "3600".into())]));
    insta::assert_snapshot!(said(limited.hub()?.model(MODEL, None)), @"again: owner/tiny: is no directory here, and the Hub wants fewer requests (429); try again in 3600 s, or set HF_TOKEN: users may ask more");
    Ok(())
}

#[test]
fn errors_say_whether_the_name_the_rights_or_the_network_is_at_fault() -> anyhow::Result<()> {
    let bare = Repo::new("models", "owner/bare", [("config.json", b"{}".to_vec())]);
    let pickled = Repo::new(
        "models",
        "owner/pickled",
        ["config.json", "tokenizer.json", "pytorch_model.bin"].map(|name| (name, b"{}".to_vec())),
    );
    let gated = Repo { id: "owner/gated".into(), gate: Some("hf_of_a_member".into()), ..model() };
    let scene = Scene::new([model(), bare, pickled, gated])?;
    let (hub, offline, away) = (scene.hub()?, scene.offline()?, scene.away()?);
    let mut shown = String::new();
    for (hub, id, revision) in [
        (&hub, "owner/bare", None),
        (&hub, "owner/pickled", None),
        (&hub, "owner/gated", None),
        (&hub, "other/tiny", None),
        (&hub, MODEL, Some("v2")),
        (&offline, MODEL, None),
        (&away, MODEL, None),
        (&hub, "./models/bare", None),
        (&hub, "a/b/c", None),
    ] {
        shown += &format!("{}\n", said(hub.model(id, revision).map(|_| ())));
    }
    insta::assert_snapshot!(shown, @r#"
    final: owner/bare: it has no model.safetensors; a model needs config.json, model.safetensors, tokenizer.json
    final: owner/pickled: it has no model.safetensors; its weights are a pickle (pytorch_model.bin): save it again with save_pretrained(.., safe_serialization=True)
    final: owner/gated: it is gated: ask for access on its page of the Hub, and set HF_TOKEN to a token of yours (`hf auth login` keeps one)
    final: other/tiny: the Hub has no such model, or HF_TOKEN must hold a token that may read it; there are owner/tiny
    final: owner/tiny: the Hub has no revision "v2" of it
    final: owner/tiny: HF_HUB_OFFLINE is set and the cache does not hold it; unset it, or name a directory
    again: owner/tiny: is no directory here, and the Hub cannot be reached (Connection refused (os error 111))
    final: ./models/bare does not exist: it must be a directory or an id of the Hub (owner/name)
    final: a/b/c does not exist: it must be a directory or an id of the Hub (owner/name)
    "#);
    scene.server.trouble("/api/", Trouble::Status(200, vec![]));
    insta::assert_snapshot!(said(hub.model(MODEL, None).map(|_| ())), @"final: owner/tiny: the answer is not the Hub's (EOF while parsing a value at line 1 column 0); HF_ENDPOINT must be its address, and a proxy may want a login");
    let member = Hub::new(Settings { token: Some("hf_of_a_member".into()), ..scene.settings() });
    member.model("owner/gated", None)?;
    Ok(())
}

#[test]
fn a_cache_that_cannot_be_written_says_so() -> anyhow::Result<()> {
    let scene = Scene::new([model()])?;
    let file = scene.cache.path().join("file");
    fs::write(&file, "")?;
    let hub = Hub::new(Settings { cache: file, ..scene.settings() });
    let shown = said(hub.model(MODEL, None)).replace(&scene.cache.path().display().to_string(), "DIR");
    insta::assert_snapshot!(shown, @"again: owner/tiny: cannot write the cache DIR/file: Not a directory (os error 20)");
    Ok(())
}

#[test]
fn many_at_once_download_one_file_once() -> anyhow::Result<()> {
    let scene = Scene::new([model()])?;
    let hub = scene.hub()?;
    std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..8).map(|_| scope.spawn(|| hub.model(MODEL, None).map(|found| found.directory))).collect();
        for one in all {
            one.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let bodies = scene.server.asked().into_iter().filter(|asked| asked.path.starts_with("/cdn/")).count();
    assert_eq!(bodies, 1);
    Ok(())
}

#[test]
fn a_model_in_shards_comes_with_its_index_and_all_of_them() -> anyhow::Result<()> {
    let index = "model.safetensors.index.json";
    let shards = [index, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut repo = model();
    repo.files.remove("model.safetensors");
    repo.files.remove("tokenizer.json");
    repo.files.extend(shards.map(|name| (name.to_owned(), b"{}".to_vec())));
    repo.files.insert("consolidated.safetensors".into(), b"{}".to_vec());
    let scene = Scene::new([repo])?;
    let found = scene.hub()?.model(MODEL, None)?.directory;
    ensure!(shards.iter().all(|name| found.join(name).is_file()) && found.join("vocab.txt").is_file());
    ensure!(!found.join("consolidated.safetensors").exists());
    assert_eq!(scene.hub()?.model(&found.to_string_lossy(), None)?.directory, found);
    Ok(())
}

#[test]
fn lists_turn_pages_and_descriptions_tell_sizes() -> anyhow::Result<()> {
    let repo = |id: &str, downloads: u64| Repo {
        facts: serde_json::json!({"downloads": downloads, "likes": 3, "cardData": {"license": "mit"}, "gated": false}),
        ..Repo::new("models", id, [("config.json", b"{}".to_vec())])
    };
    let scene = Scene::new([repo("a/x", 1), repo("a/y", 5), repo("a/z", 3), repo("b/x", 9)])?;
    let hub = scene.hub()?;
    let found = hub.list(Kind::Model, &[("search", "a/".into())], 3)?;
    let ids: Vec<_> = found.iter().map(|repo| (repo.id.as_str(), repo.downloads)).collect();
    assert_eq!(ids, [("a/y", Some(5)), ("a/z", Some(3)), ("a/x", Some(1))]);
    assert_eq!(hub.list(Kind::Model, &[], 1)?.len(), 1);
    let info = hub.info(Kind::Model, "b/x", None)?;
    assert_eq!((info.bytes(), info.license().as_deref(), info.is_gated()), (Some(2), Some("mit"), false));
    ensure!(said(scene.offline()?.list(Kind::Model, &[], 1)).contains("HF_HUB_OFFLINE"));
    Ok(())
}
