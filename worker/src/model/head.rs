//! Initial weights as a function of (seed, name, index), so that nothing that ran before can change them.

use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use super::error::TorchError;

/// Standard deviation of a fresh weight, `initializer_range` of transformers.
const RANGE: f64 = 0.02;

/// A fresh weight of this name and shape: zero for biases, one for LayerNorms, else N(0, 0.02).
pub(super) fn initial(name: &str, shape: &[i64], seed: u64, kind: Kind) -> Result<Tensor, TorchError> {
    let device = (kind, tch::Device::Cpu);
    if name.ends_with(".bias") {
        return Ok(Tensor::f_zeros(shape, device)?);
    }
    if name.contains("LayerNorm") || name.contains("layer_norm") {
        return Ok(Tensor::f_ones(shape, device)?);
    }
    let count = shape.iter().product::<i64>().unsigned_abs();
    let key = key(seed, name);
    let mut values = Vec::with_capacity(count as usize + 1);
    for pair in 0..count.div_ceil(2) {
        let (a, b) = normal_pair(key, pair);
        values.push(RANGE * a);
        values.push(RANGE * b);
    }
    values.truncate(count as usize);
    Ok(Tensor::f_from_slice(&values)?.f_reshape(shape)?.f_to_kind(kind)?)
}

/// A stream's key: the first eight bytes of SHA-256 over the seed and the weight's name.
fn key(seed: u64, name: &str) -> u64 {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name.as_bytes()).finalize();
    digest.iter().take(8).rev().fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// The `pair`-th two standard normal numbers of a stream, by Box and Muller's transform of two SplitMix64 draws.
fn normal_pair(key: u64, pair: u64) -> (f64, f64) {
    let uniform = |index: u64| {
        let bits = splitmix(key.wrapping_add(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(index.wrapping_add(1))));
        // In (0, 1]: the logarithm below must not meet zero.
        ((bits >> 11) + 1) as f64 * 2f64.powi(-53)
    };
    let radius = (-2.0 * uniform(2 * pair).ln()).sqrt();
    let angle = std::f64::consts::TAU * uniform(2 * pair + 1);
    (radius * angle.cos(), radius * angle.sin())
}

/// SplitMix64's finalizer (Steele, Lea and Flood, 2014).
fn splitmix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(name: &str, seed: u64) -> Vec<f64> {
        Vec::try_from(initial(name, &[300, 301], seed, Kind::Double).unwrap().reshape([-1])).unwrap()
    }

    #[test]
    fn fresh_weights_are_normal_with_the_range_of_transformers() {
        let values = values("classifier.weight", 42);
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        // Four standard errors of the mean and of the deviation.
        assert!(mean.abs() < 4.0 * RANGE / n.sqrt(), "{mean}");
        assert!((variance.sqrt() - RANGE).abs() < 4.0 * RANGE / (2.0 * n).sqrt(), "{variance}");
        let within = values.iter().filter(|x| x.abs() < RANGE).count() as f64 / n;
        assert!((within - 0.6827).abs() < 0.01, "{within}");
    }

    #[test]
    fn seed_and_name_choose_the_stream() {
        assert_eq!(values("classifier.weight", 1), values("classifier.weight", 1));
        assert_ne!(values("classifier.weight", 1), values("classifier.weight", 2));
        assert_ne!(values("classifier.weight", 1), values("pre_classifier.weight", 1));
    }
}
