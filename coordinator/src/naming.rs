//! Which sweep or worker a word means: the whole name, or as much of it as tells it from the others. Pure.

/// Candidates that are named before the rest is only counted.
const NAMED: usize = 5;

/// A word that means nothing, or more than one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unnamed {
    /// There is nothing at all to name.
    #[error("there is no sweep yet: start one with `distilsweep run SWEEP.yaml`")]
    NoSweepYet,
    /// Nothing is called so.
    #[error("there is no {kind} `{word}`: `distilsweep {kind} list` shows those that there are")]
    Unknown {
        /// `sweep` or `worker`, which is also the command that lists them.
        kind: &'static str,
        /// As it was asked for.
        word: String,
    },
    /// Several begin so.
    #[error("`{word}` may be {}: more letters tell them apart", any_of(.candidates))]
    Ambiguous {
        /// As it was asked for.
        word: String,
        /// What it may be.
        candidates: Vec<String>,
    },
}

/// The sweep that a word means, of ids with their names, the latest first: the one of this id, else the latest of this
/// name, else the only one whose id or name begins so. An empty word means the latest of all.
///
/// A repeated name is not shortened to its latest sweep: a word that fits several could mean each of them.
///
/// # Errors
/// Where it means none, or could mean several.
pub fn sweep<'a>(word: &str, latest_first: &'a [(String, String)]) -> Result<&'a str, Unnamed> {
    if word.is_empty() {
        return latest_first.first().map(|(id, _)| id.as_str()).ok_or(Unnamed::NoSweepYet);
    }
    let exact = latest_first.iter().find(|(id, _)| id == word);
    if let Some((id, _)) = exact.or_else(|| latest_first.iter().find(|(_, name)| name == word)) {
        return Ok(id);
    }
    let fits = latest_first.iter().filter(|(id, name)| id.starts_with(word) || name.starts_with(word));
    only("sweep", word, fits.map(|(id, _)| id.as_str()))
}

/// The worker that a word means: the one of this name, else the only one whose name begins so.
///
/// # Errors
/// Where it means none, or could mean several.
pub fn worker<'a>(word: &str, names: &[&'a str]) -> Result<&'a str, Unnamed> {
    if let Some(name) = names.iter().find(|name| **name == word) {
        return Ok(name);
    }
    only("worker", word, names.iter().copied().filter(|name| !word.is_empty() && name.starts_with(word)))
}

fn only<'a>(kind: &'static str, word: &str, fits: impl Iterator<Item = &'a str>) -> Result<&'a str, Unnamed> {
    let fits: Vec<&str> = fits.collect();
    match fits[..] {
        [one] => Ok(one),
        [] => Err(Unnamed::Unknown { kind, word: word.to_owned() }),
        [..] => {
            let candidates = fits.into_iter().map(ToOwned::to_owned).collect();
            Err(Unnamed::Ambiguous { word: word.to_owned(), candidates })
        }
    }
}

fn any_of(candidates: &[String]) -> String {
    let (named, rest) = candidates.split_at(candidates.len().min(NAMED));
    match (named, rest.len()) {
        ([before @ .., last], 0) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        (named, 0) => named.join(", "),
        (named, more) => format!("{} or one of {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sweeps(ids: &[&str]) -> Vec<(String, String)> {
        let name = |id: &str| id.rsplit_once('-').map_or(id, |(name, _)| name).to_owned();
        ids.iter().map(|id| ((*id).to_owned(), name(id))).collect()
    }

    #[test]
    fn a_sweep_is_meant_by_its_id_its_name_or_as_much_as_tells_it_apart() {
        let all = sweeps(&["emotion-lr-3c", "emotion-2b", "sst2-77", "emotion-1a"]);
        let said = |word: &str| match sweep(word, &all) {
            Ok(id) => format!("{word:<14} {id}"),
            Err(error) => format!("{word:<14} {error}"),
        };
        let words =
            ["", "emotion-1a", "emotion", "emotion-1", "s", "emotion-l", "emo", "emotion-", "mood", "motion"];
        insta::assert_snapshot!(words.map(said).join("\n"), @r"
                       emotion-lr-3c
        emotion-1a     emotion-1a
        emotion        emotion-2b
        emotion-1      emotion-1a
        s              sst2-77
        emotion-l      emotion-lr-3c
        emo            `emo` may be emotion-lr-3c, emotion-2b or emotion-1a: more letters tell them apart
        emotion-       `emotion-` may be emotion-lr-3c, emotion-2b or emotion-1a: more letters tell them apart
        mood           there is no sweep `mood`: `distilsweep sweep list` shows those that there are
        motion         there is no sweep `motion`: `distilsweep sweep list` shows those that there are
        ");
        assert_eq!(sweep("", &[]), Err(Unnamed::NoSweepYet));
    }

    #[test]
    fn a_worker_is_meant_by_its_name_or_by_how_it_alone_begins() {
        let names = ["vm-1", "vm-12-0a", "vm-13-0b", "gpu-7"];
        assert_eq!(worker("vm-1", &names), Ok("vm-1"), "the whole name comes first");
        assert_eq!(worker("g", &names), Ok("gpu-7"));
        assert!(
            matches!(worker("vm", &names), Err(Unnamed::Ambiguous { candidates, .. }) if candidates.len() == 3)
        );
        assert!(matches!(worker("", &names), Err(Unnamed::Unknown { kind: "worker", .. })));
    }

    #[test]
    fn of_many_candidates_a_few_are_named() {
        let names: Vec<String> = (0..8).map(|number| format!("w{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let said = worker("w", &names).unwrap_err().to_string();
        assert_eq!(said, "`w` may be w0, w1, w2, w3, w4 or one of 3 more: more letters tell them apart");
    }

    proptest! {
        #[test]
        fn no_word_ever_means_what_it_does_not_begin_and_a_whole_id_always_means_itself(
            names in proptest::collection::btree_set("[ab]{1,3}(-[ab]{1,2})?", 1..6),
            digits in proptest::collection::vec("[ab0]{2}", 1..6),
            word in "[ab0-]{0,6}",
        ) {
            let all: Vec<(String, String)> = names
                .iter()
                .flat_map(|name| digits.iter().map(move |digits| (format!("{name}-{digits}"), name.clone())))
                .collect::<std::collections::BTreeMap<_, _>>()
                .into_iter()
                .collect();
            for (id, _) in &all {
                prop_assert_eq!(sweep(id, &all), Ok(id.as_str()));
            }
            let begins = |(id, name): &&(String, String)| id.starts_with(&word) || name.starts_with(&word);
            let fits: Vec<_> = all.iter().filter(begins).collect();
            let exact = all.iter().any(|(id, name)| *id == word || *name == word);
            match sweep(&word, &all) {
                Ok(found) => {
                    prop_assert!(fits.iter().any(|(id, _)| id == found));
                    prop_assert!(exact || word.is_empty() || fits.len() == 1);
                }
                Err(Unnamed::Unknown { .. } | Unnamed::NoSweepYet) => prop_assert!(fits.is_empty()),
                Err(Unnamed::Ambiguous { candidates, .. }) => {
                    prop_assert!(!exact && candidates.len() == fits.len() && fits.len() > 1);
                }
            }
        }
    }
}
