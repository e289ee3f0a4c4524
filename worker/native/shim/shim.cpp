// The few libtorch functions that tch does not bind, as plain C.
//
// Every function takes pointers to at::Tensor as tch holds them, returns null or an error text for distilsweep_free,
// and lets no exception out. A tensor that a function returns belongs to the caller.

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/version.h>

#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>

namespace {

template <typename F> char *guarded(F &&body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}

std::vector<at::Tensor> gradients(at::Tensor *const *parameters, size_t count) {
  std::vector<at::Tensor> result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    TORCH_CHECK(parameters[i]->grad().defined(), "parameter ", i, " of the list has no gradient");
    result.push_back(parameters[i]->grad());
  }
  return result;
}

// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): SplitMix64's increment and
// finalizer.
constexpr uint64_t increment = 0x9e3779b97f4a7c15ULL;

inline uint64_t finalize(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
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
};

// Each 64-bit draw of a row decides two units, the low half first. A unit's draw depends on its row's key and its own
// number alone.
template <typename scalar> void drop_row(const scalar *from, scalar *to, int64_t units, uint64_t key, Rate rate) {
  const scalar scale = static_cast<scalar>(rate.scale);
  int64_t unit = 0;
  for (; unit + 1 < units; unit += 2) {
    const uint64_t bits = absorb(key, static_cast<uint64_t>(unit) >> 1);
    to[unit] = static_cast<uint32_t>(bits) < rate.threshold ? scalar(0) : scalar(from[unit] * scale);
    to[unit + 1] = static_cast<uint32_t>(bits >> 32) < rate.threshold ? scalar(0) : scalar(from[unit + 1] * scale);
  }
  if (unit < units) {
    const uint64_t bits = absorb(key, static_cast<uint64_t>(unit) >> 1);
    to[unit] = static_cast<uint32_t>(bits) < rate.threshold ? scalar(0) : scalar(from[unit] * scale);
  }
}

// `keys` holds one key a row; the last dimension of `input` is its units.
at::Tensor drop(const at::Tensor &input, const at::Tensor &keys, double p) {
  TORCH_CHECK(input.device().is_cpu(), "keyed dropout runs on a CPU, the tensor is on ", input.device());
  const at::Tensor from = input.contiguous();
  at::Tensor to = at::empty_like(from);
  const int64_t units = from.size(-1), rows = units == 0 ? 0 : from.numel() / units;
  TORCH_CHECK(keys.numel() == rows, "keyed dropout has ", keys.numel(), " keys for ", rows, " rows");
  const Rate rate(p);
  const int64_t *key = keys.const_data_ptr<int64_t>();
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, from.scalar_type(), "keyed_dropout", [&] {
    const scalar_t *source = from.const_data_ptr<scalar_t>();
    scalar_t *target = to.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, units)), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        drop_row(source + row * units, target + row * units, units, static_cast<uint64_t>(key[row]), rate);
    });
  });
  return to;
}

// Regenerates the mask in backward instead of keeping it.
struct KeyedDropout : torch::autograd::Function<KeyedDropout> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &input,
                            const at::Tensor &keys, double p) {
    context->save_for_backward({keys});
    context->saved_data["p"] = p;
    return drop(input, keys, p);
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext *context,
                                               torch::autograd::tensor_list gradient) {
    const at::Tensor keys = context->get_saved_variables()[0];
    return {drop(gradient[0], keys, context->saved_data["p"].toDouble()), at::Tensor(), at::Tensor()};
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

void distilsweep_free(char *text) { std::free(text); }

char *distilsweep_dropout_rows(at::Tensor **out, const at::Tensor *input, const at::Tensor *examples,
                               const at::Tensor *positions, uint64_t seed, uint64_t site, uint64_t step, double p) {
  return guarded([&] {
    const int64_t rows = examples->numel();
    TORCH_CHECK(positions->numel() == rows, "keyed dropout has ", rows, " examples and ", positions->numel(), " positions");
    const uint64_t base = absorb(absorb(absorb(0, seed), site), step);
    at::Tensor keys = at::empty({rows}, at::kLong);
    int64_t *key = keys.mutable_data_ptr<int64_t>();
    const int64_t *example = examples->const_data_ptr<int64_t>(), *position = positions->const_data_ptr<int64_t>();
    for (int64_t row = 0; row < rows; ++row)
      key[row] = static_cast<int64_t>(absorb(absorb(base, example[row]), position[row]));
    *out = new at::Tensor(KeyedDropout::apply(*input, keys, p));
  });
}

char *distilsweep_dropout_attention(at::Tensor **out, const at::Tensor *input, const at::Tensor *examples,
                                    uint64_t seed, uint64_t site, uint64_t step, double p) {
  return guarded([&] {
    TORCH_CHECK(input->dim() == 4 && input->size(0) == examples->numel(), "attention of ", examples->numel(),
                " examples has the shape ", input->sizes());
    const int64_t heads = input->size(1), queries = input->size(2);
    const uint64_t base = absorb(absorb(absorb(0, seed), site), step);
    at::Tensor keys = at::empty({examples->numel() * heads * queries}, at::kLong);
    int64_t *key = keys.mutable_data_ptr<int64_t>();
    const int64_t *example = examples->const_data_ptr<int64_t>();
    for (int64_t b = 0; b < examples->numel(); ++b)
      for (int64_t head = 0; head < heads; ++head) {
        const uint64_t part = absorb(absorb(base, example[b]), head);
        for (int64_t query = 0; query < queries; ++query)
          *key++ = static_cast<int64_t>(absorb(part, query));
      }
    *out = new at::Tensor(KeyedDropout::apply(*input, keys, p));
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
