//! The order in which an epoch visits the training rows: `torch.randperm` of a seeded CPU generator, so that data order
//! is that of the Hugging Face Trainer.
//!
//! Source: `mt19937` in ATen/core/MT19937RNGEngine.h and `randperm_cpu` in ATen/native/TensorFactories.cpp, torch 2.11.

const STATE: usize = 624;
const SHIFT: usize = 397;

/// Rows from here on make torch draw 64 bits a row.
const WIDE: usize = (u32::MAX / 20) as usize;

/// `torch.randperm(n, generator=torch.Generator().manual_seed(seed))`.
///
/// Torch seeds its generator with the low 32 bits alone, so seeds that differ by a multiple of 2^32 give one order.
///
/// # Panics
/// When `n` does not fit the 32 bits of a row number.
pub fn shuffled(n: usize, seed: u64) -> Vec<u32> {
    let count = u32::try_from(n).expect("row numbers have 32 bits");
    let mut order: Vec<u32> = (0..count).collect();
    let mut generator = MersenneTwister::new(seed as u32);
    for i in 0..n.saturating_sub(1) {
        let left = n - i;
        let drawn = if n < WIDE {
            generator.next() as usize % left
        } else {
            let high = u64::from(generator.next()) << 32;
            ((high | u64::from(generator.next())) % left as u64) as usize
        };
        order.swap(i, i + drawn);
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
