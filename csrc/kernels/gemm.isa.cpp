// Matrix product of one instruction set; contract in gemm.h. Panels of weights outside, tiles of rows inside: a panel
// (k * kPanel floats, 64 KiB at k = 512) stays in the second-level cache for all rows.
#include "kernels/gemm.h"

#include "kernels/tile.h"

namespace distilmt::DISTILMT_ISA_NAMESPACE {
namespace {

template <Activation activation>
DISTILMT_INLINE vec activate(vec x) {
  if constexpr (activation == Activation::relu) return x < 0.0f ? vec{} : x;  // NaN stays NaN
  if constexpr (activation == Activation::gelu) return 0.5f * x * (1.0f + erf(x * 0.70710678118654752f));
  if constexpr (activation == Activation::silu) return x / (1.0f + exp(-x));
  return x;
}

// From memory, not from the registers of the tile: the product's inner loop keeps all of them.
template <Activation activation>
void finish(const float* sums, int rows, int64_t columns, const float* bias, const float* residual, int64_t ldr,
            float* c, int64_t ldc) {
  for (int r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; j += kWidth) {
      vec y = activate<activation>(load(sums + r * kPanel + j) + load(bias + j));
      const int64_t left = columns - j;
      if (left >= kWidth) {
        if (residual) y += load(residual + r * ldr + j);
        store(c + r * ldc + j, y);
      } else {
        if (residual) y += load_part(residual + r * ldr + j, left, 0.0f);
        store_part(c + r * ldc + j, left, y);
      }
    }
  }
}

}  // namespace

int64_t gemm_panel() { return kPanel; }

// packed: m * padded(k, kChunk) floats of scratch.
void gemm_block(const float* a, int64_t lda, int64_t m, const float* panels, const float* bias, int64_t n, int64_t k,
                Activation activation, const float* residual, int64_t ldr, float* c, int64_t ldc, float* packed) {
  const RowTiles tiles(m);
  pack_tiles(a, lda, tiles, k, packed);
  alignas(64) float sums[kRows * kPanel];
  const auto finish_tile = activation == Activation::relu   ? finish<Activation::relu>
                           : activation == Activation::gelu ? finish<Activation::gelu>
                           : activation == Activation::silu ? finish<Activation::silu>
                                                            : finish<Activation::none>;
  for (int64_t j = 0; j < n; j += kPanel) {
    const int64_t columns = n - j < kPanel ? n - j : kPanel;
    for (int64_t t = 0; t < tiles.count; ++t) {
      const int64_t i = tiles.begin(t);
      const int rows = tiles.rows(t);
      multiply_tile(rows, packed + i * padded(k, kChunk), panels + j * k, k, sums);
      finish_tile(sums, rows, columns, bias + j, residual ? residual + i * ldr + j : nullptr, ldr, c + i * ldc + j,
                  ldc);
    }
  }
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
