//! Times a training step and says where its time goes: `cargo bench -p distilsweep-worker --bench step`.
//!
//! Two shapes (DistilBERT's, and MiniLM's with six layers) in two precisions, at batch 16 with lengths spread as those
//! of real sentences (25 tokens mean), dropout on. Criterion times whole steps; the table behind it has the shares of
//! forward, backward, optimizer and data, and the step's GFLOP/s beside those of a plain matrix product of the shapes
//! that the feed-forward has, taken right after. `DISTILSWEEP_BENCH_THREADS` sets libtorch's threads. A shape or
//! precision is picked by name: `-- base/fp32`.
#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first error")]

use std::{env, fs, time::Duration};

use criterion::{BenchmarkId, Criterion};
use distilsweep_proto::params::TrainingArguments;
use distilsweep_worker::{
    clock,
    model::{Batch, Config, DistilBertForSequenceClassification, Dropout, Example, Parameters},
    train::Optimizer,
};
use tch::{Device, Kind, Reduction, Tensor};

const BATCH: usize = 16;
/// Word embeddings that the sample data set's texts use, about; training holds no others.
const VOCABULARY: i64 = 16_000;
const CLASSES: usize = 3;

/// Sums over steps.
#[derive(Clone, Copy, Default)]
struct Spent {
    data: Duration,
    forward: Duration,
    backward: Duration,
    optimizer: Duration,
    operations: f64,
}

impl Spent {
    fn total(&self) -> Duration {
        self.data + self.forward + self.backward + self.optimizer
    }

    fn add(&mut self, other: &Self) {
        self.data += other.data;
        self.forward += other.forward;
        self.backward += other.backward;
        self.optimizer += other.optimizer;
        self.operations += other.operations;
    }
}

/// A model in training.
struct Bench {
    config: Config,
    model: DistilBertForSequenceClassification,
    optimizer: Optimizer,
    examples: Vec<Vec<u32>>,
    arguments: TrainingArguments,
    compute: Kind,
    step: u64,
}

impl Bench {
    fn new(dim: i64, heads: i64, compute: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            r#"{{"model_type": "distilbert", "vocab_size": {VOCABULARY}, "max_position_embeddings": 512, "dim": {dim},
                "hidden_dim": {}, "n_layers": 6, "n_heads": {heads}, "activation": "gelu", "dropout": 0.1,
                "attention_dropout": 0.1, "seq_classif_dropout": 0.2, "pad_token_id": 0}}"#,
            4 * dim
        );
        fs::write(directory.path().join("config.json"), text).unwrap();
        let config = Config::read(directory.path()).unwrap();
        let parameters = Parameters::random(&config, CLASSES, 1, Kind::Float).unwrap();
        for tensor in parameters.tensors() {
            let _same = tensor.set_requires_grad(true);
        }
        Self {
            model: DistilBertForSequenceClassification::load(&parameters, &config, Some(0), compute),
            optimizer: Optimizer::new(&parameters).unwrap(),
            examples: (0..64).map(|i| sentence(i, *LENGTHS.get(i % 16).unwrap())).collect(),
            arguments: TrainingArguments::default(),
            config,
            compute,
            step: 0,
        }
    }

    fn step(&mut self) -> Spent {
        let first = (self.step as usize * BATCH) % self.examples.len();
        let examples: Vec<Example> = self.examples[first..first + BATCH]
            .iter()
            .enumerate()
            .map(|(i, tokens)| Example { tokens, label: (i % CLASSES) as u32 })
            .collect();
        let dropout = Dropout { rates: self.config.rates, seed: 42, step: self.step };
        self.step += 1;
        let mut spent = Spent { operations: operations(&self.config, &examples), ..Spent::default() };
        let mut began = clock::now();
        let mut lap = || {
            let now = clock::now();
            now - std::mem::replace(&mut began, now)
        };
        let batch = Batch::new(&examples, 0, Device::Cpu, Kind::Float).unwrap();
        spent.data = lap();
        self.optimizer.clear().unwrap();
        spent.optimizer = lap();
        let logits = self.model.forward(&batch, Some(&dropout)).unwrap();
        let loss = logits.cross_entropy_loss(&batch.labels, None::<Tensor>, Reduction::Mean, -100, 0.0);
        spent.forward = lap();
        loss.backward();
        spent.backward = lap();
        let _norm = self.optimizer.step(5e-5, &self.arguments).unwrap();
        spent.optimizer += lap();
        spent
    }

    /// GFLOP/s of the feed-forward's two products with nothing around them, the best of some rounds.
    fn plain_product(&self) -> f64 {
        let rows = LENGTHS.iter().sum::<usize>() as i64;
        let (dim, hidden) = (self.config.dim, self.config.hidden_dim);
        let of = |shape: [i64; 2]| Tensor::randn(shape, (self.compute, Device::Cpu));
        let (input, wide, up, down) =
            (of([rows, dim]), of([rows, hidden]), of([hidden, dim]).tr(), of([dim, hidden]).tr());
        let best = (0..12)
            .map(|_| {
                let began = clock::now();
                let _products = (input.matmul(&up), wide.matmul(&down));
                began.elapsed()
            })
            .min()
            .unwrap();
        4.0 * (rows * dim * hidden) as f64 / best.as_secs_f64() / 1e9
    }
}

