// A thread per number; contract in attention.h.
#include "cuda/attention.h"
#include "cuda/device.cuh"

namespace distilmt::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) keep_source_kernel(const SourceKeeping s) {
  const int64_t width = 2 * s.d;
  const auto [row, column] = element(width);
  const int64_t token = row / s.layers, layer = row % s.layers;
  if (column >= width || s.place[token] < 0) return;
  const int64_t entry = (layer * s.places + s.place[token]) * s.source_positions + s.at[token];
  static_cast<T*>(s.source)[entry * width + column] = static_cast<const T*>(s.key_value)[row * width + column];
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_keep_source(const distilmt::cuda::SourceKeeping* s, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(s->storage, [&](auto number) {
    return launch_elements(keep_source_kernel<decltype(number)>, *s, s->tokens * s->layers, 2 * s->d, stream);
  });
}
