//! What is searched: functions of the literature over hyperparameters, and the recorded grid. Less is better.

use std::f64::consts::PI;

use distilsweep_proto::params::Params;

use super::{MOST, drawn};
use crate::curves::{self, Curve};

/// Points that the best of a space are estimated from.
const SAMPLED: u64 = 10_000;
/// Six hyperparameters from 0 to a half.
const UNIT: [&str; 6] = [
    "warmup_ratio",
    "weight_decay",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
    "label_smoothing_factor",
];

/// Something to search.
pub(super) struct Task {
    pub(super) name: &'static str,
    /// The `parameters` of its sweep file.
    parameters: String,
    kind: Kind,
}

enum Kind {
    /// Of numbers from 0 to 1, in the order of [`UNIT`].
    Unit(fn(&[f64]) -> f64),
    Valley,
    Recorded(Vec<Curve>),
}

/// All of them.
pub(super) fn all() -> anyhow::Result<Vec<Task>> {
    let unit = |name, count: usize, function| {
        let lines = UNIT[..count].iter().map(|name| format!("  {name}: {{min: 0.0, max: 0.5}}\n"));
        Task { name, parameters: lines.collect(), kind: Kind::Unit(function) }
    };
    let (_, recorded) = curves::SWEEP.split_once("parameters:\n").unwrap_or_default();
    Ok(vec![
        unit("Branin", 2, branin),
        unit("Hartmann 3", 3, hartmann3),
        unit("Hartmann 6", 6, hartmann6),
        unit("Rosenbrock", 3, rosenbrock),
        unit("Ackley", 4, ackley),
        unit("Styblinski", 4, styblinski),
        Task { name: "valley", parameters: VALLEY.to_owned(), kind: Kind::Valley },
        Task { name: "recorded", parameters: recorded.to_owned(), kind: Kind::Recorded(curves::recorded()?) },
    ])
}

impl Task {
    /// A sweep file that searches it.
    pub(super) fn file(&self, method: &str, seed: u64) -> String {
        let parameters = &self.parameters;
        format!(
            "name: search\nmodel: ./model\ndataset: {{train: a.csv, validation: b.csv}}\n\
             method: {method}\nrun_cap: {MOST}\nseed: {seed}\nparameters:\n{parameters}"
        )
    }

    pub(super) fn loss(&self, point: &Params) -> f64 {
        let number = |name: &str| point.get(name).and_then(|value| value.as_number()).unwrap_or_default();
        match &self.kind {
            Kind::Unit(function) => {
                let names = UNIT.iter().take_while(|name| point.contains_key(**name));
                function(&names.map(|name| 2.0 * number(name)).collect::<Vec<f64>>())
            }
            Kind::Valley => {
                let schedule = point["lr_scheduler_type"].to_string();
                valley(
                    number("learning_rate"),
                    number("per_device_train_batch_size"),
                    number("weight_decay"),
                    &schedule,
                ) + 0.1 * (number("warmup_ratio") - 0.1).powi(2)
            }
            Kind::Recorded(curves) => {
                curves.iter().find(|curve| curve.is_of(point)).map_or(f64::INFINITY, |curve| -curve.best_f1())
            }
        }
    }

    /// What the best share of the space is no worse than: of listed points exactly, else as far as many draws tell.
    pub(super) fn goal(&self, share: f64) -> anyhow::Result<f64> {
        let mut losses: Vec<f64> = match &self.kind {
            Kind::Recorded(curves) => curves.iter().map(|curve| -curve.best_f1()).collect(),
            Kind::Unit(_) | Kind::Valley => {
                let many = drawn(&self.file("random", u64::from(u32::MAX)))?;
                (0..SAMPLED).map(|draw| self.loss(&many.point(draw))).collect()
            }
        };
        losses.sort_by(f64::total_cmp);
        let best = (losses.len() as f64 * share) as usize;
        Ok(losses[best.max(1) - 1])
    }
}

