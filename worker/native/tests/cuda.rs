//! The shim on a GPU against the shim on the CPU. One test, alone in its process: libtorch's CUDA half must come before
//! all other use of libtorch.

use distilsweep_native::{
    AdamW, DropoutKey, clear_gradients, dropout_attention, dropout_rows, fused_adamw, gather_rows,
    gradient_norm, load_cuda, scale_gradients, scatter_rows,
};
use tch::{Cuda, Device, Kind, Tensor};

const KEY: DropoutKey = DropoutKey { seed: u64::MAX, site: 3, step: 7 };

/// Elements as they are stored, from whatever device.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn bits(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel()).unwrap();
    bytes
}

fn numbers(shape: &[i64], kind: Kind) -> Tensor {
    let count: i64 = shape.iter().product();
    (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.37 + 0.19).sin().reshape(shape).to_kind(kind)
}

/// What a function gives on a device, and the gradient of its input.
fn both(input: &Tensor, device: Device, function: impl Fn(&Tensor) -> Tensor) -> [Vec<u8>; 2] {
    let leaf = input.to_device(device).detach().set_requires_grad(true);
    let output = function(&leaf);
    (&output * output.detach()).sum(Kind::Double).backward();
    [bits(&output), bits(&leaf.grad())]
}

/// Weights after two clipped steps of AdamW.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn trained(device: Device) -> Vec<f64> {
    let weight = numbers(&[64, 33], Kind::Float).to_device(device).set_requires_grad(true);
    let (first, second) = ([weight.detach().zeros_like()], [weight.detach().zeros_like()]);
    let parameters = [weight.shallow_clone()];
    for step in 1..=2 {
        clear_gradients(&parameters).unwrap();
        (&weight * &weight * 3.0).sum(Kind::Float).backward();
        scale_gradients(&parameters, &Tensor::from(0.5f32).to_device(device)).unwrap();
        let divisor = gradient_norm(&parameters).unwrap().clamp_min(1.0);
        let constants =
            AdamW { step, learning_rate: 0.01, beta1: 0.9, beta2: 0.999, weight_decay: 0.1, epsilon: 1e-8 };
        fused_adamw(&parameters, &first, &second, constants, Some(&divisor)).unwrap();
    }
    Vec::try_from(weight.detach().to_kind(Kind::Double).reshape([-1])).unwrap()
}

#[test]
fn a_gpu_drops_moves_and_updates_as_the_cpu_does() {
    if std::env::var_os("DISTILSWEEP_TEST_GPU").is_none() {
        eprintln!("skipped: DISTILSWEEP_TEST_GPU is not set; tests/run.sh --all sets it where a GPU is");
        return;
    }
    if let Err(error) = load_cuda() {
        eprintln!("skipped: {error}; `deploy/libtorch.sh cuda` fetches libtorch with its CUDA half");
        return;
    }
    assert!(Cuda::device_count() > 0, "DISTILSWEEP_TEST_GPU is set, but libtorch finds no GPU");
    let gpu = Device::Cuda(0);
    let rows: Vec<i64> = (0..40).map(|i| i * 7 % 5).collect();
    let slots: Vec<i64> = (0..40).map(|i| (i * 11 + 3) % 64).collect();
    let (rows, slots) = (Tensor::from_slice(&rows), Tensor::from_slice(&slots));
    for kind in [Kind::Float, Kind::Double, Kind::BFloat16] {
        for p in [0.1, 0.5] {
            let dropped = |device: Device| {
                let (examples, positions) = (rows.to_device(device), slots.to_device(device));
                let two = examples.narrow(0, 1, 2);
                [
                    both(&numbers(&[40, 769], kind), device, |x| {
                        dropout_rows(x, &examples, &positions, KEY, p).unwrap()
                    }),
                    both(&numbers(&[2, 12, 17, 17], kind), device, |x| {
                        dropout_attention(x, &two, KEY, p).unwrap()
                    }),
                ]
            };
            assert!(dropped(gpu) == dropped(Device::Cpu), "dropout of {p} differs in {kind:?}");
        }
        let moved = |device: Device| {
            let slots = slots.to_device(device);
            both(&numbers(&[40, 33], kind), device, |x| {
                gather_rows(&scatter_rows(x, &slots, 64).unwrap(), &slots).unwrap()
            })
        };
        assert!(moved(gpu) == moved(Device::Cpu), "rows are moved differently in {kind:?}");
    }
    for (there, here) in trained(gpu).iter().zip(trained(Device::Cpu)) {
        assert!((there - here).abs() < 1e-6, "AdamW gives {there} on the GPU and {here} on the CPU");
    }
}
