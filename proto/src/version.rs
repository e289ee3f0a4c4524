//! Which versions of coordinator and worker work together.

/// Minor releases that the two may be apart: one, so that a cluster can be upgraded while sweeps run.
const APART: u64 = 1;

/// Looks whether a worker of version `theirs` and a coordinator of version `ours` understand each other. A version that
/// is not told, or not as MAJOR.MINOR.PATCH, is taken for one that does.
///
/// # Errors
/// A sentence that says what would be right.
pub fn work_together(ours: &str, theirs: &str) -> Result<(), String> {
    match (parts(ours), parts(theirs)) {
        (Some((major, minor)), Some((their_major, their_minor)))
            if major != their_major || minor.abs_diff(their_minor) > APART =>
        {
            Err(format!(
                "the worker is version {theirs} and the coordinator {ours}: they work together when they are at most one \
                 minor release apart; install a worker of {major}.{minor}"
            ))
        }
        _ => Ok(()),
    }
}

/// Major and minor number.
fn parts(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_release_apart_is_near_enough() {
        for near in ["1.4.0", "1.4.9", "1.3.2", "1.5.0-rc.1", "", "unknown"] {
            assert_eq!(work_together("1.4.0", near), Ok(()), "{near}");
        }
        for far in ["1.2.9", "1.6.0", "0.4.0", "2.4.0"] {
            assert!(work_together("1.4.0", far).is_err(), "{far}");
        }
        insta::assert_snapshot!(work_together("1.4.0", "2.0.1").unwrap_err(), @"the worker is version 2.0.1 and the coordinator 1.4.0: they work together when they are at most one minor release apart; install a worker of 1.4");
    }
}
