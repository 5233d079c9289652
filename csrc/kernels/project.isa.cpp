// Projection, log-sum-exp and top-k of one instruction set; contract in project.h. Each tile of logits is consumed
// while it is in the first-level cache: about 12 vector operations an exponential, against k multiply-adds.
#include "kernels/project.h"

#include "kernels/tile.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

// The sums of exponentials of one row, relative to `maximum`. Lanes are emptied into a double every kFlush panels, so
// that a vocabulary of any size costs no accuracy. What a spread needs besides: `rest`, the sum without the best ids,
// and `moment`, the sum of e^y y with y = logit - maximum (entropy = log total - moment / total).
struct RowSum {
  float lanes[kWidth];
  double total;
  float maximum;
  float rest_lanes[kWidth], moment_lanes[kWidth];
  double rest, moment;
};
constexpr int64_t kFlush = 32;

float exp_one(float x) { return exp(broadcast(x))[0]; }

template <bool with_spread>
void raise_maximum(RowSum& row, float maximum) {
  const float rise = maximum - row.maximum, shrink = exp_one(-rise);
  if (with_spread) {
    // Each y falls by `rise`, which may be infinite where nothing is left.
    const bool left = shrink > 0;
    store(row.moment_lanes, left ? (load(row.moment_lanes) - load(row.lanes) * rise) * shrink : vec{});
    row.moment = left ? (row.moment - row.total * rise) * shrink : 0;
    store(row.rest_lanes, load(row.rest_lanes) * shrink);
    row.rest *= shrink;
  }
  store(row.lanes, load(row.lanes) * shrink);
  row.total *= shrink;
  row.maximum = maximum;
}

bool is_banned(int32_t id, const int32_t* banned, int64_t n_banned) {
  while (n_banned > 0) {
    const int64_t half = n_banned / 2;
    if (banned[half] == id) return true;
    if (banned[half] < id) {
      banned += half + 1;
      n_banned -= half + 1;
    } else {
      n_banned = half;
    }
  }
  return false;
}

// Keeps top [k] sorted. Ids come in rising order, so a new candidate goes behind its equals: the lower id wins a tie.
void insert(Candidate* top, int64_t k, float logit, int32_t id) {
  int64_t at = k - 1;
  for (; at > 0 && top[at - 1].logit < logit; --at) top[at] = top[at - 1];
  top[at].logit = logit;
  top[at].id = id;
}

// One row of a tile: logits of ids first .. first + kPanel.
template <bool with_spread>
DISTILMT_INLINE void consume(const float* sums, const float* bias, int64_t first, const int32_t* banned,
                             int64_t n_banned, int64_t k, Candidate* top, int64_t spread_k, RowSum& row) {
  const vec x0 = load(sums) + load(bias), x1 = load(sums + kWidth) + load(bias + kWidth);
  // The k-th best is never above the maximum, so one comparison guards both; few tiles pass it once the row has warmed
  // up.
  const vec bar = broadcast(k > 0 ? top[k - 1].logit : row.maximum);
  const float spread_bar = with_spread ? top[spread_k - 1].logit : 0;
  const unsigned over = greater_mask(x0, bar) | greater_mask(x1, bar) << kWidth;
  if (over) {
    const float highest = largest(maximum(x0, x1));
    if (highest > row.maximum) raise_maximum<with_spread>(row, highest);
    if (k > 0) {
      float logits[kPanel];
      store(logits, x0);
      store(logits + kWidth, x1);
      for (unsigned rest = over; rest; rest &= rest - 1) {
        const int c = __builtin_ctz(rest);
        const int32_t id = static_cast<int32_t>(first + c);
        const bool enters = logits[c] > top[k - 1].logit && !is_banned(id, banned, n_banned);
        if (with_spread && logits[c] > spread_bar) {
          const float last = top[spread_k - 1].logit;
          row.rest += exp_one((enters && logits[c] > last ? last : logits[c]) - row.maximum);
        }
        if (enters) insert(top, k, logits[c], id);
      }
    }
  }
  const vec y0 = x0 - row.maximum, y1 = x1 - row.maximum, e0 = exp(y0), e1 = exp(y1);
  store(row.lanes, load(row.lanes) + (e0 + e1));
  if (with_spread) {
    store(row.rest_lanes, load(row.rest_lanes) + ((x0 > spread_bar ? vec{} : e0) + (x1 > spread_bar ? vec{} : e1)));
    const vec low = broadcast(-88.0f);  // where e is 0 already, and the product with -infinity would be NaN
    store(row.moment_lanes, load(row.moment_lanes) + (e0 * maximum(y0, low) + e1 * maximum(y1, low)));
  }
}

