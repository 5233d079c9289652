// Student or teacher: hidden states with an output layer, or logits (no weight). Several may share one workspace.
#pragma once
#include "ops/rows.h"

namespace distilmt::ops {

struct Head {
  Tensor hidden;          // [rows, d], any floating dtype; [rows, vocab] without a weight
  OptionalTensor weight;  // [vocab, d], contiguous, of the computing dtype or bfloat16
  OptionalTensor bias;    // [vocab], likewise, of the computing dtype
  Tensor logits;          // [chunk, vocab] workspace, likewise

  // bfloat16: an approximation, products of half the bytes; the weight is then of that dtype.
  Head(const Tensor& hidden, const OptionalTensor& weight, const OptionalTensor& bias, const Tensor& workspace,
       bool bfloat16 = false)
      : hidden(hidden), logits(workspace) {
    const ScalarType dtype = logits.scalar_type();
    if (weight)
      this->weight = torch::stable::contiguous(torch::stable::to(*weight, bfloat16 ? ScalarType::BFloat16 : dtype));
    if (bias) this->bias = torch::stable::contiguous(torch::stable::to(*bias, dtype));
  }

  int64_t vocab() const { return logits.size(1); }

  // Hidden states of kept rows [rows, d] in computing dtype.
  Tensor states(const KeptRows& kept, int64_t begin, int64_t rows) const {
    return torch::stable::to(kept.chunk(hidden, begin, rows), logits.scalar_type());
  }

  // Logits of hidden states h [rows, d], without bias, to the workspace from row `at` on.
  void project(const Tensor& h, int64_t at = 0) const {
    Tensor z = rows_of(logits, at, h.size(0));
    if (!weight)
      torch::stable::copy_(z, h);
    else if (weight->scalar_type() == z.scalar_type())
      mm_out(z, h, transpose(*weight));
    else
      torch::stable::copy_(z, mm(h, transpose(*weight)));
  }
};

}  // namespace distilmt::ops
