// A warp per row; contract in coverage.h.
#include "cuda/coverage.h"
#include "cuda/device.cuh"

namespace distilmt::cuda {
namespace {

__global__ void __launch_bounds__(kThreads) cover_kernel(const Coverage c) {
  const Slots& s = c.slots;
  const int64_t row = int64_t(blockIdx.x) * warps() + warp();
  if (row >= int64_t{s.launched} * s.beams) return;
  const int64_t slot = s.live[row / s.beams];
  if (slot < 0) return;
  const bool first = s.position[slot] == 0;
  const float* attention = c.attention + row * c.heads * c.source_positions;
  const float* seen = c.seen + (slot * s.beams + row % s.beams) * c.source_positions;
  float total = 0;
  for (int64_t j = lane(); j < c.source_length[s.place[slot]]; j += 32) {
    float sum = 0;
    for (int64_t head = 0; head < c.heads; ++head) sum += attention[head * c.source_positions + j];
    const float covered = (first ? 0 : seen[j]) + sum / static_cast<float>(c.heads);
    c.covered[row * c.source_positions + j] = covered;
    total += coverage_term(covered);
  }
  total = warp_sum(total);
  if (lane() == 0) c.penalty[row] = total;
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_cover(const distilmt::cuda::Coverage* c, void* stream) {
  using namespace distilmt::cuda;
  return launch_rows(cover_kernel, *c, int64_t{c->slots.launched} * c->slots.beams, stream);
}
