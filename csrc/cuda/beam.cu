// A block per slot; contract in beam.h. The choices of a row fall in score, so the rank of one among those of all rows
// is found by bisection; one thread takes the step that beam_step.h has, and all write what comes of it.
#include "cuda/beam.h"
#include "cuda/device.cuh"
#include "cuda/results.cuh"

namespace distilmt::cuda {
namespace {

constexpr int kMostBeams = 64;
constexpr int kBeamThreads = 32;

struct Shared {
  int counts[kMostBeams];  // choices of a row
  Option options[2 * kMostBeams];
  Option living[kMostBeams];
  bool finite, done;
};

struct SlotStep {
  const BeamSearch& b;
  Shared& shared;
  int64_t index, slot;  // of the launch, and whose it is
  Progress at;
  int forced;

  // Row that beam reads: before the first token all are alike.
  __device__ int64_t row(int beam) const { return index * b.slots.beams + (at.step == 0 ? 0 : beam); }

  __device__ Choice choice(int beam, int j) const {
    return forced >= 0 ? Choice{forced, 0, 0} : b.choices[row(beam) * b.k + j];
  }
  __device__ float score(int beam, int j) const {
    return b.slots.scores[slot * b.slots.beams + beam] + choice(beam, j).score;
  }

  // Choices of a row: those in front of the first that is none.
  __device__ int count(int beam) const {
    if (forced >= 0) return 1;
    const int wanted = b.rule.width == 1 ? 1 : 2 * b.rule.width;
    int n = 0;
    while (n < wanted && choice(beam, n).id >= 0) ++n;
    return n;
  }
  // How many of a row score more than x, or as much where `equal`.
  __device__ int above(int beam, float x, bool equal) const {
    int low = 0, high = shared.counts[beam];
    while (low < high) {
      const int middle = (low + high) / 2;
      const float y = score(beam, middle);
      if (y > x || (equal && y == x))
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
  __device__ int rank(int beam, int j) const {
    const float x = score(beam, j);
    int before = 0;
    for (int other = 0; other < b.rule.width; ++other)
      if (other != beam) before += above(other, x, other < beam);
    // Two scores may round to one sum, and then the lower id is first.
    const int begin = above(beam, x, false), end = above(beam, x, true), id = choice(beam, j).id;
    before += begin;
    for (int equal = begin; equal < end; ++equal) before += choice(beam, equal).id < id;
    return before;
  }

  __device__ void collect() const {
    const int width = b.rule.width, keep = width == 1 ? 1 : 2 * width;
    for (int beam = threadIdx.x; beam < width; beam += blockDim.x) shared.counts[beam] = count(beam);
    __syncthreads();
    int all = 0;
    for (int beam = 0; beam < width; ++beam) all += shared.counts[beam];
    for (int i = threadIdx.x; i < width * keep; i += blockDim.x) {
      const int beam = i / keep, j = i % keep;
      if (j >= shared.counts[beam]) continue;
      const int to = rank(beam, j);
      const Choice next = choice(beam, j);
      if (to < keep)
        shared.options[to] = {score(beam, j), {next.id, beam, next.log_prob}, next.id == b.rule.eos || at.last()};
    }
    for (int to = all + threadIdx.x; to < keep; to += blockDim.x)  // filled up with impossible ones
      shared.options[to] = {-HUGE_VALF, {b.start, 0, -HUGE_VALF}, at.last()};
    __syncthreads();
  }

  __device__ void search() const {
    collect();
    const Slots& s = b.slots;
    const int width = b.rule.width, step = at.step;
    if (threadIdx.x == 0) {
      shared.living[0].score = s.scores[slot * width];  // greedy adds to it
      const float divisor = b.divisor[step + 1], hoped = b.divisor[hoped_length(b.rule, step + 1, at.limit)];
      bool can_improve = s.can_improve[slot];
      shared.done = beam_step(b.rule, shared.options, step, divisor, hoped, can_improve, shared.living,
                              s.kept + slot * s.room, [&](const Option& option) {
                                const float score = option.score / divisor;
                                if (!b.coverage.penalty) return score;
                                return score + b.coverage_penalty * b.coverage.penalty[row(option.node.parent)];
                              });
      s.can_improve[slot] = can_improve;
    }
    __syncthreads();
    for (int beam = threadIdx.x; beam < width; beam += blockDim.x) {
      const Option& option = shared.living[beam];
      s.scores[slot * width + beam] = option.score;
      s.trellis[(slot * s.positions + step) * width + beam] = option.node;
      s.tokens[slot * width + beam] = option.node.token;
    }
  }
};

// Row i * beams + parent(beam) of the launch is continued by row `beam` of the slot: its ancestors and its coverage.
template <class Parent>
__device__ void go_on(const BeamSearch& b, int64_t i, int64_t slot, const Parent& parent) {
  follow(b.slots, slot, parent);
  const Coverage& c = b.coverage;
  if (!c.penalty) return;
  const int64_t beams = b.slots.beams, length = c.source_length[b.slots.place[slot]], width = c.source_positions;
  for (int64_t at = threadIdx.x; at < beams * length; at += blockDim.x) {
    const int beam = static_cast<int>(at / length);
    c.seen[(slot * beams + beam) * width + at % length] = c.covered[(i * beams + parent(beam)) * width + at % length];
  }
}

__global__ void __launch_bounds__(kBeamThreads) beam_kernel(const BeamSearch b) {
  __shared__ Shared shared;
  const Slots& s = b.slots;
  const int64_t i = blockIdx.x, slot = s.live[i];
  if (slot >= 0) {
    const Progress at(s, b.places, slot);
    const int position = s.position[slot], step = at.step;
    if (threadIdx.x == 0) {
      shared.finite = true;
      for (int beam = 0; beam < (step <= 0 ? 1 : s.beams); ++beam)
        shared.finite = shared.finite && isfinite(b.log_sum_exp[i * s.beams + beam]);
    }
    __syncthreads();
    const Finishing out{s, b.soft, b.results, slot, at.place, at.prefix};
    if (!shared.finite) {
      out.leave(Leaving::not_finite);
    } else if (step < 0) {
      const int32_t token = b.places.prefix_tokens[b.places.prefix_begin[at.place] + position];
      for (int beam = threadIdx.x; beam < s.beams; beam += blockDim.x) s.tokens[slot * s.beams + beam] = token;
      go_on(b, i, slot, [](int beam) { return beam; });
    } else {
      SlotStep{b, shared, i, slot, at, at.forced(b.forced_bos, b.forced_eos)}.search();
      if (shared.done)
        out.finish();
      else
        go_on(b, i, slot, [&](int beam) { return step == 0 ? 0 : shared.living[beam].node.parent; });
    }
    __syncthreads();
    if (threadIdx.x == 0 && s.position[slot] >= 0) s.position[slot] = position + 1;
  }
  publish(b.results);
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_beam(const distilmt::cuda::BeamSearch* b, void* stream) {
  using namespace distilmt::cuda;
  return launch(beam_kernel, *b, b->slots.launched, stream, kBeamThreads);
}
