//! The parts of a block in one pass against the separate operators: results, masks and gradients.
#![expect(clippy::unwrap_used, reason = "tests and their helpers")]

use distilsweep_native::{
    Drop, DropoutKey, Norm, Packed, attention, dropout_attention, dropout_rows, linear, residual_norm,
};
use tch::{Device, Kind, Tensor};

const DROP: Drop = Drop { key: DropoutKey { seed: 42, site: 5, step: 3 }, rate: 0.3 };
const LENGTHS: [i64; 4] = [5, 1, 17, 8];
const HEADS: i64 = 3;

/// Numbers of a fixed pattern, different for every `salt`, that ask for gradients.
fn leaf(shape: &[i64], salt: f64, kind: Kind) -> Tensor {
    let count = shape.iter().product::<i64>();
    let numbers = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.7 + salt;
    numbers.sin().reshape(shape).to_kind(kind).set_requires_grad(true)
}

/// The result weighted by a pattern and taken back to the leaves: their gradients.
fn gradients(result: &Tensor, leaves: &[&Tensor]) -> Vec<Tensor> {
    let weights = leaf(&result.size(), 9.0, Kind::Double).detach();
    (result.to_kind(Kind::Double) * weights).sum(Kind::Double).backward();
    leaves.iter().map(|leaf| leaf.grad().copy()).collect()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    f64::try_from((a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max()).unwrap()
}

fn integers(numbers: &[i64]) -> Tensor {
    Tensor::from_slice(numbers)
}

/// First rows of the examples, and their numbers in a step.
fn packing() -> (Tensor, Tensor) {
    let starts: Vec<i64> = (0..LENGTHS.len()).map(|i| LENGTHS[..i].iter().sum()).collect();
    (integers(&starts), integers(&[4, 5, 6, 7]))
}

/// Attention by libtorch's operators, one example after another.
fn separate(query: &Tensor, key: &Tensor, value: &Tensor, first_only: bool, drop: Option<Drop>) -> Tensor {
    let (starts, examples) = packing();
    let dim = key.size()[1];
    let parts: Vec<Tensor> = LENGTHS
        .iter()
        .enumerate()
        .map(|(i, length)| {
            let start = starts.int64_value(&[i as i64]);
            let heads = |rows: Tensor| rows.reshape([1, -1, HEADS, dim / HEADS]).transpose(1, 2);
            let (first, queries) = if first_only { (i as i64, 1) } else { (start, *length) };
            let query = heads(query.narrow(0, first, queries)) * (1.0 / ((dim / HEADS) as f64).sqrt());
            let (key, value) = (heads(key.narrow(0, start, *length)), heads(value.narrow(0, start, *length)));
            let mut weights = query.matmul(&key.transpose(2, 3)).softmax(-1, None::<Kind>);
            if let Some(drop) = drop {
                let number = examples.narrow(0, i as i64, 1);
                weights = dropout_attention(&weights, &number, drop.key, drop.rate).unwrap();
            }
            weights.matmul(&value).transpose(1, 2).reshape([-1, dim])
        })
        .collect();
    Tensor::cat(&parts, 0)
}

fn attention_differs_by(kind: Kind, head: i64, first_only: bool, drop: Option<Drop>) -> f64 {
    let total = LENGTHS.iter().sum::<i64>();
    let queries = if first_only { LENGTHS.len() as i64 } else { total };
    let dim = HEADS * head;
    let leaves = [(queries, 1.0), (total, 2.0), (total, 3.0)];
    let make = |kind| leaves.map(|(rows, salt)| leaf(&[rows, dim], salt, kind));
    let ours = make(kind);
    // The reference starts from the same numbers, rounded alike.
    let theirs = ours.each_ref().map(|leaf| leaf.detach().to_kind(Kind::Double).set_requires_grad(true));
    let (starts, examples) = packing();
    let packed = Packed { starts: &starts, examples: &examples, heads: HEADS };
    let result = attention(&ours[0], &ours[1], &ours[2], packed, drop).unwrap();
    let expected = separate(&theirs[0], &theirs[1], &theirs[2], first_only, drop);
    let found = gradients(&result, &ours.each_ref());
    let wanted = gradients(&expected, &theirs.each_ref());
    let differences = found.iter().zip(&wanted).map(|(a, b)| largest_difference(a, b));
    differences.fold(largest_difference(&result, &expected), f64::max)
}

#[test]
fn attention_over_rows_is_that_of_the_separate_operators_with_the_same_masks() {
    for drop in [None, Some(DROP)] {
        for first_only in [false, true] {
            // Widths that fill vectors, and one that does not.
            for head in [8, 10, 32] {
                for (kind, bound) in [(Kind::Double, 1e-13), (Kind::Float, 2e-5), (Kind::BFloat16, 0.1)] {
                    let difference = attention_differs_by(kind, head, first_only, drop);
                    assert!(difference < bound, "{kind:?} {head} {first_only} {drop:?}: {difference:e}");
                }
            }
        }
    }
}

#[test]
fn a_residual_s_layer_norm_is_that_of_the_separate_operators_with_the_same_masks() {
    let (count, width) = (37, 21);
    let examples = integers(&(0..count).map(|i| i / 5).collect::<Vec<_>>());
    let positions = integers(&(0..count).map(|i| i % 5).collect::<Vec<_>>());
    for drop in [None, Some(DROP)] {
        for (rows_kind, kind, bound) in [
            (Kind::Double, Kind::Double, 1e-12),
            (Kind::Float, Kind::Float, 2e-5),
            (Kind::BFloat16, Kind::Float, 0.1),
        ] {
            let ours = [
                leaf(&[count, width], 1.0, rows_kind),
                leaf(&[count, width], 2.0, kind),
                leaf(&[width], 3.0, kind),
                leaf(&[width], 4.0, kind),
            ];
            let theirs = ours.each_ref().map(|t| t.detach().to_kind(Kind::Double).set_requires_grad(true));
            let norm = Norm { weight: &ours[2], bias: &ours[3], epsilon: 1e-12 };
            let result = residual_norm(&ours[0], &ours[1], norm, &examples, &positions, drop).unwrap();
            let rows = match drop {
                Some(drop) => dropout_rows(&theirs[0], &examples, &positions, drop.key, drop.rate).unwrap(),
                None => theirs[0].shallow_clone(),
            };
            let sum = rows + &theirs[1];
            let expected = sum.layer_norm([width], Some(&theirs[2]), Some(&theirs[3]), 1e-12, false);
            let mut difference = largest_difference(&result, &expected);
            let wanted = gradients(&expected, &theirs.each_ref());
            for (a, b) in gradients(&result, &ours.each_ref()).iter().zip(&wanted) {
                difference = difference.max(largest_difference(a, b));
            }
            assert!(difference < bound, "{rows_kind:?} {drop:?}: {difference:e}");
        }
    }
}

#[test]
fn a_linear_layer_is_that_of_libtorch_and_its_gradients_come_in_the_weights_kind() {
    for (kind, compute, bound) in [
        (Kind::Double, Kind::Double, 1e-12),
        (Kind::Float, Kind::Float, 1e-4),
        (Kind::Float, Kind::BFloat16, 0.3),
    ] {
        let leaves = || [leaf(&[23, 40], 1.0, kind), leaf(&[50, 40], 2.0, kind), leaf(&[50], 3.0, kind)];
        let (ours, theirs) = (leaves(), leaves());
        let result = linear(&ours[0], &ours[1], &ours[2], compute).unwrap();
        assert_eq!(result.kind(), compute);
        let expected = theirs[0].linear(&theirs[1], Some(&theirs[2]));
        let mut difference = largest_difference(&result, &expected);
        let wanted = gradients(&expected, &theirs.each_ref());
        for (a, b) in gradients(&result, &ours.each_ref()).iter().zip(&wanted) {
            assert_eq!(a.kind(), kind);
            difference = difference.max(largest_difference(a, b));
        }
        assert!(difference < bound, "{compute:?}: {difference:e}");
    }
}

#[test]
fn rows_that_do_not_fit_are_refused_by_their_shapes() {
    let (starts, examples) = packing();
    let packed = Packed { starts: &starts, examples: &examples, heads: HEADS };
    let rows = |n| leaf(&[n, 12], 1.0, Kind::Float);
    let error = attention(&rows(9), &rows(31), &rows(31), packed, None).unwrap_err().to_string();
    assert!(error.contains("queries of shape [9, 12], keys of [31, 12]"), "{error}");
}
