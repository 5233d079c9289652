// A warp per row to quantise, a thread per element to dequantise; contract in int8.h.
#include "cuda/activate.cuh"
#include "cuda/int8.h"

namespace distilmt::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) quantise_kernel(const Quantising q) {
  const int64_t row = int64_t(blockIdx.x) * warps() + warp();
  if (row >= q.rows) return;
  const T* x = static_cast<const T*>(q.x) + row * q.k;
  float high = 0, damage = 0;  // damage: NaN where a number is not finite
  for (int64_t c = lane(); c < q.k; c += 32) {
    high = fmaxf(high, fabsf(number(x[c])));
    damage += number(x[c]) * 0;
  }
  high = warp_largest(high);
  damage = warp_sum(damage);
  // So small a row is all zeros: the quotient below would not be a number.
  const float inverse = damage == 0 && high > 1e-30f ? 127 / high : 0;
  for (int64_t c = lane(); c < q.k; c += 32)
    q.integers[row * q.k + c] = inverse > 0 ? static_cast<int8_t>(rintf(number(x[c]) * inverse)) : 0;
  if (lane() == 0) q.scale[row] = inverse > 0 ? high / 127 : damage;
}

template <class T>
__global__ void __launch_bounds__(kThreads) dequantise_kernel(const Dequantising q) {
  const auto [row, column] = element(q.n);
  if (column >= q.n) return;
  const int64_t i = row * q.n + column;
  const float x = static_cast<float>(q.sums[i]) * (q.scale[row] * q.weight_scale[column]);
  store(static_cast<T*>(q.out) + i, activate(x + (q.bias ? q.bias[column] : 0), q.activation));
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_quantise(const distilmt::cuda::Quantising* q, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(q->storage,
                      [&](auto number) { return launch_rows(quantise_kernel<decltype(number)>, *q, q->rows, stream); });
}

DISTILMT_EXPORT int distilmt_cuda_dequantise(const distilmt::cuda::Dequantising* q, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(q->storage, [&](auto number) {
    return launch_elements(dequantise_kernel<decltype(number)>, *q, q->rows, q->n, stream);
  });
}
