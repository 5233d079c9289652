// A block per row; contract in project_rows.h. A thread takes 8 neighbouring columns at a time, the block a chunk of
// them. What may be among the best is collected and ranked by counting, chunk by chunk: first against a bound below the
// k-th best (the k-th best of what each thread holds, as LightSeq's rough top-k, arXiv:2010.13887), later against the
// k-th best itself. So a rank depends on no order in which threads come. Ids that are set aside join the free ones as
// choices, by their scores, once the row has been read.
#include "cuda/device.cuh"
#include "cuda/logits.cuh"
#include "cuda/project_rows.h"
#include "kernels/project.h"  // Candidate

namespace distilmt::cuda {
namespace {

constexpr int kMostThreads = kThreads < 256 ? kThreads : 256;
constexpr int kChunk = kColumns * kMostThreads;
constexpr int kAside = kMostCandidates + kMostBanned + 1;
constexpr int kRoom = kChunk > kAside ? kChunk : kAside;

// Sum of exponentials, relative to the largest so far.
struct LogSum {
  float highest = -FLT_MAX, total = 0;

  __device__ void add(const float (&x)[kColumns]) {
    float high = highest;
    for (float each : x) high = each > high ? each : high;
    total *= expf(highest - high);
    highest = high;
    for (float each : x) total += expf(each - high);
  }
  // Over the block.
  __device__ void join(float* scratch) {
    const float high = block_largest(highest, scratch);
    total = block_sum(total * expf(highest - high), scratch);
    highest = high;
  }
  __device__ float value() const { return static_cast<float>(highest + log(static_cast<double>(total))); }
};

struct Shared {
  Candidate best[2][kMostCandidates];
  Candidate fresh[kRoom];
  float scratch[kMostThreads];
  int count;
  float bound;
};

__device__ bool better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// How many of `among` are better than x.
__device__ int rank(const Candidate& x, const Candidate* among, int count) {
  int before = 0;
  for (int i = 0; i < count; ++i) before += better(among[i], x);
  return before;
}

template <class T>
struct ProjectedRow : LogitRow<T> {
  using LogitRow<T>::p;
  Shared& shared;
  const int keep;  // of the best free ids

  __device__ ProjectedRow(const RowProjection& p, Shared& shared, int64_t row)
      : LogitRow<T>(p, row), shared(shared), keep(max(p.k, p.soft.k)) {}

  // A bound that at least `keep` free ids of the first chunk reach; -inf where there may be fewer.
  __device__ float first_bound(const float (&x)[kColumns]) const {
    float high = -HUGE_VALF;
    for (float each : x) high = each > high ? each : high;
    shared.scratch[threadIdx.x] = high;
    if (threadIdx.x == 0) shared.bound = -HUGE_VALF;
    __syncthreads();
    int before = 0;
    for (int i = 0; i < static_cast<int>(blockDim.x); ++i)
      before += shared.scratch[i] > high || (shared.scratch[i] == high && i < static_cast<int>(threadIdx.x));
    if (before == keep - 1) shared.bound = high;
    __syncthreads();
    return shared.bound;
  }

  // The best of best[half] and the fresh ones, into the other half, at most `most`. Returns how many there are.
  __device__ int merge(int half, int known, int fresh, int most) const {
    const Candidate* best = shared.best[half];
    Candidate* next = shared.best[1 - half];
    for (int i = threadIdx.x; i < known + fresh; i += blockDim.x) {
      const Candidate x = i < known ? best[i] : shared.fresh[i - known];
      const int at = rank(x, shared.fresh, fresh) + (i < known ? i : rank(x, best, known));
      if (at < most) next[at] = x;
    }
    if (threadIdx.x == 0) shared.count = 0;
    __syncthreads();
    return min(known + fresh, most);
  }

