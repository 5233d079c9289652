// A block per slot, head and 16 beams; contract in attention.h.
#include "cuda/attention.h"
#include "cuda/tile_attention.cuh"

namespace distilmt::cuda {
namespace {

template <class T>
__global__ void source_attention_kernel(const SourceAttention a) {
  DISTILMT_DYNAMIC_SHARED(shared);
  const Slots& s = a.slots;
  const int64_t tiles = (s.beams + kQueries - 1) / kQueries, tile = blockIdx.x % tiles;
  const int64_t head = blockIdx.x / tiles % a.heads, i = blockIdx.x / tiles / a.heads, slot = s.live[i];
  const int64_t size = a.d / a.heads, first = tile * kQueries, left = s.beams - first;
  const int queries = static_cast<int>(left < kQueries ? left : kQueries);
  const int64_t at = (i * s.beams + first) * a.d + head * size;
  T* out = static_cast<T*>(a.out) + at;
  if (slot < 0) {
    for (int64_t c = threadIdx.x; c < queries * size; c += blockDim.x) store(out + c / size * a.d + c % size, 0);
    return;
  }
  const int64_t place = s.place[slot], step = 2 * a.d;
  const T* keys = static_cast<const T*>(a.source) + place * a.source_positions * step + head * size;
  TileAttention<T> attention{
      static_cast<const T*>(a.q) + at, a.d, queries, keys, step, a.d, a.source_length[place], out, a.d,
      static_cast<int>(size)};
  if (a.weights) {
    attention.weights = a.weights + ((i * s.beams + first) * a.heads + head) * a.source_positions;
    attention.weights_step = a.heads * a.source_positions;
  }
  attention.run(reinterpret_cast<float*>(shared));
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_source_attention(const distilmt::cuda::SourceAttention* a, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(a->storage, [&](auto number) {
    using T = decltype(number);
    return launch(source_attention_kernel<T>, *a, a->slots.launched * a->heads * ceil_div(a->slots.beams, kQueries),
                  stream, tile_threads(), TileAttention<T>::shared_bytes(a->d / a->heads));
  });
}