void empty(float* lanes, double& total) {
  for (int c = 0; c < kWidth; ++c) total += lanes[c];
  store(lanes, vec{});
}

void empty(RowSum& row, bool with_spread) {
  empty(row.lanes, row.total);
  if (!with_spread) return;
  empty(row.rest_lanes, row.rest);
  empty(row.moment_lanes, row.moment);
}

// Of an emptied row. The total is taken from its parts, lest a small rest drown in a certain token's 1.
Spread spread_of(const RowSum& row, const Candidate* top, int64_t k) {
  double total = row.rest;
  for (int64_t j = 0; j < k; ++j) total += exp_one(top[j].logit - row.maximum);
  return {static_cast<float>(row.rest / total), static_cast<float>(__builtin_log(total) - row.moment / total)};
}

}  // namespace

// Floats of scratch for m rows: packed rows and one RowSum each.
int64_t project_scratch(int64_t m, int64_t k) {
  return m * (padded(k, kChunk) + static_cast<int64_t>(sizeof(RowSum) / sizeof(float)));
}

void project_block(const float* hidden, int64_t ldh, int64_t m, const float* panels, const float* bias, int64_t vocab,
                   int64_t d, const int32_t* banned, int64_t n_banned, int64_t k, const int32_t* picked,
                   float* picked_logit, Candidate* top, float* log_sum_exp, Spread* spread, int64_t spread_k,
                   float* scratch) {
  const RowTiles tiles(m);
  pack_tiles(hidden, ldh, tiles, d, scratch);
  RowSum* sums = reinterpret_cast<RowSum*>(scratch + m * padded(d, kChunk));
  for (int64_t i = 0; i < m; ++i) {
    sums[i] = {};
    sums[i].maximum = -__FLT_MAX__;  // not -infinity: -infinity minus itself is NaN
    for (int64_t j = 0; j < k; ++j) top[i * k + j] = {-__builtin_inff(), -1};
  }
  alignas(64) float logits[kRows * kPanel];
  for (int64_t j = 0; j < vocab; j += kPanel) {
    for (int64_t t = 0; t < tiles.count; ++t) {
      const int64_t begin = tiles.begin(t);
      const int rows = tiles.rows(t);
      multiply_tile(rows, scratch + begin * padded(d, kChunk), panels + j * d, d, logits);
      for (int r = 0; r < rows; ++r) {
        const int64_t i = begin + r;
        if (spread)
          consume<true>(logits + r * kPanel, bias + j, j, banned, n_banned, k, top + i * k, spread_k, sums[i]);
        else
          consume<false>(logits + r * kPanel, bias + j, j, banned, n_banned, k, top + i * k, spread_k, sums[i]);
        if (picked && picked[i] >= j && picked[i] < j + kPanel)
          picked_logit[i] = logits[r * kPanel + picked[i] - j] + bias[picked[i]];
        if (j / kPanel % kFlush == kFlush - 1) empty(sums[i], spread);
      }
    }
  }
  for (int64_t i = 0; i < m; ++i) {
    empty(sums[i], spread);
    if (spread) spread[i] = spread_of(sums[i], top + i * k, spread_k);
    log_sum_exp[i] = static_cast<float>(sums[i].maximum + __builtin_log(sums[i].total));
  }
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
