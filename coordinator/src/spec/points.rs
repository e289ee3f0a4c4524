//! Which points a sweep trains: `method` with the keys that go with it.

use std::collections::BTreeMap;

use distilsweep_data::quoted;
use distilsweep_proto::params::{Parameter, Value};

use super::{
    Method,
    chosen::Chosen,
    conditions::{self, Conditions},
    distributions::{self, Listed},
    drawn::{Dimension, Drawn, MAX_PROPOSED, MAX_SEQUENCE, Sequence},
    form,
    grid::{Axis, Grid, MAX_POINTS, SpaceError},
    problem::Problem,
    space::Space,
    tree::Entry,
};

/// More seeds say nothing more about a setting.
const MAX_REPEATS: u64 = 1000;

/// Draws by which it is judged how many of them conditions let through.
const TRIED: u64 = 1000;

/// Reads `method`.
pub(super) fn method(entry: &Entry, problems: &mut Vec<Problem>) -> Option<Method> {
    let method = form::text(entry, problems)?;
    let wrong = match method.as_str() {
        "grid" => return Some(Method::Grid),
        "random" => return Some(Method::Random),
        "quasi-random" => return Some(Method::QuasiRandom),
        "bayes" => return Some(Method::Bayes),
        _ => format!("`method` is {}, it must be grid, random, quasi-random or bayes", quoted(&method)),
    };
    problems.push(entry.value.mark.problem(wrong));
    None
}

/// Reads `parameters`, `exclude`, `run_cap`, `repeats` and `seed` of a file's `entries` as `method` has them.
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
    let parameters = distributions::read(listed, problems);
    let conditions = conditions::read(entries, &parameters, problems);
    let described = Described { listed, parameters, conditions: conditions?, repeats: repeats? };
    let space = match method {
        Method::Grid => grid(entries, described, problems),
        Method::Random | Method::QuasiRandom | Method::Bayes => drawn(entries, described, method, problems),
    }?;
    (problems.len() == before).then_some(space)
}

/// What a file says about its points, whatever its method.
struct Described<'a> {
    /// The key `parameters`.
    listed: &'a Entry,
    parameters: Vec<Listed>,
    conditions: Conditions,
    repeats: u64,
}

impl Described<'_> {
    /// Notes where `repeats` and `parameters` both say which seeds there are.
    fn repeats_alone(&self, problems: &mut Vec<Problem>) {
        if self.repeats > 1 && self.parameters.iter().any(|one| one.dimension.name == "seed") {
            problems.push(self.listed.mark.problem(
                "`repeats` gives every setting seeds of its own: remove `seed` from `parameters`, or `repeats`",
            ));
        }
    }
}

fn grid(entries: &[Entry], described: Described<'_>, problems: &mut Vec<Problem>) -> Option<Space> {
    described.repeats_alone(problems);
    let Described { listed, parameters, conditions, repeats } = described;
    if let Some(seed) = form::find(entries, "seed") {
        problems.push(seed.mark.problem(
            "`seed` seeds the drawing of points, which a grid has not: the seeds of trials are values of `seed` in `parameters`",
        ));
    }
    let first = match form::find(entries, "run_cap") {
        Some(cap) => Some(form::whole(cap, 1, MAX_POINTS / repeats, problems)? * repeats),
        None => None,
    };
    let before = problems.len();
    let mut axes: Vec<Axis> = parameters.into_iter().filter_map(|one| axis(one, problems)).collect();
    if problems.len() > before {
        return None;
    }
    if repeats > 1 {
        let values = (1..=repeats.cast_signed()).map(Value::Integer).collect();
        axes.push(Axis { name: "seed".to_owned(), values });
    }
    let space = match Grid::new(axes.clone()) {
        Ok(grid) if conditions.is_empty() && first.is_none_or(|first| first >= grid.len()) => {
            Ok(Space::Grid(grid))
        }
        // Too many as a whole: conditions may leave few of them.
        Ok(_) | Err(SpaceError::TooLarge(_)) => Chosen::new(axes, conditions, first).map(Space::Chosen),
        Err(error) => Err(error),
    };
    space.map_err(|error| problems.push(listed.mark.problem(error.to_string()))).ok()
}

/// A hyperparameter of a grid, by its values.
fn axis(listed: Listed, problems: &mut Vec<Problem>) -> Option<Axis> {
    let Listed { dimension: Dimension { name, distribution }, mark, .. } = listed;
    let parameter = Parameter::named(&name).ok()?;
    match distribution.listed(parameter) {
        Ok(values) => Some(Axis { name, values }),
        Err(why) => {
            problems.push(mark.problem(format!("`{name}` {why}")));
            None
        }
    }
}

fn drawn(
    entries: &[Entry],
    described: Described<'_>,
    method: Method,
    problems: &mut Vec<Problem>,
) -> Option<Space> {
    described.repeats_alone(problems);
    let Described { listed, parameters, conditions, repeats } = described;
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
    let dimensions = parameters.into_iter().map(|one| one.dimension).collect();
    let drawn =
        Drawn { dimensions, sequence, seed: seed?, count, repeats, conditions, proposed: BTreeMap::new() };
    if drawn.conditions.excludes() && drawn.let_through(TRIED) * 100 < TRIED {
        problems.push(listed.mark.problem(format!(
            "`exclude` lets fewer than 1 in 100 points through, of {TRIED} that were drawn: narrow the ranges instead"
        )));
    }
    Some(Space::Drawn(drawn))
}
