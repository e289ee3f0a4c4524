// The parts of a transformer block on a CPU, each in one pass forward and one backward: linear layers, attention over
// unpadded rows, and dropout + residual + LayerNorm. Mathematics and masks are those of the separate operators; what
// they spare is the padding, the copies between layouts and kinds, and a trip through memory for every operator.

#include "common.h"
#include "keys.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <vector>

// One binary for every x86-64: the widest form that the machine has is chosen when the program starts.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define WIDEST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDEST
#endif
#define WITHIN inline __attribute__((always_inline))

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// 64 bytes of numbers; the compiler makes of them what the machine has.
template <typename W> struct Wide {
  typedef W type __attribute__((vector_size(64), aligned(sizeof(W)), may_alias));
  static constexpr int64_t lanes = 64 / sizeof(W);
  static int64_t up(int64_t n) { return (n + lanes - 1) / lanes * lanes; }
};

template <typename W> struct Numbers {
  W *data;
  explicit Numbers(int64_t count) : data(static_cast<W *>(std::aligned_alloc(64, Wide<W>::up(std::max<int64_t>(count, 1)) * sizeof(W)))) {
    TORCH_CHECK(data != nullptr, "no memory for ", count, " numbers of attention");
  }
  ~Numbers() { std::free(data); }
  Numbers(const Numbers &) = delete;
};

// Rows i.. of C = A B, B and C row-major with rows of whole vectors; A has any strides.
template <int rows, int columns, typename W>
WITHIN void tile(const W *a, int64_t row_stride, int64_t column_stride, const W *b, int64_t b_width, W *c, int64_t c_width,
                 int64_t depth) {
  using vector = typename Wide<W>::type;
  vector sum[rows][columns];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < columns; ++v)
      sum[r][v] = vector{};
  for (int64_t k = 0; k < depth; ++k) {
    vector right[columns];
#pragma GCC unroll 2
    for (int v = 0; v < columns; ++v)
      right[v] = *reinterpret_cast<const vector *>(b + k * b_width + v * Wide<W>::lanes);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const W left = a[r * row_stride + k * column_stride];
#pragma GCC unroll 2
      for (int v = 0; v < columns; ++v)
        sum[r][v] += left * right[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < columns; ++v)
      *reinterpret_cast<vector *>(c + r * c_width + v * Wide<W>::lanes) = sum[r][v];
}

// C [m, n] = A [m, k] B [k, n]; n is a multiple of the lanes.
template <typename W>
WITHIN void product(const W *a, int64_t row_stride, int64_t column_stride, const W *b, int64_t b_width, W *c, int64_t c_width,
                    int64_t m, int64_t n, int64_t k) {
  constexpr int64_t lanes = Wide<W>::lanes;
  int64_t i = 0;
  for (; i + 4 <= m; i += 4) {
    int64_t j = 0;
    for (; j + 2 * lanes <= n; j += 2 * lanes)
      tile<4, 2>(a + i * row_stride, row_stride, column_stride, b + j, b_width, c + i * c_width + j, c_width, k);
    for (; j < n; j += lanes)
      tile<4, 1>(a + i * row_stride, row_stride, column_stride, b + j, b_width, c + i * c_width + j, c_width, k);
  }
  for (; i < m; ++i)
    for (int64_t j = 0; j < n; j += lanes)
      tile<1, 1>(a + i * row_stride, row_stride, column_stride, b + j, b_width, c + i * c_width + j, c_width, k);
}

// Sizes of attention and where its rows are. Example b has rows starts[b] to starts[b + 1] of keys and values, and as
// many of queries, or one, row b, where only first tokens ask.
struct Layout {
  const int64_t *starts, *examples;
  int64_t count, total, heads, dim, head;
  bool first;
  uint64_t base;
  uint32_t threshold;
  double keep_scale, scale;
  // Where an example's probabilities begin, each head's one after another.
  std::vector<int64_t> offsets;

