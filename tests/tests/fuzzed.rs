//! The fuzz targets' bodies on random input, and on input that is nearly right: what crashes a target is found by
//! `tests/fuzz/run.sh`, what breaks one here.

#[expect(unreachable_pub, reason = "the fuzz targets reach it")]
#[path = "../fuzz/src/bodies.rs"]
mod bodies;

use proptest::prelude::*;

/// An example, and what the examples do not have.
const FILES: [&str; 5] = [
    include_str!("../../deploy/examples/sentiment.yaml"),
    include_str!("../fuzz/sweeps/search.yaml"),
    include_str!("../fuzz/sweeps/conditional.yaml"),
    include_str!("../fuzz/sweeps/dataset.yaml"),
    include_str!("../fuzz/sweeps/splits.yaml"),
];

/// A text or bytes with some of it cut out, doubled or replaced.
fn damaged(sound: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = sound.len();
    let wound = (0..length, 0..length, proptest::collection::vec(any::<u8>(), 0..4));
    proptest::collection::vec(wound, 1..6).prop_map(move |wounds| {
        let mut bytes = sound.clone();
        for (from, to, new) in wounds {
            let (from, to) = (from.min(bytes.len()), to.min(bytes.len()));
            let (from, to) = (from.min(to), to.max(from));
            bytes.splice(from..to.min(from + 12), new);
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_sweep_file_or_refused(text in "\\PC{0,200}") {
        bodies::sweep_file(text.as_bytes());
    }

    #[test]
    fn a_damaged_sweep_file_is_read_or_refused(
        bytes in (0..FILES.len()).prop_flat_map(|which| damaged(FILES[which].as_bytes().to_vec())),
    ) {
        bodies::sweep_file(&bytes);
    }

    #[test]
    fn a_damaged_conversation_leaves_the_coordinator_sound(
        bytes in (0..3usize).prop_flat_map(|which| damaged(bodies::conversations().swap_remove(which).1)),
    ) {
        bodies::worker_messages(&bytes);
    }
}

#[test]
fn the_examples_are_sweep_files_and_the_conversations_are_heard() {
    for file in FILES {
        distilsweep::spec::parse(file)
            .unwrap_or_else(|problems| panic!("{}", problems.in_file("sweep.yaml")));
        bodies::sweep_file(file.as_bytes());
    }
    for (_, bytes) in bodies::conversations() {
        bodies::worker_messages(&bytes);
    }
}

/// The fuzzer's first inputs are files: DISTILSWEEP_WRITE_SEEDS=1 writes them again.
#[test]
fn the_fuzzers_seeds_are_these_conversations() -> anyhow::Result<()> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, bytes) in bodies::conversations() {
        let path = directory.join(name);
        if std::env::var_os("DISTILSWEEP_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(&directory)?;
            std::fs::write(&path, &bytes)?;
        }
        assert_eq!(std::fs::read(&path)?, bytes, "{}: run with DISTILSWEEP_WRITE_SEEDS=1", path.display());
    }
    Ok(())
}
