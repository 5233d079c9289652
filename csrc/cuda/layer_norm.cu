// A warp per row; contract in layer_norm.h. A lane comes back to its own columns alone, so x may hold the sum
// meanwhile.
#include "cuda/device.cuh"
#include "cuda/layer_norm.h"

namespace distilmt::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) layer_norm_kernel(const Norms n) {
  const int64_t row = int64_t(blockIdx.x) * warps() + warp();
  if (row >= n.rows) return;
  float* x = n.x + row * n.d;
  const T* added = n.added ? static_cast<const T*>(n.added) + row * n.d : nullptr;
  T* out = n.out ? static_cast<T*>(n.out) + row * n.d : nullptr;
  float total = 0;
  for (int64_t c = lane(); c < n.d; c += 32) {
    if (added) x[c] += number(added[c]) + (n.bias ? n.bias[c] : 0);
    total += x[c];
  }
  const float mean = warp_sum(total) / n.d;
  float squares = 0;
  for (int64_t c = lane(); c < n.d; c += 32) squares = fmaf(x[c] - mean, x[c] - mean, squares);
  const float scale = 1 / sqrtf(warp_sum(squares) / n.d + n.eps);
  for (int64_t c = lane(); c < n.d; c += 32) {
    const float y = fmaf((x[c] - mean) * scale, n.gamma[c], n.beta[c]);
    if (!n.pre_norm) x[c] = y;
    if (out) store(out + c, y);
  }
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_layer_norm(const distilmt::cuda::Norms* n, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(
      n->storage, [&](auto number) { return launch_rows(layer_norm_kernel<decltype(number)>, *n, n->rows, stream); });
}
