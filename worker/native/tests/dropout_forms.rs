//! Both forms of keyed dropout, bit for bit. A CUDA device runs the tensor form alone; here it runs on the CPU.

use distilsweep_native::{
    DropoutForm, DropoutKey, dropout_attention, dropout_attention_by, dropout_rows, dropout_rows_by,
};
use tch::{Device, Kind, Tensor};

const KINDS: [Kind; 3] = [Kind::Float, Kind::Double, Kind::BFloat16];
/// Around the wrapping of the sums and products, besides ordinary ones.
const KEYS: [DropoutKey; 5] = [
    DropoutKey { seed: 42, site: 3, step: 7 },
    DropoutKey { seed: 0, site: 0, step: 0 },
    DropoutKey { seed: u64::MAX, site: 13, step: 1_000_000 },
    DropoutKey { seed: 1 << 63, site: 1, step: u64::MAX },
    DropoutKey { seed: 0x9e37_79b9_7f4a_7c15, site: 6, step: i64::MAX as u64 },
];
const RATES: [f64; 5] = [0.0, 0.1, 0.5, 0.9, 1.0 - f64::EPSILON];

/// Bytes of a tensor's elements: equal bits, where even a zero's sign counts.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn bits(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel()).unwrap();
    bytes
}

/// Numbers of both signs, none alike and none zero, that no kind holds without rounding after scaling.
fn input(shape: &[i64], kind: Kind) -> Tensor {
    let count: i64 = shape.iter().product();
    let numbers = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.37 + 0.19;
    numbers.sin().reshape(shape).to_kind(kind)
}

/// Output and gradient, the latter of a sum weighted differently at every unit.
fn both(input: &Tensor, dropout: impl Fn(&Tensor) -> Tensor) -> [Vec<u8>; 2] {
    let leaf = input.copy().set_requires_grad(true);
    let output = dropout(&leaf);
    let weights = input.cos();
    (&output * &weights).sum(Kind::Double).backward();
    [bits(&output), bits(&leaf.grad())]
}

/// Example and position numbers that are neither dense nor in order.
fn numbers(count: i64) -> (Tensor, Tensor) {
    let (examples, positions): (Vec<i64>, Vec<i64>) = (0..count).map(|i| (i * 7 % 5, i * 11 % 64)).unzip();
    (Tensor::from_slice(&examples), Tensor::from_slice(&positions))
}

#[test]
fn rows_are_dropped_alike_by_loop_and_tensors() {
    for shape in [[1, 1], [1, 2], [3, 1], [2, 33], [17, 64], [5, 769], [0, 8]] {
        let (examples, positions) = numbers(shape[0]);
        for kind in KINDS {
            let input = input(&shape, kind);
            for key in KEYS {
                for p in RATES {
                    let by = |form| {
                        both(&input, |x| dropout_rows_by(form, x, &examples, &positions, key, p).unwrap())
                    };
                    let looped = by(DropoutForm::Loop);
                    assert!(looped == by(DropoutForm::Tensors), "{shape:?} {kind:?} {key:?} {p}");
                    let default = both(&input, |x| dropout_rows(x, &examples, &positions, key, p).unwrap());
                    assert!(looped == default, "a CPU does not loop at {shape:?} {kind:?} {key:?} {p}");
                }
            }
        }
    }
}

#[test]
fn attention_is_dropped_alike_by_loop_and_tensors() {
    for shape in [[1, 1, 1, 1], [2, 3, 4, 4], [3, 2, 1, 9], [2, 12, 17, 17], [1, 4, 31, 32]] {
        let (examples, _) = numbers(shape[0]);
        for kind in KINDS {
            let input = input(&shape, kind);
            for key in KEYS {
                for p in RATES {
                    let by =
                        |form| both(&input, |x| dropout_attention_by(form, x, &examples, key, p).unwrap());
                    let looped = by(DropoutForm::Loop);
                    assert!(looped == by(DropoutForm::Tensors), "{shape:?} {kind:?} {key:?} {p}");
                    let default = both(&input, |x| dropout_attention(x, &examples, key, p).unwrap());
                    assert!(looped == default, "a CPU does not loop at {shape:?} {kind:?} {key:?} {p}");
                }
            }
        }
    }
}