  int64_t start(int64_t b) const { return starts[b]; }
  int64_t length(int64_t b) const { return (b + 1 < count ? starts[b + 1] : total) - starts[b]; }
  int64_t queries(int64_t b) const { return first ? 1 : length(b); }
  int64_t query_row(int64_t b) const { return first ? b : start(b); }
};

// [n, width] with rows of `stride` in `from`, as rows of `padded` zeros behind the width; or its transpose.
template <typename S, typename W>
WITHIN void take(const S *from, int64_t stride, W *to, int64_t n, int64_t width, int64_t padded, W scale) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t d = 0; d < width; ++d)
      to[i * padded + d] = static_cast<W>(from[i * stride + d]) * scale;
    for (int64_t d = width; d < padded; ++d)
      to[i * padded + d] = 0;
  }
}

template <typename W> WITHIN void transpose(const W *from, int64_t from_width, W *to, int64_t to_width, int64_t n, int64_t width) {
  for (int64_t d = 0; d < width; ++d) {
    for (int64_t i = 0; i < n; ++i)
      to[d * to_width + i] = from[i * from_width + d];
    for (int64_t i = n; i < to_width; ++i)
      to[d * to_width + i] = 0;
  }
}

template <typename S, typename W> WITHIN void give(const W *from, int64_t padded, S *to, int64_t stride, int64_t n, int64_t width, W scale) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t d = 0; d < width; ++d)
      to[i * stride + d] = static_cast<S>(from[i * padded + d] * scale);
}

// Multiplies a row of `units` by its mask: key k of a query is unit k.
template <typename W> WITHIN void mask_row(const W *from, W *to, int64_t units, uint64_t key, uint32_t threshold, W scale) {
  for (int64_t unit = 0; unit < units; unit += 2) {
    const uint64_t bits = absorb(key, static_cast<uint64_t>(unit) >> 1);
    to[unit] = static_cast<uint32_t>(bits) < threshold ? W(0) : from[unit] * scale;
    if (unit + 1 < units)
      to[unit + 1] = static_cast<uint32_t>(bits >> 32) < threshold ? W(0) : from[unit + 1] * scale;
  }
}

template <typename S, typename W>
WITHIN void attend(const Layout &layout, const S *query, const S *key, const S *value, W *probabilities, S *context, int64_t item,
                   W *room) {
  const int64_t b = item / layout.heads, h = item % layout.heads, n = layout.length(b), m = layout.queries(b);
  const int64_t dim = layout.dim, d = layout.head, dp = Wide<W>::up(d), np = Wide<W>::up(n);
  const int64_t row = layout.start(b) * dim + h * d, query_row = layout.query_row(b) * dim + h * d;
  W *q = room, *k = q + m * dp, *kt = k + n * dp, *scores = kt + d * np, *out = scores + m * np;
  take<S, W>(query + query_row, dim, q, m, d, dp, static_cast<W>(layout.scale));
  take<S, W>(key + row, dim, k, n, d, dp, W(1));
  transpose<W>(k, dp, kt, np, n, d);
  product<W>(q, dp, 1, kt, np, scores, np, m, np, d);
  take<S, W>(value + row, dim, k, n, d, dp, W(1));
  W *kept = probabilities + layout.offsets[b] + h * m * n;
  const uint64_t part = absorb(absorb(layout.base, static_cast<uint64_t>(layout.examples[b])), static_cast<uint64_t>(h));
  for (int64_t i = 0; i < m; ++i) {
    W *s = scores + i * np, most = s[0], sum = 0;
    for (int64_t j = 1; j < n; ++j)
      most = s[j] > most ? s[j] : most;
    for (int64_t j = 0; j < n; ++j)
      s[j] = std::exp(s[j] - most);
    for (int64_t j = 0; j < n; ++j)
      sum += s[j];
    for (int64_t j = 0; j < n; ++j)
      kept[i * n + j] = s[j] = s[j] / sum;
    if (layout.threshold > 0)
      mask_row<W>(s, s, n, absorb(part, static_cast<uint64_t>(i)), layout.threshold, static_cast<W>(layout.keep_scale));
  }
  product<W>(scores, np, 1, k, dp, out, dp, m, dp, n);
  give<S, W>(out, dp, context + query_row, dim, m, d, W(1));
}

