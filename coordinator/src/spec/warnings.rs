//! What a file that is right has to say all the same: keys that mean nothing here, and what usually goes wrong.

use std::collections::BTreeMap;

use distilsweep_proto::params::Value;

use super::{
    Space, SweepSpec,
    distribution::rounded,
    distributions, form, parameters,
    problem::Problem,
    tree::{Content, Entry, Node},
};

/// Learning rates above this are for training from nothing: a pretrained model forgets what it knows.
const HIGHEST_RATE: f64 = 1e-3;

/// Tokens for which DistilBERT and BERT have positions.
const POSITIONS: f64 = 512.0;

/// Keys of W&B that are read over, with why.
pub(super) const IDLE: &[(&str, &str)] = &[
    ("program", "W&B starts a training script by it, the workers here train `model` themselves"),
    ("command", "W&B starts a training script by it, the workers here train `model` themselves"),
    ("project", "it names a project of W&B, the experiment of MLflow is named by `experiment`"),
    ("entity", "it names an account of W&B"),
    ("controller", "it says where W&B chooses the points, here the coordinator does"),
    ("job", "it is for W&B Launch, workers here join the coordinator"),
    ("image_uri", "it is for W&B Launch, workers here join the coordinator"),
];

/// Whether a key is read over.
pub(super) fn is_idle(key: &str) -> bool {
    IDLE.iter().any(|(idle, _)| *idle == key)
}

/// What there is to say of a file that makes `spec`, in its order.
pub(super) fn of(root: &Node, spec: &SweepSpec) -> Vec<Problem> {
    let Content::Map(entries) = &root.content else { return Vec::new() };
    let idle = entries.iter().filter_map(|entry| {
        let (key, what) = IDLE.iter().find(|(key, _)| *key == entry.key)?;
        Some(entry.mark.problem(format!("`{key}` means nothing here: {what}")))
    });
    let mut warnings: Vec<Problem> = idle.collect();
    let listed = listed(entries);
    warnings.extend(listed.iter().filter_map(|entry| distributions::exponents(entry)));
    warnings.extend(listed.iter().filter_map(|entry| unusual(entry, spec)));
    if let (Space::Chosen(chosen), Some(cap)) = (&spec.space, form::find(entries, "run_cap"))
        && chosen.len() < chosen.whole()
    {
        let sentence = format!(
            "`run_cap` trains the first {} of {} points of the grid; `method: random` draws from all of them",
            chosen.len(),
            chosen.whole()
        );
        warnings.push(cap.mark.problem(sentence));
    }
    if let Some(early) = form::find(entries, "early_terminate")
        && spec.space.takes("eval_strategy", &Value::Text("no".to_owned()))
    {
        let sentence =
            "`early_terminate` never ends a trial with `eval_strategy` no: that one is judged at its end";
        warnings.push(early.mark.problem(sentence));
    }
    warnings.sort();
    warnings
}

/// Where the parameters of a file stand.
pub(super) fn places(root: &Node) -> BTreeMap<String, (usize, usize)> {
    let Content::Map(entries) = &root.content else { return BTreeMap::new() };
    listed(entries)
        .into_iter()
        .map(|entry| (entry.key.clone(), (entry.mark.line, entry.mark.column)))
        .collect()
}

fn listed(entries: &[Entry]) -> Vec<&Entry> {
    // What is wrong with them has been told.
    let members = form::find(entries, "parameters").map(|entry| parameters::members(entry, &mut Vec::new()));
    members.unwrap_or_default()
}

/// What usually goes wrong with the values of a hyperparameter.
fn unusual(entry: &Entry, spec: &SweepSpec) -> Option<Problem> {
    let (_, most) = spec.space.reach(&entry.key)?;
    let reaches = |name| spec.space.reach(name).is_some_and(|(_, most)| most > 0.0);
    let sentence = match entry.key.as_str() {
        "learning_rate" if most > HIGHEST_RATE => {
            let most = rounded(most);
            format!(
                "`learning_rate` goes up to {most}; above {HIGHEST_RATE} a pretrained model usually diverges"
            )
        }
        "max_length" if most > POSITIONS => {
            format!(
                "`max_length` goes up to {most}; DistilBERT and BERT have positions for {POSITIONS} tokens"
            )
        }
        "warmup_ratio" if most > 0.0 && reaches("warmup_steps") => {
            "`warmup_ratio` has no effect where `warmup_steps` is above 0".to_owned()
        }
        "num_train_epochs" if reaches("max_steps") => {
            "`num_train_epochs` has no effect where `max_steps` is above 0".to_owned()
        }
        _ => return None,
    };
    Some(entry.mark.problem(sentence))
}
