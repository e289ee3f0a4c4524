// The few libtorch functions that tch does not bind, as plain C.
//
// Every function takes pointers to at::Tensor as tch holds them, returns null or an error text for distilsweep_free,
// and lets no exception out. A tensor that a function returns belongs to the caller.

#include "common.h"
#include "keys.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/version.h>

#include <dlfcn.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

namespace {

std::vector<at::Tensor> gradients(at::Tensor *const *parameters, size_t count) {
  std::vector<at::Tensor> result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    TORCH_CHECK(parameters[i]->grad().defined(), "parameter ", i, " of the list has no gradient");
    result.push_back(parameters[i]->grad());
  }
  return result;
}

// The same on int64 tensors of any device. Their sums and products wrap as unsigned ones do; their right shift copies
// the sign, which a mask takes away.
at::Tensor shifted(const at::Tensor &z, int64_t bits) {
  return z.bitwise_right_shift(bits).bitwise_and_((int64_t{1} << (64 - bits)) - 1);
}

// In place: `z` is the caller's own.
at::Tensor finalize(at::Tensor z) {
  z.bitwise_xor_(shifted(z, 30)).mul_(static_cast<int64_t>(first_multiplier));
  z.bitwise_xor_(shifted(z, 27)).mul_(static_cast<int64_t>(second_multiplier));
  return z.bitwise_xor_(shifted(z, 31));
}

at::Tensor absorb(uint64_t key, const at::Tensor &values) {
  return finalize(values.mul(static_cast<int64_t>(increment)).add_(static_cast<int64_t>(key + increment)));
}

at::Tensor absorb(const at::Tensor &keys, const at::Tensor &values) {
  const int64_t stride = static_cast<int64_t>(increment);
  return finalize(keys.add(values, stride).add_(stride));
}

// Each 64-bit draw of a row decides two units, the low half first. A unit's draw depends on its row's key and its own
// number alone.
template <typename scalar> void drop_row(const scalar *from, scalar *to, int64_t units, uint64_t key, Rate rate) {
  // As libtorch's own product with a number: bfloat16 in single precision, rounded once.
  using wide = at::opmath_type<scalar>;
  const wide scale = static_cast<wide>(rate.scale);
  const auto scaled = [scale](scalar x) { return static_cast<scalar>(static_cast<wide>(x) * scale); };
  int64_t unit = 0;
  for (; unit + 1 < units; unit += 2) {
    const uint64_t bits = absorb(key, static_cast<uint64_t>(unit) >> 1);
    to[unit] = static_cast<uint32_t>(bits) < rate.threshold ? scalar(0) : scaled(from[unit]);
    to[unit + 1] = static_cast<uint32_t>(bits >> 32) < rate.threshold ? scalar(0) : scaled(from[unit + 1]);
  }
  if (unit < units) {
    const uint64_t bits = absorb(key, static_cast<uint64_t>(unit) >> 1);
    to[unit] = static_cast<uint32_t>(bits) < rate.threshold ? scalar(0) : scaled(from[unit]);
  }
}

// `from` is contiguous; the last of its dimensions is the units of a row.
at::Tensor drop_by_loop(const at::Tensor &from, const at::Tensor &keys, int64_t units, Rate rate) {
  at::Tensor to = at::empty_like(from);
  const int64_t *key = keys.const_data_ptr<int64_t>();
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, from.scalar_type(), "keyed_dropout", [&] {
    const scalar_t *source = from.const_data_ptr<scalar_t>();
    scalar_t *target = to.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, keys.numel(), std::max<int64_t>(1, 16384 / std::max<int64_t>(1, units)), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        drop_row(source + row * units, target + row * units, units, static_cast<uint64_t>(key[row]), rate);
    });
  });
  return to;
}

