// Token embeddings plus positions: out[i] = scale * table[ids[i]] + positions[at[i]], float32.
//
//   table [vocab, d], positions [max_positions, d], ids and at [rows], out [rows, d]
//
// Two roundings (product, then sum), as Hugging Face computes it: no fused multiply-add. Ids and positions are not
// checked here.
#pragma once
#include <cstdint>

namespace distilmt {

void embed(const float* table, float scale, const float* positions, const int32_t* ids, const int32_t* at, int64_t rows,
           int64_t d, float* out);

}  // namespace distilmt
