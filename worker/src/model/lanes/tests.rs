//! Lanes of one pass against each lane alone through the plain kernels.

use distilsweep_native::{AdamW, clear_gradients, fused_adamw};
use tch::{Device, Kind, Reduction, Tensor};

use super::{LaneBatch, LaneStack};
use crate::model::{
    Activation, Batch, Config, DistilBertForSequenceClassification, Dropout, Example, Parameters, Rates,
    config::Family,
};

const CLASSES: usize = 3;
const PADDING: Option<i64> = Some(0);

fn config() -> Config {
    Config {
        vocab_size: 23,
        max_position_embeddings: 12,
        dim: 12,
        hidden_dim: 20,
        n_layers: 3,
        n_heads: 3,
        activation: Activation::Gelu,
        rates: Rates::uniform(0.1),
        pad_token_id: PADDING,
        family: Family::DistilBert,
    }
}

/// A trained model of the tiny shape: fresh weights are too small to make attention depend on what it sees.
fn model(seed: u64, kind: Kind) -> Parameters {
    let parameters = Parameters::random(&config(), CLASSES, seed, kind).unwrap();
    for tensor in parameters.tensors() {
        let count = tensor.numel() as i64;
        let waves = (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 1.7 + seed as f64).sin() * 0.1;
        let mut tensor = tensor.shallow_clone();
        let _sum = tensor.f_add_(&(waves.reshape(tensor.size()).to_kind(kind))).unwrap();
    }
    parameters
}

/// Texts of a lane: of different lengths, with repeated tokens and some that get no gradient.
fn texts(lane: usize, count: usize) -> Vec<(Vec<u32>, u32)> {
    let text = |i: usize| {
        let length = 1 + (5 * i + 3 * lane) % 11;
        let tokens = (0..length).map(|j| ((7 * i + j * j + 5 * lane) % 23) as u32).collect();
        (tokens, ((i + lane) % CLASSES) as u32)
    };
    (0..count).map(text).collect()
}

fn examples(texts: &[(Vec<u32>, u32)]) -> Vec<Example<'_>> {
    texts.iter().map(|(tokens, label)| Example { tokens, label: *label }).collect()
}

/// The share of lane number `lane`: everything that lanes may differ in differs.
fn share(texts: &[(Vec<u32>, u32)], lane: usize) -> LaneBatch<'_> {
    let rate = |number: usize| [0.0, 0.1, 0.5, 0.3][(lane + number) % 4];
    let rates = Rates { hidden: rate(0), attention: rate(1), classifier: rate(2) };
    LaneBatch {
        examples: examples(texts),
        offset: lane % 3,
        dropout: (lane % 5 != 4).then_some(Dropout { rates, seed: 42 + lane as u64, step: 3 * lane as u64 }),
        weights: (0..texts.len()).map(|i| (1.0 + i as f64 / 4.0) / texts.len() as f64).collect(),
        smoothing: [0.0, 0.1, 0.3][lane % 3],
    }
}

fn train(parameters: &Parameters) {
    for tensor in parameters.tensors() {
        let _same = tensor.set_requires_grad(true);
    }
}

/// The loss and gradients of a lane alone.
fn alone(parameters: &Parameters, share: &LaneBatch, compute: Kind) -> (f64, Vec<Tensor>) {
    let parameters = parameters.copied(Device::Cpu).unwrap();
    train(&parameters);
    let kind = parameters.tensors()[0].kind();
    let model = DistilBertForSequenceClassification::load(&parameters, &config(), PADDING, compute);
    let batch = Batch::new(&share.examples, share.offset, Device::Cpu, kind).unwrap();
    let logits = model.forward(&batch, share.dropout.as_ref()).unwrap();
    let losses =
        logits.cross_entropy_loss(&batch.labels, None::<Tensor>, Reduction::None, -100, share.smoothing);
    let loss = (losses * Tensor::from_slice(&share.weights).to_kind(kind)).sum(kind);
    loss.backward();
    (f64::try_from(loss.detach()).unwrap(), gradients(&parameters))
}

