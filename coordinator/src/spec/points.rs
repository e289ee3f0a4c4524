//! Which points a sweep trains: `method` with the keys that go with it.

use std::collections::BTreeMap;

use distilsweep_proto::params::Value;

use super::{
    Method, distributions,
    drawn::{Drawn, MAX_PROPOSED, MAX_SEQUENCE, Sequence},
    form,
    grid::{Axis, Grid, MAX_POINTS},
    parameters,
    problem::Problem,
    space::Space,
    tree::Entry,
};

/// More seeds say nothing more about a setting.
const MAX_REPEATS: u64 = 1000;

/// Reads `method`.
pub(super) fn method(entry: &Entry, problems: &mut Vec<Problem>) -> Option<Method> {
    let method = form::text(entry, problems)?;
    let wrong = match method.as_str() {
        "grid" => return Some(Method::Grid),
        "random" => return Some(Method::Random),
        "quasi-random" => return Some(Method::QuasiRandom),
        "bayes" => return Some(Method::Bayes),
        _ => format!("`method` is \"{method}\", it must be grid, random, quasi-random or bayes"),
    };
    problems.push(entry.value.mark.problem(wrong));
    None
}

/// Reads `parameters`, `run_cap`, `repeats` and `seed` of a file's `entries` as `method` has them.
pub(super) fn space(
    entries: &[Entry],
    listed: &Entry,
    method: Option<Method>,
    problems: &mut Vec<Problem>,
) -> Option<Space> {
    let Some(method) = method else {
        // What is wrong in them whatever the method is said at once.
        distributions::read(listed, problems);
        return None;
    };
    let find = |key| form::find(entries, key);
    let repeats = find("repeats").map_or(Some(1), |entry| form::whole(entry, 1, MAX_REPEATS, problems));
    let before = problems.len();
    let space = match method {
        Method::Grid => grid(listed, repeats?, problems),
        Method::Random | Method::QuasiRandom | Method::Bayes => {
            drawn(entries, listed, method, repeats?, problems)
        }
    }?;
    let cap = find("run_cap").filter(|_| method == Method::Grid);
    if let Some((cap, most)) =
        cap.and_then(|entry| Some((entry, form::whole(entry, 1, MAX_POINTS, problems)?)))
        && most < space.len()
    {
        let points = space.len();
        problems.push(cap.value.mark.problem(format!(
            "`run_cap` is {most}, but the grid has {points} points and trains them all: list fewer values, or draw with `method: random`"
        )));
    }
    if let Some(seed) = find("seed").filter(|_| method == Method::Grid) {
        problems.push(seed.mark.problem(
            "`seed` seeds the drawing of points, which a grid has not: the seeds of trials are values of `seed` in `parameters`",
        ));
    }
    (problems.len() == before).then_some(space)
}

fn grid(listed: &Entry, repeats: u64, problems: &mut Vec<Problem>) -> Option<Space> {
    let mut axes = parameters::read(listed, problems);
    if repeats > 1 {
        if axes.iter().any(|axis| axis.name == "seed") {
            problems.push(repeated_twice(listed));
            return None;
        }
        let values = (1..=repeats.cast_signed()).map(Value::Integer).collect();
        axes.push(Axis { name: "seed".to_owned(), values });
    }
    match Grid::new(axes) {
        Ok(grid) => Some(Space::Grid(grid)),
        Err(error) => {
            problems.push(listed.mark.problem(error.to_string()));
            None
        }
    }
}

fn drawn(
    entries: &[Entry],
    listed: &Entry,
    method: Method,
    repeats: u64,
    problems: &mut Vec<Problem>,
) -> Option<Space> {
    let dimensions = distributions::read(listed, problems);
    let seed = form::find(entries, "seed")
        .map_or(Some(0), |entry| form::whole(entry, 0, i64::MAX.cast_unsigned(), problems));
    let (sequence, most) = match method {
        Method::QuasiRandom => (Sequence::Sobol, MAX_SEQUENCE),
        Method::Bayes => (Sequence::Proposed, MAX_PROPOSED),
        Method::Grid | Method::Random => (Sequence::Random, MAX_POINTS / repeats),
    };
    let Some(cap) = form::find(entries, "run_cap") else {
        problems.push(listed.mark.problem(
            "missing key `run_cap`: how many points are drawn, each of which is a trial, or `repeats` trials",
        ));
        return None;
    };
    let count = form::whole(cap, 1, most, problems)?;
    if repeats > 1 && dimensions.iter().any(|dimension| dimension.name == "seed") {
        problems.push(repeated_twice(listed));
        return None;
    }
    let mut names: Vec<&str> = dimensions.iter().map(|dimension| dimension.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        problems.push(listed.mark.problem(format!("`{}` is listed twice, once is enough", pair[0])));
        return None;
    }
    Some(Space::Drawn(Drawn { dimensions, sequence, seed: seed?, count, repeats, proposed: BTreeMap::new() }))
}

fn repeated_twice(listed: &Entry) -> Problem {
    listed.mark.problem(
        "`repeats` gives every setting seeds of its own: remove `seed` from `parameters`, or `repeats`",
    )
}
