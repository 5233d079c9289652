// The Group of a CUDA block (kernels/linear_kd_reading.h): one block per row, neighbouring threads on neighbouring
// columns. Included by .cu files, which the tests compile for the host as well (tests/cuda_on_host).
#pragma once
#include "kernels/launch.cuh"
#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

#include "kernels/half.h"
#include "kernels/linear_kd_reading.h"

namespace distilmt {

template <class number>
struct Block {
  using real = number;
  static constexpr bool kOnline = true;
  number* partial;  // [kWarps] in shared memory
  double* ids;      // [kWarps] likewise
  int64_t* counts;  // [kThreads] likewise

  template <class F>
  __device__ void each(int64_t vocab, const F& f) const {
    for (int64_t column = threadIdx.x; column < vocab; column += kThreads) f(column);
  }
  __device__ int64_t column(int64_t id) const { return id; }
  __device__ number first(number x) const { return x; }
  template <class storage>
  __device__ number load(const storage* p, int64_t at, number) const {
    return to_number(p[at]);
  }
  template <class storage>
  __device__ void store(storage* p, int64_t at, number x) const {
    put(p + at, x);
  }

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
  template <class Logit>
  __device__ void tops(const Logit& logit, int64_t vocab, int k, int64_t* ids) const {
    number last = HUGE_VAL;
    for (int i = 0; i < k; ++i) {
      const auto follows = [&](number x, int64_t id) {
        return i == 0 ? x <= last : x < last || (x == last && id > ids[i - 1]);
      };
      number best = -HUGE_VAL;
      each(vocab, [&](int64_t id) {
        const number x = logit(id);
        if (follows(x, id)) best = maximum(best, x);
      });
      const number value = largest(best);
      // The lowest id of that value; ids are exact in a float up to 2^24, in a double beyond.
      double first = HUGE_VAL;
      each(vocab, [&](int64_t id) {
        const number x = logit(id);
        if (x == value && follows(x, id) && id < first) first = double(id);
      });
      first = -Block<double>{this->ids, this->ids, counts}.largest(-first);
      last = first < HUGE_VAL ? value : number(NAN);
      ids[i] = first < HUGE_VAL ? int64_t(first) : 0;
    }
  }
  __device__ int64_t member() const { return threadIdx.x; }
  __device__ int64_t members() const { return kThreads; }
  __device__ int64_t before(int64_t x, int64_t& all) const {
    __syncthreads();
    counts[threadIdx.x] = x;
    __syncthreads();
    int64_t lower = all = 0;
    for (int t = 0; t < kThreads; ++t) {
      if (t < int(threadIdx.x)) lower += counts[t];
      all += counts[t];
    }
    return lower;
  }
  __device__ bool leader() const { return threadIdx.x == 0; }
  __device__ void sync() const { __syncthreads(); }
};

// The block's shared memory, and the Group over it.
#define DISTILMT_BLOCK(number, name)          \
  __shared__ number name##_partial[kWarps];   \
  __shared__ double name##_ids[kWarps];       \
  __shared__ int64_t name##_counts[kThreads]; \
  const Block<number> name { name##_partial, name##_ids, name##_counts }

}  // namespace distilmt
