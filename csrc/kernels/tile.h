// The tile that gemm, project and attention share: up to T::kRows rows of a times one panel of kPanel packed columns,
// all sums in registers, T being one of numbers.h. Included by .isa.cpp files only.
//
// Each sum is one chain of dot products over the groups in rising order, whatever the number of rows: that is what
// makes rows independent.
#pragma once
#include "kernels/numbers.h"
#include "kernels/prefetch.h"
#if defined(DISTILMT_AMX)
#include "kernels/tile_amx.h"
#endif

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

// out [Rows, kPanel] = rows x panel.
template <class T, int Rows>
void tile(const uint32_t* rows, const uint32_t* panel, int64_t groups, uint32_t* out, Prefetch next) {
  typename T::Sum low[Rows] = {}, high[Rows] = {};
  for (; groups > 0; groups -= kChunk, rows += Rows * kChunk) {
    next.chunk();
    const uint32_t* a = rows;
    const uint32_t* end = rows + (groups < kChunk ? groups : kChunk);
    for (; a < end; ++a, panel += kPanel) {
      const ivec b0 = load_integers(panel), b1 = load_integers(panel + kWidth);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const ivec x = broadcast_group(a[r * kChunk]);
        low[r] = T::dot(x, b0, low[r]);
        high[r] = T::dot(x, b1, high[r]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    std::memcpy(out + r * kPanel, &low[r], sizeof low[r]);
    std::memcpy(out + r * kPanel + kWidth, &high[r], sizeof high[r]);
  }
}

template <class T, int Rows = T::kRows>
void multiply_rows(int count, const uint32_t* rows, const uint32_t* panel, int64_t groups, uint32_t* out,
                   Prefetch next) {
  if (count == Rows) return tile<T, Rows>(rows, panel, groups, out, next);
  if constexpr (Rows > 1) multiply_rows<T, Rows - 1>(count, rows, panel, groups, out, next);
}

// What tiles need around a run of products, and how many rows they take, at a step of how many.
template <class T>
struct Tiles {
  static constexpr int kRows = T::kRows, kUnit = 1;
  struct Session {};
  static void multiply(int count, const uint32_t* rows, const uint32_t* panel, int64_t groups, uint32_t* out,
                       Prefetch next) {
    multiply_rows<T>(count, rows, panel, groups, out, next);
  }
};
#if defined(DISTILMT_AMX)
template <>
struct Tiles<Int8> : AmxTiles<Int8> {};
template <>
struct Tiles<BFloat16> : AmxTiles<BFloat16> {};
#endif

// m rows cut into the fewest tiles, of nearly equal height: 64 rows are 13 + 13 + 13 + 13 + 12, not 14 * 4 + 8.
template <class T>
struct RowTiles {
  static constexpr int64_t kUnit = Tiles<T>::kUnit, kHeight = Tiles<T>::kRows / kUnit;
  int64_t m, count, height, taller;  // heights in units

  explicit RowTiles(int64_t rows) : m(rows) {
    const int64_t units = (m + kUnit - 1) / kUnit;
    count = (units + kHeight - 1) / kHeight;
    height = count ? units / count : 0;
    taller = count ? units % count : 0;
  }
  int64_t begin(int64_t t) const { return kUnit * (t * height + (t < taller ? t : taller)); }
  int rows(int64_t t) const {
    const int64_t full = kUnit * (height + (t < taller)), left = m - begin(t);
    return static_cast<int>(full < left ? full : left);
  }
};

// Groups that a row of k numbers takes, and that lie between rows: whole chunks.
template <class T>
DISTILMT_INLINE int64_t row_groups(int64_t k) {
  return padded((k + T::kPerGroup - 1) / T::kPerGroup, kChunk);
}

// Packs all m rows of a; tile t lies at packed + tiles.begin(t) * row_groups<T>(k). scales [m] is written by int8.
template <class T>
void pack_tiles(const float* a, int64_t lda, const RowTiles<T>& tiles, int64_t k, uint32_t* packed, RowScale* scales) {
  const int64_t stride = row_groups<T>(k);
  for (int64_t t = 0; t < tiles.count; ++t)
    for (int64_t r = 0, rows = tiles.rows(t), i = tiles.begin(t); r < rows; ++r, ++i)
      T::pack_row(a + i * lda, k, packed + tiles.begin(t) * stride + r * kChunk, rows * kChunk,
                  scales ? scales + i : nullptr);
}

}  // namespace
}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
