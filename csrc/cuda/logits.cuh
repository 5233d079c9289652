// One row of logits, 8 neighbouring columns at a time, with its bias and what is banned.
#pragma once
#include "cuda/device.cuh"
#include "cuda/project_rows.h"

namespace distilmt::cuda {

constexpr int kColumns = 8;  // of a thread at a time

// What is banned of a row that is somebody's, whatever its text.
struct RowBans {
  const RowProjection& p;
  const bool end_banned;

  __device__ RowBans(const RowProjection& p, int64_t row) : p(p), end_banned(generated(p, row) < p.min_length) {}

  __device__ static int generated(const RowProjection& p, int64_t row) {
    const int32_t slot = p.slots.live[row / p.slots.beams];
    return p.slots.position[slot] - p.prefix_length[p.slots.place[slot]];
  }
  // Of those banned for all rows.
  __device__ bool listed(int32_t id) const { return p.banned && p.banned[id / 8] >> id % 8 & 1; }
  __device__ bool banned(int32_t id) const { return listed(id) || (end_banned && id == p.eos); }
};

template <class T>
struct LogitRow : RowBans {
  const int64_t row;
  const T* const logits;
  const uint8_t* const own;  // bits of what is set aside, or null

  __device__ LogitRow(const RowProjection& p, int64_t row)
      : RowBans(p, row),
        row(row),
        logits(static_cast<const T*>(p.logits) + row * p.stride),
        own(p.aside.room ? reinterpret_cast<const uint8_t*>(p.aside.bits + row * p.aside.words(p.vocab)) : nullptr) {}

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

  // The same, and -inf where an id is not free.
  __device__ void ban(int64_t first, float (&x)[kColumns]) const {
    unsigned banned = p.banned && first < p.vocab ? p.banned[first / 8] : 0;
    if (own && first < p.vocab) banned |= own[first / 8];
    for (int c = 0; c < kColumns; ++c)
      if ((banned >> c & 1) || (end_banned && first + c == p.eos)) x[c] = -HUGE_VALF;
  }

  __device__ float lambda() const { return p.rule.neighbours ? p.lambda[row] : 0; }
  __device__ float shift(float log_sum_exp) const { return choice_shift(p.rule, log_sum_exp, lambda()); }

  // Of the ids set aside, this thread's: f(entry), also of those that are banned.
  template <class F>
  __device__ void each_aside(const F& f) const {
    if (!own) return;
    for (int i = threadIdx.x; i < p.aside.count[row]; i += blockDim.x) {
      const Aside& entry = p.aside.entries[row * p.aside.room + i];
      if (entry.id >= 0) f(entry);
    }
  }
  // The same of those that are choices: f(choice).
  template <class F>
  __device__ void each_chosen(float shift, const F& f) const {
    each_aside([&](const Aside& entry) {
      if (!entry.banned) f(aside_choice(p.rule, entry, one(entry.id), shift, lambda()));
    });
  }
  // The choice that an id is, of those that are choices.
  __device__ Choice choice(int32_t id, float shift) const {
    if (own && own[id / 8] >> id % 8 & 1)
      for (const Aside* entry = p.aside.entries + row * p.aside.room;; ++entry)
        if (entry->id == id) return aside_choice(p.rule, *entry, one(id), shift, lambda());
    return free_choice(id, one(id), shift);
  }
};

}  // namespace distilmt::cuda
