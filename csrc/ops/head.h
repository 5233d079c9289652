// Student or teacher: hidden states with an output layer, or logits (no weight). Several may share one workspace.
#pragma once
#include "ops/rows.h"

namespace distilmt::ops {

struct Head {
  Tensor hidden;          // [rows, d], any floating dtype; [rows, vocab] without a weight
  OptionalTensor weight;  // [vocab, d], contiguous, of the products' dtype
  OptionalTensor bias;    // [vocab], contiguous, of the computing dtype
  Tensor logits;          // [chunk, vocab] workspace; its rows may lie further apart
  ScalarType dtype;       // of the products
  bool exact;             // whose float32 results, where dtype is half precision, are not rounded on the way

  Head(const Tensor& hidden, const OptionalTensor& weight, const OptionalTensor& bias, const Tensor& workspace,
       ScalarType dtype, ScalarType computing, bool exact)
      : hidden(hidden), logits(workspace), dtype(dtype), exact(exact) {
    if (weight) this->weight = torch::stable::contiguous(torch::stable::to(*weight, dtype));
    if (bias) this->bias = torch::stable::contiguous(torch::stable::to(*bias, computing));
  }

  int64_t vocab() const { return logits.size(1); }

  // Hidden states of kept rows [rows, d].
  Tensor states(const KeptRows& kept, int64_t begin, int64_t rows) const {
    return torch::stable::to(kept.chunk(hidden, begin, rows), dtype);
  }

  // Logits of hidden states h [rows, d], without bias, to the workspace from row `at` on.
  void project(const Tensor& h, int64_t at = 0) const {
    Tensor z = rows_of(logits, at, h.size(0));
    if (!weight)
      torch::stable::copy_(z, h);
    else
      mm_out(z, h, transpose(*weight), false);
  }
};

}  // namespace distilmt::ops