template <typename S, typename W>
WITHIN void attend_back(const Layout &layout, const S *query, const S *key, const S *value, const W *probabilities, const S *gradient,
                        S *query_gradient, S *key_gradient, S *value_gradient, int64_t item, W *room) {
  const int64_t b = item / layout.heads, h = item % layout.heads, n = layout.length(b), m = layout.queries(b);
  const int64_t dim = layout.dim, d = layout.head, dp = Wide<W>::up(d), np = Wide<W>::up(n);
  const int64_t row = layout.start(b) * dim + h * d, query_row = layout.query_row(b) * dim + h * d;
  W *g = room, *kv = g + m * dp, *turned = kv + n * dp, *masked = turned + d * np, *slopes = masked + m * np, *out = slopes + m * np;
  const W *kept = probabilities + layout.offsets[b] + h * m * n;
  const W scale = static_cast<W>(layout.keep_scale);
  const uint64_t part = absorb(absorb(layout.base, static_cast<uint64_t>(layout.examples[b])), static_cast<uint64_t>(h));
  take<S, W>(gradient + query_row, dim, g, m, d, dp, W(1));
  take<S, W>(value + row, dim, kv, n, d, dp, W(1));
  transpose<W>(kv, dp, turned, np, n, d);
  product<W>(g, dp, 1, turned, np, slopes, np, m, np, d);
  for (int64_t i = 0; i < m; ++i) {
    W *slope = slopes + i * np, *p = masked + i * np, sum = 0;
    for (int64_t j = 0; j < n; ++j)
      p[j] = kept[i * n + j];
    if (layout.threshold > 0) {
      const uint64_t row_key = absorb(part, static_cast<uint64_t>(i));
      mask_row<W>(slope, slope, n, row_key, layout.threshold, scale);
      mask_row<W>(p, p, n, row_key, layout.threshold, scale);
    }
    for (int64_t j = 0; j < n; ++j)
      sum += slope[j] * kept[i * n + j];
    for (int64_t j = 0; j < n; ++j)
      slope[j] = kept[i * n + j] * (slope[j] - sum);
  }
  // Gradients of values, of queries and of keys.
  product<W>(masked, 1, np, g, dp, out, dp, n, dp, m);
  give<S, W>(out, dp, value_gradient + row, dim, n, d, W(1));
  take<S, W>(key + row, dim, kv, n, d, dp, W(1));
  product<W>(slopes, np, 1, kv, dp, out, dp, m, dp, n);
  give<S, W>(out, dp, query_gradient + query_row, dim, m, d, static_cast<W>(layout.scale));
  take<S, W>(query + query_row, dim, g, m, d, dp, static_cast<W>(layout.scale));
  product<W>(slopes, 1, np, g, dp, out, dp, n, dp, m);
  give<S, W>(out, dp, key_gradient + row, dim, n, d, W(1));
}

// Numbers that one (example, head) needs, forward or backward.
template <typename W> int64_t room(const Layout &layout) {
  int64_t most = 0;
  for (int64_t b = 0; b < layout.count; ++b) {
    const int64_t n = layout.length(b), m = layout.queries(b), dp = Wide<W>::up(layout.head), np = Wide<W>::up(n);
    most = std::max(most, (m + n + std::max(m, n)) * dp + layout.head * np + 2 * m * np);
  }
  return most;
}