at::Tensor drop_by_tensors(const at::Tensor &from, const at::Tensor &keys, int64_t units, Rate rate) {
  const at::Tensor draws = at::arange((units + 1) / 2, keys.options());
  // Signed numbers are in the order of unsigned ones once the top bit of both is flipped.
  const at::Tensor bits =
      absorb(keys.unsqueeze(1), draws).bitwise_xor_(static_cast<int64_t>(0x8000000080000000ULL));
  const int64_t threshold = static_cast<int64_t>(rate.threshold) - (int64_t{1} << 31);
  // Seen as int32 a draw is its two halves, the low one first where numbers are little-endian, as on every CUDA device.
  const at::Tensor dropped = bits.view(at::kInt).narrow(1, 0, units).lt(threshold);
  // Filled and not multiplied by zero: a dropped infinity is zero too.
  return from.view({keys.numel(), units}).mul(rate.scale).masked_fill_(dropped, 0).view(from.sizes());
}

// `keys` holds one key a row; the last dimension of `input` is its units. By tensor operations, which run on any device
// and never wait for it, or by the loop, which runs on a CPU: the results are the same to the last bit
// (worker/decisions/keyed-dropout.md).
at::Tensor drop(const at::Tensor &input, const at::Tensor &keys, double p, bool tensors) {
  TORCH_CHECK(tensors || input.device().is_cpu(), "keyed dropout's loop runs on a CPU, the tensor is on ",
              input.device());
  const at::Tensor from = input.contiguous();
  const int64_t units = from.size(-1), rows = units == 0 ? 0 : from.numel() / units;
  TORCH_CHECK(keys.numel() == rows, "keyed dropout has ", keys.numel(), " keys for ", rows, " rows");
  const Rate rate(p);
  return tensors ? drop_by_tensors(from, keys, units, rate) : drop_by_loop(from, keys, units, rate);
}

// Regenerates the mask in backward instead of keeping it.
struct KeyedDropout : torch::autograd::Function<KeyedDropout> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &input,
                            const at::Tensor &keys, double p, bool tensors) {
    context->save_for_backward({keys});
    context->saved_data["p"] = p;
    context->saved_data["tensors"] = tensors;
    return drop(input, keys, p, tensors);
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext *context,
                                               torch::autograd::tensor_list gradient) {
    const at::Tensor keys = context->get_saved_variables()[0];
    const auto &saved = context->saved_data;
    return {drop(gradient[0], keys, saved.at("p").toDouble(), saved.at("tensors").toBool()), at::Tensor(), at::Tensor(),
            at::Tensor()};
  }
};

// One key a row, from its example and position.
at::Tensor row_keys(const at::Tensor &examples, const at::Tensor &positions, uint64_t base, bool tensors) {
  if (tensors)
    return absorb(absorb(base, examples), positions);
  const int64_t rows = examples.numel();
  at::Tensor keys = at::empty({rows}, at::kLong);
  int64_t *key = keys.mutable_data_ptr<int64_t>();
  const int64_t *example = examples.const_data_ptr<int64_t>(), *position = positions.const_data_ptr<int64_t>();
  for (int64_t row = 0; row < rows; ++row)
    key[row] = static_cast<int64_t>(absorb(absorb(base, example[row]), position[row]));
  return keys;
}

// One key a query of attention [examples, heads, queries, keys].
at::Tensor query_keys(const at::Tensor &examples, int64_t heads, int64_t queries, uint64_t base, bool tensors) {
  if (tensors) {
    const at::Tensor parts = absorb(absorb(base, examples).unsqueeze(1), at::arange(heads, examples.options()));
    return absorb(parts.unsqueeze(2), at::arange(queries, examples.options())).view(-1);
  }
  at::Tensor keys = at::empty({examples.numel() * heads * queries}, at::kLong);
  int64_t *key = keys.mutable_data_ptr<int64_t>();
  const int64_t *example = examples.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < examples.numel(); ++b)
    for (int64_t head = 0; head < heads; ++head) {
      const uint64_t part = absorb(absorb(base, example[b]), head);
      for (int64_t query = 0; query < queries; ++query)
        *key++ = static_cast<int64_t>(absorb(part, query));
    }
  return keys;
}

// Rates of several trials: the first dimension of what is dropped is cut into as many parts as there are rates.
// Thresholds are int32 with the top bit flipped, as drop_by_tensors compares them; scales have the kind in which
// a number of the input's kind is multiplied.
struct LaneRates {
  at::Tensor thresholds, scales;

