// Token embeddings plus positions, as kernels/embed.h:   x[i] = scale * table[id] + positions[at]
//
// In an encoder row i reads ids[i] at at[i]; an id below 0 (behind a packed batch) is no token. In a decoder row i *
// beams
// + b reads ids[slot, b] at at[slot] with slot = live[i]; a slot below 0 is nobody's. Such rows become zeros.
#pragma once
#include "cuda/storage.h"

namespace distilmt::cuda {

struct Embedding {
  Storage storage;         // of table and out
  const void* table;       // [vocab, d]
  const float* positions;  // [positions, d]
  float scale;
  const int32_t* ids;
  const int32_t* at;
  const int32_t* live;  // [rows / beams], or null in an encoder
  int32_t beams;        // 1 in an encoder
  int64_t rows, d;
  float* x;   // [rows, d]
  void* out;  // [rows, d] the same for the next product, or null
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaEmbed(const distilmt::cuda::Embedding* embedding, void* stream);
DistilmtCudaEmbed distilmt_cuda_embed;
}