const VALLEY: &str = "  learning_rate: {distribution: log_uniform_values, min: 1e-6, max: 1e-2}
  per_device_train_batch_size: {values: [8, 16, 32, 64]}
  weight_decay: {min: 0.0, max: 0.3}
  warmup_ratio: {min: 0.0, max: 0.5}
  lr_scheduler_type: {values: [linear, cosine, constant]}
";

/// A training as one knows it: too high a learning rate is worse than one too low, a larger batch wants a higher one, and
/// so does another schedule.
fn valley(rate: f64, batch: f64, decay: f64, schedule: &str) -> f64 {
    let (shift, cost) = match schedule {
        "linear" => (0.0, 0.0),
        "cosine" => (0.2, 0.05),
        _ => (-0.3, 0.15),
    };
    let off = rate.log10() + 4.0 - 0.15 * (batch.log2() - 4.5) - shift;
    let steep = if off > 0.0 { 0.6 } else { 0.3 };
    steep * off * off + (decay - 0.1).powi(2) + cost
}

fn branin(x: &[f64]) -> f64 {
    let (a, b) = (15.0 * x[0] - 5.0, 15.0 * x[1]);
    (b - 5.1 / (4.0 * PI * PI) * a * a + 5.0 / PI * a - 6.0).powi(2)
        + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * a.cos()
        + 10.0
}

const HARTMANN: [f64; 4] = [1.0, 1.2, 3.0, 3.2];

fn hartmann<const N: usize>(x: &[f64], a: [[f64; N]; 4], p: [[f64; N]; 4]) -> f64 {
    let hill = |i: usize| {
        let distance = (0..N).map(|j| a[i][j] * (x[j] - 1e-4 * p[i][j]).powi(2)).sum::<f64>();
        HARTMANN[i] * (-distance).exp()
    };
    -(0..4).map(hill).sum::<f64>()
}

fn hartmann3(x: &[f64]) -> f64 {
    hartmann(
        x,
        [[3.0, 10.0, 30.0], [0.1, 10.0, 35.0], [3.0, 10.0, 30.0], [0.1, 10.0, 35.0]],
        [
            [3689.0, 1170.0, 2673.0],
            [4699.0, 4387.0, 7470.0],
            [1091.0, 8732.0, 5547.0],
            [381.0, 5743.0, 8828.0],
        ],
    )
}

fn hartmann6(x: &[f64]) -> f64 {
    hartmann(
        x,
        [
            [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
            [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
            [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
            [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
        ],
        [
            [1312.0, 1696.0, 5569.0, 124.0, 8283.0, 5886.0],
            [2329.0, 4135.0, 8307.0, 3736.0, 1004.0, 9991.0],
            [2348.0, 1451.0, 3522.0, 2883.0, 3047.0, 6650.0],
            [4047.0, 8828.0, 8732.0, 5743.0, 1091.0, 381.0],
        ],
    )
}

fn rosenbrock(x: &[f64]) -> f64 {
    let at: Vec<f64> = x.iter().map(|share| 4.0 * share - 2.0).collect();
    at.windows(2).map(|pair| 100.0 * (pair[1] - pair[0] * pair[0]).powi(2) + (1.0 - pair[0]).powi(2)).sum()
}

fn ackley(x: &[f64]) -> f64 {
    let mean =
        |of: &dyn Fn(f64) -> f64| x.iter().map(|share| of(20.0 * share - 8.0)).sum::<f64>() / x.len() as f64;
    let (square, wave) = (mean(&|at| at * at), mean(&|at| (2.0 * PI * at).cos()));
    20.0 - 20.0 * (-0.2 * square.sqrt()).exp() + 1.0_f64.exp() - wave.exp()
}

fn styblinski(x: &[f64]) -> f64 {
    let hill = |at: f64| at.powi(4) - 16.0 * at * at + 5.0 * at;
    x.iter().map(|share| hill(10.0 * share - 5.0)).sum::<f64>() / 2.0
}
