//! A few seeds of the chaos that `tests/chaos/soak.sh` runs by the hundred.

use distilsweep_tests::chaos::{survive, undisturbed};

#[test]
fn a_sweep_survives_seed_1() -> anyhow::Result<()> {
    println!("{:?}", survive(1, &undisturbed()?)?);
    Ok(())
}
