//! The order in which an epoch visits the training rows: `torch.randperm` of a seeded CPU generator, so that data order
//! is that of the Hugging Face Trainer.
//!
//! Source: `mt19937` in ATen/core/MT19937RNGEngine.h and `randperm_cpu` in ATen/native/TensorFactories.cpp, torch 2.11.

const STATE: usize = 624;
const SHIFT: usize = 397;

/// From this many rows on torch draws in another way, which is not followed here.
const WIDE: usize = (u32::MAX / 20) as usize;

/// `torch.randperm(n, generator=torch.Generator().manual_seed(seed))`.
///
/// Torch seeds its generator with the low 32 bits alone, so seeds that differ by a multiple of 2^32 give one order.
///
/// # Panics
/// For 214,748,364 rows and more, which torch orders in another way.
pub fn shuffled(n: usize, seed: u64) -> Vec<u32> {
    assert!(n < WIDE, "{n} rows cannot be ordered, there must be fewer than {WIDE}");
    let mut order: Vec<u32> = (0..n as u32).collect();
    let mut generator = MersenneTwister::new(seed as u32);
    for i in 0..n.saturating_sub(1) {
        order.swap(i, i + generator.next() as usize % (n - i));
    }
    order
}

/// MT19937, seeded as its authors' `init_genrand` does.
struct MersenneTwister {
    state: [u32; STATE],
    next: usize,
}

impl MersenneTwister {
    fn new(seed: u32) -> Self {
        let mut state = [0; STATE];
        state[0] = seed;
        for i in 1..STATE {
            let before = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: STATE }
    }

    fn next(&mut self) -> u32 {
        if self.next == STATE {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn refill(&mut self) {
        for i in 0..STATE {
            let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % STATE] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded with torch 2.11.0: `torch.randperm(n, generator=g.manual_seed(seed))[:8]`.
    #[test]
    fn orders_are_torch_s() {
        let cases: &[(usize, u64, &[u32])] = &[
            (0, 3, &[]),
            (1, 0, &[0]),
            (2, 1, &[1, 0]),
            (10, 0, &[4, 1, 7, 5, 3, 9, 0, 8]),
            (10, 42, &[2, 6, 1, 8, 4, 5, 0, 9]),
            (18899, 42, &[11359, 2230, 4221, 15489, 7665, 12568, 13577, 15343]),
            (18899, 43, &[3435, 3053, 9187, 308, 13449, 16723, 9717, 3102]),
            (1000, (1 << 32) - 1, &[371, 805, 492, 705, 784, 265, 814, 793]),
            (1000, 1 << 32, &[44, 37, 675, 775, 947, 209, 719, 500]),
            (1000, (1 << 32) + 42, &[542, 618, 816, 68, 94, 215, 60, 585]),
            (1000, (1 << 63) - 1, &[371, 805, 492, 705, 784, 265, 814, 793]),
        ];
        for (n, seed, first) in cases {
            let order = shuffled(*n, *seed);
            assert_eq!(&order[..first.len()], *first, "n {n}, seed {seed}");
        }
    }

    #[test]
    fn every_row_comes_once() {
        let mut order = shuffled(5000, 7);
        assert_ne!(order[..3], [0, 1, 2]);
        order.sort_unstable();
        assert!(order.iter().copied().eq(0..5000));
    }
}