/// Guards the comparison above against two forms that agree because neither drops anything.
#[test]
fn the_tensor_form_drops_its_share_and_its_seed_matters() {
    let (examples, positions) = numbers(200);
    let ones = Tensor::ones([200, 501], (Kind::Float, Device::Cpu));
    let dropped = |seed| {
        let key = DropoutKey { seed, site: 1, step: 2 };
        dropout_rows_by(DropoutForm::Tensors, &ones, &examples, &positions, key, 0.1).unwrap().eq(0.0)
    };
    let (one, other) = (dropped(1), dropped(2));
    let share = f64::try_from(one.to_kind(Kind::Double).mean(Kind::Double)).unwrap();
    // Three standard errors of a share of 0.1 among 100,200 draws.
    assert!((share - 0.1).abs() < 3.0 * (0.09f64 / 100_200.0).sqrt(), "{share}");
    assert_ne!(bits(&one), bits(&other));
}

#[test]
fn what_is_dropped_is_zero_whatever_it_was() {
    let (examples, positions) = numbers(4);
    let key = DropoutKey { seed: 1, site: 2, step: 3 };
    for hostile in [f64::INFINITY, f64::NAN, -1.0] {
        for kind in KINDS {
            let input = Tensor::full([4, 65], hostile, (kind, Device::Cpu));
            let by = |form| dropout_rows_by(form, &input, &examples, &positions, key, 0.5).unwrap();
            let (looped, tensors) = (by(DropoutForm::Loop), by(DropoutForm::Tensors));
            // Not the bits: how a NaN is written is up to the instruction that made it.
            assert_eq!(bits(&looped.eq(0.0)), bits(&tensors.eq(0.0)), "{hostile} {kind:?}");
            let zeros = i64::try_from(tensors.eq(0.0).sum(Kind::Int64)).unwrap();
            assert!((65..195).contains(&zeros), "{zeros} of 260 are zero");
        }
    }
}

#[test]
fn views_and_padded_layouts_are_dropped_as_their_copies() {
    let key = DropoutKey { seed: 1, site: 2, step: 3 };
    let (examples, _) = numbers(3);
    let transposed = input(&[3, 5, 2, 5], Kind::Float).transpose(1, 2);
    for form in [DropoutForm::Loop, DropoutForm::Tensors] {
        let drop = |x: &Tensor| dropout_attention_by(form, x, &examples, key, 0.3).unwrap();
        assert_eq!(bits(&drop(&transposed)), bits(&drop(&transposed.contiguous())), "{form:?}");
    }
}

#[test]
fn a_rate_of_one_and_missing_positions_are_errors_in_both_forms() {
    let (examples, positions) = numbers(3);
    let key = DropoutKey { seed: 1, site: 2, step: 3 };
    let rows = input(&[3, 4], Kind::Float);
    for form in [DropoutForm::Loop, DropoutForm::Tensors] {
        let rate = dropout_rows_by(form, &rows, &examples, &positions, key, 1.0).unwrap_err().to_string();
        assert!(rate.contains("dropout rate is 1, it must be at least 0 and below 1"), "{rate}");
        let fewer = dropout_rows_by(form, &rows, &examples, &positions.narrow(0, 0, 2), key, 0.1);
        let fewer = fewer.unwrap_err().to_string();
        assert!(fewer.contains("3 examples and 2 positions"), "{fewer}");
        let rows = input(&[4, 4], Kind::Float);
        let more = dropout_rows_by(form, &rows, &examples, &positions, key, 0.1).unwrap_err().to_string();
        assert!(more.contains("3 keys for 4 rows"), "{more}");
    }
}
