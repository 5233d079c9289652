// A block per sentence, head and 16 queries; contract in attention.h.
#include "cuda/attention.h"
#include "cuda/tile_attention.cuh"

namespace distilmt::cuda {
namespace {

template <class T>
__global__ void packed_attention_kernel(const PackedAttention a) {
  DISTILMT_DYNAMIC_SHARED(shared);
  const int64_t tiles = (a.longest + kQueries - 1) / kQueries, first = blockIdx.x % tiles * kQueries;
  const int64_t head = blockIdx.x / tiles % a.heads, sentence = blockIdx.x / tiles / a.heads;
  const int64_t begin = a.begin[sentence], length = a.begin[sentence + 1] - begin, left = length - first;
  if (left <= 0) return;
  const int64_t size = a.d / a.heads, step = 3 * a.d;
  const T* q = static_cast<const T*>(a.qkv) + begin * step + head * size;
  const TileAttention<T> attention{q + first * step,
                                   step,
                                   static_cast<int>(left < kQueries ? left : kQueries),
                                   q + a.d,
                                   step,
                                   a.d,
                                   length,
                                   static_cast<T*>(a.out) + (begin + first) * a.d + head * size,
                                   a.d,
                                   static_cast<int>(size)};
  attention.run(reinterpret_cast<float*>(shared));
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_packed_attention(const distilmt::cuda::PackedAttention* a, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(a->storage, [&](auto number) {
    using T = decltype(number);
    return launch(packed_attention_kernel<T>, *a, a->sentences * a->heads * ceil_div(a->longest, kQueries), stream,
                  tile_threads(), TileAttention<T>::shared_bytes(a->d / a->heads));
  });
}
