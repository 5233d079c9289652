// Student or teacher: hidden states with an output layer, or logits (no weight).
#pragma once
#include "ops/rows.h"

namespace distilmt::ops {

struct Head {
  Tensor hidden;          // [rows, d], any floating dtype; [rows, vocab] without a weight
  OptionalTensor weight;  // [vocab, d], contiguous, of the computing dtype
  OptionalTensor bias;    // [vocab], likewise
  Tensor logits;          // [chunk, vocab] workspace, likewise

  Head(const Tensor& hidden, const OptionalTensor& weight, const OptionalTensor& bias, int64_t chunk, int64_t vocab,
       ScalarType dtype)
      : hidden(hidden), logits(torch::stable::new_empty(hidden, {chunk, vocab}, dtype)) {
    if (weight) this->weight = torch::stable::contiguous(torch::stable::to(*weight, dtype));
    if (bias) this->bias = torch::stable::contiguous(torch::stable::to(*bias, dtype));
  }

  int64_t vocab() const { return logits.size(1); }

  // Hidden states of a chunk [rows, d] in computing dtype; their logits, without bias, are left in `logits`.
  Tensor project(const KeptRows& kept, int64_t begin, int64_t rows) const {
    const Tensor h = torch::stable::to(kept.chunk(hidden, begin, rows), logits.scalar_type());
    Tensor z = rows_of(logits, 0, rows);
    if (weight)
      mm_out(z, h, transpose(*weight));
    else
      torch::stable::copy_(z, h);
    return h;
  }
};

}  // namespace distilmt::ops
