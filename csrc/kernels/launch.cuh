// How a CUDA kernel is launched and exported here. Included by .cu files, which the tests compile for the host as well
// (tests/cuda_on_host).
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace distilmt {

#ifndef DISTILMT_CUDA_THREADS
#define DISTILMT_CUDA_THREADS 512
#endif
constexpr int kThreads = DISTILMT_CUDA_THREADS;  // a multiple of 32
constexpr int kWarps = kThreads / 32;

// As a function call, since only nvcc reads <<<>>>. `shared`: bytes of dynamic shared memory.
template <class Arguments>
int launch(void (*kernel)(Arguments), const Arguments& arguments, int64_t blocks, void* stream, int threads = kThreads,
           size_t shared = 0) {
  if (blocks == 0) return cudaSuccess;
  void* argument = const_cast<Arguments*>(&arguments);
  cudaLaunchKernel(kernel, dim3(unsigned(blocks)), dim3(unsigned(threads)), &argument, shared,
                   static_cast<cudaStream_t>(stream));
  return cudaGetLastError();
}

// The block's dynamic shared memory.
#ifdef __CUDACC__
#define DISTILMT_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#else
#define DISTILMT_DYNAMIC_SHARED(name) unsigned char* name = cuda_on_host::block->shared.data()
#endif

// What the library `_cuda` offers.
#define DISTILMT_EXPORT extern "C" __attribute__((visibility("default")))

}  // namespace distilmt
