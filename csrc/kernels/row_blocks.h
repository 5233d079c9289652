// How many rows a product takes at a time: the packed rows must stay in the second-level cache while all panels of
// weights pass by, and there must be enough of them that streaming the weights costs little.
#pragma once
#include <algorithm>
#include <cstdint>

namespace distilmt {

inline int64_t rows_per_block(int64_t k) {
  constexpr int64_t kPackedFloats = 128 * 1024;  // 512 KiB, half of the smallest second-level cache of this class
  return std::max<int64_t>(56,
                           kPackedFloats / std::max<int64_t>(k, 1) / 56 * 56);  // 56 = whole tiles of 14 and of 4 rows
}

// Floats that `rows` packed rows of k columns take (tile.h pads k to chunks of 16).
inline int64_t packed_floats(int64_t rows, int64_t k) { return rows * ((k + 15) / 16 * 16); }

}  // namespace distilmt
