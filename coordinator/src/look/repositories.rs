//! Lists and descriptions of the Hub's repositories.

use std::fmt::Write;

use distilsweep_data::{Kind, RepoInfo, excerpt};

use super::columns::{
    Align::{Left, Right},
    columns, cut,
};
use crate::{
    results::labels::{bytes, counted, rough},
    text::escape_controls,
    times,
};

/// Files of a repository that are shown.
const FILES: usize = 30;
/// Model types that the worker trains.
const TYPES: [&str; 2] = ["distilbert", "bert"];

/// Room that tags are shown in, at least.
const TAGS: usize = 6;

/// A list as a table of this width. An id is never cut: what has no room beside it is left out, from the right.
pub fn listed(repos: &[RepoInfo], width: usize) -> String {
    let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), rough);
    let heads = ["ID", "DOWNLOADS", "LIKES", "LICENSE", "SIZE", "TAGS"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(repos.iter().map(|repo| {
        vec![
            repo.id.clone(),
            number(repo.downloads),
            number(repo.likes),
            repo.license().map_or_else(|| "-".to_owned(), |license| excerpt(&license)),
            repo.used_storage.map_or_else(|| "-".to_owned(), bytes),
            tags(repo),
        ]
    }));
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut used = 0;
    let fits = (0..heads.len()).take_while(|column| {
        let cells = if *column + 1 == heads.len() { TAGS } else { widest(*column) };
        used += cells + if *column == 0 { 0 } else { 2 };
        used <= width || *column == 0
    });
    let kept = fits.count();
    for row in &mut rows {
        row.truncate(kept);
    }
    let table =
        columns(&[Left, Right, Right, Left, Right, Left][..kept], &rows, width.max(widest_line(&rows)));
    if kept == heads.len() {
        return table;
    }
    let dropped = heads[kept..].join(", ").to_lowercase();
    format!("{table}left out at this width: {dropped} (--json has all)\n")
}

/// Columns of the first cells, which are not cut.
fn widest_line(rows: &[Vec<String>]) -> usize {
    rows.iter().map(|row| row[0].chars().count()).max().unwrap_or(0)
}

