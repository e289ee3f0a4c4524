//! A trial's files in a temporary directory.

use std::{fs, path::Path};

use distilsweep_proto::ids::{Lease, SweepId, Term, TrialId};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::wire::Published;

fn lease(index: u64, term: u64) -> Lease {
    Lease { trial: TrialId { sweep: SweepId::new("s-1"), index }, attempt: 1, term: Term(term) }
}

/// A store with a directory to publish from.
struct Place {
    store: TempDir,
    from: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { store: tempfile::tempdir().unwrap(), from: tempfile::tempdir().unwrap() };
        fs::write(place.from.path().join("state.bin"), [7_u8; 1000]).unwrap();
        fs::write(place.from.path().join("empty.txt"), "").unwrap();
        place
    }

    fn url(&self) -> String {
        Url::from_directory_path(self.store.path()).unwrap().to_string()
    }

    fn files(&self, index: u64) -> TrialFiles {
        TrialFiles::open(&self.url(), &lease(index, 0).trial).unwrap()
    }

    async fn publish(&self, lease: &Lease, kind: Kind, step: u64) -> Published {
        self.files(lease.trial.index).publish(lease, kind, step, self.from.path()).await.unwrap()
    }

    /// What trial 4 has in the store, sorted.
    fn there(&self) -> Vec<String> {
        fn walk(directory: &Path, names: &mut Vec<String>, root: &Path) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.join(MANIFEST).exists() || path.is_file() {
                    names.push(path.strip_prefix(root).unwrap().display().to_string());
                } else {
                    walk(&path, names, root);
                }
            }
        }
        let (mut names, root) = (Vec::new(), self.store.path().join("s-1/4"));
        walk(&root, &mut names, &root);
        names.sort();
        names
    }
}

fn path(published: &Published) -> PathBuf {
    Url::parse(&published.url).unwrap().to_file_path().unwrap()
}

/// Steps of the checkpoints that are handed over, by their manifests' hash; and the refusals' texts.
async fn resumed(place: &Place, lease: &Lease, accepted: &Published) -> usize {
    let scratch = tempfile::tempdir().unwrap();
    let resume = resume(&place.url(), lease, Some(accepted), scratch.path()).await.unwrap();
    for directory in &resume.directories {
        assert_eq!(fs::read(directory.join("state.bin")).unwrap(), [7_u8; 1000]);
        assert_eq!(fs::read(directory.join("empty.txt")).unwrap(), b"");
    }
    resume.directories.len()
}

async fn refusal(place: &Place, trial: u64, published: &Published) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let candidate = fetch::Candidate::accepted(&place.files(trial), published);
    let refused = place.files(trial).fetch(&candidate, &scratch.path().join("into")).await.unwrap_err();
    refused.to_string().replace(&published.url, "URL")
}

#[tokio::test]
async fn files_are_published_with_a_manifest_that_names_their_hashes() {
    let place = Place::new();
    let published = place.publish(&lease(4, 9), Kind::Model, 100).await;
    let directory = path(&published);
    assert_eq!(directory, place.store.path().join("s-1/4/9/100"));
    assert_eq!(fs::read(directory.join("state.bin")).unwrap(), [7_u8; 1000]);
    let text = fs::read(directory.join(MANIFEST)).unwrap();
    assert_eq!(hex(&Sha256::digest(&text)), published.manifest_sha256);
    let manifest: Manifest = serde_json::from_slice(&text).unwrap();
    assert_eq!(manifest.parts[0].name, "empty.txt");
    assert_eq!(manifest.parts[1].sha256, hex(&Sha256::digest([7_u8; 1000])));
}

#[tokio::test]
async fn a_file_larger_than_a_piece_arrives_whole() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..(20_u32 << 20)).map(|i| (i % 251) as u8).collect();
    fs::write(place.from.path().join("large.bin"), &bytes).unwrap();
    let published = place.publish(&lease(4, 9), Kind::Checkpoint, 7).await;
    assert_eq!(fs::read(path(&published).join("large.bin")).unwrap(), bytes);
    assert_eq!(resumed(&place, &lease(4, 10), &published).await, 1, "its hash is right");
}

#[tokio::test]
async fn publishing_again_under_the_same_lease_changes_nothing() {
    let place = Place::new();
    let first = place.publish(&lease(4, 9), Kind::Checkpoint, 100).await;
    assert_eq!(first, place.publish(&lease(4, 9), Kind::Checkpoint, 100).await);
}

#[test]
fn a_url_of_no_store_is_refused() {
    let error = TrialFiles::open("ftp://x/y", &lease(4, 9).trial).unwrap_err();
    assert!(error.to_string().starts_with("store URL ftp://x/y: "), "{error}");
}

#[tokio::test]
async fn the_accepted_checkpoint_comes_with_the_newest_before_it_whatever_their_terms() {
    let place = Place::new();
    for (term, step) in [(3, 10), (3, 20), (5, 30), (5, 40)] {
        place.publish(&lease(4, term), Kind::Checkpoint, step).await;
    }
    let accepted = place.publish(&lease(4, 5), Kind::Checkpoint, 30).await;
    let scratch = tempfile::tempdir().unwrap();
    let found = place.files(4).checkpoints().await.unwrap();
    let steps: Vec<u64> =
        fetch::older(&place.files(4), found, &accepted).map(|candidate| candidate.step).collect();
    assert_eq!(steps, [20, 10], "nothing beyond what was accepted");
    let resume = resume(&place.url(), &lease(4, 8), Some(&accepted), scratch.path()).await.unwrap();
    assert_eq!(resume.directories.len(), 2);
    drop(resume);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "they go with the value");
}