  // With a dimension of one for every other dimension of a tensor of so many.
  static at::Tensor broadcast(const at::Tensor &values, int64_t dimensions) {
    std::vector<int64_t> shape(dimensions, 1);
    shape[0] = values.numel();
    return values.view(shape);
  }
};

at::Tensor drop_lanes_by_loop(const at::Tensor &from, const at::Tensor &keys, const LaneRates &rates) {
  at::Tensor to = at::empty_like(from);
  const int64_t units = from.size(-1), lanes = from.size(0), rows = lanes == 0 ? 0 : keys.numel() / lanes;
  const at::Tensor contiguous = keys.contiguous(), scales = rates.scales.to(at::kDouble);
  const int64_t *key = contiguous.const_data_ptr<int64_t>();
  const int32_t *threshold = rates.thresholds.const_data_ptr<int32_t>();
  const double *scale = scales.const_data_ptr<double>();
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, from.scalar_type(), "keyed_dropout", [&] {
    const scalar_t *source = from.const_data_ptr<scalar_t>();
    scalar_t *target = to.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, lanes * rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, units)), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t lane = row / rows;
        const Rate rate(static_cast<uint32_t>(threshold[lane]) ^ 0x80000000U, scale[lane]);
        drop_row(source + row * units, target + row * units, units, static_cast<uint64_t>(key[row]), rate);
      }
    });
  });
  return to;
}

at::Tensor drop_lanes_by_tensors(const at::Tensor &from, const at::Tensor &keys, const LaneRates &rates) {
  const int64_t units = from.size(-1);
  const at::Tensor draws = at::arange((units + 1) / 2, keys.options());
  const at::Tensor bits =
      absorb(keys.unsqueeze(-1), draws).bitwise_xor_(static_cast<int64_t>(0x8000000080000000ULL));
  const at::Tensor dropped =
      bits.view(at::kInt).narrow(-1, 0, units).lt(LaneRates::broadcast(rates.thresholds, from.dim()));
  return from.mul(LaneRates::broadcast(rates.scales, from.dim())).to(from.scalar_type()).masked_fill_(dropped, 0);
}

// drop() with a rate for each part of the first dimension; `keys` has the shape of `input` but for its last dimension.
at::Tensor drop_lanes(const at::Tensor &input, const at::Tensor &keys, const LaneRates &rates, bool tensors) {
  TORCH_CHECK(tensors || input.device().is_cpu(), "keyed dropout's loop runs on a CPU, the tensor is on ",
              input.device());
  TORCH_CHECK(rates.thresholds.numel() == input.size(0) && rates.scales.numel() == input.size(0), "keyed dropout has ",
              rates.thresholds.numel(), " rates for a first dimension of ", input.size(0));
  const at::Tensor from = input.contiguous();
  return tensors ? drop_lanes_by_tensors(from, keys, rates) : drop_lanes_by_loop(from, keys, rates);
}

struct KeyedLaneDropout : torch::autograd::Function<KeyedLaneDropout> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &input, const at::Tensor &keys,
                            const at::Tensor &thresholds, const at::Tensor &scales, bool tensors) {
    context->save_for_backward({keys, thresholds, scales});
    context->saved_data["tensors"] = tensors;
    return drop_lanes(input, keys, {thresholds, scales}, tensors);
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext *context,
                                               torch::autograd::tensor_list gradient) {
    const auto saved = context->get_saved_variables();
    const bool tensors = context->saved_data.at("tensors").toBool();
    return {drop_lanes(gradient[0], saved[0], {saved[1], saved[2]}, tensors), at::Tensor(), at::Tensor(), at::Tensor(),
            at::Tensor()};
  }
};