// Clones cannot be templates.
#define ATTENTION(name, S, W)                                                                                                   \
  WIDEST void name##_forward(const Layout &layout, const S *query, const S *key, const S *value, W *probabilities, S *context,  \
                             int64_t begin, int64_t end, W *room) {                                                             \
    for (int64_t item = begin; item < end; ++item)                                                                              \
      attend<S, W>(layout, query, key, value, probabilities, context, item, room);                                              \
  }                                                                                                                             \
  WIDEST void name##_backward(const Layout &layout, const S *query, const S *key, const S *value, const W *probabilities,       \
                              const S *gradient, S *to_query, S *to_key, S *to_value, int64_t begin, int64_t end, W *room) {    \
    for (int64_t item = begin; item < end; ++item)                                                                              \
      attend_back<S, W>(layout, query, key, value, probabilities, gradient, to_query, to_key, to_value, item, room);            \
  }
ATTENTION(attention_single, float, float)
ATTENTION(attention_double, double, double)
ATTENTION(attention_half, at::BFloat16, float)

// Calls `body` with the storage's and the arithmetic's type, and the functions of that pair.
template <typename F> void by_kind(at::ScalarType kind, F &&body) {
  switch (kind) {
  case at::kFloat: body(float{}, float{}, attention_single_forward, attention_single_backward); break;
  case at::kDouble: body(double{}, double{}, attention_double_forward, attention_double_backward); break;
  case at::kBFloat16: body(at::BFloat16{}, float{}, attention_half_forward, attention_half_backward); break;
  default: TORCH_CHECK(false, "attention on a CPU computes in float32, float64 or bfloat16, not in ", kind);
  }
}

struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static Layout layout(const at::Tensor &query, const at::Tensor &key, const at::Tensor &starts, const at::Tensor &examples, int64_t heads,
                       int64_t base, double p) {
    const Rate rate(p);
    Layout l;
    l.starts = starts.const_data_ptr<int64_t>();
    l.examples = examples.const_data_ptr<int64_t>();
    l.count = starts.numel();
    l.total = key.size(0);
    l.heads = heads;
    l.dim = key.size(1);
    l.head = l.dim / heads;
    l.first = query.size(0) != key.size(0);
    l.base = static_cast<uint64_t>(base);
    l.threshold = rate.threshold;
    l.keep_scale = rate.scale;
    l.scale = 1.0 / std::sqrt(static_cast<double>(l.head));
    int64_t at = 0;
    for (int64_t b = 0; b < l.count; ++b) {
      l.offsets.push_back(at);
      at += heads * l.queries(b) * l.length(b);
    }
    l.offsets.push_back(at);
    return l;
  }
  static at::Tensor forward(AutogradContext *context, const at::Tensor &q, const at::Tensor &k, const at::Tensor &v, const at::Tensor &starts,
                            const at::Tensor &examples, int64_t heads, int64_t base, double p) {
    const at::Tensor query = q.contiguous(), key = k.contiguous(), value = v.contiguous();
    TORCH_CHECK(query.dim() == 2 && key.sizes() == value.sizes() && query.size(1) == key.size(1) && key.size(1) % heads == 0 &&
                    (query.size(0) == key.size(0) || query.size(0) == starts.numel()),
                "attention of ", starts.numel(), " examples with ", heads, " heads has queries of shape ", query.sizes(), ", keys of ",
                key.sizes(), " and values of ", value.sizes());
    const Layout l = layout(query, key, starts, examples, heads, base, p);
    at::Tensor out = at::empty_like(query), probabilities;
    by_kind(query.scalar_type(), [&](auto stored, auto wide, auto forward, auto) {
      using S = decltype(stored);
      using W = decltype(wide);
      probabilities = at::empty({l.offsets.back()}, query.options().dtype(c10::CppTypeToScalarType<W>::value));
      const int64_t numbers = room<W>(l);
      at::parallel_for(0, l.count * heads, 1, [&](int64_t begin, int64_t end) {
        Numbers<W> mine(numbers);
        forward(l, query.const_data_ptr<S>(), key.const_data_ptr<S>(), value.const_data_ptr<S>(), probabilities.mutable_data_ptr<W>(),
                out.mutable_data_ptr<S>(), begin, end, mine.data);
      });
    });
    context->save_for_backward({query, key, value, probabilities, starts, examples});
    context->saved_data["heads"] = heads;
    context->saved_data["base"] = base;
    context->saved_data["p"] = p;
    return out;
  }
  static tensor_list backward(AutogradContext *context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &query = saved[0], &key = saved[1], &value = saved[2], &probabilities = saved[3];
    const at::Tensor gradient = gradients[0].contiguous();
    const int64_t heads = context->saved_data["heads"].toInt();
    const Layout l = layout(query, key, saved[4], saved[5], heads, context->saved_data["base"].toInt(), context->saved_data["p"].toDouble());
    at::Tensor to_query = at::empty_like(query), to_key = at::empty_like(key), to_value = at::empty_like(value);
    by_kind(query.scalar_type(), [&](auto stored, auto wide, auto, auto backward) {
      using S = decltype(stored);
      using W = decltype(wide);
      const int64_t numbers = room<W>(l);
      at::parallel_for(0, l.count * heads, 1, [&](int64_t begin, int64_t end) {
        Numbers<W> mine(numbers);
        backward(l, query.const_data_ptr<S>(), key.const_data_ptr<S>(), value.const_data_ptr<S>(), probabilities.const_data_ptr<W>(),
                 gradient.const_data_ptr<S>(), to_query.mutable_data_ptr<S>(), to_key.mutable_data_ptr<S>(),
                 to_value.mutable_data_ptr<S>(), begin, end, mine.data);
      });
    });
    return {to_query, to_key, to_value, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// a [m, k] times w [n, k] transposed, plus bias. In single precision oneDNN's product is some 10 % faster than the BLAS
// that at::linear takes; for bfloat16 at::linear takes oneDNN's itself.
at::Tensor times(const at::Tensor &a, const at::Tensor &w, const at::Tensor &bias) {
  if (a.scalar_type() != at::kFloat || !at::globalContext().userEnabledMkldnn())
    return bias.defined() ? at::addmm(bias, a, w.t()) : at::mm(a, w.t());
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
          .typed<at::Tensor(const at::Tensor &, const at::Tensor &, const std::optional<at::Tensor> &, std::string_view,
                            c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>)>();
  return op.call(a, w, bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt, "none",
                 c10::List<std::optional<at::Scalar>>(), "");
}

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &rows, const at::Tensor &weight, const at::Tensor &bias,
                            at::ScalarType kind) {
    const at::Tensor from = rows.to(kind).contiguous(), by = weight.to(kind);
    context->save_for_backward({from, by});
    context->saved_data["rows"] = static_cast<int64_t>(rows.scalar_type());
    context->saved_data["weight"] = static_cast<int64_t>(weight.scalar_type());
    return times(from, by, bias.to(kind));
  }
  static tensor_list backward(AutogradContext *context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto kind = [&](const char *name) { return static_cast<at::ScalarType>(context->saved_data[name].toInt()); };
    const at::Tensor gradient = gradients[0].contiguous();
    at::Tensor to_rows;
    if (context->needs_input_grad(0))
      to_rows = times(gradient, saved[1].t(), {}).to(kind("rows"));
    return {to_rows, times(gradient.t(), saved[0].t(), {}).to(kind("weight")), gradient.sum(0, false, kind("weight")), at::Tensor()};
  }
};

template <typename W> WITHIN W sum(const W *row, int64_t n) {
  using vector = typename Wide<W>::type;
  vector parts{};
  int64_t i = 0;
  for (; i + Wide<W>::lanes <= n; i += Wide<W>::lanes)
    parts += *reinterpret_cast<const vector *>(row + i);
  W total = 0;
  for (int64_t lane = 0; lane < Wide<W>::lanes; ++lane)
    total += parts[lane];
  for (; i < n; ++i)
    total += row[i];
  return total;
}

