//! The best trial as a sweep file, to train it again or elsewhere.

use super::{Summary, labels::metric, rank, resources};
use crate::spec::{NotReplaceable, narrowed};

/// Why there is no such file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBest {
    /// Nothing is ranked.
    #[error("no trial of {sweep} has a result yet")]
    Unranked {
        /// Id of the sweep.
        sweep: String,
    },
    /// The file is not known: MLflow's runs do not hold it.
    #[error("the file of {sweep} is not known here: ask the coordinator that has the sweep")]
    NoFile {
        /// Id of the sweep.
        sweep: String,
    },
    /// It is written in another way.
    #[error(transparent)]
    File(#[from] NotReplaceable),
}

/// The sweep's file with the best trial's hyperparameters alone, and what is known of the trial as comments. Of trials
/// with the same score it is the first.
///
/// # Errors
/// [`NoBest`].
pub fn best(summary: &Summary) -> Result<String, NoBest> {
    let sweep = || summary.sweep.clone();
    let ranked = rank(summary);
    let first = ranked.first().filter(|ranked| ranked.rank.is_some());
    let row = first.ok_or_else(|| NoBest::Unranked { sweep: sweep() })?.row;
    if summary.file.is_empty() {
        return Err(NoBest::NoFile { sweep: sweep() });
    }
    let mut text = format!("# Trial {} of {}", row.trial, summary.sweep);
    if let Some(score) = summary.score(row) {
        text.push_str(&format!(", {} {}", summary.metric, metric(score)));
    }
    text.push_str(": the best. Relative paths start where the sweep's own file lies.\n");
    for pinned in summary.resources.iter().filter_map(resources::line) {
        text.push_str(&format!("# It was trained with {pinned}\n"));
    }
    text.push_str(&narrowed(&summary.file, &row.params)?);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::summary;

    const FILE: &str = "\
name: sentiment
model: m
dataset: d
method: grid
parameters:
  learning_rate: {values: [2e-5, 5e-5]}
  weight_decay: {values: [0.0, 0.1]}
  max_steps: {value: 100}
";

    #[test]
    fn the_best_trial_is_a_sweep_of_one_point() {
        let text = best(&Summary { file: FILE.to_owned(), ..summary() }).unwrap();
        let spec = crate::spec::parse(&text).unwrap();
        let ranked = summary();
        let wanted = &rank(&ranked)[0].row.params;
        assert_eq!((spec.space.len(), &spec.space.point(0)), (1, wanted), "{text}");
        let head = "# Trial 2 of sentiment-1f3a, best_validation_f1 0.7021: the best. ";
        assert!(text.starts_with(head), "{text}");
    }

    #[test]
    fn without_a_result_or_a_file_there_is_none() {
        let none = Summary { trials: Vec::new(), file: FILE.to_owned(), ..summary() };
        assert_eq!(best(&none), Err(NoBest::Unranked { sweep: "sentiment-1f3a".to_owned() }));
        assert_eq!(best(&summary()), Err(NoBest::NoFile { sweep: "sentiment-1f3a".to_owned() }));
    }
}
