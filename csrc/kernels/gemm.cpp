#include "kernels/gemm.h"

#include <algorithm>
#include <limits>

#include "kernels/dispatch.h"
#include "kernels/row_blocks.h"
#include "kernels/workspace.h"

namespace distilmt {

DISTILMT_PER_ISA(int64_t gemm_panel();)
DISTILMT_PER_ISA(void gemm_block(const float* a, int64_t lda, int64_t m, const float* panels, const float* bias,
                                 int64_t n, int64_t k, Activation activation, const float* residual, int64_t ldr,
                                 float* c, int64_t ldc, float* packed);)

PackedMatrix pack(const float* weight, const float* bias, int64_t n, int64_t k) {
  PackedMatrix w;
  w.n = n;
  w.k = k;
  w.panel = DISTILMT_ACTIVE(gemm_panel)();
  const int64_t columns = (n + w.panel - 1) / w.panel * w.panel;
  w.data = aligned<float>(columns * k);
  w.bias = aligned<float>(columns);
  for (int64_t j = 0; j < columns; ++j)
    w.bias[j] = j >= n ? -std::numeric_limits<float>::infinity() : bias ? bias[j] : 0.0f;
  for (int64_t j = 0; j < columns; ++j) {
    float* out = w.data.get() + j / w.panel * w.panel * k + j % w.panel;
    for (int64_t c = 0; c < k; ++c) out[c * w.panel] = j < n ? weight[j * k + c] : 0.0f;
  }
  return w;
}

void gemm(const float* a, int64_t lda, int64_t m, const PackedMatrix& w, Activation activation, const float* residual,
          int64_t ldr, float* c, int64_t ldc) {
  const auto block = DISTILMT_ACTIVE(gemm_block);
  const int64_t height = rows_per_block(w.k);
  float* packed = workspace(packed_floats(std::min(m, height), w.k));
  for (int64_t i = 0; i < m; i += height)
    block(a + i * lda, lda, std::min(height, m - i), w.data.get(), w.bias.get(), w.n, w.k, activation,
          residual ? residual + i * ldr : nullptr, ldr, c + i * ldc, ldc, packed);
}

}  // namespace distilmt
