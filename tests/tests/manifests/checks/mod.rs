//! What must hold of rendered objects and no schema says. Each check takes all objects and returns its problems.

mod exposure;
mod jobs;
mod naming;
mod network;
mod programs;
mod resources;
mod security;
mod settings;
mod state;
mod wiring;

use serde_json::Value;

/// Something that is wrong.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Name of the check that found it.
    pub(crate) check: &'static str,
    /// What was found, and where.
    pub(crate) text: String,
}

type Check = fn(&[Value]) -> Vec<String>;

const CHECKS: [(&str, Check); 22] = [
    ("names", naming::names),
    ("containers", naming::containers),
    ("images", naming::images),
    ("selectors", wiring::selectors),
    ("mounts", wiring::mounts),
    ("references", wiring::references),
    ("ports", wiring::ports),
    ("quantities", resources::quantities),
    ("gpu", resources::gpu),
    ("local disks", resources::local_disks),
    ("pod security", security::pods),
    ("rights", security::rights),
    ("secrets", security::secrets),
    ("network", network::flows),
    ("arguments", programs::arguments),
    ("paths", programs::paths),
    ("grace", programs::grace),
    ("probes", programs::probes),
    ("settings", settings::settings),
    ("encryption", exposure::encryption),
    ("state", state::state),
    ("jobs", jobs::jobs),
];

/// Everything that is wrong.
pub(crate) fn problems(objects: &[Value]) -> Vec<Problem> {
    CHECKS
        .iter()
        .flat_map(|(check, run)| run(objects).into_iter().map(|text| Problem { check, text }))
        .collect()
}

/// Names of all checks.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.check, self.text)
    }
}
