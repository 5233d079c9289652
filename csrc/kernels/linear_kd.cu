// CUDA rows: one block per row; formula in linear_kd.h, algorithm in linear_kd_row.h.
#include <cuda_runtime.h>

#include "divergences/forward_kl.h"
#include "kernels/linear_kd_row.h"

namespace distilmt {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;

// Neighbouring threads hold neighbouring columns, so that loads are coalesced.
template <class number>
struct Block {
  using real = number;
  number* partial;  // [kWarps] in shared memory

  template <class F>
  __device__ void each(int64_t vocab, const F& f) const {
    for (int64_t column = threadIdx.x; column < vocab; column += kThreads) f(column);
  }
  __device__ number load(const number* p, int64_t at, number) const { return p[at]; }
  __device__ void store(number* p, int64_t at, number x) const { p[at] = x; }

  template <class F>
  __device__ number reduce(number x, const F& join) const {
    for (int offset = 16; offset > 0; offset /= 2) x = join(x, __shfl_xor_sync(0xffffffffu, x, offset));
    __syncthreads();  // the last reduction's results have been read by all
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
    __syncthreads();
    // Every thread joins the warps' results in the same order: no broadcast, and all get the same number.
    number all = partial[0];
    for (int warp = 1; warp < kWarps; ++warp) all = join(all, partial[warp]);
    return all;
  }
  __device__ number largest(number x) const {
    return reduce(x, [](number a, number b) { return maximum(a, b); });
  }
  __device__ number sum(number x) const {
    return reduce(x, [](number a, number b) { return a + b; });
  }
  __device__ bool leader() const { return threadIdx.x == 0; }
  __device__ void sync() const { __syncthreads(); }
};

template <class number>
__global__ void __launch_bounds__(kThreads) linear_kd_kernel(const LinearKDRows<number> rows) {
  __shared__ number partial[kWarps];
  linear_kd_row<ForwardKL>(Block<number>{partial}, rows, int64_t(blockIdx.x));
}

template <class number>
int launch(const LinearKDRows<number>& rows, void* stream) {
  if (rows.rows == 0) return cudaSuccess;
  linear_kd_kernel<<<unsigned(rows.rows), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(rows);
  return cudaGetLastError();
}

}  // namespace
}  // namespace distilmt

#define DISTILMT_EXPORT extern "C" __attribute__((visibility("default")))

DISTILMT_EXPORT int distilmt_linear_kd_float(const distilmt::LinearKDRows<float>* rows, void* stream) {
  return distilmt::launch(*rows, stream);
}

DISTILMT_EXPORT int distilmt_linear_kd_double(const distilmt::LinearKDRows<double>* rows, void* stream) {
  return distilmt::launch(*rows, stream);
}
