//! What several trials share in one call against what each does alone, bit for bit.

use distilsweep_native::{
    DropoutForm, DropoutKey, LaneDropout, dropout_attention, dropout_lane_attention_by, dropout_lane_rows_by,
    dropout_rows, dropout_threshold, give_gradients, lane_linear, share_storage,
};
use tch::{Device, Kind, Tensor};

const KINDS: [Kind; 3] = [Kind::Float, Kind::Double, Kind::BFloat16];
const FORMS: [DropoutForm; 2] = [DropoutForm::Loop, DropoutForm::Tensors];
/// Of trials side by side: one that drops nothing among them, and numbers around the wrapping of sums and products.
const LANES: [(DropoutKey, f64); 5] = [
    (DropoutKey { seed: 42, site: 3, step: 7 }, 0.1),
    (DropoutKey { seed: 43, site: 3, step: 0 }, 0.0),
    (DropoutKey { seed: u64::MAX, site: 3, step: u64::MAX }, 0.5),
    (DropoutKey { seed: 1 << 63, site: 3, step: 7 }, 0.9),
    (DropoutKey { seed: 42, site: 3, step: 8 }, 1.0 - f64::EPSILON),
];

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
    (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.37 + 0.19).sin().reshape(shape).to_kind(kind)
}

/// Output and gradient, the latter of a sum weighted differently at every unit.
fn both(input: &Tensor, dropout: impl Fn(&Tensor) -> Tensor) -> [Tensor; 2] {
    let leaf = input.copy().set_requires_grad(true);
    let output = dropout(&leaf);
    (&output * input.cos()).sum(Kind::Double).backward();
    [output.detach(), leaf.grad()]
}

fn numbers(shape: &[i64], factor: i64, modulus: i64) -> Tensor {
    let count: i64 = shape.iter().product();
    let list: Vec<i64> = (0..count).map(|i| i * factor % modulus).collect();
    Tensor::from_slice(&list).reshape(shape)
}

/// Streams, thresholds and scales of the trials that `lanes` number.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn drops(lanes: &[usize], kind: Kind) -> [Tensor; 3] {
    let streams: Vec<i64> = lanes.iter().map(|lane| LANES[*lane].0.stream()).collect();
    let (thresholds, scales): (Vec<i64>, Vec<f64>) =
        lanes.iter().map(|lane| dropout_threshold(LANES[*lane].1).unwrap()).unzip();
    let wide = if kind == Kind::Double { Kind::Double } else { Kind::Float };
    [
        Tensor::from_slice(&streams),
        Tensor::from_slice(&thresholds).to_kind(Kind::Int),
        Tensor::from_slice(&scales).to_kind(wide),
    ]
}

#[test]
fn rows_of_trials_side_by_side_are_dropped_as_each_trial_s_alone() {
    for shape in [[5, 1, 1], [5, 3, 2], [5, 4, 33], [5, 2, 64]] {
        for kind in KINDS {
            let input = input(&shape, kind);
            let (examples, positions) = (numbers(&shape[..2], 7, 5), numbers(&shape[..2], 11, 64));
            let [streams, thresholds, scales] = drops(&[0, 1, 2, 3, 4], kind);
            let lanes = LaneDropout { streams: &streams, thresholds: &thresholds, scales: &scales };
            for form in FORMS {
                let together =
                    both(&input, |x| dropout_lane_rows_by(form, x, &examples, &positions, &lanes).unwrap());
                for (i, (key, p)) in LANES.into_iter().enumerate() {
                    let lane = i as i64;
                    let (examples, positions) = (examples.get(lane), positions.get(lane));
                    let alone =
                        both(&input.get(lane), |x| dropout_rows(x, &examples, &positions, key, p).unwrap());
                    for (together, alone) in together.iter().zip(&alone) {
                        assert!(bits(&together.get(lane)) == bits(alone), "{shape:?} {kind:?} {form:?} {i}");
                    }
                }
            }
        }
    }
}