// to = the row with what its mask drops away, unless nothing is dropped. `room` has a row's draws.
template <typename S, typename W>
WITHIN void drop(const S *from, W *to, int64_t units, uint64_t key, uint32_t threshold, W scale, uint64_t *room) {
  if (threshold == 0) {
    for (int64_t i = 0; i < units; ++i)
      to[i] = static_cast<W>(from[i]);
    return;
  }
  for (int64_t i = 0; i < (units + 1) / 2; ++i)
    room[i] = absorb(key, static_cast<uint64_t>(i));
  for (int64_t i = 0; i < units; ++i) {
    const uint32_t draw = static_cast<uint32_t>(room[i / 2] >> (i % 2 * 32));
    to[i] = draw < threshold ? W(0) : static_cast<W>(from[i]) * scale;
  }
}

struct Norm {
  int64_t width;
  const int64_t *keys;
  uint32_t threshold;
  double scale, epsilon;
};

#define NORM(name, S, W)                                                                                                         \
  WIDEST void name##_forward(const Norm &norm, const S *input, const W *residual, const W *weight, const W *bias, W *sums,       \
                             W *moments, W *out, int64_t begin, int64_t end, uint64_t *draws, W *room) {                         \
    const int64_t n = norm.width;                                                                                                \
    for (int64_t row = begin; row < end; ++row) {                                                                                \
      W *x = sums + row * n, *y = out + row * n;                                                                                 \
      drop<S, W>(input + row * n, x, n, norm.keys ? static_cast<uint64_t>(norm.keys[row]) : 0, norm.threshold,                   \
                 static_cast<W>(norm.scale), draws);                                                                             \
      for (int64_t i = 0; i < n; ++i)                                                                                            \
        x[i] += residual[row * n + i];                                                                                           \
      const W mean = sum<W>(x, n) / static_cast<W>(n);                                                                           \
      for (int64_t i = 0; i < n; ++i)                                                                                            \
        room[i] = (x[i] - mean) * (x[i] - mean);                                                                                 \
      const W inverse = W(1) / std::sqrt(sum<W>(room, n) / static_cast<W>(n) + static_cast<W>(norm.epsilon));                    \
      moments[2 * row] = mean;                                                                                                   \
      moments[2 * row + 1] = inverse;                                                                                            \
      for (int64_t i = 0; i < n; ++i)                                                                                            \
        y[i] = (x[i] - mean) * inverse * weight[i] + bias[i];                                                                    \
    }                                                                                                                            \
  }                                                                                                                              \
  WIDEST void name##_backward(const Norm &norm, const W *gradient, const W *sums, const W *moments, const W *weight, S *to_input, \
                              W *to_residual, W *to_weight, W *to_bias, int64_t begin, int64_t end, uint64_t *draws, W *room) {  \
    const int64_t n = norm.width;                                                                                                \
    W *x = room, *g = room + n, *gx = room + 2 * n;                                                                              \
    for (int64_t row = begin; row < end; ++row) {                                                                                \
      const W mean = moments[2 * row], inverse = moments[2 * row + 1], *dy = gradient + row * n;                                 \
      W *dx = to_residual + row * n;                                                                                             \
      for (int64_t i = 0; i < n; ++i) {                                                                                          \
        x[i] = (sums[row * n + i] - mean) * inverse;                                                                             \
        g[i] = dy[i] * weight[i];                                                                                                \
        gx[i] = g[i] * x[i];                                                                                                     \
        to_weight[i] += dy[i] * x[i];                                                                                            \
        to_bias[i] += dy[i];                                                                                                     \
      }                                                                                                                          \
      const W mean_g = sum<W>(g, n) / static_cast<W>(n), mean_gx = sum<W>(gx, n) / static_cast<W>(n);                            \
      for (int64_t i = 0; i < n; ++i)                                                                                            \
        dx[i] = inverse * (g[i] - mean_g - x[i] * mean_gx);                                                                      \
      drop<W, W>(dx, g, n, norm.keys ? static_cast<uint64_t>(norm.keys[row]) : 0, norm.threshold, static_cast<W>(norm.scale),    \
                 draws);                                                                                                         \
      for (int64_t i = 0; i < n; ++i)                                                                                            \
        to_input[row * n + i] = static_cast<S>(g[i]);                                                                            \
    }                                                                                                                            \
  }