// Rows of `rows` in `total` rows of zeros, at `slots`, which never repeat: a copy, where index_add would add row by row.
at::Tensor place(const at::Tensor &rows, const at::Tensor &slots, int64_t total) {
  const at::Tensor from = rows.contiguous();
  TORCH_CHECK(from.dim() == 2 && slots.numel() == from.size(0), "scatter has ", slots.numel(), " slots for rows of shape ",
              from.sizes());
  at::Tensor to = at::zeros({total, from.size(1)}, from.options());
  if (!from.device().is_cpu())
    return to.index_copy_(0, slots, from);
  const int64_t width = from.size(1) * static_cast<int64_t>(from.element_size());
  const int64_t *slot = slots.const_data_ptr<int64_t>();
  const char *source = static_cast<const char *>(from.const_data_ptr());
  char *target = static_cast<char *>(to.mutable_data_ptr());
  for (int64_t row = 0; row < from.size(0); ++row)
    TORCH_CHECK(slot[row] >= 0 && slot[row] < total, "slot ", slot[row], " is not among ", total);
  at::parallel_for(0, from.size(0), 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      std::memcpy(target + slot[row] * width, source + row * width, width);
  });
  return to;
}

struct ScatterRows : torch::autograd::Function<ScatterRows> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &rows, const at::Tensor &slots,
                            int64_t total) {
    context->save_for_backward({slots});
    return place(rows, slots, total);
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext *context,
                                               torch::autograd::tensor_list gradient) {
    return {gradient[0].index_select(0, context->get_saved_variables()[0]), at::Tensor(), at::Tensor()};
  }
};

struct GatherRows : torch::autograd::Function<GatherRows> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &rows, const at::Tensor &slots) {
    context->save_for_backward({slots});
    context->saved_data["total"] = rows.size(0);
    return rows.index_select(0, slots);
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext *context,
                                               torch::autograd::tensor_list gradient) {
    const at::Tensor slots = context->get_saved_variables()[0];
    return {place(gradient[0], slots, context->saved_data["total"].toInt()), at::Tensor()};
  }
};

} // namespace