#[tokio::test]
async fn without_an_accepted_checkpoint_a_trial_begins_at_its_beginning() {
    let place = Place::new();
    place.publish(&lease(4, 3), Kind::Checkpoint, 10).await;
    let scratch = tempfile::tempdir().unwrap();
    let resume = resume(&place.url(), &lease(4, 8), None, scratch.path()).await.unwrap();
    assert_eq!(resume.directories, [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn a_torn_checkpoint_is_refused_with_the_reason_and_the_one_before_it_used() {
    let place = Place::new();
    place.publish(&lease(4, 3), Kind::Checkpoint, 10).await;
    let accepted = place.publish(&lease(4, 3), Kind::Checkpoint, 20).await;
    assert_eq!(resumed(&place, &lease(4, 4), &accepted).await, 2, "both are sound");

    let part = path(&accepted).join("state.bin");
    fs::write(&part, [7_u8; 500]).unwrap();
    assert_eq!(resumed(&place, &lease(4, 4), &accepted).await, 1);
    insta::assert_snapshot!(refusal(&place, 4, &accepted).await, @"part state.bin of URL has 500 bytes, its manifest says 1000");
    fs::write(&part, [8_u8; 1000]).unwrap();
    let refused = refusal(&place, 4, &accepted).await;
    assert!(refused.starts_with("part state.bin of URL has SHA-256 "), "{refused}");
    fs::remove_file(&part).unwrap();
    insta::assert_snapshot!(refusal(&place, 4, &accepted).await, @"part state.bin of URL is missing");
    fs::remove_file(path(&accepted).join(MANIFEST)).unwrap();
    insta::assert_snapshot!(refusal(&place, 4, &accepted).await, @"URL has no manifest.json");
    assert_eq!(resumed(&place, &lease(4, 4), &accepted).await, 1);
}

#[tokio::test]
async fn a_checkpoint_of_another_trial_or_with_another_manifest_is_refused() {
    let place = Place::new();
    let accepted = place.publish(&lease(4, 3), Kind::Checkpoint, 20).await;
    let other = Published { manifest_sha256: "00".to_owned(), ..accepted.clone() };
    assert!(refusal(&place, 4, &other).await.ends_with("the coordinator knows it with 00"));

    let foreign = place.publish(&lease(5, 6), Kind::Checkpoint, 20).await;
    let (from, to) = (path(&foreign), path(&accepted));
    fs::copy(from.join(MANIFEST), to.join(MANIFEST)).unwrap();
    let accepted = Published { manifest_sha256: foreign.manifest_sha256, ..accepted };
    insta::assert_snapshot!(refusal(&place, 4, &accepted).await, @"URL is of trial s-1/5, not of s-1/4");
}

#[tokio::test]
async fn a_manifest_that_names_files_outside_its_directory_is_refused() {
    let place = Place::new();
    let accepted = place.publish(&lease(4, 3), Kind::Checkpoint, 20).await;
    let manifest = path(&accepted).join(MANIFEST);
    let text = fs::read_to_string(&manifest).unwrap().replace("state.bin", "../state.bin");
    fs::write(&manifest, &text).unwrap();
    let accepted = Published { manifest_sha256: hex(&Sha256::digest(&text)), ..accepted };
    insta::assert_snapshot!(
        refusal(&place, 4, &accepted).await,
        @"URL/manifest.json cannot be read: part `../state.bin` is no file name"
    );
}

#[tokio::test]
async fn the_last_two_checkpoints_stay_and_a_result_leaves_its_model_alone() {
    let place = Place::new();
    for step in [10, 20, 30, 40] {
        place.publish(&lease(4, 3), Kind::Checkpoint, step).await;
    }
    place.publish(&lease(4, 3), Kind::Model, 40).await;
    place.files(4).keep_last_two(&lease(4, 3), 40).await.unwrap();
    assert_eq!(place.there(), ["3/40", "3/checkpoint-30", "3/checkpoint-40"]);
    place.files(4).remove_checkpoints().await.unwrap();
    assert_eq!(place.there(), ["3/40"]);
    place.files(4).remove_checkpoints().await.unwrap();
}

#[tokio::test]
async fn what_a_killed_process_was_staging_goes_with_the_checkpoints() {
    let place = Place::new();
    place.publish(&lease(4, 3), Kind::Model, 40).await;
    place.publish(&lease(4, 3), Kind::Checkpoint, 30).await;
    let trial = place.store.path().join("s-1/4");
    // Neither shows in the store's lists: a file under its staging name, a directory made for a first file.
    fs::write(trial.join("3/checkpoint-30/manifest.json#1"), "{").unwrap();
    fs::create_dir_all(trial.join("2/checkpoint-20")).unwrap();
    place.files(4).remove_checkpoints().await.unwrap();
    assert_eq!(place.there(), ["3/40"]);
    assert!(!trial.join("3/checkpoint-30").exists() && !trial.join("2").exists());

    let other = place.store.path().join("s-1/5");
    fs::create_dir_all(other.join("1/checkpoint-1")).unwrap();
    place.files(5).remove_checkpoints().await.unwrap();
    assert!(!other.exists());
}