NORM(norm_single, float, float)
NORM(norm_double, double, double)
NORM(norm_half, at::BFloat16, float)

template <typename F> void by_norm(at::ScalarType kind, F &&body) {
  switch (kind) {
  case at::kFloat: body(float{}, float{}, norm_single_forward, norm_single_backward); break;
  case at::kDouble: body(double{}, double{}, norm_double_forward, norm_double_backward); break;
  case at::kBFloat16: body(at::BFloat16{}, float{}, norm_half_forward, norm_half_backward); break;
  default: TORCH_CHECK(false, "a residual's rows are float32, float64 or bfloat16, not ", kind);
  }
}

struct ResidualNorm : torch::autograd::Function<ResidualNorm> {
  static Norm norm(const at::Tensor &input, const at::Tensor &keys, double p, double epsilon) {
    const Rate rate(p);
    return Norm{input.size(1), keys.numel() == 0 ? nullptr : keys.const_data_ptr<int64_t>(), keys.numel() == 0 ? 0 : rate.threshold,
                rate.scale, epsilon};
  }
  static at::Tensor forward(AutogradContext *context, const at::Tensor &rows, const at::Tensor &residual_rows, const at::Tensor &weight,
                            const at::Tensor &bias, const at::Tensor &keys, double p, double epsilon) {
    const at::Tensor input = rows.contiguous(), residual = residual_rows.contiguous();
    TORCH_CHECK(input.dim() == 2 && input.sizes() == residual.sizes() && weight.numel() == input.size(1) && weight.sizes() == bias.sizes() &&
                    (keys.numel() == 0 || keys.numel() == input.size(0)),
                "rows of shape ", input.sizes(), " have a residual of ", residual.sizes(), ", a LayerNorm of ", weight.sizes(), " and ",
                keys.numel(), " keys");
    const Norm l = norm(input, keys, p, epsilon);
    const int64_t count = input.size(0);
    at::Tensor sums = at::empty_like(residual), moments = at::empty({count, 2}, residual.options()), out = at::empty_like(residual);
    by_norm(input.scalar_type(), [&](auto stored, auto wide, auto forward, auto) {
      using S = decltype(stored);
      using W = decltype(wide);
      at::parallel_for(0, count, 16, [&](int64_t begin, int64_t end) {
        Numbers<W> mine(l.width);
        std::vector<uint64_t> draws(l.width / 2 + 1);
        forward(l, input.const_data_ptr<S>(), residual.const_data_ptr<W>(), weight.const_data_ptr<W>(), bias.const_data_ptr<W>(),
                sums.mutable_data_ptr<W>(), moments.mutable_data_ptr<W>(), out.mutable_data_ptr<W>(), begin, end, draws.data(), mine.data);
      });
    });
    context->save_for_backward({sums, moments, weight, keys});
    context->saved_data["kind"] = static_cast<int64_t>(input.scalar_type());
    context->saved_data["p"] = p;
    context->saved_data["epsilon"] = epsilon;
    return out;
  }
  static tensor_list backward(AutogradContext *context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &sums = saved[0], &moments = saved[1], &weight = saved[2], gradient = gradients[0].contiguous();
    const auto kind = static_cast<at::ScalarType>(context->saved_data["kind"].toInt());
    const Norm l = norm(sums, saved[3], context->saved_data["p"].toDouble(), context->saved_data["epsilon"].toDouble());
    const int64_t count = sums.size(0), parts = at::get_num_threads();
    at::Tensor to_input = at::empty(sums.sizes(), sums.options().dtype(kind)), to_residual = at::empty_like(sums);
    // One sum a thread, added in their order: the same bits for the same number of threads.
    at::Tensor shares = at::zeros({parts, 2, l.width}, sums.options());
    by_norm(kind, [&](auto stored, auto wide, auto, auto backward) {
      using S = decltype(stored);
      using W = decltype(wide);
      at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
        Numbers<W> mine(3 * l.width);
        std::vector<uint64_t> draws(l.width / 2 + 1);
        for (int64_t part = first; part < last; ++part) {
          W *share = shares.mutable_data_ptr<W>() + part * 2 * l.width;
          backward(l, gradient.const_data_ptr<W>(), sums.const_data_ptr<W>(), moments.const_data_ptr<W>(), weight.const_data_ptr<W>(),
                   to_input.mutable_data_ptr<S>(), to_residual.mutable_data_ptr<W>(), share, share + l.width, count * part / parts,
                   count * (part + 1) / parts, draws.data(), mine.data);
        }
      });
    });
    const at::Tensor both = shares.sum(0);
    return {to_input, to_residual, both.select(0, 0), both.select(0, 1), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

} // namespace

