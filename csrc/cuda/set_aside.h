// What the text of a row sets aside, and its neighbours do, before project_rows: engine/constraints.h on the device.
// The text is what the row has read: start symbol, prefix and what was generated, found through the ancestor table.
#pragma once
#include "cuda/project_rows.h"

namespace distilmt::cuda {

constexpr int32_t kMostAsides = 12288;  // room of a row: what shared memory holds without being asked for more

struct SettingAside {
  RowProjection rows;  // aside, its rule and its bans
  Places places;
  int32_t start;
  int32_t no_repeat_ngram_size;  // 0: any
  // Of each row, where neighbours are mixed in; an id may stand there several times, one below 0 is none.
  int32_t neighbours;          // per row
  const int32_t* neighbour;    // [live, beams, neighbours]
  const float* probabilities;  // as neighbour
};

}  // namespace distilmt::cuda

extern "C" {
typedef int DistilmtCudaSetAside(const distilmt::cuda::SettingAside* setting, void* stream);
DistilmtCudaSetAside distilmt_cuda_set_aside;
}
