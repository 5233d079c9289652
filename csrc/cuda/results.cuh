// How a sentence goes on in its slot, and how it leaves it; by all threads of a block.
#pragma once
#include "cuda/device.cuh"
#include "cuda/slots.h"

namespace distilmt::cuda {

// Where a sentence stands, in tokens generated: below 0 in its prefix.
struct Progress {
  int64_t place;
  int prefix, step, limit;

  __device__ Progress(const Slots& s, const Places& p, int64_t slot)
      : place(s.place[slot]), prefix(p.prefix_length[place]), step(s.position[slot] - prefix), limit(p.limit[place]) {}
  __device__ bool last() const { return step + 1 >= limit; }
  // The only choice for the next token, or -1.
  __device__ int forced(int bos, int eos) const {
    if (last() && eos >= 0) return eos;
    return step == 0 && prefix == 0 ? bos : -1;
  }
};

// Writes the ancestors of the next position: a row goes on where row parent(row) was.
template <class Parent>
__device__ void follow(const Slots& s, int64_t slot, const Parent& parent) {
  const int64_t position = s.position[slot], half = int64_t{s.positions} * s.beams;
  const uint8_t* now = s.ancestors + (position % 2 * s.slots + slot) * half;
  uint8_t* next = s.ancestors + ((position + 1) % 2 * s.slots + slot) * half;
  for (int64_t at = threadIdx.x; at < (position + 1) * s.beams; at += blockDim.x) {
    const int from = parent(static_cast<int>(at % s.beams));
    next[at] = at / s.beams < position ? now[at / s.beams * s.beams + from] : from;
  }
}

struct Finishing {
  const Slots& s;
  const SoftLabelMemory& soft;
  const Results& r;
  int64_t slot, place;
  int prefix;

  // The n_best hypotheses that finished, if the first of them is possible.
  __device__ void finish() const {
    const Kept* kept = s.kept + slot * s.room;
    int found = 0, first = -1;
    for (int i = 0; i < s.room && found < r.n_best; ++i) {
      if (!kept[i].finished) continue;
      if (first < 0) first = i;
      if (found++ % blockDim.x == threadIdx.x) trace(kept[i], found - 1);
    }
    if (found == 0 || isinf(kept[first].score)) return leave(Leaving::nothing_left);
    __syncthreads();  // the traces of all
    if (soft.k > 0)
      for (int h = 0; h < found; ++h) copy_soft_labels(h);
    leave(Leaving::done, found);
  }

  __device__ void leave(Leaving why, int hypotheses = 0) const {
    __threadfence_system();
    __syncthreads();
    if (threadIdx.x > 0) return;
    r.leaving[place] = static_cast<int32_t>(why);
    r.hypotheses[place] = hypotheses;
    r.finished[atomicAdd(r.claimed, 1u) % r.places] = static_cast<int32_t>(place);
    s.position[slot] = -1;
  }

  // Where the rows that a hypothesis took its tokens from are kept meanwhile: the slot's ancestors are not read again.
  __device__ uint8_t* path(int h) const {
    return s.ancestors + slot * s.positions * s.beams + int64_t{h} * s.positions;
  }

  // One thread: the tokens of a path, last first.
  __device__ void trace(const Kept& kept, int h) const {
    const int64_t hypothesis = place * r.n_best + h;
    r.score[hypothesis] = kept.score;
    r.length[hypothesis] = kept.step + 1;
    Node node = kept.last;
    for (int step = kept.step;; --step) {
      r.tokens[hypothesis * r.positions + step] = node.token;
      r.log_probs[hypothesis * r.positions + step] = node.log_prob;
      path(h)[step] = static_cast<uint8_t>(step == 0 ? 0 : node.parent);
      if (step == 0) return;
      node = s.trellis[(slot * s.positions + step - 1) * s.beams + node.parent];
    }
  }

  __device__ void copy_soft_labels(int h) const {
    const int64_t hypothesis = place * r.n_best + h, length = prefix + r.length[hypothesis];
    for (int64_t i = threadIdx.x; i < length * (soft.k + 1); i += blockDim.x) {
      const int64_t position = i / (soft.k + 1), j = i % (soft.k + 1);
      const int row = position < prefix ? 0 : path(h)[position - prefix];  // all rows read the same prefix
      const int64_t from = (slot * s.positions + position) * s.beams + row, to = hypothesis * r.positions + position;
      if (j < soft.k) {
        r.soft.ids[to * soft.k + j] = soft.ids[from * soft.k + j];
        r.soft.log_probs[to * soft.k + j] = soft.log_probs[from * soft.k + j];
      } else {
        r.soft.tail_mass[to] = soft.tail_mass[from];
        r.soft.entropy[to] = soft.entropy[from];
      }
    }
  }
};

// By every block of a launch at its end: the last one shows the host what is complete.
__device__ inline void publish(const Results& r) {
  __syncthreads();
  if (threadIdx.x > 0) return;
  __threadfence_system();
  if (atomicAdd(r.blocks_left, 1u) + 1 < gridDim.x) return;
  *r.blocks_left = 0;
  __threadfence_system();
#ifdef __CUDACC__
  *static_cast<volatile uint32_t*>(r.done) = atomicAdd(r.claimed, 0u);
#else  // a reader beside us, which TSan sees
  __atomic_store_n(r.done, atomicAdd(r.claimed, 0u), __ATOMIC_RELEASE);
#endif
}

}  // namespace distilmt::cuda
