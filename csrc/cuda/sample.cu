// A block per row draws, a block per slot keeps; contract in sample.h.
#include "cuda/logits.cuh"
#include "cuda/results.cuh"
#include "cuda/sample.h"
#include "kernels/project.h"  // DrawKey

namespace distilmt::cuda {
namespace {

constexpr int kDrawThreads = kThreads < 256 ? kThreads : 256;

struct Shared {
  float scratch[kDrawThreads];
  double masses[kDrawThreads];
  int token;
};

// The best choices as engine/sampler.cpp draws from them, by one thread. Returns -1 where they are too few to hold the
// nucleus, -2 where there is none.
__device__ int draw_from_best(const Sampling& s, int64_t row, double u) {
  const Choice* best = s.rows.choices + row * s.rows.k;
  const double inverse = s.rows.inverse_temperature;
  int found = 0;
  while (found < s.rows.k && best[found].id >= 0) ++found;
  if (found == 0 || isinf(best[0].score)) return -2;
  const bool complete = found < s.rows.k;
  const int count = s.top_k > 0 && found > s.top_k ? s.top_k : found;
  const auto scaled = [&](int j) { return static_cast<double>(best[j].score) * inverse; };
  const auto weight = [&](int j) { return exp(scaled(j) - scaled(0)); };
  double total = 0;
  if (s.top_k > 0 || complete)
    for (int j = 0; j < count; ++j) total += weight(j);
  else
    total = exp(s.rows.choice_log_sum[row] - scaled(0));
  double mass = 0;
  int wide = 0;
  while (wide < count && (s.top_p >= 1 || mass < s.top_p * total)) mass += weight(wide++);
  if (!(s.top_k > 0 || complete || mass >= s.top_p * total)) return -1;
  double sum = 0;
  int picked = 0;
  for (int j = 0; j < wide && sum < u * mass; ++j) {
    sum += weight(j);
    if (weight(j) > 0) picked = j;
  }
  return best[picked].id;
}

// The row's choices that are this thread's, one run of columns and every so many set aside: f(id, score) for those that
// score at least `bound`.
template <class T, class F>
__device__ void each(const LogitRow<T>& row, float bound, const F& f) {
  const float shift = row.shift(row.p.log_sum_exp[row.row]);
  const int64_t packs = (row.p.vocab + kColumns - 1) / kColumns, run = (packs + blockDim.x - 1) / blockDim.x;
  for (int64_t pack = run * threadIdx.x; pack < packs && pack < run * (threadIdx.x + 1); ++pack) {
    float x[kColumns];
    row.load(pack * kColumns, x);
    row.ban(pack * kColumns, x);
    for (int c = 0; c < kColumns; ++c)
      if (x[c] > -HUGE_VALF && x[c] + shift >= bound) f(static_cast<int32_t>(pack * kColumns + c), x[c] + shift);
  }
  row.each_chosen(shift, [&](const Choice& choice) {
    if (choice.score > -HUGE_VALF && choice.score >= bound) f(choice.id, choice.score);
  });
}

// The block's draw from all choices that score `bound` at least: the id at which the sum of weights reaches u of it.
template <class T>
__device__ int draw_above(const LogitRow<T>& row, float bound, float highest, double u, Shared& shared) {
  const float inverse = row.p.inverse_temperature;
  double mine = 0;
  each(row, bound, [&](int32_t, float x) { mine += expf((x - highest) * inverse); });
  __syncthreads();
  shared.masses[threadIdx.x] = mine;
  if (threadIdx.x == 0) shared.token = -2;
  __syncthreads();
  double before = 0, total = 0;
  for (int i = 0; i < static_cast<int>(blockDim.x); ++i) {
    if (i == static_cast<int>(threadIdx.x)) before = total;
    total += shared.masses[i];
  }
  const double target = u * total;
  if (before < target && before + mine >= target) {
    int token = -2;
    double sum = before;
    each(row, bound, [&](int32_t id, float x) {
      if (sum >= target) return;
      const float weight = expf((x - highest) * inverse);
      sum += weight;
      if (weight > 0) token = id;
    });
    shared.token = token;
  }
  __syncthreads();
  return shared.token;
}

// The bits of a float as an integer that rises with it, and back.
__device__ int64_t rising(float x) {
  const int bits = __float_as_int(x);
  return bits >= 0 ? bits : -static_cast<int64_t>(bits & 0x7fffffff);
}
__device__ float of_rising(int64_t i) {
  return i >= 0 ? __int_as_float(static_cast<int>(i)) : -__int_as_float(static_cast<int>(-i));
}

// The largest bound above which choices hold top_p of the mass.
template <class T>
__device__ float nucleus_bound(const Sampling& s, const LogitRow<T>& row, float highest, Shared& shared) {
  const auto mass = [&](float bound) {
    float mine = 0;
    each(row, bound, [&](int32_t, float x) { mine += expf((x - highest) * row.p.inverse_temperature); });
    return block_sum(mine, shared.scratch);
  };
  const float wanted = static_cast<float>(s.top_p) * mass(-HUGE_VALF);
  int64_t low = rising(-FLT_MAX), high = rising(highest);  // low always holds enough
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (mass(of_rising(middle)) >= wanted)
      low = middle;
    else
      high = middle - 1;
  }
  return of_rising(low);
}

template <class T>
__global__ void __launch_bounds__(kDrawThreads) draw_kernel(const Sampling s) {
  __shared__ Shared shared;
  const Slots& slots = s.rows.slots;
  const int64_t row = blockIdx.x, slot = slots.live[row / slots.beams], sample = row % slots.beams;
  if (slot < 0 || slots.tokens[slot * slots.beams + sample] < 0) return;
  const Progress at(slots, s.places, slot);
  if (at.step < 0 || !isfinite(s.rows.log_sum_exp[row])) return;
  int token = at.forced(s.forced_bos, s.forced_eos);
  const bool forced = token >= 0;
  const DrawKey key{s.places.key[at.place], static_cast<uint32_t>(at.step), static_cast<uint32_t>(sample)};
  const double u = key.uniform(0, 1);
  const LogitRow<T> logits(s.rows, row);
  const float highest = s.rows.choices[row * s.rows.k].score;
  if (!forced) {
    const bool all = s.top_k == 0 && s.top_p >= 1;
    if (threadIdx.x == 0) shared.token = all ? -1 : draw_from_best(s, row, u);
    __syncthreads();
    token = shared.token;
    if (token == -1)
      token = draw_above(logits, all ? -HUGE_VALF : nucleus_bound(s, logits, highest, shared), highest, u, shared);
  }
  if (threadIdx.x > 0) return;
  s.drawn[row] = token;
  const float shift = logits.shift(s.rows.log_sum_exp[row]);
  s.drawn_log_prob[row] = forced || token < 0 ? 0 : logits.choice(token, shift).log_prob;
}

constexpr int kSampleThreads = 32;

__global__ void __launch_bounds__(kSampleThreads) sample_kernel(const Sampling s) {
  __shared__ int living, state;  // state: a Leaving, or -1 while all is well
  const Slots& slots = s.rows.slots;
  const int64_t i = blockIdx.x, slot = slots.live[i];
  if (slot >= 0) {
    const Progress at(slots, s.places, slot);
    const int position = slots.position[slot];
    const Finishing out{slots, s.rows.soft, s.results, slot, at.place, at.prefix};
    if (threadIdx.x == 0) {
      living = 0;
      state = -1;
      for (int b = 0; b < slots.beams; ++b) {
        const int64_t row = i * slots.beams + b;
        int32_t& token = slots.tokens[slot * slots.beams + b];
        if (token < 0) continue;
        if (!isfinite(s.rows.log_sum_exp[row])) {
          state = static_cast<int>(Leaving::not_finite);
        } else if (at.step < 0) {
          token = s.places.prefix_tokens[s.places.prefix_begin[at.place] + position];
          ++living;
        } else if (s.drawn[row] < 0) {
          if (state < 0) state = static_cast<int>(Leaving::nothing_left);
        } else {
          const Node node{s.drawn[row], b, s.drawn_log_prob[row]};
          float& sum = slots.scores[slot * slots.beams + b];
          sum = at.step == 0 ? node.log_prob : sum + node.log_prob;
          slots.trellis[(slot * slots.positions + at.step) * slots.beams + b] = node;
          const bool ends = node.token == s.rows.eos || at.last();
          if (ends) slots.kept[slot * slots.room + b] = {sum / s.divisor[at.step + 1], true, at.step, node};
          token = ends ? -1 : node.token;
          living += !ends;
        }
      }
    }
    __syncthreads();
    if (state >= 0)
      out.leave(static_cast<Leaving>(state));
    else if (living == 0)
      out.finish();
    else
      follow(slots, slot, [](int beam) { return beam; });
    __syncthreads();
    if (threadIdx.x == 0 && slots.position[slot] >= 0) slots.position[slot] = position + 1;
  }
  publish(s.results);
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_draw(const distilmt::cuda::Sampling* s, void* stream) {
  using namespace distilmt::cuda;
  const Slots& slots = s->rows.slots;
  return with_storage(s->rows.storage, [&](auto number) {
    return launch(draw_kernel<decltype(number)>, *s, int64_t{slots.launched} * slots.beams, stream, kDrawThreads);
  });
}

DISTILMT_EXPORT int distilmt_cuda_sample(const distilmt::cuda::Sampling* s, void* stream) {
  using namespace distilmt::cuda;
  return launch(sample_kernel, *s, s->rows.slots.launched, stream, kSampleThreads);
}
