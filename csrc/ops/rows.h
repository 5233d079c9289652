// The rows of a batch that have a target. On a CPU the others are dropped before any matrix product.
#pragma once
#include <algorithm>
#include <vector>

#include "kernels/linear_kd.h"
#include "ops/tensors.h"

namespace distilmt::ops {

struct KeptRows {
  int64_t all, count;
  OptionalTensor index;  // [count] int64; absent where every row has a target: then chunks are views, not copies
  Tensor targets;        // [count] int64

  // Rows begin .. begin + rows of the kept ones, of t [all, ...].
  Tensor chunk(const Tensor& t, int64_t begin, int64_t rows) const {
    return index ? index_select(t, 0, rows_of(*index, begin, rows)) : rows_of(t, begin, rows);
  }

  // The inverse, along dimension `dim`: values of kept rows to their places, 0 elsewhere.
  Tensor spread(const Tensor& values, int64_t dim) const {
    if (!index) return values;
    std::vector<int64_t> sizes(values.sizes().begin(), values.sizes().end());
    sizes[dim] = all;
    Tensor t = torch::stable::new_zeros(values, sizes);
    index_copy_(t, dim, *index, values);
    return t;
  }
};

// targets [rows] int64: -100, or in [0, vocab). On a GPU (`masked`) all rows are kept, since to count the others would
// be to wait for it: the row kernel writes zeros for them, and NaN for a target that cannot be.
inline KeptRows keep_rows(const Tensor& targets, int64_t vocab, bool masked) {
  const int64_t rows = targets.size(0);
  const Tensor all = torch::stable::contiguous(targets);
  if (masked) return {rows, rows, std::nullopt, all};
  const int64_t* y = all.const_data_ptr<int64_t>();
  std::vector<int64_t> index, kept;
  for (int64_t row = 0; row < rows; ++row) {
    if (y[row] == kNoTarget) continue;
    STD_TORCH_CHECK(0 <= y[row] && y[row] < vocab, "targets must be -100 or in [0, ", vocab, "), got ", y[row],
                    " in row ", row);
    index.push_back(row);
    kept.push_back(y[row]);
  }
  const int64_t count = index.size();
  if (count == rows) return {rows, count, std::nullopt, all};
  return {rows, count, tensor_of(index), tensor_of(kept)};
}

}  // namespace distilmt::ops