  // Log of the sum of exp(score * inverse_temperature) over all choices, from that over the free ids' logits.
  __device__ float log_sum(float free_log_sum, float shift) const {
    const float inverse = p.inverse_temperature, free = free_log_sum + shift * inverse;
    if (!this->own) return free;
    float highest = free, total = 0;
    this->each_chosen(shift, [&](const Choice& choice) { highest = fmaxf(highest, choice.score * inverse); });
    highest = block_largest(highest, shared.scratch);
    if (isinf(highest)) return highest;
    this->each_chosen(shift, [&](const Choice& choice) { total += expf(choice.score * inverse - highest); });
    total = block_sum(total, shared.scratch) + expf(free - highest);
    return static_cast<float>(highest + log(static_cast<double>(total)));
  }

  // The best choices from best[half], which holds the `known` best free ids.
  __device__ void choose(int half, int known, float shift, float total) const {
    const int64_t row = this->row, beams = p.slots.beams, slot = p.slots.live[row / beams];
    const float base = p.summed ? p.slots.scores[slot * beams + row % beams] : 0;
    const float less = p.renormalised && !isinf(total) ? total : 0;
    known = min(known, p.k);
    if (this->own) {
      for (int i = threadIdx.x; i < known; i += blockDim.x) {
        const Candidate& x = shared.best[half][i];
        shared.fresh[i] = {base + (x.logit + shift - less), x.id};
      }
      if (threadIdx.x == 0) shared.count = known;
      known = 0;
      __syncthreads();
      const int all = p.aside.count[row];
      for (int first = 0; first == 0 || first < all; first += blockDim.x) {
        const int i = first + threadIdx.x;
        const Aside entry = i < all ? p.aside.entries[row * p.aside.room + i] : Aside{-1};
        if (entry.id >= 0 && !entry.banned) {
          const Choice x = aside_choice(p.rule, entry, this->one(entry.id), shift, this->lambda());
          shared.fresh[atomicAdd(&shared.count, 1)] = {base + (x.score - less), x.id};
        }
        __syncthreads();
        const int fresh = shared.count;
        __syncthreads();
        known = merge(half, known, fresh, p.k);
        half = 1 - half;
      }
    }
    for (int i = threadIdx.x; i < p.k; i += blockDim.x) {
      Choice choice{-1, -HUGE_VALF, -HUGE_VALF};
      if (i < known) choice = this->choice(shared.best[half][i].id, shift);
      choice.score -= less;
      choice.log_prob -= less;
      p.choices[row * p.k + i] = choice;
    }
  }

