// What the kernels of this folder share: numbers as they are stored, warps and blocks that reduce.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <float.h>
#include <math.h>

#include "cuda/storage.h"
#include "kernels/launch.cuh"

namespace distilmt::cuda {

using distilmt::launch;

__device__ inline float number(float x) { return x; }
__device__ inline float number(__half x) { return __half2float(x); }
__device__ inline float number(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void store(float* to, float x) { *to = x; }
__device__ inline void store(__half* to, float x) { *to = __float2half(x); }
__device__ inline void store(__nv_bfloat16* to, float x) { *to = __float2bfloat16(x); }

// f(T{}) with T the type of `storage`.
template <class F>
int with_storage(Storage storage, const F& f) {
  switch (storage) {
    case Storage::float32: return f(float());
    case Storage::float16: return f(__half());
    case Storage::bfloat16: return f(__nv_bfloat16());
  }
  return cudaErrorInvalidValue;
}

// 16 bytes, read at once.
template <class T>
struct alignas(16) Pack {
  static constexpr int kCount = 16 / sizeof(T);
  T x[kCount];
};

constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline int lane() { return threadIdx.x % 32; }
__device__ inline int warp() { return threadIdx.x / 32; }
__device__ inline int warps() { return blockDim.x / 32; }

// All lanes get the result, joined in the same order.
__device__ inline float warp_sum(float x) {
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}
__device__ inline float warp_largest(float x) {
  for (int offset = 16; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, offset));
  return x;
}

// Over the block, all threads get the result. scratch: [warps] of shared memory, free again at the next barrier.
template <class Join>
__device__ float block_reduce(float x, float* scratch, const Join& join) {
  for (int offset = 16; offset > 0; offset /= 2) x = join(x, __shfl_xor_sync(kAllLanes, x, offset));
  __syncthreads();  // what lay in scratch has been read
  if (lane() == 0) scratch[warp()] = x;
  __syncthreads();
  x = scratch[0];
  for (int w = 1; w < warps(); ++w) x = join(x, scratch[w]);
  return x;
}
__device__ inline float block_sum(float x, float* scratch) {
  return block_reduce(x, scratch, [](float a, float b) { return a + b; });
}
__device__ inline float block_largest(float x, float* scratch) {
  return block_reduce(x, scratch, [](float a, float b) { return fmaxf(a, b); });
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Element {
  int64_t row, column;
};

// One thread per element: which one, where the column may lie behind the last. No division but by the block's number.
__device__ inline Element element(int64_t columns) {
  const unsigned tiles = (static_cast<unsigned>(columns) + blockDim.x - 1) / blockDim.x;
  return {blockIdx.x / tiles, int64_t{blockIdx.x % tiles} * blockDim.x + threadIdx.x};
}
template <class Arguments>
int launch_elements(void (*kernel)(Arguments), const Arguments& arguments, int64_t rows, int64_t columns,
                    void* stream) {
  return launch(kernel, arguments, rows * ceil_div(columns, kThreads), stream);
}

// One warp per row.
template <class Arguments>
int launch_rows(void (*kernel)(Arguments), const Arguments& arguments, int64_t rows, void* stream) {
  return launch(kernel, arguments, ceil_div(rows, kWarps), stream);
}

}  // namespace distilmt::cuda
