// One dense teacher of one or more members, and the buffers of a chunk of its logits.
#pragma once
#include "ops/head.h"
#include "ops/launch.h"
#include "ops/linear_kd_call.h"

namespace distilmt::ops {

// What a chunk's logits are: how many rows of them, how far apart, in which dtypes.
struct Chunk {
  int64_t rows, vocab, stride;
  ScalarType storage, computing;
};

// A head is multiplied in its hidden states' dtype where that is half precision and nothing else is asked for; else in
// the computing one.
inline ScalarType product_dtype(const Call& c, const Tensor& hidden, ScalarType computing, bool teacher) {
  if (teacher && c.teacher_bfloat16 && computing == ScalarType::Float) return ScalarType::BFloat16;
  return c.masked && computing == ScalarType::Float && is_half(hidden.scalar_type()) ? hidden.scalar_type() : computing;
}

template <class real>
struct Teacher {
  std::vector<Head> members;
  OptionalTensor mix_weights;  // [members, kept rows]
  bool geometric = false;
  Chunk chunk;
  Tensor logits, member;  // [chunk, vocab]: what the row kernel sees; a member's own, where there are several

  Teacher(const Call& c, const std::vector<Tensor>& tensors, const Chunk& chunk) : chunk(chunk) {
    const auto room = [&] { return new_logits(tensors[0], chunk.rows, chunk.vocab, chunk.stride, chunk.storage); };
    logits = room();
    if (tensors.size() > 3) member = room();
    for (size_t i = 0; i < tensors.size(); i += 3)
      members.emplace_back(
          tensors[i], present(tensors[i + 1]), present(tensors[i + 2]), tensors.size() > 3 ? member : logits,
          product_dtype(c, tensors[i], chunk.computing, bool(present(tensors[i + 1]))), chunk.computing);
  }

  const real* bias() const { return members.size() == 1 && members[0].bias ? data<real>(*members[0].bias) : nullptr; }

  // Logits of the kept rows `begin .. begin + count`, or of those of them in `chosen` (positions among the kept ones).
  void project(const KeptRows& kept, int64_t begin, int64_t count, const OptionalTensor& chosen) {
    const int64_t rows = chosen ? chosen->size(0) : count;
    if (rows == 0) return;
    for (size_t m = 0; m < members.size(); ++m) {
      const Head& head = members[m];
      const Tensor h = kept.chunk(head.hidden, begin, count);
      head.project(torch::stable::to(chosen ? index_select(h, 0, *chosen) : h, head.dtype));
      if (members.size() == 1) continue;
      Tensor w = rows_of(torch::stable::select(*mix_weights, 0, m), begin, count);
      w = torch::stable::contiguous(chosen ? index_select(w, 0, *chosen) : w);
      MixedRows<real> mixed{};
      mixed.logits = data<real>(head.logits);
      mixed.bias = head.bias ? data<real>(*head.bias) : nullptr;
      mixed.weights = data<real>(w);
      mixed.mixed = data<real>(logits);
      mixed.rows = rows;
      mixed.vocab = chunk.vocab;
      mixed.stride = chunk.stride;
      mixed.geometric = geometric;
      mixed.first = m == 0;
      run_rows(mixed, logits);
    }
  }
};

}  // namespace distilmt::ops
