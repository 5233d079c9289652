// The Group of a CUDA block (kernels/linear_kd_row.h): one block per row, neighbouring threads on neighbouring columns.
// Included by .cu files, which the tests compile for the host as well (tests/cuda_on_host).
#pragma once
#include "kernels/launch.cuh"
#include "kernels/linear_kd_row.h"

namespace distilmt {

template <class number>
struct Block {
  using real = number;
  number* partial;  // [kWarps] in shared memory
  double* ids;      // [kWarps] likewise

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
  template <class F>
  __device__ void each_entry(int64_t k, const F& f) const {
    for (int64_t j = threadIdx.x; j < k; j += kThreads) f(int(j));
  }
  __device__ number total(number x) const { return sum(x); }
  __device__ Top<number> next_top(const number* p, int64_t vocab, Top<number> top) const {
    const auto follows = [&](int64_t id) { return p[id] < top.value || (p[id] == top.value && id > top.id); };
    number best = -HUGE_VAL;
    each(vocab, [&](int64_t id) {
      if (follows(id)) best = maximum(best, p[id]);
    });
    const number value = largest(best);
    // The lowest id of that value; ids are exact in a float up to 2^24, in a double beyond.
    double first = HUGE_VAL;
    each(vocab, [&](int64_t id) {
      if (p[id] == value && follows(id) && id < first) first = double(id);
    });
    first = -Block<double>{ids, ids}.largest(-first);
    return first < HUGE_VAL ? Top<number>{value, int64_t(first)} : Top<number>{number(NAN), 0};
  }
  __device__ bool leader() const { return threadIdx.x == 0; }
  __device__ void sync() const { __syncthreads(); }
};

// The block's shared memory, and the Group over it.
#define DISTILMT_BLOCK(number, name)        \
  __shared__ number name##_partial[kWarps]; \
  __shared__ double name##_ids[kWarps];     \
  const Block<number> name { name##_partial, name##_ids }

}  // namespace distilmt
