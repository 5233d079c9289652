// The filter of one instruction set; contract in gradient_filter.h.
#include "kernels/gradient_filter.h"

#include "kernels/simd.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

constexpr int kCandidates = 16;

DISTILMT_INLINE vec magnitude(vec x) { return maximum(x, -x); }

// f(vector, first column) over a row; lanes beyond its end are 0.
template <class F>
DISTILMT_INLINE void over(const float* p, int64_t n, const F& f) {
  int64_t c = 0;
  for (; c + kWidth <= n; c += kWidth) f(load(p + c), c);
  if (c < n) f(load_part(p + c, n - c, 0.0f), c);
}

void shift_row(float* g, const float* open, int64_t vocab, float shift) {
  over(g, vocab, [&](vec x, int64_t c) {
    const int64_t left = vocab - c;
    if (left >= kWidth)
      store(g + c, x - shift * load(open + c));
    else
      store_part(g + c, left, x - shift * load_part(open + c, left, 0.0f));
  });
}

}  // namespace

void filter_rows_of(const GradientFilter& filter, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    float* const g = filter.g + r * filter.vocab;
    if (filter.shift) shift_row(g, filter.open, filter.vocab, filter.shift[r]);
    vec top = {}, all = {};
    over(g, filter.vocab, [&](vec x, int64_t) {
      top = maximum(top, magnitude(x));
      all += magnitude(x);
    });
    const float whole = sum(all), allowed = whole * filter.mass;
    float candidates[kCandidates];
    vec below[kCandidates] = {};
    float bound = largest(top);
    for (int j = 0; j < kCandidates; ++j) candidates[j] = bound *= 0.5f;
    over(g, filter.vocab, [&](vec x, int64_t) {
      const vec m = magnitude(x);
#pragma GCC unroll 16
      for (int j = 0; j < kCandidates; ++j) below[j] += m < candidates[j] ? m : vec{};
    });
    float threshold = 0, lost = 0;
    for (int j = 0; j < kCandidates; ++j) {
      const float dropped = sum(below[j]);
      if (dropped > allowed) continue;
      threshold = candidates[j];
      lost = dropped;
      break;
    }
    int64_t count = 0;
    over(g, filter.vocab, [&](vec x, int64_t) {
      const vec m = magnitude(x);
      count += __builtin_popcount(greater_mask(m, vec{}) & ~greater_mask(broadcast(threshold), m));
    });
    filter.thresholds[r] = threshold;
    filter.counts[r] = count;
    filter.whole[r] = whole;
    filter.lost[r] = lost;
  }
}

void kept_entries_of(const float* g, int64_t vocab, float threshold, int32_t* columns, float* values) {
  over(g, vocab, [&](vec x, int64_t c) {
    const vec m = magnitude(x);
    unsigned kept = greater_mask(m, vec{}) & ~greater_mask(broadcast(threshold), m);
    for (; kept; kept &= kept - 1) {
      const int64_t column = c + __builtin_ctz(kept);
      *columns++ = static_cast<int32_t>(column);
      *values++ = g[column];
    }
  });
}

void sum_rows_of(const float* matrix, int64_t d, const int32_t* index, const float* values, int64_t count, bool add,
                 float* out) {
  constexpr int kBlock = 8;  // vectors of the sum that stay in registers
  int64_t c = 0;
  for (; c + kBlock * kWidth <= d; c += kBlock * kWidth) {
    vec sums[kBlock];
    for (int b = 0; b < kBlock; ++b) sums[b] = add ? load(out + c + b * kWidth) : vec{};
    for (int64_t i = 0; i < count; ++i) {
      const float* row = matrix + index[i] * d + c;
      const vec x = broadcast(values[i]);
#pragma GCC unroll 8
      for (int b = 0; b < kBlock; ++b) sums[b] = fma(x, load(row + b * kWidth), sums[b]);
    }
    for (int b = 0; b < kBlock; ++b) store(out + c + b * kWidth, sums[b]);
  }
  for (; c < d; c += kWidth) {
    const int64_t left = d - c < kWidth ? d - c : kWidth;
    vec total = {};
    for (int64_t i = 0; i < count; ++i) {
      const float* row = matrix + index[i] * d + c;
      total = fma(broadcast(values[i]), left == kWidth ? load(row) : load_part(row, left, 0.0f), total);
    }
    const vec before = add ? (left == kWidth ? load(out + c) : load_part(out + c, left, 0.0f)) : vec{};
    if (left == kWidth)
      store(out + c, before + total);
    else
      store_part(out + c, left, before + total);
  }
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
