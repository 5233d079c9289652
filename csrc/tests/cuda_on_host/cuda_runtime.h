// Stand-in for CUDA's header: a .cu compiled by the C++ compiler. Under a sanitizer every CUDA thread is a std::thread,
// so that indices, reductions and barriers meet ASan and TSan where no device is; else it is a fiber, which is quicker.
// Blocks run one after another, which is why shared memory may be static. In one thing it is kinder than a device: a
// shuffle orders the memory of its warp.
#pragma once
#include <pthread.h>

#include <cstddef>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DISTILMT_CUDA_FIBERS 0
#else
#define DISTILMT_CUDA_FIBERS 1
#include "tests/cuda_on_host/fibers.h"
#endif

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(threads)

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue };
using cudaStream_t = void*;

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_host {

inline thread_local int block_turn, warp_turn;

#if DISTILMT_CUDA_FIBERS

inline thread_local Fibers fibers;

class Barrier {
 public:
  explicit Barrier(unsigned count) : left_(count), count_(count) {}
  Barrier(const Barrier&) = delete;
  void wait(int& turn) {
    turn ^= 1;
    if (--left_ == 0) {
      left_ = count_;
      ++phase_;
      return;
    }
    const auto thread = threadIdx, block = blockIdx;
    const int of_block = block_turn, of_warp = warp_turn;
    for (const unsigned phase = phase_; phase == phase_;) fibers.yield();
    threadIdx = thread;
    blockIdx = block;
    block_turn = of_block;
    warp_turn = of_warp;
  }

 private:
  unsigned left_, phase_ = 0;
  const unsigned count_;
};

#else

// TSan must see what a barrier orders and no more. std::barrier's waiters meet in one global table, which orders warps;
// and who leaves one barrier late would learn of what others did on their way to the next, were it the same object.
class Barrier {
 public:
  explicit Barrier(unsigned count) {
    for (auto& phase : phases_) pthread_barrier_init(&phase, nullptr, count);
  }
  ~Barrier() {
    for (auto& phase : phases_) pthread_barrier_destroy(&phase);
  }
  Barrier(const Barrier&) = delete;
  void wait(int& turn) { pthread_barrier_wait(&phases_[turn ^= 1]); }  // a turn per thread and barrier

 private:
  pthread_barrier_t phases_[2];
};

#endif

struct Warp {
  Barrier lanes{32};
  double slots[2][32];
};

struct Block {
  Barrier threads;
  std::deque<Warp> warps;
  std::vector<unsigned char> shared;  // dynamic
  Block(unsigned count, size_t bytes) : threads(count), warps(count / 32), shared(bytes) {}
};

inline thread_local Block* block;
inline std::mutex one_kernel;  // at a time: shared memory is static

}  // namespace cuda_on_host

inline void __syncthreads() { cuda_on_host::block->threads.wait(cuda_on_host::block_turn); }

inline void __syncwarp() { cuda_on_host::block->warps[threadIdx.x / 32].lanes.wait(cuda_on_host::warp_turn); }

// All 32 lanes take part. Two sets of slots in turn: nobody can be a whole shuffle ahead, so one barrier is enough.
// Integers must fit the 53 bits of a double.
template <class number>
number __shfl_sync(unsigned, number x, int lane) {
  cuda_on_host::Warp& warp = cuda_on_host::block->warps[threadIdx.x / 32];
  double* slots = warp.slots[cuda_on_host::warp_turn];
  slots[threadIdx.x % 32] = static_cast<double>(x);
  warp.lanes.wait(cuda_on_host::warp_turn);
  return number(slots[lane]);
}

template <class number>
number __shfl_xor_sync(unsigned mask, number x, int lane_mask) {
  return __shfl_sync(mask, x, (threadIdx.x % 32) ^ lane_mask);
}

template <class number>
number atomicAdd(number* at, number x) {
  return __atomic_fetch_add(at, x, __ATOMIC_ACQ_REL);
}
template <class number>
number atomicXor(number* at, number x) {
  return __atomic_fetch_xor(at, x, __ATOMIC_ACQ_REL);
}
inline void __threadfence() {}  // blocks run one after another
inline void __threadfence_system() {}

template <class number>
number max(number a, number b) {
  return a > b ? a : b;
}
template <class number>
number min(number a, number b) {
  return a < b ? a : b;
}
inline float __int_as_float(int x) {
  float y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}
inline int __float_as_int(float x) {
  int y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }

// Returns when the kernel is done. Threads: a multiple of 32.
template <class Argument>
cudaError_t cudaLaunchKernel(void (*kernel)(Argument), dim3 blocks, dim3 threads, void** arguments, size_t shared = 0,
                             cudaStream_t = nullptr) {
  const std::lock_guard one(cuda_on_host::one_kernel);
  cuda_on_host::Block block(threads.x, shared);
  const auto run = [&](unsigned thread) {
    cuda_on_host::block = &block;
    cuda_on_host::block_turn = cuda_on_host::warp_turn = 0;
    threadIdx = thread;
    blockDim = threads;
    gridDim = blocks;
    for (unsigned b = 0; b < blocks.x; ++b) {
      blockIdx = b;
      kernel(*static_cast<const Argument*>(arguments[0]));
      __syncthreads();  // shared memory is the next block's only now
    }
  };
#if DISTILMT_CUDA_FIBERS
  cuda_on_host::fibers.run(
      threads.x, [](void* run_, unsigned thread) { (*static_cast<decltype(run)*>(run_))(thread); },
      const_cast<void*>(static_cast<const void*>(&run)));
#else
  std::vector<std::thread> running;
  for (unsigned thread = 0; thread < threads.x; ++thread) running.emplace_back(run, thread);
  for (std::thread& thread : running) thread.join();
#endif
  return cudaSuccess;
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
