// A warp per row and head; contract in attention.h. A lane takes every 32nd key for the scores, every 32nd column for
// the sum of values. Online softmax: Milakov & Gimelshein 2018 (arXiv:1805.02867).
#include "cuda/attention.h"
#include "cuda/device.cuh"

namespace distilmt::cuda {
namespace {

constexpr int kColumns = kHeadSize / 32;  // of a lane

template <class T>
__device__ float dot(const float* q, const T* key, int64_t size) {
  float sum = 0;
  if (size % Pack<T>::kCount == 0) {  // then every head of every row is aligned
    for (int64_t c = 0; c < size; c += Pack<T>::kCount) {
      const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(key + c);
      for (int i = 0; i < Pack<T>::kCount; ++i) sum = fmaf(q[c + i], number(pack.x[i]), sum);
    }
  } else {
    for (int64_t c = 0; c < size; ++c) sum = fmaf(q[c], number(key[c]), sum);
  }
  return sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads) own_attention_kernel(const OwnAttention a) {
  __shared__ float queries[kWarps][kHeadSize];
  const Slots& s = a.slots;
  const int64_t unit = int64_t(blockIdx.x) * warps() + warp(), row = unit / a.heads, head = unit % a.heads;
  if (row >= int64_t(s.launched) * s.beams) return;
  const int64_t slot = s.live[row / s.beams], beam = row % s.beams, size = a.d / a.heads, first = head * size;
  T* out = static_cast<T*>(a.out) + row * a.d + first;
  if (slot < 0) {
    for (int64_t c = lane(); c < size; c += 32) store(out + c, 0);
    return;
  }
  const int64_t position = s.position[slot];
  const int32_t* pages = s.pages + slot * s.pages_per_slot;
  const auto entry = [&](int64_t t, int64_t of) {  // the key; its value is d further on
    return static_cast<T*>(a.own) + ((pages[t / kPage] * kPage + t % kPage) * s.beams + of) * 2 * a.d + first;
  };
  const uint8_t* ancestors = s.ancestors + (position % 2 * s.slots + slot) * s.positions * s.beams + beam;

  const T* mine = static_cast<const T*>(a.qkv) + row * 3 * a.d + first;
  T* kept = entry(position, beam);
  float* q = queries[warp()];
  const float scale = 1 / sqrtf(static_cast<float>(size));
  for (int64_t c = lane(); c < size; c += 32) {
    q[c] = number(mine[c]) * scale;
    kept[c] = mine[a.d + c];
    kept[a.d + c] = mine[2 * a.d + c];
  }
  __syncwarp();

  float highest = -FLT_MAX, total = 0, sums[kColumns] = {};
  for (int64_t t0 = 0; t0 <= position; t0 += 32) {
    const int64_t t = t0 + lane();
    const T* key = t <= position ? entry(t, t < position ? ancestors[t * s.beams] : beam) : nullptr;
    const float score = key ? dot(q, key, size) : -FLT_MAX;
    const float high = fmaxf(highest, warp_largest(score)), shrink = expf(highest - high);
    const float p = key ? expf(score - high) : 0;
    highest = high;
    total = total * shrink + warp_sum(p);
    for (float& sum : sums) sum *= shrink;
    const int64_t where = key ? key - static_cast<const T*>(a.own) + a.d : 0;  // of the value
    const int count = position - t0 < 31 ? static_cast<int>(position - t0) + 1 : 32;
    for (int j = 0; j < count; ++j) {
      const float share = __shfl_sync(kAllLanes, p, j);
      const T* value = static_cast<const T*>(a.own) + __shfl_sync(kAllLanes, where, j);
      for (int i = 0; i < kColumns; ++i)
        if (lane() + 32 * i < size) sums[i] = fmaf(share, number(value[lane() + 32 * i]), sums[i]);
    }
  }
  for (int i = 0; i < kColumns; ++i)
    if (lane() + 32 * i < size) store(out + lane() + 32 * i, sums[i] / total);
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_own_attention(const distilmt::cuda::OwnAttention* a, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(a->storage, [&](auto number) {
    return launch_rows(own_attention_kernel<decltype(number)>, *a,
                       int64_t{a->slots.launched} * a->slots.beams * a->heads, stream);
  });
}
