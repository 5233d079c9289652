// Projection, log-sum-exp and top-k of one instruction set; contract in project.h. Each tile of logits is consumed
// while it is in the first-level cache: about 12 vector operations an exponential, against k multiply-adds.
#include "kernels/project.h"

#include "kernels/tile.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

// What is known of one row so far. Sums of exponentials are relative to `maximum`; lanes are emptied into a double
// every kFlush panels, so that a vocabulary of any size costs no accuracy.
struct RowSum {
  float lanes[kWidth];
  double total;
  float maximum;
  int64_t aside;  // the next id set aside
};
constexpr int64_t kFlush = 32;

// The free ids of one row, at a temperature: weights up to now, and at which sum the next one is drawn.
struct RowFree {
  double total, next;
  float maximum;
  uint32_t draws;
};

float exp_one(float x) { return exp(broadcast(x))[0]; }

void raise_maximum(RowSum& row, float maximum) {
  const float shrink = exp_one(row.maximum - maximum);
  store(row.lanes, load(row.lanes) * shrink);
  row.total *= shrink;
  row.maximum = maximum;
}

// Keeps top [k] sorted. Ids come in rising order, so a new candidate goes behind its equals: the lower id wins a tie.
void insert(Candidate* top, int64_t k, float logit, int32_t id) {
  int64_t at = k - 1;
  for (; at > 0 && top[at - 1].logit < logit; --at) top[at] = top[at - 1];
  top[at].logit = logit;
  top[at].id = id;
}

// Writes the logits of row i's ids that are set aside in this panel. Returns a bit for each.
DISTILMT_INLINE unsigned take_aside(const Projection& p, int64_t i, const float* sums, const float* bias, int64_t first,
                                    RowSum& row) {
  unsigned aside = 0;
  for (; row.aside < p.aside_begin[i + 1] && p.aside[row.aside] < first + kPanel; ++row.aside) {
    const int64_t c = p.aside[row.aside] - first;
    p.aside_logit[row.aside] = sums[c] + bias[c];
    aside |= 1u << c;
  }
  return aside;
}

// One row of a tile: logits of ids first .. first + kPanel, some of them set aside.
DISTILMT_INLINE void consume(const float* sums, const float* bias, int64_t first, unsigned aside, int64_t k,
                             Candidate* top, RowSum& row) {
  const vec x0 = load(sums) + load(bias), x1 = load(sums + kWidth) + load(bias + kWidth);
  // The k-th best is never above the maximum, so one comparison guards both; few tiles pass it once the row has warmed
  // up.
  const vec bar = broadcast(k > 0 ? top[k - 1].logit : row.maximum);
  const unsigned over = greater_mask(x0, bar) | greater_mask(x1, bar) << kWidth;
  if (over) {
    const float highest = largest(maximum(x0, x1));
    if (highest > row.maximum) raise_maximum(row, highest);
    if (k > 0) {
      float logits[kPanel];
      store(logits, x0);
      store(logits + kWidth, x1);
      for (unsigned rest = over & ~aside; rest; rest &= rest - 1) {
        const int c = __builtin_ctz(rest);
        if (logits[c] > top[k - 1].logit) insert(top, k, logits[c], static_cast<int32_t>(first + c));
      }
    }
  }
  store(row.lanes, load(row.lanes) + (exp(x0 - row.maximum) + exp(x1 - row.maximum)));
}

