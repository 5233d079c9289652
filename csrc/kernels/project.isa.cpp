// Projection, log-sum-exp and top-k of one instruction set; contract in project.h. Each tile of logits is consumed
// while it is in the first-level cache: about 12 vector operations an exponential, against k multiply-adds.
#include "kernels/project.h"

#include "kernels/tile.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

// The sums of exponentials of one row, relative to `maximum`. Lanes are emptied into a double every kFlush panels, so
// that a vocabulary of any size costs no accuracy.
struct RowSum {
  float lanes[kWidth];
  double total;
  float maximum;
};
constexpr int64_t kFlush = 32;
constexpr int64_t kRowSumFloats = sizeof(RowSum) / sizeof(float);

float exp_one(float x) { return exp(broadcast(x))[0]; }

void raise_maximum(RowSum& row, float maximum) {
  const float shrink = exp_one(row.maximum - maximum);
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
DISTILMT_INLINE void consume(const float* logits, int64_t first, const int32_t* banned, int64_t n_banned, int64_t k,
                             Candidate* top, RowSum& row) {
  const vec x0 = load(logits), x1 = load(logits + kWidth);
  // The k-th best is never above the maximum, so one comparison guards both; few tiles pass it once the row has warmed
  // up.
  const vec bar = broadcast(k > 0 ? top[k - 1].logit : row.maximum);
  const unsigned over = greater_mask(x0, bar) | greater_mask(x1, bar) << kWidth;
  if (over) {
    const float highest = largest(maximum(x0, x1));
    if (highest > row.maximum) raise_maximum(row, highest);
    if (k > 0) {
      for (unsigned rest = over; rest; rest &= rest - 1) {
        const int c = __builtin_ctz(rest);
        const int32_t id = static_cast<int32_t>(first + c);
        if (logits[c] > top[k - 1].logit && !is_banned(id, banned, n_banned)) insert(top, k, logits[c], id);
      }
    }
  }
  store(row.lanes, load(row.lanes) + (exp(x0 - row.maximum) + exp(x1 - row.maximum)));
}

void flush(RowSum& row) {
  for (int c = 0; c < kWidth; ++c) row.total += row.lanes[c];
  store(row.lanes, vec{});
}

template <class T>
void project(const float* hidden, int64_t ldh, int64_t m, const PackedView& w, const int32_t* banned, int64_t n_banned,
             int64_t k, const int32_t* picked, float* picked_logit, Candidate* top, float* log_sum_exp,
             uint32_t* scratch) {
  const RowTiles<T> tiles(m);
  RowScale* scales = reinterpret_cast<RowScale*>(scratch);
  RowSum* sums = reinterpret_cast<RowSum*>(scratch + padded(2 * m, kChunk));
  uint32_t* packed = scratch + padded(2 * m, kChunk) + m * kRowSumFloats;
  pack_tiles<T>(hidden, ldh, tiles, w.k, packed, scales);
  for (int64_t i = 0; i < m; ++i) {
    store(sums[i].lanes, vec{});
    sums[i].total = 0;
    sums[i].maximum = -__FLT_MAX__;  // not -infinity: -infinity minus itself is NaN
    for (int64_t j = 0; j < k; ++j) top[i * k + j] = {-__builtin_inff(), -1};
  }
  alignas(64) uint32_t products[Tiles<T>::kRows * kPanel];
  alignas(64) float logits[kPanel];
  [[maybe_unused]] const typename Tiles<T>::Session session;
  for (int64_t j = 0; j < w.n; j += kPanel) {
    for (int64_t t = 0; t < tiles.count; ++t) {
      const int64_t begin = tiles.begin(t);
      const int rows = tiles.rows(t);
      const uint32_t* panel = w.data + j * w.groups;
      Tiles<T>::multiply(rows, packed + begin * row_groups<T>(w.k), panel, w.groups, products,
                         Prefetch(panel, w.groups, t, tiles.count));
      for (int r = 0; r < rows; ++r) {
        const int64_t i = begin + r;
        for (int c = 0; c < kPanel; c += kWidth)
          store(logits + c, T::value(products + r * kPanel + c, scales[i], w, j + c) + load(w.bias + j + c));
        consume(logits, j, banned, n_banned, k, top + i * k, sums[i]);
        if (picked && picked[i] >= j && picked[i] < j + kPanel) picked_logit[i] = logits[picked[i] - j];
        if (j / kPanel % kFlush == kFlush - 1) flush(sums[i]);
      }
    }
  }
  for (int64_t i = 0; i < m; ++i) {
    flush(sums[i]);
    log_sum_exp[i] = static_cast<float>(sums[i].maximum + __builtin_log(sums[i].total));
  }
}

}  // namespace

// Floats of scratch a row needs beyond that of a product.
int64_t project_row_scratch() { return kRowSumFloats; }

void project_block(const float* hidden, int64_t ldh, int64_t m, const PackedView& w, const int32_t* banned,
                   int64_t n_banned, int64_t k, const int32_t* picked, float* picked_logit, Candidate* top,
                   float* log_sum_exp, uint32_t* scratch) {
  const auto run = w.number == Number::int8       ? project<Int8>
                   : w.number == Number::bfloat16 ? project<BFloat16>
                                                  : project<Float32>;
  run(hidden, ldh, m, w, banned, n_banned, k, picked, picked_logit, top, log_sum_exp, scratch);
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
