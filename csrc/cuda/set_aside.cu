// A block per row, a thread per token; contract in set_aside.h. An id enters where it first stands, so that the list
// depends on no order in which threads come.
#include "cuda/logits.cuh"
#include "cuda/set_aside.h"

namespace distilmt::cuda {
namespace {

constexpr int kAsideThreads = kThreads < 128 ? kThreads : 128;

struct RowText {
  const SettingAside& a;
  const RowBans bans;
  const int32_t* ids;  // of the text, then of the neighbours
  int64_t row;
  int length, all;  // of the text; of both

  // Whether the text's token t would be the end of an n-gram that ends the text but for that.
  __device__ bool repeats(int t) const {
    const int size = a.no_repeat_ngram_size;
    if (size == 0 || length < size || t < size - 1) return false;
    for (int i = 1; i < size; ++i)
      if (ids[t - size + i] != ids[length - size + i]) return false;
    return true;
  }

  __device__ Aside entry(int at) const {
    const int32_t id = ids[at];
    if (id < 0) return {-1};
    Aside aside{id};
    bool near = false;
    for (int i = 0; i < all; ++i) {
      if (ids[i] != id) continue;
      if (i < at) return {-1};
      if (i < length) {
        aside.seen = a.rows.rule.repetition_penalty != 1;
        aside.banned = aside.banned || repeats(i);
      } else {
        aside.neighbour += a.probabilities[row * a.neighbours + i - length];
        near = true;
      }
    }
    return bans.banned(id) || !(aside.seen || aside.banned || near) ? Aside{-1} : aside;
  }
};

__global__ void __launch_bounds__(kAsideThreads) set_aside_kernel(const SettingAside a) {
  DISTILMT_DYNAMIC_SHARED(shared);
  int32_t* const ids = reinterpret_cast<int32_t*>(shared);
  const RowProjection& p = a.rows;
  const Slots& s = p.slots;
  const int64_t row = blockIdx.x, slot = s.live[row / s.beams], beam = row % s.beams;
  if (slot < 0) return;
  Aside* entries = p.aside.entries + row * p.aside.room;
  const auto turn = [&](int32_t id) {
    if (id >= 0) atomicXor(p.aside.bits + row * p.aside.words(p.vocab) + id / 32, 1u << id % 32);
  };
  for (int i = threadIdx.x; i < p.aside.count[row]; i += blockDim.x) turn(entries[i].id);  // of the last step

  const bool reads = p.rule.repetition_penalty != 1 || a.no_repeat_ngram_size > 0;
  const int position = s.position[slot], length = reads ? position + 1 : 0, all = length + a.neighbours;
  const int64_t place = s.place[slot], prefix = a.places.prefix_length[place];
  const uint8_t* ancestors = s.ancestors + (position % 2 * s.slots + slot) * int64_t{s.positions} * s.beams + beam;
  for (int t = threadIdx.x; t < length; t += blockDim.x) {
    const int64_t from = t < position ? ancestors[int64_t{t} * s.beams] : beam;
    ids[t] = t == 0        ? a.start
             : t <= prefix ? a.places.prefix_tokens[a.places.prefix_begin[place] + t - 1]
                           : s.trellis[(slot * s.positions + t - prefix - 1) * s.beams + from].token;
  }
  for (int i = threadIdx.x; i < a.neighbours; i += blockDim.x) ids[length + i] = a.neighbour[row * a.neighbours + i];
  __syncthreads();
  const RowText text{a, RowBans(p, row), ids, row, length, all};
  for (int i = threadIdx.x; i < all; i += blockDim.x) {
    entries[i] = text.entry(i);
    turn(entries[i].id);
  }
  if (threadIdx.x == 0) p.aside.count[row] = all;
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_set_aside(const distilmt::cuda::SettingAside* a, void* stream) {
  using namespace distilmt::cuda;
  const Slots& slots = a->rows.slots;
  return launch(set_aside_kernel, *a, int64_t{slots.launched} * slots.beams, stream, kAsideThreads,
                sizeof(int32_t) * a->rows.aside.room);
}
