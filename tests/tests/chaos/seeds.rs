//! A few seeds of the chaos that `tests/chaos/soak.sh` runs by the hundred.

use std::{collections::BTreeSet, sync::Mutex, thread};

use distilsweep_tests::chaos::{Fault, Schedule, survive, undisturbed};

/// Seeds that have every kind of fault between them. The last begins first: it has MLflow and takes longest.
const SEEDS: [u64; 6] = [1, 7, 5, 13, 18, 0];
/// Seeds at a time: one mostly waits.
const JOBS: usize = 3;

#[test]
fn a_sweep_ends_as_if_nothing_had_happened_whatever_fails_meanwhile() -> anyhow::Result<()> {
    let faults = SEEDS.iter().flat_map(|seed| Schedule::from_seed(*seed).faults);
    let kinds: BTreeSet<&str> = faults.map(|planned| planned.fault.kind()).collect();
    assert_eq!(kinds, BTreeSet::from(Fault::KINDS), "choose other seeds");

    let undisturbed = undisturbed()?;
    let left = Mutex::new(SEEDS.to_vec());
    let next = || left.lock().ok().and_then(|mut left| left.pop());
    let run = || -> anyhow::Result<()> {
        while let Some(seed) = next() {
            let outcome = survive(seed, &undisturbed)?;
            eprintln!("seed {seed}: {outcome}");
        }
        Ok(())
    };
    let failed: Vec<String> = thread::scope(|scope| {
        let jobs: Vec<_> = (0..JOBS).map(|_| scope.spawn(run)).collect();
        let ended =
            jobs.into_iter().map(|job| job.join().unwrap_or_else(|_| anyhow::bail!("a seed panicked")));
        ended.filter_map(Result::err).map(|error| format!("{error:?}")).collect()
    });
    assert!(failed.is_empty(), "run one alone with tests/chaos/soak.sh --seed SEED\n{}", failed.join("\n"));
    Ok(())
}
