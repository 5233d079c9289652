// The tile that gemm, project and attention share: up to kRows rows of a times one panel of kPanel packed columns, all
// sums in registers. Included by .isa.cpp files only.
//
// Rows are packed in chunks of kChunk columns, [k / kChunk][rows][kChunk], by plain copies: every address in the inner
// loop is one pointer plus a constant, and rows 8 KiB apart no longer fight for one cache set. Panels are [k][kPanel].
// Each sum is one chain of fma over k in rising order, whatever the number of rows: that is what makes rows
// independent.
#pragma once
#include "kernels/simd.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

// Two vectors wide; as many rows as leave registers for two weights and one broadcast (of 32, 16 and 16).
constexpr int kPanel = 2 * kWidth;
#if defined(__AVX512F__)
constexpr int kRows = 14;
#elif defined(__AVX2__)
constexpr int kRows = 6;
#else
constexpr int kRows = 4;
#endif
constexpr int kChunk = 16;

DISTILMT_INLINE int64_t padded(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

// a [rows, k] with lda floats between rows -> packed [padded(k, kChunk) / kChunk][rows][kChunk]. What pads the last
// chunk is never read.
void pack_rows(const float* a, int64_t lda, int rows, int64_t k, float* packed) {
  int64_t c = 0;
  for (; c + kChunk <= k; c += kChunk)
    for (int r = 0; r < rows; ++r, packed += kChunk) std::memcpy(packed, a + r * lda + c, sizeof(float) * kChunk);
  for (int r = 0; c < k && r < rows; ++r, packed += kChunk)
    std::memcpy(packed, a + r * lda + c, sizeof(float) * (k - c));
}

// out [Rows, kPanel] = rows x panel.
template <int Rows>
void tile(const float* rows, const float* panel, int64_t k, float* out) {
  vec low[Rows] = {}, high[Rows] = {};
  for (; k > 0; k -= kChunk, rows += Rows * kChunk) {
    const float* a = rows;
    const float* end = rows + (k < kChunk ? k : kChunk);
    for (; a < end; ++a, panel += kPanel) {
      // Tall tiles are slower than memory, yet stall where the hardware's prefetcher stops, at each page: 6% of a
      // projection.
      if constexpr (2 * Rows > kRows) {
        __builtin_prefetch(panel + 48 * kPanel);
        __builtin_prefetch(panel + 48 * kPanel + kWidth);
      }
      const vec b0 = load(panel), b1 = load(panel + kWidth);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const vec x = broadcast(a[r * kChunk]);
        low[r] = fma(x, b0, low[r]);
        high[r] = fma(x, b1, high[r]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    store(out + r * kPanel, low[r]);
    store(out + r * kPanel + kWidth, high[r]);
  }
}

template <int Rows = kRows>
void multiply_tile(int count, const float* rows, const float* panel, int64_t k, float* out) {
  if (count == Rows) return tile<Rows>(rows, panel, k, out);
  if constexpr (Rows > 1) multiply_tile<Rows - 1>(count, rows, panel, k, out);
}

// m rows cut into the fewest tiles, of nearly equal height: 64 rows are 13 + 13 + 13 + 13 + 12, not 14 * 4 + 8.
struct RowTiles {
  int64_t count, height, taller;

  explicit RowTiles(int64_t m)
      : count((m + kRows - 1) / kRows), height(count ? m / count : 0), taller(count ? m % count : 0) {}
  int64_t begin(int64_t t) const { return t * height + (t < taller ? t : taller); }
  int rows(int64_t t) const { return static_cast<int>(height + (t < taller)); }
};

// Packs all m rows of a; tile t lies at packed + tiles.begin(t) * padded(k, kChunk).
void pack_tiles(const float* a, int64_t lda, const RowTiles& tiles, int64_t k, float* packed) {
  for (int64_t t = 0; t < tiles.count; ++t)
    pack_rows(a + tiles.begin(t) * lda, lda, tiles.rows(t), k, packed + tiles.begin(t) * padded(k, kChunk));
}

}  // namespace
}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
