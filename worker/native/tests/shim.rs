//! The shim against plain tensor arithmetic, and dropout against what its key promises.

use distilsweep_native::{
    AdamW, DropoutKey, clear_gradients, cuda_memory, cuda_model, dropout_attention, dropout_rows,
    fused_adamw, gather_rows, gradient_norm, scale_gradients, scatter_rows,
};
use tch::{Device, Kind, Tensor};

const KEY: DropoutKey = DropoutKey { seed: 42, site: 3, step: 7 };

fn ones(shape: &[i64]) -> Tensor {
    Tensor::ones(shape, (Kind::Float, Device::Cpu))
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).reshape([-1])).unwrap()
}

#[test]
fn dropout_keeps_the_mean_and_drops_its_share() {
    let (examples, positions) =
        (Tensor::zeros([400], (Kind::Int64, Device::Cpu)), Tensor::arange(400, (Kind::Int64, Device::Cpu)));
    let dropped = values(&dropout_rows(&ones(&[400, 501]), &examples, &positions, KEY, 0.1).unwrap());
    let share = dropped.iter().filter(|x| **x == 0.0).count() as f64 / dropped.len() as f64;
    // Three standard errors of a share of 0.1 among 200,400 draws.
    assert!((share - 0.1).abs() < 3.0 * (0.09f64 / 200_400.0).sqrt(), "{share}");
    assert!(dropped.iter().all(|x| *x == 0.0 || (*x - 1.0 / 0.9).abs() < 1e-6));
}

#[test]
fn a_unit_s_mask_depends_on_neither_the_other_rows_nor_their_order() {
    let rows = |numbers: &[(i64, i64)]| {
        let examples: Vec<i64> = numbers.iter().map(|n| n.0).collect();
        let positions: Vec<i64> = numbers.iter().map(|n| n.1).collect();
        dropout_rows(
            &ones(&[numbers.len() as i64, 33]),
            &Tensor::from_slice(&examples),
            &Tensor::from_slice(&positions),
            KEY,
            0.5,
        )
        .unwrap()
    };
    let all = rows(&[(0, 0), (0, 1), (1, 0), (1, 1)]);
    let some = rows(&[(1, 1), (0, 1)]);
    assert_eq!(values(&all.get(3)), values(&some.get(0)));
    assert_eq!(values(&all.get(1)), values(&some.get(1)));
    assert_ne!(values(&all.get(0)), values(&all.get(1)));
    assert_ne!(values(&all.get(1)), values(&all.get(2)));
}

#[test]
fn seed_site_and_step_each_change_the_mask() {
    let examples = Tensor::from_slice(&[0i64]);
    let masks: Vec<Vec<f64>> =
        [KEY, DropoutKey { seed: 43, ..KEY }, DropoutKey { site: 4, ..KEY }, DropoutKey { step: 8, ..KEY }]
            .into_iter()
            .map(|key| values(&dropout_rows(&ones(&[1, 256]), &examples, &examples, key, 0.5).unwrap()))
            .collect();
    for (i, a) in masks.iter().enumerate() {
        assert!(masks.iter().skip(i + 1).all(|b| a != b), "mask {i} comes twice");
    }
}

#[test]
fn attention_masks_do_not_depend_on_padding() {
    let examples = Tensor::from_slice(&[5i64, 6]);
    let short = dropout_attention(&ones(&[2, 3, 4, 4]), &examples, KEY, 0.3).unwrap();
    let long = dropout_attention(&ones(&[2, 3, 9, 9]), &examples, KEY, 0.3).unwrap();
    let cut = long.narrow(2, 0, 4).narrow(3, 0, 4).contiguous();
    assert_eq!(values(&short), values(&cut));
    let first_query = dropout_attention(&ones(&[2, 3, 1, 9]), &examples, KEY, 0.3).unwrap();
    assert_eq!(values(&first_query), values(&long.narrow(2, 0, 1).contiguous()));
}

#[test]
fn backward_drops_what_forward_dropped() {
    let input = ones(&[2, 64]).set_requires_grad(true);
    let numbers = Tensor::from_slice(&[0i64, 1]);
    let output = dropout_rows(&input, &numbers, &numbers, KEY, 0.4).unwrap();
    output.sum(Kind::Float).backward();
    assert_eq!(values(&input.grad()), values(&output.detach()));
}