extern "C" {

const char *distilsweep_torch_version() { return TORCH_VERSION; }

void distilsweep_keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

void distilsweep_release_freed_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

void distilsweep_free(char *text) { std::free(text); }

char *distilsweep_dropout_rows(at::Tensor **out, const at::Tensor *input, const at::Tensor *examples,
                               const at::Tensor *positions, uint64_t seed, uint64_t site, uint64_t step, double p,
                               bool tensors) {
  return guarded([&] {
    TORCH_CHECK(positions->numel() == examples->numel(), "keyed dropout has ", examples->numel(), " examples and ",
                positions->numel(), " positions");
    const uint64_t base = absorb(absorb(absorb(0, seed), site), step);
    *out = new at::Tensor(KeyedDropout::apply(*input, row_keys(*examples, *positions, base, tensors), p, tensors));
  });
}

char *distilsweep_dropout_attention(at::Tensor **out, const at::Tensor *input, const at::Tensor *examples,
                                    uint64_t seed, uint64_t site, uint64_t step, double p, bool tensors) {
  return guarded([&] {
    TORCH_CHECK(input->dim() == 4 && input->size(0) == examples->numel(), "attention of ", examples->numel(),
                " examples has the shape ", input->sizes());
    const uint64_t base = absorb(absorb(absorb(0, seed), site), step);
    const at::Tensor keys = query_keys(*examples, input->size(1), input->size(2), base, tensors);
    *out = new at::Tensor(KeyedDropout::apply(*input, keys, p, tensors));
  });
}

uint64_t distilsweep_dropout_base(uint64_t seed, uint64_t site, uint64_t step) {
  return absorb(absorb(absorb(0, seed), site), step);
}

char *distilsweep_dropout_rate(int64_t *threshold, double *scale, double p) {
  return guarded([&] {
    const Rate rate(p);
    *threshold = static_cast<int64_t>(rate.threshold) - (int64_t{1} << 31);
    *scale = rate.scale;
  });
}

char *distilsweep_dropout_lane_rows(at::Tensor **out, const at::Tensor *input, const at::Tensor *examples,
                                    const at::Tensor *positions, const at::Tensor *bases, const at::Tensor *thresholds,
                                    const at::Tensor *scales, bool tensors) {
  return guarded([&] {
    TORCH_CHECK(input->dim() == 3 && examples->sizes() == input->sizes().slice(0, 2) &&
                    positions->sizes() == examples->sizes() && bases->numel() == input->size(0),
                "keyed dropout of rows of shape ", input->sizes(), " has ", examples->sizes(), " examples, ",
                positions->sizes(), " positions and ", bases->sizes(), " streams");
    const at::Tensor keys = absorb(absorb(bases->unsqueeze(1), *examples), *positions);
    *out = new at::Tensor(KeyedLaneDropout::apply(*input, keys, *thresholds, *scales, tensors));
  });
}

char *distilsweep_dropout_lane_attention(at::Tensor **out, const at::Tensor *input, const at::Tensor *examples,
                                         const at::Tensor *bases, const at::Tensor *thresholds,
                                         const at::Tensor *scales, bool tensors) {
  return guarded([&] {
    TORCH_CHECK(input->dim() == 4 && input->size(0) == examples->numel() && bases->numel() == examples->numel(),
                "attention of ", examples->numel(), " examples and ", bases->numel(), " streams has the shape ",
                input->sizes());
    const at::Tensor heads = at::arange(input->size(1), examples->options());
    const at::Tensor queries = at::arange(input->size(2), examples->options());
    const at::Tensor keys = absorb(absorb(absorb(*bases, *examples).unsqueeze(1), heads).unsqueeze(2), queries);
    *out = new at::Tensor(KeyedLaneDropout::apply(*input, keys, *thresholds, *scales, tensors));
  });
}

char *distilsweep_scatter_rows(at::Tensor **out, const at::Tensor *rows, const at::Tensor *slots, int64_t total) {
  return guarded([&] { *out = new at::Tensor(ScatterRows::apply(*rows, *slots, total)); });
}

char *distilsweep_gather_rows(at::Tensor **out, const at::Tensor *rows, const at::Tensor *slots) {
  return guarded([&] { *out = new at::Tensor(GatherRows::apply(*rows, *slots)); });
}

char *distilsweep_clear_gradients(at::Tensor *const *parameters, size_t count) {
  return guarded([&] {
    for (size_t i = 0; i < count; ++i)
      parameters[i]->mutable_grad().reset();
  });
}

char *distilsweep_gradient_norm(at::Tensor **out, at::Tensor *const *parameters, size_t count) {
  return guarded([&] {
    const at::NoGradGuard guard;
    const auto norms = at::_foreach_norm(gradients(parameters, count), 2.0);
    *out = new at::Tensor(at::linalg_vector_norm(at::stack(norms), 2.0));
  });
}

char *distilsweep_scale_gradients(at::Tensor *const *parameters, size_t count, const at::Tensor *factor) {
  return guarded([&] {
    const at::NoGradGuard guard;
    at::_foreach_mul_(gradients(parameters, count), *factor);
  });
}

char *distilsweep_fused_adamw(at::Tensor *const *parameters, at::Tensor *const *first, at::Tensor *const *second,
                              size_t count, int64_t step, double learning_rate, double beta1, double beta2,
                              double weight_decay, double epsilon, const at::Tensor *divisor) {
  return guarded([&] {
    if (count == 0)
      return;
    const at::NoGradGuard guard;
    std::vector<at::Tensor> weights, means, squares;
    for (size_t i = 0; i < count; ++i) {
      weights.push_back(*parameters[i]);
      means.push_back(*first[i]);
      squares.push_back(*second[i]);
    }
    // The kernel only reads the step, so all parameters may share one tensor.
    const at::Tensor steps =
        at::full({}, static_cast<float>(step), at::TensorOptions().dtype(at::kFloat).device(weights[0].device()));
    at::_fused_adamw_(weights, gradients(parameters, count), means, squares, {}, std::vector<at::Tensor>(count, steps),
                      learning_rate, beta1, beta2, weight_decay, epsilon, false, false,
                      divisor == nullptr ? std::optional<at::Tensor>() : *divisor, std::nullopt);
  });
}

char *distilsweep_load_library(const char *name) {
  return guarded([&] {
    if (dlopen(name, RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      const char *reason = dlerror();
      TORCH_CHECK(false, reason == nullptr ? name : reason);
    }
  });
}
}
