// How many rows a product takes at a time, and the temporary memory it needs for them: the packed rows must stay in the
// second-level cache while all panels of weights pass by, and there must be enough of them that streaming the weights
// costs little.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/gemm.h"

namespace distilmt {

// Bytes of a packed row: whole chunks of 64.
inline int64_t packed_bytes(const PackedMatrix& w) { return (w.groups + 15) / 16 * 64; }

inline int64_t rows_per_block(const PackedMatrix& w) {
  constexpr int64_t kPackedBytes = 512 * 1024;  // half of the smallest second-level cache of this class
  constexpr int64_t kUnit = 56;                 // whole tiles of 14 rows
  return std::max(kUnit, kPackedBytes / std::max<int64_t>(packed_bytes(w), 1) / kUnit * kUnit);
}

// Floats of scratch for `rows` rows: two per row for the scales of int8, the packed rows, and what a tile register
// reads beyond them.
inline int64_t product_scratch(int64_t rows, const PackedMatrix& w) {
  return (2 * rows + 15) / 16 * 16 + rows * packed_bytes(w) / 4 + 16 * 16;
}

}  // namespace distilmt
