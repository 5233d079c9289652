// One row of logits, 8 neighbouring columns at a time, with its bias and what is banned.
#pragma once
#include "cuda/device.cuh"
#include "cuda/project_rows.h"

namespace distilmt::cuda {

constexpr int kColumns = 8;  // of a thread at a time

template <class T>
struct LogitRow {
  const RowProjection& p;
  const T* const logits;
  const bool end_banned;

  // Of a row that is somebody's.
  __device__ LogitRow(const RowProjection& p, int64_t row)
      : p(p), logits(static_cast<const T*>(p.logits) + row * p.stride), end_banned(generated(p, row) < p.min_length) {}

  __device__ static int generated(const RowProjection& p, int64_t row) {
    const int32_t slot = p.slots.live[row / p.slots.beams];
    return p.slots.position[slot] - p.prefix_length[p.slots.place[slot]];
  }

  __device__ float one(int64_t id) const { return number(logits[id]) + (p.bias ? p.bias[id] : 0); }

  // Columns first ... first + 7, -inf behind the vocabulary.
  __device__ void load(int64_t first, float (&x)[kColumns]) const {
    Pack<T> packs[kColumns / Pack<T>::kCount] = {};
    if (first < p.vocab)  // the row's stride is a multiple of 8
      for (int i = 0; i < kColumns / Pack<T>::kCount; ++i)
        packs[i] = reinterpret_cast<const Pack<T>*>(logits + first)[i];
    for (int c = 0; c < kColumns; ++c)
      x[c] = first + c < p.vocab
                 ? number(packs[c / Pack<T>::kCount].x[c % Pack<T>::kCount]) + (p.bias ? p.bias[first + c] : 0)
                 : -HUGE_VALF;
  }

  // The same, and -inf where an id is banned.
  __device__ void ban(int64_t first, float (&x)[kColumns]) const {
    const unsigned banned = p.banned && first < p.vocab ? p.banned[first / 8] : 0;
    for (int c = 0; c < kColumns; ++c)
      if ((banned >> c & 1) || (end_banned && first + c == p.eos)) x[c] = -HUGE_VALF;
  }
};

}  // namespace distilmt::cuda