fn gradients(parameters: &Parameters) -> Vec<Tensor> {
    parameters.tensors().iter().map(|tensor| tensor.grad().copy()).collect()
}

fn bits(tensors: &[Tensor]) -> Vec<Vec<f64>> {
    tensors.iter().map(|tensor| Vec::try_from(tensor.to_kind(Kind::Double).reshape([-1])).unwrap()).collect()
}

/// Largest difference, as a part of the largest of all gradients.
fn distance(parameters: &Parameters, expected: &[Tensor]) -> f64 {
    let largest = |tensors: &mut dyn Iterator<Item = Tensor>| {
        tensors
            .map(|tensor| f64::try_from(tensor.abs().max()).unwrap())
            // Unlike f64::max this keeps a NaN.
            .fold(0.0, |a, b| if b <= a { a } else { b })
    };
    let differences = largest(&mut gradients(parameters).iter().zip(expected).map(|(a, b)| a - b));
    differences / largest(&mut expected.iter().map(Tensor::shallow_clone))
}

struct Pack {
    texts: Vec<Vec<(Vec<u32>, u32)>>,
    parameters: Vec<Parameters>,
}

impl Pack {
    /// Lanes with so many examples each.
    fn new(counts: &[usize], kind: Kind) -> Self {
        let texts = counts.iter().enumerate().map(|(lane, count)| texts(lane, *count)).collect();
        let parameters: Vec<Parameters> = (0..counts.len()).map(|lane| model(lane as u64, kind)).collect();
        parameters.iter().for_each(train);
        Self { texts, parameters }
    }

    fn stack(&self, compute: Kind) -> LaneStack {
        let lanes: Vec<&Parameters> = self.parameters.iter().collect();
        LaneStack::new(&lanes, &config(), PADDING, compute).unwrap()
    }

    fn shares(&self) -> Vec<LaneBatch<'_>> {
        self.texts.iter().enumerate().map(|(lane, texts)| share(texts, lane)).collect()
    }

    /// Compares a pass of the stack with each lane alone.
    fn check(&self, shares: &[LaneBatch], compute: Kind, tolerance: f64) {
        let expected: Vec<_> = self
            .parameters
            .iter()
            .zip(shares)
            .map(|(parameters, share)| {
                (!share.examples.is_empty()).then(|| alone(parameters, share, compute))
            })
            .collect();
        let losses = self.stack(compute).backward(shares).unwrap();
        for (lane, expected) in expected.iter().enumerate() {
            let loss = f64::try_from(&losses[lane]).unwrap();
            let Some((expected_loss, expected)) = expected else {
                assert_eq!(loss, 0.0);
                assert!(self.parameters[lane].tensors().iter().all(|tensor| !tensor.grad().defined()));
                continue;
            };
            let difference = (loss - expected_loss).abs() / expected_loss.abs();
            assert!(difference <= tolerance, "lane {lane}: loss {loss}, alone {expected_loss}");
            let distance = distance(&self.parameters[lane], expected);
            assert!(distance <= tolerance, "lane {lane}: gradients differ by {distance:e}");
        }
    }
}

#[test]
fn every_lane_has_the_loss_and_gradients_that_it_has_alone() {
    for counts in [&[4, 4][..], &[5, 3, 6], &[1, 4, 2, 3], &[3], &[2, 5, 1, 4, 4, 2, 3]] {
        let pack = Pack::new(counts, Kind::Double);
        pack.check(&pack.shares(), Kind::Double, 1e-12);
    }
}

#[test]
fn lanes_without_dropout_or_padding_need_neither() {
    let pack = Pack::new(&[0, 0], Kind::Double);
    let texts = [vec![(vec![3, 4, 5], 0), (vec![9, 1, 9], 2)], vec![(vec![8, 8, 2], 1), (vec![1, 2, 3], 0)]];
    let shares: Vec<LaneBatch> =
        texts.iter().map(|texts| LaneBatch { dropout: None, ..share(texts, 0) }).collect();
    pack.check(&shares, Kind::Double, 1e-12);
}