#[test]
fn rows_travel_to_slots_and_back_with_their_gradients() {
    let rows =
        Tensor::arange(6, (Kind::Double, Device::Cpu)).reshape([3, 2]).detach().set_requires_grad(true);
    let slots = Tensor::from_slice(&[4i64, 0, 2]);
    let placed = scatter_rows(&rows, &slots, 5).unwrap();
    assert_eq!(values(&placed.detach()), [2.0, 3.0, 0.0, 0.0, 4.0, 5.0, 0.0, 0.0, 0.0, 1.0]);
    let back = gather_rows(&placed, &slots).unwrap();
    assert_eq!(values(&back.detach()), values(&rows.detach()));
    (&back * &back).sum(Kind::Double).backward();
    assert_eq!(values(&rows.grad()), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
}

#[test]
fn a_slot_out_of_range_is_an_error() {
    let error = scatter_rows(&ones(&[1, 2]), &Tensor::from_slice(&[5i64]), 5).unwrap_err();
    assert_eq!(error.to_string(), "slot 5 is not among 5");
}

#[test]
fn fused_adamw_follows_the_published_update() {
    let start = [0.5, -0.25, 2.0];
    let weight = Tensor::from_slice(&start).set_requires_grad(true);
    let (m, v) = (weight.zeros_like().detach(), weight.zeros_like().detach());
    let parameters = [weight.shallow_clone()];
    let (lr, b1, b2, decay, eps) = (1e-2, 0.9, 0.999, 0.1, 1e-8);
    let mut expected = start;
    let (mut em, mut ev) = ([0.0; 3], [0.0; 3]);
    for step in 1..=3 {
        clear_gradients(&parameters).unwrap();
        (&weight * &weight).sum(Kind::Double).backward();
        let norm = f64::try_from(gradient_norm(&parameters).unwrap()).unwrap();
        let gradient = expected.map(|p| 2.0 * p);
        assert!((norm - gradient.iter().map(|g| g * g).sum::<f64>().sqrt()).abs() < 1e-12);
        scale_gradients(&parameters, &Tensor::from(0.5)).unwrap();
        let constants =
            AdamW { step, learning_rate: lr, beta1: b1, beta2: b2, weight_decay: decay, epsilon: eps };
        fused_adamw(&parameters, &[m.shallow_clone()], &[v.shallow_clone()], constants, None).unwrap();
        for i in 0..3 {
            let g = 0.5 * gradient[i];
            em[i] = b1 * em[i] + (1.0 - b1) * g;
            ev[i] = b2 * ev[i] + (1.0 - b2) * g * g;
            let (c1, c2) = (1.0 - b1.powi(step as i32), 1.0 - b2.powi(step as i32));
            expected[i] -= lr * decay * expected[i];
            expected[i] -= lr / c1 * em[i] / (ev[i].sqrt() / c2.sqrt() + eps);
        }
    }
    for (got, want) in values(&weight.detach()).iter().zip(expected) {
        assert!((got - want).abs() < 1e-14, "{got} {want}");
    }
}

#[test]
fn the_divisor_divides_the_gradients() {
    let update = |divisor: Option<f32>, factor: f64| {
        let weight = Tensor::from_slice(&[1f32, 2.0]).set_requires_grad(true);
        let (m, v) = (weight.zeros_like().detach(), weight.zeros_like().detach());
        (&weight * factor).sum(Kind::Float).backward();
        let constants =
            AdamW { step: 1, learning_rate: 0.1, beta1: 0.9, beta2: 0.999, weight_decay: 0.0, epsilon: 1.0 };
        let divisor = divisor.map(Tensor::from);
        fused_adamw(&[weight.shallow_clone()], &[m], &[v], constants, divisor.as_ref()).unwrap();
        values(&weight.detach())
    };
    assert_eq!(update(Some(4.0), 8.0), update(None, 2.0));
    assert_ne!(update(Some(4.0), 8.0), update(None, 8.0));
}

#[test]
fn a_parameter_without_a_gradient_is_an_error() {
    let error = gradient_norm(&[ones(&[2]).set_requires_grad(true)]).unwrap_err();
    assert!(error.to_string().contains("has no gradient"), "{error}");
}

#[test]
fn a_cuda_device_that_is_not_there_is_an_error_and_no_crash() {
    // Numbers that no machine has: where a GPU is, this asks for another.
    assert!(!cuda_memory(1000).unwrap_err().to_string().is_empty());
    let error = cuda_model(1000).unwrap_err().to_string();
    assert!(error.contains("the CUDA driver"), "{error}");
}