  // Soft labels from the best free ids, `known` of them, and those that were set aside.
  __device__ void soften(const Candidate* best, int known, Candidate* chosen, float highest, float log_sum_exp,
                         int64_t at) const {
    const int k = p.soft.k, free = known < k ? known : k;
    for (int i = threadIdx.x; i < free; i += blockDim.x) shared.fresh[i] = best[i];
    if (threadIdx.x == 0) shared.count = free;
    __syncthreads();
    const auto add = [&](int32_t id) {
      const float logit = this->one(id);
      if (logit > -HUGE_VALF) shared.fresh[atomicAdd(&shared.count, 1)] = {logit, id};
    };
    for (int i = threadIdx.x; i < p.banned_count; i += blockDim.x) add(p.banned_ids[i]);
    if (threadIdx.x == 0 && this->end_banned && !this->listed(p.eos)) add(p.eos);
    this->each_aside([&](const Aside& entry) { add(entry.id); });
    __syncthreads();
    const int all = shared.count;
    for (int i = threadIdx.x; i < all; i += blockDim.x) {
      const int to = rank(shared.fresh[i], shared.fresh, all);
      if (to < k) chosen[to] = shared.fresh[i];
    }
    __syncthreads();
    if (threadIdx.x == 0) {  // fewer ids than k are possible: any others have probability 0, the lowest will do
      for (int i = all; i < k; ++i) {
        int32_t id = 0;
        for (int j = 0; j < i; ++j)
          if (chosen[j].id == id) ++id, j = -1;
        chosen[i] = {-HUGE_VALF, id};
      }
    }
    __syncthreads();
    const Candidate last = chosen[k - 1];
    float rest = 0, moment = 0;
    for (int64_t first = int64_t{kColumns} * threadIdx.x; first < p.vocab; first += kColumns * blockDim.x) {
      float x[kColumns];
      this->load(first, x);
      for (int c = 0; c < kColumns; ++c) {
        const float y = x[c] - highest, weight = expf(y);
        moment += weight * fmaxf(y, -88.0f);  // where the weight is 0 already, and times -inf would be NaN
        if (better(last, {x[c], static_cast<int32_t>(first + c)})) rest += weight;
      }
    }
    rest = block_sum(rest, shared.scratch);
    moment = block_sum(moment, shared.scratch);
    for (int i = threadIdx.x; i < k; i += blockDim.x) {
      p.soft.ids[at * k + i] = chosen[i].id;
      p.soft.log_probs[at * k + i] = chosen[i].logit - log_sum_exp;
    }
    if (threadIdx.x > 0) return;
    float total = rest;  // of its parts, lest a small rest drown in a certain token's 1
    for (int i = 0; i < k; ++i) total += expf(chosen[i].logit - highest);
    p.soft.tail_mass[at] = rest / total;
    p.soft.entropy[at] = static_cast<float>(log(static_cast<double>(total)) - moment / total);
  }
};

template <class T>
__global__ void __launch_bounds__(kMostThreads) project_rows_kernel(const RowProjection p) {
  __shared__ Shared shared;
  const Slots& s = p.slots;
  const int64_t row = blockIdx.x, slot = s.live[row / s.beams];
  if (slot < 0) return;
  const ProjectedRow<T> projected(p, shared, row);
  LogSum all, free;
  int half = 0, known = 0;
  if (threadIdx.x == 0) shared.count = 0;
  for (int64_t begin = 0; begin < p.vocab; begin += kColumns * blockDim.x) {
    const int64_t first = begin + kColumns * threadIdx.x;
    float x[kColumns];
    projected.load(first, x);
    all.add(x);
    projected.ban(first, x);
    if (p.choice_log_sum) {
      float scaled[kColumns];
      for (int c = 0; c < kColumns; ++c) scaled[c] = x[c] * p.inverse_temperature;
      free.add(scaled);
    }
    const float bound = begin == 0 ? projected.first_bound(x) : -HUGE_VALF;
    const float last = known == projected.keep ? shared.best[half][known - 1].logit : -HUGE_VALF;
    for (int c = 0; c < kColumns; ++c)  // later equals have higher ids
      if (x[c] >= bound && x[c] > last) shared.fresh[atomicAdd(&shared.count, 1)] = {x[c], int32_t(first + c)};
    __syncthreads();
    const int fresh = shared.count;
    __syncthreads();
    if (fresh == 0) continue;
    known = projected.merge(half, known, fresh, projected.keep);
    half = 1 - half;
  }
  all.join(shared.scratch);
  const float log_sum_exp = all.value();
  if (p.soft.k > 0) {
    const int64_t at = (slot * s.positions + s.position[slot]) * s.beams + row % s.beams;
    projected.soften(shared.best[half], known, shared.best[1 - half], all.highest, log_sum_exp, at);
  }
  const float shift = projected.shift(log_sum_exp);
  float total = 0;
  if (p.choice_log_sum) {
    free.join(shared.scratch);
    total = projected.log_sum(free.value(), shift);
  }
  if (threadIdx.x == 0) {
    p.log_sum_exp[row] = log_sum_exp;
    if (p.choice_log_sum) p.choice_log_sum[row] = total;
  }
  if (isfinite(log_sum_exp)) projected.choose(half, known, shift, total);
}

}  // namespace
}  // namespace distilmt::cuda

DISTILMT_EXPORT int distilmt_cuda_project_rows(const distilmt::cuda::RowProjection* p, void* stream) {
  using namespace distilmt::cuda;
  return with_storage(p->storage, [&](auto number) {
    return launch(project_rows_kernel<decltype(number)>, *p, int64_t{p->slots.launched} * p->slots.beams, stream,
                  kMostThreads);
  });
}