extern "C" {

char *distilsweep_linear(at::Tensor **out, const at::Tensor *rows, const at::Tensor *weight, const at::Tensor *bias, int32_t kind) {
  return guarded([&] {
    const auto compute = static_cast<at::ScalarType>(kind);
    *out = new at::Tensor(rows->is_cpu() ? Linear::apply(*rows, *weight, *bias, compute)
                                         : at::linear(rows->to(compute), weight->to(compute), bias->to(compute)));
  });
}

char *distilsweep_attention(at::Tensor **out, const at::Tensor *query, const at::Tensor *key, const at::Tensor *value,
                            const at::Tensor *starts, const at::Tensor *examples, int64_t heads, uint64_t seed, uint64_t site,
                            uint64_t step, double p) {
  return guarded([&] {
    TORCH_CHECK(key->is_cpu(), "attention over unpadded rows runs on a CPU, the keys are on ", key->device());
    const uint64_t base = absorb(absorb(absorb(0, seed), site), step);
    *out = new at::Tensor(
        PackedAttention::apply(*query, *key, *value, *starts, *examples, heads, static_cast<int64_t>(base), p));
  });
}

char *distilsweep_residual_norm(at::Tensor **out, const at::Tensor *rows, const at::Tensor *residual, const at::Tensor *weight,
                                const at::Tensor *bias, const at::Tensor *examples, const at::Tensor *positions, uint64_t seed,
                                uint64_t site, uint64_t step, double p, double epsilon) {
  return guarded([&] {
    TORCH_CHECK(rows->is_cpu(), "a residual's LayerNorm in one pass runs on a CPU, the rows are on ", rows->device());
    TORCH_CHECK(positions->numel() == examples->numel(), "keyed dropout has ", examples->numel(), " examples and ",
                positions->numel(), " positions");
    const uint64_t base = absorb(absorb(absorb(0, seed), site), step);
    const int64_t count = p > 0.0 ? examples->numel() : 0;
    at::Tensor keys = at::empty({count}, at::kLong);
    const int64_t *example = examples->const_data_ptr<int64_t>(), *position = positions->const_data_ptr<int64_t>();
    for (int64_t row = 0; row < count; ++row)
      keys.mutable_data_ptr<int64_t>()[row] = static_cast<int64_t>(absorb(absorb(base, static_cast<uint64_t>(example[row])), static_cast<uint64_t>(position[row])));
    *out = new at::Tensor(ResidualNorm::apply(*rows, *residual, *weight, *bias, keys, p, epsilon));
  });
}
}
