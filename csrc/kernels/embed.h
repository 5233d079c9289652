// Token embeddings plus positions: out[i] = scale * table[ids[i]] + positions[at[i]], float32.
//
//   table [vocab, d], positions [max_positions, d], ids and at [rows], out [rows, d]
//
// The table is row-major, or it is the data of a float32 PackedMatrix, read where it lies: a tied projection is held
// once.
//
// Two roundings (product, then sum), as Hugging Face computes it: no fused multiply-add. Ids and positions are not
// checked here.
#pragma once
#include <cstdint>

namespace distilmt {

struct Table {
  const float* data;
  int64_t panel = 1;  // element (row, c) at (row / panel * d + c) * panel + row % panel
};

void embed(const Table& table, float scale, const float* positions, const int32_t* ids, const int32_t* at, int64_t rows,
           int64_t d, float* out);

}  // namespace distilmt
