// Many models of one shape computed as one: parameters stacked along a first dimension, the lanes.

#include "common.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

namespace {

// Backward makes the weights' gradient in the layout of the weights: what autograd derives from a product with a
// transposed weight is a transposed gradient, which would be copied once more.
struct LaneLinear : torch::autograd::Function<LaneLinear> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &rows, const at::Tensor &weight,
                            const at::Tensor &bias) {
    context->save_for_backward({rows, weight});
    return at::baddbmm(bias.unsqueeze(1), rows, weight.transpose(1, 2));
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext *context,
                                               torch::autograd::tensor_list gradient) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &rows = saved[0], &weight = saved[1], &output = gradient[0];
    return {at::bmm(output, weight), at::bmm(output.transpose(1, 2), rows), output.sum(1)};
  }
};

} // namespace

extern "C" {

char *distilsweep_lane_linear(at::Tensor **out, const at::Tensor *rows, const at::Tensor *weight,
                              const at::Tensor *bias) {
  return guarded([&] { *out = new at::Tensor(LaneLinear::apply(*rows, *weight, *bias)); });
}

char *distilsweep_share_storage(const at::Tensor *parameter, const at::Tensor *view) {
  return guarded([&] {
    TORCH_CHECK(parameter->sizes() == view->sizes(), "a parameter of shape ", parameter->sizes(),
                " cannot be a view of shape ", view->sizes());
    parameter->set_data(*view);
  });
}

char *distilsweep_give_gradients(at::Tensor *const *stacks, const size_t *parts, size_t count, int64_t lane,
                                 at::Tensor *const *parameters) {
  return guarded([&] {
    const at::NoGradGuard guard;
    std::vector<at::Tensor> sums, shares;
    for (size_t i = 0; i < count; ++i) {
      TORCH_CHECK(stacks[i]->grad().defined(), "stack ", i, " of the list has no gradient");
      const at::Tensor gradient = stacks[i]->grad().select(0, lane);
      int64_t offset = 0;
      for (size_t part = 0; part < parts[i]; ++part) {
        const at::Tensor &parameter = **parameters++;
        const at::Tensor share = gradient.narrow(0, offset, parameter.size(0));
        offset += parameter.size(0);
        if (parameter.grad().defined()) {
          sums.push_back(parameter.grad());
          shares.push_back(share);
        } else {
          parameter.mutable_grad() = share;
        }
      }
    }
    if (!sums.empty())
      at::_foreach_add_(sums, shares);
  });
}
}
