// The uniform part of label smoothing in closed form: it never touches a [rows, vocab] tile.
//
// The sum of a row's logits is hidden . u + sum(bias) with u = sum of the rows of weight, so that with e the weight of
// one column and w the weight of a row, the share -w e of d loss / d logits in every column becomes
//   grad_hidden += -w e u        grad_weight += -e 1 (sum w hidden)^T        grad_bias += -e sum w
// A column whose bias is -inf is banned: smoothing skips it, in e, in u and in all sums.
#pragma once
#include <cmath>
#include <vector>

#include "ops/head.h"

namespace distilmt::ops {

struct LabelSmoothing {
  double columns = 0, bias_sum = 0;  // the number of unbanned columns, the sum of their biases
  Tensor mask;                       // [1, vocab], 1 where unbanned
  Tensor u;                          // [1, d]; without a weight the hidden states are the logits and u = mask

  LabelSmoothing(const Head& student) {
    std::vector<double> open(student.vocab(), 1.0);
    if (student.bias) {
      const Tensor host = torch::stable::to(to_cpu(*student.bias), ScalarType::Double);
      const double* bias = host.const_data_ptr<double>();
      for (size_t v = 0; v < open.size(); ++v) {
        open[v] = bias[v] != -INFINITY;
        if (open[v]) bias_sum += bias[v];
      }
    }
    for (double o : open) columns += o;
    mask =
        torch::stable::to(torch::stable::unsqueeze(from_host(open, student.logits), 0), student.logits.scalar_type());
    u = student.weight ? mm(mask, *student.weight) : mask;
  }

  // e: the target's share eps in equal parts over the other columns, as in fairseq's label_smoothed_cross_entropy since
  // 2020, or over all of them, as before and in torch.nn.functional.cross_entropy.
  double each(double eps, bool all_columns) const {
    if (all_columns) return eps / columns;
    return columns > 1 ? eps / (columns - 1) : 0;  // a lone column has nobody to share with
  }
};

}  // namespace distilmt::ops
