//! How many trials a search needs until it is among the best of its space: random, quasi-random and `bayes`, on functions
//! whose optimum is known to be hard or easy and on recorded trainings.
//!
//! Each search is a sweep file as anybody would write it, and its points are asked for as the engine does: one after the
//! other, each knowing what came of those before.

mod early;
mod task;

use std::fmt::Write;

use distilsweep::{
    search::{self, History, Outcome},
    spec::{self, Drawn, MetricSpec, Space},
};

use task::Task;

/// Trials after which a search is given up.
const MOST: u64 = 1000;
/// Shares of the space that are to be reached.
const SHARES: [f64; 2] = [0.05, 0.01];
const METHODS: [&str; 3] = ["random", "quasi-random", "bayes"];

/// What is measured.
#[derive(Clone, Copy, Debug, clap::Parser)]
#[command(name = "search", about = "Counts the trials that searches need, as a table")]
pub struct Searches {
    /// Searches by each method on each function
    #[arg(long, default_value_t = 100)]
    seeds: u64,
}

/// Trials until each of [`SHARES`] was reached.
type Reached = [u64; SHARES.len()];

/// Runs all searches; the table.
///
/// # Errors
/// Where a file of this benchmark is wrong.
pub fn run(searches: Searches) -> anyhow::Result<String> {
    let mut table = format!("{:<12}{:>10}", "", "best");
    METHODS.iter().for_each(|method| {
        let _ = write!(table, "{method:>16}");
    });
    table += "  bayes/random\n";
    for task in task::all()? {
        let goals = [task.goal(SHARES[0])?, task.goal(SHARES[1])?];
        let mut counts: [Vec<Reached>; METHODS.len()] = Default::default();
        for (method, counts) in METHODS.into_iter().zip(&mut counts) {
            for seed in 0..searches.seeds {
                counts.push(reached(&task, drawn(&task.file(method, seed))?, goals));
            }
        }
        for (place, share) in SHARES.into_iter().enumerate() {
            let of =
                |counts: &Vec<Reached>| Spread::of(counts.iter().map(|reached| reached[place]).collect());
            let [random, quasi, bayes] = counts.each_ref().map(of);
            let name = if place == 0 { task.name } else { "" };
            let share = format!("{} %", share * 100.0);
            let ratio = bayes.mean / random.mean;
            let _ = writeln!(table, "{name:<12}{share:>10}{random:>16}{quasi:>16}{bayes:>16}{ratio:>14.2}");
        }
    }
    let _ = writeln!(
        table,
        "trials until a point is among the best of the space: mean (median) of {} searches",
        searches.seeds
    );
    table.push('\n');
    table += &early::table(searches.seeds)?;
    Ok(table)
}

/// Trials of one search until its best is as good as each goal.
fn reached(task: &Task, mut drawn: Drawn, goals: [f64; SHARES.len()]) -> Reached {
    let lowest = MetricSpec { maximize: false, ..MetricSpec::default() };
    let mut reached = [MOST; SHARES.len()];
    let mut history = History::default();
    for draw in 0..drawn.count {
        if drawn.unproposed(draw).is_some() {
            let shares = search::propose(&drawn, draw, &history, &lowest);
            drawn.proposed.insert(draw, shares);
        }
        let loss = task.loss(&drawn.point(draw));
        history.note(draw, Outcome::Value(loss));
        for (reached, goal) in reached.iter_mut().zip(goals) {
            if loss <= goal {
                *reached = (*reached).min(draw + 1);
            }
        }
        if reached.iter().all(|reached| *reached < MOST) {
            break;
        }
    }
    reached
}

fn drawn(file: &str) -> anyhow::Result<Drawn> {
    let spec = spec::parse(file).map_err(|problems| anyhow::anyhow!("{}", problems.in_file("search")))?;
    match spec.space {
        Space::Drawn(drawn) => Ok(drawn),
        Space::Grid(_) | Space::Chosen(_) => anyhow::bail!("{file} draws nothing"),
    }
}

/// Mean and median of some counts.
struct Spread {
    mean: f64,
    median: f64,
}

impl Spread {
    fn of(mut counts: Vec<u64>) -> Self {
        counts.sort_unstable();
        let (low, high) = (counts[(counts.len() - 1) / 2], counts[counts.len() / 2]);
        let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        Self { mean, median: (low + high) as f64 / 2.0 }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:.1} ({})", self.mean, self.median))
    }
}
