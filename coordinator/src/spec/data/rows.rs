//! Which rows of a data set are used: `splits` and `limit`.

use distilsweep_data::quoted;
use distilsweep_proto::dataset::{LimitOrder, Limits, SplitChoice, SplitSelection};

use crate::spec::{
    form,
    problem::Problem,
    tree::{Entry, Node},
};

use super::ROLES;

/// Orders of `limit`: which rows of a split it keeps.
pub(in crate::spec) const ORDERS: [&str; 2] = ["stratified", "first"];

/// Reads `splits`, which chooses among the splits of a repository or directory.
pub(super) fn splits(entry: &Entry, names_files: bool, problems: &mut Vec<Problem>) -> SplitSelection {
    if names_files {
        let sentence = "`splits` chooses among the splits of a dataset with `id`: remove it, files are named by \
                        `train`, `validation` and `test`";
        problems.push(entry.mark.problem(sentence));
        return SplitSelection::default();
    }
    let shape = "a mapping of roles to split names: {train: NAME, validation: NAME, test: null}";
    let Some(entries) = form::mapping("splits", &entry.value, shape, problems) else {
        return SplitSelection::default();
    };
    form::refuse_unknown(entries, &ROLES, " in `splits`", |_| None, problems);
    let mut chosen: Vec<(&str, String)> = Vec::new();
    let [train, validation, test] = ROLES.map(|role| {
        let Some(entry) = form::find(entries, role) else { return SplitChoice::Detected };
        let choice = split_choice(role, &entry.value, problems);
        if let SplitChoice::Named(name) = &choice {
            if let Some((other, _)) = chosen.iter().find(|(_, taken)| taken == name) {
                let sentence =
                    format!("`{role}` and `{other}` of `splits` are both {}, name two splits", quoted(name));
                problems.push(entry.value.mark.problem(sentence));
            }
            chosen.push((role, name.clone()));
        }
        choice
    });
    SplitSelection { train, validation, test }
}

fn split_choice(role: &str, node: &Node, problems: &mut Vec<Problem>) -> SplitChoice {
    if node.is_null() && role != "train" {
        return SplitChoice::LeftOut;
    }
    let wanted = match role {
        "train" => "the name of a split",
        _ => "the name of a split, or null to leave it out",
    };
    form::text_of(role, node, wanted, problems).map_or(SplitChoice::Detected, SplitChoice::Named)
}

/// Reads `limit`.
pub(super) fn limit(entry: &Entry, problems: &mut Vec<Problem>) -> Limits {
    let shape = "a mapping of splits to rows used: {train: N, validation: N, test: N, order: stratified}";
    let Some(entries) = form::mapping("limit", &entry.value, shape, problems) else {
        return Limits::default();
    };
    let [train, validation, test] = ROLES;
    form::refuse_unknown(entries, &[train, validation, test, "order"], " in `limit`", |_| None, problems);
    let [train, validation, test] = ROLES
        .map(|role| form::find(entries, role).and_then(|entry| form::whole(entry, 1, u64::MAX, problems)));
    let order = form::find(entries, "order");
    let limits = Limits {
        train,
        validation,
        test,
        order: order.map(|one| limit_order(one, problems)).unwrap_or_default(),
    };
    if let Some(order) = order
        && ROLES.iter().all(|role| form::find(entries, role).is_none())
    {
        let sentence =
            "`order` of `limit` has nothing to order, name a number of rows: {validation: 800, order: first}";
        problems.push(order.mark.problem(sentence));
    }
    limits
}

fn limit_order(entry: &Entry, problems: &mut Vec<Problem>) -> LimitOrder {
    let wanted = "stratified (every class keeps its share) or first (the first rows)";
    match form::text_of(&entry.key, &entry.value, wanted, problems).as_deref() {
        Some("first") => LimitOrder::First,
        Some("stratified") | None => LimitOrder::Stratified,
        Some(_) => {
            let sentence = format!("`order` is {}, it must be {wanted}", entry.value.describe());
            problems.push(entry.value.mark.problem(sentence));
            LimitOrder::default()
        }
    }
}