#[test]
fn an_empty_lane_is_left_as_it_is() {
    let pack = Pack::new(&[3, 0, 4], Kind::Double);
    pack.check(&pack.shares(), Kind::Double, 1e-12);
    let none = Pack::new(&[0, 0], Kind::Double);
    none.check(&none.shares(), Kind::Double, 1e-12);
}

#[test]
fn single_precision_and_bfloat16_stay_as_close_as_their_rounding() {
    let pack = Pack::new(&[5, 3, 6, 2], Kind::Float);
    pack.check(&pack.shares(), Kind::Float, 1e-5);
    let pack = Pack::new(&[5, 3, 6, 2], Kind::Float);
    pack.check(&pack.shares(), Kind::BFloat16, 3e-2);
}

#[test]
fn a_lane_that_is_not_finite_any_more_leaves_every_bit_of_the_others() {
    let run = |broken: bool| {
        let pack = Pack::new(&[4, 3, 5], Kind::Float);
        if broken {
            let _guard = tch::no_grad_guard();
            for name in ["distilbert.embeddings.word_embeddings.weight", "classifier.bias"] {
                let _filled = pack.parameters[1].get(name).shallow_clone().fill_(f64::NAN);
            }
        }
        let losses = pack.stack(Kind::Float).backward(&pack.shares()).unwrap();
        let losses: Vec<f64> = losses.iter().map(|loss| f64::try_from(loss).unwrap()).collect();
        let gradients: Vec<_> =
            pack.parameters.iter().map(|parameters| bits(&gradients(parameters))).collect();
        (losses, gradients)
    };
    let ((losses, gradients), (broken_losses, broken_gradients)) = (run(false), run(true));
    assert!(broken_losses[1].is_nan() && losses[1].is_finite());
    assert!(broken_gradients[1].iter().flatten().any(|x| x.is_nan()), "the lane diverged");
    for lane in [0, 2] {
        assert_eq!(losses[lane], broken_losses[lane]);
        assert!(gradients[lane] == broken_gradients[lane], "lane {lane} is touched");
    }
}

#[test]
fn an_aborted_pass_leaves_no_gradient_to_the_next() {
    let run = |aborted: bool| {
        let pack = Pack::new(&[4, 3], Kind::Double);
        let stack = pack.stack(Kind::Double);
        if aborted {
            // What a backward pass has done when memory ends before the last leaf.
            let (_, reached) = stack.leaves.split_first().unwrap();
            reached.iter().for_each(|leaf| (leaf * 1e3).sum(Kind::Double).backward());
            assert!(reached.iter().all(|leaf| leaf.grad().defined()), "the aborted pass left gradients");
        }
        stack.backward(&pack.shares()).unwrap();
        pack.parameters.iter().map(|parameters| bits(&gradients(parameters))).collect::<Vec<_>>()
    };
    assert!(run(true) == run(false), "the retried step has other gradients than an undisturbed one");
}

#[test]
fn micro_batches_add_up_even_where_lanes_are_cut_differently() {
    let pack = Pack::new(&[6, 5], Kind::Double);
    let whole: Vec<LaneBatch> = pack.shares();
    let expected: Vec<_> = pack
        .parameters
        .iter()
        .zip(&whole)
        .map(|(parameters, share)| alone(parameters, share, Kind::Double))
        .collect();
    let stack = pack.stack(Kind::Double);
    let mut losses = [0.0, 0.0];
    for cuts in [[(0, 2), (0, 4)], [(2, 4), (4, 5)], [(4, 6), (5, 5)]] {
        let shares: Vec<LaneBatch> = whole
            .iter()
            .zip(cuts)
            .map(|(share, (from, to))| LaneBatch {
                examples: share.examples[from..to].to_vec(),
                weights: share.weights[from..to].to_vec(),
                offset: share.offset + from,
                ..share.clone()
            })
            .collect();
        for (sum, loss) in losses.iter_mut().zip(stack.backward(&shares).unwrap()) {
            *sum += f64::try_from(loss).unwrap();
        }
    }
    for (lane, (loss, gradients)) in expected.iter().enumerate() {
        assert!((losses[lane] - loss).abs() < 1e-12);
        assert!(distance(&pack.parameters[lane], gradients) < 1e-12);
    }
}