// The same logits at a temperature, without those set aside. An id is drawn with probability weight / sum up to it, in
// which case it replaces the one drawn before; from one draw to the next it takes one uniform number, which says how
// far the sum must rise first. So the draw does not depend on the width of panels.
void consume_free(const float* sums, const float* bias, int64_t first, unsigned aside, float scale, const DrawKey* key,
                  Candidate* drawn, RowFree& row) {
  vec x0 = (load(sums) + load(bias)) * scale, x1 = (load(sums + kWidth) + load(bias + kWidth)) * scale;
  float weights[kPanel];
  if (aside) {
    store(weights, x0);
    store(weights + kWidth, x1);
    for (; aside; aside &= aside - 1) weights[__builtin_ctz(aside)] = -__builtin_inff();
    x0 = load(weights);
    x1 = load(weights + kWidth);
  }
  const float highest = largest(maximum(x0, x1));
  if (highest > row.maximum) {
    const double shrink = exp_one(row.maximum - highest);
    row.total *= shrink;
    row.next *= shrink;
    row.maximum = highest;
  }
  const vec e0 = exp(x0 - row.maximum), e1 = exp(x1 - row.maximum);
  const double panel = static_cast<double>(sum(e0)) + sum(e1);
  if (!key || row.total + panel < row.next) {
    row.total += panel;
    return;
  }
  store(weights, e0);
  store(weights + kWidth, e1);
  for (int c = 0; c < kPanel; ++c) {
    row.total += weights[c];
    if (!(weights[c] > 0) || row.total < row.next) continue;
    drawn->id = static_cast<int32_t>(first + c);
    drawn->logit = sums[c] + bias[c];
    row.next = row.total / key->uniform(row.draws++, 0);
  }
}

void flush(RowSum& row) {
  for (int c = 0; c < kWidth; ++c) row.total += row.lanes[c];
  store(row.lanes, vec{});
}

}  // namespace

// Floats of scratch for m rows: packed rows, one RowSum and one RowFree each.
int64_t project_scratch(int64_t m, int64_t d) {
  return m * (padded(d, kChunk) + static_cast<int64_t>((sizeof(RowSum) + sizeof(RowFree)) / sizeof(float)));
}

// Rows first .. first + m of the projection.
void project_block(const Projection& p, int64_t first, int64_t m, const float* panels, const float* bias, int64_t vocab,
                   int64_t d, float* scratch) {
  const RowTiles tiles(m);
  pack_tiles(p.hidden + first * p.ldh, p.ldh, tiles, d, scratch);
  RowSum* sums = reinterpret_cast<RowSum*>(scratch + m * padded(d, kChunk));
  RowFree* free = reinterpret_cast<RowFree*>(sums + m);
  for (int64_t r = 0; r < m; ++r) {
    const int64_t i = first + r;
    store(sums[r].lanes, vec{});
    sums[r].total = 0;
    sums[r].maximum = -__FLT_MAX__;  // not -infinity: -infinity minus itself is NaN
    sums[r].aside = p.aside_begin[i];
    for (int64_t j = 0; j < p.k; ++j) p.top[i * p.k + j] = {-__builtin_inff(), -1};
    if (p.free_log_sum) free[r] = {0, 0, -__FLT_MAX__, 0};
    if (p.keys) p.drawn[i] = {-__builtin_inff(), -1};
  }
  alignas(64) float logits[kRows * kPanel];
  for (int64_t j = 0; j < vocab; j += kPanel) {
    for (int64_t t = 0; t < tiles.count; ++t) {
      const int64_t begin = tiles.begin(t);
      const int rows = tiles.rows(t);
      multiply_tile(rows, scratch + begin * padded(d, kChunk), panels + j * d, d, logits);
      for (int row = 0; row < rows; ++row) {
        const int64_t r = begin + row, i = first + r;
        const float* x = logits + row * kPanel;
        const unsigned aside = take_aside(p, i, x, bias + j, j, sums[r]);
        consume(x, bias + j, j, aside, p.k, p.top + i * p.k, sums[r]);
        if (p.free_log_sum)
          consume_free(x, bias + j, j, aside, p.inverse_temperature, p.keys ? p.keys + i : nullptr,
                       p.keys ? p.drawn + i : nullptr, free[r]);
        if (j / kPanel % kFlush == kFlush - 1) flush(sums[r]);
      }
    }
  }
  for (int64_t r = 0; r < m; ++r) {
    flush(sums[r]);
    p.log_sum_exp[first + r] = static_cast<float>(sums[r].maximum + __builtin_log(sums[r].total));
    if (p.free_log_sum) p.free_log_sum[first + r] = static_cast<float>(free[r].maximum + __builtin_log(free[r].total));
  }
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
