// The uniform part of label smoothing in closed form: it never touches a [rows, vocab] tile.
//
// The sum of a row's logits is hidden . u + sum(bias) with u = sum of the rows of weight, so that a share s of d loss /
// d logits that is the same in every column becomes
//   grad_hidden += s u        grad_weight += 1 (sum s hidden)^T        grad_bias += sum s
// A column whose bias is -inf is banned: smoothing skips it, in u and in all sums. Nothing here waits for a GPU.
#pragma once
#include "ops/head.h"

namespace distilmt::ops {

struct LabelSmoothing {
  Tensor mask;      // [1, vocab], 1 where unbanned
  Tensor unbanned;  // [2] their number, the sum of their biases
  Tensor u;         // [1, d]; without a weight the hidden states are the logits and u = mask
  Tensor uniform;   // [chunk, 1] the sums of a chunk's logits: for the row kernel to read
  Tensor shift;     // [kept rows, 1] the shares s: for it to write
  Tensor states;    // [chunk, d] the chunk's hidden states, of the computing dtype

  LabelSmoothing(const Head& student, int64_t chunk, int64_t rows, ScalarType computing) {
    const int64_t vocab = student.vocab();
    mask = torch::stable::new_zeros(student.logits, {1, vocab}, computing);
    unbanned = torch::stable::new_zeros(mask, {2});
    uniform = torch::stable::new_empty(mask, {chunk, 1});
    shift = torch::stable::new_zeros(mask, {rows, 1});
    if (student.bias) {
      const Tensor bias = torch::stable::unsqueeze(*student.bias, 0), banned = call("aten::isneginf", "", bias);
      torch::stable::copy_(mask, call("aten::logical_not", "", banned));
      fill(1,
           torch::stable::sum(call("aten::where", "self", banned, torch::stable::new_zeros(mask, {1, vocab}), bias)));
    } else {
      torch::stable::fill_(mask, 1.0);
    }
    fill(0, torch::stable::sum(mask));
    u = mask;
    if (!student.weight) return;
    u = torch::stable::new_empty(mask, {1, student.weight->size(1)});
    mm_out(u, torch::stable::to(mask, student.dtype), *student.weight, student.exact);
  }

  // The sums of the logits of hidden states h [rows, d].
  void sum_logits(const Tensor& h) {
    states = torch::stable::to(h, mask.scalar_type());
    mm_out(rows_of(uniform, 0, h.size(0)), states, transpose(u));
  }

 private:
  void fill(int64_t at, const Tensor& number) const {
    Tensor place = rows_of(unbanned, at, 1);
    torch::stable::copy_(place, number);
  }
};

}  // namespace distilmt::ops
