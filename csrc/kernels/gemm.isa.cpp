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
template <class T, Activation activation>
void finish(const uint32_t* sums, int rows, const RowScale* scales, const PackedView& w, int64_t first,
            const float* residual, int64_t ldr, float* c, int64_t ldc) {
  const int64_t columns = w.n - first < kPanel ? w.n - first : kPanel;
  for (int r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; j += kWidth) {
      const vec product = T::value(sums + r * kPanel + j, scales[r], w, first + j);
      vec y = activate<activation>(product + load(w.bias + first + j));
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

template <class T, Activation activation>
void multiply(const float* a, int64_t lda, int64_t m, const PackedView& w, const float* residual, int64_t ldr, float* c,
              int64_t ldc, uint32_t* scratch) {
  const RowTiles<T> tiles(m);
  RowScale* scales = reinterpret_cast<RowScale*>(scratch);
  uint32_t* packed = scratch + padded(2 * m, kChunk);
  pack_tiles<T>(a, lda, tiles, w.k, packed, scales);
  alignas(64) uint32_t sums[Tiles<T>::kRows * kPanel];
  [[maybe_unused]] const typename Tiles<T>::Session session;
  for (int64_t j = 0; j < w.n; j += kPanel) {
    for (int64_t t = 0; t < tiles.count; ++t) {
      const int64_t i = tiles.begin(t);
      const int rows = tiles.rows(t);
      const uint32_t* panel = w.data + j * w.groups;
      Tiles<T>::multiply(rows, packed + i * row_groups<T>(w.k), panel, w.groups, sums,
                         Prefetch(panel, w.groups, t, tiles.count));
      finish<T, activation>(sums, rows, scales + i, w, j, residual ? residual + i * ldr + j : nullptr, ldr,
                            c + i * ldc + j, ldc);
    }
  }
}

template <class T>
void choose_activation(const float* a, int64_t lda, int64_t m, const PackedView& w, Activation activation,
                       const float* residual, int64_t ldr, float* c, int64_t ldc, uint32_t* scratch) {
  const auto run = activation == Activation::relu   ? multiply<T, Activation::relu>
                   : activation == Activation::gelu ? multiply<T, Activation::gelu>
                   : activation == Activation::silu ? multiply<T, Activation::silu>
                                                    : multiply<T, Activation::none>;
  run(a, lda, m, w, residual, ldr, c, ldc, scratch);
}

}  // namespace

int64_t gemm_panel() { return kPanel; }
float int8_weight_levels() { return kWeightLevels; }

// scratch: product_scratch of row_blocks.h.
void gemm_block(const float* a, int64_t lda, int64_t m, const PackedView& w, Activation activation,
                const float* residual, int64_t ldr, float* c, int64_t ldc, uint32_t* scratch) {
  const auto run = w.number == Number::int8       ? choose_activation<Int8>
                   : w.number == Number::bfloat16 ? choose_activation<BFloat16>
                                                  : choose_activation<Float32>;
  run(a, lda, m, w, activation, residual, ldr, c, ldc, scratch);
}

}  // namespace distilmt::DISTILMT_ISA_NAMESPACE
