// How much of its source each row has looked at, and the penalty of what it has not: engine/coverage.h on the device,
// before beam, which hands the coverage on to whoever continues a row.
#pragma once
#include "cuda/slots.h"

namespace distilmt::cuda {

struct Coverage {
  Slots slots;
  const int32_t* source_length;  // [places]
  int64_t heads, source_positions;
  const float* attention;  // [live, beams, heads, source_positions] of the last layer
  float* seen;             // [slots, beams, source_positions] by the tokens before this one; not read at position 0
  float* covered;          // [live, beams, source_positions] with this one, mean over the heads
  float* penalty;          // [live, beams] of a hypothesis that ends here; null: coverage is not asked for
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaCover(const distilmt::cuda::Coverage* coverage, void* stream);
DistilmtCudaCover distilmt_cuda_cover;
}