/// Lengths of sixteen texts of the sample, special tokens included: 25 mean.
const LENGTHS: [usize; 16] = [9, 31, 18, 40, 22, 14, 27, 36, 20, 11, 29, 24, 45, 16, 33, 25];

fn sentence(number: usize, length: usize) -> Vec<u32> {
    (0..length).map(|i| 1 + ((number * 131 + i * 977) as u32 % (VOCABULARY as u32 - 1))).collect()
}

/// Floating-point operations of a step in products of matrices, of the real tokens alone and as the model computes
/// them: the last layer's queries, output and feed-forward for one token an example. Backward has twice as many.
fn operations(config: &Config, examples: &[Example]) -> f64 {
    let (dim, hidden) = (config.dim as f64, config.hidden_dim as f64);
    let lengths = examples.iter().map(|example| example.tokens.len() as f64);
    let (tokens, squares): (f64, f64) =
        lengths.fold((0.0, 0.0), |(tokens, squares), n| (tokens + n, squares + n * n));
    let texts = examples.len() as f64;
    let per_row = |rows: f64| 2.0 * rows * (2.0 * dim * dim + 2.0 * dim * hidden);
    let keys_and_values = 4.0 * tokens * dim * dim;
    let full = per_row(tokens) + keys_and_values + 4.0 * squares * dim;
    let last = per_row(texts) + keys_and_values + 4.0 * tokens * dim;
    let head = 2.0 * texts * dim * (dim + CLASSES as f64);
    3.0 * ((config.n_layers - 1) as f64 * full + last + head)
}

fn main() {
    if let Ok(threads) = env::var("DISTILSWEEP_BENCH_THREADS") {
        tch::set_num_threads(threads.parse().unwrap());
    }
    distilsweep_native::keep_freed_memory();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(2))
        .measurement_time(Duration::from_secs(8))
        .configure_from_args();
    let mut lines = Vec::new();
    for (shape, dim, heads) in [("base", 768, 12), ("minilm", 384, 12)] {
        for (precision, compute) in [("fp32", Kind::Float), ("bf16", Kind::BFloat16)] {
            let mut spent = Spent::default();
            let mut peak = 0.0;
            let mut steps = 0;
            criterion.bench_with_input(BenchmarkId::new(shape, precision), &(), |bencher, ()| {
                let mut bench = Bench::new(dim, heads, compute);
                bencher.iter_custom(|times| {
                    let mut all = Spent::default();
                    (0..times).for_each(|_| all.add(&bench.step()));
                    spent.add(&all);
                    steps += times;
                    all.total()
                });
                peak = f64::max(peak, bench.plain_product());
            });
            if steps > 0 {
                lines.push(line(&format!("{shape}/{precision}"), &spent, steps, peak));
            }
        }
    }
    println!(
        "\n{} threads       ms a step  forward  backward  optimizer  data  GFLOP/s  plain product  share",
        tch::get_num_threads()
    );
    lines.iter().for_each(|line| println!("{line}"));
    criterion.final_summary();
}

fn line(name: &str, spent: &Spent, steps: u64, peak: f64) -> String {
    let total = spent.total().as_secs_f64();
    let share = |part: Duration| 100.0 * part.as_secs_f64() / total;
    let reached = spent.operations / total / 1e9;
    format!(
        "{name:16}{:13.1}{:8.0} %{:8.0} %{:9.0} %{:4.1} %{reached:9.1}{peak:15.1}{:5.0} %",
        1e3 * total / steps as f64,
        share(spent.forward),
        share(spent.backward),
        share(spent.optimizer),
        share(spent.data),
        100.0 * reached / peak,
    )
}
