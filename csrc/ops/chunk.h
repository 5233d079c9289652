// How logits lie in memory, and how many rows of them there are at a time. Their dtype:
//
//   CPU   bfloat16, where the machine has instructions for it and all hidden states have it: it is multiplied as it is,
//         products rounded to it. Else float32; half precision is converted, weights once per call
//   GPU   that of the hidden states. Half precision is multiplied as it is; every sum over columns or rows is float32,
//         and so are the gradients
//
// Where student and teachers differ, there are several teachers, or small gradients are dropped, it is float32.
//
// float64 stays float64.
#pragma once
#include "common/isa.h"
#include "ops/linear_kd_call.h"
#include "ops/rows.h"

namespace distilmt::ops {

template <class number>
constexpr ScalarType kDtype = std::is_same_v<number, double>     ? ScalarType::Double
                              : std::is_same_v<number, float>    ? ScalarType::Float
                              : std::is_same_v<number, bfloat16> ? ScalarType::BFloat16
                                                                 : ScalarType::Half;

// What a head is multiplied in: its hidden states' dtype where that is half precision, the device multiplies it and
// nothing else is asked for; else the computing one.
inline ScalarType product_dtype(const Call& c, const Tensor& hidden, ScalarType computing, bool teacher) {
  if (computing != ScalarType::Float) return computing;
  if (teacher && c.teacher_bfloat16) return ScalarType::BFloat16;
  const ScalarType own = hidden.scalar_type();
  const bool multiplied = c.masked ? is_half(own) : own == ScalarType::BFloat16 && active_isa() >= Isa::avx512_bf16;
  return multiplied ? own : computing;
}

// What a chunk's logits and their gradient lie in memory as, where float32 is computed.
inline ScalarType storage_dtype(const Call& c) {
  const ScalarType computing = ScalarType::Float, dtype = product_dtype(c, c.hidden, computing, false);
  bool same = c.teachers.size() <= 3 && c.dropped_mass == 0;
  for (const auto* list : {&c.teachers, &c.snapshot})
    for (size_t i = 0; i < list->size(); i += 3)
      same = same && product_dtype(c, (*list)[i], computing, bool(present((*list)[i + 1]))) == dtype;
  return same ? dtype : computing;
}

struct Chunk {
  int64_t rows, vocab;
  int64_t stride;  // columns from one row of logits to the next
  ScalarType storage, computing;
  bool keep;  // the student's logits of all rows stay from a choice to the losses

  // Room for logits [count, vocab].
  Tensor logits(const Tensor& like, int64_t count) const {
    Tensor all = torch::stable::new_empty(like, {count, stride}, storage);
    return stride == vocab ? all : torch::stable::narrow(all, 1, 0, vocab);
  }
};

// Equal chunks of `rows` rows, as few as the budget allows.
template <class real, class storage>
Chunk plan_chunks(const Call& c, int64_t rows) {
  // Rows begin on whole lines of the cache: a CPU's product of 5,999 columns takes 1.5 times that of 6,000 if they do
  // not.
  const int64_t columns = c.masked ? 64 : 16;
  const int64_t vocab = c.vocab(), stride = (vocab + columns - 1) / columns * columns, row = stride * sizeof(storage);
  const int64_t buffers = 1 + std::min<int64_t>(2, c.teachers.size() / 3) + !c.snapshot.empty();
  const bool rounds = c.weight && product_dtype(c, c.hidden, kDtype<real>, false) != kDtype<storage>;
  const bool keep = c.looks_first() && c.scores_student() && rows * row <= c.selection_bytes;
  const int64_t bytes = row * (buffers - keep) + (rounds ? 2 * vocab : 0);  // the gradient once more, for its products
  const int64_t most = std::max<int64_t>(1, c.workspace_bytes / std::max<int64_t>(1, bytes));
  const int64_t chunks = std::max<int64_t>(1, (rows + most - 1) / most);
  return {(rows + chunks - 1) / chunks, vocab, stride, kDtype<storage>, kDtype<real>, keep};
}

}  // namespace distilmt::ops