/// Plain descent in the place of an optimizer, on whatever storage the tensors have.
fn descend(parameters: &[Tensor]) {
    let moments = || parameters.iter().map(|tensor| tensor.detach().zeros_like()).collect::<Vec<_>>();
    let constants =
        AdamW { step: 1, learning_rate: 0.01, beta1: 0.9, beta2: 0.999, weight_decay: 0.1, epsilon: 1e-2 };
    fused_adamw(parameters, &moments(), &moments(), constants, None).unwrap();
    clear_gradients(parameters).unwrap();
}

#[test]
fn lanes_go_on_by_their_own_optimizers_and_in_another_stack_when_one_has_left() {
    let pack = Pack::new(&[3, 4, 2], Kind::Double);
    let solo: Vec<Parameters> =
        pack.parameters.iter().map(|parameters| parameters.copied(Device::Cpu).unwrap()).collect();
    solo.iter().for_each(train);
    // As an optimizer holds them: made before the stack, of the same tensors.
    let held: Vec<Vec<Tensor>> = pack
        .parameters
        .iter()
        .map(|parameters| parameters.tensors().iter().map(Tensor::shallow_clone).collect())
        .collect();
    let shares = pack.shares();
    let mut stack = pack.stack(Kind::Double);
    let mut lanes = vec![0, 1, 2];
    for step in 0..4 {
        if step == 2 {
            lanes.remove(1);
            let left: Vec<&Parameters> = lanes.iter().map(|lane| &pack.parameters[*lane]).collect();
            stack = LaneStack::new(&left, &config(), PADDING, Kind::Double).unwrap();
        }
        let current: Vec<LaneBatch> = lanes.iter().map(|lane| shares[*lane].clone()).collect();
        stack.backward(&current).unwrap();
        for lane in &lanes {
            let (_, gradients) = alone(&solo[*lane], &shares[*lane], Kind::Double);
            assert!(distance(&pack.parameters[*lane], &gradients) < 1e-10, "step {step}, lane {lane}");
            descend_by(&solo[*lane], &gradients);
            descend(&held[*lane]);
        }
    }
    for (lane, alone) in solo.iter().enumerate() {
        let differences = pack.parameters[lane].tensors().iter().zip(alone.tensors());
        for (name, (a, b)) in pack.parameters[lane].names().iter().zip(differences) {
            let difference = f64::try_from((a.detach() - b.detach()).abs().max()).unwrap();
            assert!(difference < 1e-10, "lane {lane}: {name} differs by {difference:e}");
        }
    }
}

/// [`descend`] with these gradients.
fn descend_by(parameters: &Parameters, gradients: &[Tensor]) {
    for (tensor, gradient) in parameters.tensors().iter().zip(gradients) {
        (tensor * gradient).sum(tensor.kind()).backward();
    }
    descend(parameters.tensors());
}

#[test]
fn lanes_of_different_shapes_are_refused() {
    let (one, mut other) = (model(1, Kind::Double), model(2, Kind::Double));
    other.replace("classifier.bias", Tensor::zeros([CLASSES as i64 + 1], (Kind::Double, Device::Cpu)));
    let error = LaneStack::new(&[&one, &other], &config(), PADDING, Kind::Double).unwrap_err();
    assert!(error.to_string().contains("equal size"), "{error}");
}
