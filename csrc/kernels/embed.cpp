#include "kernels/embed.h"

namespace distilmt {

void embed(const Table& table, float scale, const float* positions, const int32_t* ids, const int32_t* at, int64_t rows,
           int64_t d, float* out) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* token = table.data + ids[i] / table.panel * d * table.panel + ids[i] % table.panel;
    const float* position = positions + at[i] * d;
    for (int64_t c = 0; c < d; ++c) {
      const float scaled = scale * token[c * table.panel];
      out[i * d + c] = scaled + position[c];
    }
  }
}

}  // namespace distilmt