#[test]
fn attention_of_trials_side_by_side_is_dropped_as_each_trial_s_alone() {
    // Trials of two, one and three examples.
    let owners = [0, 0, 2, 3, 3, 3, 1];
    for shape in [[7, 2, 5, 5], [7, 3, 1, 6], [7, 1, 9, 8]] {
        for kind in KINDS {
            let input = input(&shape, kind);
            let examples = numbers(&[7], 3, 7);
            let [streams, thresholds, scales] = drops(&owners, kind);
            let lanes = LaneDropout { streams: &streams, thresholds: &thresholds, scales: &scales };
            for form in FORMS {
                let together =
                    both(&input, |x| dropout_lane_attention_by(form, x, &examples, &lanes).unwrap());
                for (i, owner) in owners.into_iter().enumerate() {
                    let (key, p) = LANES[owner];
                    let number = examples.narrow(0, i as i64, 1);
                    let alone = both(&input.narrow(0, i as i64, 1), |x| {
                        dropout_attention(x, &number, key, p).unwrap()
                    });
                    for (together, alone) in together.iter().zip(&alone) {
                        let together = together.narrow(0, i as i64, 1);
                        assert!(bits(&together) == bits(alone), "{shape:?} {kind:?} {form:?} {i}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_rate_of_one_and_numbers_that_do_not_agree_are_errors() {
    let error = dropout_threshold(1.0).unwrap_err().to_string();
    assert!(error.contains("dropout rate is 1, it must be at least 0 and below 1"), "{error}");
    let [streams, thresholds, scales] = drops(&[0, 1], Kind::Float);
    let lanes = LaneDropout { streams: &streams, thresholds: &thresholds, scales: &scales };
    let (rows, numbers) = (input(&[3, 2, 4], Kind::Float), numbers(&[3, 2], 1, 6));
    for form in FORMS {
        let error = dropout_lane_rows_by(form, &rows, &numbers, &numbers, &lanes).unwrap_err().to_string();
        assert!(error.contains("[2] streams"), "{error}");
    }
}

#[test]
fn a_linear_layer_a_lane_is_each_lane_s_with_its_gradients() {
    let leaf = |shape: &[i64]| input(shape, Kind::Double).set_requires_grad(true);
    let parts = [leaf(&[3, 4, 5]), leaf(&[3, 2, 5]), leaf(&[3, 2])];
    let output = lane_linear(&parts[0], &parts[1], &parts[2]).unwrap();
    (&output * input(&[3, 4, 2], Kind::Double).cos()).sum(Kind::Double).backward();
    let together: Vec<Tensor> = parts.iter().map(Tensor::grad).collect();
    assert!(together[1].is_contiguous(), "the weights' gradient is in their layout");
    let alone = parts.each_ref().map(|part| part.detach().copy().set_requires_grad(true));
    let expected = alone[0].matmul(&alone[1].transpose(1, 2)) + alone[2].unsqueeze(1);
    (&expected * input(&[3, 4, 2], Kind::Double).cos()).sum(Kind::Double).backward();
    for (a, b) in together.iter().zip(alone.iter().map(Tensor::grad)) {
        assert!(f64::try_from((a - b).abs().max()).unwrap() < 1e-14);
    }
    assert!(f64::try_from((output - expected).abs().max()).unwrap() < 1e-14);
}

#[test]
fn a_parameter_in_shared_storage_is_updated_for_all_who_hold_it() {
    let parameter = input(&[2, 3], Kind::Float).set_requires_grad(true);
    let held = parameter.shallow_clone();
    let storage = input(&[4, 3], Kind::Float);
    share_storage(&parameter, &storage.narrow(0, 1, 2)).unwrap();
    assert_eq!(bits(&held), bits(&storage.narrow(0, 1, 2)));
    let _filled = tch::no_grad(|| parameter.shallow_clone().fill_(7.0));
    assert_eq!(bits(&storage.narrow(0, 1, 2)), bits(&held));
    assert!(held.requires_grad());
    let error = share_storage(&parameter, &storage).unwrap_err().to_string();
    assert!(error.contains("shape [2, 3] cannot be a view of shape [4, 3]"), "{error}");
}

#[test]
fn gradients_are_given_to_each_part_and_added_to_what_is_there() {
    let stack = input(&[2, 5, 3], Kind::Double).set_requires_grad(true);
    (&stack * input(&[2, 5, 3], Kind::Double)).sum(Kind::Double).backward();
    let parameters = [2, 3].map(|rows| input(&[rows, 3], Kind::Double).set_requires_grad(true));
    for times in 1..=2 {
        give_gradients(std::slice::from_ref(&stack), &[2], 1, &parameters).unwrap();
        let expected = input(&[2, 5, 3], Kind::Double).get(1) * f64::from(times);
        let given = Tensor::cat(&parameters.each_ref().map(Tensor::grad), 0);
        // The first time they are views of the stack's own gradient, which the second addition changes.
        if times == 1 {
            assert_eq!(bits(&given), bits(&expected));
        } else {
            assert_eq!(bits(&given), bits(&(input(&[2, 5, 3], Kind::Double).get(1) * 2.0)));
        }
    }
    let error = give_gradients(&[stack], &[3], 1, &parameters).unwrap_err().to_string();
    assert_eq!(error, "1 stacks of [3] parts have 2 parameters");
}
