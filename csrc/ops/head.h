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

  Head(const Tensor& hidden, const OptionalTensor& weight, const OptionalTensor& bias, const Tensor& workspace,
       ScalarType dtype, ScalarType computing)
      : hidden(hidden), logits(workspace), dtype(dtype) {
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
    else if (z.scalar_type() == dtype || z.is_cuda())
      mm_out(z, h, transpose(*weight));
    else  // bfloat16, an approximation: products of half the bytes
      torch::stable::copy_(z, mm(h, transpose(*weight)));
  }
};

// Room for logits [rows, vocab] whose rows are `stride` apart.
inline Tensor new_logits(const Tensor& like, int64_t rows, int64_t vocab, int64_t stride, ScalarType dtype) {
  Tensor all = torch::stable::new_empty(like, {rows, stride}, dtype);
  return stride == vocab ? all : torch::stable::narrow(all, 1, 0, vocab);
}

}  // namespace distilmt::ops
