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
  // For a spread: the sum without the best ids and those set aside, and the sum of e^y y with y = logit - maximum
  // (entropy = log total - moment / total).
  float rest_lanes[kWidth], moment_lanes[kWidth];
  double rest, moment;
};
constexpr int64_t kFlush = 32;

// The free ids of one row, at a temperature: weights up to now, and at which sum the next one is drawn.
struct RowFree {
  double total, next;
  float maximum;
  uint32_t draws;
};

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

// Keeps top [k] sorted. Ids come in rising order, so a new candidate goes behind its equals: the lower id wins a tie.
void insert(Candidate* top, int64_t k, float logit, int32_t id) {
  int64_t at = k - 1;
  for (; at > 0 && top[at - 1].logit < logit; --at) top[at] = top[at - 1];
  top[at].logit = logit;
  top[at].id = id;
}

// Writes the logits of row i's ids that are set aside in this panel. Returns a bit for each.
DISTILMT_INLINE unsigned take_aside(const Projection& p, int64_t i, const float* logits, int64_t first, RowSum& row) {
  unsigned aside = 0;
  for (; row.aside < p.aside_begin[i + 1] && p.aside[row.aside] < first + kPanel; ++row.aside) {
    const int64_t c = p.aside[row.aside] - first;
    p.aside_logit[row.aside] = logits[c];
    aside |= 1u << c;
  }
  return aside;
}

// One row of a tile: logits of ids first .. first + kPanel, some of them set aside.
template <bool with_spread>
DISTILMT_INLINE void consume(const float* logits, int64_t first, unsigned aside, int64_t k, Candidate* top,
                             int64_t spread_k, RowSum& row) {
  const vec x0 = load(logits), x1 = load(logits + kWidth);
  // The k-th best is never above the maximum, so one comparison guards both; few tiles pass it once the row has warmed
  // up.
  const vec bar = broadcast(k > 0 ? top[k - 1].logit : row.maximum);
  const float spread_bar = with_spread ? top[spread_k - 1].logit : 0;
  const unsigned over = greater_mask(x0, bar) | greater_mask(x1, bar) << kWidth;
  if (over) {
    const float highest = largest(maximum(x0, x1));
    if (highest > row.maximum) raise_maximum<with_spread>(row, highest);
    if (k > 0) {
      for (unsigned rest = over & ~aside; rest; rest &= rest - 1) {
        const int c = __builtin_ctz(rest);
        if (with_spread && logits[c] > spread_bar) {
          const float last = top[spread_k - 1].logit;  // leaves the best, if this one enters
          row.rest += exp_one((logits[c] > last ? last : logits[c]) - row.maximum);
        }
        if (logits[c] > top[k - 1].logit) insert(top, k, logits[c], static_cast<int32_t>(first + c));
      }
    }
  }
  const vec y0 = x0 - row.maximum, y1 = x1 - row.maximum, e0 = exp_below(y0), e1 = exp_below(y1);
  store(row.lanes, load(row.lanes) + (e0 + e1));
  if (with_spread) {
    const vec low = broadcast(-88.0f);  // where e is 0 already, and the product with -infinity would be NaN
    store(row.moment_lanes, load(row.moment_lanes) + (e0 * maximum(y0, low) + e1 * maximum(y1, low)));
    alignas(64) float others[kPanel];
    store(others, x0 > spread_bar ? vec{} : e0);
    store(others + kWidth, x1 > spread_bar ? vec{} : e1);
    for (; aside; aside &= aside - 1) others[__builtin_ctz(aside)] = 0;
    store(row.rest_lanes, load(row.rest_lanes) + (load(others) + load(others + kWidth)));
  }
}

// The same logits at a temperature, without those set aside. An id is drawn with probability weight / sum up to it, in
// which case it replaces the one drawn before; from one draw to the next it takes one uniform number, which says how
// far the sum must rise first. So the draw does not depend on the width of panels.
void consume_free(const float* logits, int64_t first, unsigned aside, float scale, const DrawKey* key, Candidate* drawn,
                  RowFree& row) {
  vec x0 = load(logits) * scale, x1 = load(logits + kWidth) * scale;
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
    drawn->logit = logits[c];
    row.next = row.total / key->uniform(row.draws++, 0);
  }
}

void flush(float* lanes, double& total) {
  for (int c = 0; c < kWidth; ++c) total += lanes[c];
  store(lanes, vec{});
}

void flush(RowSum& row, bool with_spread) {
  flush(row.lanes, row.total);
  if (!with_spread) return;
  flush(row.rest_lanes, row.rest);
  flush(row.moment_lanes, row.moment);
}

// Of row i, flushed. The total is taken from its parts, lest a small rest drown in a certain token's 1.
Spread spread_of(const Projection& p, int64_t i, const RowSum& row) {
  double total = row.rest;
  for (int64_t j = 0; j < p.spread_k; ++j) total += exp_one(p.top[i * p.k + j].logit - row.maximum);
  for (int64_t j = p.aside_begin[i]; j < p.aside_begin[i + 1]; ++j) total += exp_one(p.aside_logit[j] - row.maximum);
  return {static_cast<float>(row.rest / total), static_cast<float>(__builtin_log(total) - row.moment / total)};
}

// Where tiles of logits come from: products of hidden states and weights ...
template <class T>
struct Products {
  const PackedView& w;
  const RowTiles<T> tiles;
  RowScale* const scales;
  uint32_t* const packed;
  [[no_unique_address]] const typename Tiles<T>::Session session{};
  alignas(64) uint32_t sums[Tiles<T>::kRows * kPanel];

