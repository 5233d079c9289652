// A thread per number; contract in attention.h.
#include "cuda/attention.h"
#include "cuda/device.cuh"

namespace distilmt::cuda {
namespace {

template <class T>
__global__ void keep_source_kernel(const SourceKeeping s) {
  const int64_t i = global_thread(), width = 2 * s.d, token = i / (s.layers * width);
  if (token >= s.tokens || s.place[token] < 0) return;
  const int64_t layer = i / width % s.layers, entry = layer * s.places + s.place[token];
  static_cast<T*>(s.source)[(entry * s.source_positions + s.at[token]) * width + i % width] =
      static_cast<const T*>(s.key_value)[i];
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_keep_source(const distilmt::cuda::SourceKeeping* s, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(s->storage, [&](auto number) {
    return launch_elements(keep_source_kernel<decltype(number)>, *s, s->tokens * s->layers * 2 * s->d, stream);
  });
}
