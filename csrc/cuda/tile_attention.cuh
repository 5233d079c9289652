// Attention of a block's few queries, of one head, over keys that lie in one piece: each key and value is read once for
// all of them, 32 at a time, through shared memory.
#pragma once
#include "cuda/device.cuh"

namespace distilmt::cuda {

constexpr int kQueries = 16, kKeys = 32;  // of a block at most; of a tile

template <class T>
struct TileAttention {
  const T* q;  // [queries], q_step apart
  int64_t q_step;
  int queries;
  const T* keys;  // [length], key_step apart; a value lies `to_value` behind its key
  int64_t key_step, to_value, length;
  T* out;  // [queries], out_step apart
  int64_t out_step;
  int size;                  // of the head
  float* weights = nullptr;  // [queries] of [length], weights_step apart: the attention; null: not asked for
  int64_t weights_step = 0;

  static size_t shared_bytes(int64_t size) {
    return sizeof(float) * (kKeys * (size + 1) + 2 * kQueries * size + kQueries * kKeys + 3 * kQueries);
  }

  __device__ void load(const T* from, int64_t first, float* tile) const {
    for (int i = threadIdx.x; i < kKeys * size; i += blockDim.x) {
      const int t = i / size, c = i % size;
      tile[t * (size + 1) + c] = first + t < length ? number(from[(first + t) * key_step + c]) : 0;
    }
  }

  __device__ void run(float* shared) const {
    float* tile = shared;                        // [kKeys, size + 1]: lanes on different banks
    float* query = tile + kKeys * (size + 1);    // [queries, size]
    float* sums = query + kQueries * size;       // [queries, size]
    float* shares = sums + kQueries * size;      // [queries, kKeys]
    float* highest = shares + kQueries * kKeys;  // [queries]
    float *total = highest + kQueries, *shrink = total + kQueries;
    const float scale = 1 / sqrtf(static_cast<float>(size));
    for (int i = threadIdx.x; i < queries * size; i += blockDim.x) {
      query[i] = number(q[i / size * q_step + i % size]) * scale;
      sums[i] = 0;
    }
    for (int i = threadIdx.x; i < queries; i += blockDim.x) {
      highest[i] = -FLT_MAX;
      total[i] = 0;
    }
    for (int64_t first = 0; first < length; first += kKeys) {
      __syncthreads();
      load(keys, first, tile);
      __syncthreads();
      for (int i = warp(); i < queries; i += warps()) {  // a lane per key
        float score = 0;
        for (int c = 0; c < size; ++c) score = fmaf(query[i * size + c], tile[lane() * (size + 1) + c], score);
        const bool real = first + lane() < length;
        if (weights && real) weights[i * weights_step + first + lane()] = score;
        const float before = highest[i], high = fmaxf(before, warp_largest(real ? score : -FLT_MAX));
        const float share = real ? expf(score - high) : 0, all = warp_sum(share);
        shares[i * kKeys + lane()] = share;
        __syncwarp();  // all have read highest[i]
        if (lane() == 0) {
          highest[i] = high;
          shrink[i] = expf(before - high);
          total[i] = total[i] * shrink[i] + all;
        }
      }
      __syncthreads();
      load(keys + to_value, first, tile);
      __syncthreads();
      for (int i = threadIdx.x; i < queries * size; i += blockDim.x) {
        const float* share = shares + i / size * kKeys;
        float sum = sums[i] * shrink[i / size];
        for (int t = 0; t < kKeys; ++t) sum = fmaf(share[t], tile[t * (size + 1) + i % size], sum);
        sums[i] = sum;
      }
    }
    for (int i = threadIdx.x; i < queries * size; i += blockDim.x)  // each thread its own sums
      store(out + i / size * out_step + i % size, sums[i] / total[i / size]);
    for (int64_t i = threadIdx.x; weights && i < queries * length; i += blockDim.x) {
      float& weight = weights[i / length * weights_step + i % length];
      weight = expf(weight - highest[i / length]) / total[i / length];
    }
  }
};

inline int tile_threads() { return kThreads < 128 ? kThreads : 128; }

}  // namespace distilmt::cuda