  // scratch: that of a product.
  Products(const float* hidden, int64_t ldh, int64_t m, const PackedView& weights, uint32_t* scratch)
      : w(weights), tiles(m), scales(reinterpret_cast<RowScale*>(scratch)), packed(scratch + padded(2 * m, kChunk)) {
    pack_tiles<T>(hidden, ldh, tiles, w.k, packed, scales);
  }
  void multiply(int64_t j, int64_t t) {
    const uint32_t* panel = w.data + j * w.groups;
    Tiles<T>::multiply(tiles.rows(t), packed + tiles.begin(t) * row_groups<T>(w.k), panel, w.groups, sums,
                       Prefetch(panel, w.groups, t, tiles.count));
  }
  // Row r of tile t, once multiplied.
  DISTILMT_INLINE void read(int64_t j, int64_t t, int r, float* logits) const {
    for (int c = 0; c < kPanel; c += kWidth)
      store(logits + c, T::value(sums + r * kPanel + c, scales[tiles.begin(t) + r], w, j + c) + load(w.bias + j + c));
  }
};

// ... or rows of them that exist; columns beyond the vocabulary are -inf, as a packed bias makes them.
struct Given {
  const float* rows;
  int64_t vocab;
  const RowTiles<Float32> tiles;

  void multiply(int64_t, int64_t) {}
  void read(int64_t j, int64_t t, int r, float* logits) const {
    const float* from = rows + (tiles.begin(t) + r) * vocab + j;
    for (int64_t c = 0; c < kPanel; ++c) logits[c] = j + c < vocab ? from[c] : -__builtin_inff();
  }
};

template <class Source>
void run(const Projection& p, int64_t first, int64_t m, int64_t vocab, Source& source, RowSum* sums) {
  RowFree* free = reinterpret_cast<RowFree*>(sums + m);
  for (int64_t r = 0; r < m; ++r) {
    const int64_t i = first + r;
    sums[r] = {};
    sums[r].maximum = -__FLT_MAX__;  // not -infinity: -infinity minus itself is NaN
    sums[r].aside = p.aside_begin[i];
    for (int64_t j = 0; j < p.k; ++j) p.top[i * p.k + j] = {-__builtin_inff(), -1};
    if (p.free_log_sum) free[r] = {0, 0, -__FLT_MAX__, 0};
    if (p.keys) p.drawn[i] = {-__builtin_inff(), -1};
  }
  alignas(64) float logits[kPanel];
  for (int64_t j = 0; j < vocab; j += kPanel) {
    for (int64_t t = 0; t < source.tiles.count; ++t) {
      source.multiply(j, t);
      for (int row = 0; row < source.tiles.rows(t); ++row) {
        const int64_t r = source.tiles.begin(t) + row, i = first + r;
        source.read(j, t, row, logits);
        const unsigned aside = take_aside(p, i, logits, j, sums[r]);
        if (p.spread)
          consume<true>(logits, j, aside, p.k, p.top + i * p.k, p.spread_k, sums[r]);
        else
          consume<false>(logits, j, aside, p.k, p.top + i * p.k, 0, sums[r]);
        if (p.free_log_sum)
          consume_free(logits, j, aside, p.inverse_temperature, p.keys ? p.keys + i : nullptr,
                       p.keys ? p.drawn + i : nullptr, free[r]);
        if (j / kPanel % kFlush == kFlush - 1) flush(sums[r], p.spread);
      }
    }
  }
  for (int64_t r = 0; r < m; ++r) {
    flush(sums[r], p.spread);
    if (p.spread) p.spread[first + r] = spread_of(p, first + r, sums[r]);
    p.log_sum_exp[first + r] = static_cast<float>(sums[r].maximum + __builtin_log(sums[r].total));
    if (p.free_log_sum) p.free_log_sum[first + r] = static_cast<float>(free[r].maximum + __builtin_log(free[r].total));
  }
}

template <class T>
void multiply_and_run(const Projection& p, int64_t first, int64_t m, const PackedView& w, RowSum* sums,
                      uint32_t* scratch) {
  Products<T> products(p.hidden + first * p.ldh, p.ldh, m, w, scratch);
  run(p, first, m, w.n, products, sums);
}

int64_t sums_floats(int64_t m) {
  return padded(m * static_cast<int64_t>((sizeof(RowSum) + sizeof(RowFree)) / sizeof(float)), kChunk);
}

}  // namespace

// Floats of scratch that m rows need before that of a product.
int64_t project_scratch(int64_t m) { return sums_floats(m); }

// Rows first .. first + m of the projection. w is null where the logits are given.
void project_block(const Projection& p, int64_t first, int64_t m, const PackedView* w, float* scratch) {
  RowSum* sums = reinterpret_cast<RowSum*>(scratch);
  uint32_t* rest = reinterpret_cast<uint32_t*>(scratch + sums_floats(m));
  if (!w) {
    Given given{p.hidden + first * p.ldh, p.ldh, RowTiles<Float32>(m)};
    return run(p, first, m, p.ldh, given, sums);
  }
  const auto start = w->number == Number::int8       ? multiply_and_run<Int8>
                     : w->number == Number::bfloat16 ? multiply_and_run<BFloat16>
                                                     : multiply_and_run<Float32>;
  start(p, first, m, *w, sums, rest);
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
