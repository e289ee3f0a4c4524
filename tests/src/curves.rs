//! Learning curves of a whole grid of real trainings, `tests/search/curves.csv`: searches are held against them without
//! training anything. How they were recorded, the first line of the file says.

use std::collections::BTreeMap;

use anyhow::Context;
use distilsweep_proto::params::Params;

/// The sweep file that was recorded.
pub const SWEEP: &str = include_str!("../search/curves.yaml");
const RECORDED: &str = include_str!("../search/curves.csv");

/// One trial of the grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// The hyperparameters that differ between trials.
    pub point: BTreeMap<String, f64>,
    /// Its evaluations, one an epoch.
    pub epochs: Vec<Evaluation>,
}

/// One evaluation on the validation split.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Evaluation {
    pub f1: f64,
    pub loss: f64,
}

impl Curve {
    /// The F1 that the trial is ranked by: that of its best epoch.
    pub fn best_f1(&self) -> f64 {
        self.epochs.iter().map(|epoch| epoch.f1).fold(f64::NEG_INFINITY, f64::max)
    }

    /// Whether it is the trial with these hyperparameters.
    pub fn is_of(&self, params: &Params) -> bool {
        self.point.iter().all(|(name, value)| params.get(name).and_then(|v| v.as_number()) == Some(*value))
    }
}

/// All trials, in the grid's order.
///
/// # Errors
/// Where the file is not what it should be.
pub fn recorded() -> anyhow::Result<Vec<Curve>> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(RECORDED.as_bytes());
    let headers = reader.headers()?.clone();
    let mut curves: BTreeMap<u64, Curve> = BTreeMap::new();
    for row in reader.records() {
        let row = row?;
        let number = |text: &str| text.parse::<f64>().with_context(|| format!("`{text}` in {row:?}"));
        let (mut trial, mut f1, mut loss) = (None, None, None);
        let mut point = BTreeMap::new();
        for (name, text) in headers.iter().zip(&row) {
            match name {
                "trial" => trial = Some(text.parse()?),
                "eval_f1_score" => f1 = Some(number(text)?),
                "eval_loss" => loss = Some(number(text)?),
                // They are in order.
                "epoch" => {}
                _ => {
                    point.insert(name.to_owned(), number(text)?);
                }
            }
        }
        let (Some(trial), Some(f1), Some(loss)) = (trial, f1, loss) else {
            anyhow::bail!("{row:?} lacks a column")
        };
        let curve = curves.entry(trial).or_insert_with(|| Curve { point, epochs: Vec::new() });
        curve.epochs.push(Evaluation { f1, loss });
    }
    Ok(curves.into_values().collect())
}

#[cfg(test)]
mod tests {
    use distilsweep::spec;

    use super::*;

    #[test]
    fn every_point_of_the_recorded_sweep_has_its_curve() -> anyhow::Result<()> {
        let curves = recorded()?;
        let spec =
            spec::parse(SWEEP).map_err(|problems| anyhow::anyhow!("{}", problems.in_file("curves.yaml")))?;
        assert_eq!(curves.len() as u64, spec.space.len());
        for (index, curve) in curves.iter().enumerate() {
            assert!(curve.is_of(&spec.space.point(index as u64)), "{:?}", curve.point);
            assert_eq!(curve.epochs.len(), 9);
            assert!((0.0..=1.0).contains(&curve.best_f1()));
        }
        Ok(())
    }
}