/// What its owner wrote, without what other columns say.
fn tags(repo: &RepoInfo) -> String {
    let told = ["license:", "region:", "arxiv:", "doi:", "endpoints_compatible", "autotrain_compatible"];
    let own = repo.tags.iter().filter(|tag| !told.iter().any(|prefix| tag.starts_with(prefix)));
    own.map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// One repository; `page` is its address, `verdict` whether it can be used here, or why not,
/// `now_ms` what its last change is told from.
pub fn described(
    kind: Kind,
    info: &RepoInfo,
    page: &str,
    verdict: &Result<String, String>,
    now_ms: i64,
    width: usize,
) -> String {
    let mut facts: Vec<(&str, String)> = vec![
        ("kind", if kind == Kind::Model { "model" } else { "data set" }.to_owned()),
        ("page", page.to_owned()),
        ("commit", info.sha.clone()),
        ("changed", info.last_modified.as_deref().map_or_else(String::new, |time| times::day(time, now_ms))),
        ("license", info.license().unwrap_or_else(|| "not said".to_owned())),
    ];
    if let Some(downloads) = info.downloads {
        let likes = info.likes.map_or_else(String::new, |likes| format!(", {}", counted(likes, "like")));
        facts.push(("downloads", format!("{} in 30 days{likes}", rough(downloads))));
    }
    if info.is_gated() {
        facts.push(("access", "gated: its owner lets people in, and HF_TOKEN says who you are".to_owned()));
    }
    let task = [info.pipeline_tag.as_deref(), info.library_name.as_deref()];
    facts.push(("task", task.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    facts.push(("type", info.model_type().unwrap_or_default().to_owned()));
    if let Some(weights) = &info.safetensors {
        let types: Vec<&str> = weights.parameters.keys().map(String::as_str).collect();
        facts.push(("parameters", format!("{} ({})", rough(weights.total), types.join(", "))));
    }
    facts.push(("tags", tags(info)));
    let size = info.bytes().map_or_else(String::new, |all| format!(", {}", bytes(all)));
    facts.push(("files", format!("{}{size}", counted(info.siblings.len() as u64, "file"))));
    let mut text = format!("{}\n", cut(&info.id, width.max(20)));
    for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "  {name:<10}  {}", cut(&value, width.saturating_sub(14)));
    }
    let file = |file: &distilsweep_data::RepoFile| {
        vec!["             ".to_owned(), file.size.map_or_else(|| "-".to_owned(), bytes), file.path.clone()]
    };
    let rows: Vec<Vec<String>> = info.siblings.iter().take(FILES).map(file).collect();
    text += &columns(&[Left, Right, Left], &rows, width);
    if info.siblings.len() > FILES {
        let _ = writeln!(text, "  {:<10}  and {} more", "", info.siblings.len() - FILES);
    }
    let (name, sentence) = match verdict {
        Ok(sentence) => ("usable", sentence),
        Err(sentence) => ("not usable", sentence),
    };
    // A verdict is read whole.
    let _ = writeln!(text, "  {name:<10}  {}", escape_controls(sentence));
    text
}

/// Why a model cannot be trained from; none where it can be, as far as its description tells.
pub fn unfit(info: &RepoInfo) -> Option<String> {
    let has = |name: &str| info.siblings.iter().any(|file| file.path == name);
    match info.model_type() {
        Some(kind) if TYPES.contains(&kind) => {}
        Some(kind) => {
            return Some(format!("its type is {}, workers train {}", excerpt(kind), TYPES.join(" and ")));
        }
        None if !has("config.json") => {
            return Some("it has no config.json, so it is no checkpoint".to_owned());
        }
        None => {}
    }
    if !has("model.safetensors") && !has("model.safetensors.index.json") {
        return Some(match has("pytorch_model.bin") {
            true => "its weights are a pickle alone (pytorch_model.bin): save_pretrained in Python makes safetensors of \
                     them"
                .to_owned(),
            false => "it has no model.safetensors".to_owned(),
        });
    }
    (!has("tokenizer.json") && !has("vocab.txt"))
        .then(|| "it has no tokenizer (tokenizer.json or vocab.txt)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(json: &str) -> RepoInfo {
        serde_json::from_str(json).unwrap()
    }

    const DISTILBERT: &str = r#"{"id": "distilbert/distilbert-base-uncased", "sha": "12040accade4e8a0f71eabdb258fecc2e7e948be",
        "lastModified": "2024-05-06T13:44:53.000Z", "downloads": 11900000, "likes": 1, "pipeline_tag": "fill-mask",
        "library_name": "transformers", "gated": false, "usedStorage": 2740000000,
        "tags": ["transformers", "distilbert", "en", "license:apache-2.0", "region:us"],
        "config": {"model_type": "distilbert"}, "safetensors": {"parameters": {"F32": 66985530}, "total": 66985530},
        "siblings": [{"rfilename": "config.json", "size": 483}, {"rfilename": "model.safetensors", "size": 267954768},
                     {"rfilename": "tokenizer.json", "size": 466062}]}"#;

    #[test]
    fn a_list_fits_the_width() {
        let other = info(r#"{"id": "a/b", "tags": ["license:mit", "x", "y"], "likes": 1200}"#);
        let list = [info(DISTILBERT), other];
        insta::assert_snapshot!(listed(&list, 60), @"
        ID                                  DOWNLOADS  LIKES
        distilbert/distilbert-base-uncased        12M      1
        a/b                                         -   1.2k
        left out at this width: license, size, tags (--json has all)
        ");
        insta::assert_snapshot!(listed(&list, 80), @"
        ID                                  DOWNLOADS  LIKES  LICENSE       SIZE  TAGS
        distilbert/distilbert-base-uncased        12M      1  apache-2.0  2.7 GB  trans…
        a/b                                         -   1.2k  mit              -  x y
        ");
    }

    #[test]
    fn a_description_says_what_it_is_and_whether_it_can_be_used() {
        let verdict = Ok("workers train it".to_owned());
        insta::assert_snapshot!(described(Kind::Model, &info(DISTILBERT), "https://h/a", &verdict, 1_790_000_000_000, 80), @"
        distilbert/distilbert-base-uncased
          kind        model
          page        https://h/a
          commit      12040accade4e8a0f71eabdb258fecc2e7e948be
          changed     2024-05-06, 2 years ago
          license     apache-2.0
          downloads   12M in 30 days, 1 like
          task        fill-mask, transformers
          type        distilbert
          parameters  67M (F32)
          tags        transformers distilbert en
          files       3 files, 268 MB
                        483 B  config.json
                       268 MB  model.safetensors
                       466 kB  tokenizer.json
          usable      workers train it
        ");
    }

    #[test]
    fn values_of_a_card_are_shortened_and_escaped() {
        let long = "x".repeat(900);
        let odd = info(&format!(
            r#"{{"id": "a/b", "tags": ["license:{long}", "\\u001b[31m{long}"], "siblings": [{{"rfilename": "\\u001b{long}"}}],
                "config": {{"model_type": "{long}"}}}}"#
        ));
        let verdict = Err(unfit(&odd).unwrap());
        for text in [
            described(Kind::Model, &odd, "https://h/a", &verdict, 0, 80),
            listed(std::slice::from_ref(&odd), 100),
        ] {
            assert!(!text.contains(&"x".repeat(68)), "{text}");
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_trained_from_is_said_why() {
        let of = |kind: &str, files: &[&str]| {
            let siblings: Vec<_> = files.iter().map(|name| serde_json::json!({"rfilename": name})).collect();
            let config = if kind.is_empty() {
                serde_json::Value::Null
            } else {
                serde_json::json!({"model_type": kind})
            };
            unfit(
                &serde_json::from_value(serde_json::json!({"siblings": siblings, "config": config})).unwrap(),
            )
        };
        let whole = ["config.json", "model.safetensors", "vocab.txt"];
        assert_eq!(of("distilbert", &whole), None);
        assert_eq!(of("", &whole), None);
        let said = [
            of("roberta", &whole),
            of("", &whole[1..]),
            of("bert", &["config.json", "pytorch_model.bin", "vocab.txt"]),
            of("bert", &["config.json", "vocab.txt"]),
            of("bert", &whole[..2]),
        ];
        insta::assert_snapshot!(said.map(Option::unwrap_or_default).join("\n"), @"
        its type is roberta, workers train distilbert and bert
        it has no config.json, so it is no checkpoint
        its weights are a pickle alone (pytorch_model.bin): save_pretrained in Python makes safetensors of them
        it has no model.safetensors
        it has no tokenizer (tokenizer.json or vocab.txt)
        ");
    }
}
