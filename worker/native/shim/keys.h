// The hash behind every dropout's mask, for one number at a time (worker/decisions/keyed-dropout.md).

#pragma once

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdint>

namespace {

// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): SplitMix64's increment, multipliers
// and finalizer.
constexpr uint64_t increment = 0x9e3779b97f4a7c15ULL, first_multiplier = 0xbf58476d1ce4e5b9ULL,
                   second_multiplier = 0x94d049bb133111ebULL;

inline uint64_t finalize(uint64_t z) {
  z = (z ^ (z >> 30)) * first_multiplier;
  z = (z ^ (z >> 27)) * second_multiplier;
  return z ^ (z >> 31);
}

// A bijection in `value` for every key: two values never give one stream.
inline uint64_t absorb(uint64_t key, uint64_t value) { return finalize(key + increment * (value + 1)); }

// What is kept and by how much it is scaled.
struct Rate {
  uint32_t threshold;
  double scale;
  explicit Rate(double p) : threshold(static_cast<uint32_t>(std::min(p * 4294967296.0, 4294967295.0))), scale(1.0 / (1.0 - p)) {
    TORCH_CHECK(p >= 0.0 && p < 1.0, "dropout rate is ", p, ", it must be at least 0 and below 1");
  }
  Rate(uint32_t threshold, double scale) : threshold(threshold), scale(scale) {}
};

} // namespace
